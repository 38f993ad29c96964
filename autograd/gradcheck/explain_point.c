/* SPDX-License-Identifier: MIT
 *
 * explain_point.c - a backward that is right at another point: where an operand is transposed, shifted, left out in
 * part, or where the input is multiplied by a number. Each hypothesis moves one input, takes the right gradient there
 * by differences, and moves the input back.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

enum { LEAST_ELEMENTS = 4, HALVINGS = 40, MOST_INDICES = 16, MOST_INPUTS = 8 };
static const double WHERE_LARGE = 20, WHERE_FAR = 180; /* the slope of relu, gelu and silu is 1; that of tanh is 0 */

typedef enum move_kind {
    TRANSPOSED, NEGATED, ONES, ZEROS, LARGE, FAR, OUTPUT, SHIFTED, SHIFTED_BACK, FIRST_FOR_ALL, WITHOUT, ALONE, SCALED,
    LEVELLED
} move_kind;

/* The dim along which; the index that is left out or alone; the factor of SCALED. */
typedef struct move {
    move_kind kind;
    int dim;
    int64_t index;
    double factor;
} move;

/* An input, moved. */
typedef struct point {
    ag_evidence *e;
    int input;
    const ag_array *x;
    int64_t n;
    double *saved;
    double **jacobian;
} point;

static bool point_begin(point *p, ag_evidence *e, int input)
{
    ag_check *k = e->check;
    const ag_check_input *in = &k->input[input];
    *p = (point){ .e = e, .input = input, .x = &in->x, .n = in->numel, .jacobian = k->jacobian };
    if (!in->checked || in->numel == 0 ||
        (p->saved = ag_alloc(k->ctx, (size_t)in->numel * sizeof *p->saved)) == NULL)
        return false;
    memcpy(p->saved, in->x.value, (size_t)in->numel * sizeof *p->saved);
    k->jacobian = NULL; /* it belongs to the point itself */
    return true;
}

/* Moves the input back. */
static void point_end(point *p)
{
    ag_check *k = p->e->check;
    memcpy(p->x->value, p->saved, (size_t)p->n * sizeof *p->saved);
    k->jacobian = p->jacobian;
    k->evaluate(k, k->y);
    ag_free(k->ctx, p->saved, (size_t)p->n * sizeof *p->saved);
}

/* ---- Moves ---- */

/* The flat index of an element's neighbour along the dim: at index `to` there. */
static int64_t point_beside(const point *p, int64_t i, int dim, int64_t to)
{
    int64_t step = ag_step_of(p->x->ndim, p->x->shape, dim);
    return i + (to - i / step % p->x->shape[dim]) * step;
}

static int64_t point_index(const point *p, int64_t i, int dim)
{
    return i / ag_step_of(p->x->ndim, p->x->shape, dim) % p->x->shape[dim];
}

/* The element that a backward reads which takes dims `dim` and dim + 1 for each other, in memory. */
static int64_t point_transposed(const point *p, int64_t i, int dim)
{
    int64_t step = ag_step_of(p->x->ndim, p->x->shape, dim + 1), rows = p->x->shape[dim];
    int64_t columns = p->x->shape[dim + 1];
    int64_t block = i / (step * rows * columns), at = i / step % (rows * columns);
    return (block * rows * columns + at % columns * rows + at / columns) * step + i % step;
}

static double point_mean(const point *p, int64_t i, int dim)
{
    double sum = 0;
    for (int64_t k = 0; k < p->x->shape[dim]; k++)
        sum += p->saved[point_beside(p, i, dim, k)] / (double)p->x->shape[dim];
    return sum;
}

