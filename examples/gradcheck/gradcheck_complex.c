/* SPDX-License-Identifier: MIT
 *
 * gradcheck_complex.c - see gradcheck_complex.h.
 *
 * Every change of shape is one gather through strides; all other functions are plain loops over dense arrays.
 */
#include "examples/gradcheck/gradcheck_complex.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Arrays ---------------------------------------------------------------------------------- */

z_array *z_new(z_pool *pool, int ndim, const int64_t *shape)
{
    z_array *x = calloc(1, sizeof *x);
    if (x == NULL)
        return NULL;
    *x = (z_array){ .pool = pool, .before = pool->last, .ndim = ndim, .numel = 1 };
    pool->last = x;
    for (int d = 0; d < ndim; d++) {
        x->shape[d] = shape[d];
        x->numel *= shape[d];
    }
    x->value = calloc(x->numel > 0 ? (size_t)x->numel : 1, sizeof *x->value);
    return x->value == NULL ? NULL : x;
}

void z_pool_free(z_pool *pool)
{
    while (pool->last != NULL) {
        z_array *x = pool->last;
        pool->last = x->before;
        free(x->value);
        free(x);
    }
}

static int dim_of(const z_array *x, int dim)
{
    return dim < 0 ? dim + x->ndim : dim;
}

static void strides_of(const z_array *x, int64_t *stride)
{
    int64_t step = 1;
    for (int d = x->ndim - 1; d >= 0; d--) {
        stride[d] = step;
        step *= x->shape[d];
    }
}

/* y[i] = x[offset + sum over d of i[d] stride[d]]. Every view is made by this. */
static z_array *gather(z_array *x, int ndim, const int64_t *shape, const int64_t *stride, int64_t offset)
{
    z_array *y = z_new(x->pool, ndim, shape);
    for (int64_t i = 0; y != NULL && i < y->numel; i++) {
        int64_t at = offset, rest = i;
        for (int d = ndim - 1; d >= 0; d--) {
            at += rest % shape[d] * stride[d];
            rest /= shape[d];
        }
        y->value[i] = x->value[at];
    }
    return y;
}

/* ---- Views ----------------------------------------------------------------------------------- */

z_array *z_reshape(z_array *x, int ndim, const int64_t *shape)
{
    z_array *y = x == NULL ? NULL : z_new(x->pool, ndim, shape);
    if (y != NULL)
        memcpy(y->value, x->value, (size_t)x->numel * sizeof *x->value);
    return y;
}

z_array *z_permute(z_array *x, const int *dims)
{
    if (x == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS], stride[AG_MAX_DIMS], from[AG_MAX_DIMS];
    strides_of(x, from);
    for (int d = 0; d < x->ndim; d++) {
        shape[d] = x->shape[dim_of(x, dims[d])];
        stride[d] = from[dim_of(x, dims[d])];
    }
    return gather(x, x->ndim, shape, stride, 0);
}

z_array *z_transpose(z_array *x, int dim0, int dim1)
{
    if (x == NULL)
        return NULL;
    int dims[AG_MAX_DIMS];
    for (int d = 0; d < x->ndim; d++)
        dims[d] = d;
    dims[dim_of(x, dim0)] = dim_of(x, dim1);
    dims[dim_of(x, dim1)] = dim_of(x, dim0);
    return z_permute(x, dims);
}

z_array *z_slice(z_array *x, int dim, int64_t start, int64_t stop, int64_t step)
{
    if (x == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS], stride[AG_MAX_DIMS];
    int at = dim_of(x, dim);
    strides_of(x, stride);
    memcpy(shape, x->shape, sizeof shape);
    shape[at] = (stop - start + step - 1) / step;
    int64_t offset = start * stride[at];
    stride[at] *= step;
    return gather(x, x->ndim, shape, stride, offset);
}

z_array *z_select(z_array *x, int dim, int64_t index)
{
    int64_t at = x == NULL || index >= 0 ? index : index + x->shape[dim_of(x, dim)];
    return z_squeeze(z_slice(x, dim, at, at + 1, 1), dim);
}

