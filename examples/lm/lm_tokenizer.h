/* SPDX-License-Identifier: MIT
 *
 * lm_tokenizer.h - a vocabulary as tokenizer.json, which the tokenizers package reads to the same ids
 * (https://huggingface.co/docs/tokenizers).
 */
#ifndef EXAMPLES_LM_TOKENIZER_H
#define EXAMPLES_LM_TOKENIZER_H

#include "examples/lm/lm_tokens.h"

/* Writes the file. False after one line on stderr. The package reads UTF-8 alone; of a text with characters that are
 * not in the vocabulary, it leaves them out. */
bool tokenizer_save(const vocab *v, const char *path);

/* Writes bytes that are UTF-8 as a JSON string. */
void json_string(FILE *file, const unsigned char *text, int64_t length);

#endif
