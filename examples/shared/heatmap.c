/* SPDX-License-Identifier: MIT
 *
 * heatmap.c - see heatmap.h. Labels first, then colours, the terminal, and SVG.
 */
#include "examples/shared/heatmap.h"
#include "attngrad.h"
#include "examples/shared/system.h"
#include "examples/shared/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Labels ---------------------------------------------------------------------------------- */

typedef struct label_text {
    char number[16];
    const char *text;
} label_text;

static const char *label_at(label_text *space, const char *const *labels, int i)
{
    if (labels != NULL)
        return labels[i];
    snprintf(space->number, sizeof space->number, "%d", i);
    return space->number;
}

static int longest_label(const char *const *labels, int count)
{
    label_text space;
    int longest = 0;
    for (int i = 0; i < count; i++) {
        int n = utf8_characters(label_at(&space, labels, i));
        longest = n > longest ? n : longest;
    }
    return longest;
}

/* ---- Colours --------------------------------------------------------------------------------- */

typedef struct rgb {
    int r, g, b;
} rgb;

/* Nine points of viridis at equal distances (Smith, van der Walt, Firing: matplotlib's map, CC0). Straight lines
 * between them stay within a few steps of the 256-entry table. */
static const rgb viridis[] = {
    { 0x44, 0x01, 0x54 }, { 0x47, 0x2d, 0x7b }, { 0x3b, 0x52, 0x8b }, { 0x2c, 0x72, 0x8e }, { 0x21, 0x90, 0x8c },
    { 0x27, 0xad, 0x81 }, { 0x5d, 0xc8, 0x63 }, { 0xaa, 0xdc, 0x32 }, { 0xfd, 0xe7, 0x25 },
};
/* The diverging scale: blue, white, orange, which colour-blind readers tell apart. */
static const rgb diverging[] = {
    { 0x1f, 0x4e, 0x9e }, { 0x4f, 0x7f, 0xc4 }, { 0x85, 0xac, 0xde }, { 0xc0, 0xd6, 0xf0 }, { 0xff, 0xff, 0xff },
    { 0xfb, 0xd9, 0xb5 }, { 0xf2, 0xad, 0x6c }, { 0xd9, 0x7d, 0x2c }, { 0xa8, 0x4c, 0x08 },
};
enum { COLOURS_LAST = (int)(sizeof viridis / sizeof viridis[0]) - 1 };

static bool is_diverging(const heatmap *map)
{
    return map->low == -map->high;
}

/* (value - low) / (high - low), limited to [0, 1]. */
static double position(const heatmap *map, double value)
{
    double t = (value - map->low) / (map->high - map->low);
    return t < 0 ? 0 : t > 1 ? 1 : t;
}

static int between(int a, int b, double t)
{
    return (int)lround((1 - t) * a + t * b);
}

static rgb colour_at(const heatmap *map, double t)
{
    const rgb *colours = is_diverging(map) ? diverging : viridis;
    int i = (int)(t * COLOURS_LAST);
    if (i >= COLOURS_LAST)
        return colours[COLOURS_LAST];
    double f = t * COLOURS_LAST - i;
    rgb a = colours[i], b = colours[i + 1];
    return (rgb){ between(a.r, b.r, f), between(a.g, b.g, f), between(a.b, b.b, f) };
}

/* Whether black text reads better than white on this colour. */
static bool is_light(rgb c)
{
    return 0.299 * c.r + 0.587 * c.g + 0.114 * c.b > 128;
}

static bool is_blank(double value)
{
    return value == 0 || isnan(value);
}

/* ---- Terminal -------------------------------------------------------------------------------- */

typedef enum palette { PLAIN, COLOURS_256, COLOURS_ALL } palette;

enum {
    GAP = 2,           /* columns between two panels */
    NARROW = 2,        /* a cell without a number: about as wide as high */
    WIDEST_LINE = 100, /* on any terminal */
    PANELS_MAX = 32
};

typedef struct terminal {
    FILE *file;
    palette palette;
    int columns;
    int cell; /* columns of a cell */
} terminal;

static bool variable_is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0';
}

static palette palette_of(FILE *file)
{
    const char *term = getenv("TERM"), *depth = getenv("COLORTERM");
    if (!system_is_terminal(file) || variable_is_set("NO_COLOR") || term == NULL || strcmp(term, "dumb") == 0)
        return PLAIN;
    return depth != NULL && (strcmp(depth, "truecolor") == 0 || strcmp(depth, "24bit") == 0) ? COLOURS_ALL
                                                                                              : COLOURS_256;
}

