/* SPDX-License-Identifier: MIT
 *
 * explain_words.c - the words of an explanation: names of causes, places of wrong elements, meanings of factors.
 */
#include "autograd/gradcheck/explain_impl.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *ag_cause_name(ag_cause cause)
{
    static const char *const name[AG_CAUSES] = {
        [AG_CAUSE_NONE] = "none",
        [AG_CAUSE_KINK] = "kink",
        [AG_CAUSE_NOT_REPEATABLE] = "not repeatable",
        [AG_CAUSE_NON_FINITE] = "not finite",
        [AG_CAUSE_STEP_EXHAUSTED] = "step exhausted",
        [AG_CAUSE_ORACLES_DISAGREE] = "oracles disagree",
        [AG_CAUSE_NOTHING_CHECKED] = "nothing checked",
        [AG_CAUSE_UNKNOWN] = "unknown",
        [AG_CAUSE_ERROR] = "error",
        [AG_CAUSE_STATE] = "state kept",
        [AG_CAUSE_INPUT_CHANGED] = "input changed",
        [AG_CAUSE_OUT_OF_BOUNDS] = "out of bounds",
        [AG_CAUSE_GRADIENT_NON_FINITE] = "gradient not finite",
        [AG_CAUSE_SIGN] = "sign flipped",
        [AG_CAUSE_FACTOR] = "constant factor",
        [AG_CAUSE_TRANSPOSED] = "transposed",
        [AG_CAUSE_PERMUTED] = "dims permuted",
        [AG_CAUSE_ROW_SUM_MISSING] = "row sum missing",
        [AG_CAUSE_MEAN_MISSING] = "mean term missing",
        [AG_CAUSE_VARIANCE_MISSING] = "variance term missing",
        [AG_CAUSE_NOT_REDUCED] = "broadcast not reduced",
        [AG_CAUSE_UPSTREAM_IGNORED] = "upstream ignored",
        [AG_CAUSE_NOT_ACCUMULATED] = "not accumulated",
        [AG_CAUSE_ZERO] = "zero",
        [AG_CAUSE_MASK_LEAK] = "mask leak",
        [AG_CAUSE_BATCH_MIXED] = "batch mixed",
        [AG_CAUSE_STRIDE_IGNORED] = "stride ignored",
        [AG_CAUSE_TAIL] = "tail wrong",
        [AG_CAUSE_SWAPPED] = "swapped inputs",
        [AG_CAUSE_WRONG_INDEX] = "wrong index",
        [AG_CAUSE_SKIPPED] = "skipped",
        [AG_CAUSE_OPERAND] = "wrong operand",
        [AG_CAUSE_SLOPE] = "another slope",
        [AG_CAUSE_NORM_SCALE] = "norm's scale",
        [AG_CAUSE_TARGET] = "wrong target",
        [AG_CAUSE_MASK_DRAWN_AGAIN] = "another mask",
        [AG_CAUSE_GRAPH_CUT] = "graph cut",
        [AG_CAUSE_ROUNDED] = "rounded to single",
    };
    return (int)cause >= 0 && cause < AG_CAUSES ? name[cause] : "unknown";
}

/* ---- Sentences ---- */

static void words_append(ag_explanation *found, const char *format, va_list values)
{
    size_t used = strlen(found->text);
    ag_vsnprintf(found->text + used, sizeof found->text - used, format, values);
}

bool ag_because(ag_evidence *e, ag_cause cause, const char *format, ...)
{
    e->found = (ag_explanation){ .cause = cause, .factor = 1 };
    va_list values;
    va_start(values, format);
    words_append(&e->found, format, values);
    va_end(values);
    return true;
}

void ag_say(ag_evidence *e, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    words_append(&e->found, format, values);
    va_end(values);
}

void ag_explanation_add(ag_explanation *explanation, const char *text)
{
    size_t used = strlen(explanation->text);
    ag_snprintf(explanation->text + used, sizeof explanation->text - used, "%s", text);
}

const char *ag_operand_text(ag_evidence *e, int operand)
{
    if (operand == e->check->input_count)
        return "the output";
    char *text = e->operand_text[e->operand_texts++ % 2];
    const char *name = e->check->input[operand].x.name;
    ag_snprintf(text, sizeof e->operand_text[0], "input %d%s%.40s%s", operand, name == NULL ? "" : " (",
                name == NULL ? "" : name, name == NULL ? "" : ")");
    return text;
}

ag_explanation ag_explanation_of(ag_cause cause, const char *format, ...)
{
    ag_explanation made = { .cause = cause, .factor = 1 };
    va_list values;
    va_start(values, format);
    words_append(&made, format, values);
    va_end(values);
    return made;
}

