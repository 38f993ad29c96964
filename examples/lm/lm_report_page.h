/* SPDX-License-Identifier: MIT
 *
 * lm_report_page.h - the parts of report.html that are not about language models: text, style, charts.
 */
#ifndef EXAMPLES_LM_REPORT_PAGE_H
#define EXAMPLES_LM_REPORT_PAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Writes text of an element. Bytes that are not UTF-8, and control characters but tab and line feed, become U+FFFD. */
void page_text(FILE *file, const char *text, int64_t length);

void page_begin(FILE *file, const char *title); /* the body ends with the file */

/* A curve; in the style its colour is --c1, --c2, ... */
typedef struct page_curve {
    const char *name;
    const double *y; /* [count]; NaN: no point */
    int colour;
    bool level; /* one dashed line at y[0] */
} page_curve;

/* A chart of curves over x[count], ascending, with axes and a legend. */
void page_chart(FILE *file, const char *title, const double *x, int64_t count, const page_curve *curve, int curves);

#endif
