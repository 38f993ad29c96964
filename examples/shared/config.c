/* SPDX-License-Identifier: MIT
 *
 * config.c - see config.h. The reader takes one flat object; white space may stand anywhere.
 */
#include "examples/shared/config.h"
#include "examples/shared/system.h"
#include "examples/shared/utf8.h"

#include "attngrad.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char words_key[] = "files";

static const char *key_of(const option *o)
{
    return o->kind == OPTION_WORDS ? words_key : o->name + 2;
}

/* ---- Writing ---- */

static void put_string(FILE *file, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    fputc('"', file);
    for (int64_t left = (int64_t)strlen(text), length = 1; left > 0; left -= length, s += length) {
        int size;
        int64_t code = utf8_decode(s, left, &size);
        length = code < 0 ? 1 : size;
        if (code < 0 || code < ' ')
            fprintf(file, "\\u%04x", code < 0 ? 0xdc00u + *s : (unsigned)code);
        else if (code == '"' || code == '\\')
            fprintf(file, "\\%c", (char)code);
        else
            fwrite(s, 1, (size_t)length, file);
    }
    fputc('"', file);
}

static void put_words(FILE *file, const option_words *words)
{
    fputc('[', file);
    for (int i = 0; i < words->count; i++) {
        fputs(i > 0 ? ", " : "", file);
        put_string(file, words->word[i]);
    }
    fputc(']', file);
}

/* With the digits that give the same number back, and enough to write 20 and not 2e+01. */
static void put_real(FILE *file, double value)
{
    enum { LEAST = 6 };
    int digits = ag_digits(AG_F64, value);
    ag_fprintf(file, "%.*g", digits > LEAST ? digits : LEAST, value);
}

static void put_value(FILE *file, const option *o)
{
    if (o->kind == OPTION_FLAG)
        fputs(*(const bool *)o->target ? "true" : "false", file);
    else if (o->kind == OPTION_CHOICE)
        put_string(file, o->words[*(const int *)o->target]);
    else if (o->kind == OPTION_NUMBER)
        fprintf(file, "%llu", (unsigned long long)*(const uint64_t *)o->target);
    else if (o->kind == OPTION_REAL)
        put_real(file, *(const double *)o->target);
    else if (o->kind == OPTION_WORDS)
        put_words(file, o->target);
    else
        put_string(file, *(const char *const *)o->target);
}

static bool has_value(const option *o)
{
    if (o->kind == OPTION_TEXT || o->kind == OPTION_PROSE)
        return *(const char *const *)o->target != NULL;
    if (o->kind == OPTION_NUMBER && o->most > 0)
        return (double)*(const uint64_t *)o->target >= o->least;
    return o->kind <= OPTION_WORDS;
}

char *config_text(const option *options, int count)
{
    system_memory memory;
    FILE *file = system_memory_begin(&memory);
    if (file == NULL)
        return NULL;
    fputc('{', file);
    const char *between = "\n";
    for (int i = 0; i < count; i++)
        if (has_value(&options[i])) {
            fprintf(file, "%s  \"%s\": ", between, key_of(&options[i]));
            put_value(file, &options[i]);
            between = ",\n";
        }
    fputs("\n}\n", file);
    return system_memory_end(&memory);
}

/* ---- Reading ---- */

typedef struct reader {
    const char *program; /* with the text's name, for messages */
    char *at, *begin;
    bool good;
} reader;

static bool wrong(reader *r, const char *what)
{
    int line = 1;
    for (const char *c = r->begin; c < r->at; c++)
        line += *c == '\n';
    if (r->good)
        fprintf(stderr, "%s: line %d: %s\n", r->program, line, what);
    return r->good = false;
}

/* Skips white space and then `mark`, if it comes next. */
static bool skip(reader *r, char mark)
{
    r->at += strspn(r->at, " \t\r\n");
    bool there = r->good && *r->at == mark;
    r->at += there;
    return there;
}

static bool want(reader *r, char mark, const char *what)
{
    return skip(r, mark) || wrong(r, what);
}

/* The four digits of \uXXXX; -1: not such. */
static int64_t hexadecimal(const char *s)
{
    int64_t code = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF", *digit = s[i] == '\0' ? NULL : strchr(digits, s[i]);
        if (digit == NULL)
            return -1;
        code = 16 * code + (digit - digits) % 16;
    }
    return code;
}

