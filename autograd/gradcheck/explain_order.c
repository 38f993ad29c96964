/* SPDX-License-Identifier: MIT
 *
 * explain_order.c - faults that move right numbers: another order of the dims, another input's gradient, another
 * entry's, or one part of the sum that the right gradient is.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <string.h>

enum { MAX_PERMUTED = 6 };

/* ---- Other orders of the elements ---- */

/* The next order of the dims, lexicographically; false after the last. */
static bool next_order(int ndim, int *order)
{
    int i = ndim - 2, j = ndim - 1;
    while (i >= 0 && order[i] > order[i + 1])
        i--;
    if (i < 0)
        return false;
    while (order[j] < order[i])
        j--;
    int kept = order[i];
    order[i] = order[j];
    order[j] = kept;
    for (int a = i + 1, b = ndim - 1; a < b; a++, b--) {
        kept = order[a];
        order[a] = order[b];
        order[b] = kept;
    }
    return true;
}

static void first_order(int ndim, int *order)
{
    for (int d = 0; d < ndim; d++)
        order[d] = d;
}

/* out = x[shape] with its dims permuted: dim i of out is dim order[i] of x. back: the inverse. Both dense. */
static void permute(int ndim, const int64_t *shape, const int *order, bool back, const double *x, double *out)
{
    int64_t stride[AG_MAX_DIMS], index[AG_MAX_DIMS] = { 0 }, n = 1, at = 0;
    for (int d = ndim - 1; d >= 0; d--) {
        stride[d] = n;
        n *= shape[d];
    }
    for (int64_t k = 0; k < n; k++) {
        out[back ? at : k] = x[back ? k : at];
        for (int d = ndim - 1; d >= 0; d--) {
            at += stride[order[d]];
            if (++index[d] < shape[order[d]])
                break;
            at -= stride[order[d]] * shape[order[d]];
            index[d] = 0;
        }
    }
}

static bool keeps_shape(const ag_evidence *e, const int *order)
{
    for (int d = 0; d < e->ndim; d++)
        if (e->shape[order[d]] != e->shape[d])
            return false;
    return true;
}

/* Whether analytic is n with its dims in this order, or (back) in the inverse order, compared in memory order. */
static bool fits_order(ag_evidence *e, const int *order, bool back)
{
    permute(e->ndim, e->shape, order, back, e->right, e->guess);
    return ag_fits(e);
}

/* "[2,0,1]"; back: of the inverse order. */
static const char *order_text(const ag_evidence *e, int ndim, const int *order, bool back)
{
    int64_t dims[AG_MAX_DIMS];
    for (int d = 0; d < ndim; d++)
        dims[back ? order[d] : d] = back ? d : order[d];
    return ag_dims_text(e->check->ctx, ndim, dims);
}

bool ag_is_permuted(ag_evidence *e)
{
    int order[AG_MAX_DIMS];
    if (e->ndim < 2 || e->ndim > MAX_PERMUTED)
        return false;
    first_order(e->ndim, order);
    order[e->ndim - 2] = e->ndim - 1;
    order[e->ndim - 1] = e->ndim - 2;
    if (fits_order(e, order, false) || fits_order(e, order, true))
        return ag_because(e, AG_CAUSE_TRANSPOSED, "Transposed: analytic is the right gradient with its last two "
                          "dims swapped%s. Usually a transpose lost, or a product's operands exchanged.",
                          keeps_shape(e, order) ? "" : ", in memory");
    for (int back = 0; back < 2; back++) {
        first_order(e->ndim, order);
        while (next_order(e->ndim, order))
            if (fits_order(e, order, back == 1))
                return ag_because(e, AG_CAUSE_PERMUTED, "Dims permuted: analytic is the right gradient with its "
                                  "dims in the order %s%s. Usually a permute not undone in the backward, or undone "
                                  "by itself.", order_text(e, e->ndim, order, back == 1),
                                  keeps_shape(e, order) ? "" : ", in memory");
    }
    return false;
}

/* ---- The upstream gradient in another order ---- */