static int columns_of(FILE *file)
{
    const int wide = system_columns(file), columns = wide > 0 ? wide : 80;
    return columns < WIDEST_LINE ? columns : WIDEST_LINE;
}

/* Viridis in the 256 colours that most terminals have: picked by eye, each lighter than the one before. */
static const int viridis_256[] = { 53, 54, 55, 25, 30, 36, 71, 77, 113, 148, 184, 226 };
static const int diverging_256[] = { 25, 26, 68, 110, 153, 231, 231, 223, 216, 215, 172, 130 };
enum { COLOURS_256_LAST = (int)(sizeof viridis_256 / sizeof viridis_256[0]) - 1 };

static void begin_colour(const terminal *term, const heatmap *map, double t)
{
    rgb c = colour_at(map, t);
    const char *text = is_light(c) ? "30" : "97";
    if (term->palette == COLOURS_ALL)
        fprintf(term->file, "\033[%s;48;2;%d;%d;%dm", text, c.r, c.g, c.b);
    else
        fprintf(term->file, "\033[%s;48;5;%dm", text,
                (is_diverging(map) ? diverging_256 : viridis_256)[lround(t * COLOURS_256_LAST)]);
}

static void print_padded(FILE *file, const char *text, int width, bool right)
{
    int n = utf8_characters(text), pad = width > n ? width - n : 0;
    const char *end = utf8_skip(text, width);
    fprintf(file, "%*s%.*s%*s", right ? pad : 0, "", (int)(end - text), text, right ? 0 : pad, "");
}

static bool has_numbers(const terminal *term)
{
    return term->cell > NARROW;
}

/* One cell. Without colour and without room for a number it is one digit: the nearest tenth of the range. */
static void print_cell(const terminal *term, const heatmap *map, double value)
{
    char text[32];
    int room = term->cell;
    if (is_blank(value))
        snprintf(text, sizeof text, "%s", isnan(value) ? "nan" : ".");
    else if (has_numbers(term))
        ag_snprintf(text, sizeof text, "%.2f", value);
    else if (term->palette == PLAIN)
        snprintf(text, sizeof text, "%c", "0123456789*"[lround(10 * position(map, value))]);
    else
        text[0] = '\0';
    bool coloured = term->palette != PLAIN && !is_blank(value);
    if (coloured)
        begin_colour(term, map, position(map, value));
    /* Numbers end one column before the cell; a dot is where the decimal point would be. */
    int after = has_numbers(term) ? (value == 0 ? 3 : 1) : 0;
    fprintf(term->file, "%*s%*s", room - after, text, after, "");
    if (coloured)
        fputs("\033[0m", term->file);
}

static int label_width(const heatmap_panel *panel)
{
    return longest_label(panel->row_label, panel->rows) + 1;
}

static int panel_width(const heatmap_panel *panel, int cell)
{
    int width = label_width(panel) + panel->cols * cell;
    return width > utf8_characters(panel->title) ? width : utf8_characters(panel->title);
}

/* A cell that holds a number or the longest label, whichever is wider, but at the most 8. */
static int wide_cell(const heatmap *map)
{
    int cell = 1 + ag_snprintf(NULL, 0, "%.2f", map->low < 0 ? map->low : map->high);
    for (int i = 0; i < map->panel_count; i++) {
        int n = longest_label(map->panel[i].col_label, map->panel[i].cols) + 1;
        cell = n > cell ? n : cell;
    }
    return cell < 8 ? cell : 8;
}

static int total_width(const heatmap *map, int cell, bool widest_only)
{
    int total = -GAP, widest = 0;
    for (int i = 0; i < map->panel_count; i++) {
        int width = panel_width(&map->panel[i], cell);
        total += width + GAP;
        widest = width > widest ? width : widest;
    }
    return widest_only ? widest : total;
}

/* Without colours the numbers matter, so panels wrap rather than lose them. */
static int choose_cell(const heatmap *map, const terminal *term)
{
    int wide = wide_cell(map);
    if (total_width(map, wide, term->palette == PLAIN) <= term->columns)
        return wide;
    return total_width(map, NARROW, true) <= term->columns ? NARROW : 1;
}

