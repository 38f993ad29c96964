/* SPDX-License-Identifier: MIT
 *
 * kinds_functions.h - functions on arrays with hand-written backwards, as people write them, and the mistakes that
 * check_kinds.c plants there. Included by both_types.h, which says what REAL, OF and R are. A user pointer is a
 * kind_shape.
 */

/* ---- Layer norm: x [N,D], gamma, beta [D] -> [N,D] ---- */

static void OF(norm)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    const int N = s->n[0], D = s->n[1];
    for (int n = 0; n < N; n++) {
        REAL mean = 0, variance = 0;
        for (int d = 0; d < D; d++)
            mean += x[0][n * D + d] / (REAL)D;
        for (int d = 0; d < D; d++)
            variance += (x[0][n * D + d] - mean) * (x[0][n * D + d] - mean) / (REAL)D;
        REAL r = 1 / R(sqrt)(variance + (REAL)s->eps);
        for (int d = 0; d < D; d++)
            y[0][n * D + d] = (x[0][n * D + d] - mean) * r * x[1][d] + x[2][d];
    }
}

static void OF(norm_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const int N = s->n[0], D = s->n[1];
    const mistake bug = s->mistake;
    for (int n = 0; n < N; n++) {
        REAL m = 0, v = 0, a = 0, b = 0;
        for (int d = 0; d < D; d++)
            m += x[0][n * D + d] / (REAL)D;
        for (int d = 0; d < D; d++)
            v += (x[0][n * D + d] - m) * (x[0][n * D + d] - m) / (REAL)(bug == NORM_UNBIASED ? D - 1 : D);
        REAL r = bug == NORM_EPS_OUTSIDE ? 1 / (R(sqrt)(v) + (REAL)s->eps) : 1 / R(sqrt)(v + (REAL)s->eps);
        for (int d = 0; d < D; d++) {
            int i = n * D + d;
            REAL xhat = (x[0][i] - m) * r, g = gy[0][i] * (bug == NORM_NO_GAMMA ? 1 : x[1][d]);
            a += g / (REAL)D;
            b += g * xhat / (REAL)D;
            REAL factor = bug == NORM_GAMMA_X ? x[0][i] : bug == NORM_GAMMA_CENTERED ? x[0][i] - m : xhat;
            REAL of_gamma = gy[0][i] * factor;
            gx[1][d] = bug == NORM_GAMMA_ASSIGNED ? of_gamma : gx[1][d] + of_gamma;
            gx[2][bug == NORM_BETA_LOOP ? n % D : d] += gy[0][i];
        }
        for (int d = 0; d < D; d++) {
            int i = n * D + d;
            REAL xhat = (x[0][i] - m) * r, g = gy[0][i] * (bug == NORM_NO_GAMMA ? 1 : x[1][d]);
            REAL term = bug == NORM_TERM_CENTERED ? (x[0][i] - m) * b : bug == NORM_TERM_SIGN ? -xhat * b : xhat * b;
            gx[0][i] = (bug == NORM_NO_SCALE ? 1 : r) *
                       (g - (bug == NORM_NO_MEAN ? 0 : a) - (bug == NORM_NO_VARIANCE ? 0 : term));
        }
    }
}

/* ---- Cross-entropy of logits [B,V] with targets b * 5 % V, every third row ignored; smoothing 0.1; mean ---- */

static int OF(target)(int b, int V)
{
    return b % 3 == 2 ? -1 : b * 5 % V;
}

static void OF(probabilities)(const REAL *x, REAL *p, int rows, int V)
{
    for (int b = 0; b < rows; b++) {
        REAL most = x[b * V], sum = 0;
        for (int v = 1; v < V; v++)
            most = x[b * V + v] > most ? x[b * V + v] : most;
        for (int v = 0; v < V; v++)
            sum += p[b * V + v] = R(exp)(x[b * V + v] - most);
        for (int v = 0; v < V; v++)
            p[b * V + v] /= sum;
    }
}

static REAL OF(saved)[256], OF(earlier)[256]; /* probabilities of the last forward, of the last backward */

static void OF(entropy)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    const int B = s->n[0], V = s->n[1];
    REAL *p = OF(saved), sum = 0;
    int count = 0;
    OF(probabilities)(x[0], p, B, V);
    for (int b = 0; b < B; b++) {
        int t = OF(target)(b, V);
        count += t >= 0;
        for (int v = 0; v < V && t >= 0; v++)
            sum -= ((v == t ? 1 - SMOOTHING : 0) + SMOOTHING / (REAL)V) * R(log)(p[b * V + v]);
    }
    y[0][0] = sum / (REAL)count;
}

