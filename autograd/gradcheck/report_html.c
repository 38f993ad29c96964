/* SPDX-License-Identifier: MIT
 *
 * report_html.c - the gradient checker's report as one self-contained HTML page, which is well-formed XML too.
 *
 * After the words come the gradients of some inputs, failed ones first, each as one SVG drawing: analytic, numeric and
 * their difference side by side, one rect per element with index and value as its title. All lengths are whole pixels,
 * so that cells have sharp edges. A gradient of more than two dims is a grid of small matrices.
 */
#include "autograd/gradcheck/report_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum {
    MOST_FIGURES = 8,
    MOST_SIDE = 64,         /* cells along a side of a map, over all its matrices */
    HTML_MOST_ENTRIES = 16, /* matrices */
    HTML_PANELS = 3,        /* analytic, numeric, difference */
    HTML_PANEL = 320,       /* pixels from one panel to the next */
    LEFT = 34,              /* of a panel, for the rows' numbers */
    TOP = 42,               /* for its title, and the columns' numbers or a matrix's label */
    MAP = 280,              /* the largest width and height of a map */
    GAP = 10,               /* between matrices */
    HTML_LABEL = 15,        /* above each matrix of a lower row */
    NUMBER_WIDTH = 46,      /* cells of this width or more show their value */
    NUMBER_HEIGHT = 16,
    BAR = 46                /* the colour bar and its numbers, below the map */
};

/* Without '&' and '<' the style sheet is the same in HTML and XML. */
static const char page_style[] =
    "body{font:15px/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff;width:960px;margin:28px auto;padding:0 12px}"
    "h1{font-size:24px;margin:0 0 8px}h2{font-size:17px;margin:32px 0 8px}p{margin:8px 0;overflow-wrap:anywhere}"
    "table{border-collapse:collapse;margin:20px 0}th{text-align:left;color:#555;font-weight:600}"
    "th,td{padding:4px 18px 4px 0;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}"
    ".verdict{display:inline-block;padding:0 8px;border-radius:4px;color:#fff;font-size:85%;font-weight:600}"
    ".verdict.PASS{background:#1a7f37}.verdict.FAIL{background:#c3242b}.verdict.INCONCLUSIVE{background:#8a6100}"
    ".explanation{border-left:4px solid #888;background:#f6f6f4;padding:4px 14px;margin:14px 0}"
    ".explanation.FAIL{border-color:#c3242b}.explanation.INCONCLUSIVE{border-color:#8a6100}"
    ".key{display:inline-block;width:12px;height:12px;border:1px solid #888;vertical-align:-2px}";

/* Repeated in each figure, so that a figure can be copied out of the page. */
static const char figure_style[] =
    ".figure text{font:11px system-ui,sans-serif;fill:#444}.figure .head{font-size:13px;font-weight:600;fill:#1a1a1a}"
    ".figure .tick,.figure .value{text-anchor:middle}.figure .side{text-anchor:end}"
    ".frame{fill:none;stroke:#888}.worst{fill:none;stroke:#000;stroke-width:2}"
    ".figure .value{pointer-events:none;fill:#222}.figure .light{fill:#fff}";

static const char legend[] =
    "<p>The gradients below are for one random cotangent; rows and columns are the last two dims. Blue is below zero, "
    "red above. Analytic and numeric share a scale; the difference has its own, never finer than the tolerance. "
    "<span class=\"key\" style=\"background:#d6d6d0\"></span> exactly 0 "
    "<span class=\"key\" style=\"background:#222222\"></span> not finite. A black frame marks the worst element of "
    "an input that did not pass. Point at a cell to read it.</p>\n";

/* ---- Text ------------------------------------------------------------------------------------ */

static void html_put_text(FILE *file, const char *text)
{
    char shown[8];
    for (int size; (size = ag_shown_character(shown, text)) > 0; text += size) {
        const char *entity = *shown == '<' ? "&lt;" : *shown == '>' ? "&gt;" : *shown == '&' ? "&amp;" :
                             *shown == '"' ? "&quot;" : shown;
        fputs(entity, file);
    }
}

/* An HTML element with text; nothing if the text is empty. */
static void html_put_element(FILE *file, const char *tag, const char *label, const char *text)
{
    if (text == NULL || *text == '\0')
        return;
    fprintf(file, "<%s>", tag);
    if (*label != '\0')
        fprintf(file, "<b>%s</b> ", label);
    html_put_text(file, text);
    fprintf(file, "</%s>\n", tag);
}

