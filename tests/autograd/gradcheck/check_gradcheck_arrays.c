/* SPDX-License-Identifier: MIT
 *
 * check_gradcheck_arrays.c - the gradient check of plain C functions, with the complex step and with Jacobians.
 */
#include "tests/test.h"

#include <string.h>

/* ---- Several inputs and outputs ---- */

/* y0[m] = A[m,k] x[k] + b[m], y1 = sum x^2. */
enum { M = 3, K = 4 };

typedef struct affine {
    bool transposed, silent; /* faults: of gA, and y1 not written */
    double bend;             /* y1 += bend * x[0]^2, in the complex function alone */
} affine;

static void affine_forward(const double *const *x, double *const *y, void *user)
{
    const affine *a = user;
    double squares = 0;
    for (int i = 0; i < M; i++) {
        y[0][i] = x[2][i];
        for (int k = 0; k < K; k++)
            y[0][i] += x[0][i * K + k] * x[1][k];
    }
    for (int k = 0; k < K; k++)
        squares += x[1][k] * x[1][k];
    if (!a->silent)
        y[1][0] = squares;
}

static void affine_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const affine *a = user;
    for (int i = 0; i < M; i++) {
        gx[2][i] += gy[0][i];
        for (int k = 0; k < K; k++) {
            gx[0][a->transposed ? k * M + i : i * K + k] += gy[0][i] * x[1][k];
            gx[1][k] += gy[0][i] * x[0][i * K + k];
        }
    }
    for (int k = 0; k < K; k++)
        gx[1][k] += 2 * gy[1][0] * x[1][k];
}

static void affine_complex(const double *const *x, double *const *y, void *user)
{
    const affine *a = user;
    double squares[2] = { 0, 0 };
    for (int i = 0; i < M; i++)
        for (int part = 0; part < 2; part++) {
            y[0][2 * i + part] = x[2][2 * i + part];
            for (int k = 0; k < K; k++) {
                const double *p = &x[0][2 * (i * K + k)], *q = &x[1][2 * k];
                y[0][2 * i + part] += part == 0 ? p[0] * q[0] - p[1] * q[1] : p[0] * q[1] + p[1] * q[0];
            }
        }
    for (int k = 0; k < K; k++) {
        const double *q = &x[1][2 * k], factor = k == 0 ? 1 + a->bend : 1;
        squares[0] += factor * (q[0] * q[0] - q[1] * q[1]);
        squares[1] += factor * 2 * q[0] * q[1];
    }
    y[1][0] = squares[0];
    y[1][1] = squares[1];
}

static ag_gradcheck_result run_affine(ag_ctx *ctx, affine *a, ag_gradcheck_config config)
{
    static double matrix[M * K], x[K], b[M];
    for (int i = 0; i < M * K; i++)
        matrix[i] = 0.3 * i - 1.4;
    for (int i = 0; i < K; i++)
        x[i] = 1.1 - 0.7 * i;
    for (int i = 0; i < M; i++)
        b[i] = 0.2 * i;
    ag_array input[] = { { .name = "matrix", .value = matrix, .ndim = 2, .shape = { M, K } },
                         { .value = x, .ndim = 1, .shape = { K } },
                         { .value = b, .ndim = 1, .shape = { M } } };
    ag_array output[] = { { .ndim = 1, .shape = { M } }, { .ndim = 0 } };
    ag_array_function function = { affine_forward, affine_backward, a };
    ag_gradcheck_result r = ag_gradcheck_arrays(ctx, function, input, 3, output, 2, config);
    for (int i = 0; i < K; i++)
        ck_assert_double_eq(x[i], 1.1 - 0.7 * i);
    return r;
}

START_TEST(arrays)
{
    ag_ctx *ctx = test_begin();
    affine a = { 0 };
    ag_gradcheck_input inputs[3];
    ag_gradcheck_config config = { .inputs = inputs };
    ag_gradcheck_result r = run_affine(ctx, &a, config);
    ck_assert_msg(r.verdict == AG_PASS, "%s", r.explanation);
    ck_assert_int_eq(r.checked, M * K + K + M);
    ck_assert(r.max_error < 1e-10);
    a.transposed = true;
    r = run_affine(ctx, &a, config);
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.input, 0);
    ck_assert(inputs[0].verdict == AG_FAIL && inputs[1].verdict == AG_PASS && inputs[2].verdict == AG_PASS);
    a = (affine){ .silent = true };
    r = run_affine(ctx, &a, config);
    ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_NON_FINITE);
    test_end(ctx);
}
END_TEST

