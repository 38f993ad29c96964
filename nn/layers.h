/* SPDX-License-Identifier: MIT
 *
 * layers.h - embedding, norms, dropout, feed-forward and the transformer block; each with the functions that nn.h
 * lists for every layer.
 */
#ifndef AG_LAYERS_H
#define AG_LAYERS_H

#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Embedding: y = weight[index]. index[..] int32 -> [..,emb] ------------------------------- */

typedef struct ag_embedding_config {
    int64_t num_embeddings, emb_size;
    double init_std; /* weight normal(0, init_std); 0: 1 */
    ag_dtype dtype;
} ag_embedding_config;

typedef struct ag_embedding_layer ag_embedding_layer;
AG_OWNED ag_embedding_layer *ag_embedding_new(ag_ctx *ctx, ag_embedding_config config); /* weight[num,emb] */
ag_tensor *ag_embedding_forward(ag_embedding_layer *layer, ag_tensor *index);
ag_module *ag_embedding_module(ag_embedding_layer *layer);
void ag_embedding_free(AG_TAKES ag_embedding_layer *layer);

/* ---- Norms over the last dim. x[..,size] -> [..,size] ------------------------------------------
 * Layer norm: y = (x - mean(x)) / sqrt(var(x) + eps) w + b, var divided by size (Ba, Kiros, Hinton, 2016).
 * RMS norm:   y = x / sqrt(mean(x^2) + eps) w (Zhang and Sennrich, 2019). Initially w = 1, b = 0. */

typedef struct ag_layer_norm_config {
    int64_t size;
    double eps; /* 0: 1e-5 */
    bool no_bias;
    ag_dtype dtype;
} ag_layer_norm_config;

typedef struct ag_layer_norm_layer ag_layer_norm_layer;
AG_OWNED ag_layer_norm_layer *ag_layer_norm_new(ag_ctx *ctx, ag_layer_norm_config config); /* weight, bias */
ag_tensor *ag_layer_norm_forward(ag_layer_norm_layer *layer, ag_tensor *x);
ag_module *ag_layer_norm_module(ag_layer_norm_layer *layer);
void ag_layer_norm_free(AG_TAKES ag_layer_norm_layer *layer);

typedef struct ag_rms_norm_config {
    int64_t size;
    double eps; /* 0: 1e-6 */
    ag_dtype dtype;
} ag_rms_norm_config;

typedef struct ag_rms_norm_layer ag_rms_norm_layer;
AG_OWNED ag_rms_norm_layer *ag_rms_norm_new(ag_ctx *ctx, ag_rms_norm_config config); /* weight */
ag_tensor *ag_rms_norm_forward(ag_rms_norm_layer *layer, ag_tensor *x);
ag_module *ag_rms_norm_module(ag_rms_norm_layer *layer);
void ag_rms_norm_free(AG_TAKES ag_rms_norm_layer *layer);

/* Which of the two a block has. */
typedef enum ag_norm_kind { AG_LAYER_NORM, AG_RMS_NORM } ag_norm_kind;

/* ---- Dropout: x unless it is active (ag_module_set_training); then each element is 0 with probability p, else
 * x / (1 - p). (Srivastava et al., 2014.) ------------------------------------------------------- */

typedef struct ag_dropout_config {
    double p;
} ag_dropout_config;

typedef struct ag_dropout_layer ag_dropout_layer;
AG_OWNED ag_dropout_layer *ag_dropout_new(ag_ctx *ctx, ag_dropout_config config);
ag_tensor *ag_dropout_forward(ag_dropout_layer *layer, ag_tensor *x);
ag_module *ag_dropout_module(ag_dropout_layer *layer);
void ag_dropout_free(AG_TAKES ag_dropout_layer *layer);

/* ---- Feed-forward: down(activation(up(x))). x[..,emb] -> [..,emb] -------------------------------
 * gated: down(activation(gate(x)) * up(x)), which is SwiGLU with AG_SILU and GEGLU with AG_GELU.
 * (Shazeer, "GLU variants improve transformer", 2020.) */

