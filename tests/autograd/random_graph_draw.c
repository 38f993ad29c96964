/* SPDX-License-Identifier: MIT
 *
 * random_graph_draw.c - draws the arguments and attributes of each op of random graphs, and finds an interval that
 * holds the result.
 *
 * The intervals are those of interval arithmetic: x - x has a wider one than it needs.
 */
#include "tests/autograd/random_graph_draw.h"

#include <math.h>

/* ---- Intervals ---- */

static graph_interval hull(graph_interval a, graph_interval b)
{
    return (graph_interval){ fmin(a.low, b.low), fmax(a.high, b.high) };
}

static graph_interval times(graph_interval a, double f)
{
    return (graph_interval){ fmin(a.low * f, a.high * f), fmax(a.low * f, a.high * f) };
}

static graph_interval product(graph_interval a, graph_interval b)
{
    return hull(times(a, b.low), times(a, b.high));
}

static graph_interval sum(graph_interval a, graph_interval b)
{
    return (graph_interval){ a.low + b.low, a.high + b.high };
}

static graph_interval with_zero(graph_interval a)
{
    return (graph_interval){ fmin(a.low, 0), fmax(a.high, 0) };
}

static graph_interval difference(graph_interval a, graph_interval b)
{
    return sum(a, times(b, -1));
}

static graph_interval larger(graph_interval a, graph_interval b)
{
    return (graph_interval){ fmax(a.low, b.low), fmax(a.high, b.high) };
}

static graph_interval smaller(graph_interval a, graph_interval b)
{
    return (graph_interval){ fmin(a.low, b.low), fmin(a.high, b.high) };
}

/* ---- Taking arguments ---- */

static graph_interval range_of(const graph_draft *d, const graph_node *n, int arg)
{
    return draft_node(d, n->arg[arg])->range;
}

static const graph_shape *shape_of(const graph_draft *d, const graph_node *n, int arg)
{
    return &draft_node(d, n->arg[arg])->shape;
}

/* False when the graph has no room for the argument. */
static bool take(graph_node *n, int arg)
{
    n->arg[n->arg_count++] = arg;
    return arg >= 0;
}

static bool take_any(graph_draft *d, graph_node *n)
{
    return take(n, draft_any(d));
}

/* An argument that fits; false when there is none. */
static bool take_fitting(graph_draft *d, graph_node *n, draft_fits *fits)
{
    return take(n, draft_choose(d, fits, NULL));
}

/* Two arguments that broadcast, in either order. */
static bool take_pair(graph_draft *d, graph_node *n)
{
    int a = draft_any(d), b = draft_partner(d, a);
    bool swap = draft_chance(d, 50);
    return take(n, swap ? b : a) && take(n, swap ? a : b);
}

/* ---- Drawing attributes ---- */

/* dim, or in a quarter of the cases dim - ndim. */
static int from_either_end(graph_draft *d, int dim, int ndim)
{
    return draft_chance(d, 25) ? dim - ndim : dim;
}

/* A dim of argument 0, into number[at]. Returns it counted from the front. */
static int draw_dim(graph_draft *d, graph_node *n, int at)
{
    int ndim = shape_of(d, n, 0)->ndim, dim = draft_below(d, ndim);
    n->number[at] = from_either_end(d, dim, ndim);
    return dim;
}

/* A multiple of 1/8 in low .. high. */
static double draw_number(graph_draft *d, int low, int high)
{
    return low + draft_below(d, 8 * (high - low) + 1) * 0.125;
}

/* ---- Elementwise ---- */

/* Draws an op by one expression of d and n. */
#define DRAW(op, drawn)                                \
    bool draw_##op(graph_draft *d, graph_node *n)      \
    {                                                  \
        return drawn;                                  \
    }

/* Two arguments that broadcast, and the interval of their result. */
static bool draw_pair(graph_draft *d, graph_node *n, graph_interval (*result)(graph_interval a, graph_interval b))
{
    if (!take_pair(d, n))
        return false;
    n->range = result(range_of(d, n, 0), range_of(d, n, 1));
    return true;
}

