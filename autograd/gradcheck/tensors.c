/* SPDX-License-Identifier: MIT
 *
 * tensors.c - makes an ag_check from a function of tensors. Each evaluation runs on a tape of its own.
 */
#include "autograd/gradcheck/gradcheck_impl.h"
#include "autograd/tape_impl.h"
#include "autograd/watch/watch.h"

#include <string.h>

typedef struct tensors {
    ag_tensor_function function; /* the first member: locate.c sees only this one */
    ag_tensor **output;
    ag_tensor **checked, **grad; /* the inputs that are checked, and their gradients */
} tensors;

/* Whether differences can move each input by itself; else false with the error recorded. */
static bool tensors_are_usable(ag_ctx *ctx, ag_tensor *const *input, int input_count)
{
    const char *where = "gradcheck";
    for (int i = 0; i < input_count && ag_error(ctx) == AG_OK; i++) {
        const ag_tensor *x = input[i];
        if (x == NULL) {
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "input %d is NULL", i);
            break;
        }
        if (!ag_check_home(ctx, where, x))
            break;
        if (x->dtype != AG_I32 && !ag_requires_grad(x))
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "input %d needs no gradient; see ag_require_grad", i);
        if (!ag_is_contiguous(x))
            ag_fail(ctx, AG_ERR_ARGUMENT, where, "input %d %s is a strided view; check a contiguous copy", i,
                    ag_shape_text(x));
        for (int j = 0; j < i; j++)
            if (input[j]->storage == x->storage)
                ag_fail(ctx, AG_ERR_ARGUMENT, where, "inputs %d and %d share memory", j, i);
    }
    return ag_error(ctx) == AG_OK;
}

/* float32 inputs get the check's values. */
static void tensors_put_inputs(ag_check *check)
{
    const tensors *t = check->function;
    for (int i = 0; i < check->input_count; i++) {
        const ag_check_input *in = &check->input[i];
        float *x = in->checked && in->single ? ag_data_mut(t->function.input[i]) : NULL;
        for (int64_t e = 0; e < in->numel && x != NULL; e++)
            x[e] = (float)in->x.value[e];
    }
}

/* Runs the function on a new tape, so that layers act as in training. The caller ends the tape. NULL on error. */
static ag_tape *tensors_run(ag_check *check)
{
    tensors *t = check->function;
    ag_ctx *ctx = check->ctx;
    tensors_put_inputs(check);
    ag_rng_set(ctx, t->function.rng);
    ag_tape *tape = ag_tape_begin(ctx);
    if (tape == NULL)
        return NULL;
    for (int i = 0; i < check->output_count; i++)
        t->output[i] = NULL;
    t->function.f(ctx, t->function.input, t->output, t->function.user);
    for (int i = 0; i < check->output_count && ag_error(ctx) == AG_OK; i++) {
        const ag_tensor *y = t->output[i];
        if (y == NULL)
            ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", "the function gave no output %d", i);
        else if (y->dtype == AG_I32)
            ag_fail(ctx, AG_ERR_DTYPE, "gradcheck", "output %d is int32, must be float32 or float64", i);
    }
    if (ag_error(ctx) == AG_OK)
        return tape;
    ag_tape_end(tape);
    return NULL;
}

static bool tensors_evaluate(ag_check *check, double *y)
{
    ag_tape *tape = tensors_run(check);
    if (tape == NULL)
        return false;
    ag_tensor **output = ((tensors *)check->function)->output;
    for (int i = 0; i < check->output_count; i++) {
        const ag_check_output *out = &check->output[i];
        const ag_tensor *dense = ag_tensor_contiguous(ag_tensor_cast(output[i], AG_F64));
        if (dense == NULL)
            break;
        size_t shape_bytes = (size_t)dense->ndim * sizeof(int64_t);
        if (dense->ndim != out->y.ndim || memcmp(dense->shape, out->y.shape, shape_bytes) != 0)
            ag_fail(check->ctx, AG_ERR_SHAPE, "gradcheck", "output %d is %s now, was %s", i, ag_shape_text(dense),
                    ag_dims_text(check->ctx, out->y.ndim, out->y.shape));
        else if (out->numel > 0)
            memcpy(y + out->first, ag_data(dense), (size_t)out->numel * sizeof(double));
    }
    ag_tape_end(tape);
    return ag_error(check->ctx) == AG_OK;
}