static void OF(entropy_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const int B = s->n[0], V = s->n[1];
    const mistake bug = s->mistake;
    REAL p[256];
    int count = 0;
    OF(probabilities)(x[0], p, B, V);
    for (int b = 0; b < B; b++)
        count += OF(target)(b, V) >= 0;
    if (bug == ENTROPY_STALE)
        memcpy(p, OF(saved), sizeof p);
    if (bug == ENTROPY_EARLIER) {
        memcpy(p, OF(earlier), sizeof p);
        OF(probabilities)(x[0], OF(earlier), B, V);
    }
    REAL by = (REAL)(bug == ENTROPY_SUM ? 1 : bug == ENTROPY_ALL_ROWS ? B : count);
    for (int b = 0; b < B; b++) {
        int t = OF(target)(b, V);
        if (t < 0 && bug != ENTROPY_IGNORED_COUNTED)
            continue;
        t = t < 0 ? 0 : bug == ENTROPY_TARGET_SHIFTED ? (t + 1) % V : t;
        for (int v = 0; v < V; v++) {
            REAL q = bug == ENTROPY_NOT_SMOOTHED ? (REAL)(v == t)
                                                 : (v == t ? 1 - SMOOTHING : 0) + SMOOTHING / (REAL)V;
            gx[0][b * V + v] = (bug == ENTROPY_NO_UPSTREAM ? 1 : gy[0][0]) * (p[b * V + v] - q) / by;
        }
    }
}

/* ---- GELU [n], erf form and tanh form ---- */

static void OF(gelu)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0]; i++) {
        REAL z = x[0][i];
        y[0][i] = s->mistake >= GELU_TANH_FIRST && s->mistake <= GELU_TANH_RIGHT
                      ? (REAL)0.5 * z * (1 + R(tanh)((REAL)0.7978845608028654 * (z + (REAL)0.044715 * z * z * z)))
                      : (REAL)0.5 * z * (1 + R(erf)(z * (REAL)0.7071067811865476));
    }
}

static REAL OF(tanh_slope)(REAL z, REAL c, REAL three)
{
    REAL t = R(tanh)(c * (z + (REAL)0.044715 * z * z * z));
    return (REAL)0.5 * (1 + t) + (REAL)0.5 * z * (1 - t * t) * c * (1 + three * (REAL)0.044715 * z * z);
}

static REAL OF(accumulated)[256];

static void OF(gelu_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const mistake bug = s->mistake;
    const REAL c = (REAL)0.7978845608028654; /* sqrt(2 / pi) */
    for (int i = 0; i < s->n[0]; i++) {
        REAL z = x[0][i], P = (REAL)0.5 * (1 + R(erf)(z * (REAL)0.7071067811865476)), e = R(exp)(-z * z / 2);
        REAL slope = P + z * e * c / 2;
        if (bug == GELU_TANH_SLOPE)
            slope = OF(tanh_slope)(z, c, 3);
        else if (bug == GELU_NO_DENSITY)
            slope = P;
        else if (bug == GELU_DENSITY_UNSCALED)
            slope = P + z * e;
        else if (bug == GELU_DENSITY_DOUBLED)
            slope = P + z * e * c;
        else if (bug == GELU_SINGLE)
            slope = (REAL)((float)P + (float)z * (float)(e * c / 2));
        else if (bug == GELU_ERF_UNSCALED)
            slope = (REAL)0.5 * (1 + R(erf)(z)) + z * e * c / 2;
        else if (bug >= GELU_TANH_FIRST && bug != GELU_ERF_SLOPE)
            slope = OF(tanh_slope)(z, bug == GELU_TANH_CONSTANT ? c / 2 : c, bug == GELU_TANH_NO_THREE ? 1 : 3);
        gx[0][i] = gy[0][i] * slope;
        if (bug == GELU_ACCUMULATED)
            gx[0][i] = OF(accumulated)[i] += gx[0][i];
    }
}

/* ---- Convolution: x [B,C,T], w [O,C,K], bias [O] -> [B,O,(T + 2 - K) / 2 + 1], stride 2, padding 1 ---- */

static void OF(convolution)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    const int B = s->n[0], C = s->n[1], T = s->n[2], O = s->n[3], K = s->n[4], L = (T + 2 - K) / 2 + 1;
    for (int b = 0; b < B; b++)
        for (int o = 0; o < O; o++)
            for (int t = 0; t < L; t++) {
                REAL sum = x[2][o];
                for (int c = 0; c < C; c++)
                    for (int k = 0; k < K; k++) {
                        int i = 2 * t + k - 1;
                        if (i >= 0 && i < T)
                            sum += x[0][(b * C + c) * T + i] * x[1][(o * C + c) * K + k];
                    }
                y[0][(b * O + o) * L + t] = sum;
            }
}

