/* SPDX-License-Identifier: MIT
 *
 * report.c - the words that all forms of the gradient checker's report share, and the entry that writes them.
 */
#include "autograd/gradcheck/report_impl.h"
#include "tensor/files/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

/* ---- Phrases --------------------------------------------------------------------------------- */

void ag_phrase_put(ag_phrase *p, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof p->text - p->length;
    int wanted = ag_vsnprintf(p->text + p->length, room, format, arguments);
    va_end(arguments);
    if (wanted > 0)
        p->length += (size_t)wanted < room ? (size_t)wanted : room - 1;
}

int ag_shown_character(char shown[8], const char *text)
{
    int size = ag_utf8_size(text, strlen(text));
    if (*text == '\0')
        size = 0;
    else if (size == 0)
        size = 1; /* malformed: byte by byte */
    char character[8] = { 0 }, buffer[AG_SHOWN_BYTES];
    memcpy(character, text, (size_t)size);
    strcpy(shown, ag_shown_text(buffer, character));
    return size;
}

int ag_shown_columns(const char *text)
{
    char shown[8];
    int columns = 0;
    for (int size; (size = ag_shown_character(shown, text)) > 0; text += size)
        columns++;
    return columns;
}

void ag_phrase_name(ag_phrase *p, const char *name, int columns)
{
    if (name == NULL)
        return;
    int all = ag_shown_columns(name), cut = all > columns ? all - columns + 2 : 0, head = (columns - 2) / 2;
    char shown[8];
    for (int at = 0, size; (size = ag_shown_character(shown, name)) > 0; at++, name += size)
        if (cut > 0 && at == head)
            ag_phrase_put(p, "..");
        else if (cut == 0 || at < head || at >= head + cut)
            ag_phrase_put(p, "%s", sizeof p->text - p->length > strlen(shown) ? shown : "");
}

/* ---- Words ----------------------------------------------------------------------------------- */

bool ag_report_is_error(const ag_check *check)
{
    return ag_error(check->ctx) != AG_OK;
}

void ag_report_summary(ag_phrase *p, const ag_check *check, const ag_gradcheck_result *result)
{
    const char *plural = result->checked == 1 ? "" : "s";
    int64_t undecided = result->inconclusive;
    if (ag_report_is_error(check)) {
        ag_phrase_put(p, "stopped by an error");
        return;
    }
    if (result->checked == 0) {
        ag_phrase_put(p, "no derivative was checked");
        return;
    }
    if (result->verdict == AG_FAIL)
        ag_phrase_put(p, "%" PRId64 " of %" PRId64 " derivative%s wrong", result->failed, result->checked, plural);
    else if (result->verdict == AG_INCONCLUSIVE)
        ag_phrase_put(p, "%" PRId64 " of %" PRId64 " derivative%s undecided", undecided, result->checked, plural);
    else
        ag_phrase_put(p, "%" PRId64 " derivative%s", result->checked, plural);
    if (undecided < result->checked)
        ag_phrase_put(p, ", worst relative error %.1e", result->max_error);
    if (result->verdict == AG_FAIL && undecided > 0)
        ag_phrase_put(p, ", %" PRId64 " inconclusive", undecided);
}

const char *ag_index_text(const ag_check *check, int ndim, const int64_t *shape, int64_t flat)
{
    int64_t index[AG_MAX_DIMS];
    for (int d = ndim - 1; d >= 0; d--) {
        index[d] = shape[d] > 0 ? flat % shape[d] : 0;
        flat = shape[d] > 0 ? flat / shape[d] : 0;
    }
    return ag_dims_text(check->ctx, ndim, index);
}

/* "output 1 [2,3] at [0,2]"; a single output has no number. */
static void report_put_output(ag_phrase *p, const ag_check *check, int64_t flat)
{
    int k = check->output_count - 1;
    while (k > 0 && flat < check->output[k].first)
        k--;
    const ag_check_output *output = &check->output[k];
    ag_phrase_put(p, ", output");
    if (check->output_count > 1)
        ag_phrase_put(p, " %d", k);
    ag_phrase_put(p, " %s", ag_dims_text(check->ctx, output->y.ndim, output->y.shape));
    if (output->y.ndim > 0)
        ag_phrase_put(p, " at %s", ag_index_text(check, output->y.ndim, output->y.shape, flat - output->first));
}