/* One line of column labels: whole ones above wide cells, the line-th characters of them above narrow ones. */
static void print_column_labels(const terminal *term, const heatmap_panel *panel, int line, int lines)
{
    label_text space;
    fprintf(term->file, "%*s", label_width(panel), "");
    for (int c = 0; c < panel->cols; c++) {
        const char *label = label_at(&space, panel->col_label, c);
        if (has_numbers(term)) {
            int n = utf8_characters(label) < term->cell ? utf8_characters(label) : term->cell - 1;
            fprintf(term->file, "%*s", term->cell - 1 - n, "");
            print_padded(term->file, label, n, true);
            fputc(' ', term->file);
        } else {
            int at = line - (lines - utf8_characters(label)); /* labels stand on the cells */
            fprintf(term->file, "%*s", term->cell - 1, "");
            print_padded(term->file, at < 0 ? "" : utf8_skip(label, at), 1, true);
        }
    }
    fprintf(term->file, "%*s", panel_width(panel, term->cell) - label_width(panel) - panel->cols * term->cell, "");
}

static void print_row(const terminal *term, const heatmap *map, const heatmap_panel *panel, int row)
{
    label_text space;
    if (row >= panel->rows) {
        fprintf(term->file, "%*s", panel_width(panel, term->cell), "");
        return;
    }
    print_padded(term->file, label_at(&space, panel->row_label, row), label_width(panel) - 1, true);
    fputc(' ', term->file);
    for (int c = 0; c < panel->cols; c++)
        print_cell(term, map, panel->value[row * panel->cols + c]);
    fprintf(term->file, "%*s", panel_width(panel, term->cell) - label_width(panel) - panel->cols * term->cell, "");
}

/* Panels first .. end-1 beside each other. */
static void print_panels(const terminal *term, const heatmap *map, int first, int end)
{
    int rows = 0, lines = 1;
    for (int i = first; i < end; i++) {
        const heatmap_panel *panel = &map->panel[i];
        int longest = longest_label(panel->col_label, panel->cols);
        rows = panel->rows > rows ? panel->rows : rows;
        lines = !has_numbers(term) && longest > lines ? longest : lines;
        fprintf(term->file, "%*s", i == first ? 0 : GAP, "");
        print_padded(term->file, map->panel[i].title, panel_width(panel, term->cell), false);
    }
    fputc('\n', term->file);
    for (int line = 0; line < lines + rows; line++) {
        for (int i = first; i < end; i++) {
            fprintf(term->file, "%*s", i == first ? 0 : GAP, "");
            if (line < lines)
                print_column_labels(term, &map->panel[i], line, lines);
            else
                print_row(term, map, &map->panel[i], line - lines);
        }
        fputc('\n', term->file);
    }
}

static bool has_blank(const heatmap *map)
{
    for (int i = 0; i < map->panel_count; i++)
        for (int j = 0; j < map->panel[i].rows * map->panel[i].cols; j++)
            if (map->panel[i].value[j] == 0)
                return true;
    return false;
}

static void print_key(const terminal *term, const heatmap *map)
{
    enum { STEPS = 32 };
    if (term->palette != PLAIN) {
        ag_fprintf(term->file, "%s %g ", map->bar_title, map->low);
        for (int i = 0; i < STEPS; i++) {
            begin_colour(term, map, (double)i / (STEPS - 1));
            fputc(' ', term->file);
        }
        ag_fprintf(term->file, "\033[0m %g", map->high);
    } else if (has_numbers(term)) {
        fprintf(term->file, "%s as numbers", map->bar_title);
    } else {
        ag_fprintf(term->file, "%s in tenths from 0 = %g to * = %g", map->bar_title, map->low, map->high);
    }
    fprintf(term->file, "%s\n", has_blank(map) ? "; a dot is exactly 0" : "");
}

bool heatmap_print(FILE *file, const heatmap *map)
{
    terminal term = { file, palette_of(file), columns_of(file), 1 };
    term.cell = choose_cell(map, &term);
    fprintf(file, "%s\n", map->title);
    for (int first = 0, end; first < map->panel_count; first = end) {
        int used = panel_width(&map->panel[first], term.cell);
        for (end = first + 1; end < map->panel_count; end++) {
            used += GAP + panel_width(&map->panel[end], term.cell);
            if (used > term.columns)
                break;
        }
        fputc('\n', file);
        print_panels(&term, map, first, end);
    }
    fprintf(file, "\nrows: %s; columns: %s\n", map->panel[0].row_axis, map->panel[0].col_axis);
    print_key(&term, map);
    return !ferror(file);
}

/* ---- SVG ------------------------------------------------------------------------------------- */

/* All lengths are pixels. The width of text is estimated: SVG lays it out, in a font not known here. */
static const double margin = 24, panel_gap = 30, axis_height = 18, bar_width = 16, letter = 7.0;

