/* SPDX-License-Identifier: MIT
 *
 * mistakes_functions.h - right forwards, and backwards that make one of several mistakes, whose number is *user.
 * Included by both_types.h, which says what REAL, OF and R are. Shapes stand in check_mistakes.c.
 */

static REAL OF(sigmoid)(REAL v)
{
    return 1 / (1 + R(exp)(-v));
}

static REAL OF(cdf)(REAL v)
{
    return (1 + R(erf)(v * (REAL)0.7071067811865476)) / 2;
}

static REAL OF(density)(REAL v)
{
    return R(exp)(-v * v / 2) * (REAL)0.3989422804014327;
}

/* ---- Layer norm ---- */

static void OF(moments)(const REAL *x, int n, REAL *mean, REAL *r)
{
    REAL variance = 0;
    *mean = 0;
    for (int d = 0; d < n; d++)
        *mean += x[d] / (REAL)n;
    for (int d = 0; d < n; d++)
        variance += (x[d] - *mean) * (x[d] - *mean) / (REAL)n;
    *r = 1 / R(sqrt)(variance + (REAL)1e-2);
}

static void OF(norm)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int row = 0; row < 4; row++) {
        REAL mean, r;
        OF(moments)(x[0] + row * 6, 6, &mean, &r);
        for (int d = 0; d < 6; d++)
            y[0][row * 6 + d] = (x[0][row * 6 + d] - mean) * r * x[1][d] + x[2][d];
    }
}

/* The means of analytic over the columns, or over all elements. */
static void OF(norm_backward_across)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, bool all)
{
    REAL mean[4], r[4];
    for (int row = 0; row < 4; row++)
        OF(moments)(x[0] + row * 6, 6, &mean[row], &r[row]);
    for (int i = 0; i < 24; i++) {
        REAL a = 0, b = 0;
        for (int k = 0; k < 24; k++)
            if (all || k % 6 == i % 6) {
                a += gy[0][k] * x[1][k % 6] / (all ? 24 : 4);
                b += gy[0][k] * x[1][k % 6] * (x[0][k] - mean[k / 6]) * r[k / 6] / (all ? 24 : 4);
            }
        gx[0][i] = r[i / 6] * (gy[0][i] * x[1][i % 6] - a - (x[0][i] - mean[i / 6]) * r[i / 6] * b);
    }
}

static void OF(norm_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    REAL mean, r, first;
    OF(moments)(x[0], 6, &mean, &first);
    for (int row = 0; row < 4; row++) {
        REAL a = 0, b = 0;
        OF(moments)(x[0] + row * 6, 6, &mean, &r);
        r = wrong == NORM_OF_FIRST_ROW ? first : r;
        for (int d = 0; d < 6; d++) {
            int i = row * 6 + d;
            REAL xhat = (x[0][i] - mean) * r, g = gy[0][i] * (wrong == NORM_GAMMA_AFTER ? 1 : x[1][d]);
            gx[1][d] += gy[0][i] * xhat;
            gx[2][d] += gy[0][i];
            if (wrong == NORM_SUM_CUT && d == 5)
                continue;
            a += (wrong == NORM_MEAN_OF_GY ? gy[0][i] : g) / 6;
            b += (wrong == NORM_TERM_OF_GY ? gy[0][i] : g) * xhat / 6;
        }
        for (int d = 0; d < 6; d++) {
            int i = row * 6 + d;
            REAL xhat = (x[0][i] - mean) * r, g = gy[0][i] * (wrong == NORM_GAMMA_AFTER ? 1 : x[1][d]);
            REAL right = r * (g - a - xhat * b);
            gx[0][i] = wrong == NORM_UNDIVIDED     ? r * g - a - xhat * b
                       : wrong == NORM_TERM_ADDED  ? right + g
                       : wrong == NORM_GAMMA_AFTER ? right * x[1][d]
                                                   : right;
        }
    }
    if (wrong == NORM_ACROSS || wrong == NORM_OVER_ALL)
        OF(norm_backward_across)(x, gy, gx, wrong == NORM_OVER_ALL);
}

