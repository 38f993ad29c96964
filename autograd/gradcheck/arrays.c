/* SPDX-License-Identifier: MIT
 *
 * arrays.c - makes an ag_check from two plain C functions on arrays of doubles or of floats.
 *
 * The functions see copies in their own type, with guard values before and after each array. So a write beyond an array
 * or into a read-only one is noticed, and changes neither the caller's memory nor the check.
 */
#include "autograd/gradcheck/gradcheck_impl.h"

#include <math.h>
#include <string.h>

enum { GUARDS = 16 }; /* on each side */

static const double GUARD = 0.8046875; /* exact in float; adding a gradient to it changes it */

/* One array as the function sees it: GUARDS elements, numel elements, GUARDS elements. */
typedef struct array_copy {
    char *memory;
    int64_t numel;
} array_copy;

typedef struct arrays {
    ag_array_function function;
    bool single;               /* the function is one of floats */
    size_t element;            /* bytes */
    array_copy *x, *gx;        /* per input */
    array_copy *y, *gy;        /* per output */
    void *px, *pgx, *py, *pgy; /* pointers to the first elements, of the function's type */
} arrays;

/* ---- Copies in the function's type ---- */

static void arrays_put(const arrays *a, char *memory, int64_t i, double v)
{
    if (a->single)
        ((float *)(void *)memory)[i] = (float)v;
    else
        ((double *)(void *)memory)[i] = v;
}

static double arrays_get(const arrays *a, const char *memory, int64_t i)
{
    return a->single ? (double)((const float *)(const void *)memory)[i] : ((const double *)(const void *)memory)[i];
}

static char *arrays_first(const arrays *a, const array_copy *copy)
{
    return copy->memory + GUARDS * a->element;
}

/* The elements of a copy: values, or (NULL) `all` everywhere; and the guards. */
static void arrays_fill(const arrays *a, const array_copy *copy, const double *values, double all)
{
    for (int64_t i = 0; i < GUARDS; i++) {
        arrays_put(a, copy->memory, i, GUARD);
        arrays_put(a, copy->memory, GUARDS + copy->numel + i, GUARD);
    }
    for (int64_t i = 0; i < copy->numel; i++)
        arrays_put(a, arrays_first(a, copy), i, values == NULL ? all : values[i]);
}