/* ---- Jacobians ---- */

/* A Jacobian wrong in a way that the random cotangent can not see: what is added to gx is 0 for the first gy that
 * backward is given, and for no other. */
typedef struct blind_spot {
    bool seen;
    double gy[2];
} blind_spot;

static void two_lines(const double *const *x, double *const *y, void *user)
{
    (void)user;
    y[0][0] = 3 * x[0][0];
    y[0][1] = 5 * x[0][0];
}

static void two_lines_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)x;
    blind_spot *spot = user;
    if (spot != NULL && !spot->seen)
        *spot = (blind_spot){ true, { gy[0][0], gy[0][1] } };
    gx[0][0] = 3 * gy[0][0] + 5 * gy[0][1];
    if (spot != NULL)
        gx[0][0] += 0.1 * (gy[0][0] * spot->gy[1] - gy[0][1] * spot->gy[0]);
}

START_TEST(small_jacobians_are_compared_whole)
{
    ag_ctx *ctx = test_begin();
    double x[] = { 0.4 };
    ag_array input = { .value = x, .ndim = 1, .shape = { 1 } }, output = { .ndim = 1, .shape = { 2 } };
    ag_array_function right = { two_lines, two_lines_backward, NULL };
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, right, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict,
                     AG_PASS);
    blind_spot spot = { 0 };
    ag_array_function wrong = { two_lines, two_lines_backward, &spot };
    ag_gradcheck_result r = ag_gradcheck_arrays(ctx, wrong, &input, 1, &output, 1, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert(r.checked == 1 && r.failed == 1);
    ck_assert_int_ge(r.worst.output_index, 0);
    ck_assert_double_eq_tol(r.worst.numeric, r.worst.output_index == 0 ? 3 : 5, 1e-9);
    spot.seen = false; /* a Jacobian that is too large is compared for that cotangent alone */
    r = ag_gradcheck_arrays(ctx, wrong, &input, 1, &output, 1, (ag_gradcheck_config){ .elements = 1 });
    ck_assert_int_eq(r.verdict, AG_PASS);
    test_end(ctx);
}
END_TEST

/* ---- Floats ---- */

/* y = scale exp(x), element by element. */
typedef struct float_plan {
    float factor;            /* 1: right */
    int64_t too_far;         /* elements written beyond the gradient's end; negative: before its start */
    bool changes_x, changes_gy;
} float_plan;

enum { FLOATS = 6 };

static void float_forward(const float *const *x, float *const *y, void *user)
{
    (void)user;
    for (int i = 0; i < FLOATS; i++)
        y[0][i] = x[1][0] * expf(x[0][i]);
}

static void float_backward(const float *const *x, const float *const *gy, float *const *gx, void *user)
{
    const float_plan *p = user;
    for (int i = 0; i < FLOATS; i++) {
        gx[0][i] = p->factor * gy[0][i] * x[1][0] * expf(x[0][i]);
        gx[1][0] += gy[0][i] * expf(x[0][i]);
    }
    for (int i = 0; i < p->too_far; i++)
        gx[0][FLOATS + i] += 1;
    for (int i = -1; i >= p->too_far; i--)
        gx[0][i] = 1;
    if (p->changes_x)
        ((float *)(size_t)x[0])[2] = 7;
    if (p->changes_gy)
        ((float *)(size_t)gy[0])[2] = 7;
}

static ag_gradcheck_result run_float(ag_ctx *ctx, float_plan p, ag_gradcheck_config config)
{
    float x[FLOATS] = { 0.5f, -1, 2, 0.25f, 1, 0 }, scale = 1.5f;
    ag_array input[] = { { .name = "x", .value_f32 = x, .ndim = 1, .shape = { FLOATS } }, { .value_f32 = &scale } };
    ag_array output = { .ndim = 1, .shape = { FLOATS } };
    ag_array_function f = { .forward_f32 = float_forward, .backward_f32 = float_backward, .user = &p };
    ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, input, 2, &output, 1, config);
    ck_assert(x[2] == 2 && x[5] == 0);
    return r;
}

