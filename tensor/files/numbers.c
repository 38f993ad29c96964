/* SPDX-License-Identifier: MIT
 *
 * numbers.c - printing and reading numbers with a point in every locale. The decimal point of C's functions is the
 * locale's: a comma, or several bytes. They round correctly, so each number goes through them, and its point is put
 * right before or after.
 */
#include "tensor/files/files.h"
#include "tensor/tensor_impl.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Printing -------------------------------------------------------------------------------- */

enum { NUMBER_DECIMALS = 150, NUMBER_BYTES = 512 }; /* DBL_MAX has 309 digits */

/* Where text goes, and what is still to be written. */
typedef struct number_out {
    char *text;
    size_t size;
    int length; /* of all text so far, also beyond `size`; -1 after an error, which ends the writing */
    va_list values;
} number_out;

/* A conversion such as "%-8.3f". */
typedef struct number_conversion {
    char flags[8];
    int width, precision; /* precision -1: none */
    char length, letter;  /* length 'q': ll */
} number_conversion;

static void number_put(number_out *out, const char *format, ...)
{
    if (out->length < 0)
        return;
    size_t used = (size_t)out->length, room = used < out->size ? out->size - used : 0;
    va_list values;
    va_start(values, format);
    int count = vsnprintf(room > 0 ? out->text + used : NULL, room, format, values);
    va_end(values);
    out->length = count < 0 || count > INT_MAX - out->length ? -1 : out->length + count;
}

static void number_put_real(number_out *out, const number_conversion *c, double value)
{
    char format[16], text[NUMBER_BYTES];
    bool finite = isfinite(value), left = strchr(c->flags, '-') != NULL;
    snprintf(format, sizeof format, "%%%s.*%c", c->flags, c->letter);
    snprintf(text, sizeof text, format, c->precision > NUMBER_DECIMALS ? NUMBER_DECIMALS : c->precision, value);
    if (finite)
        ag_set_point(text);
    else if (isnan(value))
        strcpy(text, "nan"); /* without the sign that some C libraries write */
    int sign = (int)strspn(text, "+- "), missing = c->width - (int)strlen(text);
    if (missing > 0 && finite && !left && strchr(c->flags, '0') != NULL)
        number_put(out, "%.*s%0*d%s", sign, text, missing, 0, text + sign);
    else
        number_put(out, left ? "%-*s" : "%*s", c->width, text);
}

static intmax_t number_signed(number_out *out, char length)
{
    switch (length) {
    case 'l': return va_arg(out->values, long);
    case 'q': return va_arg(out->values, long long);
    case 'j': return va_arg(out->values, intmax_t);
    case 'z':
    case 't': return va_arg(out->values, ptrdiff_t);
    default: return va_arg(out->values, int);
    }
}

static uintmax_t number_unsigned(number_out *out, char length)
{
    switch (length) {
    case 'l': return va_arg(out->values, unsigned long);
    case 'q': return va_arg(out->values, unsigned long long);
    case 'j': return va_arg(out->values, uintmax_t);
    case 'z':
    case 't': return va_arg(out->values, size_t);
    default: return va_arg(out->values, unsigned);
    }
}

/* A precision of -1 is the same as none. */
static void number_put_value(number_out *out, const number_conversion *c)
{
    char format[24];
    const char *length = strchr("diuoxX", c->letter) != NULL ? "j" : "";
    snprintf(format, sizeof format, "%%%s*.*%s%c", c->flags, length, c->letter);
    switch (c->letter) {
    case 'd':
    case 'i': number_put(out, format, c->width, c->precision, number_signed(out, c->length)); return;
    case 'u':
    case 'o':
    case 'x':
    case 'X': number_put(out, format, c->width, c->precision, number_unsigned(out, c->length)); return;
    case 'c': number_put(out, format, c->width, c->precision, va_arg(out->values, int)); return;
    case 's': number_put(out, format, c->width, c->precision, va_arg(out->values, const char *)); return;
    case 'p': number_put(out, format, c->width, c->precision, va_arg(out->values, void *)); return;
    case '%': number_put(out, "%%"); return;
    default:
        if (c->letter != '\0' && strchr("eEfFgG", c->letter) != NULL)
            number_put_real(out, c, va_arg(out->values, double));
        else
            out->length = -1;
    }
}

