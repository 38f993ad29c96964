/* SPDX-License-Identifier: MIT
 *
 * tensors_and_strides.c - chapter 1 of the course: one array of numbers, and the tensors that look into it.
 *
 * The array x[3,4] holds 10, 11, ..., 21 in this order, so that a number tells its place: place + 10.
 * usage: tensors_and_strides [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>
#include <string.h>

enum { ROWS = 3, COLS = 4, PLACES = ROWS * COLS, FIRST = 10 };

/* ---- A matrix by its strides ---- */

typedef struct matrix {
    double *data; /* element [0,0] */
    int64_t rows, cols, row_stride, col_stride;
} matrix;

static double *element(matrix m, int64_t i, int64_t j)
{
    return m.data + i * m.row_stride + j * m.col_stride;
}

static matrix matrix_of(ag_tensor *t)
{
    return (matrix){ ag_data_mut(t), ag_dim(t, 0), ag_dim(t, 1), ag_stride(t)[0], ag_stride(t)[1] };
}

/* c[m,n] = a[m,k] b[k,n]; c is zero before. */
static void product(matrix a, matrix b, double *c)
{
    for (int64_t i = 0; i < a.rows; i++)
        for (int64_t j = 0; j < b.cols; j++)
            for (int64_t k = 0; k < a.cols; k++)
                c[i * b.cols + j] += *element(a, i, k) * *element(b, k, j);
}

/* ---- Views ---- */

/* The place in x where t begins; -1: t has memory of its own. */
static int place_of(ag_tensor *x, ag_tensor *t)
{
    for (int place = 0; place < PLACES; place++)
        if (ag_data(t) == (const double *)ag_data(x) + place)
            return place;
    return -1;
}

static void show(ag_tensor *x, const char *numpy, ag_tensor *t)
{
    const int place = place_of(x, t);
    printf("%-34s %-9s %-9s", numpy, ag_shape_text(t), ag_dims_text(ag_ctx_of(t), ag_ndim(t), ag_stride(t)));
    if (place < 0)
        printf("   a copy");
    else
        printf(" %8d", place);
    printf("  %s\n", ag_is_contiguous(t) ? "yes" : "no");
}

static void print_matrix(const char *name, matrix m)
{
    printf("\n%s\n", name);
    for (int64_t i = 0; i < m.rows; i++) {
        for (int64_t j = 0; j < m.cols; j++)
            ag_printf(" %6.0f", *element(m, i, j));
        putchar('\n');
    }
}

static void show_views(ag_tensor *x)
{
    ag_tensor *transposed = ag_tensor_transpose(x, 0, 1), *second = ag_tensor_slice(x, 1, 0, COLS, 2);
    ag_tensor *split = ag_tensor_reshape(x, AG_SHAPE(ROWS, 2, 2)), *heads = ag_tensor_transpose(split, 0, 1);
    printf("in NumPy's words                   shape     strides   begins at  contiguous\n");
    show(x, "x", x);
    show(x, "x.T", transposed);
    show(x, "x[1]", ag_tensor_select(x, 0, 1));
    show(x, "x[:, 2]", ag_tensor_select(x, 1, 2));
    show(x, "x[1:]", ag_tensor_slice(x, 0, 1, ROWS, 1));
    show(x, "x[:, ::2]", second);
    show(x, "broadcast_to(x[1], (3, 4))", ag_tensor_expand(ag_tensor_select(x, 0, 1), AG_SHAPE(ROWS, COLS)));
    show(x, "x.reshape(2, 6)", ag_tensor_reshape(x, AG_SHAPE(2, 6)));
    show(x, "x.reshape(3, 2, 2)", split);
    show(x, "x.reshape(3, 2, 2).swapaxes(0, 1)", heads);
    show(x, "x[:, ::2].reshape(6)", ag_tensor_reshape(second, AG_SHAPE(6)));
    show(x, "x.T.reshape(12)", ag_tensor_reshape(transposed, AG_SHAPE(PLACES)));
    print_matrix("x", matrix_of(x));
    print_matrix("x.T", matrix_of(transposed));
    print_matrix("x[:, ::2]", matrix_of(second));
    print_matrix("head 0", matrix_of(ag_tensor_select(heads, 0, 0)));
    print_matrix("head 1", matrix_of(ag_tensor_select(heads, 0, 1)));
}

/* A write to x is seen through x.T, and not in a copy. */
static bool show_sharing(ag_tensor *x)
{
    ag_tensor *transposed = ag_tensor_transpose(x, 0, 1), *copy = ag_tensor_clone(x);
    double seen = 0, copied = 0;
    ag_set(x, (int64_t[]){ 1, 2 }, 99);
    ag_get(transposed, (int64_t[]){ 2, 1 }, &seen);
    ag_get(copy, (int64_t[]){ 1, 2 }, &copied);
    ag_set(x, (int64_t[]){ 1, 2 }, 16);
    ag_printf("\nx[1,2] becomes 99: x.T[2,1] is %.0f, and in a copy made before it is %.0f\n", seen, copied);
    return seen > 98 && copied < 17;
}