START_TEST(functions_of_floats)
{
    ag_ctx *ctx = test_begin();
    ag_gradcheck_config config = { 0 };
    ag_gradcheck_result r = run_float(ctx, (float_plan){ .factor = 1 }, config);
    ck_assert_msg(r.verdict == AG_PASS && r.checked == FLOATS + 1, "%s", r.explanation);
    r = run_float(ctx, (float_plan){ .factor = 1.01f }, config);
    ck_assert(r.verdict == AG_FAIL && r.input == 0 && r.failed == FLOATS);
    test_end(ctx);
}
END_TEST

/* What a call writes where it must not is a failure, whatever the gradient. */
START_TEST(stray_writes_fail)
{
    static const struct {
        float_plan plan;
        ag_cause cause;
        const char *words;
    } cases[] = {
        { { .too_far = 1 }, AG_CAUSE_OUT_OF_BOUNDS, "backward writes beyond the end of the gradient of input 0 'x', at "
          "index 6 of its 6 elements." },
        { { .too_far = -2 }, AG_CAUSE_OUT_OF_BOUNDS, "backward writes before the start of the gradient of input 0 'x', "
          "at index -1 of its 6 elements." },
        { { .changes_x = true }, AG_CAUSE_INPUT_CHANGED, "backward changes input 0 'x', which is read-only: element 2 "
          "was 2, is 7." },
        { { .changes_gy = true }, AG_CAUSE_INPUT_CHANGED, "backward changes gy of output 0, which is read-only: "
          "element 2 was" },
    };
    ag_ctx *ctx = test_begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        float_plan p = cases[i].plan;
        p.factor = 1;
        ag_gradcheck_result r = run_float(ctx, p, (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.verdict == AG_FAIL && r.worst.cause == cases[i].cause, "%zu: %s", i, r.explanation);
        ck_assert_msg(strncmp(r.explanation, cases[i].words, strlen(cases[i].words)) == 0, "%s", r.explanation);
    }
    test_end(ctx);
}
END_TEST

/* ---- State ---- */

/* y = x^2, with a backward that remembers. */
typedef struct memory {
    bool adds;  /* to a buffer that only the first call finds zeroed */
    bool saves; /* forward saves x for backward */
    double sum, x;
} memory;

static void remembering_forward(const double *const *x, double *const *y, void *user)
{
    memory *m = user;
    m->x = x[0][0];
    y[0][0] = x[0][0] * x[0][0];
}

static void remembering_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    memory *m = user;
    m->sum = (m->adds ? m->sum : 0) + 2 * (m->saves ? m->x : x[0][0]) * gy[0][0];
    gx[0][0] = m->sum;
}

START_TEST(state_is_noticed)
{
    static const struct {
        memory memory;
        const char *words;
    } cases[] = {
        { { .adds = true }, "Your backward keeps state: called again with the same arguments it gives" },
        { { .saves = true }, "Your backward keeps state: after a forward call at another point it gives" },
    };
    ag_ctx *ctx = test_begin();
    double x = 0.7;
    ag_array input = { .name = "x", .value = &x }, output = { .ndim = 0 };
    for (int i = 0; i < 2; i++) {
        memory m = cases[i].memory;
        ag_array_function f = { remembering_forward, remembering_backward, &m };
        ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 });
        ck_assert(r.verdict == AG_FAIL && r.worst.cause == AG_CAUSE_STATE);
        ck_assert_msg(strncmp(r.explanation, cases[i].words, strlen(cases[i].words)) == 0, "%s", r.explanation);
        m = (memory){ 0 };
        r = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 });
        ck_assert_int_eq(r.verdict, AG_PASS);
    }
    test_end(ctx);
}
END_TEST

/* ---- Noise and scale ---- */

/* y = f(x) with the gradient factor f'(x). */
typedef struct line_and_bend {
    double (*f)(double x), (*slope)(double x);
    double factor;
} line_and_bend;

static void curve_forward(const double *const *x, double *const *y, void *user)
{
    y[0][0] = ((const line_and_bend *)user)->f(x[0][0]);
}

static void curve_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const line_and_bend *l = user;
    gx[0][0] = l->factor * l->slope(x[0][0]) * gy[0][0];
}

