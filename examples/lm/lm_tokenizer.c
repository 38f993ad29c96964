/* SPDX-License-Identifier: MIT
 *
 * lm_tokenizer.c - see lm_tokenizer.h. All kinds of tokens are byte pair encoding to the package: bytes are merges of
 * none, and so are characters, without the step to bytes.
 */
#include "examples/lm/lm_tokenizer.h"
#include "examples/shared/program.h"
#include "examples/shared/tokenizer.h"

#include <stdlib.h>
#include <string.h>

void json_string(FILE *file, const unsigned char *text, int64_t length)
{
    fputc('"', file);
    for (int64_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\')
            fprintf(file, "\\%c", text[i]);
        else if (text[i] < ' ' || text[i] == 0x7f)
            fprintf(file, "\\u%04x", text[i]);
        else
            fputc(text[i], file);
    }
    fputc('"', file);
}

/* The token's characters in the file, without quotes. */
static void put_token(FILE *file, const vocab *v, int32_t token)
{
    unsigned char space[UTF8_BYTES];
    int64_t length;
    const unsigned char *bytes = vocab_bytes(v, token, space, &length);
    for (int64_t i = 0; i < length; i++) {
        char text[UTF8_BYTES];
        uint32_t code = character_of_byte(bytes[i]);
        utf8_encode(code, text);
        fprintf(file, code == '"' || code == '\\' ? "\\%s" : "%s", text);
    }
}

static void put_model(FILE *file, const vocab *v)
{
    unsigned char space[UTF8_BYTES];
    int64_t length;
    fputs("\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
          "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
          "\"byte_fallback\":false,\"ignore_merges\":false,\n\"vocab\":{",
          file);
    for (int32_t t = 0; t < v->size; t++) {
        fputs(t == 0 ? "" : ",", file);
        if (v->kind == TOKENS_CHAR) {
            const unsigned char *text = vocab_bytes(v, t, space, &length);
            json_string(file, text, length);
        } else {
            fputc('"', file);
            put_token(file, v, t);
            fputc('"', file);
        }
        fprintf(file, ":%d", (int)t);
    }
    fputs("},\n\"merges\":[", file);
    for (int32_t i = 0; v->kind == TOKENS_BPE && i < v->size - BPE_BYTES; i++) {
        fputs(i == 0 ? "[\"" : ",[\"", file);
        put_token(file, v, bpe_merge(v->bpe, i).left);
        fputs("\",\"", file);
        put_token(file, v, bpe_merge(v->bpe, i).right);
        fputs("\"]", file);
    }
    fputs("]}}\n", file);
}

bool tokenizer_save(const vocab *v, const char *path)
{
    static const char bytes[] = "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"
                                "\"use_regex\":false}";
    FILE *file = program_open("lm", path, "w");
    if (file == NULL)
        return false;
    fputs("{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[],\"normalizer\":null,\n"
          "\"pre_tokenizer\":", file);
    if (v->kind == TOKENS_BPE) {
        fputs("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":", file);
        json_string(file, (const unsigned char *)bpe_pattern, (int64_t)strlen(bpe_pattern));
        fprintf(file, "},\"behavior\":\"Isolated\",\"invert\":false},%s]}", bytes);
    } else {
        fputs(v->kind == TOKENS_BYTE ? bytes : "null", file);
    }
    fprintf(file, ",\n\"post_processor\":null,\"decoder\":%s,\n",
            v->kind == TOKENS_CHAR ? "{\"type\":\"Fuse\"}" : bytes);
    put_model(file, v);
    return program_close("lm", file, path);
}