/* ---- Where the wrong elements lie ---- */

ag_mark ag_evidence_mark(const ag_evidence *e, int64_t i)
{
    double a = e->analytic[i], r = e->right[i];
    if (isnan(r) || (fabs(a) <= e->tolerance && fabs(r) <= e->tolerance))
        return AG_MARK_NOTHING;
    return fabs(a - r) <= e->tolerance ? AG_MARK_RIGHT : AG_MARK_WRONG;
}

void ag_index_of(int ndim, const int64_t *shape, int64_t flat, int64_t *index)
{
    for (int d = ndim - 1; d >= 0; d--) {
        index[d] = flat % shape[d];
        flat /= shape[d];
    }
}

int64_t ag_step_of(int ndim, const int64_t *shape, int dim)
{
    int64_t step = 1;
    for (int d = dim + 1; d < ndim; d++)
        step *= shape[d];
    return step;
}

const char *ag_evidence_index(const ag_evidence *e, int64_t i)
{
    int64_t index[AG_MAX_DIMS];
    ag_index_of(e->ndim, e->shape, i, index);
    return ag_dims_text(e->check->ctx, e->ndim, index);
}

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
static void place_text(ag_place *p, const char *format, ...)
{
    size_t used = strlen(p->text);
    va_list values;
    va_start(values, format);
    ag_vsnprintf(p->text + used, sizeof p->text - used, format, values);
    va_end(values);
}

/* The indices of a dim at which every marked element is wrong; at each other index every marked element is right. */
typedef struct parting {
    int64_t first, last, count; /* of the wrong indices */
    int64_t last_right;
    bool run; /* no right index lies between the first and the last wrong one */
} parting;

static bool words_parts(const ag_evidence *e, int dim, parting *p)
{
    int64_t inner = ag_step_of(e->ndim, e->shape, dim), extent = e->shape[dim];
    *p = (parting){ .first = -1, .last_right = -1, .run = true };
    for (int64_t k = 0; k < extent; k++) {
        bool wrong = false, right = false;
        for (int64_t block = k * inner; block < e->n; block += extent * inner)
            for (int64_t i = block; i < block + inner; i++) {
                wrong |= ag_evidence_mark(e, i) == AG_MARK_WRONG;
                right |= ag_evidence_mark(e, i) == AG_MARK_RIGHT;
            }
        if (wrong && right)
            return false;
        if (right)
            p->last_right = k;
        if (wrong) {
            p->run &= p->count == 0 || p->last_right < p->first;
            p->first = p->count == 0 ? k : p->first;
            p->last = k;
            p->count++;
        }
    }
    return p->count > 0 && p->last_right >= 0;
}

/* The wrong elements are those with some indices of one dim. */
static bool place_in_dim(const ag_evidence *e, ag_place *p, int dim)
{
    parting part;
    if (!words_parts(e, dim, &part) || (e->ndim == 1 && !part.run))
        return false;
    if (part.count == 1)
        place_text(p, ", those at index %lld of dim %d", (long long)part.first, dim);
    else if (part.run)
        place_text(p, ", those at indices %lld to %lld of dim %d", (long long)part.first, (long long)part.last, dim);
    else
        place_text(p, ", those at %lld of the %lld indices of dim %d, the first is %lld", (long long)part.count,
                   (long long)e->shape[dim], dim, (long long)part.first);
    if (part.first > part.last_right) {
        p->tail = part.first;
        p->tail_extent = e->shape[dim];
    }
    return true;
}

/* The wrong elements are those above, below, on or off the diagonal of the last two dims. */
static bool place_by_diagonal(const ag_evidence *e, ag_place *p)
{
    static const char *const side_name[4] = { "above", "below", "on", "off" };
    if (e->ndim < 2)
        return false;
    int64_t columns = e->shape[e->ndim - 1], rows = e->shape[e->ndim - 2];
    bool holds[4] = { true, true, true, true };
    for (int64_t i = 0; i < e->n; i++) {
        ag_mark mark = ag_evidence_mark(e, i);
        int64_t row = i / columns % rows, column = i % columns;
        const bool there[4] = { column > row, column < row, column == row, column != row };
        for (int side = 0; side < 4; side++)
            holds[side] &= mark == AG_MARK_NOTHING || there[side] == (mark == AG_MARK_WRONG);
    }
    for (int side = 0; side < 4; side++)
        if (holds[side]) {
            place_text(p, ", those %s the diagonal of the last two dims", side_name[side]);
            return true;
        }
    return false;
}