#define CURVE(name, value, slope)                  \
    static double name(double x) { return value; } \
    static double name##_slope(double x) { return slope; }
CURVE(buried, exp(40) + exp(x), exp(x))
CURVE(steep, tanh(1e9 * x), 1e9 / (cosh(1e9 * x) * cosh(1e9 * x)))
CURVE(far, tanh(x - 1e5), 1 / (cosh(x - 1e5) * cosh(x - 1e5)))
CURVE(periodic, sin(16384 * 3.14159265358979323846 * x),
      16384 * 3.14159265358979323846 * cos(16384 * 3.14159265358979323846 * x))
CURVE(rippled, x + 1e-10 * sin(1e8 * x), 1 + 1e-2 * cos(1e8 * x))
CURVE(offset, 1e10 + x, 1 + 0 * x)
CURVE(tiny, 1e-15 * sin(x), 1e-15 * cos(x))
CURVE(single, (double)sinf((float)x), cos(x))
CURVE(vast, sin(1e-12 * x), 1e-12 * cos(1e-12 * x))
CURVE(cancelled, 1 + x * fabs(x) - 1, 2 * fabs(x))
#undef CURVE

START_TEST(noise_and_scale)
{
    static const struct {
        const char *name;
        double (*f)(double x), (*slope)(double x);
        double x;
        bool passes; /* a right gradient: else it may be inconclusive */
    } cases[] = {
        { "buried", buried, buried_slope, 1, false }, { "steep", steep, steep_slope, 1e-10, true },
        { "steep at 0", steep, steep_slope, 0, true }, { "far", far, far_slope, 1e5 + 0.3, true },
        { "periodic", periodic, periodic_slope, 0.1, true }, { "rippled", rippled, rippled_slope, 0, false },
        { "offset", offset, offset_slope, 0.3, true }, { "tiny", tiny, tiny_slope, 0.4, true },
        { "single", single, single_slope, 0.4, true }, { "vast", vast, vast_slope, 0.4, true },
        { "cancelled", cancelled, cancelled_slope, 1e-9, false },
    };
    static const double factors[] = { 1, 1.01, 0.99, 2, 0, -1, 1 / 1.01 };
    ag_ctx *ctx = test_begin();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t k = 0; k < sizeof factors / sizeof *factors; k++) {
            line_and_bend l = { cases[i].f, cases[i].slope, factors[k] };
            double x = cases[i].x;
            ag_array input = { .value = &x }, output = { .ndim = 0 };
            ag_array_function f = { curve_forward, curve_backward, &l };
            ag_verdict v = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict;
            if (k == 0)
                ck_assert_msg(cases[i].passes ? v == AG_PASS : v != AG_FAIL, "%s: %s", cases[i].name,
                              ag_verdict_name(v));
            else
                ck_assert_msg(cases[i].passes ? v == AG_FAIL : v != AG_PASS, "%g %s: %s", factors[k], cases[i].name,
                              ag_verdict_name(v));
        }
    test_end(ctx);
}
END_TEST

/* y = float(x) + slope x, with the gradient `rounded + slope`. */
typedef struct stairs {
    double slope, rounded;
} stairs;

static void stairs_forward(const double *const *x, double *const *y, void *user)
{
    y[0][0] = (double)(float)x[0][0] + ((const stairs *)user)->slope * x[0][0];
}

static void stairs_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const stairs *s = user;
    (void)x;
    gx[0][0] = (s->rounded + s->slope) * gy[0][0];
}

/* Between the stairs of the rounded path the slope is that of the other path alone, and exact. */
START_TEST(stairs_beside_a_smooth_path)
{
    static const double slope[] = { -1, -0.5, 0, 0.5, 3 }, rounded[] = { 1, 0, 2 };
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < 600; k++) {
        stairs s = { slope[k % 5], rounded[k % 3] };
        double x = pow(10, k % 7 - 3) * (0.1 + 0.037 * k);
        ag_array input = { .value = &x }, output = { .ndim = 0 };
        ag_array_function f = { stairs_forward, stairs_backward, &s };
        ag_verdict v = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict;
        ck_assert_msg(v != (s.rounded == 1 ? AG_FAIL : AG_PASS), "slope 1 %+g, taken for %g %+g, at %.17g: %s", s.slope,
                      s.rounded, s.slope, x, ag_verdict_name(v));
    }
    test_end(ctx);
}
END_TEST

