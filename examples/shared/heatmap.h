/* SPDX-License-Identifier: MIT
 *
 * heatmap.h - matrices as rows of heat maps: in the terminal and as an SVG file. Needs nothing but C and a terminal.
 *
 * Colours are viridis, from `low` (dark) to `high` (bright); when `low` is -`high`, blue over white to orange, white
 * for values near 0. Exactly 0 and NaN are left blank, so that a masked weight differs from a small one. Labels are
 * UTF-8.
 */
#ifndef EXAMPLES_HEATMAP_H
#define EXAMPLES_HEATMAP_H

#include <stdbool.h>
#include <stdio.h>

typedef struct heatmap_panel {
    const char *title;
    int rows, cols;                           /* each >= 1 */
    const double *value;                      /* [rows, cols] */
    const char *const *row_label, *const *col_label; /* NULL: 0, 1, ... */
    const char *row_axis, *col_axis;          /* what rows and columns are */
} heatmap_panel;

typedef struct heatmap {
    const char *title;
    const char *bar_title; /* what the colours measure: "weight" */
    double low, high;      /* low < high */
    int panel_count;
    const heatmap_panel *panel; /* drawn side by side */
} heatmap;

/* Coloured cells when the file is a terminal that shows colours and NO_COLOR is not set, else numbers. Panels that do
 * not fit beside each other go below; a terminal too narrow for numbers gets cells without. False: not written. */
bool heatmap_print(FILE *file, const heatmap *map);

/* Writes a whole SVG document: white ground, colour bar, the exact value in each cell's tooltip. False with the
 * reason on stderr when it can not be written. */
bool heatmap_save_svg(const char *path, const heatmap *map);

/* Prints to stdout and writes the SVG to path, which is printed too. False with the reason on stderr. */
bool heatmap_show(const heatmap *map, const char *path);

#endif
