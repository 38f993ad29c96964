/* SPDX-License-Identifier: MIT
 *
 * answers.c - the solutions of the exercises. TYPICAL(n, mistake, right) is `right`, which is the solution, unless the
 * test asks for mistake n. Mistake k of exercise e has the number 10 e + k.
 */
#include "tests/exercises/answers.h"

#include "examples/exercises/exercises.h"

#include <stdbool.h>

int mistake_number;

void softmax_backward(double *dx, const double *dy, const double *y, int rows, int cols)
{
    double all = 0, kept = 0;
    for (int i = 0; i < rows * cols; i++)
        all += dy[i] * y[i];
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int i = r * cols; i < (r + 1) * cols; i++)
            sum += dy[i] * TYPICAL(14, 1, y[i]);
        kept += sum;
        sum = TYPICAL(11, 0, TYPICAL(13, all, TYPICAL(17, kept, TYPICAL(18, -sum, sum))));
        for (int i = r * cols; i < (r + 1) * cols; i++)
            dx[i] = TYPICAL(12, y[i] * (1 - y[i]) * dy[i], TYPICAL(15, 1, y[i]) * (dy[i] - sum));
        for (int i = r * cols; i < (r + 1) * cols && mistake_number == 16; i++) {
            dx[i] = 0;
            for (int j = r * cols; j < (r + 1) * cols; j++)
                dx[i] += dy[i] * y[j] * ((i == j) - y[i]); /* dy[i] for dy[j] */
        }
    }
}

void layer_norm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                         int rows, int cols)
{
    for (int r = 0; r < rows; r++) {
        double mean = 0, variance = 0, g_mean = 0, gx_mean = 0;
        for (int c = 0; c < cols; c++)
            mean += x[r * cols + c] / cols;
        for (int c = 0; c < cols; c++)
            variance += (x[r * cols + c] - mean) * (x[r * cols + c] - mean) / cols;
        double rstd = 1 / sqrt(variance + 1e-5);
        for (int c = 0; c < cols; c++) {
            double xhat = (x[r * cols + c] - mean) * rstd, g = dy[r * cols + c] * TYPICAL(23, 1, w[c]);
            g_mean += g / cols;
            gx_mean += g * xhat / cols;
            dw[c] = TYPICAL(24, 0, dw[c]) + dy[r * cols + c] * TYPICAL(26, x[r * cols + c], xhat);
            db[c] = TYPICAL(25, 0, db[c]) + dy[r * cols + c];
        }
        for (int c = 0; c < cols; c++) {
            double xhat = (x[r * cols + c] - mean) * rstd;
            double g = dy[r * cols + c] * TYPICAL(23, 1, w[c]);
            double factor = TYPICAL(27, 1, TYPICAL(28, rstd * rstd, rstd));
            dx[r * cols + c] = factor * (g - TYPICAL(21, 0, g_mean) - TYPICAL(22, 0, xhat * gx_mean));
        }
    }
}

void gelu_backward(double *dx, const double *dy, const double *x, int n)
{
    static const double pi = 3.14159265358979323846;
    double a = sqrt(TYPICAL(32, 1 / (2 * pi), 2 / pi));
    for (int i = 0; i < n; i++) {
        double t = tanh(sqrt(2 / pi) * (x[i] + 0.044715 * x[i] * x[i] * x[i]));
        double du = a * (1 + TYPICAL(33, 1, 3) * 0.044715 * x[i] * x[i]);
        double slope = (1 + t) / 2 + TYPICAL(31, 0, x[i] / 2 * (1 - TYPICAL(34, t, t * t)) * du);
        double erf_slope = (1 + erf(x[i] / sqrt(2))) / 2 + x[i] * exp(-x[i] * x[i] / 2) / sqrt(2 * pi);
        dx[i] = TYPICAL(35, 1, dy[i]) * TYPICAL(36, erf_slope, slope);
    }
}