ag_place ag_evidence_place(const ag_evidence *e)
{
    ag_place p = { 0, 0, 0, 0, "" };
    int64_t first = -1, last = -1, last_right = -1;
    for (int64_t i = 0; i < e->n; i++) {
        ag_mark mark = ag_evidence_mark(e, i);
        p.wrong += mark == AG_MARK_WRONG;
        p.right += mark == AG_MARK_RIGHT;
        if (mark == AG_MARK_WRONG) {
            first = first < 0 ? i : first;
            last = i;
        } else if (mark == AG_MARK_RIGHT) {
            last_right = i;
        }
    }
    if (p.right == 0) {
        if (e->n == 1)
            place_text(&p, "its only element");
        else
            place_text(&p, "all %lld elements%s", (long long)p.wrong, p.wrong == e->n ? "" : " that are not 0");
        return p;
    }
    place_text(&p, "%lld of %lld elements", (long long)p.wrong, (long long)e->n);
    if (first > last_right) {
        p.tail = first;
        p.tail_extent = e->n;
    }
    for (int dim = 0; dim < e->ndim && p.wrong > 1; dim++)
        if (e->shape[dim] > 1 && place_in_dim(e, &p, dim))
            return p;
    if (p.wrong > 1 && place_by_diagonal(e, &p))
        return p;
    if (p.tail > 0 && p.wrong > 1)
        place_text(&p, ", from element %lld on", (long long)first);
    else if (p.wrong == last - first + 1 && p.wrong > 1)
        place_text(&p, ", elements %lld to %lld in memory", (long long)first, (long long)last);
    else
        place_text(&p, "%s at %s", p.wrong == 1 ? "," : ", the first", ag_evidence_index(e, first));
    return p;
}

/* ---- Factors ---- */

unsigned ag_broadcast_dims(const ag_array *x, const ag_array *y)
{
    unsigned dims = 0;
    if (x->ndim > y->ndim)
        return 0;
    for (int d = 0; d < y->ndim; d++) {
        int of_x = d - (y->ndim - x->ndim);
        int64_t extent = of_x < 0 ? 1 : x->shape[of_x];
        if (extent != 1 && extent != y->shape[d])
            return 0;
        if (extent == 1 && y->shape[d] > 1)
            dims |= 1u << d;
    }
    return dims;
}

/* How often the input is repeated in the first output that it is broadcast to; 1: it is broadcast to none. */
static int64_t words_repetitions(const ag_evidence *e)
{
    for (int o = 0; o < e->check->output_count; o++)
        if (ag_broadcast_dims(&e->input->x, &e->check->output[o].y) != 0)
            return e->check->output[o].numel / (e->input->numel == 0 ? 1 : e->input->numel);
    return 1;
}

/* A wanted number that is an extent in the function's shapes: of one dim, or the product of successive dims. */
typedef struct count {
    const ag_array *array; /* NULL: not found */
    bool output;
    int number, first, last; /* of the array; its dims */
} count;

static bool words_is_near(const ag_evidence *e, double a, double b)
{
    return fabs(a - b) <= fmax(1e-5, 100 * e->exact) * fabs(b);
}

static bool words_counts(const ag_evidence *e, const ag_array *array, double wanted, int length, int *first)
{
    for (*first = 0; *first + length <= array->ndim; (*first)++) {
        double product = 1;
        for (int d = *first; d < *first + length; d++)
            product *= (double)array->shape[d];
        if (product > 1 && words_is_near(e, product, wanted))
            return true;
    }
    return false;
}

static count words_find_count(const ag_evidence *e, const ag_check *k, double wanted, int longest)
{
    int first;
    for (int length = 1; length <= longest; length++)
        for (int i = 0; i < k->output_count + k->input_count; i++) {
            bool output = i >= k->input_count;
            int number = output ? i - k->input_count : i;
            const ag_array *array = output ? &k->output[number].y : &k->input[number].x;
            if (words_counts(e, array, wanted, length, &first))
                return (count){ array, output, number, first, first + length - 1 };
        }
    return (count){ .array = NULL };
}

static void say_count(ag_evidence *e, const count *c, bool around)
{
    if (c->last > c->first)
        ag_say(e, "dims %d to %d of ", c->first, c->last);
    else
        ag_say(e, "dim %d of ", c->first);
    if (around && c->array->name != NULL)
        ag_say(e, "%s", c->array->name);
    else
        ag_say(e, "%s%s %d", around ? "the function's " : "", c->output ? "output" : "input", c->number);
}