DRAW(add, draw_pair(d, n, sum))
DRAW(sub, draw_pair(d, n, difference))
DRAW(mul, draw_pair(d, n, product))
DRAW(maximum, draw_pair(d, n, larger))
DRAW(minimum, draw_pair(d, n, smaller))

bool draw_div(graph_draft *d, graph_node *n)
{
    int b = draft_away_from_zero(d, is_divisor), a = draft_partner(d, b);
    if (!take(n, a) || !take(n, b))
        return false;
    graph_interval divisor = range_of(d, n, 1);
    n->range = product(range_of(d, n, 0), (graph_interval){ 1 / divisor.high, 1 / divisor.low });
    return true;
}

bool draw_neg(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    n->range = times(range_of(d, n, 0), -1);
    return true;
}

bool draw_scale(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    n->number[0] = draw_number(d, -2, 2);
    n->range = times(range_of(d, n, 0), n->number[0]);
    return true;
}

bool draw_add_scalar(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    double c = n->number[0] = draw_number(d, -2, 2);
    n->range = sum(range_of(d, n, 0), (graph_interval){ c, c });
    return true;
}

/* The range of an increasing f. */
static bool grows(graph_draft *d, graph_node *n, double (*f)(double))
{
    graph_interval x = range_of(d, n, 0);
    n->range = (graph_interval){ f(x.low), f(x.high) };
    return true;
}

DRAW(exp, take_any(d, n) && grows(d, n, exp))
DRAW(tanh, take_any(d, n) && grows(d, n, tanh))
DRAW(log, take(n, draft_away_from_zero(d, is_positive)) && grows(d, n, log))
DRAW(sqrt, take(n, draft_away_from_zero(d, is_positive)) && grows(d, n, sqrt))

static double logistic(double x)
{
    return 1 / (1 + exp(-x));
}

DRAW(sigmoid, take_any(d, n) && grows(d, n, logistic))

/* Ops like relu: the result is between `least` and the larger of x and 0. */
static bool rectifies(graph_draft *d, graph_node *n, double least)
{
    if (!take_any(d, n))
        return false;
    n->range = (graph_interval){ least, fmax(range_of(d, n, 0).high, 0) };
    return true;
}

DRAW(relu, rectifies(d, n, 0))
DRAW(gelu, rectifies(d, n, -0.1701))
DRAW(silu, rectifies(d, n, -0.2785))

bool draw_pow(graph_draft *d, graph_node *n)
{
    static const double exponent[] = { 0, 1, 2, 3, 0.5, -0.5, -1, -1.25 };
    int i = draft_below(d, sizeof exponent / sizeof *exponent);
    if (!take(n, i < 4 ? draft_any(d) : draft_away_from_zero(d, is_positive)))
        return false;
    double p = n->number[0] = exponent[i];
    graph_interval x = range_of(d, n, 0);
    graph_interval a = { pow(x.low, p), pow(x.low, p) }, b = { pow(x.high, p), pow(x.high, p) };
    n->range = hull(a, b);
    if (p == 2 && x.low < 0)
        n->range = with_zero(n->range);
    return true;
}

bool draw_abs(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    graph_interval x = range_of(d, n, 0);
    n->range = (graph_interval){ fmax(fmax(x.low, -x.high), 0), fmax(-x.low, x.high) };
    return true;
}

bool draw_clamp(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    double low = n->number[0] = draw_number(d, -1, 1) - 0.0625, high = n->number[1] = low + draw_number(d, 0, 2);
    graph_interval x = range_of(d, n, 0);
    n->range = (graph_interval){ fmin(fmax(x.low, low), high), fmin(fmax(x.high, low), high) };
    return true;
}

bool draw_where(graph_draft *d, graph_node *n)
{
    int a = draft_any(d), b = draft_partner(d, a);
    if (a < 0 || b < 0)
        return false;
    const graph_node *from_a = draft_node(d, a), *from_b = draft_node(d, b);
    graph_shape condition = draft_partner_shape(d, draft_chance(d, 50) ? from_a->shape : from_b->shape);
    if (!shapes_broadcast(&condition, &from_a->shape, 0) || !shapes_broadcast(&condition, &from_b->shape, 0) ||
        !take(n, draft_integers(d, condition, 2)))
        return false;
    n->range = hull(from_a->range, from_b->range);
    return take(n, a) && take(n, b);
}