void cross_entropy_backward(double *dlogits, double dloss, const double *logits, const int *target, int rows,
                            int classes)
{
    for (int r = 0; r < rows; r++) {
        const double *z = logits + r * classes;
        double max = z[0], sum = 0;
        for (int c = 1; c < classes; c++)
            max = z[c] > max ? z[c] : max;
        for (int c = 0; c < classes; c++)
            sum += exp(z[c] - max);
        for (int c = 0; c < classes; c++) {
            double p = exp(z[c] - max) / sum, one_hot = c == target[r];
            double g = TYPICAL(43, z[c], p) - TYPICAL(42, 0, one_hot);
            g = TYPICAL(46, -one_hot / p, TYPICAL(47, exp(z[c]) - one_hot, TYPICAL(48, p * g, g)));
            dlogits[r * classes + c] = TYPICAL(44, 1, dloss) * TYPICAL(45, -1, 1) * g / TYPICAL(41, 1, rows);
        }
    }
}

void linear_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                     linear_sizes n)
{
    for (int r = 0; r < n.rows; r++)
        for (int o = 0; o < n.out; o++) {
            double g = dy[r * n.out + o];
            for (int i = 0; i < n.in; i++) {
                int k = TYPICAL(51, i * n.out + o, o * n.in + i);
                dx[r * n.in + i] = TYPICAL(53, 0, dx[r * n.in + i]) + g * w[TYPICAL(52, i * n.out + o, o * n.in + i)];
                dw[k] = TYPICAL(54, 0, dw[k]) + g * x[TYPICAL(56, i * n.rows + r, r * n.in + i)];
            }
            db[o] = TYPICAL(55, 0, db[o]) + g;
        }
}

void attention_forward(double *o, double *p, attention_head h)
{
    int T = h.T, D = h.D;
    double scale = TYPICAL(61, 1, TYPICAL(62, 1.0 / D, 1 / sqrt(D)));
    for (int i = 0; i < T; i++) {
        double max = TYPICAL(67, 0, (double)-INFINITY), sum = 0;
        for (int j = 0; j < T; j++) {
            double s = 0;
            for (int d = 0; d < D; d++)
                s += TYPICAL(64, h.k, h.q)[i * D + d] * TYPICAL(64, h.q, h.k)[j * D + d] * scale;
            p[i * T + j] = s;
            max = TYPICAL(67, 0, fmax(max, s));
        }
        for (int j = 0; j < T; j++)
            sum += p[i * T + j] = TYPICAL(65, p[i * T + j], exp(p[i * T + j] - max));
        for (int j = 0; j < T; j++)
            p[i * T + j] /= TYPICAL(65, 1, TYPICAL(68, 1, sum));
    }
    for (int j = 0; j < T && mistake_number == 63; j++) { /* normalised over the queries */
        double sum = 0;
        for (int i = 0; i < T; i++) {
            double s = 0;
            for (int d = 0; d < D; d++)
                s += h.q[i * D + d] * h.k[j * D + d] * scale;
            sum += p[i * T + j] = exp(s);
        }
        for (int i = 0; i < T; i++)
            p[i * T + j] /= sum;
    }
    for (int i = 0; i < T; i++)
        for (int d = 0; d < D; d++) {
            o[i * D + d] = 0;
            for (int j = 0; j < T; j++)
                o[i * D + d] += p[TYPICAL(66, j * T + i, i * T + j)] * TYPICAL(69, h.k, h.v)[j * D + d];
        }
}

void attention_backward(double *dq, double *dk, double *dv, const double *dout, const double *p, attention_head h)
{
    int T = h.T, D = h.D;
    double scale = 1 / sqrt(D), dp[16];
    for (int i = 0; i < T; i++) {
        double delta = 0;
        for (int j = 0; j < T; j++) {
            dp[j] = 0;
            for (int d = 0; d < D; d++)
                dp[j] += dout[i * D + d] * h.v[j * D + d];
            delta += TYPICAL(71, 0, TYPICAL(78, 1, p[i * T + j])) * dp[j];
        }
        for (int j = 0; j < T; j++) {
            double ds = TYPICAL(77, 1, p[i * T + j]) * (dp[j] - delta);
            for (int d = 0; d < D; d++) {
                double part = ds * TYPICAL(76, h.q, h.k)[j * D + d] * TYPICAL(72, 1, scale);
                dq[i * D + d] = TYPICAL(79, 0, dq[i * D + d]) + part;
                dk[TYPICAL(75, i, j) * D + d] += ds * h.q[TYPICAL(75, j, i) * D + d] * TYPICAL(73, 1, scale);
                dv[TYPICAL(74, i, j) * D + d] += p[i * T + j] * dout[TYPICAL(74, j, i) * D + d];
            }
        }
    }
}

