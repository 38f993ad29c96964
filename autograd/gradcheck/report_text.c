/* SPDX-License-Identifier: MIT
 *
 * report_text.c - the gradient checker's report as text of at most 80 columns.
 *
 * A pass is one line. Any other verdict has one line per input, then, as far as known, the worst derivative, the first
 * wrong op, the explanation, advice for inconclusive inputs, and both gradients around the worst element with their
 * difference. Colour adds escape sequences around words and changes no word.
 */
#include "autograd/gradcheck/report_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 80, INDENT = 2, LONGEST_NAME = 60 };

typedef struct writer {
    FILE *file;
    bool colour;
    int column;
} writer;

/* ---- Lines ----------------------------------------------------------------------------------- */

static void text_end_line(writer *w)
{
    fputc('\n', w->file);
    w->column = 0;
}

/* Writes text, in a colour's escape sequence (NULL: none). */
static void text_put(writer *w, const char *text, const char *colour)
{
    fprintf(w->file, "%s%s%s", colour != NULL ? colour : "", text, colour != NULL ? "\033[0m" : "");
    w->column += ag_shown_columns(text);
}

static void text_pad(writer *w, int column)
{
    fprintf(w->file, "%*s", column > w->column ? column - w->column : 0, "");
    w->column = column > w->column ? column : w->column;
}

static const char *text_colour_of(const writer *w, ag_verdict verdict)
{
    static const char *const colour[] = {
        [AG_PASS] = "\033[32m", [AG_FAIL] = "\033[31m", [AG_INCONCLUSIVE] = "\033[33m"
    };
    return w->colour ? colour[verdict] : NULL;
}

/* Continues the line with words, wrapped into indented lines. A word longer than a line is split. */
static void text_wrap(writer *w, const char *text)
{
    char shown[8];
    bool first = w->column == 0;
    for (text += strspn(text, " \n"); *text != '\0'; text += strspn(text, " \n")) {
        const char *end = text + strcspn(text, " \n");
        int columns = 0;
        for (const char *at = text; at < end; columns++)
            at += ag_shown_character(shown, at);
        if (!first && w->column + 1 + columns > WIDTH) {
            text_end_line(w);
            text_pad(w, INDENT);
        } else if (!first) {
            text_put(w, " ", NULL);
        }
        for (; text < end; text_put(w, shown, NULL)) {
            if (w->column == WIDTH) {
                text_end_line(w);
                text_pad(w, INDENT);
            }
            text += ag_shown_character(shown, text);
        }
        first = false;
    }
}

/* "label text", wrapped, on a line of its own; nothing if the text is empty. */
static void text_paragraph(writer *w, const char *label, const char *text)
{
    if (text == NULL || *text == '\0')
        return;
    text_wrap(w, label);
    text_wrap(w, text);
    text_end_line(w);
}

/* ---- The first line and the table ------------------------------------------------------------ */

static void text_headline(writer *w, const ag_check *check, const ag_gradcheck_result *result)
{
    ag_phrase name = { 0 }, summary = { 0 };
    ag_report_summary(&summary, check, result);
    const char *verdict = ag_verdict_name(result->verdict);
    /* A pass is one line: the name gets the room that is left. */
    int room = WIDTH - (int)(strlen("gradcheck : PASS, ") + summary.length);
    ag_phrase_name(&name, check->name, result->verdict != AG_PASS ? 40 : room > 8 ? room : 8);
    text_put(w, "gradcheck ", NULL);
    text_put(w, name.text, NULL);
    text_put(w, ": ", NULL);
    text_put(w, verdict, text_colour_of(w, result->verdict));
    text_put(w, ",", NULL);
    for (const char *clause = summary.text, *end; *clause != '\0'; clause = end) { /* broken between clauses only */
        end = strstr(clause, ", ");
        end = end == NULL ? clause + strlen(clause) : end + 2;
        int length = (int)(end - clause) - (end[-1] == ' ');
        if (w->column + 1 + length > WIDTH) {
            text_end_line(w);
            text_pad(w, INDENT - 1);
        }
        w->column += fprintf(w->file, " %.*s", length, clause);
    }
    text_end_line(w);
}

