/* SPDX-License-Identifier: MIT
 *
 * judge.c - runs an exercise's function, compares, and picks the hint.
 */
#include "examples/exercises/judge_impl.h"
#include "examples/check_kernel/check_kernel.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const exercise *const exercises[] = {
#define EXERCISE(name) &exercise_##name,
#include "examples/exercises/exercises.def"
#undef EXERCISE
};
enum { EXERCISES = sizeof exercises / sizeof *exercises };

int exercise_count(void)
{
    return EXERCISES;
}

const exercise *exercise_numbered(int number)
{
    return number >= 1 && number <= EXERCISES ? exercises[number - 1] : NULL;
}

int exercise_number(const exercise *e)
{
    int i = 0;
    while (exercises[i] != e)
        i++;
    return i + 1;
}

/* What to say about a cause that the exercise has no hint of its own for: how to begin, when nothing is known. */
static const char *hint_for_cause(const exercise *e, ag_cause cause)
{
    static const char *const hints[AG_CAUSES] = {
        [AG_CAUSE_STATE] = "Two calls with the same arguments give two results. Do you use a static variable, or one "
                           "that is never set?",
        [AG_CAUSE_OUT_OF_BOUNDS] = "You write outside an array. Print the index, and compare it with the sizes in "
                                   "exercises.h.",
        [AG_CAUSE_GRADIENT_NON_FINITE] = "A result is NaN or infinite. Is every element set before the first +=, and "
                                         "which division, exp or log can give that?",
        [AG_CAUSE_SIGN] = "The numbers are right and a sign is not. Follow the minus signs from the loss down.",
        [AG_CAUSE_FACTOR] = "Every number is off by the same factor: divide yours by the right one above, and ask "
                            "what in the forward has that value.",
        [AG_CAUSE_TRANSPOSED] = "The numbers are right and lie at transposed places. Write down the shape of each "
                                "factor of the product.",
        [AG_CAUSE_PERMUTED] = "The numbers are right and lie at other places. Which index runs fastest in memory?",
        [AG_CAUSE_NOT_REDUCED] = "This input is used once for each row, so each row sends it a gradient.",
        [AG_CAUSE_UPSTREAM_IGNORED] = "The result does not follow dy: a loss twice as large must give gradients twice "
                                      "as large.",
        [AG_CAUSE_NOT_ACCUMULATED] = "This input is used more than once, and one use alone sends a gradient: = where "
                                     "+= is needed?",
        [AG_CAUSE_ZERO] = "This gradient is 0 where it must not be: is it written, and for every index?",
        [AG_CAUSE_MASK_LEAK] = "You send a gradient to an element that the output does not depend on.",
        [AG_CAUSE_TAIL] = "The first elements are right and the last are not: does the loop run to its end?",
        [AG_CAUSE_SWAPPED] = "This is the gradient of another input: are two arguments exchanged?",
        [AG_CAUSE_WRONG_INDEX] = "The formula looks right and an index does not: compare what you read with the "
                                 "element that the forward reads.",
        [AG_CAUSE_SKIPPED] = "Some outputs contribute nothing: does a loop begin or end at the wrong index?",
        [AG_CAUSE_OPERAND] = "A factor of the formula is missing, or is another array than it should be.",
        [AG_CAUSE_SLOPE] = "This is the slope of another function. Differentiate once more, a factor at a time.",
    };
    const char *hint = cause >= 0 && cause < AG_CAUSES ? hints[cause] : NULL;
    return hint != NULL ? hint : e->start;
}

/* "[1,2]" of the element with that flat index. */
static void element_text(const ag_array *array, int64_t index, char *text, size_t size)
{
    int64_t at[AG_MAX_DIMS];
    size_t length = 1;
    for (int d = array->ndim; d-- > 0; index /= array->shape[d])
        at[d] = index % array->shape[d];
    ag_snprintf(text, size, "[");
    for (int d = 0; d < array->ndim && length < size; d++)
        length += (size_t)ag_snprintf(text + length, size - length, d > 0 ? ",%d" : "%d", (int)at[d]);
    if (length < size)
        ag_snprintf(text + length, size - length, "]");
}