typedef enum ag_activation { AG_GELU, AG_GELU_TANH, AG_RELU, AG_SILU } ag_activation;

typedef struct ag_feed_forward_config {
    int64_t emb_size;
    int64_t ff_size; /* 0: 4 emb_size */
    ag_activation activation;
    bool gated;
    double inner_dropout; /* of the input of down */
    double dropout;       /* of the result */
    bool no_bias;
    double init_std, out_init_std; /* of up and gate, and of down, as in ag_linear_config; out_init_std 0: init_std */
    ag_dtype dtype;
} ag_feed_forward_config;

typedef struct ag_feed_forward ag_feed_forward;
AG_OWNED ag_feed_forward *ag_feed_forward_new(ag_ctx *ctx, ag_feed_forward_config config); /* up, gate if gated, down */
ag_tensor *ag_feed_forward_forward(ag_feed_forward *layer, ag_tensor *x);
ag_module *ag_feed_forward_module(ag_feed_forward *layer);
void ag_feed_forward_free(AG_TAKES ag_feed_forward *layer);

/* ---- Transformer block: attention and feed-forward, each with a residual and a norm -------------
 *     pre-norm (default)   x = x + attn(norm1(x));  x = x + cross(norm_cross(x), memory);  x = x + ff(norm2(x))
 *     post_norm            x = norm1(x + attn(x));  x = norm_cross(x + cross(x, memory));  x = norm2(x + ff(x))
 *     parallel             x = x + attn(norm1(x)) + ff(norm2(x));  one_norm: norm1 in place of norm2
 * The middle step exists if config.cross is true.
 * (Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in the transformer
 * architecture", 2020.) */

typedef struct ag_block_config {
    int64_t emb_size, num_heads, head_size, max_seq_len, ff_size; /* as in ag_mha_config, ag_feed_forward_config */
    ag_activation activation;
    bool gated;
    ag_norm_kind norm;
    double norm_eps;
    double dropout;    /* of attention weights, attention output and feed-forward output */
    double ff_dropout; /* inner_dropout of the feed-forward layer */
    bool non_causal, no_bias, post_norm;
    bool parallel; /* excludes post_norm and cross; as in GPT-NeoX */
    bool one_norm; /* of a parallel block; as in Phi */
    bool no_attn_bias, no_ff_bias; /* no_bias of the attention and feed-forward layers alone */
    bool cross;          /* attention over a second sequence, memory */
    int64_t memory_size; /* channels of memory; 0: emb_size */
    ag_attention_options attention; /* of attn; cross uses kv_heads, scale, soft_cap, qk_norm*, no_proj_bias */
    double init_std, out_init_std;  /* out_init_std: of attn.proj, cross.proj and ff.down */
    ag_dtype dtype;
} ag_block_config;

/* Inputs of one forward pass besides x. */
typedef struct ag_block_inputs {
    ag_attend attn;      /* of the self-attention: mask, bias, positions, cache */
    ag_tensor *memory;   /* [B,S,memory_size]; required by a block with cross, an error without */
    ag_mask memory_mask; /* of the cross-attention: key_lengths of memory */
} ag_block_inputs;

typedef struct ag_block ag_block;
/* norm1, attn, norm_cross and cross if config.cross, norm2 unless one_norm, ff */
AG_OWNED ag_block *ag_block_new(ag_ctx *ctx, ag_block_config config);
ag_tensor *ag_block_forward(ag_block *block, ag_tensor *x);
ag_tensor *ag_block_forward_with(ag_block *block, ag_tensor *x, ag_block_inputs with);
ag_mha *ag_block_attn(ag_block *block);  /* borrowed, as for its attention weights */
ag_mha *ag_block_cross(ag_block *block); /* borrowed; NULL: it has none */
ag_module *ag_block_module(ag_block *block);
void ag_block_free(AG_TAKES ag_block *block);

#ifdef __cplusplus
}
#endif

#endif