/* The log-softmax of (t, 0), t = x / scale, rounded to float and summed, beside bend t^2. */
typedef struct bent_stairs {
    double bend, scale;
} bent_stairs;

static void bent_stairs_forward(const double *const *x, double *const *y, void *user)
{
    const bent_stairs *s = user;
    double t = x[0][0] / s->scale, first = -log1p(exp(-t)), second = -log1p(exp(t));
    y[0][0] = s->bend * t * t + ((double)(float)first + (double)(float)second);
}

static void bent_stairs_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const bent_stairs *s = user;
    double t = x[0][0] / s->scale;
    gx[0][0] = (2 * s->bend * t - tanh(t / 2)) / s->scale * gy[0][0];
}

/* The stairs go up and down, so that one may undo another, and are those of a function that bends. */
START_TEST(stairs_beside_a_bend)
{
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < 1400; k++) {
        bent_stairs s = { pow(10, k % 7 - 3), pow(10, 4 * (k / 7 % 4) - 6) };
        double x = s.scale * (-0.5 + 0.01 * (k / 14) + 0.000137 * (k % 14));
        ag_array input = { .value = &x }, output = { .ndim = 0 };
        ag_array_function f = { bent_stairs_forward, bent_stairs_backward, &s };
        ag_verdict v = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict;
        ck_assert_msg(v != AG_FAIL, "bend %g, scale %g, at %.17g", s.bend, s.scale, x);
    }
    test_end(ctx);
}
END_TEST

enum { HEIGHTS = 5 };

/* max(float(t), t) of several t = (1 + 0.3 i) x / scale, each ten times lower: half of all their pieces are flat. */
static void half_flat_forward(const double *const *x, double *const *y, void *user)
{
    for (int i = 0; i < HEIGHTS; i++) {
        double t = (1 + 0.3 * i) * x[0][0] / ((const bent_stairs *)user)->scale;
        y[0][i] = pow(0.1, i) * fmax((double)(float)t, t);
    }
}

static void half_flat_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)x;
    gx[0][0] = 0;
    for (int i = 0; i < HEIGHTS; i++)
        gx[0][0] += pow(0.1, i) * (1 + 0.3 * i) * gy[0][i] / ((const bent_stairs *)user)->scale;
}

/* Low stairs are found first, which may be those of one side alone. */
START_TEST(stairs_of_several_heights)
{
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < 2000; k++) {
        bent_stairs s = { 0, pow(10, 4 * (k % 4) - 6) };
        double x = s.scale * (-0.5 + 0.00071 * k);
        ag_array input = { .value = &x }, output = { .ndim = 1, .shape = { HEIGHTS } };
        ag_array_function f = { half_flat_forward, half_flat_backward, &s };
        ag_verdict v = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict;
        ck_assert_msg(v != AG_FAIL, "scale %g, at %.17g", s.scale, x);
    }
    test_end(ctx);
}
END_TEST

/* t where it is beyond 0 .. 0.6875, which is flat, t = x / scale: the flat part may look like noise. */
static void flat_part_forward(const double *const *x, double *const *y, void *user)
{
    const bent_stairs *s = user;
    double t = x[0][0] / s->scale;
    y[0][0] = s->bend * (t - fmin(fmax(t, 0), 0.6875) - 2);
}

static void flat_part_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)x, (void)gy, (void)user;
    gx[0][0] = 0;
}

START_TEST(flat_part_is_not_noise)
{
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < 700; k++) {
        bent_stairs s = { pow(10, 2 * (k % 7) - 6), pow(10, 2 * (k / 7 % 10) - 10) };
        double x = s.scale * (0.001 + 0.068 * (k / 70));
        ag_array input = { .value = &x }, output = { .ndim = 0 };
        ag_array_function f = { flat_part_forward, flat_part_backward, &s };
        ag_verdict v = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict;
        ck_assert_msg(v != AG_FAIL, "%g times, scale %g, at %.17g", s.bend, s.scale, x);
    }
    test_end(ctx);
}
END_TEST

/* sin(scale x); the gradient times bend. */
static void waves_forward(const double *const *x, double *const *y, void *user)
{
    y[0][0] = sin(((const bent_stairs *)user)->scale * x[0][0]);
}