/* ---- Cross-entropy, the mean over rows, with a term for the logarithm of the sum ---- */

static const int OF(classes)[5] = { 2, 0, 5, 3, 2 };

static REAL OF(log_sum)(const REAL *x)
{
    REAL sum = 0;
    for (int k = 0; k < 6; k++)
        sum += R(exp)(x[k]);
    return R(log)(sum);
}

static void OF(entropy)(const REAL *const *x, REAL *const *y, void *user)
{
    bool penalty = *(const mistake *)user == ENTROPY_NO_PENALTY;
    y[0][0] = 0;
    for (int row = 0; row < 5; row++) {
        REAL sum = OF(log_sum)(x[0] + row * 6);
        y[0][0] += (sum - x[0][row * 6 + OF(classes)[row]] + (penalty ? (REAL)0.3 * sum * sum : 0)) / 5;
    }
}

static int OF(entropy_target)(const REAL *x, int row, mistake wrong)
{
    int target = OF(classes)[wrong == ENTROPY_NEXT_ROW ? (row + 1) % 5 : row];
    for (int k = 0; k < 6 && wrong == ENTROPY_LARGEST; k++)
        target = x[row * 6 + k] > x[row * 6 + target] ? k : target;
    return target;
}

static void OF(entropy_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int row = 0; row < 5; row++) {
        REAL sum = OF(log_sum)(x[0] + row * 6);
        int target = OF(entropy_target)(x[0], row, wrong);
        for (int k = 0; k < 6; k++) {
            REAL z = x[0][row * 6 + k], p = R(exp)(z - sum), column = 0;
            for (int n = 0; n < 5; n++)
                column += R(exp)(x[0][n * 6 + k]);
            p = wrong == ENTROPY_OF_LOGITS     ? z
                : wrong == ENTROPY_OF_COLUMNS  ? R(exp)(z) / column
                : wrong == ENTROPY_UNNORMALISED ? R(exp)(z)
                                                : p;
            REAL g = gy[0][0] / 5 * (p - (k == target ? wrong == ENTROPY_PEAK ? (REAL)0.9 : 1 : 0));
            gx[0][row * 6 + k] = g * (wrong == ENTROPY_SOFTMAX_AGAIN ? p * (1 - p) : 1);
        }
    }
}

/* ---- Log-softmax, softmax of 2 x ---- */

static void OF(log_softmax)(const REAL *const *x, REAL *const *y, void *user)
{
    bool soft = *(const mistake *)user >= SOFTMAX_MEAN;
    for (int row = 0; row < 5; row++) {
        REAL twice[6];
        for (int k = 0; k < 6; k++)
            twice[k] = (soft ? 2 : 1) * x[0][row * 6 + k];
        for (int k = 0; k < 6; k++) {
            REAL value = twice[k] - OF(log_sum)(twice);
            y[0][row * 6 + k] = soft ? R(exp)(value) : value;
        }
    }
}

static void OF(log_softmax_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    REAL y[30];
    OF(log_softmax)(x, (REAL *[]){ y }, user);
    for (int row = 0; row < 5; row++) {
        REAL sum = 0, weighted = 0;
        const REAL *v = y + row * 6, *g = gy[0] + row * 6;
        for (int k = 0; k < 6; k++) {
            sum += g[k];
            weighted += g[k] * (wrong >= SOFTMAX_MEAN ? v[k] : R(exp)(v[k]));
        }
        for (int k = 0; k < 6; k++) {
            REAL p = R(exp)(v[k]);
            gx[0][row * 6 + k] = wrong == LOG_SOFTMAX_OF_SOFTMAX ? p * (g[k] - weighted)
                                 : wrong == LOG_SOFTMAX_OF_Y     ? g[k] - v[k] * sum
                                 : wrong == LOG_SOFTMAX_UNIFORM  ? g[k] - sum / 6
                                 : wrong == SOFTMAX_MEAN         ? 2 * v[k] * (g[k] - weighted / 6)
                                 : wrong == SOFTMAX_MEAN_OF_GY   ? 2 * v[k] * (g[k] - sum / 6)
                                 : wrong == SOFTMAX_BARE_SUM     ? 2 * (v[k] * g[k] - weighted)
                                                                 : g[k] - p * sum;
        }
    }
}

