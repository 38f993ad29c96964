/* SPDX-License-Identifier: MIT
 *
 * encoder.c - the transformer of transformer.c without a causal mask, tokens[B,T] -> hidden[B,T,emb]; and pooling to
 * one row per sequence, [B,emb].
 */
#include "nn/models/transformer_impl.h"

#include <inttypes.h>

static const char encoder_kind[] = "encoder";

struct ag_encoder {
    ag_transformer model;
    ag_linear_layer *pooler; /* NULL: none */
};

ag_encoder *ag_encoder_new(ag_ctx *ctx, ag_transformer_config config)
{
    config.non_causal = true;
    ag_transformer_role role = { .pooler = true };
    ag_encoder *encoder = ag_transformer_new(ctx, encoder_kind, sizeof *encoder, config, role);
    if (encoder == NULL || !config.pooler)
        return encoder;
    encoder->pooler = ag_linear_new(ctx, (ag_linear_config){ .in_features = config.emb_size,
                                                             .out_features = config.emb_size,
                                                             .init_std = AG_TRANSFORMER_INIT_STD,
                                                             .dtype = config.dtype });
    ag_module_add_part(&encoder->model.module, "pooler", ag_linear_module(encoder->pooler));
    return ag_module_made(&encoder->model.module);
}

ag_tensor *ag_encoder_forward(ag_encoder *encoder, ag_tensor *tokens, ag_tensor *lengths, ag_tensor *types)
{
    const ag_transformer_inputs with = { .types = types, .lengths = lengths };
    return encoder == NULL ? NULL : ag_transformer_hidden(&encoder->model, tokens, &with);
}

/* ---- Pooling ---- */

/* The mean of the first lengths[b] rows of rows[B,T,emb], [B,emb]; 0 for a length of 0. The other rows are not read:
 * they may be NaN. */
static ag_tensor *encoder_mean_of_first(ag_tensor *rows, const ag_tensor *lengths)
{
    ag_ctx *ctx = rows->ctx;
    int64_t B = rows->shape[0], T = rows->shape[1];
    ag_tensor *counted = ag_zeros(ctx, AG_I32, AG_SHAPE(B, T, 1)), *share = ag_zeros(ctx, AG_F64, AG_SHAPE(B, 1));
    int32_t *flag = counted == NULL ? NULL : ag_data_mut(counted);
    double *factor = share == NULL ? NULL : ag_data_mut(share);
    for (int64_t b = 0; b < B && flag != NULL && factor != NULL; b++) {
        double length = 0;
        ag_get(lengths, &b, &length);
        int64_t n = length < (double)T ? (int64_t)length : T;
        factor[b] = n > 0 ? 1 / (double)n : 0;
        for (int64_t t = 0; t < n; t++)
            flag[b * T + t] = 1;
    }
    ag_tensor *seen = ag_where(counted, rows, ag_zeros(ctx, rows->dtype, 0, NULL));
    return ag_mul(ag_sum(seen, AG_DIMS(1), false), ag_tensor_cast(share, rows->dtype));
}

static bool encoder_check_pooling(const ag_encoder *encoder, const ag_tensor *hidden, const ag_tensor *lengths,
                                  ag_pooling pooling)
{
    ag_ctx *ctx = encoder->model.module.ctx;
    int64_t emb = encoder->model.config.emb_size;
    if (hidden->ndim != 3 || hidden->shape[1] < 1 || hidden->shape[2] != emb)
        ag_fail(ctx, AG_ERR_SHAPE, encoder_kind, "hidden is %s, must be [B,T,%" PRId64 "] with a token",
                ag_shape_text(hidden), emb);
    else if (pooling != AG_POOL_MEAN && pooling != AG_POOL_FIRST)
        ag_fail(ctx, AG_ERR_ARGUMENT, encoder_kind, "there is no pooling number %d", (int)pooling);
    else
        return ag_check_lengths(ctx, encoder_kind, lengths, hidden->shape[0], hidden->shape[1]);
    return false;
}

ag_tensor *ag_encoder_pool(ag_encoder *encoder, ag_tensor *hidden, ag_tensor *lengths, ag_pooling pooling)
{
    if (encoder == NULL || hidden == NULL)
        return NULL;
    ag_module_begin(&encoder->model.module);
    ag_tensor *y = NULL;
    if (encoder_check_pooling(encoder, hidden, lengths, pooling)) {
        ag_tensor *rows = pooling == AG_POOL_FIRST ? ag_slice(hidden, 1, 0, 1, 1) : hidden;
        y = rows == NULL || lengths == NULL ? ag_mean(rows, AG_DIMS(1), false) : encoder_mean_of_first(rows, lengths);
        if (pooling == AG_POOL_FIRST && encoder->pooler != NULL)
            y = ag_tanh(ag_linear_forward(encoder->pooler, y));
    }
    return ag_scope_end(encoder->model.module.ctx, y);
}

/* ---- Its parts ---- */

ag_block *ag_encoder_block(ag_encoder *encoder, int64_t i)
{
    return encoder == NULL ? NULL : ag_transformer_block(&encoder->model, i);
}

const ag_transformer_config *ag_encoder_config_of(const ag_encoder *encoder)
{
    return encoder == NULL ? NULL : &encoder->model.config;
}

ag_module *ag_encoder_module(ag_encoder *encoder) { return (ag_module *)encoder; }
void ag_encoder_free(ag_encoder *encoder) { ag_module_free((ag_module *)encoder); }