static void waves_backward(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    const bent_stairs *s = user;
    gx[0][0] = s->bend * s->scale * cos(s->scale * x[0][0]) * gy[0][0];
}

/* A function that goes up and down again and again has no jumps: a wrong slope fails. */
START_TEST(waves_are_not_stairs)
{
    enum { COUNT = 400 };
    static const double factors[] = { 0, 2, -1, 1.02 };
    int failed = 0;
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < COUNT; k++) {
        bent_stairs s = { factors[k % 4], pow(10, k / 4 % 4) };
        double x = 0.1 + 0.0027 * (k / 16);
        ag_array input = { .value = &x }, output = { .ndim = 0 };
        ag_array_function f = { waves_forward, waves_backward, &s };
        failed += ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 }).verdict == AG_FAIL;
    }
    ck_assert_int_ge(failed, COUNT - 2);
    test_end(ctx);
}
END_TEST

enum { SUMS = 6 };

/* y[i] = x[0] + .. + x[i], in floats; the gradient times a factor. */
static void sums_forward(const float *const *x, float *const *y, void *user)
{
    float sum = 0;
    (void)user;
    for (int i = 0; i < SUMS; i++)
        y[0][i] = sum += x[0][i];
}

static void sums_backward(const float *const *x, const float *const *gy, float *const *gx, void *user)
{
    float sum = 0;
    (void)x;
    for (int i = SUMS - 1; i >= 0; i--)
        gx[0][i] = *(const float *)user * (sum += gy[0][i]);
}

/* A small input is rounded away in a large output at the first steps, but not at wider ones. */
START_TEST(an_output_that_wide_steps_change)
{
    ag_ctx *ctx = test_begin();
    for (int k = 0; k < 40; k++) {
        float x[SUMS], factor = k % 2 == 0 ? 1 : 1.02F;
        for (int i = 0; i < SUMS; i++)
            x[i] = (float)((0.3 + 0.1 * ((i * 5 + k) % 7)) * pow(10, i % 2 == 0 ? i / 2 - 3 : i / 2 + 4));
        ag_array input = { .value_f32 = x, .ndim = 1, .shape = { SUMS } }, output = { .ndim = 1, .shape = { SUMS } };
        ag_array_function f = { .forward_f32 = sums_forward, .backward_f32 = sums_backward, .user = &factor };
        ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, &input, 1, &output, 1, (ag_gradcheck_config){ 0 });
        ck_assert_msg(r.verdict != (k % 2 == 0 ? AG_FAIL : AG_PASS), "%d: %s, %g, %g", k, ag_verdict_name(r.verdict),
                      r.worst.analytic, r.worst.numeric);
    }
    test_end(ctx);
}
END_TEST

/* ---- Arguments ---- */

START_TEST(arrays_that_can_not_be_checked)
{
    ag_ctx *ctx = test_begin();
    double x[2] = { 1, 2 };
    ag_array right = { .value = x, .ndim = 1, .shape = { 1 } }, output = { .ndim = 1, .shape = { 2 } };
    ag_array empty = { .value = NULL, .ndim = 1, .shape = { 2 } }, deep = { .value = x, .ndim = 9 };
    ag_array odd = { .value = x, .ndim = 1, .shape = { -2 } };
    ag_array_function f = { two_lines, two_lines_backward, NULL }, half = { two_lines, NULL, NULL };
    ag_gradcheck_config config = { 0 };
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, f, &empty, 1, &output, 1, config).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_ARGUMENT, "gradcheck: input 0 has no values");
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, f, &deep, 1, &output, 1, config).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_SHAPE, "gradcheck: input 0 has 9 dims, at most 8 are allowed");
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, f, &right, 1, &odd, 1, config).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_SHAPE, "gradcheck: output 0 has the shape [-2]");
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, half, &right, 1, &output, 1, config).worst.cause, AG_CAUSE_ERROR);
    assert_error(ctx, AG_ERR_ARGUMENT, "gradcheck: forward or backward is NULL");
    ag_array_function both = { two_lines, two_lines_backward, NULL, float_forward, float_backward };
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, both, &right, 1, &output, 1, config).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_ARGUMENT, "gradcheck: the function has callbacks of both types, double and float");
    ag_array_function floats = { .forward_f32 = float_forward, .backward_f32 = float_backward };
    ck_assert_int_eq(ag_gradcheck_arrays(ctx, floats, &right, 1, &output, 1, config).verdict, AG_FAIL);
    assert_error(ctx, AG_ERR_ARGUMENT, "gradcheck: input 0 has its values in value (double), the function is one of "
                                       "floats");
    test_end(ctx);
}
END_TEST

