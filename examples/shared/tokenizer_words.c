/* SPDX-License-Identifier: MIT
 *
 * tokenizer_words.c - the pre_tokenizer's steps: a text cut into words. Regular expressions are known by their text,
 * and each has a scanner that says how long the first piece is; every one of them takes any character, so that the
 * pieces are the whole text.
 */
#include "examples/shared/tokenizer_impl.h"
#include "examples/shared/unicode.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

/* ---- Characters ---- */

typedef struct character {
    uint32_t code;
    int size;
    bool letter, number, space, other;
} character;

/* The character at text[at]; of size 0, and of no class, at the end. */
static character character_at(const unsigned char *text, int64_t length, int64_t at)
{
    character c = { .size = 0 };
    if (at >= length)
        return c;
    int64_t code = utf8_decode(text + at, length - at, &c.size);
    c.code = code < 0 ? 0xfffd : (uint32_t)code;
    int class = unicode_class(c.code);
    c.letter = (class & UNICODE_LETTER) != 0;
    c.number = (class & UNICODE_NUMBER) != 0;
    c.space = unicode_is_space(c.code);
    c.other = !c.letter && !c.number && !c.space;
    return c;
}

uint32_t character_of_byte(unsigned char byte)
{
    uint32_t hidden = 0;
    for (uint32_t b = 0; b <= byte; b++) {
        bool visible = (b > ' ' && b < 0x7f) || (b > 0xa0 && b != 0xad);
        if (b == byte)
            return visible ? b : 0x100 + hidden;
        hidden += !visible;
    }
    return 0;
}

int byte_of_character(uint32_t code)
{
    if (code < 0x100)
        return character_of_byte((unsigned char)code) == code ? (int)code : -1;
    for (int b = 0; b < 256 && code < 0x144; b++)
        if (character_of_byte((unsigned char)b) == code)
            return b;
    return -1;
}

/* ---- Known regular expressions ---- */

/* '(?:s|t|re|ve|m|ll|d): the length, 0: none. Of any case: U+017F is an s too. */
static int64_t contraction(const unsigned char *text, int64_t length, bool any_case)
{
    static const char *const ending[] = { "s", "t", "re", "ve", "m", "ll", "d" };
    if (text[0] != '\'')
        return 0;
    if (any_case && length >= 3 && memcmp(text + 1, "\xc5\xbf", 2) == 0)
        return 3;
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++) {
        int64_t n = (int64_t)strlen(ending[i]), same = 0;
        while (same < n && 1 + same < length &&
               (text[1 + same] | (any_case && text[1 + same] < 0x80 ? 0x20 : 0)) == (unsigned char)ending[i][same])
            same++;
        if (same == n)
            return 1 + n;
    }
    return 0;
}

typedef enum what { LETTERS, NUMBERS, OTHERS, SPACES } what;

/* Where the run of characters of a class ends that begins at `at`, after `most` of them at most. */
static int64_t run_end(const unsigned char *text, int64_t length, int64_t at, what class, int64_t most)
{
    for (character c; most > 0; most--, at += c.size) {
        c = character_at(text, length, at);
        if (!(class == LETTERS ? c.letter : class == NUMBERS ? c.number : class == OTHERS ? c.other : c.space))
            break;
    }
    return at;
}

/* \s+(?!\S)|\s+ at a text that begins with a space: the last one belongs to what follows, if there is one before it. */
static int64_t spaces(const unsigned char *text, int64_t length)
{
    int64_t end = run_end(text, length, 0, SPACES, length), last = end - 1;
    while ((text[last] & 0xc0) == 0x80)
        last--;
    return end < length && last > 0 ? last : end;
}

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static int64_t gpt2_piece(const unsigned char *text, int64_t length)
{
    int64_t end = contraction(text, length, false), begin = text[0] == ' ';
    character c = character_at(text, length, begin);
    if (end > 0)
        return end;
    if (c.letter || c.number || c.other)
        return run_end(text, length, begin, c.letter ? LETTERS : c.number ? NUMBERS : OTHERS, length);
    return spaces(text, length);
}

/* Llama 3 has numbers of at most 3 characters, Qwen of one. */
#define BEFORE_NUMBER "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define AFTER_NUMBER "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
static const char llama3_pattern[] = BEFORE_NUMBER "\\p{N}{1,3}" AFTER_NUMBER;
static const char qwen_pattern[] = BEFORE_NUMBER "\\p{N}" AFTER_NUMBER;

static int64_t llama3_piece_of(const unsigned char *text, int64_t length, int64_t digits)
{
    int64_t end = contraction(text, length, true);
    if (end > 0)
        return end;
    character c = character_at(text, length, 0), next = character_at(text, length, c.size);
    bool line_end = c.code == '\r' || c.code == '\n';
    if (c.letter || (!line_end && !c.number && next.letter))
        return run_end(text, length, c.size, LETTERS, length);
    if (c.number)
        return run_end(text, length, 0, NUMBERS, digits);
    if (c.other || (c.code == ' ' && next.other)) {
        end = run_end(text, length, c.other ? 0 : 1, OTHERS, length);
        while (end < length && (text[end] == '\r' || text[end] == '\n'))
            end++;
        return end;
    }
    end = run_end(text, length, 0, SPACES, length);
    while (end > 0 && text[end - 1] != '\r' && text[end - 1] != '\n')
        end--;
    return end > 0 ? end : spaces(text, length);
}

