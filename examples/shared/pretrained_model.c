/* SPDX-License-Identifier: MIT
 *
 * pretrained_model.c - see pretrained_model.h.
 */
#include "examples/shared/pretrained_model.h"
#include "examples/shared/model_folder.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

/* ---- Files ---- */

static bool join(char path[1024], const char *program, const char *folder, const char *file)
{
    int length = snprintf(path, 1024, "%s%s%s", folder, folder[0] == '\0' ? "" : "/", file);
    if (length < 1024)
        return true;
    fprintf(stderr, "%s: the path of %s is longer than 1023 bytes\n", program, file);
    return false;
}

bool model_files_of(model_files *files, const char *program, const model_options *o)
{
    if (o->folder == NULL && (o->config == NULL || o->weights == NULL)) {
        fprintf(stderr, "%s: which model? --model DIR, or --config FILE and --weights FILE\n", program);
        return false;
    }
    if (strcmp(o->dtype, "float32") != 0 && strcmp(o->dtype, "float64") != 0) {
        fprintf(stderr, "%s: --dtype is '%s', must be float32 or float64\n", program, o->dtype);
        return false;
    }
    if (o->tokens != NULL && (o->text != NULL || o->text_lines)) {
        fprintf(stderr, "%s: --tokens are ids: they go without text\n", program);
        return false;
    }
    if (o->folder == NULL && o->tokenizer == NULL && (o->text != NULL || o->text_lines)) {
        fprintf(stderr, "%s: text needs --tokenizer FILE or --model DIR\n", program);
        return false;
    }
    files->dtype = strcmp(o->dtype, "float32") == 0 ? AG_F32 : AG_F64;
    return (o->config != NULL ? join(files->config, program, "", o->config)
                              : join(files->config, program, o->folder, "config.json")) &&
           join(files->weights, program, "", o->weights != NULL ? o->weights : o->folder) &&
           (o->tokenizer != NULL
                ? join(files->tokenizer, program, "", o->tokenizer)
                : join(files->tokenizer, program, o->folder == NULL ? "" : o->folder, "tokenizer.json"));
}

/* ---- Lines ---- */

typedef struct reader {
    token_lines *lines;
    int64_t tokens, token_room, line_room;
    const char *program;
} reader;

static bool make_room(reader *r, void **array, int64_t *room, int64_t wanted, size_t element)
{
    if (wanted <= *room)
        return true;
    int64_t larger = *room < 512 ? 1024 : 2 * *room;
    void *grown = realloc(*array, (size_t)larger * element);
    if (grown == NULL) {
        fprintf(stderr, "%s: out of memory for %lld tokens\n", r->program, (long long)wanted);
        return false;
    }
    *array = grown;
    *room = larger;
    return true;
}

static bool add_line(reader *r)
{
    token_lines *l = r->lines;
    if (!make_room(r, (void **)&l->first, &r->line_room, l->count + 2, sizeof *l->first))
        return false;
    l->first[0] = 0;
    int64_t length = r->tokens - l->first[l->count];
    if (length == 0) {
        fprintf(stderr, "%s: line %lld has no tokens\n", r->program, (long long)l->count + 1);
        return false;
    }
    l->longest = length > l->longest ? length : l->longest;
    l->first[++l->count] = r->tokens;
    return true;
}

static bool add_token(reader *r, const char *word)
{
    char *end;
    unsigned long long id = strtoull(word, &end, 10);
    if (word[0] < '0' || word[0] > '9' || *end != '\0' || id > INT32_MAX) {
        fprintf(stderr, "%s: line %lld: '%.40s' is not a token id, a whole number from 0 to 2147483647\n", r->program,
                (long long)r->lines->count + 1, word);
        return false;
    }
    if (!make_room(r, (void **)&r->lines->token, &r->token_room, r->tokens + 1, sizeof *r->lines->token))
        return false;
    r->lines->token[r->tokens++] = (int32_t)id;
    return true;
}

/* ---- Ids ---- */

/* One character of the text, -1 at its end. */
static int next_character(const char **text)
{
    if (*text == NULL)
        return getchar();
    return **text == '\0' ? -1 : (unsigned char)*(*text)++;
}