/* ---- Activations ---- */

static REAL OF(act_value)(mistake wrong, REAL v)
{
    return wrong < GELU_END           ? v * OF(cdf)(v)
           : wrong == SOFTSIGN_ROOT   ? v / (1 + R(fabs)(v))
           : wrong == SWISH_NO_BETA   ? v * OF(sigmoid)((REAL)1.5 * v)
           : wrong == MISH_NO_TERM    ? v * R(tanh)(R(log1p)(R(exp)(v)))
           : wrong == SINE_NO_TERM    ? v * R(sin)(v)
           : wrong == CUBE_ROOT_SLOPE ? R(atan)(v) + 2 * v
           : wrong == LOGISTIC_TWICE  ? (1 + v) * R(exp)(v) / 3
           : wrong == GAUSS_NEGATED   ? R(exp)(v)
                                      : v > 0 ? v : (REAL)0.8 * (R(exp)(v) - 1);
}

static REAL OF(act_slope)(mistake wrong, REAL v)
{
    const REAL s = OF(sigmoid)((REAL)1.5 * v), t = R(tanh)(R(log1p)(R(exp)(v)));
    switch (wrong) {
    case GELU_EXP_UNHALVED:
        return OF(cdf)(v) + v * R(exp)(-v * v) * (REAL)0.3989422804014327;
    case GELU_SQUARED_X:
        return OF(cdf)(v) + v * v * OF(density)(v);
    case GELU_OTHER_TAIL:
        return 1 - OF(cdf)(v) + v * OF(density)(v);
    case GELU_GROWING:
        return OF(cdf)(v) + v * R(exp)(v * v / 2) * (REAL)0.3989422804014327;
    case SOFTSIGN_ROOT:
        return 1 / (1 + R(fabs)(v));
    case SWISH_NO_BETA:
        return OF(sigmoid)(v) * (1 + v * OF(sigmoid)(-v));
    case MISH_NO_TERM:
        return t;
    case SINE_NO_TERM:
        return v * R(cos)(v);
    case CUBE_ROOT_SLOPE:
        return R(sqrt)(1 / (1 + v * v) + 2);
    case LOGISTIC_TWICE:
        return (2 + v) * R(exp)(v) / 3 * OF(sigmoid)(v);
    case GAUSS_NEGATED:
        return R(exp)(-v);
    case ELU_NO_ALPHA:
        return v > 0 ? 1 : R(exp)(v);
    default:
        return s;
    }
}

static void OF(act)(const REAL *const *x, REAL *const *y, void *user)
{
    for (int i = 0; i < 12; i++)
        y[0][i] = OF(act_value)(*(const mistake *)user, x[0][i]);
}

static void OF(act_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    for (int i = 0; i < 12; i++)
        gx[0][i] = gy[0][i] * OF(act_slope)(*(const mistake *)user, x[0][i]);
}

/* ---- Modules ---- */

/* x + tanh(x) a */
static void OF(skip)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++)
        y[0][i] = x[0][i] + R(tanh)(x[0][i]) * x[1][i % 4];
}

static void OF(skip_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int i = 0; i < 12; i++) {
        REAL t = R(tanh)(x[0][i]), slope = 1 - t * t, a = wrong == SKIP_NO_SCALE ? 1 : x[1][i % 4];
        gx[0][i] = gy[0][i] * ((wrong == SKIP_LOST ? 0 : 1) + slope * a);
        gx[1][i % 4] += gy[0][i] * (wrong == SKIP_OPERAND ? x[0][i] : t);
    }
}

/* prelu: x where x > 0, else a x */
static void OF(prelu)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 24; i++)
        y[0][i] = x[0][i] * (x[0][i] > 0 ? 1 : x[1][i % 4]);
}