typedef struct svg_layout {
    double cell;
    int every;          /* a label on every every-th cell, so that labels do not overlap */
    bool slanted;       /* column labels */
    double top;         /* y of the cells */
    double label_height;
    double cells_height;
    double width, height;
} svg_layout;

static void escape(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&': fputs("&amp;", file); break;
        case '<': fputs("&lt;", file); break;
        case '>': fputs("&gt;", file); break;
        case '"': fputs("&quot;", file); break;
        default:
            if ((unsigned char)*text >= ' ')
                fputc(*text, file);
        }
    }
}

static void svg_text(FILE *file, double x, double y, const char *class, const char *transform, const char *text)
{
    ag_fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\"%s>", x, y, class, transform);
    escape(file, text);
    fputs("</text>\n", file);
}

static double row_labels_width(const heatmap_panel *panel)
{
    return axis_height + letter * longest_label(panel->row_label, panel->rows) + 8;
}

/* The width from the left edge of the row labels to the rightmost element. */
static double svg_panel_width(const heatmap_panel *panel, const svg_layout *at)
{
    double cells = panel->cols * at->cell;
    double title = 8 * utf8_characters(panel->title);
    double last_label = cells - at->cell / 2 + letter * 0.75 * longest_label(panel->col_label, panel->cols);
    double right = cells > title ? cells : title;
    if (at->slanted && last_label > right)
        right = last_label;
    return row_labels_width(panel) + right;
}

static svg_layout lay_out(const heatmap *map)
{
    int largest = 1, rows = 1, longest = 1;
    for (int i = 0; i < map->panel_count; i++) {
        const heatmap_panel *panel = &map->panel[i];
        int n = longest_label(panel->col_label, panel->cols);
        longest = n > longest ? n : longest;
        rows = panel->rows > rows ? panel->rows : rows;
        largest = panel->rows > largest ? panel->rows : largest;
        largest = panel->cols > largest ? panel->cols : largest;
    }
    svg_layout at = { .cell = largest <= 8 ? 40 : largest <= 16 ? 28 : largest <= 32 ? 16 : 512.0 / largest };
    at.every = (int)ceil(15 / at.cell);
    at.slanted = letter * longest > at.cell * at.every - 4;
    at.label_height = at.slanted ? 0.75 * letter * longest + 14 : 20;
    at.top = margin + 30 + 22 + axis_height + at.label_height;
    at.cells_height = rows * at.cell > 120 ? rows * at.cell : 120;
    at.width = 2 * margin + panel_gap + bar_width + 40;
    for (int i = 0; i < map->panel_count; i++)
        at.width += svg_panel_width(&map->panel[i], &at) + (i > 0 ? panel_gap : 0);
    double title = 2 * margin + 9.5 * utf8_characters(map->title);
    at.width = title > at.width ? title : at.width;
    at.height = at.top + at.cells_height + (has_blank(map) ? 28 : 0) + margin;
    return at;
}

static void svg_cell(FILE *file, const heatmap *map, const heatmap_panel *panel, const svg_layout *at, double left,
                     int row, int col)
{
    label_text a, b;
    double value = panel->value[row * panel->cols + col];
    double x = left + col * at->cell, y = at->top + row * at->cell;
    rgb c = is_blank(value) ? (rgb){ 0xee, 0xee, 0xee } : colour_at(map, position(map, value));
    ag_fprintf(file, "<g><rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"#%02x%02x%02x\"/>", x, y,
               at->cell, at->cell, (unsigned)c.r, (unsigned)c.g, (unsigned)c.b);
    if (at->cell >= 36)
        ag_fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" class=\"value\" style=\"fill:%s\">%.*f</text>", x + at->cell / 2,
                   y + at->cell / 2 + 4,
                   is_blank(value) ? "#888"
                   : is_light(c)   ? "#000"
                                   : "#fff",
                   value == 0 ? 0 : 2, value == 0 ? 0 : value);
    fputs("<title>", file);
    escape(file, label_at(&a, panel->row_label, row));
    fputs(" / ", file);
    escape(file, label_at(&b, panel->col_label, col));
    ag_fprintf(file, ": %.9g</title></g>\n", value);
}

