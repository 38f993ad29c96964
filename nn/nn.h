/* SPDX-License-Identifier: MIT
 *
 * nn.h - modules, layers, attention, optimizers, schedules.
 *
 * A layer is made from a config whose zero fields mean the documented default, runs with its forward function,
 * and is freed before its context. Its parameters have names: weights are [out,in] and the names the field's
 * ("blocks.0.attn.q.weight"). Every layer is a module: ag_<layer>_module gives the view of it that lists, saves
 * and loads parameters. Parameters require gradients and draw their first values from the context's stream.
 * B batch, T time, emb the model's channels, H heads, D head size, V vocabulary. [..] is any leading shape.
 */
#ifndef AG_NN_H
#define AG_NN_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Modules --------------------------------------------------------------------------------- */

typedef struct ag_module ag_module;

/* Named parameters, those of parts included, in the order of the layer's description; names are the path from
 * this module ("attn.q.weight") and live as long as the context. A tied parameter is listed once. */
int64_t ag_module_param_count(const ag_module *module);
ag_named_tensor ag_module_param(const ag_module *module, int64_t i);      /* i in 0 .. count-1 */
ag_tensor *ag_module_find(const ag_module *module, const char *name);     /* NULL: no such parameter */
int64_t ag_module_numel(const ag_module *module);                         /* elements of all parameters */
void ag_module_zero_grad(ag_module *module);

/* How many parameters have no gradient, and the first `capacity` of them into unused[]: after a backward pass, those
 * that the loss does not depend on. */
int64_t ag_unused_parameters(const ag_module *module, ag_named_tensor *unused, int64_t capacity);

/* Dropout works while a tape records and the module trains (as it does at first), and never otherwise. */
void ag_module_set_training(ag_module *module, bool training);

/* A module of one's own: parts under one name each, listed, trained and saved together. ag_group_add takes the part
 * over, also on error (a name that is taken): it is freed with the group. A part NULL only hands the error on. */
AG_OWNED ag_module *ag_group_new(ag_ctx *ctx, const char *kind);
ag_status ag_group_add(ag_module *group, const char *name, AG_TAKES ag_module *part);
void ag_group_free(AG_TAKES ag_module *group);

/* ---- Linear: y = x W^T + b. x[..,in] -> [..,out] --------------------------------------------- */

typedef struct ag_linear_config {
    int64_t in_features, out_features;
    bool no_bias;
    double init_std; /* 0: weight and bias uniform in +-1/sqrt(in). Else: weight normal(0, init_std), bias 0 */
    ag_dtype dtype;
} ag_linear_config;

typedef struct ag_linear_layer ag_linear_layer; /* ag_linear is the op */
AG_OWNED ag_linear_layer *ag_linear_new(ag_ctx *ctx, ag_linear_config config); /* weight[out,in], bias[out] */
ag_tensor *ag_linear_forward(ag_linear_layer *layer, ag_tensor *x);
ag_module *ag_linear_module(ag_linear_layer *layer);
void ag_linear_free(AG_TAKES ag_linear_layer *layer);

/* ---- Embedding: rows of a table. index[..] int32 -> [..,emb] --------------------------------- */

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

/* ---- Layer norm over the last dim. x[..,size] -> [..,size] ----------------------------------- */

typedef struct ag_layer_norm_config {
    int64_t size;
    double eps; /* 0: 1e-5 */
    bool no_bias;
    ag_dtype dtype;
} ag_layer_norm_config;

typedef struct ag_layer_norm_layer ag_layer_norm_layer;
AG_OWNED ag_layer_norm_layer *ag_layer_norm_new(ag_ctx *ctx, ag_layer_norm_config config); /* weight 1, bias 0 */
ag_tensor *ag_layer_norm_forward(ag_layer_norm_layer *layer, ag_tensor *x);
ag_module *ag_layer_norm_module(ag_layer_norm_layer *layer);
void ag_layer_norm_free(AG_TAKES ag_layer_norm_layer *layer);

/* ---- RMS norm over the last dim: x / sqrt(mean(x^2) + eps) w. x[..,size] -> [..,size] ---------- */

typedef struct ag_rms_norm_config {
    int64_t size;
    double eps; /* 0: 1e-6 */
    ag_dtype dtype;
} ag_rms_norm_config;

