/* SPDX-License-Identifier: MIT
 *
 * check_op_errors.c - what ops say about arguments that do not fit: one line with the values that were wrong. Every
 * op of ops.def is given something wrong, NULL, and (where it computes with reals) integers.
 */
#include "tests/test.h"

#include <string.h>

/* What the cases of op_errors.def call ops with, described there. */
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

/* The cases as code: what case `number` calls. */
static ag_tensor *call(int number, const arguments *t)
{
    int n = 0;
#define ERROR(op, expression, status, message) \
    if (number == n++)                         \
        return expression;
#define SILENT(op, expression) ERROR(op, expression, AG_OK, NULL)
#include "tests/autograd/op_errors.def"
#undef ERROR
#undef SILENT
    return NULL;
}

/* And as data: what it must say. */
static const struct {
    const char *op;
    ag_status status;
    const char *message; /* NULL: no error, the result is NULL silently */
} error_cases[] = {
#define ERROR(op, expression, status, message) { #op, status, message },
#define SILENT(op, expression) { #op, AG_OK, NULL },
#include "tests/autograd/op_errors.def"
#undef ERROR
#undef SILENT
};
enum { ERROR_COUNT = sizeof error_cases / sizeof *error_cases };

START_TEST(wrong_arguments_are_named)
{
    ck_assert(_i >= 0 && _i < ERROR_COUNT); /* which tells the compiler, too */
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
    for (int i = 0; i <= ag_op_count; i++) {
        const char *name = i < ag_op_count ? ag_ops[i]->name : "rope";
        bool silent = false, loud = false;
        for (int c = 0; c < ERROR_COUNT; c++) {
            bool same = strcmp(error_cases[c].op, name) == 0;
            silent = silent || (same && error_cases[c].message == NULL);
            loud = loud || (same && error_cases[c].message != NULL);
        }
        bool takes_all = strcmp(name, "contiguous") == 0 || strcmp(name, "cast") == 0;
        ck_assert_msg(silent && (loud || takes_all), "the op '%s' has no error case", name);
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
