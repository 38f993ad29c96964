/* SPDX-License-Identifier: MIT
 *
 * logits.c - `logits gpt|encoder float32|float64 'IDS' FOLDER...`: for each model in the files of the transformers
 * package a line with its logits, an encoder's hidden states, for the tokens IDS, "3 0 4, 2 7 0" for a batch of two;
 * or with "! " and the error. For the Python scripts that compare them with that package's.
 */
#include "attngrad.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS_MOST = 4096, PATH_MOST = 600 };

typedef struct batch {
    int32_t id[TOKENS_MOST];
    int64_t rows, length;
} batch;

/* Rows of equal length. */
static bool read_batch(batch *b, const char *text)
{
    int64_t count = 0;
    b->rows = 1;
    for (char *end; count < TOKENS_MOST; text = end) {
        const long id = strtol(text, &end, 10);
        if (end == text)
            break;
        b->id[count++] = (int32_t)id;
        b->rows += *end == ',';
        end += *end == ',';
    }
    b->length = count / b->rows;
    return *text == '\0' && count > 0 && b->length * b->rows == count;
}

static void print_result(ag_ctx *ctx, const ag_tensor *result)
{
    if (result == NULL)
        printf("! %s", ag_error_message(ctx));
    for (int64_t i = 0; result != NULL && i < ag_numel(result); i++) {
        if (ag_dtype_of(result) == AG_F32)
            printf("%.9g ", (double)((const float *)ag_data(result))[i]);
        else
            printf("%.17g ", ((const double *)ag_data(result))[i]);
    }
    putchar('\n');
}

static bool run(const char *folder, bool encodes, ag_dtype dtype, const batch *b)
{
    char config[PATH_MOST], weights[PATH_MOST];
    snprintf(config, sizeof config, "%s/config.json", folder);
    snprintf(weights, sizeof weights, "%s/model.safetensors", folder);
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 });
    ag_tensor *tokens = ag_from_data(ctx, AG_I32, AG_SHAPE(b->rows, b->length), b->id);
    ag_encoder *encoder = encodes ? ag_encoder_from_files(ctx, config, weights, dtype) : NULL;
    ag_gpt *gpt = encodes ? NULL : ag_gpt_from_files(ctx, config, weights, dtype);
    print_result(ctx, encodes ? ag_encoder_forward(encoder, tokens, NULL, NULL) : ag_gpt_forward(gpt, tokens));
    ag_gpt_free(gpt);
    ag_encoder_free(encoder);
    return ag_ctx_free(ctx) == 0;
}

int main(int argc, char **argv)
{
    batch b;
    if (argc < 5 || !read_batch(&b, argv[3])) {
        fputs("usage: logits gpt|encoder float32|float64 'IDS' FOLDER...\n", stderr);
        return 2;
    }
    bool good = true;
    for (int i = 4; i < argc; i++)
        good = run(argv[i], strcmp(argv[1], "encoder") == 0, strcmp(argv[2], "float64") == 0 ? AG_F64 : AG_F32, &b) &&
               good;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