static void html_put_verdict(FILE *file, const char *verdict)
{
    fprintf(file, "<span class=\"verdict %s\">%s</span>", verdict, verdict);
}

/* ---- Colours --------------------------------------------------------------------------------- */

typedef struct rgb {
    int r, g, b;
} rgb;

static rgb html_mixed(rgb a, rgb b, double t)
{
    return (rgb){ (int)lround(a.r + t * (b.r - a.r)), (int)lround(a.g + t * (b.g - a.g)),
                  (int)lround(a.b + t * (b.b - a.b)) };
}

static const rgb negative[] = { { 255, 255, 255 }, { 130, 188, 222 }, { 24, 84, 158 } };
static const rgb positive[] = { { 255, 255, 255 }, { 246, 166, 130 }, { 178, 24, 43 } };
static const rgb exact_zero = { 214, 214, 208 }, not_finite = { 34, 34, 34 };

/* From blue at -scale over white to red at +scale. */
static rgb html_colour_at(double value, double scale)
{
    if (value == 0 || !isfinite(value))
        return value == 0 ? exact_zero : not_finite;
    const rgb *stop = value < 0 ? negative : positive;
    double t = 2 * fmin(fabs(value) / scale, 1);
    return t < 1 ? html_mixed(stop[0], stop[1], t) : html_mixed(stop[1], stop[2], t - 1);
}

static void html_put_colour(FILE *file, rgb colour)
{
    fprintf(file, "#%02x%02x%02x", (unsigned)colour.r, (unsigned)colour.g, (unsigned)colour.b);
}

/* ---- A figure -------------------------------------------------------------------------------- */

typedef struct figure {
    FILE *file;
    const ag_check *check;
    const ag_check_input *in;
    int number;
    ag_gradient_view view;
    int across, down;  /* matrices */
    int width, height; /* of a cell */
    int step_x, step_y; /* from one matrix to the next */
    double scale[HTML_PANELS];
} figure;

/* An element of the analytic gradient, of the numeric one, or of their difference. */
static double html_value_at(const figure *f, int panel, int64_t i)
{
    return panel == 0 ? f->in->analytic[i] : panel == 1 ? f->in->numeric[i] : f->in->analytic[i] - f->in->numeric[i];
}

static int64_t html_shown_at(const figure *f, int64_t entry, int64_t row, int64_t col)
{
    return ag_view_at(&f->view, f->view.entry.first + entry, f->view.row.first + row, f->view.col.first + col);
}

static double html_largest(const figure *f, int panel)
{
    double largest_value = 0;
    for (int64_t e = 0; e < f->view.entry.count; e++)
        for (int64_t r = 0; r < f->view.row.count; r++)
            for (int64_t c = 0; c < f->view.col.count; c++) {
                double v = fabs(html_value_at(f, panel, html_shown_at(f, e, r, c)));
                largest_value = isfinite(v) && v > largest_value ? v : largest_value;
            }
    return largest_value;
}

static int html_min_int(int a, int b)
{
    return a < b ? a : b;
}

static int html_max_int(int a, int b)
{
    return a > b ? a : b;
}

/* Cells are square, but wider where numbers fit, and larger in a map of few rows or columns. */
static void html_size_cells(figure *f, int width, int height)
{
    int rows = (int)f->view.row.count, cols = (int)f->view.col.count;
    f->width = html_min_int(56, width / cols);
    f->height = html_min_int(28, height / rows);
    if (f->width >= NUMBER_WIDTH && f->height >= NUMBER_HEIGHT)
        return;
    int side = html_min_int(f->width, f->height);
    f->width = html_max_int(side, html_min_int(f->width, 48 / cols));
    f->height = html_max_int(side, html_min_int(f->height, 48 / rows));
}

static void html_lay_out(figure *f)
{
    int64_t entries = ag_gradient_view_of(f->in, HTML_MOST_ENTRIES, 1, 1, false).entry.count;
    f->across = 1;
    while (f->across * f->across < entries)
        f->across++;
    f->view = ag_gradient_view_of(f->in, HTML_MOST_ENTRIES, MOST_SIDE / f->across, MOST_SIDE / f->across, false);
    f->down = ((int)entries + f->across - 1) / f->across;
    html_size_cells(f, (MAP - (f->across - 1) * GAP) / f->across,
                    (MAP - (f->down - 1) * (GAP + HTML_LABEL)) / f->across);
    f->step_x = f->across > 1 ? (MAP + GAP) / f->across : 0;
    f->step_y = (int)f->view.row.count * f->height + GAP + HTML_LABEL;
    for (int panel = 0; panel < HTML_PANELS; panel++)
        f->scale[panel] = html_largest(f, panel);
    f->scale[0] = f->scale[1] = fmax(f->scale[0], f->scale[1]);
    const ag_gradcheck_config *config = &f->check->config; /* rounding must not look like a fault */
    f->scale[2] = fmax(f->scale[2], config->atol + config->rtol * f->scale[0]);
}