/* analytic = n(c with its dims in another order). */
bool ag_is_stride_ignored(ag_evidence *e)
{
    const ag_check *k = e->check;
    for (int o = 0; o < k->output_count; o++) {
        const ag_check_output *y = &k->output[o];
        int order[AG_MAX_DIMS];
        first_order(y->y.ndim, order);
        ag_set_cotangent(e);
        while (y->y.ndim < 5 && next_order(y->y.ndim, order))
            for (int back = 0; back < 2; back++) {
                permute(y->y.ndim, y->y.shape, order, back == 1, k->cotangent + y->first, e->cotangent + y->first);
                if (ag_fits_cotangent(e))
                    return ag_because(e, AG_CAUSE_STRIDE_IGNORED, "The upstream gradient is read in the wrong "
                                      "order: analytic is the right gradient for one with its dims in the order %s, "
                                      "in memory. Usually strides ignored, or the wrong dim summed.",
                                      order_text(e, y->y.ndim, order, back == 1));
            }
    }
    return false;
}

/* ---- A part of a sum ---- */

void ag_keep_slice(ag_evidence *e, const ag_check_output *y, unsigned dims, bool last)
{
    ag_set_cotangent(e);
    for (int64_t i = 0; i < y->numel; i++) {
        int64_t rest = i;
        for (int d = y->y.ndim - 1; d >= 0; d--) {
            int64_t index = rest % y->y.shape[d];
            rest /= y->y.shape[d];
            if ((dims & 1u << d) != 0 && index != (last ? y->y.shape[d] - 1 : 0))
                e->cotangent[y->first + i] = 0;
        }
    }
}

/* analytic is the contribution of one slice of output o only. */
static bool is_one_slice(ag_evidence *e, int o, unsigned dims, bool broadcast)
{
    for (int last = 0; last < 2; last++) {
        ag_keep_slice(e, &e->check->output[o], dims, last == 1);
        if (!ag_fits_cotangent(e))
            continue;
        int dim = 0;
        while ((dims >> dim & 1u) == 0)
            dim++;
        const char *which = last == 1 ? "last" : "first";
        if (!broadcast)
            return ag_because(e, AG_CAUSE_NOT_ACCUMULATED, "Not accumulated: analytic has only what the %s of %lld "
                              "entries of dim %d of output %d contributes; the right gradient is the sum over all. "
                              "Usually = where += is meant.", which, (long long)e->check->output[o].y.shape[dim], dim,
                              o);
        return ag_because(e, AG_CAUSE_NOT_REDUCED, "Not reduced: the input is broadcast to output %d, and analytic "
                          "has only the part of the %s entry of %s %d; the right gradient is the sum over it.%s",
                          o, which, dims >> dim == 1u ? "dim" : "its dims, from dim", dim,
                          last == 1 ? " Usually = where += is meant." : "");
    }
    return false;
}

static bool is_slice_of_sum(ag_evidence *e)
{
    for (int o = 0; o < e->check->output_count; o++) {
        const ag_array *y = &e->check->output[o].y;
        unsigned repeated = ag_broadcast_dims(&e->input->x, y);
        for (int d = 0; d < y->ndim; d++)
            if (y->shape[d] > 1 && is_one_slice(e, o, 1u << d, (repeated >> d & 1u) != 0))
                return true;
        if (repeated != 0 && is_one_slice(e, o, repeated, true))
            return true;
    }
    return false;
}

static bool is_output_lost(ag_evidence *e)
{
    for (int o = 0; o < e->check->output_count && e->check->output_count > 1; o++) {
        ag_set_cotangent_of(e, o, 0);
        if (ag_fits_cotangent(e))
            return ag_because(e, AG_CAUSE_NOT_ACCUMULATED, "Not accumulated: analytic lacks what output %d "
                              "contributes, and is right for the others; the right gradient is the sum over all "
                              "outputs.", o);
    }
    return false;
}