static bool arrays_same(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* ---- What a call did besides ---- */

/* "input 0 'x'" */
#define ARRAY_FORMAT "%s %d%s%s%s"
#define ARRAY_WORDS(what, number, name) \
    what, number, (name) == NULL ? "" : " '", (name) == NULL ? "" : (name), (name) == NULL ? "" : "'"

/* Notes writes beyond one array. what: "input", "the gradient of input". */
static void arrays_examine_guards(ag_check *check, const char *call, const char *what, int number, const char *name,
                                  const array_copy *copy)
{
    const arrays *a = check->function;
    for (int64_t i = 0; i < GUARDS && check->misdeed.cause == AG_CAUSE_NONE; i++) {
        bool before = arrays_get(a, copy->memory, GUARDS - 1 - i) != GUARD;
        if (!before && arrays_get(a, copy->memory, GUARDS + copy->numel + i) == GUARD)
            continue;
        check->misdeed = ag_explanation_of(AG_CAUSE_OUT_OF_BOUNDS, "%s writes %s " ARRAY_FORMAT ", at index %lld of "
                                           "its %lld elements.", call, before ? "before the start of" : "beyond the "
                                           "end of", ARRAY_WORDS(what, number, name),
                                           (long long)(before ? -1 - i : copy->numel + i), (long long)copy->numel);
    }
}

/* Notes changes of a read-only array. */
static void arrays_examine_values(ag_check *check, const char *call, const char *what, int number, const char *name,
                                  const array_copy *copy, const double *values)
{
    const arrays *a = check->function;
    for (int64_t i = 0; i < copy->numel && check->misdeed.cause == AG_CAUSE_NONE; i++) {
        double was = a->single ? (double)(float)values[i] : values[i], now = arrays_get(a, arrays_first(a, copy), i);
        if (!arrays_same(was, now))
            check->misdeed = ag_explanation_of(AG_CAUSE_INPUT_CHANGED, "%s changes " ARRAY_FORMAT ", which is "
                                               "read-only: element %lld was %.6g, is %.6g.", call,
                                               ARRAY_WORDS(what, number, name), (long long)i, was, now);
    }
    arrays_examine_guards(check, call, what, number, name, copy);
}

/* Notes in check->misdeed what a call of forward, or (cotangent not NULL) backward, wrote where it must not. */
static void arrays_examine(ag_check *check, const double *cotangent)
{
    arrays *a = check->function;
    const char *call = cotangent == NULL ? "forward" : "backward";
    for (int i = 0; i < check->input_count; i++) {
        if (check->misdeed.cause == AG_CAUSE_NONE)
            check->misdeed_input = i;
        const ag_array *x = &check->input[i].x;
        arrays_examine_values(check, call, "input", i, x->name, &a->x[i], x->value);
        if (cotangent != NULL)
            arrays_examine_guards(check, call, "the gradient of input", i, x->name, &a->gx[i]);
    }
    for (int i = 0; i < check->output_count; i++) {
        const ag_check_output *out = &check->output[i];
        if (cotangent == NULL)
            arrays_examine_guards(check, call, "output", i, out->y.name, &a->y[i]);
        else
            arrays_examine_values(check, call, "gy of output", i, out->y.name, &a->gy[i], cotangent + out->first);
    }
}

/* ---- The two calls ---- */

static void arrays_put_inputs(ag_check *check)
{
    const arrays *a = check->function;
    for (int i = 0; i < check->input_count; i++)
        arrays_fill(a, &a->x[i], check->input[i].x.value, 0);
}

static bool arrays_evaluate(ag_check *check, double *y)
{
    arrays *a = check->function;
    arrays_put_inputs(check);
    for (int i = 0; i < check->output_count; i++)
        arrays_fill(a, &a->y[i], NULL, (double)NAN); /* shows an element that forward does not write */
    if (a->single)
        a->function.forward_f32(a->px, a->py, a->function.user);
    else
        a->function.forward(a->px, a->py, a->function.user);
    for (int o = 0; o < check->output_count; o++)
        for (int64_t i = 0; i < a->y[o].numel; i++)
            y[check->output[o].first + i] = arrays_get(a, arrays_first(a, &a->y[o]), i);
    arrays_examine(check, NULL);
    return true;
}

static bool arrays_backward(ag_check *check, const double *cotangent, double *const *grad)
{
    arrays *a = check->function;
    arrays_put_inputs(check);
    for (int i = 0; i < check->output_count; i++)
        arrays_fill(a, &a->gy[i], cotangent + check->output[i].first, 0);
    for (int i = 0; i < check->input_count; i++)
        arrays_fill(a, &a->gx[i], NULL, 0);
    if (a->single)
        a->function.backward_f32(a->px, a->pgy, a->pgx, a->function.user);
    else
        a->function.backward(a->px, a->pgy, a->pgx, a->function.user);
    for (int k = 0; k < check->input_count; k++)
        for (int64_t i = 0; i < a->gx[k].numel; i++)
            grad[k][i] = arrays_get(a, arrays_first(a, &a->gx[k]), i);
    arrays_examine(check, cotangent);
    return true;
}

/* ---- Describing ---- */

/* The number of elements, or -1 with the error recorded. */
static int64_t arrays_numel(ag_ctx *ctx, const ag_array *array, const char *what, int number)
{
    int64_t numel = -1;
    if (array->ndim < 0 || array->ndim > AG_MAX_DIMS)
        ag_fail(ctx, AG_ERR_SHAPE, "gradcheck", "%s %d has %d dims, at most %d are allowed", what, number, array->ndim,
                AG_MAX_DIMS);
    else if ((numel = ag_checked_numel(array->ndim, array->shape, sizeof(double))) < 0)
        ag_fail(ctx, AG_ERR_SHAPE, "gradcheck", "%s %d has the shape %s", what, number,
                ag_dims_text(ctx, array->ndim, array->shape));
    return numel;
}

/* The type of the function, and that every input has values in it. */
static bool arrays_are_of_one_type(ag_check *check, const ag_array *input)
{
    ag_ctx *ctx = check->ctx;
    arrays *a = check->function;
    const ag_array_function *f = &a->function;
    bool doubles = f->forward != NULL && f->backward != NULL;
    bool floats = f->forward_f32 != NULL && f->backward_f32 != NULL;
    bool any_double = f->forward != NULL || f->backward != NULL;
    a->single = floats;
    a->element = floats ? sizeof(float) : sizeof(double);
    check->single = floats;
    if (!doubles && !floats)
        ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", "forward or backward is NULL");
    else if (floats && any_double)
        ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", "the function has callbacks of both types, double and float");
    for (int i = 0; i < check->input_count && ag_error(ctx) == AG_OK; i++) {
        const void *wanted = floats ? (const void *)input[i].value_f32 : input[i].value;
        const void *other = floats ? input[i].value : (const void *)input[i].value_f32;
        if (wanted != NULL || arrays_numel(ctx, &input[i], "input", i) == 0 || ag_error(ctx) != AG_OK)
            continue;
        if (other != NULL)
            ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", "input %d has its values in %s, the function is one of %s", i,
                    floats ? "value (double)" : "value_f32", floats ? "floats" : "doubles");
        else
            ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", "input %d has no values", i);
    }
    return ag_error(ctx) == AG_OK;
}

