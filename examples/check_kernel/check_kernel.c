/* SPDX-License-Identifier: MIT
 *
 * check_kernel.c - checks a layer norm written as the kernels of llm.c are: float arrays, sizes as arguments, means and
 * reciprocal standard deviations saved by forward. check_kernel.h is all that it takes.
 */
#include "examples/check_kernel/check_kernel.h"
#include "examples/shared/program.h"

#include <math.h>

enum { B = 2, T = 3, C = 8 };

static bool wrong; /* plant a mistake */

/* ---- The kernel ---- */

/* out[B,T,C] = (inp - mean) rstd weight + bias, over the last dim; mean and rstd are [B,T]. */
static void layernorm_forward(float *out, float *mean, float *rstd, const float *inp, const float *weight,
                              const float *bias)
{
    for (int row = 0; row < B * T; row++) {
        const float *x = inp + row * C;
        float m = 0, v = 0;
        for (int i = 0; i < C; i++)
            m += x[i] / C;
        for (int i = 0; i < C; i++)
            v += (x[i] - m) * (x[i] - m) / C;
        mean[row] = m;
        rstd[row] = 1 / sqrtf(v + 1e-5f);
        for (int i = 0; i < C; i++)
            out[row * C + i] = (x[i] - m) * rstd[row] * weight[i] + bias[i];
    }
}

static void layernorm_backward(float *const *grad, const float *dout, const float *inp, const float *weight,
                               const float *mean, const float *rstd)
{
    float *dinp = grad[0], *dweight = grad[1], *dbias = grad[2];
    for (int row = 0; row < B * T; row++) {
        const float *x = inp + row * C, *dy = dout + row * C;
        float g_mean = 0, g_xhat_mean = 0;
        for (int i = 0; i < C; i++) {
            float centred = x[i] - mean[row], xhat = centred * rstd[row], g = dy[i] * weight[i];
            g_mean += g / C;
            g_xhat_mean += g * xhat / C;
            dweight[i] += dy[i] * (wrong ? centred : xhat);
            dbias[i] += dy[i];
        }
        for (int i = 0; i < C; i++)
            dinp[row * C + i] += rstd[row] * (dy[i] * weight[i] - g_mean -
                                              (x[i] - mean[row]) * rstd[row] * g_xhat_mean);
    }
}

/* ---- Its check ---- */

static void forward(const float *const *x, float *const *y, void *user)
{
    float mean[B * T], rstd[B * T];
    (void)user;
    layernorm_forward(y[0], mean, rstd, x[0], x[1], x[2]);
}

static void backward(const float *const *x, const float *const *gy, float *const *gx, void *user)
{
    float out[B * T * C], mean[B * T], rstd[B * T];
    (void)user;
    layernorm_forward(out, mean, rstd, x[0], x[1], x[2]);
    layernorm_backward(gx, gy[0], x[0], x[1], mean, rstd);
}

int main(int argc, char **argv)
{
    program_streams("check_kernel");
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        puts("usage: check_kernel [--wrong]\n\nChecks the backward of a layer norm of floats; --wrong: one with a "
             "mistake.");
        return 0;
    }
    if (argc > 2 || (argc == 2 && strcmp(argv[1], "--wrong") != 0)) {
        fprintf(stderr, "check_kernel: unknown option '%s'; try --help\n", argv[argc > 2 ? 2 : 1]);
        return 2;
    }
    wrong = argc == 2;
    return check_kernel("layernorm", forward, backward, "inp[2,3,8] weight[8] bias[8] -> out[2,3,8]");
}
