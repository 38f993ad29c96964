/* SPDX-License-Identifier: MIT
 *
 * lm_measure.c - see lm_measure.h.
 */
#include "examples/lm/lm_measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Surprise ---- */

static double surprise(const double *logit, int64_t V, int32_t token)
{
    double most = logit[0], sum = 0;
    for (int64_t v = 1; v < V; v++)
        most = logit[v] > most ? logit[v] : most;
    for (int64_t v = 0; v < V; v++)
        sum += exp(logit[v] - most);
    return log(sum) + most - logit[token];
}

typedef struct measuring {
    lm_model *model;
    const int32_t *token;
    int64_t count;
    double *nats;
} measuring;

static void measure_windows(void *measuring_)
{
    measuring *const m = measuring_;
    ag_ctx *ctx = m->model->ctx;
    int64_t V = m->model->vocab.size, T = m->model->context;
    for (int64_t start = 0; start + 1 < m->count && ag_error(ctx) == AG_OK; start += T) {
        int64_t length = m->count - 1 - start < T ? m->count - 1 - start : T;
        ag_scope_begin(ctx, NULL);
        ag_tensor *x = ag_from_data(ctx, AG_I32, AG_SHAPE(1, length), m->token + start);
        ag_tensor *logits = ag_tensor_cast(ag_select(ag_gpt_forward(m->model->gpt, x), 0, 0), AG_F64);
        for (int64_t t = 0; t < length && logits != NULL; t++)
            m->nats[start + t + 1] = surprise((const double *)ag_data(logits) + t * V, V, m->token[start + t + 1]);
        ag_scope_end(ctx, NULL);
    }
}

bool measure_surprise(lm_model *model, const int32_t *token, int64_t count, double *nats)
{
    nats[0] = 0;
    ag_module_set_training(ag_gpt_module(model->gpt), false);
    ag_with_threads(model->ctx, measure_windows, &(measuring){ model, token, count, nats });
    for (int64_t i = 1; i < count && ag_error(model->ctx) == AG_OK; i++)
        if (!isfinite(nats[i])) {
            fprintf(stderr, "lm: the logits after token %lld are not finite\n", (long long)i);
            return false;
        }
    return ag_error(model->ctx) == AG_OK || model_error(model);
}

/* ---- Spans ---- */

/* The bytes of the text that are whole characters; *valid is false when the first byte begins none. */
static int64_t whole_characters(const unsigned char *text, int64_t length, bool *valid)
{
    int64_t at = 0;
    int size;
    *valid = true;
    while (at < length && utf8_decode(text + at, length - at, &size) >= 0)
        at += size;
    int64_t left = length - at, wants = left > 0 ? utf8_length(text[at]) : 0;
    bool unfinished = wants > left;
    for (int64_t i = 1; i < left && unfinished; i++)
        unfinished = (text[at + i] & 0xc0) == 0x80;
    *valid = left == 0 || unfinished;
    return at;
}

void measure_spans(const vocab *v, const int32_t *token, const double *nats, int64_t count, put_span *put, void *user)
{
    unsigned char text[BPE_LONGEST + 4];
    int64_t have = 0;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        unsigned char space[UTF8_BYTES];
        int64_t length;
        const unsigned char *bytes = vocab_bytes(v, token[i], space, &length);
        length = length < (int64_t)sizeof text - have ? length : (int64_t)sizeof text - have;
        memcpy(text + have, bytes, (size_t)length);
        have += length;
        sum += nats[i];
        bool valid;
        int64_t whole = whole_characters(text, have, &valid);
        if (valid && whole < have && i + 1 < count && have < (int64_t)sizeof text)
            continue;
        if (whole > 0)
            put(user, text, whole, sum);
        if (whole < have)
            put(user, (const unsigned char *)"\xef\xbf\xbd", 3, whole > 0 ? 0 : sum);
        have = 0;
        sum = 0;
    }
}

/* ---- Attention ---- */

double *measure_attention(lm_model *model, int64_t layer, const int32_t *token, int64_t count)
{
    ag_ctx *ctx = model->ctx;
    int64_t H = ag_gpt_config_of(model->gpt)->num_heads;
    double *weights = malloc((size_t)(H * count * count) * sizeof *weights);
    ag_module_set_training(ag_gpt_module(model->gpt), false);
    ag_scope_begin(ctx, NULL);
    ag_gpt_forward(model->gpt, ag_from_data(ctx, AG_I32, AG_SHAPE(1, count), token));
    ag_tensor *w = ag_tensor_cast(ag_mha_weights(ag_block_attn(ag_gpt_block(model->gpt, layer))), AG_F64);
    if (w != NULL && weights != NULL)
        memcpy(weights, ag_data(w), (size_t)(H * count * count) * sizeof *weights);
    ag_scope_end(ctx, NULL);
    if (weights == NULL)
        fprintf(stderr, "lm: out of memory for the attention of %lld tokens\n", (long long)count);
    if (weights != NULL && (ag_error(model->ctx) == AG_OK || model_error(model)))
        return weights;
    free(weights);
    return NULL;
}