/* ---- The student's forward: values ---- */

enum { VALUE_GUARDS = 16 }; /* elements before and after each output */

static const double VALUE_GUARD = 0.8046875;

/* The arrays of an exercise, and for each output the values of a run. */
typedef struct problem {
    ag_array array[KERNEL_ARRAYS];
    char names[KERNEL_ARRAYS][KERNEL_NAME];
    int inputs, count;
    const double *x[KERNEL_ARRAYS];
    double *y[KERNEL_ARRAYS], *want[KERNEL_ARRAYS]; /* inside memory[..] */
    void *memory[3 * KERNEL_ARRAYS];
} problem;

static int64_t array_numel(const ag_array *array)
{
    int64_t n = 1;
    for (int d = 0; d < array->ndim; d++)
        n *= array->shape[d];
    return n;
}

static double *guarded(problem *p, int slot, int64_t n)
{
    double *memory = malloc((size_t)(n + 2 * VALUE_GUARDS) * sizeof *memory);
    p->memory[slot] = memory;
    return memory == NULL ? NULL : memory + VALUE_GUARDS;
}

static bool problem_new(problem *p, const exercise *e, double scale)
{
    *p = (problem){ 0 };
    p->count = kernel_signature(e->signature, p->array, p->names, &p->inputs);
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = scale == 1 ? 1 : 2 });
    bool good = p->count > 0 && ctx != NULL;
    for (int i = 0; i < p->count && good; i++) {
        int64_t n = array_numel(&p->array[i]);
        if (i < p->inputs) {
            double *x = p->memory[i] = kernel_values(ctx, &p->array[i], false, NULL);
            for (int64_t k = 0; x != NULL && k < n; k++)
                x[k] *= scale;
            p->x[i] = x;
            good = x != NULL;
        } else {
            p->y[i - p->inputs] = guarded(p, i, n);
            p->want[i - p->inputs] = guarded(p, i + KERNEL_ARRAYS, n);
            good = p->memory[i] != NULL && p->memory[i + KERNEL_ARRAYS] != NULL;
        }
    }
    ag_ctx_free(ctx);
    return good;
}

static void problem_free(problem *p)
{
    for (int i = 0; i < 3 * KERNEL_ARRAYS; i++)
        free(p->memory[i]);
}

