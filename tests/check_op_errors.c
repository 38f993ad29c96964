/* SPDX-License-Identifier: MIT
 *
 * check_op_errors.c - what ops say about arguments that do not fit: one line with the values that were wrong. Every
 * op of ops.def is given something wrong, NULL, and (where it computes with reals) integers.
 */
#include "tests/test.h"

#include <string.h>

/* Arguments for the cases: f[2,3], g[4,5], d[2,3] in float64, i[2,3] int32 ascending, v[3], s scalar, q[1,2,3,4]. */
typedef struct arguments {
    ag_tensor *f, *g, *d, *i, *v, *s, *q, *none;
} arguments;

static ag_tensor *first_piece(ag_tensor *x, int dim, int count)
{
    ag_tensor *piece[4] = { x, x, x, x };
    ag_split(x, dim, count, piece);
    for (int i = 0; i < count; i++)
        ck_assert_ptr_null(piece[i]);
    return count > 0 ? piece[0] : NULL;
}

static ag_cross_entropy_config smoothing(double s)
{
    return (ag_cross_entropy_config){ .label_smoothing = s };
}

#define SILENT(op, call) ERROR(op, call, AG_OK, NULL)
#define ERROR_CASES                                                                                                      \
    ERROR(add, ag_add(t->f, t->g), AG_ERR_SHAPE, "add: [2,3] and [4,5] do not broadcast: 2 against 4")                   \
    ERROR(add, ag_add(t->f, t->d), AG_ERR_DTYPE, "add: [2,3] is float32, [2,3] is float64; cast one")                    \
    ERROR(add, ag_add(t->f, t->i), AG_ERR_DTYPE, "add: [2,3] is int32, must be float32 or float64")                      \
    SILENT(add, ag_add(t->f, t->none))                                                                                   \
    SILENT(add, ag_add(t->none, t->f))                                                                                   \
    ERROR(sub, ag_sub(t->f, t->g), AG_ERR_SHAPE, "sub: [2,3] and [4,5] do not broadcast")                                \
    SILENT(sub, ag_sub(t->none, t->f))                                                                                   \
    ERROR(mul, ag_mul(t->f, t->g), AG_ERR_SHAPE, "mul: [2,3] and [4,5] do not broadcast")                                \
    SILENT(mul, ag_mul(t->f, t->none))                                                                                   \
    ERROR(div, ag_div(t->g, t->f), AG_ERR_SHAPE, "div: [4,5] and [2,3] do not broadcast")                                \
    SILENT(div, ag_div(t->f, t->none))                                                                                   \
    ERROR(maximum, ag_maximum(t->f, t->d), AG_ERR_DTYPE, "maximum: [2,3] is float32, [2,3] is float64; cast one")        \
    SILENT(maximum, ag_maximum(t->none, t->none))                                                                        \
    ERROR(minimum, ag_minimum(t->i, t->i), AG_ERR_DTYPE, "minimum: [2,3] is int32, must be float32 or float64")          \
    SILENT(minimum, ag_minimum(t->f, t->none))                                                                           \
    ERROR(neg, ag_neg(t->i), AG_ERR_DTYPE, "neg: [2,3] is int32, must be float32 or float64")                            \
    SILENT(neg, ag_neg(t->none))                                                                                         \
    ERROR(scale, ag_scale(t->i, 2), AG_ERR_DTYPE, "scale: [2,3] is int32")                                               \
    SILENT(scale, ag_scale(t->none, 2))                                                                                  \
    ERROR(add_scalar, ag_add_scalar(t->i, 2), AG_ERR_DTYPE, "add_scalar: [2,3] is int32")                                \
    SILENT(add_scalar, ag_add_scalar(t->none, 2))                                                                        \
    ERROR(exp, ag_exp(t->i), AG_ERR_DTYPE, "exp: [2,3] is int32")                                                        \
    SILENT(exp, ag_exp(t->none))                                                                                         \
    ERROR(log, ag_log(t->i), AG_ERR_DTYPE, "log: [2,3] is int32")                                                        \
    SILENT(log, ag_log(t->none))                                                                                         \
    ERROR(sqrt, ag_sqrt(t->i), AG_ERR_DTYPE, "sqrt: [2,3] is int32")                                                     \
    SILENT(sqrt, ag_sqrt(t->none))                                                                                       \
    ERROR(tanh, ag_tanh(t->i), AG_ERR_DTYPE, "tanh: [2,3] is int32")                                                     \
    SILENT(tanh, ag_tanh(t->none))                                                                                       \
    ERROR(sigmoid, ag_sigmoid(t->i), AG_ERR_DTYPE, "sigmoid: [2,3] is int32")                                            \
    SILENT(sigmoid, ag_sigmoid(t->none))                                                                                 \
    ERROR(relu, ag_relu(t->i), AG_ERR_DTYPE, "relu: [2,3] is int32")                                                     \
    SILENT(relu, ag_relu(t->none))                                                                                       \
    ERROR(gelu, ag_gelu(t->i), AG_ERR_DTYPE, "gelu: [2,3] is int32")                                                     \
    SILENT(gelu, ag_gelu(t->none))                                                                                       \
    ERROR(gelu_tanh, ag_gelu_tanh(t->i), AG_ERR_DTYPE, "gelu_tanh: [2,3] is int32")                                      \
    SILENT(gelu_tanh, ag_gelu_tanh(t->none))                                                                             \
    ERROR(silu, ag_silu(t->i), AG_ERR_DTYPE, "silu: [2,3] is int32")                                                     \
    SILENT(silu, ag_silu(t->none))                                                                                       \
    ERROR(pow, ag_pow(t->i, 2), AG_ERR_DTYPE, "pow: [2,3] is int32")                                                     \
    SILENT(pow, ag_pow(t->none, 2))                                                                                      \
    ERROR(abs, ag_abs(t->i), AG_ERR_DTYPE, "abs: [2,3] is int32")                                                        \
    SILENT(abs, ag_abs(t->none))                                                                                         \
    ERROR(clamp, ag_clamp(t->i, 0, 1), AG_ERR_DTYPE, "clamp: [2,3] is int32")                                            \
    ERROR(clamp, ag_clamp(t->f, 2, 1), AG_ERR_ARGUMENT, "clamp: low is 2, high is 1")                                    \
    ERROR(clamp, ag_clamp(t->f, (double)NAN, 1), AG_ERR_ARGUMENT, "clamp: low is ")                                      \
    SILENT(clamp, ag_clamp(t->none, 0, 1))                                                                               \
    ERROR(where, ag_where(t->f, t->f, t->f), AG_ERR_DTYPE, "where: the condition [2,3] is float32, must be int32")       \
    ERROR(where, ag_where(t->i, t->f, t->g), AG_ERR_SHAPE, "where: [2,3] and [4,5] do not broadcast")                    \
    ERROR(where, ag_where(t->i, t->g, t->g), AG_ERR_SHAPE, "where: [2,3] and [4,5] do not broadcast")                    \
    ERROR(where, ag_where(t->i, t->f, t->d), AG_ERR_DTYPE, "where: [2,3] is float32, [2,3] is float64; cast one")        \
    SILENT(where, ag_where(t->none, t->f, t->f))                                                                         \
    SILENT(where, ag_where(t->i, t->f, t->none))                                                                         \
    ERROR(masked_fill, ag_masked_fill(t->v, t->i, 0), AG_ERR_SHAPE,                                                      \
          "masked_fill: the mask [2,3] does not broadcast to x's shape [3]")                                             \
    ERROR(masked_fill, ag_masked_fill(t->f, t->v, 0), AG_ERR_DTYPE, "the condition [3] is float32, must be int32")       \
    SILENT(masked_fill, ag_masked_fill(t->f, t->none, 0))                                                                \
    ERROR(dropout, ag_dropout(t->f, 1), AG_ERR_ARGUMENT, "dropout: p is 1, must be in [0, 1)")                           \
    ERROR(dropout, ag_dropout(t->f, -0.1), AG_ERR_ARGUMENT, "dropout: p is -0.1, must be in [0, 1)")                     \
    ERROR(dropout, ag_dropout(t->f, (double)NAN), AG_ERR_ARGUMENT, "must be in [0, 1)")                                  \
    ERROR(dropout, ag_dropout(t->i, 0.5), AG_ERR_DTYPE, "dropout: [2,3] is int32")                                       \
    SILENT(dropout, ag_dropout(t->none, 0.5))                                                                            \
    ERROR(reshape, ag_reshape(t->f, AG_SHAPE(4, 2)), AG_ERR_SHAPE, "reshape: [2,3] has 6 elements, [4,2] has 8")         \
    SILENT(reshape, ag_reshape(t->none, AG_SHAPE(4, 2)))                                                                 \
    ERROR(permute, ag_permute(t->f, (const int[]){ 0, 0 }), AG_ERR_ARGUMENT, "permute: dim 0 of [2,3] is named twice")   \
    ERROR(permute, ag_permute(t->f, (const int[]){ 0, 2 }), AG_ERR_ARGUMENT, "permute: dim 2 of [2,3]")                  \
    SILENT(permute, ag_permute(t->none, (const int[]){ 0, 1 }))                                                          \
    ERROR(transpose, ag_transpose(t->f, 0, 2), AG_ERR_ARGUMENT, "transpose: dim 2 of [2,3]")                             \
    SILENT(transpose, ag_transpose(t->none, 0, 1))                                                                       \
    ERROR(slice, ag_slice(t->f, -3, 0, 1, 1), AG_ERR_ARGUMENT, "slice: dim -3 of [2,3]")                                 \
    ERROR(slice, ag_slice(t->f, 0, 0, 1, 0), AG_ERR_ARGUMENT, "slice: step 0, it must be >= 1")                          \
    SILENT(slice, ag_slice(t->none, 0, 0, 1, 1))                                                                         \
    ERROR(select, ag_select(t->f, 1, 3), AG_ERR_INDEX, "select: index 3 of dim 1 in [2,3]")                              \
    ERROR(select, ag_select(t->f, 1, -4), AG_ERR_INDEX, "select: index -4 of dim 1 in [2,3]")                            \
    ERROR(select, ag_select(t->f, 2, 0), AG_ERR_ARGUMENT, "select: dim 2 of [2,3]")                                      \
    SILENT(select, ag_select(t->none, 0, 0))                                                                             \
    ERROR(expand, ag_expand(t->f, AG_SHAPE(4, 3)), AG_ERR_SHAPE, "expand: [2,3] to [4,3]: 2 can not become 4")           \
    SILENT(expand, ag_expand(t->none, AG_SHAPE(4, 3)))                                                                   \
    ERROR(squeeze, ag_squeeze(t->f, 0), AG_ERR_SHAPE, "squeeze: dim 0 of [2,3] is 2, not 1")                             \
    SILENT(squeeze, ag_squeeze(t->none, 0))                                                                              \
    ERROR(unsqueeze, ag_unsqueeze(t->f, 3), AG_ERR_ARGUMENT, "unsqueeze: dim 3 of [2,3]")                                \
    SILENT(unsqueeze, ag_unsqueeze(t->none, 0))                                                                          \
    SILENT(contiguous, ag_contiguous(t->none))                                                                           \
    SILENT(cast, ag_cast(t->none, AG_F64))                                                                               \
    ERROR(concat, ag_concat((ag_tensor *[]){ t->f, t->g }, 2, 0), AG_ERR_SHAPE,                                          \
          "concat: tensor 1 is float32 [4,5], tensor 0 float32 [2,3]; they must agree but for dim 0")                    \
    ERROR(concat, ag_concat((ag_tensor *[]){ t->f, t->d }, 2, 0), AG_ERR_SHAPE, "tensor 1 is float64 [2,3]")             \
    ERROR(concat, ag_concat((ag_tensor *[]){ t->f, t->f }, 2, 2), AG_ERR_ARGUMENT, "concat: dim 2 of [2,3]")             \
    SILENT(concat, ag_concat((ag_tensor *[]){ t->f, t->none }, 2, 0))                                                    \
    ERROR(stack, ag_stack((ag_tensor *[]){ t->f, t->g }, 2, 0), AG_ERR_SHAPE, "tensor 1 is float32 [1,4,5]")             \
    SILENT(stack, ag_stack((ag_tensor *[]){ t->f, t->none }, 2, 0))                                                      \
    ERROR(split, first_piece(t->f, 1, 2), AG_ERR_SHAPE, "split: dim 1 of [2,3] does not divide into 2 equal pieces")     \
    ERROR(split, first_piece(t->f, 2, 2), AG_ERR_ARGUMENT, "split: dim 2 of [2,3]")                                      \
    ERROR(split, first_piece(t->f, 0, 0), AG_ERR_SHAPE, "into 0 equal pieces")                                           \
    SILENT(split, first_piece(t->none, 0, 2))                                                                            \
    ERROR(sum, ag_sum(t->f, AG_DIMS(2), false), AG_ERR_ARGUMENT, "sum: dim 2 of [2,3]")                                  \
    ERROR(sum, ag_sum(t->f, AG_DIMS(0, -2), false), AG_ERR_ARGUMENT, "sum: dim -2 is listed twice for [2,3]")            \
    ERROR(sum, ag_sum(t->i, AG_ALL_DIMS, false), AG_ERR_DTYPE, "sum: [2,3] is int32")                                    \
    SILENT(sum, ag_sum(t->none, AG_ALL_DIMS, false))                                                                     \
    ERROR(mean, ag_mean(t->f, AG_DIMS(-3), false), AG_ERR_ARGUMENT, "mean: dim -3 of [2,3]")                             \
    SILENT(mean, ag_mean(t->none, AG_ALL_DIMS, false))                                                                   \
    ERROR(max, ag_max(ag_slice(t->f, 0, 0, 0, 1), AG_DIMS(0), false), AG_ERR_SHAPE,                                      \
          "max: [0,3] has no elements to take the maximum of")                                                          \
    SILENT(max, ag_max(t->none, AG_ALL_DIMS, false))                                                                     \
    ERROR(var, ag_var(t->i, AG_ALL_DIMS, 1, false), AG_ERR_DTYPE, "var: [2,3] is int32")                                 \
    SILENT(var, ag_var(t->none, AG_ALL_DIMS, 1, false))                                                                  \
    ERROR(matmul, ag_matmul(t->f, t->g), AG_ERR_SHAPE, "matmul: [2,3] x [4,5]: inner sizes 3 and 4 differ")              \
    ERROR(matmul, ag_matmul(t->q, ag_unsqueeze(ag_expand(t->g, AG_SHAPE(3, 4, 5)), 0)), AG_ERR_SHAPE,                    \
          "matmul: [1,2,3,4] x [1,3,4,5]: leading dims 2 and 3 do not broadcast")                                        \
    ERROR(matmul, ag_matmul(t->f, t->s), AG_ERR_SHAPE, "matmul: [2,3] x []: a scalar is no matrix; see ag_mul")          \
    ERROR(matmul, ag_matmul(t->f, t->d), AG_ERR_DTYPE, "matmul: [2,3] is float32, [2,3] is float64; cast one")           \
    SILENT(matmul, ag_matmul(t->none, t->f))                                                                             \
    ERROR(linear, ag_linear(t->g, t->f, NULL), AG_ERR_SHAPE, "linear: x is [4,5], in_features is 3")                     \
    ERROR(linear, ag_linear(t->v, t->v, NULL), AG_ERR_SHAPE, "linear: the weight is [3], must be [out,in]")              \
    ERROR(linear, ag_linear(t->v, t->f, t->v), AG_ERR_SHAPE, "linear: the bias is [3], out_features is 2")               \
    ERROR(linear, ag_linear(t->s, t->f, NULL), AG_ERR_SHAPE, "linear: x is [], in_features is 3")                        \
    ERROR(linear, ag_linear(t->d, t->f, NULL), AG_ERR_DTYPE, "linear: [2,3] is float64, [2,3] is float32; cast one")     \
    SILENT(linear, ag_linear(t->f, t->none, NULL))                                                                       \
    ERROR(softmax, ag_softmax(t->f, 2), AG_ERR_ARGUMENT, "softmax: dim 2 of [2,3]")                                      \
    ERROR(softmax, ag_softmax(t->i, 0), AG_ERR_DTYPE, "softmax: [2,3] is int32")                                         \
    ERROR(softmax, ag_softmax(t->s, -1), AG_ERR_ARGUMENT, "softmax: dim -1 of []")                                       \
    SILENT(softmax, ag_softmax(t->none, 0))                                                                              \
    ERROR(log_softmax, ag_log_softmax(t->f, -3), AG_ERR_ARGUMENT, "log_softmax: dim -3 of [2,3]")                        \
    SILENT(log_softmax, ag_log_softmax(t->none, 0))                                                                      \
    ERROR(logsumexp, ag_logsumexp(t->f, 5, false), AG_ERR_ARGUMENT, "logsumexp: dim 5 of [2,3]")                         \
    SILENT(logsumexp, ag_logsumexp(t->none, 0, false))                                                                   \
    ERROR(layer_norm, ag_layer_norm(t->g, t->v, NULL, 1e-5), AG_ERR_SHAPE, "layer_norm: x is [4,5], the weight [3]")     \
    ERROR(layer_norm, ag_layer_norm(t->g, NULL, t->v, 1e-5), AG_ERR_SHAPE, "layer_norm: x is [4,5], the bias [3]")       \
    ERROR(layer_norm, ag_layer_norm(t->s, NULL, NULL, 1e-5), AG_ERR_SHAPE, "layer_norm: x is a scalar")                  \
    ERROR(layer_norm, ag_layer_norm(t->d, t->v, NULL, 1e-5), AG_ERR_DTYPE, "layer_norm: [2,3] is float64, [3] is float32") \
    SILENT(layer_norm, ag_layer_norm(t->none, t->v, t->v, 1e-5))                                                         \
    ERROR(embedding, ag_embedding(t->g, t->i), AG_ERR_INDEX, "embedding: index 4 at position 4 of [2,3] is not in 0..3") \
    ERROR(embedding, ag_embedding(t->g, ag_cast(ag_scale(t->v, -1), AG_I32)), AG_ERR_INDEX,                              \
          "embedding: index -1 at position 0 of [3] is not in 0..3")                                                     \
    ERROR(embedding, ag_embedding(t->v, t->i), AG_ERR_SHAPE, "embedding: the table is [3], must be [V,C]")               \
    ERROR(embedding, ag_embedding(t->g, t->f), AG_ERR_DTYPE, "embedding: the indices [2,3] are float32, must be int32")  \
    SILENT(embedding, ag_embedding(t->none, t->i))                                                                       \
    SILENT(embedding, ag_embedding(t->g, t->none))                                                                       \
    ERROR(cross_entropy, ag_cross_entropy(t->f, ag_select(t->i, 0, 1)), AG_ERR_SHAPE,                                    \
          "cross_entropy: logits are [2,3], targets [3]; must be [..,V] and [..]")                                       \
    ERROR(cross_entropy, ag_cross_entropy(t->f, ag_select(t->i, 1, 0)), AG_ERR_INDEX,                                    \
          "cross_entropy: index 3 at position 1 of [2] is not in 0..2")                                                  \
    ERROR(cross_entropy, ag_cross_entropy(t->f, ag_select(t->f, 1, 0)), AG_ERR_DTYPE, "must be int32")                   \
    ERROR(cross_entropy, ag_cross_entropy_with(t->f, ag_select(t->i, 1, 0), smoothing(1.5)), AG_ERR_ARGUMENT,            \
          "cross_entropy: label_smoothing is 1.5, must be in [0, 1]")                                                    \
    ERROR(cross_entropy, ag_cross_entropy_with(t->f, ag_select(t->i, 1, 0), smoothing(-0.1)), AG_ERR_ARGUMENT,           \
          "cross_entropy: label_smoothing is -0.1, must be in [0, 1]")                                                   \
    SILENT(cross_entropy, ag_cross_entropy(t->none, t->i))                                                               \
    SILENT(cross_entropy, ag_cross_entropy(t->f, t->none))                                                               \
    ERROR(mse, ag_mse(t->f, t->v), AG_ERR_SHAPE, "mse: x is [2,3], the target [3]; they must be equal")                  \
    SILENT(mse, ag_mse(t->f, t->none))                                                                                   \
    ERROR(sdpa, ag_sdpa(t->f, t->f, t->f, (ag_sdpa_config){ 0 }), AG_ERR_SHAPE,                                          \
          "sdpa: queries are [2,3], keys [2,3]; must be [B,H,Tq,D] and [B,H,Tk,D]")                                      \
    ERROR(sdpa, ag_sdpa(t->q, t->q, ag_slice(t->q, 2, 0, 2, 1), (ag_sdpa_config){ 0 }), AG_ERR_SHAPE,                    \
          "sdpa: keys are [1,2,3,4], values [1,2,2,4]; must be [B,H,Tk,D] and [B,H,Tk,Dv]")                              \
    ERROR(sdpa, ag_sdpa(t->q, t->q, t->q, (ag_sdpa_config){ .dropout = 1 }), AG_ERR_ARGUMENT, "sdpa: dropout is 1")      \
    ERROR(sdpa, ag_sdpa(t->q, t->q, t->q, (ag_sdpa_config){ .mask.window = -1 }), AG_ERR_ARGUMENT, "sdpa: window is -1") \
    SILENT(sdpa, ag_sdpa(t->q, t->none, t->q, (ag_sdpa_config){ 0 }))                                                    \
    ERROR(sdpa_weights, ag_sdpa_weights(t->q, t->q, t->v, (ag_sdpa_config){ 0 }), AG_ERR_SHAPE,                          \
          "sdpa_weights: queries are [1,2,3,4], lse [3]; must be [B,H,Tq,D] and [B,H,Tq]")                               \
    SILENT(sdpa_weights, ag_sdpa_weights(t->q, t->q, t->none, (ag_sdpa_config){ 0 }))