/* Each element of analytic is the contribution of one output element, the first or the last that depends on it. */
static bool is_one_use(ag_evidence *e)
{
    const ag_check *k = e->check;
    if (k->jacobian == NULL || k->jacobian[e->number] == NULL)
        return false;
    for (int last = 0; last < 2; last++) {
        for (int64_t i = 0; i < e->n; i++) {
            const double *row = k->jacobian[e->number] + i * k->output_numel;
            double smallest = 1e-9 * ag_largest(row, k->output_numel);
            e->guess[i] = 0;
            for (int64_t j = 0; j < k->output_numel && (last == 1 || e->guess[i] == 0); j++)
                if (fabs(row[j]) > smallest)
                    e->guess[i] = row[j] * k->cotangent[j];
        }
        if (ag_fits(e))
            return ag_because(e, AG_CAUSE_NOT_ACCUMULATED, "Not accumulated: each element of analytic has only what "
                              "the %s output element that uses it contributes; the right gradient is the sum over "
                              "all. Usually = where += is meant.", last == 1 ? "last" : "first");
    }
    return false;
}

bool ag_is_part_of_sum(ag_evidence *e)
{
    return is_slice_of_sum(e) || is_output_lost(e) || is_one_use(e);
}

/* ---- Gradients of something else ---- */

/* The right gradient of another input; NULL: not known, and too expensive to compute. */
static const double *right_of(ag_evidence *e, int input)
{
    const ag_check_input *other = &e->check->input[input];
    if (other->numeric != NULL || !other->checked || other->numel != e->n)
        return other->numeric;
    return ag_check_gradient(e->check, input, e->check->cotangent, e->grad[input]) ? e->grad[input] : NULL;
}

/* guess = the leading block, of this gradient's shape, of another input's right gradient. False: it has none. */
static bool guess_block(ag_evidence *e, const ag_check_input *other, const double *right)
{
    if (right == NULL || other->x.ndim != e->ndim)
        return false;
    for (int d = 0; d < e->ndim; d++)
        if (other->x.shape[d] < e->shape[d])
            return false;
    for (int64_t i = 0; i < e->n; i++) {
        int64_t at = 0, rest = i, step = 1;
        for (int d = e->ndim - 1; d >= 0; d--) {
            at += rest % e->shape[d] * step;
            rest /= e->shape[d];
            step *= other->x.shape[d];
        }
        e->guess[i] = right[at];
    }
    return true;
}

/* exchanged: the other input's analytic gradient is wrong, too, and is the right one of this input. */
static bool is_gradient_of_another(ag_evidence *e, bool exchanged)
{
    for (int i = 0; i < e->check->input_count; i++) {
        const ag_check_input *other = &e->check->input[i];
        if (i != e->number && guess_block(e, other, right_of(e, i)) && ag_fits(e) &&
            (!exchanged || other->numel != e->n || ag_are_near(other->analytic, e->right, e->n, e->tolerance)))
            return ag_because(e, AG_CAUSE_SWAPPED, "Swapped: analytic is the %sright gradient of %s. Usually gradients "
                              "written to each other's place.", other->numel == e->n ? "" : "first part of the ",
                              ag_operand_text(e, i));
    }
    return false;
}

bool ag_is_swapped(ag_evidence *e)
{
    return is_gradient_of_another(e, true);
}

bool ag_is_of_another(ag_evidence *e)
{
    return is_gradient_of_another(e, false);
}

/* Whether analytic at index a of the dim is n at index b. */
static bool is_entry(const ag_evidence *e, const ag_rows *r, int64_t a, int64_t b)
{
    for (int64_t row = 0; row < r->count; row++) {
        int64_t start = ag_row_start(r, row);
        if (!(fabs(e->analytic[start + a * r->step] - e->right[start + b * r->step]) <= e->tolerance))
            return false;
    }
    return true;
}

static int64_t entry_of(const ag_evidence *e, const ag_rows *r, int64_t a)
{
    if (is_entry(e, r, a, a))
        return a;
    for (int64_t b = 0; b < r->extent; b++)
        if (is_entry(e, r, a, b))
            return b;
    return -1;
}

