/* SPDX-License-Identifier: MIT
 *
 * lm_model.c - see lm_model.h.
 */
#include "examples/lm_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ag_ctx *model_context(const char *program, uint64_t threads, uint64_t seed)
{
    if (threads > AG_MAX_THREADS) {
        fprintf(stderr, "%s: --threads is %llu, must be at most %d\n", program, (unsigned long long)threads,
                AG_MAX_THREADS);
        return NULL;
    }
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = (int)threads });
    if (ctx == NULL)
        fprintf(stderr, "lm: no context: out of memory, or AG_ISA names an instruction set that is not to be had\n");
    return ctx;
}

/* ---- Metadata ---- */

bool model_metadata_make(model_metadata *m, const lm_model *model)
{
    const ag_gpt_config *c = ag_gpt_config_of(model->gpt);
    const struct {
        const char *key;
        double value;
    } number[MODEL_METADATA - 1] = {
        { "lm.context", (double)c->max_seq_len }, { "lm.emb", (double)c->emb_size },
        { "lm.heads", (double)c->num_heads },     { "lm.head_size", (double)c->head_size },
        { "lm.layers", (double)c->num_layers },   { "lm.ff", (double)c->ff_size },
        { "lm.dropout", c->dropout },             { "lm.untied", c->untied_head },
        { "lm.bytes", model->vocab.bytes },
    };
    for (int i = 0; i < MODEL_METADATA - 1; i++) {
        snprintf(m->text[i], sizeof m->text[i], "%.17g", number[i].value);
        m->entry[i] = (ag_metadata){ number[i].key, m->text[i] };
    }
    m->vocab = vocab_text(&model->vocab);
    m->entry[MODEL_METADATA - 1] = (ag_metadata){ "lm.vocab", m->vocab };
    return m->vocab != NULL;
}

void model_metadata_free(model_metadata *m)
{
    free(m->vocab);
    m->vocab = NULL;
}

bool metadata_number(const ag_safetensors *file, const char *key, double *number)
{
    const char *text = ag_safetensors_metadata(file, key);
    char *end = NULL;
    *number = text == NULL ? 0 : strtod(text, &end);
    return text != NULL && end != text && *end == '\0' && isfinite(*number);
}

/* A whole number of at least `least`, or false. */
static bool metadata_count(const ag_safetensors *file, const char *key, int64_t least, int64_t *count)
{
    double number;
    if (!metadata_number(file, key, &number) || number != floor(number) || number < (double)least || number > 1e9)
        return false;
    *count = (int64_t)number;
    return true;
}

bool model_from_metadata(lm_model *model, const ag_safetensors *file, const char *path)
{
    ag_gpt_config c = { .vocab_size = 0 };
    int64_t untied = 0, bytes = 0;
    const char *text = ag_safetensors_metadata(file, "lm.vocab");
    if (text == NULL || !metadata_count(file, "lm.context", 1, &c.max_seq_len) ||
        !metadata_count(file, "lm.emb", 1, &c.emb_size) || !metadata_count(file, "lm.heads", 1, &c.num_heads) ||
        !metadata_count(file, "lm.head_size", 1, &c.head_size) ||
        !metadata_count(file, "lm.layers", 1, &c.num_layers) ||
        !metadata_count(file, "lm.ff", 1, &c.ff_size) || !metadata_count(file, "lm.untied", 0, &untied) ||
        !metadata_count(file, "lm.bytes", 0, &bytes) || !metadata_number(file, "lm.dropout", &c.dropout) ||
        !vocab_from_text(&model->vocab, text, bytes != 0)) {
        fprintf(stderr, "lm: %s is not a model that `lm train` wrote: its metadata does not describe one\n", path);
        return false;
    }
    c.vocab_size = model->vocab.size;
    c.untied_head = untied != 0;
    c.recompute = model->recompute;
    model->gpt = ag_gpt_new(model->ctx, c);
    if (model->gpt == NULL)
        fprintf(stderr, "lm: %s: %s\n", path, ag_error_message(model->ctx));
    return model->gpt != NULL;
}

/* ---- Sampling ---- */

/* The k-th largest of the logits: those below it are out. */
static float threshold(const float *logit, int64_t V, int64_t k)
{
    float top = INFINITY;
    for (int64_t seen = 0; seen < k;) { /* one distinct value a round, downwards; ties stay in together */
        float next = -INFINITY;
        int64_t equal = 0;
        for (int64_t v = 0; v < V; v++) {
            if (logit[v] >= top)
                continue;
            equal = logit[v] > next ? 1 : equal + (logit[v] == next);
            next = logit[v] > next ? logit[v] : next;
        }
        if (equal == 0)
            break;
        top = next;
        seen += equal;
    }
    return top;
}

static int32_t draw_token(ag_ctx *ctx, const float *logit, int64_t V, const sampling *how)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        if (logit[v] > logit[best])
            best = v;
    if (how->temperature == 0)
        return (int32_t)best;
    float least = how->top_k > 0 && how->top_k < V ? threshold(logit, V, how->top_k) : -INFINITY;
    double sum = 0;
    for (int64_t v = 0; v < V; v++)
        if (logit[v] >= least)
            sum += exp(((double)logit[v] - (double)logit[best]) / how->temperature);
    double left = ag_random(ctx) * sum;
    int64_t drawn = best;
    for (int64_t v = 0; v < V; v++) {
        if (!(logit[v] >= least))
            continue;
        left -= exp(((double)logit[v] - (double)logit[best]) / how->temperature);
        drawn = v;
        if (left < 0)
            break;
    }
    return (int32_t)drawn;
}

int32_t model_next_token(lm_model *model, const int32_t *token, int64_t count, const sampling *how)
{
    ag_ctx *ctx = model->ctx;
    int64_t longest = ag_gpt_config_of(model->gpt)->max_seq_len, T = count < longest ? count : longest;
    ag_scope_begin(ctx, NULL);
    ag_tensor *x = ag_from_data(ctx, AG_I32, AG_SHAPE(1, T), token + (count - T));
    ag_tensor *logits = ag_contiguous(ag_select(ag_select(ag_gpt_forward(model->gpt, x), 0, 0), 0, -1));
    int32_t next = logits == NULL ? -1 : draw_token(ctx, ag_data(logits), model->vocab.size, how);
    ag_scope_end(ctx, NULL);
    return next;
}

bool model_write(lm_model *model, const int32_t *prompt, int64_t prompt_count, int64_t length, const sampling *how,
                 FILE *file)
{
    int32_t *token = malloc((size_t)(prompt_count + length) * sizeof *token);
    if (token == NULL) {
        fprintf(stderr, "lm: memory for %lld tokens can not be had\n", (long long)(prompt_count + length));
        return false;
    }
    memcpy(token, prompt, (size_t)prompt_count * sizeof *token);
    text_out out = { .file = file };
    bool good = true;
    for (int64_t i = prompt_count; i < prompt_count + length && good; i++) {
        token[i] = model_next_token(model, token, i, how);
        good = token[i] >= 0;
        if (good)
            text_put(&out, &model->vocab, token[i]);
        if (good && i % 16 == 0)
            fflush(file); /* so that a reader sees it come */
    }
    text_end(&out);
    fflush(file);
    free(token);
    if (!good)
        fprintf(stderr, "lm: %s\n", ag_error_message(model->ctx));
    return good;
}