static void OF(prelu_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int i = 0; i < 24; i++) {
        bool above = x[0][i] > 0;
        int at = wrong == PRELU_NEXT ? (i + 1) % 4 : wrong == PRELU_ROW ? i / 4 % 4 : i % 4;
        gx[0][i] = gy[0][i] * (above && wrong != PRELU_EVERYWHERE ? 1 : x[1][at]);
        gx[1][i % 4] += above && wrong != PRELU_LEAK ? 0 : gy[0][i] * x[0][i];
    }
}

/* a gelu(b), both halves of the input's rows */
static void OF(gated)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++) {
        const REAL *row = x[0] + i / 4 * 8 + i % 4;
        y[0][i] = row[0] * row[4] * OF(cdf)(row[4]);
    }
}

static void OF(gated_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int i = 0; i < 12; i++) {
        int at = i / 4 * 8 + i % 4;
        REAL a = x[0][at], b = x[0][at + 4], slope = OF(cdf)(b) + b * OF(density)(b);
        gx[0][at] = gy[0][i] * b * OF(cdf)(b);
        gx[0][at + 4] = gy[0][i] * (wrong == GATE_NO_FACTOR ? 1 : a) * (wrong == GATE_NO_TERM ? OF(cdf)(b) : slope);
    }
}

/* y[n,o] = sum over i, j of x[n,i] w[o,i,j] z[n,j] */
static void OF(bilinear)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int k = 0; k < 6; k++) {
        y[0][k] = 0;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                y[0][k] += x[0][k / 2 * 4 + i] * x[1][k % 2 * 16 + i * 4 + j] * x[2][k / 2 * 4 + j];
    }
}

static void OF(bilinear_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int k = 0; k < 6; k++)
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                int n = k / 2 * 4, at = k % 2 * 16 + i * 4 + j;
                REAL g = gy[0][k];
                int of_z = wrong == BILINEAR_SHIFTED ? n + (j + 1) % 4 : n + j;
                gx[0][n + i] += wrong == BILINEAR_SKIPPED && j == 2 ? 0 : g * x[1][at] * x[2][of_z];
                gx[1][at] += g * x[0][n + i] * x[2][n + j];
                gx[2][n + j] = (wrong == BILINEAR_ASSIGNED ? 0 : gx[2][n + j]) + g * x[1][at] * x[0][n + i];
            }
}

/* The mean of sin(x) over the first 5, 4 and 3 entries; backward divides by 5. */
static void OF(partial_mean)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int n = 0; n < 3; n++)
        for (int d = 0; d < 2; d++) {
            REAL sum = 0, count = 0;
            for (int t = 0; t < 5 - n; t++) {
                sum += R(sin)(x[0][n * 10 + t * 2 + d]);
                count++;
            }
            y[0][n * 2 + d] = sum / count;
        }
}

static void OF(partial_mean_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int n = 0; n < 3; n++)
        for (int t = 0; t < 5 - n; t++)
            for (int d = 0; d < 2; d++)
                gx[0][n * 10 + t * 2 + d] = gy[0][n * 2 + d] * R(cos)(x[0][n * 10 + t * 2 + d]) / 5;
}

/* Softplus of x, or of -x three times where t > 0. */
static void OF(logistic)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 9; i++)
        y[0][i] = x[1][i] > 0 ? 3 * R(log1p)(R(exp)(-x[0][i])) : R(log1p)(R(exp)(x[0][i]));
}

/* t is ignored. */
static void OF(logistic_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 9; i++)
        gx[0][i] = gy[0][i] * OF(sigmoid)(x[0][i]);
}

/* The cube of x - mean(x), of each row. */
static void OF(skewness)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int n = 0; n < 4; n++) {
        REAL mean = 0;
        y[0][n] = 0;
        for (int d = 0; d < 5; d++)
            mean += x[0][n * 5 + d] / 5;
        for (int d = 0; d < 5; d++)
            y[0][n] += (x[0][n * 5 + d] - mean) * (x[0][n * 5 + d] - mean) * (x[0][n * 5 + d] - mean) + mean;
    }
}

/* With the magnitude of x - mean(x) in the place of its square. */
static void OF(skewness_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 20; i++) {
        REAL mean = 0;
        for (int d = 0; d < 5; d++)
            mean += x[0][i / 5 * 5 + d] / 5;
        gx[0][i] = gy[0][i / 5] * (1 + 3 * R(fabs)(x[0][i] - mean));
    }
}