/* The width of each column; 0: empty in every line, so left out. Names get the room that is left. */
static void text_measure(const ag_check *check, int width[AG_REPORT_COLUMNS])
{
    int used = 0;
    for (int c = 0; c < AG_REPORT_COLUMNS; c++) {
        width[c] = 0;
        for (int i = 0; i < check->input_count; i++) {
            ag_phrase cell = { 0 };
            ag_report_cell(&cell, check, i, (ag_report_column)c, LONGEST_NAME);
            int columns = ag_shown_columns(cell.text);
            width[c] = columns > width[c] ? columns : width[c];
        }
        int heading = (int)strlen(ag_report_heading((ag_report_column)c));
        if (width[c] > 0 && width[c] < heading)
            width[c] = heading;
        used += width[c] > 0 ? INDENT + width[c] : 0;
    }
    int *names = &width[AG_COLUMN_NAME];
    *names -= *names > 0 && used > WIDTH ? used - WIDTH : 0;
}

/* One line of the table: an input, or -1 for the heading. */
static void text_table_line(writer *w, const ag_check *check, int input, const int width[AG_REPORT_COLUMNS])
{
    int start = INDENT;
    for (int c = 0; c < AG_REPORT_COLUMNS; c++) {
        ag_report_column column = (ag_report_column)c;
        ag_phrase cell = { 0 };
        const char *colour = NULL;
        if (width[c] == 0)
            continue;
        if (input < 0) {
            ag_phrase_put(&cell, "%s", ag_report_heading(column));
        } else {
            const ag_check_input *in = &check->input[input];
            ag_report_cell(&cell, check, input, column, width[c]);
            if (in->checked && (column == AG_COLUMN_VERDICT || column == AG_COLUMN_CAUSE))
                colour = text_colour_of(w, in->found.verdict);
        }
        if (cell.length > 0) {
            text_pad(w, start);
            text_put(w, cell.text, colour);
        }
        start += width[c] + INDENT;
    }
    text_end_line(w);
}

static void text_table(writer *w, const ag_check *check)
{
    int width[AG_REPORT_COLUMNS];
    text_measure(check, width);
    for (int i = check->input_count > 0 ? -1 : 0; i < check->input_count; i++)
        text_table_line(w, check, i, width);
}

/* ---- The gradients around the worst element -------------------------------------------------- */

enum {
    LABEL = 4,  /* columns of a row's number */
    PANEL = 24, /* columns of one gradient, two more between two of them */
    PANELS = 3, /* analytic, numeric, difference */
    ROWS = 8,
    COLS = 4
};

typedef struct gradients {
    const ag_check_input *in;
    ag_gradient_view view;
    int columns, decimals; /* of a number */
    int exponent[PANELS];  /* a panel's numbers are in units of 10^exponent */
} gradients;

/* An element of the analytic gradient, of the numeric one, or of their difference. */
static double text_value_at(const gradients *g, int panel, int64_t row, int64_t col)
{
    int64_t i = ag_view_at(&g->view, g->view.entry.first, g->view.row.first + row, g->view.col.first + col);
    return panel == 0 ? g->in->analytic[i] : panel == 1 ? g->in->numeric[i] : g->in->analytic[i] - g->in->numeric[i];
}

/* The exponent of the largest finite magnitude, rounded to the decimals shown; 0 instead of -1. */
static int text_exponent_of(const gradients *g, int panel)
{
    double largest = 0;
    for (int64_t r = 0; r < g->view.row.count; r++)
        for (int64_t c = 0; c < g->view.col.count; c++) {
            double v = fabs(text_value_at(g, panel, r, c));
            largest = isfinite(v) && v > largest ? v : largest;
        }
    char text[AG_NUMBER];
    ag_snprintf(text, sizeof text, "%.*e", g->decimals, largest);
    int exponent = atoi(strchr(text, 'e') + 1);
    return exponent == -1 && g->decimals > 2 ? 0 : exponent;
}

/* Text right-aligned in `columns`. */
static void text_put_right(writer *w, const char *text, int columns)
{
    text_pad(w, w->column + columns - (int)strlen(text));
    text_put(w, text, NULL);
}

static void text_put_index(writer *w, int64_t index, int columns)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, index);
    text_put_right(w, text, columns);
}

/* An exact zero is "0"; a number that rounds to zero is "0.00", without a sign. */
static void text_put_value(writer *w, const gradients *g, int panel, int64_t row, int64_t col)
{
    char text[AG_NUMBER];
    double value = text_value_at(g, panel, row, col), scaled = value == 0 ? 0 : value / pow(10, g->exponent[panel]);
    ag_snprintf(text, sizeof text, "%.*f", value == 0 ? 0 : g->decimals, scaled);
    text_put_right(w, text + (*text == '-' && strspn(text, "-0.") == strlen(text)), g->columns);
}

