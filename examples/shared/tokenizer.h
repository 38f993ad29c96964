/* SPDX-License-Identifier: MIT
 *
 * tokenizer.h - tokenizer.json of the tokenizers package (https://huggingface.co/docs/tokenizers): texts as token ids
 * and back, with the same ids as that package.
 *
 * Read are byte pair encoding on bytes (GPT-2, Llama 3, Qwen, and what `lm export` writes), on characters with a fall
 * back to bytes (Llama, Mistral), and WordPiece (BERT). What else a file asks for is refused by its name.
 */
#ifndef EXAMPLES_TOKENIZER_H
#define EXAMPLES_TOKENIZER_H

#include "examples/shared/text_out.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct tokenizer tokenizer;

/* NULL after one line on stderr. */
tokenizer *tokenizer_load(const char *program, const char *path);
void tokenizer_free(tokenizer *t);

typedef struct token_ids {
    int32_t *id; /* to be freed */
    int64_t count, room;
} token_ids;

enum { TOKENIZER_OUT_OF_MEMORY = -2, TOKENIZER_ENCODED = -1 };

/* Adds the ids of a text; with `special` also those that the file's post_processor sets around it, as [CLS] and [SEP].
 * Special tokens in the text, as <|endoftext|>, are themselves. Returns TOKENIZER_ENCODED, TOKENIZER_OUT_OF_MEMORY, or
 * the number of the first byte that is not UTF-8, and then no id is added. */
int64_t tokenizer_encode(const tokenizer *t, const char *text, int64_t length, bool special, token_ids *ids);

/* The id of a token by its name, -1: none. */
int32_t tokenizer_find(const tokenizer *t, const char *name);

/* The character that stands for a byte in the tokens of byte pair encoding: itself where it is visible in Latin-1, else
 * the next of those from U+0100 on (GPT-2's bytes_to_unicode). And back; -1: none. */
uint32_t character_of_byte(unsigned char byte);
int byte_of_character(uint32_t code);

/* Ids as text, one by one: all zero but for the tokenizer at first. */
typedef struct token_text {
    const tokenizer *tokenizer;
    bool begun;        /* a token came before */
    int64_t stripped;  /* blanks at the text's beginning that were left out; -1: something else came */
    text_buffer run, word; /* bytes that wait for the last one of their character; a token on its way */
} token_text;

/* Writes a token's text. Special tokens and ids that are none are left out. False when out of memory. */
bool token_text_put(token_text *t, int32_t id, text_out *out);

/* Writes what waits, and frees. The text may go on. */
bool token_text_end(token_text *t, text_out *out);

#endif