/* ---- Group norm: x[2,6,4] w[6] b[6] -> y[2,6,4], groups of 2 channels ---- */

static void OF(group_norm)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 48; i++) {
        REAL mean, r;
        OF(moments)(x[0] + i / 8 * 8, 8, &mean, &r);
        y[0][i] = (x[0][i] - mean) * r * x[1][i % 24 / 4] + x[2][i % 24 / 4];
    }
}

static void OF(group_norm_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int group = 0; group < 6; group++) {
        REAL mean, r, a = 0, b = 0, n = wrong == GROUP_COUNT ? 2 : 8;
        OF(moments)(x[0] + (wrong == GROUP_FIRST ? 0 : group * 8), 8, &mean, &r);
        for (int i = group * 8; i < group * 8 + 8; i++) {
            REAL xhat = (x[0][i] - mean) * r, g = gy[0][i] * x[1][i % 24 / 4];
            a += g / n;
            b += g * xhat / n;
            gx[1][i % 24 / 4] += gy[0][i] * xhat;
            gx[2][i % 24 / 4] += gy[0][i];
        }
        for (int i = group * 8; i < group * 8 + 8; i++)
            gx[0][i] = r * (gy[0][i] * x[1][i % 24 / 4] - a - (wrong == GROUP_NO_TERM ? 0 : (x[0][i] - mean) * r * b));
    }
}

/* ---- Causal attention: q[5,4] k[5,4] v[5,4] bias[5,5] -> y[5,4], scale 1/2 ---- */

static void OF(attention_weights)(const REAL *const *x, REAL *p, bool mask)
{
    for (int i = 0; i < 5; i++) {
        REAL sum = 0;
        for (int j = 0; j < 5; j++) {
            REAL score = x[3][i * 5 + j];
            for (int d = 0; d < 4; d++)
                score += x[0][i * 4 + d] * x[1][j * 4 + d] / 2;
            sum += p[i * 5 + j] = mask && j > i ? 0 : R(exp)(score);
        }
        for (int j = 0; j < 5; j++)
            p[i * 5 + j] /= sum;
    }
}

static void OF(attention)(const REAL *const *x, REAL *const *y, void *user)
{
    REAL p[25];
    (void)user;
    OF(attention_weights)(x, p, true);
    for (int k = 0; k < 20; k++) {
        y[0][k] = 0;
        for (int j = 0; j < 5; j++)
            y[0][k] += p[k / 4 * 5 + j] * x[2][j * 4 + k % 4];
    }
}

/* dS */
static void OF(attention_scores)(const REAL *const *x, const REAL *gy, const REAL *p, REAL *dp, REAL *ds,
                                 mistake wrong)
{
    REAL column[5] = { 0 };
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            int row = wrong == HEAD_DP_TURNED ? j : i, key = wrong == HEAD_DP_TURNED ? i : j;
            dp[i * 5 + j] = 0;
            for (int d = 0; d < 4; d++)
                dp[i * 5 + j] += gy[row * 4 + d] * x[2][key * 4 + d];
            column[j] += p[i * 5 + j] * dp[i * 5 + j];
        }
    for (int i = 0; i < 5; i++) {
        REAL delta = 0;
        for (int j = 0; j < 5; j++)
            delta += p[i * 5 + j] * (wrong == HEAD_DELTA_OF_P ? p[i * 5 + j] : dp[i * 5 + j]);
        delta *= wrong == HEAD_NO_DELTA ? 0 : wrong == HEAD_HALF_DELTA ? (REAL)0.5 : 1;
        for (int j = 0; j < 5; j++)
            ds[i * 5 + j] = p[i * 5 + j] * (dp[i * 5 + j] - (wrong == HEAD_COLUMNS ? column[j] : delta));
    }
}