static int html_map_height(const figure *f)
{
    return (f->down - 1) * f->step_y + (int)f->view.row.count * f->height;
}

static void html_put_cell(const figure *f, int panel, int x, int y, int64_t i)
{
    double value = html_value_at(f, panel, i);
    rgb colour = html_colour_at(value, f->scale[panel]);
    char text[AG_NUMBER];
    fprintf(f->file, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"", x, y, f->width, f->height);
    html_put_colour(f->file, colour);
    ag_fprintf(f->file, "\"><title>%s %.9g</title></rect>\n", ag_index_text(f->check, f->in->x.ndim, f->in->x.shape, i),
               value);
    if (f->width < NUMBER_WIDTH || f->height < NUMBER_HEIGHT)
        return;
    ag_snprintf(text, sizeof text, value == 0 ? "%.0f" : "%.2g", value);
    if (strlen(text) > 7) /* too wide for the cell */
        ag_snprintf(text, sizeof text, "%.0e", value);
    bool dark = 299 * colour.r + 587 * colour.g + 114 * colour.b < 140 * 1000;
    fprintf(f->file, "<text class=\"value%s\" x=\"%d\" y=\"%d\">%s</text>\n", dark ? " light" : "", x + f->width / 2,
            y + f->height / 2 + 4, text);
}

/* A frame around cells, `out` pixels outside their edge. */
static void html_put_frame(const figure *f, const char *class, int x, int y, int64_t cols, int64_t rows, int out)
{
    fprintf(f->file, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n", class, x - out, y - out,
            (int)cols * f->width + 2 * out, (int)rows * f->height + 2 * out);
}

/* The step 1, 2, 5, 10, ... between labelled indices at which labels do not overlap. */
static int64_t html_tick_step(int cell, int apart)
{
    static const int step[] = { 1, 2, 5, 10, 20 };
    int i = 0;
    while (i < 4 && step[i] * cell < apart)
        i++;
    return step[i];
}

static void html_put_ticks(const figure *f, int x, int y)
{
    const ag_span *row = &f->view.row, *col = &f->view.col;
    int64_t step = html_tick_step(f->width, 24);
    for (int64_t i = 0; i < col->count; i++)
        if ((col->first + i) % step == 0 && f->in->x.ndim > 0)
            fprintf(f->file, "<text class=\"tick\" x=\"%d\" y=\"%d\">%" PRId64 "</text>\n",
                    x + (int)i * f->width + f->width / 2, y - 4, col->first + i);
    step = html_tick_step(f->height, 13);
    for (int64_t i = 0; i < row->count; i++)
        if ((row->first + i) % step == 0 && f->in->x.ndim > 1)
            fprintf(f->file, "<text class=\"side tick\" x=\"%d\" y=\"%d\">%" PRId64 "</text>\n", x - 5,
                    y + (int)i * f->height + f->height / 2 + 4, row->first + i);
}

/* One matrix of a map, its upper left corner at x, y. */
static void html_put_matrix(const figure *f, int panel, int64_t entry, int x, int y)
{
    const ag_array *a = &f->in->x;
    const ag_gradient_view *view = &f->view;
    if (view->entry.count == 1)
        html_put_ticks(f, x, y);
    else
        fprintf(f->file, "<text class=\"label\" x=\"%d\" y=\"%d\">%s</text>\n", x, y - 4,
                ag_index_text(f->check, a->ndim - 2, a->shape, view->entry.first + entry));
    int64_t worst_row = -1, worst_col = -1;
    fputs("<g shape-rendering=\"crispEdges\">\n", f->file);
    for (int64_t r = 0; r < view->row.count; r++)
        for (int64_t c = 0; c < view->col.count; c++) {
            int64_t i = html_shown_at(f, entry, r, c);
            html_put_cell(f, panel, x + (int)c * f->width, y + (int)r * f->height, i);
            if (i == f->in->found.index && f->in->found.verdict != AG_PASS) {
                worst_row = r;
                worst_col = c;
            }
        }
    fputs("</g>\n", f->file);
    html_put_frame(f, "frame", x, y, view->col.count, view->row.count, 0);
    if (worst_row >= 0)
        html_put_frame(f, "worst", x + (int)worst_col * f->width, y + (int)worst_row * f->height, 1, 1, 1);
}

