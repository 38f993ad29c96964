/* SPDX-License-Identifier: MIT
 *
 * decoder_block.c - attention and feed-forward, each with a residual and a norm. x[B,T,emb] -> [B,T,emb].
 *
 * The feed-forward layer drops its own result; the attention's is dropped here.
 */
#include "nn/module_impl.h"

struct ag_decoder_block {
    ag_module module;
    ag_layer_norm_layer *norm1, *norm2;
    ag_mha *attn;
    ag_feed_forward *ff;
    double dropout;
    bool post_norm;
};

ag_decoder_block *ag_decoder_block_new(ag_ctx *ctx, ag_decoder_block_config config)
{
    ag_decoder_block *block = ctx == NULL ? NULL : ag_module_new(ctx, "decoder_block", sizeof *block);
    if (block == NULL)
        return NULL;
    block->dropout = config.dropout;
    block->post_norm = config.post_norm;
    ag_layer_norm_config norm = { config.emb_size, config.norm_eps, config.no_bias, config.dtype };
    block->norm1 = ag_layer_norm_new(ctx, norm);
    ag_module_add_part(&block->module, "norm1", ag_layer_norm_module(block->norm1));
    block->attn = ag_mha_new(ctx, (ag_mha_config){
        .emb_size = config.emb_size,
        .num_heads = config.num_heads,
        .head_size = config.head_size,
        .max_seq_len = config.max_seq_len,
        .dropout = config.dropout,
        .non_causal = config.non_causal,
        .no_bias = config.no_bias,
        .init_std = config.init_std,
        .out_init_std = config.out_init_std,
        .dtype = config.dtype,
    });
    ag_module_add_part(&block->module, "attn", ag_mha_module(block->attn));
    block->norm2 = ag_layer_norm_new(ctx, norm);
    ag_module_add_part(&block->module, "norm2", ag_layer_norm_module(block->norm2));
    block->ff = ag_feed_forward_new(ctx, (ag_feed_forward_config){
        .emb_size = config.emb_size,
        .ff_size = config.ff_size,
        .activation = config.activation,
        .dropout = config.dropout,
        .no_bias = config.no_bias,
        .init_std = config.init_std,
        .out_init_std = config.out_init_std,
        .dtype = config.dtype,
    });
    ag_module_add_part(&block->module, "ff", ag_feed_forward_module(block->ff));
    return ag_module_made(&block->module);
}

static ag_tensor *attend(ag_decoder_block *block, ag_tensor *x)
{
    return ag_module_dropout(&block->module, ag_mha_forward(block->attn, x), block->dropout);
}

ag_tensor *ag_decoder_block_forward(ag_decoder_block *block, ag_tensor *x)
{
    if (block == NULL)
        return NULL;
    ag_module_begin(&block->module);
    if (block->post_norm) {
        x = ag_layer_norm_forward(block->norm1, ag_add(x, attend(block, x)));
        x = ag_layer_norm_forward(block->norm2, ag_add(x, ag_feed_forward_forward(block->ff, x)));
    } else {
        x = ag_add(x, attend(block, ag_layer_norm_forward(block->norm1, x)));
        x = ag_add(x, ag_feed_forward_forward(block->ff, ag_layer_norm_forward(block->norm2, x)));
    }
    return ag_scope_end(block->module.ctx, x);
}

ag_mha *ag_decoder_block_attn(ag_decoder_block *block)
{
    return block == NULL ? NULL : block->attn;
}

ag_module *ag_decoder_block_module(ag_decoder_block *block)
{
    return block == NULL ? NULL : &block->module;
}

void ag_decoder_block_free(ag_decoder_block *block)
{
    ag_module_free(ag_decoder_block_module(block));
}
