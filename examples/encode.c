/* SPDX-License-Identifier: MIT
 *
 * encode.c - sentence embeddings by a BERT, RoBERTa or DistilBERT in the files of the transformers package: reads lines
 * of text or of token ids, writes a vector per line, or the cosine similarities of all pairs.
 */
#include "examples/shared/options.h"
#include "examples/shared/pretrained_model.h"
#include "examples/shared/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "encode";
static const char about[] =
    "Computes an embedding of each line of text or of token ids with a BERT, RoBERTa or DistilBERT model in the files "
    "of the transformers package. tokenizer.json says how text becomes ids, with [CLS] and [SEP] around it; give "
    "these too if you give ids. Text must be UTF-8. Writes one line of numbers per line of input, or the matrix of "
    "their cosine similarities.";

enum { BATCH = 32 }; /* lines in one pass */

/* The pooled rows of all lines, float64 [lines,emb]; NULL on error. In the caller's scope. */
static ag_tensor *embed(ag_encoder *encoder, const token_lines *lines, ag_pooling pooling)
{
    ag_ctx *ctx = ag_ctx_of(ag_module_param(ag_encoder_module(encoder), 0).tensor);
    ag_tensor *all = ag_empty(ctx, AG_F64, AG_SHAPE(lines->count, ag_encoder_config_of(encoder)->emb_size));
    for (int64_t begin = 0; begin < lines->count && all != NULL; begin += BATCH) {
        int64_t count = lines->count - begin < BATCH ? lines->count - begin : BATCH, length[BATCH];
        int32_t length32[BATCH];
        ag_scope_begin(ctx, NULL);
        ag_tensor *tokens = token_lines_batch(ctx, lines, begin, count, length);
        for (int64_t b = 0; b < count; b++)
            length32[b] = (int32_t)length[b];
        ag_tensor *lengths = ag_from_data(ctx, AG_I32, AG_SHAPE(count), length32);
        ag_tensor *hidden = ag_encoder_forward(encoder, tokens, lengths, NULL);
        ag_tensor *pooled = ag_encoder_pool(encoder, hidden, lengths, pooling);
        bool good = pooled != NULL &&
                    ag_copy_into(ag_tensor_slice(all, 0, begin, begin + count, 1), pooled) == AG_OK;
        ag_scope_end(ctx, NULL);
        if (!good)
            return NULL;
    }
    return all;
}

/* Divides each row by its 2-norm; a row of zeros stays. */
static void normalize(double *rows, int64_t count, int64_t emb)
{
    for (int64_t i = 0; i < count; i++) {
        double sum = 0, *row = rows + i * emb;
        for (int64_t c = 0; c < emb; c++)
            sum += row[c] * row[c];
        for (int64_t c = 0; c < emb && sum > 0; c++)
            row[c] /= sqrt(sum);
    }
}

static void print_rows(const double *rows, int64_t count, int64_t emb, int digits)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t c = 0; c < emb; c++)
            ag_printf("%.*g%c", digits, rows[i * emb + c], c + 1 < emb ? ' ' : '\n');
}

/* rows are of length 1 */
static void print_similarity(const double *rows, int64_t count, int64_t emb)
{
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < count; k++) {
            double dot = 0;
            for (int64_t c = 0; c < emb; c++)
                dot += rows[i * emb + c] * rows[k * emb + c];
            ag_printf("%9.6f%c", dot, k + 1 < count ? ' ' : '\n');
        }
}

static bool save(ag_tensor *rows, ag_dtype dtype, const char *path)
{
    ag_named_tensor file = { "embeddings", ag_tensor_cast(rows, dtype) };
    return file.tensor != NULL && ag_safetensors_save(ag_ctx_of(rows), path, &file, 1, NULL, 0) == AG_OK;
}

typedef struct task {
    ag_pooling pooling;
    bool normalize, similarity;
    const char *out;
} task;

static bool encode(ag_ctx *ctx, const model_files *files, const token_lines *lines, const task *t)
{
    ag_encoder *encoder = ag_encoder_from_files(ctx, files->config, files->weights, files->dtype);
    ag_tensor *all = encoder == NULL ? NULL : embed(encoder, lines, t->pooling);
    bool good = all != NULL;
    if (good) {
        int64_t emb = ag_dim(all, 1);
        double *rows = ag_data_mut(all);
        if (t->normalize || t->similarity)
            normalize(rows, lines->count, emb);
        if (t->out != NULL)
            good = save(all, files->dtype, t->out);
        if (t->similarity)
            print_similarity(rows, lines->count, emb);
        else if (t->out == NULL)
            print_rows(rows, lines->count, emb, files->dtype == AG_F32 ? 9 : 17);
    }
    ag_encoder_free(encoder);
    return good;
}

int main(int argc, char **argv)
{
    model_options o = { .dtype = "float32" };
    task what = { .pooling = AG_POOL_MEAN };
    const char *pool = "mean";
    const option options[] = {
        { "--model", OPTION_TEXT, &o.folder, "DIR", "folder with config.json and model.safetensors, or its shards" },
        { "--config", OPTION_TEXT, &o.config, "FILE", "config.json, instead of DIR's" },
        { "--weights", OPTION_TEXT, &o.weights, "FILE", "the weights or their index, instead of DIR's" },
        { "--sentence", OPTION_TEXT, &o.text, "TEXT", "one line, as text" },
        { "--text", OPTION_FLAG, &o.text_lines, NULL, "the lines of stdin are text" },
        { "--tokens", OPTION_TEXT, &o.tokens, "IDS", "one line: \"1 2 3\" [lines of stdin]" },
        { "--tokenizer", OPTION_TEXT, &o.tokenizer, "FILE", "tokenizer.json, instead of DIR's" },
        { "--pool", OPTION_TEXT, &pool, "HOW", "mean of the tokens, or first: the first one, pooled [mean]" },
        { "--normalize", OPTION_FLAG, &what.normalize, NULL, "scale every vector to length 1" },
        { "--similarity", OPTION_FLAG, &what.similarity, NULL, "write the cosine of each pair instead" },
        { "--out", OPTION_TEXT, &what.out, "FILE", "write the vectors to a safetensors file" },
        { "--threads", OPTION_NUMBER, &o.threads, "N", "0: all cores; results do not depend on it [0]" },
        { "--dtype", OPTION_TEXT, &o.dtype, "NAME", "float32 or float64 [float32]" },
    };
    int status = options_read(program, about, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    model_files files;
    if (!model_files_of(&files, program, &o))
        return OPTIONS_WRONG;
    if (strcmp(pool, "mean") != 0 && strcmp(pool, "first") != 0) {
        fprintf(stderr, "%s: --pool is '%s', must be mean or first\n", program, pool);
        return OPTIONS_WRONG;
    }
    what.pooling = strcmp(pool, "mean") == 0 ? AG_POOL_MEAN : AG_POOL_FIRST;
    token_lines lines;
    tokenizer *t;
    if (!token_lines_of(&lines, &t, program, &o, &files))
        return EXIT_FAILURE;
    tokenizer_free(t);
    ag_ctx *ctx = program_context(program, 0, o.threads);
    bool good = ctx != NULL && encode(ctx, &files, &lines, &what);
    token_lines_free(&lines);
    return ctx == NULL ? EXIT_FAILURE : program_end(program, ctx, good);
}