/* Attention without channels: its scores are more than its queries and keys have elements. */
enum { MANY_QUERIES = 200 };

static void mean_forward(const double *const *x, double *const *y, void *unused)
{
    (void)unused;
    for (int i = 0; i < MANY_QUERIES; i++)
        y[0][i] = (x[2][0] + x[2][1]) / 2;
}

static void mean_backward(const double *const *x, const double *const *gy, double *const *gx, void *unused)
{
    (void)x, (void)unused;
    for (int i = 0; i < MANY_QUERIES; i++) {
        gx[2][0] += gy[0][i] * (i % 2 + 1) / 2;
        gx[2][1] += gy[0][i] / 3;
    }
}

START_TEST(attention_without_channels)
{
    ag_ctx *ctx = test_begin();
    double x[2] = { 0.3, 0.7 };
    const ag_array input[] = { { .value = x, .ndim = 2, .shape = { MANY_QUERIES, 0 } },
                               { .value = x, .ndim = 2, .shape = { 2, 0 } },
                               { .value = x, .ndim = 2, .shape = { 2, 1 } } };
    const ag_array output = { .ndim = 2, .shape = { MANY_QUERIES, 1 } };
    const ag_array_function f = { mean_forward, mean_backward, NULL };
    const ag_gradcheck_result r = ag_gradcheck_arrays(ctx, f, input, 3, &output, 1, (ag_gradcheck_config){ 0 });
    ck_assert_int_eq(r.verdict, AG_FAIL);
    ck_assert_int_eq(r.input, 2);
    ck_assert_ptr_null(strstr(r.explanation, "attention"));
    test_end(ctx);
}
END_TEST

/* ---- The complex step ---- */

START_TEST(the_complex_step)
{
    ag_ctx *ctx = test_begin();
    affine a = { 0 };
    ag_gradcheck_config config = { .complex_step = affine_complex, .rtol = 1e-13, .atol = 1e-14 };
    ag_gradcheck_result r = run_affine(ctx, &a, config); /* as no difference could */
    ck_assert_msg(r.verdict == AG_PASS && r.max_error < 1e-14, "%s: %g", r.explanation, r.max_error);
    config.elements = 3; /* along directions too */
    ck_assert_int_eq(run_affine(ctx, &a, config).verdict, AG_PASS);
    a.bend = 1e-6; /* another function, in value and in derivative */
    config = (ag_gradcheck_config){ .complex_step = affine_complex };
    r = run_affine(ctx, &a, config);
    ck_assert_int_eq(r.verdict, AG_INCONCLUSIVE);
    ck_assert_int_eq(r.worst.cause, AG_CAUSE_ORACLES_DISAGREE);
    ck_assert_int_eq(r.failed, 0);
    test_end(ctx);
}
END_TEST

Suite *gradcheck_arrays_suite(void)
{
    Suite *suite = suite_create("gradcheck_arrays");
    TCase *all = tcase_create("all");
    tcase_add_test(all, arrays);
    tcase_add_test(all, small_jacobians_are_compared_whole);
    tcase_add_test(all, functions_of_floats);
    tcase_add_test(all, stray_writes_fail);
    tcase_add_test(all, state_is_noticed);
    tcase_add_test(all, noise_and_scale);
    tcase_add_test(all, stairs_beside_a_smooth_path);
    tcase_add_test(all, stairs_beside_a_bend);
    tcase_add_test(all, stairs_of_several_heights);
    tcase_add_test(all, flat_part_is_not_noise);
    tcase_add_test(all, waves_are_not_stairs);
    tcase_add_test(all, an_output_that_wide_steps_change);
    tcase_add_test(all, arrays_that_can_not_be_checked);
    tcase_add_test(all, attention_without_channels);
    tcase_add_test(all, the_complex_step);
    suite_add_tcase(suite, all);
    return suite;
}