typedef struct ag_rms_norm_layer ag_rms_norm_layer;
AG_OWNED ag_rms_norm_layer *ag_rms_norm_new(ag_ctx *ctx, ag_rms_norm_config config); /* weight 1 */
ag_tensor *ag_rms_norm_forward(ag_rms_norm_layer *layer, ag_tensor *x);
ag_module *ag_rms_norm_module(ag_rms_norm_layer *layer);
void ag_rms_norm_free(AG_TAKES ag_rms_norm_layer *layer);

/* The norm of a block: which of the two layers. */
typedef enum ag_norm_kind { AG_LAYER_NORM, AG_RMS_NORM } ag_norm_kind;

/* ---- Dropout --------------------------------------------------------------------------------- */

typedef struct ag_dropout_config {
    double p; /* 0 <= p < 1 */
} ag_dropout_config;

typedef struct ag_dropout_layer ag_dropout_layer;
AG_OWNED ag_dropout_layer *ag_dropout_new(ag_ctx *ctx, ag_dropout_config config);
ag_tensor *ag_dropout_forward(ag_dropout_layer *layer, ag_tensor *x);
ag_module *ag_dropout_module(ag_dropout_layer *layer);
void ag_dropout_free(AG_TAKES ag_dropout_layer *layer);

/* ---- Feed-forward: down(activation(up(x))). x[..,emb] -> [..,emb] -------------------------------
 * gated: down(activation(gate(x)) * up(x)); with AG_SILU that is SwiGLU, with AG_GELU GEGLU.
 * (Shazeer, "GLU variants improve transformer", 2020.) */

typedef enum ag_activation { AG_GELU, AG_GELU_TANH, AG_RELU, AG_SILU } ag_activation;

typedef struct ag_feed_forward_config {
    int64_t emb_size;
    int64_t ff_size; /* 0: 4 emb_size */
    ag_activation activation;
    bool gated;
    double inner_dropout; /* of what goes into down */
    double dropout;       /* of the result */
    bool no_bias;
    double init_std, out_init_std; /* of up and of down, as in ag_linear_config; out_init_std 0: init_std */
    ag_dtype dtype;
} ag_feed_forward_config;

typedef struct ag_feed_forward ag_feed_forward;
AG_OWNED ag_feed_forward *ag_feed_forward_new(ag_ctx *ctx, ag_feed_forward_config config); /* up, gate if gated, down */
ag_tensor *ag_feed_forward_forward(ag_feed_forward *layer, ag_tensor *x);
ag_module *ag_feed_forward_module(ag_feed_forward *layer);
void ag_feed_forward_free(AG_TAKES ag_feed_forward *layer);

/* ---- What attention layers have in common -------------------------------------------------------- */

/* What kind of attention; {0}: the plain one. */
typedef struct ag_attention_options {
    ag_mask mask;     /* who looks at whom, for every call: pattern, blocks. causal comes from the layer's non_causal */
    int64_t kv_heads; /* key and value heads, which divide num_heads; 0: num_heads; 1: multi-query */
    double scale;     /* 0: 1 / sqrt(head_size) */
    double soft_cap;  /* 0: none */
    bool qk_norm;     /* RMS norm of each query and each key over head_size, before they turn: q_norm, k_norm */
    bool rotary;      /* queries and keys turn with their positions: */
    ag_rope_config rope;
    bool alibi;       /* scores fall with distance, the published slopes */
    int64_t relative; /* R > 0: a learned bias for each distance up to R: relative[H,2R+1], first 0 */
} ag_attention_options;

/* Keys and values of earlier passes, for generating token by token: models.h. */
typedef struct ag_kv_cache ag_kv_cache;

/* What one forward pass brings besides x; {0}: self-attention on the whole of x. */
typedef struct ag_attend {
    ag_tensor *memory;    /* cross-attention: keys and values come from memory[B,S,key_size]. NULL: from x */
    ag_tensor *values;    /* values from here [B,S,value_size] and not from memory */
    ag_mask mask;         /* of this call: lengths, documents, ...; what the options set too is an error */
    ag_tensor *bias;      /* broadcasts to [B,H,T,S]; gets a gradient */
    ag_tensor *positions; /* int32 [B,T], where rotary queries and keys stand; NULL: in order, behind what is cached */
    ag_kv_cache *cache;   /* keys and values join it, and all of it is attended to. Causal self-attention with the
                             layer's own mask alone; or cross-attention: what it makes of memory is kept */
    int64_t layer;        /* which of the cache's layers this is */
    const int64_t *counts; /* with a cache: how many of the T are of entry b, the first ones; NULL: all */
} ag_attend;