/* What element i moves to. */
static double point_moved(const point *p, int64_t i, move to)
{
    const ag_array *x = p->x;
    double old = p->saved[i];
    bool of_dim = to.kind >= SHIFTED && to.kind != SCALED;
    int64_t extent = of_dim ? x->shape[to.dim] : 1, at = of_dim ? point_index(p, i, to.dim) : 0;
    switch (to.kind) {
    case TRANSPOSED:
        return p->saved[point_transposed(p, i, to.dim)];
    case NEGATED:
        return -old;
    case ONES:
        return 1;
    case ZEROS:
        return 0;
    case LARGE:
        return WHERE_LARGE;
    case FAR:
        return to.factor * WHERE_FAR;
    case SHIFTED:
        return p->saved[point_beside(p, i, to.dim, (at + 1) % extent)];
    case SHIFTED_BACK:
        return p->saved[point_beside(p, i, to.dim, (at + extent - 1) % extent)];
    case FIRST_FOR_ALL:
        return p->saved[point_beside(p, i, to.dim, 0)];
    case WITHOUT:
        return at == to.index ? 0 : old;
    case ALONE:
        return at == to.index ? old : 0;
    case LEVELLED:
        return point_mean(p, i, to.dim);
    default:
        return to.factor * old;
    }
}

/* Moves the input. False: it has no such move, or the outputs there can not be computed. */
static bool point_go(point *p, move to)
{
    ag_check *k = p->e->check;
    const ag_array *x = p->x, *y = &k->output[0].y;
    if (to.kind == TRANSPOSED && (to.dim + 1 >= x->ndim || x->shape[to.dim] == 1 || x->shape[to.dim + 1] == 1))
        return false;
    if (to.kind == OUTPUT && (k->output_count != 1 || y->ndim != x->ndim ||
                              memcmp(y->shape, x->shape, (size_t)x->ndim * sizeof *x->shape) != 0))
        return false;
    if (to.kind == OUTPUT) /* y is that of the point itself only after a move back */
        memcpy(x->value, p->saved, (size_t)p->n * sizeof *x->value);
    bool good = to.kind != OUTPUT || k->evaluate(k, k->y);
    for (int64_t i = 0; i < p->n && good; i++)
        x->value[i] = to.kind == OUTPUT ? k->y[i] : point_moved(p, i, to);
    good = good && k->evaluate(k, k->y);
    if (!good)
        ag_error_clear(k->ctx);
    return good;
}

/* ---- Hypotheses ---- */

static bool say_part(point *p, move to)
{
    ag_evidence *e = p->e;
    bool without = to.kind == WITHOUT;
    return ag_because(e, without ? AG_CAUSE_SKIPPED : AG_CAUSE_NOT_ACCUMULATED, "%s goes through index %lld of dim %d "
                      "of %s%s", without ? "Skipped: what" : "Not accumulated: analytic has only what",
                      (long long)to.index, to.dim, ag_operand_text(e, p->input),
                      without ? " is missing from analytic; all else is right. Usually a loop that ends too early or "
                                "begins too late."
                              : "; the right gradient is the sum over all. Usually = where += is meant.");
}

static bool say_point(point *p, move to)
{
    static const struct words {
        ag_cause cause;
        const char *what, *where;
    } words[] = {
        [TRANSPOSED] = { AG_CAUSE_TRANSPOSED, "An operand is transposed",
                         " has two dims swapped in memory, from dim " },
        [NEGATED] = { AG_CAUSE_SIGN, "A sign is wrong", " has the opposite sign." },
        [ONES] = { AG_CAUSE_OPERAND, "An operand is left out", " is 1 everywhere." },
        [ZEROS] = { AG_CAUSE_OPERAND, "An operand is left out", " is 0 everywhere." },
        [LARGE] = { AG_CAUSE_SLOPE, "The slope of an activation is left out",
                    " is 20 everywhere, where the slope of relu, gelu and silu is 1." },
        [FAR] = { AG_CAUSE_NOT_ACCUMULATED, "A path is left out",
                             " is far from 0 everywhere, on either side, where tanh and sigmoid are constant. Usually "
                             "what passes through one of them." },
        [OUTPUT] = { AG_CAUSE_OPERAND, "An operand is wrong", " is the output: y is used where x is meant." },
        [SHIFTED] = { AG_CAUSE_WRONG_INDEX, "An operand is read at a wrong index",
                      " is shifted by one, element i being element i + 1, along dim " },
        [SHIFTED_BACK] = { AG_CAUSE_WRONG_INDEX, "An operand is read at a wrong index",
                           " is shifted by one, element i being element i - 1, along dim " },
        [FIRST_FOR_ALL] = { AG_CAUSE_WRONG_INDEX, "An operand is read at a wrong index",
                            " has its first entry at all indices of dim " },
    };
    ag_evidence *e = p->e;
    ag_because(e, words[to.kind].cause, "%s: analytic is the right gradient where %s%s", words[to.kind].what,
               ag_operand_text(e, p->input), words[to.kind].where);
    if (to.kind == TRANSPOSED)
        ag_say(e, "%d. Usually a transpose, or an order of the indices, lost in the backward.", to.dim);
    else if (to.kind >= SHIFTED)
        ag_say(e, "%d. Usually an index off by one, or left out.", to.dim);
    return true;
}