/* x x^T, with the transposed view as the second factor. */
static bool show_product(ag_tensor *x)
{
    ag_tensor *transposed = ag_tensor_transpose(x, 0, 1);
    double c[ROWS * ROWS] = { 0 };
    product(matrix_of(x), matrix_of(transposed), c);
    print_matrix("x x^T", (matrix){ c, ROWS, ROWS, ROWS, 1 });
    const double *library = ag_data(ag_matmul(x, transposed));
    const bool same = library != NULL && memcmp(library, c, sizeof c) == 0;
    printf("\nag_matmul agrees: %s\n", same ? "yes" : "NO");
    return same;
}

/* ---- Broadcasting ---- */

static bool show_broadcasting(ag_ctx *ctx)
{
    ag_tensor *y = ag_from_data(ctx, AG_F64, AG_SHAPE(3), (double[]){ 1, 2, 3 });
    ag_tensor *t = ag_from_data(ctx, AG_F64, AG_SHAPE(3, 1), (double[]){ 1, 2, 3 });
    ag_tensor *d = ag_sub(y, t);
    double loss = 0;
    ag_item(ag_mean(ag_mul(d, d), AG_ALL_DIMS, false), &loss);
    printf("\ny has shape %s, t %s, y - t %s\n", ag_shape_text(y), ag_shape_text(t), ag_shape_text(d));
    print_matrix("y - t", matrix_of(d));
    ag_printf("\nmean square of y - t: %.4f\n", loss);
    ag_mse(y, t);
    printf("the library's loss says: %s\n", ag_error_message(ctx));
    const bool refused = ag_error(ctx) == AG_ERR_SHAPE;
    ag_error_clear(ctx);
    return refused && fabs(loss - 4.0 / 3) < 1e-15;
}

/* ---- Gradients through a view ---- */

/* L(x) = sum(u * view of x): dx[place] = sum of the u whose element reads this place. A step of 1 is exact, as L is
 * linear in x. */
static bool show_gradient(const char *name, ag_tensor *x, ag_tensor *view, double *dx)
{
    const double u[ROWS * COLS] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };
    double *places = ag_data_mut(x);
    const matrix m = matrix_of(view);
    bool same = true;
    for (int64_t i = 0; i < m.rows; i++)
        for (int64_t j = 0; j < m.cols; j++)
            dx[element(m, i, j) - places] += u[i * m.cols + j];
    for (int place = 0; place < PLACES; place++) {
        double moved = 0;
        for (int step = 1; step >= 0; step--) {
            places[place] = place + FIRST + step;
            for (int64_t i = 0; i < m.rows; i++)
                for (int64_t j = 0; j < m.cols; j++)
                    moved += (step == 1 ? 1 : -1) * u[i * m.cols + j] * *element(m, i, j);
        }
        same = same && fabs(moved - dx[place]) < 1e-9;
    }
    print_matrix(name, (matrix){ dx, ROWS, COLS, COLS, 1 });
    printf("  a step of 1 in each place agrees: %s\n", same ? "yes" : "NO");
    return same;
}

/* ---- Memory ---- */

/* How many lines of 64 bytes hold `count` floats that stand `stride` floats apart. */
static int lines_of(int count, int stride)
{
    int lines = 0, last = -1;
    for (int i = 0; i < count; i++)
        if (i * stride * 4 / 64 != last) {
            last = i * stride * 4 / 64;
            lines++;
        }
    return lines;
}

int main(int argc, char **argv)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ 0 });
    ag_tensor *x = ag_tensor_reshape(ag_arange(ctx, AG_F64, FIRST, 1, PLACES), AG_SHAPE(ROWS, COLS));
    if (x == NULL)
        return 1;
    show_views(x);
    bool good = show_sharing(x);
    good = show_product(x) && good;
    printf("\nlines of 64 bytes in a 1000 x 1000 matrix of floats: a row %d, a column %d\n", lines_of(1000, 1),
           lines_of(1000, 1000));
    good = show_broadcasting(ctx) && good;
    double dx[3][PLACES] = { { 0 } };
    ag_tensor *row = ag_tensor_expand(ag_tensor_select(x, 0, 1), AG_SHAPE(ROWS, COLS));
    good = show_gradient("dx through x.T", x, ag_tensor_transpose(x, 0, 1), dx[0]) && good;
    good = show_gradient("dx through x[:, ::2]", x, ag_tensor_slice(x, 1, 0, COLS, 2), dx[1]) && good;
    good = show_gradient("dx through broadcast_to(x[1], (3, 4))", x, row, dx[2]) && good;
    heatmap_panel panel[] = { { "x.T", ROWS, COLS, dx[0], NULL, NULL, "row", "column" },
                              { "x[:, ::2]", ROWS, COLS, dx[1], NULL, NULL, "row", "column" },
                              { "broadcast x[1]", ROWS, COLS, dx[2], NULL, NULL, "row", "column" } };
    heatmap map = { "What a view hands back to x", "gradient", -24, 24, 3, panel };
    good = good && (argc < 2 || heatmap_save_svg(argv[1], &map));
    return ag_ctx_free(ctx) != 0 || !good;
}