static bool arrays_copy_new(ag_ctx *ctx, const arrays *a, array_copy *copy, void *pointers, int i, int64_t numel)
{
    *copy = (array_copy){ ag_check_memory(ctx, numel + 2 * GUARDS, a->element), numel };
    if (copy->memory == NULL)
        return false;
    if (a->single)
        ((float **)pointers)[i] = (float *)(void *)arrays_first(a, copy);
    else
        ((double **)pointers)[i] = (double *)(void *)arrays_first(a, copy);
    return true;
}

static bool arrays_describe(ag_check *check, const ag_array *input, const ag_array *output)
{
    arrays *a = check->function;
    ag_ctx *ctx = check->ctx;
    for (int i = 0; i < check->input_count; i++) {
        int64_t numel = arrays_numel(ctx, &input[i], "input", i);
        if (numel < 0)
            return false;
        ag_check_input *in = &check->input[i];
        *in = (ag_check_input){ .x = input[i], .numel = numel, .single = a->single, .checked = true, .reached = true };
        in->x.value = ag_check_memory(ctx, numel, sizeof(double));
        if (in->x.value == NULL || !arrays_copy_new(ctx, a, &a->x[i], a->px, i, numel) ||
            !arrays_copy_new(ctx, a, &a->gx[i], a->pgx, i, numel))
            return false;
        for (int64_t e = 0; e < numel; e++)
            in->x.value[e] = a->single ? (double)input[i].value_f32[e] : input[i].value[e];
    }
    for (int i = 0; i < check->output_count; i++) {
        int64_t numel = arrays_numel(ctx, &output[i], "output", i);
        if (numel < 0 || !arrays_copy_new(ctx, a, &a->y[i], a->py, i, numel) ||
            !arrays_copy_new(ctx, a, &a->gy[i], a->pgy, i, numel))
            return false;
        check->output[i] = (ag_check_output){ .y = output[i], .numel = numel, .single = a->single };
    }
    return true;
}

ag_gradcheck_result ag_gradcheck_arrays(ag_ctx *ctx, ag_array_function function, const ag_array *input,
                                        int input_count, const ag_array *output, int output_count,
                                        ag_gradcheck_config config)
{
    if (ctx == NULL || (input_count > 0 && !ag_check_given(ctx, "gradcheck", "input", input)) ||
        (output_count > 0 && !ag_check_given(ctx, "gradcheck", "output", output)))
        return ag_check_refused(ctx);
    arrays a = { .function = function };
    ag_check check = {
        .ctx = ctx, .config = config, .name = config.name == NULL ? "function" : config.name,
        .input_count = input_count, .output_count = output_count, .evaluate = arrays_evaluate,
        .backward = arrays_backward, .function = &a, .user = function.user,
    };
    ag_scope_begin(ctx, NULL); /* owns all memory of the check */
    a.x = ag_check_memory(ctx, input_count, sizeof *a.x);
    a.gx = ag_check_memory(ctx, input_count, sizeof *a.gx);
    a.y = ag_check_memory(ctx, output_count, sizeof *a.y);
    a.gy = ag_check_memory(ctx, output_count, sizeof *a.gy);
    a.px = ag_check_memory(ctx, input_count, sizeof(void *));
    a.pgx = ag_check_memory(ctx, input_count, sizeof(void *));
    a.py = ag_check_memory(ctx, output_count, sizeof(void *));
    a.pgy = ag_check_memory(ctx, output_count, sizeof(void *));
    bool made = ag_error(ctx) == AG_OK && ag_check_begin(&check) &&
                arrays_are_of_one_type(&check, input) && arrays_describe(&check, input, output);
    ag_gradcheck_result result = ag_check_run(&check, made, false);
    ag_scope_end(ctx, NULL);
    return result;
}