/* "[0,1,4:12,8:12]": the indices that are shown. */
static void text_put_part(ag_phrase *p, const gradients *g)
{
    const ag_array *x = &g->in->x;
    const ag_span *row = &g->view.row, *col = &g->view.col;
    int64_t index[AG_MAX_DIMS], rest = g->view.entry.first;
    int leading = x->ndim == 1 ? 0 : x->ndim - 2;
    for (int d = leading - 1; d >= 0; d--) {
        index[d] = rest % x->shape[d];
        rest /= x->shape[d];
    }
    ag_phrase_put(p, "[");
    for (int d = 0; d < leading; d++)
        ag_phrase_put(p, "%" PRId64 ",", index[d]);
    ag_phrase_put(p, "%" PRId64 ":%" PRId64, row->first, row->first + row->count);
    if (x->ndim > 1)
        ag_phrase_put(p, ",%" PRId64 ":%" PRId64, col->first, col->first + col->count);
    ag_phrase_put(p, "]");
}

static void text_put_titles(writer *w, const gradients *g)
{
    static const char *const title[PANELS] = { "analytic", "numeric", "difference" };
    text_pad(w, LABEL);
    for (int panel = 0; panel < PANELS; panel++) {
        char text[PANEL];
        snprintf(text, sizeof text, g->exponent[panel] == 0 ? "%s" : "%s / 1e%d", title[panel], g->exponent[panel]);
        text_put(w, panel > 0 ? " |" : "", NULL);
        text_put_right(w, text, PANEL);
    }
    text_end_line(w);
}

/* One row of all panels; row -1: the column numbers. */
static void text_put_row(writer *w, const gradients *g, int64_t row)
{
    if (row >= 0)
        text_put_index(w, g->view.row.first + row, LABEL);
    text_pad(w, LABEL);
    for (int panel = 0; panel < PANELS; panel++) {
        text_put(w, panel > 0 ? " |" : "", NULL);
        text_pad(w, w->column + PANEL - g->columns * (int)g->view.col.count);
        for (int64_t col = 0; col < g->view.col.count; col++)
            if (row >= 0)
                text_put_value(w, g, panel, row, col);
            else
                text_put_index(w, g->view.col.first + col, g->columns);
    }
    text_end_line(w);
}

static void text_put_gradients(writer *w, const ag_check_input *in)
{
    gradients g = { .in = in, .view = ag_gradient_view_of(in, 1, ROWS, COLS, true) };
    g.columns = PANEL / (int)g.view.col.count;
    g.decimals = g.columns - 4 < 5 ? g.columns - 4 : 5; /* less a blank, a sign, a digit and the point */
    for (int panel = 0; panel < PANELS; panel++)
        g.exponent[panel] = text_exponent_of(&g, panel);
    if (abs(g.exponent[0] - g.exponent[1]) <= 1) /* one unit for both, if both keep their digits */
        g.exponent[0] = g.exponent[1] = g.exponent[0] > g.exponent[1] ? g.exponent[0] : g.exponent[1];
    ag_phrase part = { 0 };
    text_put_part(&part, &g);
    text_end_line(w);
    text_paragraph(
        w, ag_view_is_cropped(&g.view) ? "for a random cotangent, around the worst:" : "for a random cotangent:",
        part.text);
    text_put_titles(w, &g);
    for (int64_t row = in->x.ndim > 1 ? -1 : 0; row < g.view.row.count; row++)
        text_put_row(w, &g, row);
}

/* ---- The whole ------------------------------------------------------------------------------- */

void ag_report_text(FILE *file, const ag_check *check, const ag_gradcheck_result *result)
{
    writer w = { .file = file, .colour = check->config.colour };
    text_headline(&w, check, result);
    if (ag_report_is_error(check))
        text_paragraph(&w, "error:", ag_error_message(check->ctx));
    if (result->verdict == AG_PASS)
        return;
    text_table(&w, check);
    ag_phrase worst = { 0 }, op = { 0 };
    ag_report_worst(&worst, check, result);
    text_paragraph(&w, result->verdict == AG_FAIL ? "worst:" : "undecided:", worst.text);
    ag_report_op(&op, result);
    text_paragraph(&w, "first wrong op:", op.text);
    text_paragraph(&w, "", ag_report_is_error(check) ? "" : result->explanation);
    for (int cause = 0; cause < AG_CAUSES; cause++)
        if (ag_report_has_cause(check, result, (ag_cause)cause))
            text_paragraph(&w, "what to do:", ag_report_advice((ag_cause)cause));
    const ag_check_input *in = worst.length > 0 ? &check->input[result->input] : NULL;
    if (in != NULL && result->verdict == AG_FAIL && in->analytic != NULL && in->numeric != NULL &&
        in->found.index >= 0 && in->numel > 1 && in->numel < 10000)
        text_put_gradients(&w, in);
}