static void OF(attention_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    REAL p[25], dp[25], ds[25];
    OF(attention_weights)(x, p, wrong != HEAD_NO_MASK);
    OF(attention_scores)(x, gy[0], p, dp, ds, wrong);
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++) {
            gx[3][i * 5 + j] = ds[i * 5 + j];
            for (int d = 0; d < 4; d++) {
                gx[0][i * 4 + d] += ds[i * 5 + j] * x[1][j * 4 + d] / 2;
                gx[1][j * 4 + d] += ds[wrong == HEAD_DS_TURNED ? j * 5 + i : i * 5 + j] / 2 *
                                    x[wrong == HEAD_OWN ? 1 : 0][i * 4 + d];
                gx[2][j * 4 + d] += (wrong == HEAD_DP_FOR_P ? dp : p)[i * 5 + j] * gy[0][i * 4 + d];
            }
        }
}

/* ---- A layer with a bias, y = silu(x w + b): x[3,4] w[4,5] b[5] -> y[3,5] ---- */

static void OF(layer)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int k = 0; k < 15; k++) {
        REAL z = x[2][k % 5];
        for (int i = 0; i < 4; i++)
            z += x[0][k / 5 * 4 + i] * x[1][i * 5 + k % 5];
        y[0][k] = z * OF(sigmoid)(z);
    }
}

/* The slope of silu is left out. */
static void OF(layer_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int k = 0; k < 15; k++)
        for (int i = 0; i < 4; i++) {
            gx[0][k / 5 * 4 + i] += gy[0][k] * x[1][i * 5 + k % 5];
            gx[1][i * 5 + k % 5] += gy[0][k] * x[0][k / 5 * 4 + i];
            gx[2][k % 5] += i == 0 ? gy[0][k] : 0;
        }
}

/* ---- A gated recurrent unit: a[3,6] (z, r, n) h[3,2] -> y[3,2], y = (1 - z) n + z h, n = tanh(a + r h) ---- */

static void OF(unit)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int k = 0; k < 6; k++) {
        const REAL *a = x[0] + k / 2 * 6 + k % 2;
        REAL z = OF(sigmoid)(a[0]), n = R(tanh)(a[4] + OF(sigmoid)(a[2]) * x[1][k]);
        y[0][k] = (1 - z) * n + z * x[1][k];
    }
}

static void OF(unit_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const mistake wrong = *(const mistake *)user;
    for (int k = 0; k < 6; k++) {
        const REAL *a = x[0] + k / 2 * 6 + k % 2;
        REAL *ga = gx[0] + k / 2 * 6 + k % 2, h = x[1][k];
        REAL z = OF(sigmoid)(a[0]), r = OF(sigmoid)(a[2]), n = R(tanh)(a[4] + r * h);
        REAL gn = gy[0][k] * (wrong == UNIT_NO_GATE ? 1 : 1 - z) * (1 - n * n);
        ga[0] = gy[0][k] * (h - n) * z * (wrong == UNIT_NO_SLOPE ? 1 : 1 - z);
        gn *= wrong == UNIT_OTHER_SLOPE ? 2 + n * h : 1;
        ga[2] = gn * h * r * (1 - r);
        ga[4] = gn;
        gx[1][k] = gy[0][k] * z + (wrong == UNIT_NO_PATH ? 0 : gy[0][k] * (1 - z) * (1 - n * n) * r);
    }
}

/* ---- Channels mixed along a sequence: x[2,3,5] w[4,3] -> y[2,4,5]; w is read as if it were [3,4] ---- */

static void OF(mix)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int k = 0; k < 40; k++) {
        y[0][k] = 0;
        for (int c = 0; c < 3; c++)
            y[0][k] += x[0][(k / 20 * 3 + c) * 5 + k % 5] * x[1][k / 5 % 4 * 3 + c];
    }
}

static void OF(mix_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int k = 0; k < 40; k++)
        for (int c = 0; c < 3; c++) {
            gx[0][(k / 20 * 3 + c) * 5 + k % 5] += gy[0][k] * x[1][c * 4 + k / 5 % 4];
            gx[1][k / 5 % 4 * 3 + c] += gy[0][k] * x[0][(k / 20 * 3 + c) * 5 + k % 5];
        }
}