static int64_t llama3_piece(const unsigned char *text, int64_t length)
{
    return llama3_piece_of(text, length, 3);
}

static int64_t qwen_piece(const unsigned char *text, int64_t length)
{
    return llama3_piece_of(text, length, 1);
}

int64_t (*tokenizer_pattern(const char *regex))(const unsigned char *text, int64_t length)
{
    return strcmp(regex, gpt2_pattern) == 0     ? gpt2_piece
           : strcmp(regex, llama3_pattern) == 0 ? llama3_piece
           : strcmp(regex, qwen_pattern) == 0   ? qwen_piece
           : strcmp(regex, bpe_pattern) == 0    ? bpe_piece
                                                : NULL;
}

/* ---- Steps ---- */

static void byte_level(encoder *e, int index, const char *text, int64_t length, bool first)
{
    const step *s = &e->t->part[PRE_TOKENIZER].step[index];
    text_buffer whole = { .length = 0 }, *word = &e->space[index];
    if (s->add_prefix_space && text[0] != ' ') {
        text_buffer_put(&whole, " ", 1);
        text_buffer_put(&whole, text, length);
        e->failed = e->failed || whole.failed;
        text = whole.text;
        length = whole.length;
    }
    for (int64_t at = 0, size; at < length && !e->failed; at += size) {
        size = s->use_regex ? gpt2_piece((const unsigned char *)text + at, length - at) : length;
        word->length = 0;
        for (int64_t i = at; i < at + size; i++) {
            char shown[UTF8_BYTES];
            text_buffer_put(word, shown, utf8_encode(character_of_byte((unsigned char)text[i]), shown));
        }
        e->failed = e->failed || word->failed;
        if (!e->failed)
            tokenizer_split(e, index + 1, word->text, word->length, first && at == 0);
    }
    free(whole.text);
}

static void metaspace(encoder *e, int index, const char *text, int64_t length, bool first)
{
    const step *s = &e->t->part[PRE_TOKENIZER].step[index];
    const int64_t mark = (int64_t)strlen(s->replacement);
    text_buffer *whole = &e->space[index];
    const bool has_mark = text[0] == ' ' || (length >= mark && memcmp(text, s->replacement, (size_t)mark) == 0);
    whole->length = 0;
    if (!has_mark && (strcmp(s->scheme, "always") == 0 || (strcmp(s->scheme, "first") == 0 && first)))
        text_buffer_put(whole, s->replacement, mark);
    for (int64_t i = 0; i < length; i++)
        text_buffer_put(whole, text[i] == ' ' ? s->replacement : text + i, text[i] == ' ' ? mark : 1);
    e->failed = e->failed || whole->failed;
    for (int64_t at = 0, end; at < whole->length && !e->failed; at = end) {
        end = s->split ? at + 1 : whole->length;
        while (end < whole->length && (whole->length - end < mark || memcmp(whole->text + end, s->replacement,
                                                                            (size_t)mark) != 0))
            end++;
        tokenizer_split(e, index + 1, whole->text + at, end - at, first && at == 0);
    }
}

/* Words of the characters between spaces, and each punctuation alone. */
static void bert_words(encoder *e, int index, const char *text, int64_t length, bool first)
{
    int64_t begin = 0;
    for (int64_t at = 0, size; at <= length && !e->failed; at += size) {
        character c = character_at((const unsigned char *)text, length, at);
        bool mark = c.size > 0 && (unicode_class(c.code) & UNICODE_PUNCTUATION) != 0;
        size = c.size > 0 ? c.size : 1;
        if (c.size > 0 && !mark && !c.space)
            continue;
        if (at > begin)
            tokenizer_split(e, index + 1, text + begin, at - begin, first && begin == 0);
        if (mark)
            tokenizer_split(e, index + 1, text + at, size, first && at == 0);
        begin = at + size;
    }
}

static int64_t digits_piece(const unsigned char *text, int64_t length, bool individual)
{
    character c = character_at(text, length, 0);
    int64_t end = c.size;
    while (end < length && !(individual && c.number)) {
        character next = character_at(text, length, end);
        if (next.number != c.number)
            break;
        end += next.size;
    }
    return end;
}

void tokenizer_split(encoder *e, int index, const char *text, int64_t length, bool first)
{
    const step_list *list = &e->t->part[PRE_TOKENIZER];
    const step *s = &list->step[index];
    if (index == list->count)
        tokenizer_word(e, text, length);
    else if (s->kind == STEP_BYTE_LEVEL)
        byte_level(e, index, text, length, first);
    else if (s->kind == STEP_METASPACE)
        metaspace(e, index, text, length, first);
    else if (s->kind == STEP_BERT_WORDS)
        bert_words(e, index, text, length, first);
    else
        for (int64_t at = 0, size; at < length && !e->failed; at += size) {
            const unsigned char *rest = (const unsigned char *)text + at;
            size = s->kind == STEP_SPLIT ? s->piece(rest, length - at) : digits_piece(rest, length - at, s->individual);
            tokenizer_split(e, index + 1, text + at, size, first && at == 0);
        }
}
