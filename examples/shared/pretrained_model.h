/* SPDX-License-Identifier: MIT
 *
 * pretrained_model.h - for generate and encode: the paths of a model's files, and lines of token ids or of text.
 */
#ifndef EXAMPLES_PRETRAINED_MODEL_H
#define EXAMPLES_PRETRAINED_MODEL_H

#include "attngrad.h"
#include "examples/shared/tokenizer.h"

/* Options that both programs have. */
typedef struct model_options {
    const char *folder, *config, *weights; /* --model, or --config and --weights */
    const char *dtype;                     /* "float32" or "float64" */
    const char *tokens;                    /* one line of ids; NULL: lines from stdin */
    const char *text;                      /* one line of text, instead */
    bool text_lines;                       /* the lines from stdin are text */
    const char *tokenizer;                 /* --tokenizer */
    uint64_t threads;
} model_options;

/* Paths and dtype from the options. */
typedef struct model_files {
    char config[1024], weights[1024], tokenizer[1024];
    ag_dtype dtype;
} model_files;

/* False after one line on stderr when an option is missing or wrong. */
bool model_files_of(model_files *files, const char *program, const model_options *o);

/* Lines of token ids: line i has token[first[i]] .. token[first[i + 1] - 1], one at least. */
typedef struct token_lines {
    int32_t *token;
    int64_t *first;
    int64_t count, longest;
} token_lines;

/* Reads --tokens, or stdin if it is NULL. False after one line on stderr when a word is not an id. */
bool token_lines_read(token_lines *lines, const char *program, const char *tokens);

/* Reads one line of text, or those of stdin if it is NULL, with the special tokens that the tokenizer sets around each.
 * False after one line on stderr when a line is not UTF-8. */
bool token_lines_read_text(token_lines *lines, const char *program, const tokenizer *t, const char *text);

/* Either of these, as the options say: *t is the tokenizer, to be freed, of text, and NULL of ids. */
bool token_lines_of(token_lines *lines, tokenizer **t, const char *program, const model_options *o,
                    const model_files *files);
void token_lines_free(token_lines *lines);

/* Lines begin .. begin + count - 1 as int32 [count,T], T the longest of them, padded with zeros; and their lengths. */
ag_tensor *token_lines_batch(ag_ctx *ctx, const token_lines *lines, int64_t begin, int64_t count, int64_t *lengths);

#endif
