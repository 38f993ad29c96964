/* SPDX-License-Identifier: MIT
 *
 * print.c - a tensor as text, in NumPy's layout.
 *
 * The first pass over the shown elements finds one format for all of them; the second prints. A number gets the digits
 * that identify it in its dtype, at most `precision` after the point. Notation is scientific by NumPy's rule: the
 * largest magnitude is >= 1e8, or the smallest one that is not 0 is < 1e-4, or they differ by a factor of over 1000.
 */
#include "tensor/files/files.h"
#include "tensor/tensor_impl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_WIDTH = 75,
    ELIDE_ABOVE = 1000, /* elements */
    EDGE = 3,           /* elements shown at each end of an elided dim */
    PRECISION = 4,
    PRECISION_MAX = 17,
    NUMBER_SIZE = 64
};

typedef struct printer {
    FILE *file;
    const ag_tensor *t;
    int64_t index[AG_MAX_DIMS];
    bool elide;
    int precision;

    /* Results of the first pass. */
    bool scientific;
    double largest, smallest; /* magnitudes of the finite elements that are not 0 */
    int before, after;        /* columns before and after the point */
    int special;              /* columns of the widest of nan, inf, -inf */
    int exponent_digits;

    int column;
} printer;

static double current(const printer *p)
{
    double value = 0.0;
    ag_get(p->t, p->index, &value);
    return value;
}

/* ---- One number ------------------------------------------------------------------------------ */

static int print_max(int a, int b)
{
    return a > b ? a : b;
}

static void drop_trailing_zeros(char *text)
{
    size_t length = strlen(text);
    while (length > 0 && text[length - 1] == '0')
        text[--length] = '\0';
}

/* Writes "1.25" and returns the exponent of "1.25e+06". */
static int mantissa_text(double value, int after, char *text)
{
    ag_snprintf(text, NUMBER_SIZE, "%#.*e", after, value);
    char *e = strchr(text, 'e');
    *e = '\0';
    return atoi(e + 1);
}

/* "12.5", with a point always. */
static void fixed_text(const printer *p, double value, char *text)
{
    int digits = ag_digits(p->t->dtype, value), after = digits - 1 - mantissa_text(value, digits - 1, text);
    after = after < 0 ? 0 : after > p->precision ? p->precision : after;
    ag_snprintf(text, NUMBER_SIZE, "%#.*f", after, value);
    drop_trailing_zeros(text);
}

/* "nan", "inf", "-inf"; NULL for a finite number. */
static const char *special_text(double value)
{
    return isnan(value) ? "nan" : !isinf(value) ? NULL : value < 0.0 ? "-inf" : "inf";
}

/* ---- First pass ------------------------------------------------------------------------------ */

static void see_magnitude(printer *p)
{
    double magnitude = fabs(current(p));
    if (magnitude == 0.0 || !isfinite(magnitude))
        return;
    p->largest = p->largest == 0.0 || magnitude > p->largest ? magnitude : p->largest;
    p->smallest = p->smallest == 0.0 || magnitude < p->smallest ? magnitude : p->smallest;
}

static void see_width(printer *p)
{
    double value = current(p);
    char text[NUMBER_SIZE];
    if (p->t->dtype == AG_I32) {
        p->before = print_max(p->before, ag_snprintf(text, sizeof text, "%.0f", value));
    } else if (special_text(value) != NULL) {
        p->special = print_max(p->special, (int)strlen(special_text(value)));
    } else if (p->scientific) {
        int after = ag_digits(p->t->dtype, value) - 1;
        int exponent = abs(mantissa_text(value, after < p->precision ? after : p->precision, text));
        drop_trailing_zeros(text);
        p->before = print_max(p->before, (int)(strchr(text, '.') - text));
        p->after = print_max(p->after, (int)strlen(strchr(text, '.') + 1));
        p->exponent_digits = print_max(p->exponent_digits, exponent > 99 ? 3 : 2);
    } else {
        fixed_text(p, value, text);
        p->before = print_max(p->before, (int)(strchr(text, '.') - text));
        p->after = print_max(p->after, (int)strlen(strchr(text, '.') + 1));
    }
}

/* Calls visit at each element that is shown. */
static void each_shown(printer *p, int dim, void (*visit)(printer *p))
{
    if (dim == p->t->ndim) {
        visit(p);
        return;
    }
    int64_t extent = p->t->shape[dim];
    bool elide = p->elide && extent > 2 * EDGE;
    for (int64_t i = 0; i < extent; i++) {
        if (elide && i == EDGE)
            i = extent - EDGE;
        p->index[dim] = i;
        each_shown(p, dim + 1, visit);
    }
}

/* Columns of one element. */
static int width(const printer *p)
{
    if (p->t->dtype == AG_I32)
        return p->before;
    int finite = p->before > 0 ? p->before + 1 + p->after + (p->scientific ? 2 + p->exponent_digits : 0) : 0;
    return print_max(finite, p->special);
}