/* Whether each entry a of analytic is entry a + shift of n, modulo their number; or, shift 0, the one reversed. */
static bool is_rotated(const ag_evidence *e, const ag_rows *r, int64_t shift)
{
    for (int64_t a = 0; a < r->extent; a++)
        if (!is_entry(e, r, a, shift == 0 ? r->extent - 1 - a : (a + shift) % r->extent))
            return false;
    return true;
}

static void say_mixed(ag_evidence *e, int dim)
{
    ag_because(e, AG_CAUSE_BATCH_MIXED, "The entries of dim %d are mixed: ", dim);
}

/* Each entry of a dim is some entry of n, not always its own. */
static bool has_entries_mixed(ag_evidence *e, int dim)
{
    ag_rows r = ag_rows_along(e, dim);
    const char *usual = " Usually an index or offset of that dim wrong in the backward.";
    for (int64_t shift = 0; shift < r.extent; shift++)
        if (is_rotated(e, &r, shift)) {
            say_mixed(e, dim);
            if (shift == 0 && r.extent > 2)
                ag_say(e, "they are in reversed order.%s", usual);
            else if (r.extent == 2)
                ag_say(e, "entries 0 and 1 are exchanged.%s", usual);
            else
                ag_say(e, "entry i has the right gradient of entry i %c %lld, modulo %lld.%s",
                       2 * shift > r.extent ? '-' : '+', (long long)(2 * shift > r.extent ? r.extent - shift : shift),
                       (long long)r.extent, usual);
            return true;
        }
    double *from = e->basis;
    int64_t moved = 0, first = -1;
    bool one = true, exchanged = true;
    for (int64_t a = 0; a < r.extent; a++) {
        int64_t b = entry_of(e, &r, a);
        if (b < 0)
            return false;
        from[a] = (double)b;
        first = moved == 0 && b != a ? a : first;
        moved += b != a;
        one = one && b == (int64_t)from[0];
    }
    for (int64_t a = 0; a < r.extent; a++)
        exchanged = exchanged && (int64_t)from[(int64_t)from[a]] == a;
    if (moved == 0 || (r.count == 1 && !one && !exchanged)) /* single elements may be equal by accident */
        return false;
    say_mixed(e, dim);
    long long source = (long long)from[first];
    if (one)
        ag_say(e, "each has the right gradient of entry %lld.%s", source, usual);
    else if (exchanged && moved == 2)
        ag_say(e, "entries %lld and %lld are exchanged.%s", (long long)first, source, usual);
    else
        ag_say(e, "%lld of %lld have another's right gradient, entry %lld that of entry %lld.%s", (long long)moved,
               (long long)r.extent, (long long)first, source, usual);
    return true;
}

/* Each entry of a dim is the sum, or the mean, of n over that dim. */
static bool has_entries_summed(ag_evidence *e, int dim)
{
    ag_rows r = ag_rows_along(e, dim);
    for (int mean = 0; mean < 2; mean++) {
        for (int64_t row = 0; row < r.count; row++) {
            int64_t first = ag_row_start(&r, row), end = first + r.extent * r.step;
            double sum = 0;
            for (int64_t i = first; i < end; i += r.step)
                sum += e->right[i];
            for (int64_t i = first; i < end; i += r.step)
                e->guess[i] = mean == 1 ? sum / (double)r.extent : sum;
        }
        if (ag_fits(e))
            return ag_because(e, AG_CAUSE_BATCH_MIXED, "The entries of dim %d are mixed: each has the %s of the "
                              "right gradients of all %lld. Usually a dim summed that should not be.", dim,
                              mean == 1 ? "mean" : "sum", (long long)r.extent);
    }
    return false;
}

bool ag_is_batch_mixed(ag_evidence *e)
{
    for (int dim = 0; dim < e->ndim; dim++)
        if (e->shape[dim] > 1 && (has_entries_mixed(e, dim) || has_entries_summed(e, dim)))
            return true;
    return false;
}
