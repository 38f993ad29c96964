/* SPDX-License-Identifier: MIT
 *
 * json.c - a strict pull parser and a writer for the JSON in files, by RFC 8259.
 */
#include "tensor/files/files.h"
#include "tensor/files/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- UTF-8 ---- */

int ag_utf8_size(const char *text, size_t length)
{
    const unsigned char *s = (const unsigned char *)text;
    if (length == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    int size = s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (size == 0 || length < (size_t)size)
        return 0;
    /* The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF. */
    unsigned low = s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf;
    if (s[1] < low || s[1] > high)
        return 0;
    for (int i = 2; i < size; i++)
        if (s[i] < 0x80 || s[i] > 0xbf)
            return 0;
    return size;
}

const char *ag_shown_text(char buffer[AG_SHOWN_BYTES], const char *text)
{
    size_t length = strlen(text), at = 0, end = 0;
    while (at < length && end < AG_SHOWN_BYTES - 8) {
        int size = ag_utf8_size(text + at, length - at);
        unsigned char c = (unsigned char)text[at];
        bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && (unsigned char)text[at + 1] < 0xa0);
        if (size == 0 || control)
            buffer[end++] = '?';
        else
            memcpy(buffer + end, text + at, (size_t)size);
        end += size == 0 || control ? 0 : (size_t)size;
        at += size == 0 ? 1 : (size_t)size;
    }
    strcpy(buffer + end, at < length ? "..." : "");
    return buffer;
}

/* Writes the code point and returns the end. */
static char *json_put_utf8(char *out, uint32_t code)
{
    if (code < 0x80) {
        *out++ = (char)code;
    } else if (code < 0x800) {
        *out++ = (char)(0xc0 | code >> 6);
        *out++ = (char)(0x80 | (code & 63));
    } else if (code < 0x10000) {
        *out++ = (char)(0xe0 | code >> 12);
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    } else {
        *out++ = (char)(0xf0 | code >> 18);
        *out++ = (char)(0x80 | (code >> 12 & 63));
        *out++ = (char)(0x80 | (code >> 6 & 63));
        *out++ = (char)(0x80 | (code & 63));
    }
    return out;
}

/* ---- Reading ---- */

ag_json ag_json_of(char *text, size_t length)
{
    return (ag_json){ .text = text, .length = length };
}

static bool json_fail(ag_json *json, const char *error)
{
    if (json->error == NULL)
        json->error = error;
    return false;
}

/* Skips white space; the character there, or -1 at the end and after an error. */
int ag_json_peek(ag_json *json)
{
    if (json->error != NULL)
        return -1;
    while (json->at < json->length && strchr(" \t\n\r", json->text[json->at]) != NULL && json->text[json->at] != '\0')
        json->at++;
    return json->at < json->length ? (unsigned char)json->text[json->at] : -1;
}

bool ag_json_begin(ag_json *json, char open)
{
    if (ag_json_peek(json) != open)
        return json_fail(json, open == '{' ? "expected an object" : "expected an array");
    json->at++;
    json->first = true;
    return true;
}

bool ag_json_next(ag_json *json, char close)
{
    bool first = json->first;
    json->first = false;
    int c = ag_json_peek(json);
    if (c == close) {
        json->at++;
        return false;
    }
    if (first)
        return c >= 0 || json_fail(json, "the text ends inside an object or array");
    if (c != ',')
        return json_fail(json, close == '}' ? "expected ',' or '}'" : "expected ',' or ']'");
    json->at++;
    return true;
}

char *ag_json_key(ag_json *json)
{
    char *key = ag_json_string(json);
    if (key == NULL)
        return NULL;
    if (ag_json_peek(json) != ':') {
        json_fail(json, "expected ':'");
        return NULL;
    }
    json->at++;
    return key;
}

/* Four hexadecimal digits as a number, or -1. */
static int32_t json_hex4(ag_json *json)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    int32_t value = 0;
    for (int i = 0; i < 4; i++, json->at++) {
        char c = json->at < json->length ? json->text[json->at] : '\0';
        const char *digit = c == '\0' ? NULL : strchr(digits, c);
        if (digit == NULL) {
            json_fail(json, "expected four hexadecimal digits after \\u");
            return -1;
        }
        value = value * 16 + (int32_t)((digit - digits) % 16);
    }
    return value;
}

