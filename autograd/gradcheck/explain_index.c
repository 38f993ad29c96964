/* SPDX-License-Identifier: MIT
 *
 * explain_index.c - an operand read, or a gradient written, at another index. In a product, a convolution, a lookup the
 * entry of the Jacobian for output element j and input element i is the element of another operand, whose index is an
 * affine function of the indices of j and i: in a convolution 2 j2 + i2 - 1. That function is found for the right and
 * for the analytic Jacobian; where they differ is the fault.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1, MANY = -2, MOST_PAIRS = 1 << 14, INDEX_TEXT = 64 };

/* An index along one dim of the operand: (factor[0] * variable[0] + factor[1] * variable[1] + offset) / divisor.
 * Variables are the dims of the output, then those of the input; -1: none. */
typedef struct affine {
    int variable[2];
    int64_t factor[2], offset, divisor;
} affine;

/* A pair of an output and an input element, and the operand's element whose value the entry has: its flat index, NONE
 * or MANY. */
typedef struct pair {
    int64_t i, j, source;
} pair;

typedef struct reading {
    ag_evidence *e;
    const ag_array *y, *z; /* the output; the operand */
    int number;            /* of the operand */
    pair *pair;
    int64_t count;
    affine map[AG_MAX_DIMS]; /* per dim of the operand */
} reading;

static int64_t index_variable(const reading *r, int variable, const pair *p)
{
    const ag_array *y = r->y;
    int64_t index[AG_MAX_DIMS];
    if (variable < 0)
        return 0;
    if (variable < y->ndim)
        ag_index_of(y->ndim, y->shape, p->j, index);
    else
        ag_index_of(r->e->ndim, r->e->shape, p->i, index);
    return index[variable < y->ndim ? variable : variable - y->ndim];
}

static int64_t index_times_divisor(const reading *r, const affine *a, const pair *p)
{
    return a->factor[0] * index_variable(r, a->variable[0], p) + a->factor[1] * index_variable(r, a->variable[1], p) +
           a->offset;
}

/* -1: it is no integer. */
static int64_t index_at(const reading *r, const affine *a, const pair *p)
{
    int64_t k = index_times_divisor(r, a, p);
    return k % a->divisor != 0 ? -1 : k / a->divisor;
}

/* The index of a source along dim d of the operand. */
static int64_t index_of_source(const ag_array *z, int dim, int64_t source)
{
    int64_t index[AG_MAX_DIMS];
    ag_index_of(z->ndim, z->shape, source, index);
    return index[dim];
}

/* Whether the map gives every known source. Sets its offset by the first. */
static bool index_fits(const reading *r, int dim, affine *a)
{
    bool first = true;
    for (int64_t k = 0; k < r->count; k++) {
        const pair *p = &r->pair[k];
        if (p->source < 0)
            continue;
        int64_t want = index_of_source(r->z, dim, p->source);
        if (first)
            a->offset += want * a->divisor - index_times_divisor(r, a, p);
        else if (index_at(r, a, p) != want)
            return false;
        first = false;
    }
    return !first;
}

/* Finds the map of one dim with the fewest variables and the smallest factors. */
static bool index_find_map(const reading *r, int dim, affine *a)
{
    static const int64_t factor[] = { 1, -1, 2, -2, 3, -3, 4, -4 };
    enum { FACTORS = sizeof factor / sizeof *factor };
    int variables = r->y->ndim + r->e->ndim;
    *a = (affine){ { -1, -1 }, { 0, 0 }, 0, 1 };
    if (index_fits(r, dim, a))
        return true;
    for (int v = 0; v < variables; v++)
        for (int f = 0; f < FACTORS; f++) {
            *a = (affine){ { v, -1 }, { factor[f], 0 }, 0, 1 };
            if (index_fits(r, dim, a))
                return true;
        }
    for (int64_t divisor = 1; divisor <= 3; divisor++)
        for (int v = 0; v < variables; v++)
            for (int w = v + 1; w < variables; w++)
                for (int f = 0; f < FACTORS * FACTORS; f++) {
                    *a = (affine){ { v, w }, { factor[f / FACTORS], factor[f % FACTORS] }, 0, divisor };
                    if (index_fits(r, dim, a))
                        return true;
                }
    return false;
}

/* Collects the pairs with an entry in either Jacobian, and their sources in the one given. False: an entry is no
 * element of the operand. */