/* ---- Head attention: one head. x[B,T,emb] -> [B,T,head_size] ------------------------------------
 * Q, K, V = q(x), k(x), v(x); O = softmax(Q K^T / sqrt(head_size), lower triangle) V.
 * T > max_seq_len is an error that names both; max_seq_len 0: any length. */

typedef struct ag_head_attention_config {
    int64_t emb_size, head_size, max_seq_len;
    double dropout; /* of the weights */
    bool non_causal;
    bool no_bias;
    ag_attention_options attention;
    double init_std; /* as in ag_linear_config */
    ag_dtype dtype;
} ag_head_attention_config;

typedef struct ag_head_attention ag_head_attention;
AG_OWNED ag_head_attention *ag_head_attention_new(ag_ctx *ctx, ag_head_attention_config config); /* q, k, v */
ag_tensor *ag_head_attention_forward(ag_head_attention *layer, ag_tensor *x);
ag_tensor *ag_head_attention_forward_with(ag_head_attention *layer, ag_tensor *x, ag_attend with);
/* The weights of the last forward, as the layer masked them, before dropout: [B,T,T]. They are computed from the
 * queries and keys that ran and change nothing. An error when the layer has not run, or ran inside ag_recompute with a
 * tape: it keeps no queries and keys then. */
ag_tensor *ag_head_attention_weights(ag_head_attention *layer);
ag_tensor *ag_head_attention_weights_of(ag_head_attention *layer, ag_weights_of which); /* [B,rows,T]; no heads */
ag_module *ag_head_attention_module(ag_head_attention *layer);
void ag_head_attention_free(AG_TAKES ag_head_attention *layer);

/* ---- Multi-head attention. x[B,T,emb] -> [B,T,emb] ----------------------------------------------
 * q, k, v project to heads of head_size, the heads attend in parallel, proj joins them. Head h has rows
 * h*head_size .. (h+1)*head_size - 1 of q, k and v. */

typedef struct ag_mha_config {
    int64_t emb_size, num_heads;
    int64_t head_size; /* 0: emb_size / num_heads, which must divide */
    int64_t max_seq_len; /* 0: any length */
    int64_t key_size, value_size; /* channels of what keys and values are made of; 0: emb_size */
    int64_t value_head_size;      /* of a value row; 0: head_size */
    double dropout; /* of the weights */
    bool non_causal;
    bool no_bias;
    ag_attention_options attention;
    double init_std, out_init_std; /* of q, k, v and of proj, as in ag_feed_forward_config */
    ag_dtype dtype;
} ag_mha_config;

typedef struct ag_mha ag_mha;
/* q, k, v, then q_norm, k_norm, relative if asked for, proj */
AG_OWNED ag_mha *ag_mha_new(ag_ctx *ctx, ag_mha_config config);
ag_tensor *ag_mha_forward(ag_mha *layer, ag_tensor *x);
ag_tensor *ag_mha_forward_with(ag_mha *layer, ag_tensor *x, ag_attend with);
ag_tensor *ag_mha_weights(ag_mha *layer); /* [B,H,T,S], see ag_head_attention_weights */
ag_tensor *ag_mha_weights_of(ag_mha *layer, ag_weights_of which); /* [B,heads,rows,S] */
/* How many queries of the last forward saw no key at all, over all heads; where[3] (may be NULL) gets batch entry,
 * head and query of the first. They gave zeros: a program may want to warn. */
int64_t ag_mha_blind_queries(ag_mha *layer, int64_t *where);
ag_module *ag_mha_module(ag_mha *layer);
void ag_mha_free(AG_TAKES ag_mha *layer);

/* ---- Transformer block: attention and feed-forward, each with a residual and a norm -------------
 * pre-norm (default): x += attn(norm1(x)); x += ff(norm2(x)). post_norm: x = norm1(x + attn(x)); x = norm2(x + ff(x)).
 * With cross, between the two: attention over another sequence, memory, with norm_cross. non_causal makes an encoder's
 * block, cross an encoder-decoder's.
 * (Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in the transformer
 * architecture", 2020.) */

