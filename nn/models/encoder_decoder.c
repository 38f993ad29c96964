/* SPDX-License-Identifier: MIT
 *
 * encoder_decoder.c - two transformers: the encoder reads the source, the decoder writes the target.
 *
 *     memory = encoder(source)            [B,S,emb]
 *     logits = decoder(target, memory)    [B,T,V]: causal, and in each block cross-attention over memory
 * (Vaswani et al., "Attention is all you need", 2017.)
 */
#include "nn/models/transformer_impl.h"

#include <inttypes.h>

static const char encoder_decoder_kind[] = "encoder_decoder";

struct ag_encoder_decoder {
    ag_module module;
    ag_transformer *encoder, *decoder;
};

static bool encoder_decoder_check_config(ag_ctx *ctx, const ag_encoder_decoder_config *c)
{
    const ag_transformer_config *e = &c->encoder, *d = &c->decoder;
    if (e->dtype != d->dtype)
        ag_fail(ctx, AG_ERR_DTYPE, encoder_decoder_kind, "the encoder is %s, the decoder %s", ag_dtype_name(e->dtype),
                ag_dtype_name(d->dtype));
    else if (c->shared_embedding && (e->vocab_size != d->vocab_size || e->emb_size != d->emb_size))
        ag_fail(ctx, AG_ERR_ARGUMENT, encoder_decoder_kind, "shared_embedding: vocab_size is %" PRId64 " and %" PRId64
                ", emb_size %" PRId64 " and %" PRId64 "; must be equal", e->vocab_size, d->vocab_size, e->emb_size,
                d->emb_size);
    else
        return true;
    return false;
}

ag_encoder_decoder *ag_encoder_decoder_new(ag_ctx *ctx, ag_encoder_decoder_config config)
{
    if (ctx == NULL || !encoder_decoder_check_config(ctx, &config))
        return NULL;
    ag_encoder_decoder *model = ag_module_new(ctx, encoder_decoder_kind, sizeof *model);
    if (model == NULL)
        return NULL;
    config.encoder.non_causal = true;
    config.decoder.non_causal = false;
    model->encoder = ag_transformer_new(ctx, "encoder", sizeof *model->encoder, config.encoder,
                                        (ag_transformer_role){ .head = false });
    ag_module_add_part(&model->module, "encoder", model->encoder == NULL ? NULL : &model->encoder->module);
    if (model->encoder != NULL) {
        ag_embedding_layer *shared = config.shared_embedding ? model->encoder->tok : NULL;
        model->decoder = ag_transformer_new(
            ctx, "decoder", sizeof *model->decoder, config.decoder,
            (ag_transformer_role){ .head = true, .memory_size = config.encoder.emb_size, .tok = shared });
        ag_module_add_part(&model->module, "decoder", model->decoder == NULL ? NULL : &model->decoder->module);
    }
    return ag_module_made(&model->module);
}

static ag_tensor *encoder_decoder_encode(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths)
{
    const ag_transformer_inputs with = { .lengths = source_lengths };
    return ag_transformer_hidden(model->encoder, source, &with);
}

static ag_tensor *encoder_decoder_decode(ag_encoder_decoder *model, ag_tensor *target, ag_tensor *memory,
                                         ag_tensor *source_lengths, ag_kv_cache *cache)
{
    const ag_transformer_inputs with = { .memory = memory, .memory_lengths = source_lengths, .cache = cache };
    return ag_transformer_logits(model->decoder, target, &with);
}

ag_tensor *ag_encoder_decoder_forward(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths,
                                      ag_tensor *target)
{
    if (model == NULL)
        return NULL;
    ag_module_begin(&model->module);
    ag_tensor *memory = encoder_decoder_encode(model, source, source_lengths);
    ag_tensor *logits = memory == NULL ? NULL : encoder_decoder_decode(model, target, memory, source_lengths, NULL);
    return ag_scope_end(model->module.ctx, logits);
}

ag_tensor *ag_encoder_decoder_encode(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths)
{
    if (model == NULL)
        return NULL;
    ag_module_begin(&model->module);
    return ag_scope_end(model->module.ctx, encoder_decoder_encode(model, source, source_lengths));
}

ag_tensor *ag_encoder_decoder_decode(ag_encoder_decoder *model, ag_tensor *target, ag_tensor *memory,
                                     ag_tensor *source_lengths, ag_kv_cache *cache)
{
    if (model == NULL || memory == NULL)
        return NULL;
    ag_module_begin(&model->module);
    return ag_scope_end(model->module.ctx, encoder_decoder_decode(model, target, memory, source_lengths, cache));
}

ag_block *ag_encoder_decoder_block(ag_encoder_decoder *model, bool decoder, int64_t i)
{
    return model == NULL ? NULL : ag_transformer_block(decoder ? model->decoder : model->encoder, i);
}

ag_module *ag_encoder_decoder_module(ag_encoder_decoder *model) { return (ag_module *)model; }
void ag_encoder_decoder_free(ag_encoder_decoder *model) { ag_module_free((ag_module *)model); }