static bool index_collect(reading *r, const double *entries)
{
    const ag_evidence *e = r->e;
    int64_t known = 0, n = ag_step_of(r->z->ndim, r->z->shape, -1);
    r->count = 0;
    for (int64_t i = 0; i < e->n; i++)
        for (int64_t j = 0; j < e->m; j++) {
            int64_t k = i * e->m + j;
            if (fabs(e->entry[k]) <= e->entry_tolerance && fabs(e->right_entry[k]) <= e->entry_tolerance)
                continue;
            if (r->count == MOST_PAIRS)
                return false;
            pair *p = &r->pair[r->count++];
            *p = (pair){ i, j, NONE };
            if (fabs(entries[k]) <= e->entry_tolerance)
                continue;
            for (int64_t s = 0; s < n && p->source != MANY; s++)
                if (fabs(entries[k] - r->z->value[s]) <= e->entry_tolerance)
                    p->source = p->source == NONE ? s : MANY;
            if (p->source == NONE)
                return false;
            known += p->source >= 0;
        }
    return known > 3;
}

static bool index_find_maps(reading *r)
{
    for (int d = 0; d < r->z->ndim; d++)
        if (!index_find_map(r, d, &r->map[d]))
            return false;
    return true;
}

/* The flat index in the operand that the map gives; -1: outside of the operand. */
static int64_t index_source(const reading *r, const pair *p)
{
    int64_t at = 0;
    for (int d = 0; d < r->z->ndim; d++) {
        int64_t k = index_at(r, &r->map[d], p);
        if (k < 0 || k >= r->z->shape[d])
            return -1;
        at = at * r->z->shape[d] + k;
    }
    return at;
}

/* Finds the maps that reproduce all entries, those that are 0 included. */
static bool index_read(reading *r, const double *entries)
{
    const ag_evidence *e = r->e;
    if (!index_collect(r, entries) || !index_find_maps(r))
        return false;
    for (int64_t k = 0; k < r->count; k++) {
        int64_t at = index_source(r, &r->pair[k]);
        double want = at < 0 ? 0 : r->z->value[at];
        if (!(fabs(entries[r->pair[k].i * e->m + r->pair[k].j] - want) <= e->entry_tolerance))
            return false;
    }
    return true;
}

/* ---- Words ---- */

/* "2 j2 + i2 - 1" */
static void index_text(const reading *r, const affine *a, char text[INDEX_TEXT])
{
    size_t used = 0, start = a->divisor > 1;
    strcpy(text, start > 0 ? "(" : "");
    text += start;
    for (int n = 0; n < 2; n++) { /* a positive factor first */
        int k = a->factor[0] < 0 && a->factor[1] > 0 ? 1 - n : n;
        if (a->variable[k] < 0)
            continue;
        bool of_y = a->variable[k] < r->y->ndim;
        int64_t factor = a->factor[k], size = factor < 0 ? -factor : factor;
        used += (size_t)ag_snprintf(text + used, 60 - used, "%s", used == 0 ? factor < 0 ? "-" : "" : factor < 0 ? " - "
                                                                                                               : " + ");
        if (size != 1)
            used += (size_t)ag_snprintf(text + used, 60 - used, "%lld ", (long long)size);
        used += (size_t)ag_snprintf(text + used, 60 - used, "%c%d", of_y ? 'j' : 'i',
                                 of_y ? a->variable[k] : a->variable[k] - r->y->ndim);
    }
    int64_t offset = a->offset;
    if (used == 0)
        ag_snprintf(text, 60, "%lld", (long long)offset);
    else if (offset != 0)
        ag_snprintf(text + used, 50 - used, " %c %lld", offset < 0 ? '-' : '+', llabs((long long)offset));
    used = strlen(text);
    if (start > 0)
        ag_snprintf(text + used, 55 - used, ")/%lld", (long long)a->divisor);
}

