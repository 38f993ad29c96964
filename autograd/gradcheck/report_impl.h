/* SPDX-License-Identifier: MIT
 *
 * report_impl.h - the parts that the three forms of the gradient checker's report share (private header).
 *
 * report.c has the shared words and the entry; report_text.c, report_json.c and report_html.c write one form each. All
 * read the ag_check that gradcheck.c has finished and change nothing.
 */
#ifndef AG_REPORT_IMPL_H
#define AG_REPORT_IMPL_H

#include "autograd/gradcheck/gradcheck_impl.h"

enum { AG_NUMBER = 40 }; /* bytes of a number as text */

/* ---- Phrases: text appended to a fixed buffer; the rest is cut off ---- */

enum { AG_PHRASE = 1600 };

typedef struct ag_phrase {
    size_t length;
    char text[AG_PHRASE]; /* valid UTF-8 without control characters */
} ag_phrase;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void ag_phrase_put(ag_phrase *p, const char *format, ...); /* not for names */

/* Appends text of the caller's in at most `columns` characters: ".." replaces the middle of a longer one, '?' a
 * character that a terminal obeys or can not show. NULL is "". */
void ag_phrase_name(ag_phrase *p, const char *name, int columns);

/* Writes the first character of the caller's text, safe to show, to shown[], with a NUL. Returns its bytes in `text`; 0
 * at the end. */
int ag_shown_character(char shown[8], const char *text);
int ag_shown_columns(const char *text); /* characters */

/* ---- The result in words, without a full stop ---- */

bool ag_report_is_error(const ag_check *check); /* the context has an error: nothing else is reported */
void ag_report_summary(ag_phrase *p, const ag_check *check, const ag_gradcheck_result *result);
/* The worst derivative: its place and both values; "" when none was compared. */
void ag_report_worst(ag_phrase *p, const ag_check *check, const ag_gradcheck_result *result);
/* The first wrong op; "" when none was found, or when the explanation names it. */
void ag_report_op(ag_phrase *p, const ag_gradcheck_result *result);
bool ag_report_has_cause(const ag_check *check, const ag_gradcheck_result *result, ag_cause cause);
const char *ag_report_advice(ag_cause cause); /* how to make an inconclusive input conclusive; NULL: it was */

/* The table of inputs: a column's heading, and its cell for one input, whose name takes at most name_columns. */
typedef enum ag_report_column {
    AG_COLUMN_NUMBER,
    AG_COLUMN_NAME,
    AG_COLUMN_SHAPE,
    AG_COLUMN_VERDICT,
    AG_COLUMN_ERROR,
    AG_COLUMN_CAUSE,
    AG_REPORT_COLUMNS
} ag_report_column;
const char *ag_report_heading(ag_report_column column);
void ag_report_cell(ag_phrase *p, const ag_check *check, int input, ag_report_column column, int name_columns);
const char *ag_verdict_text(const ag_check_input *in); /* its name, or "not checked" */

/* ---- The part of a gradient that is shown ---- */

typedef struct ag_span {
    int64_t first, count, extent;
} ag_span;

/* A gradient as matrices over its last two dims, one for each entry of the other dims. */
typedef struct ag_gradient_view {
    ag_span entry, row, col;
} ag_gradient_view;

/* The largest number of entries, of rows and of columns shown around the worst element. A 1-d gradient is one column
 * (upright) or one row. */
ag_gradient_view ag_gradient_view_of(const ag_check_input *in, int64_t entries, int64_t rows, int64_t cols,
                                     bool upright);
bool ag_view_is_cropped(const ag_gradient_view *view);
int64_t ag_view_at(const ag_gradient_view *view, int64_t entry, int64_t row, int64_t col); /* flat, of the whole */
const char *ag_index_text(const ag_check *check, int ndim, const int64_t *shape, int64_t flat); /* "[1,2]" */

/* ---- The three forms ---- */

void ag_report_text(FILE *file, const ag_check *check, const ag_gradcheck_result *result);
void ag_report_json(FILE *file, const ag_check *check, const ag_gradcheck_result *result);
void ag_report_html(FILE *file, const ag_check *check, const ag_gradcheck_result *result);

#endif