typedef struct ag_block_config {
    int64_t emb_size, num_heads, head_size, max_seq_len, ff_size; /* as in their layers */
    ag_activation activation;
    bool gated;
    ag_norm_kind norm;
    double norm_eps;
    double dropout;    /* of attention weights, attention output and feed-forward output */
    double ff_dropout; /* inside feed-forward */
    bool non_causal, no_bias, post_norm;
    bool cross;
    int64_t memory_size; /* channels of memory; 0: emb_size */
    ag_attention_options attention; /* of attn; of cross only heads, scale, soft_cap and qk_norm */
    double init_std, out_init_std; /* out_init_std: of attn.proj and ff.down */
    ag_dtype dtype;
} ag_block_config;

/* What one forward pass brings besides x. */
typedef struct ag_block_inputs {
    ag_attend attn;      /* of the self-attention: mask, bias, positions, cache */
    ag_tensor *memory;   /* [B,S,memory_size]; a block with cross wants it */
    ag_mask memory_mask; /* of the cross-attention: key_lengths of memory */
} ag_block_inputs;

typedef struct ag_block ag_block;
/* Parts: norm1, attn, norm_cross and cross if asked for, norm2, ff. */
AG_OWNED ag_block *ag_block_new(ag_ctx *ctx, ag_block_config config);
ag_tensor *ag_block_forward(ag_block *block, ag_tensor *x);
ag_tensor *ag_block_forward_with(ag_block *block, ag_tensor *x, ag_block_inputs with);
ag_mha *ag_block_attn(ag_block *block);  /* borrowed; for its weights */
ag_mha *ag_block_cross(ag_block *block); /* NULL: it has none */
ag_module *ag_block_module(ag_block *block);
void ag_block_free(AG_TAKES ag_block *block);

/* ---- Optimizers: torch.optim's semantics ----------------------------------------------------- */

typedef struct ag_sgd_config {
    double lr; /* > 0 */
    double momentum, dampening, weight_decay;
    bool nesterov; /* wants momentum > 0 and dampening 0 */
} ag_sgd_config;

typedef struct ag_adamw_config {
    double lr;           /* > 0 */
    double beta1, beta2; /* 0: 0.9 and 0.999 */
    double eps;          /* 0: 1e-8 */
    double weight_decay; /* on parameters of two and more dims only, as is usual for GPT */
    bool decay_all;      /* on every parameter, as torch.optim.AdamW does with one group */
} ag_adamw_config;

typedef struct ag_optimizer ag_optimizer;
/* An optimizer of the module's parameters; freed before the module. */
AG_OWNED ag_optimizer *ag_sgd_new(ag_module *module, ag_sgd_config config);
AG_OWNED ag_optimizer *ag_adamw_new(ag_module *module, ag_adamw_config config);
void ag_optimizer_free(AG_TAKES ag_optimizer *optimizer);

/* One step on every parameter that has a gradient; gradients stay as they are. Does nothing but return the
 * error when one stands, so that one check of the step covers forward, backward and step. */
ag_status ag_optimizer_step(ag_optimizer *optimizer);
void ag_optimizer_set_lr(ag_optimizer *optimizer, double lr);
double ag_optimizer_lr(const ag_optimizer *optimizer);

/* Scales all gradients by max_norm / norm when their global 2-norm is larger. `norm` (may be NULL) gets the norm
 * before. A norm that is not finite is an error that names the parameter, and nothing is scaled. */
ag_status ag_clip_grad_norm(ag_module *module, double max_norm, double *norm);

/* ---- Learning-rate schedules: pure functions of the step, counted from 0 --------------------- */

typedef enum ag_schedule_kind { AG_LR_CONSTANT, AG_LR_LINEAR, AG_LR_COSINE } ag_schedule_kind;

typedef struct ag_schedule {
    ag_schedule_kind kind;
    double lr;            /* the peak */
    double min_lr;        /* what linear and cosine end at */
    int64_t warmup_steps; /* linear from lr / warmup_steps up to lr first, for every kind */
    int64_t total_steps;  /* min_lr is reached at the last step, total_steps - 1 */
} ag_schedule;

double ag_schedule_lr(const ag_schedule *schedule, int64_t step);

#ifdef __cplusplus
}
#endif

#endif
