/* SPDX-License-Identifier: MIT
 *
 * fuzz_text.c - a libFuzzer target: the input behind its first byte as a text that `lm` learns. Its tokens are the same
 * text again; its vocabulary is written and read again, and is valid JSON as tokenizer.json.
 */
#include "tests/fuzz/fuzz.h"

#include "examples/lm/lm_text.h"
#include "examples/lm/lm_tokenizer.h"
#include "tensor/files/json.h"

#include <stdlib.h>
#include <string.h>

/* But for bytes that are not UTF-8, which are printed as U+FFFD. */
static void tokens_are_the_text(const corpus *c, const raw_text *t)
{
    int length = 1;
    for (int64_t at = 0; at < t->size; at += length)
        if (utf8_decode(t->byte + at, t->size - at, &length) < 0)
            return;
    char *text = NULL;
    size_t size = 0;
    text_out out = { .file = open_memstream(&text, &size) };
    fuzz_demand(out.file != NULL);
    for (int64_t i = 0; i < c->count; i++)
        text_put(&out, &c->vocab, c->token[i]);
    text_out_end(&out);
    fuzz_demand(fclose(out.file) == 0 && size == (size_t)t->size && memcmp(text, t->byte, size) == 0);
    free(text);
}

static void vocabulary_is_kept(const vocab *v)
{
    char *text = vocab_text(v);
    vocab again;
    fuzz_demand(text != NULL && vocab_from_text(&again, v->kind, text) && vocab_same(v, &again));
    vocab_free(&again);
    free(text);
}

static void tokenizer_is_json(const vocab *v)
{
    const char *path = fuzz_file(1, "", 0);
    fuzz_demand(tokenizer_save(v, path));
    FILE *file = fopen(path, "rb");
    fuzz_demand(file != NULL && fseek(file, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(file);
    char *text = malloc(size + 1);
    rewind(file);
    fuzz_demand(text != NULL && fread(text, 1, size, file) == size);
    fclose(file);
    ag_json json = ag_json_of(text, size);
    fuzz_demand(ag_json_skip(&json) && ag_json_end(&json));
    free(text);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    if (size == 0)
        return;
    const token_kind kind = (token_kind)(data[0] % TOKEN_WORDS);
    const char *path = fuzz_file(0, data + 1, size - 1);
    raw_text t;
    corpus c;
    if (!text_read(&t, (text_files){ &path, 1, NULL }, kind))
        return;
    if (corpus_make(&c, &t, NULL, kind, BPE_BYTES + 1 + data[0])) {
        tokens_are_the_text(&c, &t);
        vocabulary_is_kept(&c.vocab);
        tokenizer_is_json(&c.vocab);
        corpus_free(&c);
    }
    text_free(&t);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const words[] = {
        "a", "aa", "ab", " the", "'s", "\n", "\r\n", "\t", "  ", "0", "12", "\"", "\\", "\x7f", "\x01", "\xc2\xa0",
        "\xc3\xa9", "\xe2\x80\x99", "\xf0\x9f\x98\x80", "\xef\xbb\xbf", "\xef\xbf\xbd", "\xed\xa0\x80", "\xc0\x80",
        "\xf4\x90\x80\x80", "\xff\xfe", NULL,
    };
    return fuzz_mutate_field(data, size, max_size, seed, " .,\n", words);
}