/* Of a derivative along random signs: that of the cotangent. */
static double point_derivative(const point *p)
{
    ag_direction d = { .input = p->e->number, .index = -1, .end = p->e->n, .seed = p->e->check->config.seed + 5 };
    return ag_check_derivative(p->e->check, &d, p->e->cotangent).value;
}

/* Whether the gradients with and without a part of the operand add up to the whole: the function is linear in it. */
static bool point_adds_up(point *p, move to)
{
    double part[3], whole = 0;
    for (int k = 0; k < 3; k++) {
        move there = { k == 0 ? WITHOUT : k == 1 ? ALONE : SCALED, to.dim, to.index, 1 };
        part[k] = point_go(p, there) ? point_derivative(p) : (double)NAN;
        whole = fmax(whole, fabs(part[k]));
    }
    return fabs(part[0] + part[1] - part[2]) <= 1e-3 * whole;
}

/* The right gradient at the moved point is analytic. A part alone: or what one slice of the output contributes there,
 * the last pass of two nested loops. */
static bool point_explains(point *p, move to)
{
    ag_evidence *e = p->e;
    ag_set_cotangent(e);
    if (!point_go(p, to))
        return false;
    bool fits = ag_fits_cotangent(e), last = to.kind == ALONE && to.index == p->x->shape[to.dim] - 1;
    for (int d = 0; last && !fits && d < e->check->output[0].y.ndim; d++) {
        ag_keep_slice(e, &e->check->output[0], 1u << d, true);
        fits = ag_fits_cotangent(e);
    }
    if (fits && (to.kind == LARGE || to.kind == FAR)) /* tanh is constant on both sides, relu on one */
        fits = (point_go(p, (move){ FAR, 0, 0, -1 }) && ag_fits_cotangent(e)) == (to.kind == FAR);
    return fits && (to.kind >= WITHOUT ? point_adds_up(p, to) && say_part(p, to) : say_point(p, to));
}

/* Of a derivative along random signs: analytic, less the right one where the input is multiplied by the factor. */
static double point_excess(point *p, double factor)
{
    const ag_evidence *e = p->e;
    ag_direction d = { .input = e->number, .index = -1, .end = e->n, .seed = e->check->config.seed + 5 };
    double analytic = 0;
    for (int64_t i = 0; i < e->n; i++)
        analytic += e->analytic[i] * ag_direction_at(&d, i);
    return point_go(p, (move){ SCALED, 0, 0, factor }) ? analytic - point_derivative(p) : (double)NAN;
}

/* The factor between low and high at which the excess is 0. */
static double point_root(point *p, double low, double high, double at_low)
{
    for (int step = 0; step < HALVINGS && high - low > 1e-12 * fabs(high); step++) {
        double middle = (low + high) / 2, at = point_excess(p, middle);
        bool lower = (at > 0) == (at_low > 0);
        low = lower ? middle : low;
        high = lower ? high : middle;
    }
    return (low + high) / 2;
}