/* ---- Second pass ----------------------------------------------------------------------------- */

/* One element, aligned at the point; returns the number of blanks that belong behind it. */
static int print_element(printer *p)
{
    double value = current(p);
    char text[NUMBER_SIZE];
    if (p->t->dtype == AG_I32 || special_text(value) != NULL) {
        if (p->t->dtype == AG_I32)
            ag_snprintf(text, sizeof text, "%.0f", value);
        fprintf(p->file, "%*s", width(p), p->t->dtype == AG_I32 ? text : special_text(value));
        return 0;
    }
    if (p->scientific) {
        int exponent = mantissa_text(value, p->after, text);
        int columns = width(p) - 2 - p->exponent_digits;
        fprintf(p->file, "%*se%c%0*d", columns, text, exponent < 0 ? '-' : '+', p->exponent_digits, abs(exponent));
        return 0;
    }
    fixed_text(p, value, text);
    int after = (int)strlen(strchr(text, '.') + 1);
    fprintf(p->file, "%*s", width(p) - (p->after - after), text);
    return p->after - after;
}

static void new_line(printer *p, int indent)
{
    fprintf(p->file, "\n%*s", indent, "");
    p->column = indent;
}

/* The innermost dim: elements with blanks between them, over as many lines as it takes. */
static void print_row(printer *p)
{
    int dim = p->t->ndim - 1, indent = p->t->ndim, blanks = 0, limit = LINE_WIDTH - p->t->ndim;
    int64_t extent = p->t->shape[dim];
    bool elide = p->elide && extent > 2 * EDGE;
    p->column = indent;
    for (int64_t i = 0; i < extent; i++) {
        bool gap = elide && i == EDGE;
        int columns = gap ? 3 : width(p);
        if (i > 0 && p->column + 1 + columns > limit) {
            new_line(p, indent);
        } else if (i > 0) {
            fprintf(p->file, "%*s", blanks + 1, "");
            p->column++;
        }
        p->column += columns;
        if (gap) {
            fputs("...", p->file);
            i = extent - EDGE - 1;
            blanks = 0;
            continue;
        }
        p->index[dim] = i;
        blanks = print_element(p);
    }
    fprintf(p->file, "%*s", blanks, "");
}

static void print_dim(printer *p, int dim)
{
    int64_t extent = p->t->shape[dim];
    bool elide = p->elide && extent > 2 * EDGE;
    fputc('[', p->file);
    if (dim == p->t->ndim - 1) {
        print_row(p);
    } else {
        for (int64_t i = 0; i < extent; i++) {
            /* One line break per dim that ends here, so that matrices have a blank line between them. */
            for (int d = dim; i > 0 && d < p->t->ndim - 1; d++)
                fputc('\n', p->file);
            if (i > 0)
                fprintf(p->file, "%*s", dim + 1, "");
            if (elide && i == EDGE) {
                fputs("...", p->file);
                i = extent - EDGE - 1;
                continue;
            }
            p->index[dim] = i;
            print_dim(p, dim + 1);
        }
    }
    fputc(']', p->file);
}

/* A scalar stands alone: "1.0", not "1.". */
static void print_scalar(printer *p)
{
    print_element(p);
    if (p->t->dtype != AG_I32 && !p->scientific && p->after == 0 && p->special == 0)
        fputc('0', p->file);
}

ag_status ag_fprint(FILE *file, const ag_tensor *t, int precision)
{
    if (t == NULL || !ag_check_given(t->ctx, "fprint", "file", file))
        return AG_ERR_ARGUMENT;
    if (precision < 0 || precision > PRECISION_MAX) {
        ag_fail(t->ctx, AG_ERR_ARGUMENT, "fprint", "precision %d is not in 0 to %d", precision, PRECISION_MAX);
        return AG_ERR_ARGUMENT;
    }
    printer p = { .file = file, .t = t, .elide = t->numel > ELIDE_ABOVE };
    p.precision = precision > 0 ? precision : PRECISION;
    if (t->numel == 0) {
        fputs("[]", file);
    } else {
        each_shown(&p, 0, see_magnitude);
        p.scientific = p.largest >= 1e8 || (p.largest > 0.0 && (p.smallest < 1e-4 || p.largest / p.smallest > 1000.0));
        each_shown(&p, 0, see_width);
        if (t->ndim == 0)
            print_scalar(&p);
        else
            print_dim(&p, 0);
    }
    fprintf(file, "\n%s %s\n", ag_dtype_name(t->dtype), ag_shape_text(t));
    if (ferror(file)) {
        ag_fail(t->ctx, AG_ERR_FILE, "fprint", "the file can not be written");
        return AG_ERR_FILE;
    }
    return AG_OK;
}