static void OF(convolution_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const int B = s->n[0], C = s->n[1], T = s->n[2], O = s->n[3], K = s->n[4], L = (T + 2 - K) / 2 + 1;
    const mistake bug = s->mistake;
    for (int b = 0; b < B; b++)
        for (int o = 0; o < O; o++)
            for (int t = 0; t < (bug == CONV_OUTPUT_SKIPPED ? L - 1 : L); t++) {
                REAL g = gy[0][(b * O + o) * L + t];
                gx[2][o] = bug == CONV_BIAS_ASSIGNED ? g : gx[2][o] + g;
                for (int c = 0; c < C; c++)
                    for (int k = 0; k < K; k++) {
                        int i = 2 * t + k - (bug == CONV_PADDING ? 0 : 1);
                        if (i < 0 || i >= T || (bug == CONV_INPUT_SKIPPED && i >= T - 1))
                            continue;
                        gx[0][(b * C + c) * T + i] += g * x[1][(o * C + c) * K + (bug == CONV_FLIPPED ? K - 1 - k : k)];
                        int j = bug == CONV_NO_STRIDE ? t + k - 1 : i, to = bug == CONV_CHANNEL ? C - 1 - c : c;
                        if (j < 0 || j >= T || (bug == CONV_LAST_BATCH && b < B - 1))
                            continue;
                        gx[1][(o * C + to) * K + k] += g * x[0][(b * C + c) * T + j] /
                                                       (REAL)(bug == CONV_BATCH_MEAN ? B : 1);
                    }
            }
}

/* ---- Softmax [N,D] of scale * x ---- */

static void OF(softmax)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    REAL scaled[256] = { 0 };
    for (int i = 0; i < s->n[0] * s->n[1]; i++)
        scaled[i] = x[0][i] * (s->mistake == SOFTMAX_NO_SCALE ? 1 / R(sqrt)((REAL)s->n[1]) : 1);
    OF(probabilities)(scaled, y[0], s->n[0], s->n[1]);
}

static void OF(softmax_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const int N = s->n[0], D = s->n[1];
    REAL y[256], column[64] = { 0 }, all = 0;
    OF(softmax)(x, (REAL *[]){ y }, user);
    for (int i = 0; i < N * D; i++) {
        column[i % D] += gy[0][i] * y[i];
        all += gy[0][i] * y[i];
    }
    for (int n = 0; n < N; n++) {
        REAL sum = 0;
        for (int d = 0; d < D; d++)
            sum += gy[0][n * D + d] * (s->mistake == SOFTMAX_SUM_OF_GY ? 1 : y[n * D + d]);
        for (int d = 0; d < D; d++) {
            REAL of = s->mistake == SOFTMAX_SUM_OF_ALL ? all : s->mistake == SOFTMAX_WRONG_AXIS ? column[d] : sum;
            gx[0][n * D + d] = y[n * D + d] * (gy[0][n * D + d] - (s->mistake == SOFTMAX_NO_SUM ? 0 : of));
        }
        REAL total = 0;
        for (int d = 0; d < D && s->mistake == SOFTMAX_ROW_SUM; d++)
            total += gx[0][n * D + d];
        for (int d = 0; d < D && s->mistake == SOFTMAX_ROW_SUM; d++)
            gx[0][n * D + d] = total;
    }
}

/* ---- A gated unit, y = a s(b), and maxima of pairs: x [N,2D] -> [N,D] ---- */

static void OF(gate)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    const int N = s->n[0], D = s->n[1];
    for (int i = 0; i < N * D; i++) {
        const REAL *a = &x[0][i / D * 2 * D + i % D];
        y[0][i] = a[0] / (1 + R(exp)(-a[D]));
    }
}

static void OF(gate_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const int N = s->n[0], D = s->n[1];
    for (int i = 0; i < N * D; i++) {
        int at = i / D * 2 * D + i % D;
        REAL a = x[0][at], slope = 1 / (1 + R(exp)(-x[0][at + D]));
        gx[0][at] = gy[0][i] * slope;
        gx[0][at + D] = gy[0][i] * slope * (1 - slope) * (s->mistake == GATE_NO_VALUE ? 1 : a);
    }
}

static void OF(pool)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0] * s->n[1]; i++)
        y[0][i] = x[0][2 * i] > x[0][2 * i + 1] ? x[0][2 * i] : x[0][2 * i + 1];
}

static void OF(pool_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0] * s->n[1]; i++)
        gx[0][2 * i + (s->mistake != POOL_FIRST && x[0][2 * i] <= x[0][2 * i + 1])] = gy[0][i];
}

/* ---- Functions of one line ---- */

