/* SPDX-License-Identifier: MIT
 *
 * nn.h - modules, linear, attention, SGD. Other layers: layers.h. AdamW, clipping, schedules: training.h.
 *
 * Every layer has the same functions:
 *     ag_<layer>_new      makes it from a config; a field that is 0 means the documented default; NULL on error
 *     ag_<layer>_forward  runs it; the result is scope-owned; NULL on error
 *     ag_<layer>_module   borrows it as a module, which lists its parameters
 *     ag_<layer>_free     frees it; before the context; NULL does nothing
 * Parameters require gradients, are [out,in], and take their initial values from the context's random stream.
 * Dropout probabilities are in [0, 1). B batch, T time, emb channels of the model, H heads, D head size, V vocabulary;
 * [..] is any leading shape.
 */
#ifndef AG_NN_H
#define AG_NN_H

#include "autograd/autograd.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Modules --------------------------------------------------------------------------------- */

typedef struct ag_module ag_module;

/* Parameters, those of parts included, in the order that the layer's description lists them. A name is the path from
 * this module ("attn.q.weight") and lives as long as the context. A parameter that is used twice is listed once. */
int64_t ag_module_param_count(const ag_module *module);
ag_named_tensor ag_module_param(const ag_module *module, int64_t i);      /* 0 <= i < count; else both NULL */
ag_tensor *ag_module_find(const ag_module *module, const char *name);     /* borrowed; NULL: no such parameter */
int64_t ag_module_numel(const ag_module *module);                         /* elements of all parameters */
void ag_module_zero_grad(ag_module *module);

/* Dropout is active while a tape records and the module is in training mode (initially true, parts included). */
void ag_module_set_training(ag_module *module, bool training);

/* ---- Linear: y = x W^T + b. x[..,in] -> [..,out] --------------------------------------------- */

typedef struct ag_linear_config {
    int64_t in_features, out_features;
    bool no_bias;
    double init_std; /* weight normal(0, init_std), bias 0; 0: weight and bias uniform in +-1/sqrt(in), as in torch */
    ag_dtype dtype;
} ag_linear_config;

typedef struct ag_linear_layer ag_linear_layer; /* ag_linear is the op */
AG_OWNED ag_linear_layer *ag_linear_new(ag_ctx *ctx, ag_linear_config config); /* weight[out,in], bias[out] */
ag_tensor *ag_linear_forward(ag_linear_layer *layer, ag_tensor *x);
ag_module *ag_linear_module(ag_linear_layer *layer);
void ag_linear_free(AG_TAKES ag_linear_layer *layer);

/* ---- Options of every attention layer ---------------------------------------------------------- */

/* Rotary positions; positions.h has their formulas. */
typedef enum ag_rope_pairing {
    AG_ROPE_HALVES,    /* GPT-NeoX, Llama in the transformers package */
    AG_ROPE_NEIGHBOURS /* RoFormer, GPT-J, Llama's own files */
} ag_rope_pairing;

typedef enum ag_rope_scaling {
    AG_ROPE_UNSCALED,
    AG_ROPE_LINEAR, /* w_n / factor (Chen et al., "Extending context window", 2023) */
    AG_ROPE_NTK,    /* theta factor^(R / (R-2)) in place of theta */
    AG_ROPE_LLAMA3, /* w_n / factor for waves longer than original_len / low_freq, w_n for those shorter than
                       original_len / high_freq, a mix between */
    AG_ROPE_YARN    /* with beta 32 and 1, and cos and sin times 0.1 ln(factor) + 1 (Peng et al., "YaRN", 2023) */
} ag_rope_scaling;

typedef struct ag_rope_config {
    ag_rope_pairing pairing;
    double theta;         /* 0: 10000 */
    int64_t size;         /* R, even; 0: the whole head */
    ag_rope_scaling scaling;
    double factor;        /* >= 1 */
    double low_freq, high_freq; /* LLAMA3; 0: 1 and 4 */
    int64_t original_len;       /* LLAMA3, YARN: the length trained at */
} ag_rope_config;

/* What tells attention positions, besides the mask: positions.h has ag_rotary and ag_alibi_bias. */
typedef struct ag_rotation ag_rotation;
typedef struct ag_distance_bias ag_distance_bias;

/* {0}: plain attention. */
typedef struct ag_attention_options {
    ag_mask mask;     /* AND-ed with the mask of each call; causal is the opposite of the layer's non_causal */
    int64_t kv_heads; /* key and value heads; divides num_heads; 0: num_heads; 1: multi-query */
    double scale;     /* of Q K^T; 0: 1 / sqrt(head_size) */
    double soft_cap;  /* scores become soft_cap tanh(score / soft_cap); 0: off */
    bool qk_norm;     /* RMS norm of each query and key over head_size, before the rotation: q_norm, k_norm */
    double qk_norm_eps; /* of that norm; 0: 1e-6 */
    bool no_proj_bias; /* proj of a multi-head layer has no bias; q, k and v have theirs unless no_bias */
    const ag_rotation *rotary; /* &ag_rotary: queries and keys are rotated by their positions, as rope says: */
    ag_rope_config rope;
    const ag_distance_bias *alibi; /* &ag_alibi_bias: scores get -slope |distance| */
    int64_t relative; /* R > 0: a learned bias per head and distance -R .. R: relative[H,2R+1], initially 0 */
} ag_attention_options;

