/* SPDX-License-Identifier: MIT
 *
 * zoo_faults.h - faults in backwards that public projects have had, each rebuilt from its description: a right forward
 * and the wrong backward. Included by both_types.h, which says what REAL, OF and R are. The report that describes a
 * fault stands above it.
 */

static void OF(softmax_row)(const REAL *x, REAL *y, int n)
{
    REAL sum = 0;
    for (int i = 0; i < n; i++)
        sum += y[i] = R(exp)(x[i]);
    for (int i = 0; i < n; i++)
        y[i] /= sum;
}

/* ---- Softmax: x[4,5] -> y[4,5] ---- */

static void OF(softmax)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int row = 0; row < 4; row++)
        OF(softmax_row)(x[0] + row * 5, y[0] + row * 5, 5);
}

/* magnetron: the sum over gy y is one sum over all dims. */
static void OF(softmax_sums_all)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    REAL y[20], sum = 0;
    OF(softmax)(x, (REAL *[]){ y }, user);
    for (int i = 0; i < 20; i++)
        sum += gy[0][i] * y[i];
    for (int i = 0; i < 20; i++)
        gx[0][i] = y[i] * (gy[0][i] - sum);
}

/* pjreddie/darknet, pull request 96: the gradient of the output is copied to the input. */
static void OF(softmax_copies)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)x, (void)user;
    for (int i = 0; i < 20; i++)
        gx[0][i] = gy[0][i];
}

/* Apiquet/DeepLearningFrameworkFromScratchCpp, issue 1: y (1 - y), the diagonal of the Jacobian alone. */
static void OF(softmax_diagonal)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    REAL y[20];
    OF(softmax)(x, (REAL *[]){ y }, user);
    for (int i = 0; i < 20; i++)
        gx[0][i] = gy[0][i] * y[i] * (1 - y[i]);
}

/* ---- Activations: x[12] -> y[12] ---- */

/* GELU in its tanh form; three public runtimes had 1/sqrt(2 pi) and sqrt(2/pi) confused in the slope. */
static void OF(gelu)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++) {
        REAL z = x[0][i];
        y[0][i] = z * (1 + R(tanh)((REAL)0.7978845608028654 * (z + (REAL)0.044715 * z * z * z))) / 2;
    }
}

static void OF(gelu_constant)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++) {
        REAL z = x[0][i], t = R(tanh)((REAL)0.7978845608028654 * (z + (REAL)0.044715 * z * z * z));
        REAL inner = (REAL)0.3989422804014327 * (1 + (REAL)0.134145 * z * z);
        gx[0][i] = gy[0][i] * ((1 + t) / 2 + z * (1 - t * t) * inner / 2);
    }
}

/* The same runtimes: forward is the erf form, the slope that of the tanh form. */
static void OF(gelu_erf)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++)
        y[0][i] = x[0][i] * (1 + R(erf)(x[0][i] * (REAL)0.7071067811865476)) / 2;
}

static void OF(gelu_forms_mixed)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++) {
        REAL z = x[0][i], t = R(tanh)((REAL)0.7978845608028654 * (z + (REAL)0.044715 * z * z * z));
        REAL inner = (REAL)0.7978845608028654 * (1 + (REAL)0.134145 * z * z);
        gx[0][i] = gy[0][i] * ((1 + t) / 2 + z * (1 - t * t) * inner / 2);
    }
}

/* BoltzmannEntropy/interviews.ai, issue 15: x (1 - x) of the saved input in place of y (1 - y). */
static void OF(sigmoid)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++)
        y[0][i] = 1 / (1 + R(exp)(-x[0][i]));
}

static void OF(sigmoid_of_input)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++)
        gx[0][i] = gy[0][i] * x[0][i] * (1 - x[0][i]);
}

/* ---- RMS norm: x[4,6] weight[6] -> y[4,6] ---- */