/* y = a b, a [n] and b [n] */
static void OF(product)(const REAL *const *x, REAL *const *y, void *user)
{
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        y[0][i] = x[0][i] * x[1][i];
}

static void OF(product_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0]; i++) {
        gx[0][i] = gy[0][i] * (s->mistake == PRODUCT_NO_FACTOR ? 1 : s->mistake == PRODUCT_OWN ? x[0][i] : x[1][i]);
        gx[1][i] = gy[0][i] * x[0][i];
    }
}

/* y = a / b */
static void OF(quotient)(const REAL *const *x, REAL *const *y, void *user)
{
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        y[0][i] = x[0][i] / (x[1][i] + 3);
}

static void OF(quotient_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0]; i++) {
        REAL b = x[1][i] + 3;
        gx[0][i] = gy[0][i] / b;
        gx[1][i] = -gy[0][i] * (s->mistake == QUOTIENT_NO_FACTOR ? 1 : x[0][i]) / (b * b);
    }
}

/* y = tanh(x), y = 1 / (1 + exp(-x)) */
static void OF(squash)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0]; i++)
        y[0][i] = s->mistake == TANH_OF_INPUT ? R(tanh)(x[0][i]) : 1 / (1 + R(exp)(-x[0][i]));
}

static void OF(squash_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    for (int i = 0; i < s->n[0]; i++) {
        REAL z = x[0][i];
        gx[0][i] = gy[0][i] * (s->mistake == TANH_OF_INPUT ? 1 - z * z : z * (1 - z));
    }
}

/* y[i,j] = sum over k of a[i,k] b[k,j], all [n,n] */
static void OF(matrix)(const REAL *const *x, REAL *const *y, void *user)
{
    const int n = ((const kind_shape *)user)->n[0];
    for (int i = 0; i < n * n; i++) {
        y[0][i] = 0;
        for (int k = 0; k < n; k++)
            y[0][i] += x[0][i / n * n + k] * x[1][k * n + i % n];
    }
}

static void OF(matrix_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    const int n = s->n[0];
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            for (int k = 0; k < n; k++) {
                gx[0][i * n + k] += gy[0][i * n + j] * x[1][s->mistake == MATRIX_TRANSPOSED ? j * n + k : k * n + j];
                gx[1][k * n + j] += gy[0][i * n + j] * x[0][i * n + k];
            }
}

/* y[t] = the sum of x[0..t] */
static void OF(running)(const REAL *const *x, REAL *const *y, void *user)
{
    REAL sum = 0;
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        y[0][i] = sum += x[0][i] * x[0][i];
}

static void OF(running_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    const kind_shape *s = user;
    REAL sum = 0;
    for (int i = 0; i < s->n[0]; i++)
        gx[0][i] = 2 * x[0][i] * (sum += gy[0][i]); /* RUNNING_FORWARDS: the sum of gy[0..t], right is gy[t..] */
}

/* y[t] = table[index of t], table [V,D], T tokens */
static void OF(lookup)(const REAL *const *x, REAL *const *y, void *user)
{
    const kind_shape *s = user;
    const int V = s->n[0], D = s->n[1], T = s->n[2];
    for (int i = 0; i < T * D; i++)
        y[0][i] = x[0][i / D * 3 % V * D + i % D];
}

static void OF(lookup_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)x;
    const kind_shape *s = user;
    const int V = s->n[0], D = s->n[1], T = s->n[2];
    for (int i = 0; i < T * D; i++) {
        REAL *to = &gx[0][(i / D * 3 % V + (s->mistake == LOOKUP_SHIFTED)) % V * D + i % D];
        *to = s->mistake == LOOKUP_ASSIGNED ? gy[0][i] : *to + gy[0][i];
    }
}

/* y[n,d] = x[n,d] * mask[d], the mask fixed; backward with another mask */
static void OF(drop)(const REAL *const *x, REAL *const *y, void *user)
{
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        y[0][i] = x[0][i] * (REAL)(i * 7 % 5 < 2 ? 0 : 2);
}

static void OF(drop_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)x;
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        gx[0][i] = gy[0][i] * (REAL)(i * 11 % 7 < 3 ? 0 : 2); /* DROP_REDRAWN */
}

/* y = silu(x) = x s with s = 1 / (1 + exp(-x)); backward takes s as a constant, as when it is detached */
static void OF(silu)(const REAL *const *x, REAL *const *y, void *user)
{
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        y[0][i] = x[0][i] / (1 + R(exp)(-x[0][i]));
}

static void OF(silu_backward)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    for (int i = 0; i < ((const kind_shape *)user)->n[0]; i++)
        gx[0][i] = gy[0][i] / (1 + R(exp)(-x[0][i])); /* SILU_CUT */
}