/* The cases as code: what case `number` calls. */
static ag_tensor *call(int number, const arguments *t)
{
    int n = 0;
#define ERROR(op, expression, status, message) \
    if (number == n++)                         \
        return expression;
    ERROR_CASES
#undef ERROR
    return NULL;
}

/* And as data: what it must say. */
static const struct {
    const char *op;
    ag_status status;
    const char *message; /* NULL: no error, the result is NULL silently */
} error_cases[] = {
#define ERROR(op, expression, status, message) { #op, status, message },
    ERROR_CASES
#undef ERROR
};
enum { ERROR_COUNT = sizeof error_cases / sizeof *error_cases };

START_TEST(wrong_arguments_are_named)
{
    ag_ctx *ctx = test_begin();
    arguments t = {
        .f = ag_zeros(ctx, AG_F32, AG_SHAPE(2, 3)),
        .g = ag_zeros(ctx, AG_F32, AG_SHAPE(4, 5)),
        .d = ag_zeros(ctx, AG_F64, AG_SHAPE(2, 3)),
        .i = ag_reshape(ag_arange(ctx, AG_I32, 0, 1, 6), AG_SHAPE(2, 3)),
        .v = ag_arange(ctx, AG_F32, 1, 1, 3),
        .s = ag_zeros(ctx, AG_F32, AG_SCALAR),
        .q = ag_zeros(ctx, AG_F32, AG_SHAPE(1, 2, 3, 4)),
    };
    ag_require_grad(t.f); /* an op that fails records nothing */
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = call(_i, &t);
    const char *message = ag_error_message(ctx), *wanted = error_cases[_i].message;
    ck_assert_msg(y == NULL, "%s gave a result, wanted '%s'", error_cases[_i].op, wanted == NULL ? "NULL" : wanted);
    if (wanted == NULL) {
        ck_assert_msg(ag_error(ctx) == AG_OK, "%s of NULL is not silent: %s", error_cases[_i].op, message);
    } else {
        ck_assert_msg(strchr(message, '\n') == NULL && strlen(message) < 160, "not one short line: %s", message);
        assert_error(ctx, error_cases[_i].status, wanted);
    }
    for (int64_t i = 0; i < ag_tape_size(tape); i++)
        ck_assert_str_ne(ag_tape_node(tape, i).op, error_cases[_i].op);
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(every_op_is_given_something_wrong)
{
    for (int i = 0; i < ag_op_count; i++) {
        bool silent = false, loud = false;
        for (int c = 0; c < ERROR_COUNT; c++) {
            bool same = strcmp(error_cases[c].op, ag_ops[i]->name) == 0;
            silent = silent || (same && error_cases[c].message == NULL);
            loud = loud || (same && error_cases[c].message != NULL);
        }
        bool takes_all = strcmp(ag_ops[i]->name, "contiguous") == 0 || strcmp(ag_ops[i]->name, "cast") == 0;
        ck_assert_msg(silent && (loud || takes_all), "the op '%s' has no error case", ag_ops[i]->name);
    }
}
END_TEST

/* The module path stands before the op, and the first error stays. */
START_TEST(errors_name_the_module)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_zeros(ctx, AG_F32, AG_SHAPE(4, 3)), *b = ag_zeros(ctx, AG_F32, AG_SHAPE(5, 2));
    ag_scope_begin(ctx, "blocks.0");
    ag_scope_begin(ctx, "attn");
    ck_assert_ptr_null(ag_gelu(ag_add(ag_matmul(a, b), a)));
    ag_scope_end(ctx, NULL);
    ag_scope_end(ctx, NULL);
    ck_assert_ptr_null(ag_add(a, b));
    ck_assert_str_eq(ag_error_op(ctx), "matmul");
    ck_assert_str_eq(ag_error_path(ctx), "blocks.0.attn");
    ck_assert_str_eq(ag_error_message(ctx), "blocks.0.attn: matmul: [4,3] x [5,2]: inner sizes 3 and 5 differ");
    assert_error(ctx, AG_ERR_SHAPE, "blocks.0.attn: matmul: ");
    test_end(ctx);
}
END_TEST

Suite *op_errors_suite(void)
{
    Suite *suite = suite_create("op_errors");
    TCase *errors = tcase_create("errors");
    tcase_set_timeout(errors, 60);
    tcase_add_loop_test(errors, wrong_arguments_are_named, 0, ERROR_COUNT);
    tcase_add_test(errors, every_op_is_given_something_wrong);
    tcase_add_test(errors, errors_name_the_module);
    suite_add_tcase(suite, errors);
    return suite;
}