/* Writes what an escape means, whose letter r->at points to; returns the end of what was written. */
static char *unescape(reader *r, char *to)
{
    static const char letter[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *found = *r->at == '\0' ? NULL : strchr(letter, *r->at);
    int64_t code = *r->at == 'u' ? hexadecimal(r->at + 1) : found != NULL ? means[found - letter] : -1;
    if (code >= 0)
        r->at += *r->at == 'u' ? 5 : 1;
    if (code >= 0xd800 && code < 0xdc00 && r->at[0] == '\\' && r->at[1] == 'u') {
        int64_t low = hexadecimal(r->at + 2);
        code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + low - 0xdc00 : -1;
        r->at += code < 0 ? 0 : 6;
    }
    if (code >= 0xdc80 && code <= 0xdcff)
        *to++ = (char)(unsigned char)(code - 0xdc00);
    else if (code > 0 && !(code >= 0xd800 && code < 0xe000))
        to += utf8_encode((uint32_t)code, to);
    else
        wrong(r, "a \\ that begins no character");
    return to;
}

/* A string, decoded where it stands; NULL after an error. */
static char *string(reader *r)
{
    if (!want(r, '"', "a string in double quotes is missing"))
        return NULL;
    char *text = r->at, *to = r->at;
    while (r->good && *r->at != '"') {
        if (*r->at == '\0')
            wrong(r, "a string without its end");
        else if (*r->at == '\\') {
            /* The character is written over the escape, which is longer; a NUL may be written after it. */
            r->at++;
            char decoded[UTF8_BYTES], *end = unescape(r, decoded);
            memcpy(to, decoded, (size_t)(end - decoded));
            to += end - decoded;
        } else
            *to++ = *r->at++;
    }
    r->at += r->good;
    *to = '\0';
    return r->good ? text : NULL;
}

static void words(reader *r, option_words *to)
{
    if (!want(r, '[', "[\"...\"] is missing"))
        return;
    to->count = 0;
    while (r->good && !skip(r, ']')) {
        if (to->count > 0)
            want(r, ',', "a comma is missing");
        char **longer = realloc(to->word, (size_t)(to->count + 1) * sizeof *longer), *word = string(r);
        if (longer != NULL)
            to->word = longer;
        if (longer == NULL)
            wrong(r, "out of memory");
        else if (word != NULL)
            to->word[to->count++] = word;
    }
}

static void value(reader *r, const option *o)
{
    bool text = o->kind == OPTION_TEXT || o->kind == OPTION_PROSE || o->kind == OPTION_CHOICE;
    if (o->kind == OPTION_WORDS) {
        words(r, o->target);
    } else if (text) {
        const char *given = string(r);
        r->good = given != NULL && option_set(r->program, o, given);
    } else {
        char given[64];
        r->at += strspn(r->at, " \t\r\n");
        size_t length = strcspn(r->at, ",} \t\r\n");
        snprintf(given, sizeof given, "%.*s", (int)length, r->at);
        bool yes = strcmp(given, "true") == 0, no = strcmp(given, "false") == 0;
        if (o->kind == OPTION_FLAG && !yes && !no)
            wrong(r, "true or false is missing");
        else if (length > 60 || !option_set(r->program, o, o->kind != OPTION_FLAG ? given : yes ? NULL : "no"))
            r->good = false;
        r->at += length;
    }
}

static const option *named(const option *options, int count, const char *key)
{
    for (int i = 0; i < count; i++)
        if (options[i].kind <= OPTION_WORDS && strcmp(key_of(&options[i]), key) == 0)
            return &options[i];
    return NULL;
}

bool config_apply(const char *program, const char *name, char *text, size_t size, const option *options, int count)
{
    char who[400];
    snprintf(who, sizeof who, "%s: %s", program, name);
    reader r = { who, text, text, true };
    want(&r, '{', "a JSON object {...} is missing");
    bool first = true;
    while (r.good && !skip(&r, '}')) {
        if (!first)
            want(&r, ',', "a comma is missing");
        first = false;
        const char *key = string(&r);
        const option *o = key == NULL ? NULL : named(options, count, key);
        if (key != NULL && o == NULL) {
            char typed[64];
            snprintf(typed, sizeof typed, "--%s", key);
            option_unknown(who, options, count, typed);
            return false;
        }
        if (key != NULL && want(&r, ':', "a colon is missing"))
            value(&r, o);
    }
    r.at += strspn(r.at, " \t\r\n");
    if (r.good && r.at != text + size)
        wrong(&r, "there is more behind the object's }");
    return r.good;
}