/* Adds the gradients of sum(cotangent output[number]). */
static void tensors_add_gradients(ag_check *check, ag_tape *tape, int number, const double *cotangent,
                                double *const *grad)
{
    tensors *t = check->function;
    const ag_check_output *out = &check->output[number];
    ag_tensor *y = t->output[number];
    if (ag_requires_grad(y) && ag_node_of(tape, y) < 0) /* an input returned unchanged has no node yet */
        y = ag_reshape(y, y->ndim, y->shape);
    if (ag_node_of(tape, y) < 0) /* it depends on no input */
        return;
    int checked = 0;
    for (int i = 0; i < check->input_count; i++)
        if (check->input[i].checked)
            t->checked[checked++] = t->function.input[i];
    ag_tensor *c = ag_from_data(check->ctx, AG_F64, out->y.ndim, out->y.shape, cotangent + out->first);
    c = ag_tensor_cast(c, out->single ? AG_F32 : AG_F64);
    if (c == NULL || ag_gradient(tape, y, c, t->checked, checked, t->grad) != AG_OK)
        return;
    for (int i = 0, k = 0; i < check->input_count; i++) {
        ag_check_input *in = &check->input[i];
        if (!in->checked)
            continue;
        const ag_tensor *g = ag_tensor_contiguous(ag_tensor_cast(t->grad[k++], AG_F64));
        in->reached = in->reached || g != NULL;
        for (int64_t e = 0; e < in->numel && g != NULL; e++)
            grad[i][e] += ((const double *)ag_data(g))[e];
    }
}

static bool tensors_backward(ag_check *check, const double *cotangent, double *const *grad)
{
    ag_tape *tape = tensors_run(check);
    if (tape == NULL)
        return false;
    for (int i = 0; i < check->input_count; i++)
        if (check->input[i].checked && check->input[i].numel > 0)
            memset(grad[i], 0, (size_t)check->input[i].numel * sizeof(double));
    for (int i = 0; i < check->output_count && ag_error(check->ctx) == AG_OK; i++)
        tensors_add_gradients(check, tape, i, cotangent, grad);
    ag_tape_end(tape);
    return ag_error(check->ctx) == AG_OK;
}

/* Describes the inputs; and the outputs, with the name of the check, by a first run. */
static bool tensors_describe(ag_check *check)
{
    tensors *t = check->function;
    for (int i = 0; i < check->input_count; i++) {
        ag_tensor *x = t->function.input[i];
        ag_check_input *in = &check->input[i];
        in->checked = x->dtype != AG_I32;
        in->single = x->dtype == AG_F32;
        check->single = check->single || in->single;
        in->numel = x->numel;
        in->x = (ag_array){ .name = ag_name(x), .ndim = x->ndim };
        memcpy(in->x.shape, x->shape, sizeof x->shape);
        if (x->dtype == AG_F64)
            in->x.value = ag_data_mut(x);
        ag_tensor *wide = x->dtype == AG_F32 ? ag_tensor_cast(x, AG_F64) : NULL;
        if (wide != NULL)
            in->x.value = ag_data_mut(wide);
    }
    ag_tape *tape = tensors_run(check);
    if (tape == NULL)
        return false;
    for (int i = 0; i < check->output_count; i++) {
        const ag_tensor *y = t->output[i];
        ag_check_output *out = &check->output[i];
        out->numel = y->numel;
        out->single = y->dtype == AG_F32;
        check->single = check->single || out->single;
        out->y = (ag_array){ .name = ag_name(y), .ndim = y->ndim };
        memcpy(out->y.shape, y->shape, sizeof y->shape);
    }
    int64_t node = ag_node_of(tape, t->output[0]);
    if (check->config.name == NULL && node >= 0)
        check->name = tape->nodes[node].op->name;
    ag_tape_end(tape);
    return true;
}

ag_gradcheck_result ag_gradcheck(ag_ctx *ctx, ag_gradcheck_fn *f, ag_tensor *const *input, int input_count,
                                 void *user, ag_gradcheck_config config)
{
    if (ctx != NULL && (f == NULL || input_count < 0))
        ag_fail(ctx, AG_ERR_ARGUMENT, "gradcheck", f == NULL ? "f is NULL" : "the number of inputs is negative");
    if (ctx == NULL || f == NULL || input_count < 0 ||
        (input_count > 0 && !ag_check_given(ctx, "gradcheck", "input", input)))
        return ag_check_refused(ctx);
    ag_rng rng = ag_rng_get(ctx);
    tensors t = { .function = { f, input, input_count, user, rng } };
    ag_check check = {
        .ctx = ctx,
        .config = config,
        .name = config.name == NULL ? "function" : config.name,
        .input_count = input_count,
        .evaluate = tensors_evaluate,
        .backward = tensors_backward,
        .function = &t,
        .user = user,
    };
    check.output_count = config.outputs > 0 ? config.outputs : 1;
    ag_scope_begin(ctx, NULL); /* owns all memory of the check */
    t.output = ag_check_memory(ctx, check.output_count, sizeof(ag_tensor *));
    t.checked = ag_check_memory(ctx, input_count, sizeof(ag_tensor *));
    t.grad = ag_check_memory(ctx, input_count, sizeof(ag_tensor *));
    bool made = ag_error(ctx) == AG_OK && ag_check_begin(&check) && tensors_are_usable(ctx, input, input_count) &&
                tensors_describe(&check);
    ag_gradcheck_result result = ag_check_run(&check, made, !check.single);
    if (made)
        tensors_put_inputs(&check);
    ag_scope_end(ctx, NULL);
    ag_rng_set(ctx, rng);
    return result;
}