/* analytic is n at a multiple of the input. */
static bool point_is_multiple(point *p)
{
    static const double factors[] = { 0.08, 0.15, 0.27, 0.36, 0.55, 0.64, 0.78, 0.92,
                                      1.08, 1.3,  1.6,  1.9,  2.3,  3.3,  5.3,  11 };
    ag_evidence *e = p->e;
    double before = (double)NAN;
    ag_set_cotangent(e);
    for (size_t i = 0; i < sizeof factors / sizeof *factors; i++) {
        double at = point_excess(p, factors[i]);
        if (before * at < 0) {
            double factor = point_root(p, factors[i - 1], factors[i], before), round = rint(factor * 1e6) / 1e6;
            if (point_go(p, (move){ SCALED, 0, 0, fabs(factor - round) < 1e-7 ? round : factor }) &&
                ag_fits_cotangent(e) && fabs(factor - 1) > 1e-6)
                return ag_because(e, AG_CAUSE_OPERAND, "An operand is wrong: analytic is the right gradient at %.*g "
                                  "times %s. Usually a factor inside of the function, such as a temperature, forgotten "
                                  "in the backward, or applied twice.", e->exact > 1e-10 ? 4 : 6, factor,
                                  ag_operand_text(e, p->input));
        }
        before = at;
    }
    return false;
}

/* Moves of another input, kinds first .. last. */
static bool point_of_kinds(point *p, move_kind first, move_kind last)
{
    for (move_kind kind = first; kind <= last; kind++) {
        int dims = kind >= SHIFTED || kind == TRANSPOSED ? p->x->ndim : 1;
        for (int dim = 0; dim < dims; dim++) {
            int64_t extent = kind >= SHIFTED ? p->x->shape[dim] : 2, indices = kind >= WITHOUT ? extent : 1;
            for (int64_t index = 0; index < indices && extent > 1 && indices <= MOST_INDICES; index++)
                if (kind != OUTPUT && point_explains(p, (move){ kind, dim, index, 1 }))
                    return true;
        }
    }
    return false;
}

/* Of a large function, without the Jacobians' entries or with a model's many parameters, only a transposed operand: the
 * rest takes long. */
static bool point_search(ag_evidence *e, bool parts)
{
    bool found = false, small = e->right_entry != NULL && e->check->input_count <= MOST_INPUTS;
    for (int input = 0; input < e->check->input_count && !found && ag_error(e->check->ctx) == AG_OK; input++) {
        bool own = input == e->number;
        point p;
        if (e->n < LEAST_ELEMENTS || (own && parts) || (!small && (own || parts)) || !point_begin(&p, e, input))
            continue;
        found = own     ? point_explains(&p, (move){ NEGATED, 0, 0, 1 }) ||
                              point_explains(&p, (move){ LARGE, 0, 0, 1 }) ||
                              point_explains(&p, (move){ FAR, 0, 0, 1 }) ||
                              point_explains(&p, (move){ OUTPUT, 0, 0, 1 }) || point_is_multiple(&p)
                : parts ? point_of_kinds(&p, WITHOUT, ALONE)
                        : point_of_kinds(&p, TRANSPOSED, small ? FIRST_FOR_ALL : TRANSPOSED);
        point_end(&p);
    }
    return found;
}

bool ag_is_operand_part_lost(ag_evidence *e)
{
    return point_search(e, true);
}

bool ag_is_right_elsewhere(ag_evidence *e)
{
    return point_search(e, false);
}

/* analytic is right where the input is constant along a dim, and wrong where it is not. */
void ag_say_where_constant(ag_evidence *e)
{
    point p;
    bool found = false;
    if (e->check->jacobian == NULL || e->check->jacobian[e->number] == NULL || !point_begin(&p, e, e->number))
        return;
    for (int dim = e->ndim - 1; dim >= 0 && !found; dim--) {
        ag_set_cotangent(e);
        found = e->shape[dim] > 1 && point_go(&p, (move){ LEVELLED, dim, 0, 1 }) &&
                e->check->backward(e->check, e->cotangent, e->grad) &&
                ag_check_gradient(e->check, e->number, e->cotangent, e->guess) &&
                ag_are_near(e->grad[e->number], e->guess, e->n, 10 * e->tolerance);
        if (found)
            ag_say(e, " The error vanishes where the input is constant along dim %d.", dim);
    }
    point_end(&p);
}