/* A width or a precision: digits, or * for the next argument. */
static int number_field(number_out *out, const char **format)
{
    if (**format == '*') {
        ++*format;
        return va_arg(out->values, int);
    }
    char *end;
    long field = strtol(*format, &end, 10);
    *format = end;
    return (int)field;
}

static void number_format(number_out *out, const char *format)
{
    number_put(out, "%s", ""); /* ends text[] also where the format is empty */
    while (out->length >= 0 && *format != '\0') {
        size_t plain = strcspn(format, "%");
        number_put(out, "%.*s", (int)plain, format);
        format += plain;
        if (*format == '\0')
            break;
        number_conversion c = { .precision = -1 };
        size_t flags = strspn(++format, "-+ #0");
        memcpy(c.flags, format, flags < sizeof c.flags ? flags : sizeof c.flags - 1);
        format += flags;
        c.width = number_field(out, &format);
        if (*format == '.') {
            format++;
            c.precision = number_field(out, &format);
        }
        size_t length = strspn(format, "ljzt");
        c.length = length == 2 ? 'q' : length == 1 ? *format : '\0';
        format += length;
        c.letter = *format;
        number_put_value(out, &c);
        format++;
    }
}

int ag_vsnprintf(char *text, size_t size, const char *format, va_list values)
{
    number_out out = { .text = text, .size = size };
    va_copy(out.values, values);
    number_format(&out, format);
    va_end(out.values);
    return out.length;
}

int ag_snprintf(char *text, size_t size, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = ag_vsnprintf(text, size, format, values);
    va_end(values);
    return length;
}

static int numbers_vfprintf(FILE *file, const char *format, va_list values)
{
    char few[1000], *text = few;
    int length = ag_vsnprintf(few, sizeof few, format, values);
    if (length >= (int)sizeof few) {
        text = malloc((size_t)length + 1);
        length = text == NULL ? -1 : ag_vsnprintf(text, (size_t)length + 1, format, values);
    }
    if (length > 0 && fwrite(text, 1, (size_t)length, file) != (size_t)length)
        length = -1;
    if (text != few)
        free(text);
    return length;
}

int ag_fprintf(FILE *file, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = numbers_vfprintf(file, format, values);
    va_end(values);
    return length;
}

int ag_printf(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    int length = numbers_vfprintf(stdout, format, values);
    va_end(values);
    return length;
}

/* ---- Reading --------------------------------------------------------------------------------- */

int ag_digits(ag_dtype dtype, double value)
{
    char text[32];
    int most = dtype == AG_F32 ? 9 : 17, digits = 1;
    for (; digits < most; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        double back = strtod(text, NULL); /* in the same locale */
        if (back == value || (dtype == AG_F32 && (float)back == (float)value))
            break;
    }
    return digits;
}

enum { NUMBERS_MOST = 1000 }; /* characters of a number that is read */

double ag_strtod(const char *text, char **end)
{
    static const char digits[] = "0123456789";
    const char *at = text + (*text == '-' || *text == '+');
    if (*at != '\0' && strchr("iInN", *at) != NULL) /* inf, nan */
        return strtod(text, end);
    size_t whole = strspn(at, digits), fraction = at[whole] == '.' ? strspn(at + whole + 1, digits) : 0;
    const char *point = at + whole, *stop = point + (*point == '.' && whole + fraction > 0) + fraction;
    if (*stop == 'e' || *stop == 'E') {
        size_t sign = stop[1] == '-' || stop[1] == '+', exponent = strspn(stop + 1 + sign, digits);
        stop += exponent > 0 ? 1 + sign + exponent : 0;
    }
    if (whole + fraction == 0 || stop - text > NUMBERS_MOST)
        stop = text;
    if (end != NULL)
        *end = (char *)stop; /* as strtod: the caller's text may be const */
    if (stop == text)
        return 0;
    char half[24], local[NUMBERS_MOST + sizeof half]; /* "0.5" and the number, as this locale writes them */
    bool has_point = *point == '.' && stop > point;
    snprintf(half, sizeof half, "%.1f", 0.5);
    snprintf(local, sizeof local, "%.*s%.*s%.*s", (int)(point - text), text, has_point ? (int)strlen(half) - 2 : 0,
             half + 1, (int)(stop - point) - has_point, point + has_point);
    return strtod(local, NULL);
}