/* Keys and values of earlier passes, for generating token by token: see models.h. */
typedef struct ag_kv_cache ag_kv_cache;

/* Inputs of one forward pass besides x. {0}: self-attention on x alone. Tensors are borrowed. */
typedef struct ag_attend {
    ag_tensor *memory;    /* cross-attention: keys and values come from memory[B,S,key_size]. NULL: from x */
    ag_tensor *values;    /* values come from this [B,S,value_size] instead of memory */
    ag_mask mask;         /* lengths, documents, ... of this call; a field that the options set too is an error */
    ag_tensor *bias;      /* added to the scores; broadcasts to [B,H,T,S]; gets a gradient */
    ag_tensor *positions; /* int32 [B,T], positions of x for rotary; NULL: 0, 1, ... after the cached positions */
    ag_kv_cache *cache;   /* causal self-attention, no mask in this call: keys and values of x are appended, and queries
                             attend to all cached ones. Cross-attention: those of memory are computed once and cached */
    int64_t layer;        /* the cache's layer that this is */
    const int64_t *counts; /* with a cache: [B], how many of the T positions entry b has, the first ones; NULL: T */
} ag_attend;

/* ---- Head attention: one head. x[B,T,emb] -> [B,T,head_size] ------------------------------------
 * Q, K, V = q(x), k(x), v(x); O = softmax(Q K^T / sqrt(head_size)) V, each query attending to its own and earlier
 * positions unless non_causal. T > max_seq_len is an error that names both. (Vaswani et al., 2017, section 3.2.) */

typedef struct ag_head_attention_config {
    int64_t emb_size, head_size;
    int64_t max_seq_len; /* 0: any length */
    double dropout;      /* of the attention weights */
    bool non_causal;     /* every query attends to every position */
    bool no_bias;
    ag_attention_options attention;
    double init_std; /* as in ag_linear_config */
    ag_dtype dtype;
} ag_head_attention_config;

typedef struct ag_head_attention ag_head_attention;
AG_OWNED ag_head_attention *ag_head_attention_new(ag_ctx *ctx, ag_head_attention_config config); /* q, k, v */
ag_tensor *ag_head_attention_forward(ag_head_attention *layer, ag_tensor *x);
ag_tensor *ag_head_attention_forward_with(ag_head_attention *layer, ag_tensor *x, ag_attend with);
ag_module *ag_head_attention_module(ag_head_attention *layer);
void ag_head_attention_free(AG_TAKES ag_head_attention *layer);

/* ---- Multi-head attention. x[B,T,emb] -> [B,T,emb] ----------------------------------------------
 * y = proj(concat of all heads). Head h is rows h*head_size .. (h+1)*head_size - 1 of q; of k and v it reads key head
 * h / (num_heads / kv_heads). */

typedef struct ag_mha_config {
    int64_t emb_size, num_heads;
    int64_t head_size;   /* of queries and keys; 0: emb_size / num_heads, without remainder */
    int64_t max_seq_len; /* 0: any length */
    int64_t key_size, value_size; /* channels of the tensors that k and v read; 0: emb_size */
    int64_t value_head_size;      /* channels of one head's values; 0: head_size */
    double dropout; /* of the attention weights */
    bool non_causal;
    bool no_bias;
    ag_attention_options attention;
    double init_std, out_init_std; /* of q, k, v, and of proj, as in ag_linear_config; out_init_std 0: init_std */
    ag_dtype dtype;
} ag_mha_config;

typedef struct ag_mha ag_mha;
/* q, k, v, q_norm and k_norm if qk_norm, relative if relative > 0, proj */
AG_OWNED ag_mha *ag_mha_new(ag_ctx *ctx, ag_mha_config config);
ag_tensor *ag_mha_forward(ag_mha *layer, ag_tensor *x);
ag_tensor *ag_mha_forward_with(ag_mha *layer, ag_tensor *x, ag_attend with);
ag_module *ag_mha_module(ag_mha *layer);
void ag_mha_free(AG_TAKES ag_mha *layer);

/* ---- Optimizers -------------------------------------------------------------------------------
 * One step on a parameter p with gradient g, the semantics of torch.optim. A parameter without a gradient is skipped:
 * its state and its count t of steps stay. */

/* g = g + weight_decay p
 * v = g if t = 1, else momentum v + (1 - dampening) g
 * p = p - lr (nesterov ? g + momentum v : v);   with momentum 0: p = p - lr g
 * (Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.) */
typedef struct ag_sgd_config {
    double lr; /* > 0 */
    double momentum, dampening, weight_decay; /* momentum and weight_decay >= 0 */
    bool nesterov; /* requires momentum > 0 and dampening 0 */
} ag_sgd_config;

typedef struct ag_optimizer ag_optimizer;
/* An optimizer of all parameters of the module. Free it before the module. AdamW: training.h. */
AG_OWNED ag_optimizer *ag_sgd_new(ag_module *module, ag_sgd_config config);
void ag_optimizer_free(AG_TAKES ag_optimizer *optimizer);

/* One step; gradients stay as they are. If the context already has an error, returns it and changes nothing: one check
 * of this status covers forward, backward and step. */
ag_status ag_optimizer_step(ag_optimizer *optimizer);
void ag_optimizer_set_lr(ag_optimizer *optimizer, double lr); /* lr >= 0 */
double ag_optimizer_lr(const ag_optimizer *optimizer);

#ifdef __cplusplus
}
#endif

#endif