static void OF(rms_norm)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int row = 0; row < 4; row++) {
        REAL square = 0;
        for (int i = row * 6; i < row * 6 + 6; i++)
            square += x[0][i] * x[0][i] / 6;
        for (int i = row * 6; i < row * 6 + 6; i++)
            y[0][i] = x[0][i] / R(sqrt)(square + (REAL)1e-5) * x[1][i % 6];
    }
}

/* lost: the weight in the gradient of x, or the gradient of the weight. */
static void OF(rms_norm_loses)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, bool weight)
{
    for (int row = 0; row < 4; row++) {
        REAL square = 0, sum = 0;
        for (int i = row * 6; i < row * 6 + 6; i++)
            square += x[0][i] * x[0][i] / 6;
        REAL r = 1 / R(sqrt)(square + (REAL)1e-5);
        for (int i = row * 6; i < row * 6 + 6; i++) {
            sum += gy[0][i] * (weight ? 1 : x[1][i % 6]) * x[0][i] * r / 6;
            gx[1][i % 6] += weight ? gy[0][i] * x[0][i] * r : 0;
        }
        for (int i = row * 6; i < row * 6 + 6; i++)
            gx[0][i] = r * (gy[0][i] * (weight ? 1 : x[1][i % 6]) - x[0][i] * r * sum);
    }
}

/* karpathy/llm.c, pull request 763, in a comment: the backward forgets the weight. */
static void OF(rms_norm_no_weight)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    OF(rms_norm_loses)(x, gy, gx, true);
}

/* paiml/entrenar, pull request 257: the gradient of the weight is never computed. */
static void OF(rms_norm_weight_zero)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    OF(rms_norm_loses)(x, gy, gx, false);
}

/* ---- Layer norm's weight and bias: xhat[5,6] weight[6] bias[6] -> y[5,6] ---- */

static void OF(affine)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 30; i++)
        y[0][i] = x[0][i] * x[1][i % 6] + x[2][i % 6];
}

/* Oneflow-Inc/oneflow, pull request 6149: the gradients of weight and bias are exchanged. */
static void OF(affine_exchanged)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 30; i++) {
        gx[0][i] = gy[0][i] * x[1][i % 6];
        gx[2][i % 6] += gy[0][i] * x[0][i];
        gx[1][i % 6] += gy[0][i];
    }
}

/* ---- Cross-entropy: logits[6,5] -> loss[] or loss[6]; the target of row b is 3 b modulo 5 ---- */

static void OF(entropy_rows)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int b = 0; b < 6; b++) {
        REAL p[5];
        OF(softmax_row)(x[0] + b * 5, p, 5);
        y[0][b] = -R(log)(p[3 * b % 5]);
    }
}

static void OF(entropy_sum)(const REAL *const *x, REAL *const *y, void *user)
{
    REAL rows[6];
    OF(entropy_rows)(x, (REAL *[]){ rows }, user);
    y[0][0] = 0;
    for (int b = 0; b < 6; b++)
        y[0][0] += rows[b];
}

/* Rows 1 and 4 are ignored. */
static void OF(entropy_ignoring)(const REAL *const *x, REAL *const *y, void *user)
{
    REAL rows[6];
    OF(entropy_rows)(x, (REAL *[]){ rows }, user);
    y[0][0] = (rows[0] + rows[2] + rows[3] + rows[5]) / 4;
}

static void OF(entropy_gradient)(const REAL *const *x, const REAL *gy, int step, REAL by, REAL *gx)
{
    for (int b = 0; b < 6; b++) {
        OF(softmax_row)(x[0] + b * 5, gx + b * 5, 5);
        gx[b * 5 + 3 * b % 5] -= 1;
        for (int v = 0; v < 5; v++)
            gx[b * 5 + v] *= gy[b * step] / by;
    }
}

/* paiml/aprender, pull request 2182: for a loss that is a sum the gradient is divided by the batch, too. */
static void OF(entropy_divided)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    OF(entropy_gradient)(x, gy[0], 0, 6, gx[0]);
}

/* The same pull request: for a loss of each row, every row gets the first row's upstream gradient. */
static void OF(entropy_first_row)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    OF(entropy_gradient)(x, gy[0], 0, 1, gx[0]);
}