static bool index_is_same(const affine *a, const affine *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

/* What a wrong map of one dim is called. */
static const char *index_difference(const affine *wrong, const affine *right)
{
    bool variables = true, factors = true, opposite = true;
    for (int k = 0; k < 2; k++) {
        variables = variables && wrong->variable[k] == right->variable[k];
        factors = factors && wrong->factor[k] == right->factor[k] && wrong->divisor == right->divisor;
        opposite = opposite && wrong->factor[k] == -right->factor[k];
    }
    return wrong->variable[0] < 0 ? "one index in place of all"
           : !variables           ? "an index of the wrong loop"
           : factors              ? "an index off by a constant, such as a wrong padding"
           : opposite             ? "an index in reversed order, such as a kernel that is flipped"
                                  : "a wrong stride";
}

static bool say_reading(ag_evidence *e, const reading *wrong, const affine *right)
{
    const affine *map = wrong->map;
    int differs = -1, count = 0;
    for (int d = 0; d < wrong->z->ndim; d++)
        if (!index_is_same(&map[d], &right[d])) {
            differs = differs < 0 ? d : differs;
            count++;
        }
    if (count == 0)
        return false;
    for (int d = differs + 1; d < wrong->z->ndim; d++)
        if (count == 2 && index_is_same(&map[d], &right[differs]) && index_is_same(&map[differs], &right[d]))
            return ag_because(e, AG_CAUSE_TRANSPOSED, "An operand is transposed: dims %d and %d of %s are swapped; "
                              "with that analytic is right. Usually a transpose lost in the backward.", differs, d,
                              ag_operand_text(e, wrong->number));
    char is[INDEX_TEXT], meant[INDEX_TEXT];
    index_text(wrong, &map[differs], is);
    index_text(wrong, &right[differs], meant);
    return ag_because(e, AG_CAUSE_WRONG_INDEX, "A wrong index: %s is read at index %s of dim %d, right is %s (j: "
                      "index of the output, i: of this gradient). Usually %s.", ag_operand_text(e, wrong->number), is,
                      differs, meant, index_difference(&map[differs], &right[differs]));
}

/* ---- Hypotheses ---- */

static bool index_begin(reading *r, ag_evidence *e, int operand, pair *pairs)
{
    const ag_check_input *in = &e->check->input[operand];
    *r = (reading){ .e = e, .y = &e->check->output[0].y, .z = &in->x, .number = operand, .pair = pairs };
    return operand != e->number && in->checked && in->x.value != NULL && in->numel > 1;
}

/* The other side of each output element j (of_output), or of each input element i: the one index at which it has an
 * entry; NONE. Its value goes to value[]. False: it has several. */
static bool index_find_partners(reading *r, const double *entries, bool of_output, double *value)
{
    const ag_evidence *e = r->e;
    int64_t n = of_output ? e->m : e->n, others = of_output ? e->n : e->m;
    r->count = 0;
    for (int64_t k = 0; k < n && r->count < MOST_PAIRS; k++) {
        pair p = of_output ? (pair){ 0, k, NONE } : (pair){ k, 0, NONE };
        value[k] = 0;
        for (int64_t o = 0; o < others; o++) {
            double entry = entries[of_output ? o * e->m + k : k * e->m + o];
            if (fabs(entry) <= e->entry_tolerance)
                continue;
            if (p.source != NONE)
                return false;
            p.source = o;
            value[k] = entry;
        }
        r->pair[r->count++] = p;
    }
    return true;
}

/* Both Jacobians have one entry per output element (of_output), or per input element, at the most: of the same value,
 * but at another place. The gradient is written, or gy read, at a wrong index. */
static bool index_is_elsewhere(ag_evidence *e, pair *pairs, bool of_output)
{
    affine right[AG_MAX_DIMS];
    reading r = { .e = e, .y = &e->check->output[0].y, .pair = pairs };
    int64_t n = of_output ? e->m : e->n;
    double *value = e->slope + (e->m > e->n ? e->m : e->n);
    r.z = of_output ? &e->input->x : r.y;
    for (int side = 0; side < 2; side++) {
        if (!index_find_partners(&r, side == 0 ? e->right_entry : e->entry, of_output, side == 0 ? e->slope : value) ||
            (side == 1 && !ag_are_near(value, e->slope, n, e->entry_tolerance)) || !index_find_maps(&r))
            return false;
        if (side == 0)
            memcpy(right, r.map, sizeof right);
    }
    int d = 0;
    while (d < r.z->ndim && index_is_same(&r.map[d], &right[d]))
        d++;
    if (d == r.z->ndim)
        return false;
    char is[INDEX_TEXT], meant[INDEX_TEXT];
    index_text(&r, &r.map[d], is);
    index_text(&r, &right[d], meant);
    return ag_because(e, AG_CAUSE_WRONG_INDEX, "A wrong index: %s at index %s of dim %d, right is %s (%s). Usually %s.",
                      of_output ? "the gradient is added" : "the upstream gradient is read", is, d, meant,
                      of_output ? "j: index of the output" : "i: index of this gradient",
                      index_difference(&r.map[d], &right[d]));
}

bool ag_is_index_wrong(ag_evidence *e)
{
    size_t bytes = MOST_PAIRS * sizeof(pair);
    reading r;
    pair *pairs = ag_alloc(e->check->ctx, bytes);
    bool found = false;
    for (int z = 0; z < e->check->input_count && pairs != NULL && !found; z++) {
        affine right[AG_MAX_DIMS];
        if (!index_begin(&r, e, z, pairs) || !index_read(&r, e->right_entry))
            continue;
        memcpy(right, r.map, sizeof right);
        found = index_read(&r, e->entry) && say_reading(e, &r, right);
    }
    found = found || (pairs != NULL && (index_is_elsewhere(e, pairs, true) || index_is_elsewhere(e, pairs, false)));
    ag_free(e->check->ctx, pairs, bytes);
    return found;
}