bool token_lines_read(token_lines *lines, const char *program, const char *tokens)
{
    *lines = (token_lines){ .count = 0 };
    reader r = { .lines = lines, .program = program };
    char word[48] = "";
    size_t length = 0;
    bool good = make_room(&r, (void **)&lines->first, &r.line_room, 1, sizeof *lines->first), line_begun = false;
    if (good)
        lines->first[0] = 0;
    for (int c = 0; good && c >= 0;) {
        c = next_character(&tokens);
        bool space = c < 0 || (c != '\0' && strchr(" \t\r\n,", c) != NULL);
        line_begun = line_begun || c >= 0;
        if (!space) {
            word[length] = (char)(c == '\0' ? '?' : c); /* neither is in an id */
            length += length + 1 < sizeof word; /* what is longer is no id anyway */
            word[length] = '\0';
        } else if (length > 0) {
            good = add_token(&r, word);
            length = 0;
        }
        if (good && line_begun && (c < 0 || c == '\n')) {
            good = add_line(&r);
            line_begun = false;
        }
    }
    good = good && (tokens != NULL || program_was_read(program, stdin, "standard input"));
    if (good && lines->count == 0) {
        fprintf(stderr, "%s: there are no tokens\n", program);
        good = false;
    }
    if (!good)
        token_lines_free(lines);
    return good;
}

/* ---- Text ---- */

static bool add_text(reader *r, const tokenizer *t, const char *text, int64_t length)
{
    token_ids ids = { .count = 0 };
    int64_t wrong = tokenizer_encode(t, text, length, true, &ids);
    bool good = wrong == TOKENIZER_ENCODED;
    if (wrong == TOKENIZER_OUT_OF_MEMORY)
        fprintf(stderr, "%s: out of memory for %lld bytes of text\n", r->program, (long long)length);
    else if (!good)
        fprintf(stderr, "%s: line %lld: byte %lld is not UTF-8\n", r->program, (long long)r->lines->count + 1,
                (long long)wrong);
    for (int64_t i = 0; i < ids.count && good; i++) {
        good = make_room(r, (void **)&r->lines->token, &r->token_room, r->tokens + 1, sizeof *r->lines->token);
        if (good)
            r->lines->token[r->tokens++] = ids.id[i];
    }
    free(ids.id);
    return good && add_line(r);
}

bool token_lines_read_text(token_lines *lines, const char *program, const tokenizer *t, const char *text)
{
    *lines = (token_lines){ .count = 0 };
    reader r = { .lines = lines, .program = program };
    bool good = text == NULL || add_text(&r, t, text, (int64_t)strlen(text));
    while (good && text == NULL) {
        int64_t length;
        char *line = program_read(program, stdin, "standard input", true, &length);
        good = line != NULL && (length < 0 || add_text(&r, t, line, length));
        free(line);
        if (length < 0)
            break;
    }
    if (good && lines->count == 0) {
        fprintf(stderr, "%s: there is no text\n", program);
        good = false;
    }
    if (!good)
        token_lines_free(lines);
    return good;
}

bool token_lines_of(token_lines *lines, tokenizer **t, const char *program, const model_options *o,
                    const model_files *files)
{
    *t = NULL;
    if (o->folder != NULL && !model_folder_check(program, o->folder))
        return false;
    if (o->text == NULL && !o->text_lines)
        return token_lines_read(lines, program, o->tokens);
    *t = tokenizer_load(program, files->tokenizer);
    if (*t != NULL && token_lines_read_text(lines, program, *t, o->text))
        return true;
    tokenizer_free(*t);
    *t = NULL;
    return false;
}

void token_lines_free(token_lines *lines)
{
    free(lines->token);
    free(lines->first);
    *lines = (token_lines){ .count = 0 };
}

ag_tensor *token_lines_batch(ag_ctx *ctx, const token_lines *lines, int64_t begin, int64_t count, int64_t *lengths)
{
    int64_t T = 0;
    for (int64_t b = begin; b < begin + count; b++) {
        int64_t length = lines->first[b + 1] - lines->first[b];
        T = length > T ? length : T;
        lengths[b - begin] = length;
    }
    ag_tensor *batch = ag_zeros(ctx, AG_I32, AG_SHAPE(count, T));
    int32_t *row = batch == NULL ? NULL : ag_data_mut(batch);
    for (int64_t b = begin; b < begin + count && row != NULL; b++, row += T)
        memcpy(row, lines->token + lines->first[b],
               (size_t)(lines->first[b + 1] - lines->first[b]) * sizeof *row);
    return batch;
}