/* The code point of a \u escape, or of a surrogate pair of two; -1 after an error. */
static int32_t json_unicode_escape(ag_json *json)
{
    int32_t code = json_hex4(json);
    if (code == 0)
        json_fail(json, "a string that contains U+0000");
    if (code >= 0xdc00 && code <= 0xdfff)
        json_fail(json, "the second half of a surrogate pair without the first");
    if (code >= 0xd800 && code <= 0xdbff) {
        if (json->length - json->at < 2 || memcmp(json->text + json->at, "\\u", 2) != 0) {
            json_fail(json, "the first half of a surrogate pair without the second");
            return -1;
        }
        json->at += 2;
        int32_t low = json_hex4(json);
        if (low < 0xdc00 || low > 0xdfff)
            json_fail(json, "the first half of a surrogate pair without the second");
        code = 0x10000 + (code - 0xd800) * 0x400 + (low - 0xdc00);
    }
    return json->error == NULL ? code : -1;
}

/* Decodes the escape after a backslash to `out`; returns the end of its bytes, NULL after an error. */
static char *json_escape(ag_json *json, char *out)
{
    static const char marks[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char c = json->at < json->length ? json->text[json->at] : '\0';
    if (c == 'u') {
        json->at++;
        int32_t code = json_unicode_escape(json);
        return code < 0 ? NULL : json_put_utf8(out, (uint32_t)code);
    }
    const char *mark = c == '\0' ? NULL : strchr(marks, c);
    if (mark == NULL) {
        json_fail(json, "an unknown escape");
        return NULL;
    }
    json->at++;
    *out++ = meanings[mark - marks];
    return out;
}

char *ag_json_string(ag_json *json)
{
    if (ag_json_peek(json) != '"') {
        json_fail(json, "expected a string");
        return NULL;
    }
    char *string = json->text + ++json->at, *out = string;
    while (json->at < json->length) {
        const char *in = json->text + json->at;
        if (*in == '"') {
            json->at++;
            *out = '\0'; /* at the closing quote or before it */
            return string;
        }
        if (*in == '\\') {
            json->at++;
            out = json_escape(json, out);
            if (out == NULL)
                return NULL;
            continue;
        }
        int size = ag_utf8_size(in, json->length - json->at);
        if (size == 0 || (unsigned char)*in < 0x20) {
            json_fail(json, size == 0 ? "malformed UTF-8" : "a control character in a string");
            return NULL;
        }
        memmove(out, in, (size_t)size);
        out += size;
        json->at += (size_t)size;
    }
    json_fail(json, "the text ends inside a string");
    return NULL;
}

bool ag_json_whole(ag_json *json, int64_t *value)
{
    int c = ag_json_peek(json);
    if (c < '0' || c > '9')
        return json_fail(json, c == '-' ? "a negative number" : "expected a whole number");
    size_t start = json->at;
    int64_t whole = 0;
    for (; json->at < json->length && json->text[json->at] >= '0' && json->text[json->at] <= '9'; json->at++) {
        int digit = json->text[json->at] - '0';
        if (whole > (INT64_MAX - digit) / 10)
            return json_fail(json, "a number above 9223372036854775807");
        whole = whole * 10 + digit;
    }
    if (c == '0' && json->at > start + 1)
        return json_fail(json, "a number that begins with 0");
    if (json->at < json->length && strchr(".eE", json->text[json->at]) != NULL && json->text[json->at] != '\0')
        return json_fail(json, "a number with a fraction or an exponent");
    *value = whole;
    return true;
}

static bool json_at_digit(const ag_json *json)
{
    return json->at < json->length && json->text[json->at] >= '0' && json->text[json->at] <= '9';
}

/* If the next character is one of the marks, skips it and returns true; else false. */
static bool json_pass(ag_json *json, const char *marks)
{
    bool is = json->at < json->length && json->text[json->at] != '\0' && strchr(marks, json->text[json->at]) != NULL;
    json->at += is;
    return is;
}

/* Skips one or more digits. */
static void json_pass_digits(ag_json *json)
{
    if (!json_at_digit(json))
        json_fail(json, "expected a number");
    while (json_at_digit(json))
        json->at++;
}

bool ag_json_real(ag_json *json, double *value)
{
    enum { MOST = 1000 }; /* characters, as ag_strtod */
    if (ag_json_peek(json) < 0)
        return json_fail(json, "expected a number");
    size_t start = json->at, first = start + json_pass(json, "-");
    json_pass_digits(json);
    if (json->at > first + 1 && json->text[first] == '0')
        return json_fail(json, "a number that begins with 0");
    if (json_pass(json, "."))
        json_pass_digits(json);
    if (json_pass(json, "eE")) {
        json_pass(json, "+-");
        json_pass_digits(json);
    }
    char number[MOST + 1];
    size_t length = json->at - start;
    if (json->error == NULL && length > MOST)
        json_fail(json, "a number of more than 1000 characters");
    if (json->error != NULL)
        return false;
    memcpy(number, json->text + start, length);
    number[length] = '\0';
    *value = ag_strtod(number, NULL);
    return isfinite(*value) || json_fail(json, "a number too large for a double");
}

static bool json_pass_word(ag_json *json, const char *word)
{
    size_t length = strlen(word);
    if (ag_json_peek(json) < 0 || json->length - json->at < length || memcmp(json->text + json->at, word, length) != 0)
        return false;
    json->at += length;
    return true;
}

bool ag_json_null(ag_json *json)
{
    return json_pass_word(json, "null");
}

bool ag_json_bool(ag_json *json, bool *value)
{
    *value = json_pass_word(json, "true");
    return *value || json_pass_word(json, "false") || json_fail(json, "expected true or false");
}

bool ag_json_skip(ag_json *json)
{
    enum { DEEPEST = 64 };
    char close[DEEPEST];
    int depth = 0;
    do {
        if (depth > 0 && !ag_json_next(json, close[depth - 1])) {
            depth--;
            continue;
        }
        if (depth > 0 && close[depth - 1] == '}')
            ag_json_key(json);
        int c = ag_json_peek(json);
        double number;
        if (c == '"') {
            ag_json_string(json);
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            ag_json_real(json, &number);
        } else if (c != '{' && c != '[') {
            if (!json_pass_word(json, "null") && !json_pass_word(json, "true") && !json_pass_word(json, "false"))
                json_fail(json, "expected a value");
        } else if (depth == DEEPEST) {
            json_fail(json, "objects and arrays nested deeper than 64");
        } else {
            ag_json_begin(json, (char)c);
            close[depth++] = c == '{' ? '}' : ']';
        }
    } while (depth > 0 && json->error == NULL);
    return json->error == NULL;
}

bool ag_json_end(ag_json *json)
{
    if (ag_json_peek(json) >= 0)
        return json_fail(json, "more text after the end");
    return json->error == NULL;
}

/* ---- Writing ---- */

static void json_put_bytes(ag_json_out *out, const char *bytes, size_t size)
{
    if (out->text != NULL && out->length <= out->capacity && size <= out->capacity - out->length)
        memcpy(out->text + out->length, bytes, size);
    out->length += size;
}

void ag_json_put(ag_json_out *out, const char *text)
{
    json_put_bytes(out, text, strlen(text));
}

void ag_json_put_string(ag_json_out *out, const char *string)
{
    ag_json_put(out, "\"");
    for (; *string != '\0'; string++) {
        char escaped[8];
        if (*string == '"' || *string == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", *string);
        else if ((unsigned char)*string < 0x20)
            snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned)*string);
        else
            snprintf(escaped, sizeof escaped, "%c", *string);
        ag_json_put(out, escaped);
    }
    ag_json_put(out, "\"");
}

void ag_json_put_whole(ag_json_out *out, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRId64, value);
    ag_json_put(out, digits);
}