bool draw_masked_fill(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n) || !take(n, draft_integers(d, draft_narrower(d, *shape_of(d, n, 0)), 2)))
        return false;
    double value = n->number[0] = draw_number(d, -2, 2);
    n->range = hull(range_of(d, n, 0), (graph_interval){ value, value });
    return true;
}

bool draw_dropout(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    double p = n->number[0] = draft_chance(d, 50) ? 0.25 : 0.5;
    n->range = with_zero(times(range_of(d, n, 0), 1 / (1 - p)));
    return true;
}

/* ---- Views and joins: the range is the argument's ---- */

static bool keeps_range(graph_draft *d, graph_node *n)
{
    n->range = range_of(d, n, 0);
    return true;
}

bool draw_reshape(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    int64_t rest = shape_numel(shape_of(d, n, 0));
    while (n->list_count < GRAPH_DIMS - 1 && draft_chance(d, 60)) {
        int64_t divisor = 1 + draft_below(d, rest > 0 ? rest : 1);
        while (rest % divisor != 0)
            divisor--;
        n->list[n->list_count++] = (int)divisor;
        rest /= divisor;
    }
    if (rest != 1 || draft_chance(d, 50))
        n->list[n->list_count++] = draft_chance(d, 80) || shape_numel(shape_of(d, n, 0)) == 0 ? (int)rest : -1;
    return keeps_range(d, n);
}

bool draw_permute(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    int ndim = n->list_count = shape_of(d, n, 0)->ndim;
    for (int i = 0; i < ndim; i++) { /* dim i goes to a random place so far */
        int at = draft_below(d, i + 1);
        n->list[i] = n->list[at];
        n->list[at] = i;
    }
    for (int i = 0; i < ndim; i++)
        n->list[i] = from_either_end(d, n->list[i], ndim);
    return keeps_range(d, n);
}

bool draw_transpose(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_dims))
        return false;
    draw_dim(d, n, 0);
    draw_dim(d, n, 1);
    return keeps_range(d, n);
}

bool draw_slice(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_dims))
        return false;
    int extent = (int)shape_of(d, n, 0)->extent[draw_dim(d, n, 0)];
    int start = draft_below(d, extent + 1), stop = start + draft_below(d, extent + 2 - start); /* may be beyond */
    if (start >= extent && draft_chance(d, 90)) /* nothing would be left */
        return false;
    n->number[1] = draft_chance(d, 25) && start < extent ? start - extent : start;
    n->number[2] = draft_chance(d, 25) && stop < extent ? stop - extent : stop;
    n->number[3] = draft_chance(d, 30) ? 2 : 1;
    return (start < stop || draft_chance(d, 10)) && keeps_range(d, n);
}

bool draw_select(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_dims))
        return false;
    int extent = (int)shape_of(d, n, 0)->extent[draw_dim(d, n, 0)];
    if (extent == 0)
        return false;
    n->number[1] = from_either_end(d, draft_below(d, extent), extent);
    return keeps_range(d, n);
}

bool draw_expand(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    const graph_shape *s = shape_of(d, n, 0);
    int room = GRAPH_DIMS - s->ndim, added = draft_below(d, room < 2 ? room + 1 : 3);
    for (int i = 0; i < added; i++)
        n->list[n->list_count++] = 1 + draft_below(d, 3);
    for (int i = 0; i < s->ndim; i++)
        n->list[n->list_count++] = s->extent[i] == 1 ? 1 + draft_below(d, 4)
                                   : draft_chance(d, 25) ? -1 : (int)s->extent[i];
    return keeps_range(d, n);
}

bool draw_squeeze(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_dim_of_one))
        return false;
    return shape_of(d, n, 0)->extent[draw_dim(d, n, 0)] == 1 && keeps_range(d, n);
}