static void svg_panel(FILE *file, const heatmap *map, const heatmap_panel *panel, const svg_layout *at, double x)
{
    label_text space;
    char turn[80];
    double left = x + row_labels_width(panel), middle = at->top + panel->rows * at->cell / 2;
    svg_text(file, left, margin + 42, "panel", "", panel->title);
    svg_text(file, left, margin + 42 + axis_height, "axis", "", panel->col_axis);
    ag_snprintf(turn, sizeof turn, " text-anchor=\"middle\" transform=\"rotate(-90 %.1f %.1f)\"", x + 11, middle);
    svg_text(file, x + 11, middle, "axis", turn, panel->row_axis);
    for (int r = 0; r < panel->rows; r += at->every)
        svg_text(file, left - 6, at->top + (r + 0.5) * at->cell + 4, "label end", "",
                 label_at(&space, panel->row_label, r));
    for (int c = 0; c < panel->cols; c += at->every) {
        double cx = left + (c + 0.5) * at->cell, cy = at->top - 6;
        ag_snprintf(turn, sizeof turn, " transform=\"rotate(-45 %.1f %.1f)\"", cx + 3, cy);
        svg_text(file, at->slanted ? cx + 3 : cx, cy, at->slanted ? "label" : "label middle", at->slanted ? turn : "",
                 label_at(&space, panel->col_label, c));
    }
    for (int r = 0; r < panel->rows; r++)
        for (int c = 0; c < panel->cols; c++)
            svg_cell(file, map, panel, at, left, r, c);
}

static void svg_bar(FILE *file, const heatmap *map, const svg_layout *at, double x)
{
    enum { TICKS = 5 };
    char number[32];
    svg_text(file, x, at->top - 8, "axis", "", map->bar_title);
    ag_fprintf(file, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"url(#scale)\"/>\n", x, at->top,
               bar_width, at->cells_height);
    for (int i = 0; i < TICKS; i++) {
        double t = (double)i / (TICKS - 1), y = at->top + (1 - t) * at->cells_height;
        ag_fprintf(file, "<path d=\"M%.1f %.1fh5\" stroke=\"#444\"/>\n", x + bar_width, y);
        ag_snprintf(number, sizeof number, "%.2f", map->low + t * (map->high - map->low));
        svg_text(file, x + bar_width + 8, y + 4, "label", "", number);
    }
}

static void svg_head(FILE *file, const heatmap *map, const svg_layout *at)
{
    ag_fprintf(file,
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\">\n",
               at->width, at->height, at->width, at->height);
    fputs("<title>", file);
    escape(file, map->title);
    fputs("</title>\n<style>\n"
          "text { font: 12px Helvetica, Arial, sans-serif; fill: #222 }\n"
          ".main { font-size: 17px; font-weight: bold }\n"
          ".panel { font-size: 14px; font-weight: bold }\n"
          ".axis { fill: #666 }\n"
          ".end { text-anchor: end }\n"
          ".middle, .value { text-anchor: middle }\n"
          ".value { font-size: 11px }\n"
          "rect { shape-rendering: crispEdges }\n"
          "</style>\n"
          "<linearGradient id=\"scale\" x1=\"0\" y1=\"1\" x2=\"0\" y2=\"0\">\n",
          file);
    for (int i = 0; i <= COLOURS_LAST; i++) {
        const rgb c = colour_at(map, (double)i / COLOURS_LAST);
        ag_fprintf(file, "<stop offset=\"%.3f\" stop-color=\"#%02x%02x%02x\"/>\n", (double)i / COLOURS_LAST,
                   (unsigned)c.r, (unsigned)c.g, (unsigned)c.b);
    }
    fputs("</linearGradient>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n", file);
    svg_text(file, margin, margin + 12, "main", "", map->title);
}

static void svg_error(const char *path)
{
    fprintf(stderr, "can not write %s: %s\n", path, strerror(errno));
}

bool heatmap_save_svg(const char *path, const heatmap *map)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        svg_error(path);
        return false;
    }
    svg_layout at = lay_out(map);
    svg_head(file, map, &at);
    double x = margin;
    for (int i = 0; i < map->panel_count; i++) {
        svg_panel(file, map, &map->panel[i], &at, x);
        x += svg_panel_width(&map->panel[i], &at) + panel_gap;
    }
    svg_bar(file, map, &at, x);
    if (has_blank(map))
        svg_text(file, margin, at.top + at.cells_height + 24, "axis", "", "Grey cells are exactly 0.");
    fputs("</svg>\n", file);
    bool written = !ferror(file);
    written = fclose(file) == 0 && written;
    if (!written)
        svg_error(path);
    return written;
}

bool heatmap_show(const heatmap *map, const char *path)
{
    putchar('\n');
    if (!heatmap_print(stdout, map) || !heatmap_save_svg(path, map))
        return false;
    printf("The same as a picture: %s\n", path);
    return true;
}
