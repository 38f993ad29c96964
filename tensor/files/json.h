/* SPDX-License-Identifier: MIT
 *
 * json.h - JSON of file headers and model configurations, read and written without allocation (private header).
 *
 * The reader is a pull parser over a buffer: the caller asks for the value that must come next, so that the caller's
 * own nesting bounds the depth and no file causes recursion. It accepts RFC 8259 and valid UTF-8 only. Strings are
 * decoded in place: they never grow. After the first error every function returns NULL or false.
 */
#ifndef AG_JSON_H
#define AG_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Reading ---- */

typedef struct ag_json {
    char *text;
    size_t length, at;
    bool first;        /* the innermost open object or array has had no item yet */
    const char *error; /* what is wrong at byte `at`; NULL while nothing is */
} ag_json;

/* `text` needs no NUL at its end; decoding overwrites it. */
ag_json ag_json_of(char *text, size_t length);

/* An object ('{') or an array ('['), and its items:
 *
 *     ag_json_begin(json, '{');
 *     while (ag_json_next(json, '}'))
 *         key = ag_json_key(json), then one value
 *
 * ag_json_next is false at the closing mark and after an error. */
bool ag_json_begin(ag_json *json, char open);
bool ag_json_next(ag_json *json, char close);
char *ag_json_key(ag_json *json);

/* A string, ended with NUL, valid as long as the text. One that contains U+0000 is an error. */
char *ag_json_string(ag_json *json);

/* A whole number from 0 to INT64_MAX. */
bool ag_json_whole(ag_json *json, int64_t *value);

/* Any number of at most 1000 characters, correctly rounded. A number too large for a double is an error. */
bool ag_json_real(ag_json *json, double *value);

/* true or false. */
bool ag_json_bool(ag_json *json, bool *value);

/* Skips one value of any kind; an error when it nests deeper than 64. */
bool ag_json_skip(ag_json *json);

/* If null comes next, skips it and returns true; else false. */
bool ag_json_null(ag_json *json);

/* The next character after white space; -1 at the end and after an error. */
int ag_json_peek(ag_json *json);

/* Whether only white space is left; else an error. */
bool ag_json_end(ag_json *json);

/* The bytes of the UTF-8 character at the start of text[length]: 1 to 4, or 0 when it is malformed. */
int ag_utf8_size(const char *text, size_t length);

/* The text, safe in a message: characters that a terminal obeys or can not show become '?', a long text is cut. */
#define AG_SHOWN_BYTES 80
const char *ag_shown_text(char buffer[AG_SHOWN_BYTES], const char *text);

/* ---- Writing. `length` counts all bytes, also those beyond `capacity`, which are dropped: a first pass with capacity
 * 0 measures. ---- */

typedef struct ag_json_out {
    char *text;
    size_t capacity, length;
} ag_json_out;

void ag_json_put(ag_json_out *out, const char *text);
void ag_json_put_string(ag_json_out *out, const char *string); /* quoted and escaped; must be valid UTF-8 */
void ag_json_put_whole(ag_json_out *out, int64_t value);

#endif