bool draw_unsqueeze(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    int ndim = shape_of(d, n, 0)->ndim + 1;
    n->number[0] = from_either_end(d, draft_below(d, ndim), ndim);
    return keeps_range(d, n);
}

DRAW(contiguous, take_fitting(d, n, is_strided) && keeps_range(d, n))

/* Rare, since a graph that has it is checked coarsely. */
DRAW(through_float32, draft_chance(d, 25) && take_any(d, n) && keeps_range(d, n))

bool draw_split(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_rows))
        return false;
    int extent = (int)shape_of(d, n, 0)->extent[draw_dim(d, n, 0)], pieces = 1 + draft_below(d, extent);
    while (extent % pieces != 0)
        pieces--;
    n->number[1] = pieces;
    n->number[2] = draft_below(d, pieces);
    return keeps_range(d, n);
}

/* Up to two more of the same shape, or along `dim` (-1: no dim) of another extent. */
static bool take_more(graph_draft *d, graph_node *n, int dim)
{
    n->range = range_of(d, n, 0);
    for (int more = draft_below(d, 3); more > 0; more--) {
        graph_shape shape = *shape_of(d, n, 0);
        bool differs = dim >= 0 && draft_chance(d, 50);
        if (differs)
            shape.extent[dim] = draft_extent(d);
        if (!take(n, draft_of_shape(d, shape)))
            return false;
        n->range = hull(n->range, range_of(d, n, n->arg_count - 1));
    }
    return true;
}

bool draw_concat(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_dims))
        return false;
    return take_more(d, n, draw_dim(d, n, 0));
}

DRAW(stack, draw_unsqueeze(d, n) && take_more(d, n, -1))

/* ---- Reductions ---- */

/* Random dims of argument 0 into the list, none for all, and keepdim. Returns how many elements go into one. */
static double draw_reduction(graph_draft *d, graph_node *n)
{
    const graph_shape *s = shape_of(d, n, 0);
    double count = 1;
    for (int i = 0; i < s->ndim; i++)
        if (draft_chance(d, 45)) {
            n->list[n->list_count++] = from_either_end(d, i, s->ndim);
            count *= (double)s->extent[i];
        }
    n->number[0] = draft_chance(d, 40);
    return n->list_count > 0 ? count : (double)shape_numel(s);
}

bool draw_sum(graph_draft *d, graph_node *n)
{
    if (!take_any(d, n))
        return false;
    n->range = times(range_of(d, n, 0), draw_reduction(d, n));
    return true;
}

bool draw_mean(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_elements))
        return false;
    draw_reduction(d, n);
    return keeps_range(d, n);
}

/* The maximum of repeated values is smooth, too: the repeated values share the gradient. */
bool draw_max(graph_draft *d, graph_node *n)
{
    int repeated = draft_chance(d, 40) ? draft_choose(d, has_repeats, NULL) : -1;
    if (!take(n, repeated >= 0 ? repeated : draft_choose(d, has_elements, NULL)))
        return false;
    draw_reduction(d, n);
    return keeps_range(d, n);
}

bool draw_var(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_elements))
        return false;
    double count = draw_reduction(d, n), correction = n->number[1] = count > 1 && draft_chance(d, 50);
    graph_interval x = range_of(d, n, 0);
    double width = x.high - x.low;
    n->range = (graph_interval){ 0, width * width / 4 * count / (count - correction) };
    return true;
}

/* ---- Products ---- */

static bool take_product(graph_draft *d, graph_node *n)
{
    n->range = times(product(range_of(d, n, 0), range_of(d, n, 1)), (double)shape_last(shape_of(d, n, 0)));
    return true;
}

/* A new left operand for a node: a vector or a matrix. */
static bool draw_matmul_from_right(graph_draft *d, graph_node *n)
{
    int b = draft_choose(d, has_dims, NULL);
    if (b < 0)
        return false;
    const graph_shape *s = &draft_node(d, b)->shape;
    int64_t inner = s->extent[s->ndim > 1 ? s->ndim - 2 : 0];
    graph_shape left = draft_chance(d, 30) ? (graph_shape){ 1, { inner } }
                                           : (graph_shape){ 2, { 1 + draft_below(d, 3), inner } };
    return take(n, draft_of_shape(d, left)) && take(n, b) && take_product(d, n);
}