void causal_attention_forward(double *o, double *p, attention_head h)
{
    int T = h.T, D = h.D;
    for (int i = 0; i < T; i++) {
        double max = -INFINITY, sum = 0;
        for (int j = 0; j < T; j++) {
            double s = 0;
            for (int d = 0; d < D; d++)
                s += h.q[i * D + d] * h.k[j * D + d] / TYPICAL(87, 1, sqrt(D));
            bool seen = TYPICAL(81, true, TYPICAL(82, j < i, TYPICAL(83, j >= i, j <= i)));
            s = seen || mistake_number == 85 ? s : TYPICAL(84, 0, TYPICAL(86, -1e4, (double)-INFINITY));
            p[i * T + j] = s;
            max = fmax(max, s);
        }
        for (int j = 0; j < T; j++)
            sum += p[i * T + j] = exp(p[i * T + j] - max);
        for (int j = 0; j < T; j++)
            p[i * T + j] *= (mistake_number == 85 && j > i ? 0 : 1) / sum;
        for (int d = 0; d < D; d++) {
            o[i * D + d] = 0;
            for (int j = 0; j < T; j++)
                o[i * D + d] += p[i * T + j] * h.v[j * D + d];
        }
        for (int j = i + 1; j < T && mistake_number == 89; j++)
            p[i * T + j] = 1;
    }
}

void causal_attention_backward(double *dq, double *dk, double *dv, const double *dout, attention_head h)
{
    double o[256], p[256];
    if (mistake_number == 88)
        attention_forward(o, p, h);
    else
        causal_attention_forward(o, p, h);
    attention_backward(dq, dk, dv, dout, p, h);
}

void split_heads(double *heads, const double *x, int T, int H, int D)
{
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++) {
                int at = TYPICAL(91, (t * H + h) * D + d, TYPICAL(93, (h * D + d) * T + t, (h * T + t) * D + d));
                heads[at] = x[t * H * D + TYPICAL(92, d * H + h, TYPICAL(95, h * H, h * D) + d)];
            }
}

void join_heads(double *x, const double *heads, int T, int H, int D)
{
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++)
                x[t * H * D + TYPICAL(92, d * H + h, TYPICAL(95, h * H, h * D) + d)] = TYPICAL(96, -1, 1) *
                    heads[mistake_number == 91 || mistake_number == 94 ? (t * H + h) * D + d
                                                                       : TYPICAL(93, (h * D + d) * T + t,
                                                                                 (h * T + t) * D + d)];
}

void sgd_step(double *w, double *velocity, const double *g, int n, double rate, double momentum)
{
    for (int i = 0; i < n; i++) {
        double old = velocity[i];
        velocity[i] = TYPICAL(101, 0, momentum) * velocity[i] +
                      TYPICAL(102, 1 - momentum, TYPICAL(104, rate, 1)) * g[i];
        velocity[i] = TYPICAL(108, momentum * old - rate * g[i], velocity[i]);
        w[i] -= TYPICAL(103, -1, 1) * TYPICAL(104, 1, TYPICAL(108, -1, rate)) *
                TYPICAL(105, g[i], TYPICAL(106, old, TYPICAL(107, g[i] + momentum * velocity[i], velocity[i])));
        velocity[i] *= TYPICAL(109, 0, 1);
    }
}

double clip_gradients(double *const *g, const int *n, int count, double max_norm)
{
    double sum = 0;
    for (int a = 0; a < count; a++) {
        sum = TYPICAL(111, 0, sum);
        for (int i = 0; i < n[a]; i++)
            sum += g[a][i] * g[a][i];
        for (int i = 0; i < n[a] && mistake_number == 111; i++)
            g[a][i] *= fmin(1, max_norm / sqrt(sum));
    }
    double norm = TYPICAL(115, sum, sqrt(sum));
    double scale = norm > max_norm || mistake_number == 112 ? TYPICAL(113, 1, max_norm) / TYPICAL(117, 1, norm) : 1;
    for (int a = 0; a < count && mistake_number != 111; a++)
        for (int i = 0; i < n[a]; i++)
            g[a][i] = TYPICAL(114, fmax(-max_norm, fmin(max_norm, g[a][i])), scale * g[a][i]);
    return TYPICAL(116, scale, 1) * norm;
}