/* Both values with nine digits; with 17 if nine are equal. */
static void report_put_values(ag_phrase *p, const ag_gradcheck_input *found)
{
    char analytic[AG_NUMBER], numeric[AG_NUMBER];
    int digits = 9;
    do {
        ag_snprintf(analytic, sizeof analytic, "%.*g", digits, found->analytic);
        ag_snprintf(numeric, sizeof numeric, "%.*g", digits, found->numeric);
        digits += 8;
    } while (digits <= 17 && strcmp(analytic, numeric) == 0);
    ag_phrase_put(p, ": analytic %s, numeric %s (+-", analytic, numeric);
    ag_phrase_put(p, found->uncertainty == 0 ? "%.0f)" : "%.0e)", found->uncertainty);
}

void ag_report_worst(ag_phrase *p, const ag_check *check, const ag_gradcheck_result *result)
{
    if (ag_report_is_error(check) || result->input < 0 || result->input >= check->input_count || result->checked == 0)
        return;
    const ag_array *x = &check->input[result->input].x;
    const ag_gradcheck_input *found = &result->worst;
    ag_phrase_put(p, "input %d ", result->input);
    if (x->name != NULL) {
        ag_phrase_put(p, "'");
        ag_phrase_name(p, x->name, 60);
        ag_phrase_put(p, "' ");
    }
    ag_phrase_put(p, "%s", ag_dims_text(check->ctx, x->ndim, x->shape));
    if (found->index < 0)
        ag_phrase_put(p, " along a random direction");
    else if (x->ndim > 0)
        ag_phrase_put(p, " at %s", ag_index_text(check, x->ndim, x->shape, found->index));
    if (found->output_index >= 0 && check->output_count > 0)
        report_put_output(p, check, found->output_index);
    report_put_values(p, found);
}

void ag_report_op(ag_phrase *p, const ag_gradcheck_result *result)
{
    if (result->op == NULL || *result->op == '\0' || strstr(result->explanation, result->op) != NULL)
        return;
    ag_phrase_name(p, result->op, 40);
    if (result->path != NULL && *result->path != '\0') {
        ag_phrase_put(p, " in ");
        ag_phrase_name(p, result->path, 60);
    }
    ag_phrase_put(p, ", node %" PRId64 ", gradient of its input %d", result->node, result->op_input);
}

bool ag_report_has_cause(const ag_check *check, const ag_gradcheck_result *result, ag_cause cause)
{
    bool has = result->worst.cause == cause;
    for (int i = 0; i < check->input_count; i++)
        has = has || (check->input[i].checked && check->input[i].found.cause == cause);
    return has && !ag_report_is_error(check);
}

const char *ag_report_advice(ag_cause cause)
{
    switch (cause) {
    case AG_CAUSE_KINK:
        return "move the input away from the kink.";
    case AG_CAUSE_NOT_REPEATABLE:
        return "draw random numbers from the context, whose random state every run begins with anew, or seed your own "
               "inside the function; and look for state that one run leaves to the next.";
    case AG_CAUSE_NON_FINITE:
        return "choose inputs well inside the function's domain, and of a size that does not overflow.";
    case AG_CAUSE_STEP_EXHAUSTED:
        return "move the input away from kinks; compute all of it in float64; bring inputs and outputs to a size "
               "around 1; or allow a larger rtol, or atol where the derivative is small beside the output.";
    case AG_CAUSE_ORACLES_DISAGREE:
        return "compare complex_step with the function at this point; or leave it out, where abs, max or a comparison "
               "make the function one that is not analytic.";
    case AG_CAUSE_NOTHING_CHECKED:
        return "give at least one float64 input that has elements.";
    default:
        return NULL;
    }
}

/* ---- The table of inputs --------------------------------------------------------------------- */

const char *ag_report_heading(ag_report_column column)
{
    static const char *const heading[AG_REPORT_COLUMNS] = { "#", "input", "shape", "verdict", "error", "cause" };
    return heading[column];
}

