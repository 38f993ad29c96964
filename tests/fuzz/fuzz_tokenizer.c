/* SPDX-License-Identifier: MIT
 *
 * fuzz_tokenizer.c - a libFuzzer target: a tokenizer.json behind a first byte, which says how many of the last bytes
 * are a text. The text, and it again and again as one long word, become ids, and these a text.
 */
#include "tests/fuzz/fuzz.h"

#include "examples/shared/tokenizer.h"
#include "examples/shared/utf8.h"

#include <stdlib.h>
#include <string.h>

/* What is written is UTF-8, and ids that are not of the tokenizer are left out. */
static void write_text(const tokenizer *t, const token_ids *ids)
{
    text_buffer made = { .length = 0 };
    text_out out = { .text = &made };
    token_text written = { .tokenizer = t };
    for (int64_t i = 0; i < ids->count; i++)
        fuzz_demand(token_text_put(&written, ids->id[i], &out) && token_text_put(&written, -1, &out));
    fuzz_demand(token_text_put(&written, INT32_MAX - 1, &out) && token_text_end(&written, &out));
    int size;
    for (int64_t at = 0; at < made.length; at += size)
        fuzz_demand(utf8_decode((unsigned char *)made.text + at, made.length - at, &size) >= 0);
    free(made.text);
}

static void encode(const tokenizer *t, const char *text, int64_t length)
{
    token_ids ids = { .count = 0 };
    int64_t wrong = tokenizer_encode(t, text, length, true, &ids);
    int size;
    fuzz_demand(wrong == TOKENIZER_ENCODED || (wrong >= 0 && wrong < length && ids.count == 0 &&
                utf8_decode((const unsigned char *)text + wrong, length - wrong, &size) < 0));
    for (int64_t i = 0; i < ids.count; i++)
        fuzz_demand(ids.id[i] >= 0);
    write_text(t, &ids);
    free(ids.id);
}

void fuzz_input(const uint8_t *data, size_t size)
{
    enum { TIMES = 16 };
    if (size == 0)
        return;
    size_t length = data[0] < size ? data[0] : size - 1;
    tokenizer *t = tokenizer_load("fuzz", fuzz_file(0, data + 1, size - 1 - length));
    if (t == NULL)
        return;
    char text[TIMES * 256];
    for (size_t i = 0; i < TIMES; i++)
        memcpy(text + i * length, data + size - length, length);
    encode(t, text, (int64_t)length);
    encode(t, text, (int64_t)(TIMES * length));
    tokenizer_free(t);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const words[] = {
        "0", "1", "2", "300", "-1", "2147483647", "4294967296", "0.5", "true", "false", "null", "\"\"", "\" \"",
        "\"a\"", "\"ab\"", "\"a b\"", "[]", "{}", "[\"a\",\"b\"]", "\"\xe2\x96\x81\"", "\"\xc4\xa0\"", "\"<0x41>\"",
        "\"<unk>\"", "\"[UNK]\"", "\"##\"", "\"BPE\"", "\"WordPiece\"", "\"Sequence\"", "\"ByteLevel\"",
        "\"Metaspace\"", "\"Split\"", "\"Digits\"", "\"BertPreTokenizer\"", "\"BertNormalizer\"", "\"NFC\"",
        "\"Prepend\"", "\"Replace\"", "\"ByteFallback\"", "\"Fuse\"", "\"Strip\"", "\"TemplateProcessing\"",
        "\"BertProcessing\"", "\"always\"", "\"first\"", "\"never\"", "\"Isolated\"", "\"Removed\"",
        "\"normalizers\"", "\"pretokenizers\"", "\"processors\"", "\"decoders\"", "\"pattern\"", "\"vocab\"",
        "\"merges\"", "\"content\"", "\"lstrip\"", NULL,
    };
    return fuzz_mutate_field(data, size, max_size, seed, "{}[],: \n\t\r", words);
}
