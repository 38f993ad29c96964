/* SPDX-License-Identifier: MIT
 *
 * attention_new.c - makes what head_attention and mha share: the config with its defaults, projections, norms, tables.
 */
#include "autograd/mask_impl.h"
#include "nn/attention_impl.h"

#include <inttypes.h>

static void attention_fill_size(int64_t *size, int64_t otherwise)
{
    if (*size == 0)
        *size = otherwise;
}

/* Fills in the defaults and checks every field. */
static bool attention_fill_config(ag_ctx *ctx, const char *kind, ag_mha_config *config)
{
    ag_attention_options *options = &config->attention;
    attention_fill_size(&config->key_size, config->emb_size);
    attention_fill_size(&config->value_size, config->emb_size);
    attention_fill_size(&config->value_head_size, config->head_size);
    attention_fill_size(&options->kv_heads, config->num_heads);
#define FITS(rule, in, field) ag_check_##rule(ctx, kind, #field, (in)->field)
    if (!(FITS(size, config, emb_size) && FITS(size, config, num_heads) && FITS(size, config, head_size) &&
          (config->max_seq_len == 0 || FITS(size, config, max_seq_len)) && FITS(size, config, key_size) &&
          FITS(size, config, value_size) && FITS(size, config, value_head_size) && FITS(size, options, kv_heads) &&
          FITS(probability, config, dropout) && FITS(amount, options, scale) && FITS(amount, options, soft_cap) &&
          (options->relative == 0 || FITS(size, options, relative)) && FITS(amount, config, init_std) &&
          FITS(amount, config, out_init_std) && ag_check_real(ctx, kind, config->dtype)))
        return false;
    if (config->num_heads % options->kv_heads != 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "kv_heads is %" PRId64 ", must divide num_heads %" PRId64,
                options->kv_heads, config->num_heads);
    else if (options->mask.causal && config->non_causal)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "mask.causal and non_causal are both set");
    else {
        options->mask.causal = !config->non_causal;
        return true;
    }
    return false;
}

static ag_linear_layer *attention_add_linear(ag_attention_layer *layer, const char *name, int64_t in, int64_t out)
{
    const ag_mha_config *config = &layer->config;
    ag_linear_layer *part = ag_linear_new(layer->module.ctx, (ag_linear_config){
        .in_features = in,
        .out_features = out,
        .no_bias = config->no_bias,
        .init_std = config->init_std,
        .dtype = config->dtype,
    });
    ag_module_add_part(&layer->module, name, ag_linear_module(part));
    return part;
}

static ag_rms_norm_layer *attention_add_norm(ag_attention_layer *layer, const char *name)
{
    ag_rms_norm_layer *part = ag_rms_norm_new(
        layer->module.ctx, (ag_rms_norm_config){ .size = layer->config.head_size, .dtype = layer->config.dtype });
    ag_module_add_part(&layer->module, name, ag_rms_norm_module(part));
    return part;
}

void *ag_attention_new(ag_ctx *ctx, const char *kind, size_t size, ag_mha_config config)
{
    if (!attention_fill_config(ctx, kind, &config))
        return NULL;
    ag_attention_layer *layer = ag_module_new(ctx, kind, size);
    if (layer == NULL)
        return NULL;
    const ag_attention_options *options = &config.attention;
    ag_module *module = &layer->module;
    module->forget = ag_attention_forget;
    layer->config = config;
    ag_tensor *tensor[AG_MASK_TENSORS];
    ag_mask_tensors(&options->mask, tensor);
    for (int i = 0; i < AG_MASK_TENSORS; i++)
        ag_retain(tensor[i]);
    layer->q = attention_add_linear(layer, "q", config.emb_size, config.num_heads * config.head_size);
    layer->k = attention_add_linear(layer, "k", config.key_size, options->kv_heads * config.head_size);
    layer->v = attention_add_linear(layer, "v", config.value_size, options->kv_heads * config.value_head_size);
    if (options->qk_norm) {
        layer->q_norm = attention_add_norm(layer, "q_norm");
        layer->k_norm = attention_add_norm(layer, "k_norm");
    }
    if (options->relative > 0)
        layer->relative = ag_module_add_param(module, "relative", config.dtype,
                                              AG_SHAPE(config.num_heads, 2 * options->relative + 1),
                                              (ag_init){ AG_INIT_CONSTANT, 0 });
    ag_scope_begin(ctx, NULL);
    module->failed = module->failed || (options->alibi != NULL && !options->alibi->begin(layer)) ||
                     (options->rotary != NULL && !options->rotary->begin(layer));
    ag_scope_end(ctx, NULL);
    return ag_module_made(module);
}