static void rotate(double *y, const double *x, int T, int D, double direction)
{
    for (int t = 0; t < T; t++)
        for (int n = 0; n < D / 2; n++) {
            int a = t * D + TYPICAL(121, 2 * n, n), b = TYPICAL(121, a + 1, a + D / 2);
            double exponent = -TYPICAL(124, 1.0, 2.0) * n / D;
            double angle = direction * TYPICAL(123, t + 1, t) * pow(TYPICAL(128, 1000, 10000), exponent);
            angle = TYPICAL(126, direction * t * pow(10000, -2 * n / D), angle); /* whole numbers */
            y[a] = x[a] * cos(angle) - TYPICAL(127, -1, 1) * x[b] * sin(angle);
            y[b] = x[a] * sin(angle) + x[b] * cos(angle);
        }
}

void rotary(double *y, const double *x, int T, int D)
{
    rotate(y, x, T, D, TYPICAL(122, -1, 1));
}

void rotary_backward(double *dx, const double *dy, int T, int D)
{
    rotate(dx, dy, T, D, TYPICAL(125, 1, -1));
}

void cached_attention(double *o, double *k_cache, double *v_cache, const double *q, const double *k, const double *v,
                      int t, int D)
{
    int slot = TYPICAL(133, 0, t), end = TYPICAL(131, t, TYPICAL(132, t + 2, t + 1));
    double p[16], sum = 0;
    for (int d = 0; d < D; d++) {
        k_cache[slot * D + d] = k[d];
        v_cache[slot * D + d] = v[d];
        o[d] = 0;
    }
    for (int j = 0; j < end; j++) {
        p[j] = 0;
        for (int d = 0; d < D; d++)
            p[j] += q[d] * k_cache[j * D + d] / TYPICAL(134, 1, TYPICAL(137, D, sqrt(D)));
        sum += p[j] = exp(p[j]);
    }
    for (int j = 0; j < end; j++)
        for (int d = 0; d < D; d++)
            o[d] += p[j] / TYPICAL(136, 1, sum) * TYPICAL(135, v[d], v_cache[j * D + d]);
}

double training_step(const training *t, const double *x, const int *target)
{
    linear_sizes n = t->n;
    static double old[64];
    double y[64], dy[64] = { 0 }, dx[64] = { 0 }, dw[64] = { 0 }, db[8] = { 0 }, loss = 0;
    for (int r = 0; r < n.rows; r++) {
        double sum = 0;
        for (int o = 0; o < n.out; o++) {
            y[r * n.out + o] = t->b[o];
            for (int i = 0; i < n.in; i++)
                y[r * n.out + o] += x[r * n.in + i] * t->w[o * n.in + i];
            sum += exp(y[r * n.out + o]);
        }
        loss += (log(sum) - y[r * n.out + target[r]]) / TYPICAL(144, 1, n.rows);
    }
    cross_entropy_backward(dy, TYPICAL(145, n.rows, 1), y, target, n.rows, n.out);
    linear_backward(dx, dw, db, dy, x, t->w, n);
    for (int i = 0; i < n.in * n.out && mistake_number == 146; i++)
        dw[i] = old[i] += dw[i];
    double *const g[] = { dw, db };
    const int sizes[] = { n.in * n.out, n.out };
    if (mistake_number != 141 && mistake_number != 142)
        clip_gradients(g, sizes, 2, t->max_norm);
    for (int a = 0; a < 2 && mistake_number == 142; a++)
        clip_gradients(g + a, sizes + a, 1, t->max_norm);
    sgd_step(t->w, t->w_velocity, dw, sizes[0], t->rate, TYPICAL(147, 0, t->momentum));
    if (mistake_number != 143)
        sgd_step(t->b, t->b_velocity, db, sizes[1], t->rate, t->momentum);
    return loss;
}
