/* SPDX-License-Identifier: MIT
 *
 * numbers.c - printing and reading numbers with a point in every locale; tensor/number.c writes them.
 */
#include "tensor/files/files.h"

#include <stdlib.h>
#include <string.h>

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