/* The colours from -scale to scale, with numbers. */
static void html_put_bar(const figure *f, int panel, int x, int y)
{
    enum { LENGTH = 200, THICKNESS = 10 };
    if (f->scale[panel] == 0) {
        fprintf(f->file, "<text class=\"label\" x=\"%d\" y=\"%d\">0 everywhere</text>\n", x, y + THICKNESS);
        return;
    }
    fprintf(f->file, "<rect class=\"frame\" style=\"fill:url(#scale%d)\" x=\"%d\" y=\"%d\" width=\"%d\" "
            "height=\"%d\"/>\n", f->number, x, y, LENGTH, THICKNESS);
    static const char *const anchor[] = { "start", "middle", "end" };
    for (int i = 0; i < 3; i++)
        ag_fprintf(f->file, "<text class=\"label\" style=\"text-anchor:%s\" x=\"%d\" y=\"%d\">%.3g</text>\n", anchor[i],
                   x + i * LENGTH / 2, y + THICKNESS + 14, (i - 1) * f->scale[panel]);
}

static void html_put_panel(const figure *f, int panel)
{
    static const char *const title[HTML_PANELS] = { "analytic", "numeric", "analytic - numeric" };
    int x = panel * HTML_PANEL + LEFT;
    fprintf(f->file, "<text class=\"head\" x=\"%d\" y=\"16\">%s</text>\n", x, title[panel]);
    for (int64_t e = 0; e < f->view.entry.count; e++)
        html_put_matrix(f, panel, e, x + (int)e % f->across * f->step_x,
                        TOP + (int)e / f->across * f->step_y);
    html_put_bar(f, panel, x, TOP + html_map_height(f) + 14);
}

static void html_put_figure(figure *f)
{
    html_lay_out(f);
    fprintf(f->file,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"figure\" width=\"%d\" height=\"%d\" "
            "viewBox=\"0 0 %d %d\">\n<style>%s</style>\n<defs><linearGradient id=\"scale%d\">\n",
            HTML_PANELS * HTML_PANEL, TOP + html_map_height(f) + BAR, HTML_PANELS * HTML_PANEL,
            TOP + html_map_height(f) + BAR,
            figure_style, f->number);
    for (int i = -2; i <= 2; i++) {
        fprintf(f->file, "<stop offset=\"%d%%\" stop-color=\"", 50 + 25 * i);
        html_put_colour(f->file, i < 0 ? negative[-i] : positive[i]);
        fputs("\"/>\n", f->file);
    }
    fputs("</linearGradient></defs>\n", f->file);
    for (int panel = 0; panel < HTML_PANELS; panel++)
        html_put_panel(f, panel);
    fputs("</svg>\n", f->file);
}

/* ---- The page -------------------------------------------------------------------------------- */

static void html_put_table(FILE *file, const ag_check *check)
{
    fputs("<table>\n<tr>", file);
    for (int c = 0; c < AG_REPORT_COLUMNS; c++)
        fprintf(file, "<th>%s</th>", ag_report_heading((ag_report_column)c));
    fputs("<th>wrong</th><th>undecided</th><th>checked</th></tr>\n", file);
    for (int i = 0; i < check->input_count; i++) {
        const ag_gradcheck_input *found = &check->input[i].found;
        fputs("<tr>", file);
        for (int c = 0; c < AG_REPORT_COLUMNS; c++) {
            ag_phrase cell = { 0 };
            ag_report_cell(&cell, check, i, (ag_report_column)c, 60);
            fputs("<td>", file);
            if (c == AG_COLUMN_VERDICT && check->input[i].checked)
                html_put_verdict(file, cell.text);
            else
                html_put_text(file, cell.text);
            fputs("</td>", file);
        }
        if (check->input[i].checked)
            fprintf(file, "<td>%" PRId64 "</td><td>%" PRId64 "</td><td>%" PRId64 "</td>", found->failed,
                    found->inconclusive, found->checked);
        else
            fputs("<td></td><td></td><td></td>", file);
        fputs("</tr>\n", file);
    }
    fputs("</table>\n", file);
}