const char *ag_verdict_text(const ag_check_input *in)
{
    return in->checked ? ag_verdict_name(in->found.verdict) : "not checked";
}

void ag_report_cell(ag_phrase *p, const ag_check *check, int input, ag_report_column column, int name_columns)
{
    const ag_check_input *in = &check->input[input];
    const ag_gradcheck_input *found = &in->found;
    if (column == AG_COLUMN_NUMBER)
        ag_phrase_put(p, "%d", input);
    else if (column == AG_COLUMN_NAME)
        ag_phrase_name(p, in->x.name, name_columns);
    else if (column == AG_COLUMN_SHAPE)
        ag_phrase_name(p, ag_dims_text(check->ctx, in->x.ndim, in->x.shape), 16);
    else if (column == AG_COLUMN_VERDICT)
        ag_phrase_put(p, "%s", ag_verdict_text(in));
    else if (column == AG_COLUMN_ERROR && in->checked && found->inconclusive < found->checked)
        ag_phrase_put(p, "%.1e", found->max_error);
    else if (column == AG_COLUMN_CAUSE && in->checked && found->cause != AG_CAUSE_NONE)
        ag_phrase_put(p, "%s", ag_cause_name(found->cause));
    if (column == AG_COLUMN_CAUSE && in->checked && found->cause == AG_CAUSE_FACTOR)
        ag_phrase_put(p, " %.4g", found->factor);
}

/* ---- The part of a gradient that is shown ---------------------------------------------------- */

/* At most `most` indices of `extent`, `at` as near to their middle as possible. */
static ag_span report_span_around(int64_t at, int64_t extent, int64_t most)
{
    ag_span span = { .count = extent < most ? extent : most, .extent = extent };
    span.first = at - span.count / 2;
    span.first = span.first > extent - span.count ? extent - span.count : span.first;
    span.first = span.first < 0 ? 0 : span.first;
    return span;
}

ag_gradient_view ag_gradient_view_of(const ag_check_input *in, int64_t entries, int64_t rows, int64_t cols,
                                     bool upright)
{
    const ag_array *x = &in->x;
    int64_t row = x->ndim > 1 ? x->shape[x->ndim - 2] : 1, col = x->ndim > 0 ? x->shape[x->ndim - 1] : 1;
    if (upright && x->ndim == 1) {
        row = col;
        col = 1;
    }
    int64_t entry = row * col > 0 ? in->numel / (row * col) : 0, worst = in->found.index > 0 ? in->found.index : 0;
    return (ag_gradient_view){
        .entry = report_span_around(entry > 0 ? worst / (row * col) : 0, entry, entries),
        .row = report_span_around(entry > 0 ? worst / col % row : 0, row, rows),
        .col = report_span_around(entry > 0 ? worst % col : 0, col, cols),
    };
}

bool ag_view_is_cropped(const ag_gradient_view *view)
{
    return view->entry.count < view->entry.extent || view->row.count < view->row.extent ||
           view->col.count < view->col.extent;
}

int64_t ag_view_at(const ag_gradient_view *view, int64_t entry, int64_t row, int64_t col)
{
    return (entry * view->row.extent + row) * view->col.extent + col;
}

/* ---- What is written ------------------------------------------------------------------------- */

void ag_check_report(const ag_check *check, const ag_gradcheck_result *result)
{
    static void (*const form[])(FILE *, const ag_check *, const ag_gradcheck_result *) = {
        ag_report_text, ag_report_json, ag_report_html
    };
    ag_check shown = *check; /* after an error arrays may be missing */
    shown.input_count = check->input == NULL ? 0 : check->input_count;
    shown.output_count = check->output == NULL ? 0 : check->output_count;
    FILE *file[] = { check->config.report, check->config.json, check->config.html };
    for (int i = 0; i < 3; i++)
        if (file[i] != NULL)
            form[i](file[i], &shown, result);
    for (int i = 0; i < 3; i++)
        if (file[i] != NULL && ferror(file[i]))
            ag_fail(check->ctx, AG_ERR_FILE, "gradcheck", "the report can not be written");
}
