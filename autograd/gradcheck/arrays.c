/* SPDX-License-Identifier: MIT
 *
 * arrays.c - makes an ag_check from two plain C functions on arrays of doubles.
 */
#include "autograd/gradcheck/gradcheck_impl.h"

#include <math.h>

typedef struct arrays {
    ag_array_function function;
    const double **x, **gy; /* one per input, one per output */
    double **y;
} arrays;

static bool arrays_evaluate(ag_check *check, double *y)
{
    arrays *a = check->function;
    for (int i = 0; i < check->output_count; i++)
        a->y[i] = y + check->output[i].first;
    for (int64_t i = 0; i < check->output_numel; i++) /* shows an element that forward does not write */
        y[i] = (double)NAN;
    a->function.forward(a->x, a->y, a->function.user);
    return true;
}

static bool arrays_backward(ag_check *check, const double *cotangent, double *const *grad)
{
    arrays *a = check->function;
    for (int i = 0; i < check->output_count; i++)
        a->gy[i] = cotangent + check->output[i].first;
    for (int i = 0; i < check->input_count; i++)
        for (int64_t e = 0; e < check->input[i].numel; e++)
            grad[i][e] = 0;
    a->function.backward(a->x, a->gy, grad, a->function.user);
    return true;
}

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

static bool arrays_describe(ag_check *check, const ag_array *input, const ag_array *output)
{
    arrays *a = check->function;
    for (int i = 0; i < check->input_count; i++) {
        int64_t numel = arrays_numel(check->ctx, &input[i], "input", i);
        if (numel > 0 && input[i].value == NULL)
            ag_fail(check->ctx, AG_ERR_ARGUMENT, "gradcheck", "input %d has no values", i);
        if (ag_error(check->ctx) != AG_OK)
            return false;
        check->input[i] = (ag_check_input){ .x = input[i], .numel = numel, .checked = true, .reached = true };
        a->x[i] = input[i].value;
    }
    for (int i = 0; i < check->output_count; i++) {
        int64_t numel = arrays_numel(check->ctx, &output[i], "output", i);
        if (numel < 0)
            return false;
        check->output[i] = (ag_check_output){ .y = output[i], .numel = numel };
    }
    if (a->function.forward == NULL || a->function.backward == NULL)
        ag_fail(check->ctx, AG_ERR_ARGUMENT, "gradcheck", "forward or backward is NULL");
    return ag_error(check->ctx) == AG_OK;
}

ag_gradcheck_result ag_gradcheck_arrays(ag_ctx *ctx, ag_array_function function, const ag_array *input,
                                        int input_count, const ag_array *output, int output_count,
                                        ag_gradcheck_config config)
{
    arrays a = { .function = function };
    ag_check check = {
        .ctx = ctx, .config = ag_check_defaults(config), .name = config.name == NULL ? "function" : config.name,
        .input_count = input_count, .output_count = output_count, .evaluate = arrays_evaluate,
        .backward = arrays_backward, .function = &a, .user = function.user,
    };
    size_t in_bytes = (size_t)input_count * sizeof(double *), out_bytes = (size_t)output_count * sizeof(double *);
    a.x = ag_alloc(ctx, in_bytes);
    a.y = ag_alloc(ctx, out_bytes);
    a.gy = ag_alloc(ctx, out_bytes);
    bool made = ag_check_begin(&check) && a.x != NULL && a.y != NULL && a.gy != NULL &&
                arrays_describe(&check, input, output);
    ag_gradcheck_result result = ag_check_run(&check, made, false);
    ag_free(ctx, a.x, in_bytes);
    ag_free(ctx, a.y, out_bytes);
    ag_free(ctx, a.gy, out_bytes);
    return result;
}