bool draw_matmul(graph_draft *d, graph_node *n)
{
    if (draft_chance(d, 25))
        return draw_matmul_from_right(d, n);
    if (!take_fitting(d, n, has_dims))
        return false;
    int b = draft_chance(d, 50) ? draft_choose(d, multiplies, draft_node(d, n->arg[0])) : -1;
    if (b < 0) {
        graph_shape s = *shape_of(d, n, 0); /* from [..,M,K] to [..,K,N], [K,N] or [K] */
        int64_t inner = shape_last(&s);
        s.ndim = s.ndim > 2 ? s.ndim - 2 : 0;
        draft_flatten(d, &s, s.ndim);
        if (draft_chance(d, 40))
            s.ndim = 0;
        s.extent[s.ndim++] = inner;
        if (s.ndim > 1 || draft_chance(d, 60))
            s.extent[s.ndim++] = 1 + draft_below(d, 3);
        b = draft_leaf(d, s, draft_generic);
    }
    return take(n, b) && take_product(d, n);
}

bool draw_linear(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_dims))
        return false;
    int64_t in = shape_last(shape_of(d, n, 0)), out = 1 + draft_below(d, 4);
    if (!take(n, draft_of_shape(d, (graph_shape){ 2, { out, in } })))
        return false;
    take_product(d, n);
    if (draft_chance(d, 40))
        return true;
    if (!take(n, draft_of_shape(d, (graph_shape){ 1, { out } })))
        return false;
    n->range = sum(n->range, range_of(d, n, 2));
    return true;
}

/* ---- Softmax, normalisation, losses ---- */

/* exp(low - high) / N is the least that a softmax over N elements gives. */
static double least_share(graph_draft *d, const graph_node *n, int dim)
{
    graph_interval x = range_of(d, n, 0);
    return exp(x.low - x.high) / (double)shape_of(d, n, 0)->extent[dim];
}

bool draw_softmax(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_rows))
        return false;
    n->range = (graph_interval){ least_share(d, n, draw_dim(d, n, 0)), 1 };
    return true;
}

bool draw_log_softmax(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_rows))
        return false;
    n->range = (graph_interval){ log(least_share(d, n, draw_dim(d, n, 0))), 0 };
    return true;
}

bool draw_logsumexp(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_rows))
        return false;
    double count = (double)shape_of(d, n, 0)->extent[draw_dim(d, n, 0)];
    n->number[1] = draft_chance(d, 50);
    n->range = sum(range_of(d, n, 0), (graph_interval){ log(count), log(count) });
    return true;
}

/* eps is large, for near a row of zeros, or a constant one, the derivative is 1 / sqrt(eps). */
bool draw_rms_norm(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_rows))
        return false;
    n->number[0] = draft_chance(d, 50) ? 0.125 : 0.5;
    graph_shape row = { 1, { shape_last(shape_of(d, n, 0)) } };
    double most = sqrt((double)row.extent[0]);
    n->range = (graph_interval){ -most, most };
    if (draft_chance(d, 30))
        return true;
    if (!take(n, draft_of_shape(d, row)))
        return false;
    n->range = product(n->range, range_of(d, n, 1));
    return true;
}

bool draw_layer_norm(graph_draft *d, graph_node *n)
{
    if (!draw_rms_norm(d, n))
        return false;
    if (n->arg_count < 2 || draft_chance(d, 30))
        return true;
    if (!take(n, draft_of_shape(d, *shape_of(d, n, 1))))
        return false;
    n->range = sum(n->range, range_of(d, n, 2));
    return true;
}