/* PaddlePaddle/Paddle, pull request 28622: ignored rows have a gradient. */
static void OF(entropy_ignored_counted)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    OF(entropy_gradient)(x, gy[0], 0, 4, gx[0]);
}

/* ---- Broadcasting and lookups ---- */

/* apache/tvm, pull request 2465: the gradient of a broadcast operand is not summed over what it was broadcast to.
 * a[3,4] b[4] -> y[3,4] */
static void OF(add)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 12; i++)
        y[0][i] = x[0][i] + x[1][i % 4];
}

static void OF(add_not_summed)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)x, (void)user;
    for (int i = 0; i < 12; i++)
        gx[0][i] = gy[0][i];
    for (int i = 0; i < 4; i++)
        gx[1][i] = gy[0][i];
}

/* pytorch/pytorch, issue 1528: of an element that is taken twice only the last copy has a gradient. x[5] -> y[8] */
static void OF(take)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 8; i++)
        y[0][i] = x[0][i * 3 % 5];
}

static void OF(take_last)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)x, (void)user;
    for (int i = 0; i < 8; i++)
        gx[0][i * 3 % 5] = gy[0][i];
}

/* ---- Convolutions ---- */

/* Kulbear/deep-learning-coursera, pull request 34: the stride is missing in the backward.
 * x[2,9] w[3] -> y[2,4], stride 2 */
static void OF(strided)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 8; i++) {
        y[0][i] = 0;
        for (int k = 0; k < 3; k++)
            y[0][i] += x[0][i / 4 * 9 + i % 4 * 2 + k] * x[1][k];
    }
}

static void OF(strided_without)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 3; k++) {
            gx[0][i / 4 * 9 + i % 4 + k] += gy[0][i] * x[1][k];
            gx[1][k] += gy[0][i] * x[0][i / 4 * 9 + i % 4 + k];
        }
}

/* pytorch/pytorch, issue 63314: a transposed convolution of stride 2 with a kernel of 1 reads the upstream gradient at
 * i, right is 2 i. x[6] w[1] -> y[11] */
static void OF(transposed)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 11; i++)
        y[0][i] = i % 2 == 0 ? x[0][i / 2] * x[1][0] : 0;
}

static void OF(transposed_without)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 6; i++) {
        gx[0][i] = gy[0][i] * x[1][0];
        gx[1][0] += gy[0][2 * i] * x[0][i];
    }
}

/* FluxML/NNlib.jl, issue 518: the gradient of the kernel is written flipped. x[7] w[3] -> y[5] */
static void OF(filter)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 5; i++)
        y[0][i] = x[0][i] * x[1][0] + x[0][i + 1] * x[1][1] + x[0][i + 2] * x[1][2];
}

static void OF(filter_flipped)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    (void)user;
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 3; k++) {
            gx[0][i + k] += gy[0][i] * x[1][k];
            gx[1][2 - k] += gy[0][i] * x[0][i + k];
        }
}

/* ---- A Gaussian ---- */

/* graphdeco-inria/diff-gaussian-rasterization, pull request 64: the mixed term of the exponent has a gradient with the
 * factor 1/2 of the square terms. a[4] b[4] c[4] -> y[4] */
static void OF(gaussian)(const REAL *const *x, REAL *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < 4; i++) {
        REAL u = (REAL)0.6, v = (REAL)(0.2 * (i + 1));
        y[0][i] = R(exp)(-(x[0][i] * u * u + x[2][i] * v * v) / 2 - x[1][i] * u * v);
    }
}

static void OF(gaussian_halved)(const REAL *const *x, const REAL *const *gy, REAL *const *gx, void *user)
{
    REAL y[4];
    OF(gaussian)(x, (REAL *[]){ y }, user);
    for (int i = 0; i < 4; i++) {
        REAL u = (REAL)0.6, v = (REAL)(0.2 * (i + 1)), g = gy[0][i] * y[i];
        gx[0][i] = -g * u * u / 2;
        gx[1][i] = -g * u * v / 2;
        gx[2][i] = -g * v * v / 2;
    }
}