z_array *z_expand(z_array *x, int ndim, const int64_t *shape)
{
    if (x == NULL)
        return NULL;
    int64_t stride[AG_MAX_DIMS] = { 0 }, from[AG_MAX_DIMS];
    strides_of(x, from);
    for (int d = 0; d < x->ndim; d++)
        stride[d + ndim - x->ndim] = x->shape[d] == 1 ? 0 : from[d];
    return gather(x, ndim, shape, stride, 0);
}

z_array *z_squeeze(z_array *x, int dim)
{
    if (x == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    int count = 0;
    for (int d = 0; d < x->ndim; d++)
        if (d != dim_of(x, dim))
            shape[count++] = x->shape[d];
    return z_reshape(x, count, shape);
}

z_array *z_unsqueeze(z_array *x, int dim)
{
    if (x == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    int at = dim < 0 ? dim + x->ndim + 1 : dim;
    for (int d = 0; d <= x->ndim; d++)
        shape[d] = d < at ? x->shape[d] : d == at ? 1 : x->shape[d - 1];
    return z_reshape(x, x->ndim + 1, shape);
}

z_array *z_contiguous(z_array *x)
{
    return x;
}

z_array *z_cast(z_array *x, ag_dtype dtype)
{
    (void)dtype;
    return x;
}

z_array *z_concat(z_array *const *x, int count, int dim)
{
    int64_t extent = 0, inner = 1, start = 0, shape[AG_MAX_DIMS];
    for (int i = 0; i < count; i++) {
        if (x[i] == NULL)
            return NULL;
        extent += x[i]->shape[dim_of(x[i], dim)];
    }
    int at = dim_of(x[0], dim);
    memcpy(shape, x[0]->shape, sizeof shape);
    shape[at] = extent;
    for (int d = at + 1; d < x[0]->ndim; d++)
        inner *= shape[d];
    z_array *y = z_new(x[0]->pool, x[0]->ndim, shape);
    for (int i = 0; i < count && y != NULL; i++) {
        int64_t part = x[i]->shape[at] * inner, whole = extent * inner;
        for (int64_t j = 0; j < x[i]->numel; j++)
            y->value[j / part * whole + start + j % part] = x[i]->value[j];
        start += part;
    }
    return y;
}

z_array *z_stack(z_array *const *x, int count, int dim)
{
    z_array *piece[AG_MAX_DIMS];
    for (int i = 0; i < count; i++)
        piece[i] = z_unsqueeze(x[i], dim);
    return z_concat(piece, count, dim);
}

/* ---- Two operands, broadcast ----------------------------------------------------------------- */

/* The shape that two shapes without their last `skip` dims broadcast to; returns its number of dims. */
static int broadcast_shape(const z_array *a, const z_array *b, int skip, int64_t *shape)
{
    int an = a->ndim - skip, bn = b->ndim - skip, ndim = an > bn ? an : bn;
    for (int d = 0; d < ndim; d++) {
        int64_t ae = d - ndim + an < 0 ? 1 : a->shape[d - ndim + an];
        int64_t be = d - ndim + bn < 0 ? 1 : b->shape[d - ndim + bn];
        shape[d] = ae == 1 ? be : ae;
    }
    return ndim;
}

typedef double complex binary_fn(double complex a, double complex b);

static z_array *binary(binary_fn *f, z_array *a, z_array *b)
{
    if (a == NULL || b == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    int ndim = broadcast_shape(a, b, 0, shape);
    a = z_expand(a, ndim, shape);
    b = z_expand(b, ndim, shape);
    z_array *y = a == NULL || b == NULL ? NULL : z_new(a->pool, ndim, shape);
    for (int64_t i = 0; y != NULL && i < y->numel; i++)
        y->value[i] = f(a->value[i], b->value[i]);
    return y;
}

static double complex plus(double complex a, double complex b) { return a + b; }
static double complex minus(double complex a, double complex b) { return a - b; }
static double complex times(double complex a, double complex b) { return a * b; }
static double complex over(double complex a, double complex b) { return a / b; }
static double complex where_true(double complex cond, double complex a) { return cond != 0 ? a : 0; }
static double complex where_false(double complex cond, double complex b) { return cond != 0 ? 0 : b; }

/* Integer powers by multiplication: the logarithm of a negative number would lose the tiny imaginary part. */
static double complex power(double complex x, double complex number)
{
    const double p = creal(number);
    if (p != floor(p))
        return cexp(p * clog(x));
    double complex y = 1;
    for (int i = 0; i < (int)fabs(p); i++)
        y *= x;
    return p < 0 ? 1 / y : y;
}

z_array *z_add(z_array *a, z_array *b) { return binary(plus, a, b); }
z_array *z_sub(z_array *a, z_array *b) { return binary(minus, a, b); }
z_array *z_mul(z_array *a, z_array *b) { return binary(times, a, b); }
z_array *z_div(z_array *a, z_array *b) { return binary(over, a, b); }

z_array *z_where(z_array *cond, z_array *a, z_array *b)
{
    return z_add(binary(where_true, cond, a), binary(where_false, cond, b));
}

/* ---- An operand and a number ----------------------------------------------------------------- */

static z_array *number_beside(const z_array *x, double number)
{
    z_array *y = x == NULL ? NULL : z_new(x->pool, 0, NULL);
    if (y != NULL)
        y->value[0] = number;
    return y;
}

z_array *z_masked_fill(z_array *x, z_array *mask, double value) { return z_where(mask, number_beside(x, value), x); }
z_array *z_neg(z_array *x) { return z_scale(x, -1); }
z_array *z_scale(z_array *x, double factor) { return z_mul(x, number_beside(x, factor)); }
z_array *z_add_scalar(z_array *x, double number) { return z_add(x, number_beside(x, number)); }
z_array *z_pow(z_array *x, double p) { return binary(power, x, number_beside(x, p)); }

/* ---- One operand ----------------------------------------------------------------------------- */

typedef double complex unary_fn(double complex x);

static z_array *unary(unary_fn *f, z_array *x)
{
    z_array *y = x == NULL ? NULL : z_new(x->pool, x->ndim, x->shape);
    for (int64_t i = 0; y != NULL && i < y->numel; i++)
        y->value[i] = f(x->value[i]);
    return y;
}

static double complex logistic(double complex x) { return 1 / (1 + cexp(-x)); }

/* erf z = 2/sqrt(pi) exp(-z^2) sum_n 2^n z^(2n+1) / (1 3 5 .. (2n+1)): on the real line no two terms cancel.
 * (Abramowitz and Stegun, 7.1.6.) */
static double complex error_function(double complex z)
{
    const double two_over_sqrt_pi = 1.1283791670955126;
    double complex term = z, sum = z;
    for (int n = 1; n < 200 && cabs(term) > 1e-18 * cabs(sum); n++) {
        term *= 2 * z * z / (2 * n + 1);
        sum += term;
    }
    return two_over_sqrt_pi * cexp(-z * z) * sum;
}

static double complex gelu(double complex x)
{
    return 0.5 * x * (1 + error_function(x / sqrt(2)));
}

static double complex gelu_tanh(double complex x)
{
    const double sqrt_two_over_pi = 0.79788456080286536;
    return 0.5 * x * (1 + ctanh(sqrt_two_over_pi * (x + 0.044715 * x * x * x)));
}

z_array *z_exp(z_array *x) { return unary(cexp, x); }
z_array *z_log(z_array *x) { return unary(clog, x); }
z_array *z_sqrt(z_array *x) { return unary(csqrt, x); }
z_array *z_tanh(z_array *x) { return unary(ctanh, x); }
z_array *z_sigmoid(z_array *x) { return unary(logistic, x); }
z_array *z_gelu(z_array *x) { return unary(gelu, x); }
z_array *z_gelu_tanh(z_array *x) { return unary(gelu_tanh, x); }
z_array *z_silu(z_array *x) { return z_mul(x, z_sigmoid(x)); }

/* ---- Reductions ------------------------------------------------------------------------------ */

z_array *z_sum(z_array *x, int count, const int *dims, bool keepdim)
{
    if (x == NULL)
        return NULL;
    bool reduced[AG_MAX_DIMS] = { false };
    int64_t kept[AG_MAX_DIMS], shape[AG_MAX_DIMS];
    int order[AG_MAX_DIMS] = { 0 }, first = 0, ndim = 0; /* the dims that stay, then the reduced ones */
    for (int i = 0; i < (count == 0 ? x->ndim : count); i++)
        reduced[count == 0 ? i : dim_of(x, dims[i])] = true;
    for (int d = 0; d < x->ndim; d++) {
        if (!reduced[d]) {
            kept[first] = x->shape[d];
            order[first++] = d;
        }
        if (!reduced[d] || keepdim)
            shape[ndim++] = reduced[d] ? 1 : x->shape[d];
    }
    for (int d = 0, last = first; d < x->ndim; d++)
        if (reduced[d])
            order[last++] = d;
    z_array *rows = z_permute(x, order), *y = z_new(x->pool, first, kept);
    if (rows == NULL || y == NULL)
        return NULL;
    for (int64_t i = 0; i < rows->numel; i++)
        y->value[i / (rows->numel / y->numel)] += rows->value[i];
    return z_reshape(y, ndim, shape);
}

/* The number of elements summed into one. */
static double terms(const z_array *x, const z_array *sum)
{
    return (double)x->numel / (double)sum->numel;
}

z_array *z_mean(z_array *x, int count, const int *dims, bool keepdim)
{
    z_array *sum = z_sum(x, count, dims, keepdim);
    return sum == NULL ? NULL : z_scale(sum, 1 / terms(x, sum));
}

z_array *z_var(z_array *x, int count, const int *dims, double correction, bool keepdim)
{
    z_array *deviation = z_sub(x, z_mean(x, count, dims, true));
    z_array *sum = z_sum(z_mul(deviation, deviation), count, dims, keepdim);
    return sum == NULL ? NULL : z_scale(sum, 1 / (terms(x, sum) - correction));
}

/* ---- Products -------------------------------------------------------------------------------- */

/* t with its leading dims expanded to lead[count]. */
static z_array *with_batch(z_array *t, int count, const int64_t *lead)
{
    int64_t shape[AG_MAX_DIMS];
    for (int d = 0; d < count; d++)
        shape[d] = lead[d];
    shape[count] = t->shape[t->ndim - 2];
    shape[count + 1] = t->shape[t->ndim - 1];
    return z_expand(t, count + 2, shape);
}

z_array *z_matmul(z_array *a, z_array *b)
{
    if (a == NULL || b == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    int batch_dims = broadcast_shape(a, b, 2, shape);
    a = with_batch(a, batch_dims, shape);
    b = with_batch(b, batch_dims, shape);
    if (a == NULL || b == NULL)
        return NULL;
    int64_t M = a->shape[batch_dims], K = a->shape[batch_dims + 1], N = b->shape[batch_dims + 1];
    shape[batch_dims] = M;
    shape[batch_dims + 1] = N;
    z_array *y = z_new(a->pool, batch_dims + 2, shape);
    for (int64_t i = 0; y != NULL && i < y->numel; i++) {
        int64_t batch = i / (M * N), m = i / N % M, n = i % N;
        for (int64_t k = 0; k < K; k++)
            y->value[i] += a->value[(batch * M + m) * K + k] * b->value[(batch * K + k) * N + n];
    }
    return y;
}

z_array *z_linear(z_array *x, z_array *w, z_array *bias)
{
    bool vector = x != NULL && x->ndim == 1;
    z_array *y = z_matmul(vector ? z_unsqueeze(x, 0) : x, z_transpose(w, 0, 1));
    y = vector ? z_squeeze(y, 0) : y;
    return bias == NULL ? y : z_add(y, bias);
}

/* ---- Softmax, normalisation, losses, attention ----------------------------------------------- */

z_array *z_softmax(z_array *x, int dim)
{
    z_array *e = z_exp(x);
    return z_div(e, z_sum(e, AG_DIMS(dim), true));
}

z_array *z_log_softmax(z_array *x, int dim)
{
    return z_sub(x, z_logsumexp(x, dim, true));
}

z_array *z_logsumexp(z_array *x, int dim, bool keepdim)
{
    return z_log(z_sum(z_exp(x), AG_DIMS(dim), keepdim));
}

z_array *z_layer_norm(z_array *x, z_array *w, z_array *b, double eps)
{
    z_array *std = z_sqrt(z_add_scalar(z_var(x, AG_DIMS(-1), 0, true), eps));
    z_array *y = z_div(z_sub(x, z_mean(x, AG_DIMS(-1), true)), std);
    y = w == NULL ? y : z_mul(y, w);
    return b == NULL ? y : z_add(y, b);
}

z_array *z_rms_norm(z_array *x, z_array *w, double eps)
{
    z_array *y = z_div(x, z_sqrt(z_add_scalar(z_mean(z_mul(x, x), AG_DIMS(-1), true), eps)));
    return w == NULL ? y : z_mul(y, w);
}

static int64_t index_at(const z_array *index, int64_t i)
{
    return (int64_t)creal(index->value[i]);
}

z_array *z_rope(z_array *x, int64_t R, z_array *positions, ag_rope_pairing pairing)
{
    z_array *y = x == NULL ? NULL : z_new(x->pool, x->ndim, x->shape);
    int64_t step = pairing == AG_ROPE_HALVES ? R / 2 : 1; /* distance of the two channels of a pair */
    for (int64_t i = 0; y != NULL && i < y->numel; i++) {
        int64_t D = x->shape[3], T = x->shape[2], H = x->shape[1], c = i % D, t = i / D % T, b = i / D / T / H;
        if (c >= R) {
            y->value[i] = x->value[i];
            continue;
        }
        int64_t n = pairing == AG_ROPE_HALVES ? c % (R / 2) : c / 2;
        bool second = pairing == AG_ROPE_HALVES ? c >= R / 2 : c % 2 == 1;
        double p = positions == NULL ? (double)t : (double)index_at(positions, b * T + t);
        double angle = p * pow(10000, -2 * (double)n / (double)R);
        y->value[i] = x->value[i] * cos(angle) + (second ? x->value[i - step] : -x->value[i + step]) * sin(angle);
    }
    return y;
}

z_array *z_embedding(z_array *table, z_array *index)
{
    if (table == NULL || index == NULL)
        return NULL;
    int64_t shape[AG_MAX_DIMS], C = table->shape[1];
    memcpy(shape, index->shape, sizeof shape);
    shape[index->ndim] = C;
    z_array *y = z_new(table->pool, index->ndim + 1, shape);
    for (int64_t i = 0; y != NULL && i < y->numel; i++)
        y->value[i] = table->value[index_at(index, i / C) * C + i % C];
    return y;
}

z_array *z_cross_entropy_with(z_array *logits, z_array *target, ag_cross_entropy_config config)
{
    z_array *p = z_log_softmax(logits, -1), *loss = p == NULL ? NULL : z_new(p->pool, 0, NULL);
    if (loss == NULL || target == NULL)
        return NULL;
    int64_t V = p->shape[p->ndim - 1], counted = 0;
    double smooth = config.label_smoothing;
    for (int64_t i = 0; i < target->numel; i++) {
        if (config.ignore && index_at(target, i) == config.ignore_index)
            continue;
        counted++;
        loss->value[0] -= (1 - smooth) * p->value[i * V + index_at(target, i)];
        for (int64_t c = 0; c < V; c++)
            loss->value[0] -= smooth / (double)V * p->value[i * V + c];
    }
    return config.reduction == AG_SUM ? loss : z_scale(loss, 1 / (double)counted);
}

z_array *z_cross_entropy(z_array *logits, z_array *target)
{
    return z_cross_entropy_with(logits, target, (ag_cross_entropy_config){ 0 });
}

z_array *z_mse(z_array *x, z_array *target)
{
    z_array *d = z_sub(x, target);
    return z_mean(z_mul(d, d), AG_ALL_DIMS, false);
}

/* Query i of head h of batch entry b. */
typedef struct z_query {
    const z_sdpa_config *c;
    int64_t b, h, i, position, Tk;
} z_query;

/* t broadcast to [B,H,Tq,Tk], at [b,h,i,j]. */
static double complex broadcast_at(const z_array *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    const int64_t at[] = { b, h, i, j };
    int64_t index = 0;
    for (int d = 0; d < t->ndim; d++)
        index = index * t->shape[d] + (t->shape[d] == 1 ? 0 : at[4 - t->ndim + d]);
    return t->value[index];
}

static int64_t entry(const z_array *t, int64_t b, int64_t h, int64_t i, int64_t j)
{
    return (int64_t)creal(broadcast_at(t, b, h, i, j));
}

/* Whether query and key j may meet, by the rules of ag_mask in autograd.h. */
static bool z_sees(const z_query *q, int64_t j)
{
    const z_mask *m = &q->c->mask;
    const int64_t p = q->position, size = m->block_size;
    const bool window = m->back > 0 || m->ahead > 0;
    const bool near = window && (m->back == 0 || p - m->back < j) && (m->ahead == 0 || j < p + m->ahead);
    const bool strided = m->stride > 0 && (p - j) % m->stride == 0;
    const bool global = j < m->global || (p >= 0 && p < m->global);
    if (((window || m->stride > 0) && !near && !strided && !global) || (m->causal && j > p))
        return false;
    if (m->key_lengths != NULL && j >= entry(m->key_lengths, 0, 0, 0, q->b))
        return false;
    if (m->query_documents != NULL &&
        entry(m->query_documents, 0, 0, q->b, q->i) != entry(m->key_documents, 0, 0, q->b, j))
        return false;
    if (m->blocks != NULL && (p < 0 || p / size >= m->blocks->shape[m->blocks->ndim - 2] ||
                              j / size >= m->blocks->shape[m->blocks->ndim - 1] ||
                              entry(m->blocks, q->b, q->h, p / size, j / size) == 0))
        return false;
    return m->allowed == NULL || entry(m->allowed, q->b, q->h, q->i, j) != 0;
}

/* The score of the query and key j from u, their scaled product. */
static double complex z_score(const z_query *q, double complex u, int64_t j)
{
    const z_sdpa_config *c = q->c;
    if (c->soft_cap > 0)
        u = c->soft_cap * ctanh(u / c->soft_cap);
    if (c->bias != NULL)
        u += broadcast_at(c->bias, q->b, q->h, q->i, j);
    if (c->relative != NULL) {
        int64_t reach = c->relative->shape[1] / 2, d = j - q->position;
        u += broadcast_at(c->relative, 0, 0, q->h, (d < -reach ? -reach : d > reach ? reach : d) + reach);
    }
    return u;
}

/* o[Dv] = sum_j exp(s_j) v_j / sum_j exp(s_j), 0 for a query that sees no key. k and v are those of its key head. */
static void z_attend(const z_query *q, const double complex *query, const double complex *k, const double complex *v,
                     int64_t D, int64_t Dv, double complex *o)
{
    double complex sum = 0;
    for (int64_t j = 0; j < q->Tk; j++) {
        double complex u = 0;
        for (int64_t d = 0; d < D; d++)
            u += query[d] * k[j * D + d];
        double complex e = z_sees(q, j) ? cexp(z_score(q, u * q->c->scale, j)) : 0;
        sum += e;
        for (int64_t d = 0; d < Dv; d++)
            o[d] += e * v[j * Dv + d];
    }
    for (int64_t d = 0; d < Dv && sum != 0; d++)
        o[d] /= sum;
}

z_array *z_sdpa(z_array *q, z_array *k, z_array *v, z_sdpa_config config)
{
    if (q == NULL || k == NULL || v == NULL)
        return NULL;
    const int64_t H = q->shape[1], Tq = q->shape[2], Tk = k->shape[2], D = q->shape[3], Dv = v->shape[3];
    z_array *o = z_new(q->pool, 4, (const int64_t[]){ q->shape[0], H, Tq, Dv });
    if (config.scale == 0)
        config.scale = 1 / sqrt((double)D);
    for (int64_t row = 0; o != NULL && row < q->shape[0] * H * Tq; row++) {
        z_query at = { .c = &config, .b = row / Tq / H, .h = row / Tq % H, .i = row % Tq, .Tk = Tk };
        at.position = at.i + config.mask.offset + (config.mask.align == AG_BOTTOM_RIGHT ? Tk - Tq : 0) +
                      (config.mask.starts == NULL ? 0 : entry(config.mask.starts, 0, 0, 0, at.b));
        const int64_t key_head = at.b * k->shape[1] + at.h * k->shape[1] / H;
        z_attend(&at, q->value + row * D, k->value + key_head * Tk * D, v->value + key_head * Tk * Dv, D, Dv,
                 o->value + row * Dv);
    }
    return o;
}