bool draw_embedding(graph_draft *d, graph_node *n)
{
    int table = draft_choose(d, is_table, NULL);
    if (table < 0) {
        int64_t rows = 1 + draft_below(d, 4), channels = 1 + draft_below(d, 4);
        table = draft_leaf(d, (graph_shape){ 2, { rows, channels } }, draft_generic);
    }
    if (!take(n, table))
        return false;
    graph_shape index = { .ndim = draft_below(d, 3) };
    for (int i = 0; i < index.ndim; i++)
        index.extent[i] = draft_extent(d);
    return take(n, draft_integers(d, index, shape_of(d, n, 0)->extent[0])) && keeps_range(d, n);
}

bool draw_cross_entropy(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_rows))
        return false;
    graph_shape rows = *shape_of(d, n, 0);
    int64_t classes = rows.extent[--rows.ndim];
    n->number[0] = draft_chance(d, 50);
    n->number[1] = draft_chance(d, 40) ? 0.125 : 0;
    n->number[2] = draft_chance(d, 40) ? draft_below(d, classes) : -1;
    graph_interval x = range_of(d, n, 0);
    double most = x.high - x.low + log((double)classes);
    n->range = (graph_interval){ 0, n->number[0] != 0 ? most * (double)shape_numel(&rows) : most };
    return take(n, draft_integers(d, rows, classes));
}

bool draw_mse(graph_draft *d, graph_node *n)
{
    if (!take_fitting(d, n, has_elements) || !take(n, draft_of_shape(d, *shape_of(d, n, 0))))
        return false;
    graph_interval gap = sum(range_of(d, n, 0), times(range_of(d, n, 1), -1));
    n->range = (graph_interval){ 0, fmax(gap.low * gap.low, gap.high * gap.high) };
    return true;
}

bool draw_sdpa(graph_draft *d, graph_node *n)
{
    int q = draft_chance(d, 60) ? draft_choose(d, has_heads, NULL) : -1;
    if (q < 0) {
        int64_t B = 1 + draft_below(d, 2), H = 1 + draft_below(d, 2), Tq = 1 + draft_below(d, 4);
        q = draft_leaf(d, (graph_shape){ 4, { B, H, Tq, 1 + draft_below(d, 3) } }, draft_generic);
    }
    if (!take(n, q))
        return false;
    const graph_shape s = *shape_of(d, n, 0);
    int64_t Tk = 1 + draft_below(d, 4), Dv = 1 + draft_below(d, 3);
    if (!take(n, draft_of_shape(d, (graph_shape){ 4, { s.extent[0], s.extent[1], Tk, s.extent[3] } })) ||
        !take(n, draft_of_shape(d, (graph_shape){ 4, { s.extent[0], s.extent[1], Tk, Dv } })))
        return false;
    n->number[0] = draft_chance(d, 50);
    n->number[1] = draft_chance(d, 40) ? draft_below(d, 4) - 1 : 0;
    n->number[2] = draft_chance(d, 30) ? 1 + draft_below(d, 3) : 0;
    n->number[3] = draft_chance(d, 30) ? 0.375 : 0;
    n->number[4] = draft_chance(d, 30) ? 0.25 : 0;
    n->range = with_zero(times(range_of(d, n, 2), 1 / (1 - n->number[4])));
    return true;
}

bool draw_rope(graph_draft *d, graph_node *n)
{
    int x = draft_chance(d, 60) ? draft_choose(d, has_heads, NULL) : -1;
    if (x < 0 || shape_last(&draft_node(d, x)->shape) < 2) {
        int64_t B = 1 + draft_below(d, 2), H = 1 + draft_below(d, 2), T = 1 + draft_below(d, 4);
        x = draft_leaf(d, (graph_shape){ 4, { B, H, T, 2 + draft_below(d, 3) } }, draft_generic);
    }
    if (!take(n, x))
        return false;
    const graph_shape s = *shape_of(d, n, 0);
    n->number[0] = 2 + 2 * draft_below(d, s.extent[3] / 2);
    n->number[1] = draft_chance(d, 50);
    double most = sqrt(2) * fmax(fabs(range_of(d, n, 0).low), fabs(range_of(d, n, 0).high));
    n->range = (graph_interval){ -most, most };
    const graph_shape times = { 2, { s.extent[0], s.extent[2] } };
    return draft_chance(d, 50) || take(n, draft_integers(d, times, ROPE_ROWS));
}