static void html_put_words(FILE *file, const ag_check *check, const ag_gradcheck_result *result)
{
    ag_phrase name = { 0 }, summary = { 0 }, worst = { 0 }, op = { 0 };
    ag_phrase_name(&name, check->name, 60);
    ag_report_summary(&summary, check, result);
    ag_report_worst(&worst, check, result);
    ag_report_op(&op, result);
    fputs("<h1>gradcheck ", file);
    html_put_text(file, name.text);
    fputs(" ", file);
    html_put_verdict(file, ag_verdict_name(result->verdict));
    fputs("</h1>\n", file);
    html_put_element(file, "p", "", summary.text);
    const char *why = ag_report_is_error(check) ? ag_error_message(check->ctx) : result->explanation;
    if (*why != '\0') {
        fprintf(file, "<div class=\"explanation %s\">\n", ag_verdict_name(result->verdict));
        html_put_element(file, "p", "", why);
        fputs("</div>\n", file);
    }
    if (result->verdict != AG_PASS)
        html_put_element(file, "p", result->verdict == AG_FAIL ? "Worst:" : "Undecided:", worst.text);
    html_put_element(file, "p", "First wrong op:", op.text);
    for (int cause = 0; cause < AG_CAUSES; cause++)
        if (ag_report_has_cause(check, result, (ag_cause)cause))
            html_put_element(file, "p", "What to do:", ag_report_advice((ag_cause)cause));
}

static void html_put_input(FILE *file, const ag_check *check, int input, int number)
{
    figure f = { .file = file, .check = check, .in = &check->input[input], .number = number };
    ag_phrase name = { 0 };
    ag_phrase_put(&name, "input %d%s", input, f.in->x.name == NULL ? "" : " ");
    ag_phrase_name(&name, f.in->x.name, 60);
    ag_phrase_put(&name, " %s", ag_dims_text(check->ctx, f.in->x.ndim, f.in->x.shape));
    fputs("<h2>", file);
    html_put_text(file, name.text);
    fputs(" ", file);
    html_put_verdict(file, ag_verdict_name(f.in->found.verdict));
    fputs("</h2>\n", file);
    if (f.in->numeric == NULL || f.in->analytic == NULL) {
        html_put_element(file, "p", "", "Compared along random directions: there is no numeric gradient to draw.");
        return;
    }
    html_put_figure(&f);
    if (!ag_view_is_cropped(&f.view))
        return;
    ag_phrase part = { 0 };
    const ag_span *span[] = { &f.view.entry, &f.view.row, &f.view.col };
    static const char *const what[] = { "matrices", "rows", "columns" };
    for (int i = 0; i < 3; i++)
        if (span[i]->count < span[i]->extent)
            ag_phrase_put(&part, "%s %s %" PRId64 " to %" PRId64 " of %" PRId64, part.length == 0 ? "Shown:" : ",",
                          what[i], span[i]->first, span[i]->first + span[i]->count - 1, span[i]->extent);
    html_put_element(file, "p", "", part.text);
}

/* Failed inputs, then inconclusive ones, then the others, up to MOST_FIGURES. */
static void html_put_figures(FILE *file, const ag_check *check)
{
    static const ag_verdict order[] = { AG_FAIL, AG_INCONCLUSIVE, AG_PASS };
    int drawn = 0, left = 0;
    for (int v = 0; v < 3; v++)
        for (int i = 0; i < check->input_count; i++) {
            const ag_check_input *in = &check->input[i];
            if (!in->checked || in->numel == 0 || in->found.verdict != order[v])
                continue;
            if (drawn == 0)
                fputs(legend, file);
            if (drawn < MOST_FIGURES)
                html_put_input(file, check, i, drawn++);
            else
                left++;
        }
    if (left > 0)
        fprintf(file, "<p>%d more input%s not drawn.</p>\n", left, left == 1 ? " is" : "s are");
}

void ag_report_html(FILE *file, const ag_check *check, const ag_gradcheck_result *result)
{
    fputs("<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\">\n<head>\n"
          "<meta charset=\"utf-8\"/>\n<title>gradcheck ", file);
    html_put_text(file, check->name);
    fprintf(file, ": %s</title>\n<style>%s</style>\n</head>\n<body>\n", ag_verdict_name(result->verdict), page_style);
    html_put_words(file, check, result);
    if (check->input_count > 0)
        html_put_table(file, check);
    html_put_figures(file, check);
    fputs("</body>\n</html>\n", file);
}