/* What the student's outputs hold before they are set: a NaN that no arithmetic makes, and that += leaves. */
static double unset_value(void)
{
    const uint64_t bits = 0x7ff8000000000e0e;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static bool is_unset(double x)
{
    const double unset = unset_value();
    return memcmp(&x, &unset, sizeof x) == 0;
}

/* Runs f into y, whose elements are unset before. */
static void problem_run(const problem *p, exercise_forward *f, double *const *y, int mistake)
{
    for (int i = p->inputs; i < p->count; i++) {
        int64_t n = array_numel(&p->array[i]);
        for (int64_t k = -VALUE_GUARDS; k < n + VALUE_GUARDS; k++)
            y[i - p->inputs][k] = k < 0 || k >= n ? VALUE_GUARD : unset_value();
    }
    f(p->x, y, &mistake);
}

static bool is_right(double y, double want)
{
    return isnan(want) || fabs(y - want) <= 1e-9 * fmax(1, fabs(want));
}

/* Whether y is `want` to 1e-9, wherever `want` is not NaN; otherwise *array and *index are the first element that is
 * not. */
static bool problem_same(const problem *p, int *array, int64_t *index)
{
    for (int i = 0; i < p->count - p->inputs; i++)
        for (int64_t k = 0; k < array_numel(&p->array[p->inputs + i]); k++) {
            if (!is_right(p->y[i][k], p->want[i][k])) {
                *array = i;
                *index = k;
                return false;
            }
        }
    return true;
}

/* AG_CAUSE_OUT_OF_BOUNDS, AG_CAUSE_NOTHING_CHECKED: nothing is written, AG_CAUSE_GRADIENT_NON_FINITE, or UNKNOWN. */
static ag_cause problem_cause(const problem *p)
{
    bool written = false, finite = true;
    for (int i = 0; i < p->count - p->inputs; i++) {
        int64_t n = array_numel(&p->array[p->inputs + i]);
        for (int64_t k = -VALUE_GUARDS; k < n + VALUE_GUARDS; k++) {
            bool inside = k >= 0 && k < n;
            if (!inside && p->y[i][k] != VALUE_GUARD)
                return AG_CAUSE_OUT_OF_BOUNDS;
            written = written || (inside && !isnan(p->y[i][k]));
            finite = finite && isfinite(p->y[i][k]);
        }
    }
    return !written ? AG_CAUSE_NOTHING_CHECKED : !finite ? AG_CAUSE_GRADIENT_NON_FINITE : AG_CAUSE_UNKNOWN;
}

/* Whether the output of that name, or with "[0]" behind the name its first row, has the values of p->want. */
static bool problem_part_is_right(const problem *p, const char *part)
{
    for (int i = p->inputs; i < p->count; i++) {
        const size_t length = strlen(p->array[i].name);
        if (strncmp(part, p->array[i].name, length) != 0 || (part[length] != '\0' && part[length] != '['))
            continue;
        const int64_t n = array_numel(&p->array[i]) / (part[length] == '[' ? p->array[i].shape[0] : 1);
        for (int64_t k = 0; k < n; k++)
            if (!is_right(p->y[i - p->inputs][k], p->want[i - p->inputs][k]))
                return false;
        return true;
    }
    return false;
}

static bool problem_has_unset(const problem *p)
{
    for (int i = 0; i < p->count - p->inputs; i++)
        for (int64_t k = 0; k < array_numel(&p->array[p->inputs + i]); k++)
            if (is_unset(p->y[i][k]))
                return true;
    return false;
}

static const char *hint_for_values(const exercise *e, const problem *p, double scale)
{
    static const char unset[] = "Some elements of an output are never set, or are added to before they are set. Has "
                                "each element an index of its own?";
    ag_cause cause = problem_cause(p);
    int array;
    int64_t index;
    problem_run(p, e->forward, p->want, NOTHING_DONE);
    if (cause == AG_CAUSE_NOTHING_CHECKED || problem_same(p, &array, &index))
        return e->start;
    for (const exercise_hint *h = e->hint; h < e->hint + EXERCISE_HINTS && h->text != NULL; h++)
        if (h->right != NULL || (h->mistake > 0 && h->input == NULL)) {
            problem_run(p, e->forward, p->want, h->mistake);
            if (h->right != NULL ? problem_part_is_right(p, h->right) : problem_same(p, &array, &index))
                return h->text;
        } else if (h->mistake == 0 && h->cause == cause && scale != 1) {
            return h->text;
        }
    return problem_has_unset(p) ? unset : hint_for_cause(e, cause);
}

static judgement judge_values(const exercise *e, double scale)
{
    problem p;
    judgement j = { .hint = "There is not enough memory." };
    int array;
    int64_t index;
    if (problem_new(&p, e, scale)) {
        problem_run(&p, e->answer, p.y, 0);
        problem_run(&p, e->forward, p.want, 0);
        j.right = problem_same(&p, &array, &index) && problem_cause(&p) != AG_CAUSE_OUT_OF_BOUNDS;
        if (!j.right) {
            char element[80], large[80] = "";
            const ag_array *y = &p.array[p.inputs + array];
            element_text(y, index, element, sizeof element);
            if (scale != 1)
                ag_snprintf(large, sizeof large, "for other inputs, %g times as large, ", scale);
            ag_snprintf(j.place, sizeof j.place, "%s%s%s is %.6g, and must be %.6g", large, y->name, element,
                        p.y[array][index], p.want[array][index]);
            j.hint = hint_for_values(e, &p, scale);
        } else {
            j.hint = NULL;
        }
    }
    problem_free(&p);
    return j;
}

/* ---- The student's backward: gradients ---- */

static ag_gradcheck_result check_gradient(const exercise *e, int mistake, ag_gradcheck_input *inputs, FILE *report)
{
    ag_array_function f = { .forward = e->forward, .backward = e->backward, .user = &mistake };
    ag_gradcheck_config config = { .name = e->name, .inputs = inputs, .report = report };
    return check_kernel_run(f, e->signature, NULL, config);
}

static bool is_wrong_alone(const char *input, const problem *p, const ag_gradcheck_input *inputs)
{
    for (int i = 0; i < p->inputs; i++)
        if ((inputs[i].verdict == AG_PASS) == (strcmp(input, p->array[i].name) == 0))
            return false;
    return true;
}

static bool hint_applies(const exercise_hint *h, const exercise *e, const problem *p, const ag_gradcheck_result *r,
                         const ag_gradcheck_input *inputs)
{
    if (h->alone)
        return is_wrong_alone(h->input, p, inputs);
    if (h->right != NULL)
        return false;
    if (h->mistake > 0)
        return check_gradient(e, h->mistake, NULL, NULL).verdict == AG_PASS;
    if (h->words != NULL && strstr(r->explanation, h->words) == NULL)
        return false;
    for (int i = 0; i < p->inputs; i++)
        if (inputs[i].cause == h->cause && (h->input == NULL || strcmp(h->input, p->array[i].name) == 0))
            return true;
    return false;
}

static const char *hint_for_gradient(const exercise *e, const problem *p, const ag_gradcheck_result *r,
                                     const ag_gradcheck_input *inputs)
{
    bool nothing = strstr(r->explanation, "gradient is 0 on all") != NULL;
    for (int i = 0; i < p->inputs; i++)
        nothing = nothing && inputs[i].cause == AG_CAUSE_ZERO && inputs[i].analytic == 0;
    if (nothing)
        return e->start;
    for (const exercise_hint *h = e->hint; h < e->hint + EXERCISE_HINTS && h->text != NULL; h++)
        if (hint_applies(h, e, p, r, inputs))
            return h->text;
    return hint_for_cause(e, r->worst.cause);
}

/* "d loss / d x[1,2], for a loss that is y[0,3] alone, is 0.5, and must be 0.25" */
static void gradient_place(const problem *p, const ag_gradcheck_result *r, judgement *j)
{
    char element[80], out[80];
    const ag_array *x = &p->array[r->input < 0 ? 0 : r->input], *y = &p->array[p->inputs];
    int64_t index = r->worst.output_index;
    element_text(x, r->worst.index, element, sizeof element);
    for (; index >= array_numel(y) && y < &p->array[p->count - 1]; y++)
        index -= array_numel(y);
    element_text(y, index, out, sizeof out);
    if (r->worst.index < 0)
        ag_snprintf(j->place, sizeof j->place, "the gradient of %s is wrong", x->name);
    else if (index < 0)
        ag_snprintf(j->place, sizeof j->place, "d%s%s is %.6g, and must be %.6g", x->name, element, r->worst.analytic,
                    r->worst.numeric);
    else
        ag_snprintf(j->place, sizeof j->place, "with d%s = 1 at %s and 0 elsewhere, d%s%s is %.6g, and must be %.6g",
                    y->name, out, x->name, element, r->worst.analytic, r->worst.numeric);
}

static judgement judge_gradient(const exercise *e, FILE *explain)
{
    problem p;
    ag_gradcheck_input inputs[KERNEL_ARRAYS] = { { 0 } };
    judgement j = { .hint = "There is not enough memory." };
    if (problem_new(&p, e, 1)) {
        ag_gradcheck_result r = check_gradient(e, 0, inputs, explain);
        j.right = r.verdict == AG_PASS;
        j.hint = j.right ? NULL : hint_for_gradient(e, &p, &r, inputs);
        if (j.right)
            ag_snprintf(j.place, sizeof j.place, "%d derivatives are those of difference quotients, to %.0e",
                        (int)r.checked, r.max_error);
        else
            gradient_place(&p, &r, &j);
    }
    problem_free(&p);
    return j;
}

judgement judge_exercise(const exercise *e, FILE *explain)
{
    judgement j = { .right = true };
    if (e->answer != NULL) {
        j = judge_values(e, 1);
        if (j.right && e->scale != 0)
            j = judge_values(e, e->scale);
        if (j.right)
            ag_snprintf(j.place, sizeof j.place, "every value is right");
    }
    return j.right && e->backward != NULL ? judge_gradient(e, explain) : j;
}
