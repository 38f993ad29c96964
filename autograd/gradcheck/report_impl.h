/* SPDX-License-Identifier: MIT
 *
 * report_impl.h - what the three forms of the gradient checker's report share (private header).
 *
 * report.c has the words, which text and page give alike, and the entry; report_text.c, report_json.c and
 * report_html.c write one form each. All read the ag_check as gradcheck.c leaves it and change nothing.
 */
#ifndef AG_REPORT_IMPL_H
#define AG_REPORT_IMPL_H

#include "autograd/gradcheck/gradcheck_impl.h"

/* ---- Numbers: with a point in every locale, "nan", "inf" and "-inf" ---- */

enum { AG_NUMBER = 40 };

/* By a format for one double such as "%.9g", into text; returns text. */
const char *ag_number_text(char text[AG_NUMBER], const char *format, double value);

/* ---- Phrases: pieces of text put together in a fixed space; what does not fit is dropped ---- */

enum { AG_PHRASE = 1600 };

typedef struct ag_phrase {
    size_t length;
    char text[AG_PHRASE]; /* valid UTF-8 without control characters */
} ag_phrase;

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
void ag_phrase_put(ag_phrase *p, const char *format, ...); /* no names and no doubles */
void ag_phrase_number(ag_phrase *p, const char *format, double value);

/* Text of the caller's, in at most `columns` characters: the middle of a longer one gives way to "..". What a
 * terminal would obey or can not show becomes '?'. NULL is "". */
void ag_phrase_name(ag_phrase *p, const char *name, int columns);

/* The next character of the caller's text as it may be shown, ended with NUL; how many bytes it takes there, 0 at
 * the end. */
int ag_shown_character(char shown[8], const char *text);
int ag_shown_columns(const char *text); /* characters */

/* ---- What the result says, in words without a full stop ---- */

bool ag_report_is_error(const ag_check *check); /* the context has one: nothing else counts */
void ag_report_summary(ag_phrase *p, const ag_check *check, const ag_gradcheck_result *result);
/* Where the worst derivative is, and both its values; "" when none was compared. */
void ag_report_worst(ag_phrase *p, const ag_check *check, const ag_gradcheck_result *result);
/* The first wrong op; "" when none was found, or when the explanation names it. */
void ag_report_op(ag_phrase *p, const ag_gradcheck_result *result);
bool ag_report_has_cause(const ag_check *check, const ag_gradcheck_result *result, ag_cause cause);
const char *ag_report_advice(ag_cause cause); /* how to have an undecided input decided; NULL: it was decided */

/* The table of inputs: what stands in a column, at its head and for one input, whose name gets so many columns. */
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

/* A gradient as matrices: its last two dims, one for each entry of the dims before them. */
typedef struct ag_gradient_view {
    ag_span entry, row, col;
} ag_gradient_view;

/* At most so many entries, rows and columns, around the worst element. 1-d gradients are one column or one row. */
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