/* Factors that are powers of an extent. */
typedef struct factor_form {
    const char *symbol, *meaning;
    double power; /* factor = count ^ power */
    int longest;  /* the largest number of dims whose product is tried */
} factor_form;

static const factor_form forms[] = {
    { "N", "a mean's 1/N left out, a sum in its place", 1, AG_MAX_DIMS },
    { "1/N", "a mean's 1/N applied twice, or to a sum", -1, AG_MAX_DIMS },
    { "sqrt(d)", "attention's scale 1/sqrt(d) left out of the backward", 0.5, 1 },
    { "1/sqrt(d)", "attention's scale 1/sqrt(d) applied twice", -0.5, 1 },
};

/* Says which forms the magnitude has, at most two: extents of the function itself first, then of the function around
 * it. brief: without their meaning. False: none. */
static bool say_forms(ag_evidence *e, double magnitude, bool brief)
{
    const factor_form *said = NULL;
    int times = 0;
    for (const ag_check *k = e->check; k != NULL; k = k->around)
        for (size_t f = 0; f < sizeof forms / sizeof *forms && times < 2; f++) {
            const factor_form *form = &forms[f];
            double value = pow(magnitude, 1 / form->power);
            count c = words_find_count(e, k, value, form->longest);
            if (c.array == NULL || form == said || (said != NULL && k == e->check))
                continue;
            ag_say(e, "%s %s for %c = %lld, ", said != NULL ? " Or" : brief ? " It is also" : " It is", form->symbol,
                   form->longest == 1 ? 'd' : 'N', (long long)(value + 0.5));
            say_count(e, &c, k != e->check);
            if (brief)
                ag_say(e, ".");
            else
                ag_say(e, ": usually %s.", form->meaning);
            said = form;
            times++;
        }
    return said != NULL;
}

/* The rows along the last dim, and how many of them have a gradient that is not 0. */
static int64_t words_rows(const ag_evidence *e, int64_t *counted)
{
    int64_t extent = e->ndim == 0 ? 1 : e->shape[e->ndim - 1], rows = extent == 0 ? 0 : e->n / extent;
    *counted = 0;
    for (int64_t row = 0; row < rows; row++)
        *counted += ag_largest(e->right + row * extent, extent) > e->tolerance;
    return rows;
}

/* A mean over the wrong count, where rows are ignored. */
static bool say_counted_rows(ag_evidence *e, double factor)
{
    int64_t counted, rows = e->whole ? words_rows(e, &counted) : 0;
    if (rows < 2 || counted == rows || counted == 0)
        return false;
    double ratio = (double)counted / (double)rows;
    bool all = words_is_near(e, factor, ratio), few = words_is_near(e, factor, 1 / ratio);
    if (all || few)
        ag_say(e, " It is %lld/%lld, with %lld of %lld rows whose gradient is not 0: usually a mean over %s rows "
                  "where one over %s is meant.", (long long)(all ? counted : rows), (long long)(all ? rows : counted),
               (long long)counted, (long long)rows, all ? "all" : "the counted", all ? "the counted" : "all");
    else if (words_is_near(e, factor, (double)counted))
        ag_say(e, " It is %lld, the number of rows whose gradient is not 0: usually a mean over these left out, a sum "
                  "in its place.", (long long)counted);
    else if (words_is_near(e, factor * (double)counted, 1))
        ag_say(e, " It is 1/%lld, and %lld rows have a gradient that is not 0: usually a mean over these taken twice.",
               (long long)counted, (long long)counted);
    else
        return false;
    return true;
}

bool ag_say_factor(ag_evidence *e, double factor)
{
    if (say_counted_rows(e, factor))
        return true;
    double magnitude = fabs(factor);
    int64_t repeated = words_repetitions(e);
    bool averaged = repeated > 1 && words_is_near(e, magnitude * (double)repeated, 1);
    bool twice = words_is_near(e, magnitude, 2), half = words_is_near(e, magnitude, 0.5);
    if (factor < 0)
        ag_say(e, " The sign is flipped, too.");
    if (twice)
        ag_say(e, " Usually a contribution counted twice, or the 1/2 of a square lost.");
    else if (half && !averaged)
        ag_say(e, " Usually one of two uses not counted, or the 2 of a square's derivative lost.");
    if (averaged)
        ag_say(e,
               " It is 1/%lld, and the input is repeated %lld times: usually a broadcast averaged instead of summed.",
               (long long)repeated, (long long)repeated);
    bool known = !averaged && say_forms(e, magnitude, twice || half);
    return twice || half || averaged || known;
}
