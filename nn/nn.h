/* SPDX-License-Identifier: MIT
 *
 * nn.h - layers, models, optimizers, schedules, checkpoints.
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

/* Checks the gradients of f's outputs with respect to input[count] and all parameters of the module, which must be
 * float64: ag_gradcheck with the parameters behind the inputs, in the module's order. f gets input[..]; it runs the
 * module, which has the parameters. config.inputs wants room for inputs and parameters; config.name NULL: the kind of
 * layer. A wrong parameter is named by its path ("attn.q.weight"). */
ag_gradcheck_result ag_module_gradcheck(ag_module *module, ag_gradcheck_fn *f, ag_tensor *const *input, int count,
                                        void *user, ag_gradcheck_config config);

/* A state dict as a safetensors file. Load wants exactly the module's names, shapes and dtype; on any error
 * every parameter keeps its value. */
ag_status ag_module_save(const ag_module *module, const char *path);
ag_status ag_module_load(ag_module *module, const char *path);

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

/* ---- Key and value cache, for generating token by token -------------------------------------------
 * The keys and values that a model's attention layers have seen, for each batch entry as many positions as it has had.
 * A layer whose mask is causal and has `back` without global, stride and blocks keeps the positions that can still be
 * seen, and lets go of those before. Grows as needed; memory is the context's. Not for training: an error on a tape
 * that would record it. */
typedef struct ag_kv_cache ag_kv_cache;
AG_OWNED ag_kv_cache *ag_kv_cache_new(ag_ctx *ctx, int64_t batch, int64_t layers);
int64_t ag_kv_cache_length(const ag_kv_cache *cache, int64_t entry); /* positions that this batch entry has had */
size_t ag_kv_cache_bytes(const ag_kv_cache *cache);                  /* of keys and values */
/* After a pass over T positions, of which entry b had counts[b] (NULL: T): they count from now on. Models do it. */
void ag_kv_cache_advance(ag_kv_cache *cache, int64_t T, const int64_t *counts);
void ag_kv_cache_clear(ag_kv_cache *cache); /* as new, memory kept */
void ag_kv_cache_free(AG_TAKES ag_kv_cache *cache);

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

/* ---- Attention trace: every number of a forward and backward pass ---------------------------------
 * Runs the layer on x by plain ops that make every matrix, [T,S] ones too, and its backward pass from dY (NULL: drawn
 * from the context's random stream, which is then put back). Without dropout. Equal to the layer's own pass within
 * rounding for finite x; changes no gradient and not the last forward. Not while a tape runs. Entries by name, copies,
 * per head where they have heads [B,H,..]: X, Q, K, V, U (before soft_cap, bias), mask, S, P, lse, O, Y; dY, dO, dV,
 * dP, D, dS, dU, dQ, dK, dX, and dW of each parameter ("dW.q.weight"); memory, values, bias and their gradients
 * ("dmemory") where the call brings them. K, V, dK, dV have the key heads. */
typedef struct ag_attention_trace ag_attention_trace;
AG_OWNED ag_attention_trace *ag_mha_trace(ag_mha *layer, ag_tensor *x, ag_attend with, ag_tensor *dY);
AG_OWNED ag_attention_trace *ag_head_attention_trace(ag_head_attention *layer, ag_tensor *x, ag_attend with,
                                                     ag_tensor *dY);
int64_t ag_attention_trace_count(const ag_attention_trace *trace);
ag_named_tensor ag_attention_trace_entry(const ag_attention_trace *trace, int64_t i);
ag_tensor *ag_attention_trace_find(const ag_attention_trace *trace, const char *name); /* NULL: no such entry */
/* One object: layer, sizes, and entries, each as {"shape": .., "formula": .., "values": nested lists}; a number that is
 * not finite is a string, "-inf". */
ag_status ag_attention_trace_json(const ag_attention_trace *trace, FILE *file);
void ag_attention_trace_free(AG_TAKES ag_attention_trace *trace);

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

/* ---- Transformers ----------------------------------------------------------------------------------
 * One configuration for the three models below: embeddings, num_layers blocks, a norm.
 *     x = drop(emb_norm?(tok(tokens) + positions + types))   [B,T,emb]
 *     x = block(x), num_layers times;  hidden = norm(x), which post_norm has done already
 * First values: normal(0, 0.02), proj and down normal(0, 0.02 / sqrt(2 num_layers)), biases 0. */

typedef enum ag_positions {
    AG_POSITIONS_LEARNED,    /* a table pos[max_seq_len,emb] */
    AG_POSITIONS_SINUSOIDAL, /* ag_sinusoidal, tok(tokens) times sqrt(emb) */
    AG_POSITIONS_NONE        /* or inside attention: rotary, alibi, relative */
} ag_positions;

/* pos[t,2i] = sin(t w_i), pos[t,2i+1] = cos(t w_i), w_i = 10000^(-2i/emb), t = first ..: [length,emb], emb even.
 * (Vaswani et al., 2017, section 3.5.) */
ag_tensor *ag_sinusoidal(ag_ctx *ctx, ag_dtype dtype, int64_t first, int64_t length, int64_t emb);

typedef struct ag_transformer_config {
    int64_t vocab_size, emb_size, num_heads, num_layers;
    int64_t max_seq_len; /* 0: any length, where positions are not learned */
    int64_t head_size; /* 0: emb_size / num_heads */
    int64_t ff_size;   /* 0: 4 emb_size */
    ag_activation activation;
    bool gated;        /* feed-forward */
    ag_positions positions;
    ag_attention_options attention;
    int64_t type_vocab_size; /* > 0: a table type[..,emb] for a second index per token */
    double dropout;          /* of the embeddings, and of the blocks */
    double ff_dropout;
    ag_norm_kind norm;
    double norm_eps; /* 0: 1e-5, RMS norm 1e-6 */
    bool no_bias, post_norm, emb_norm, untied_head;
    bool non_causal; /* an encoder is so anyway */
    bool pooler;     /* an encoder's: tanh(linear(hidden of the first token)) */
    bool recompute; /* each block's activations are computed again in backward (ag_recompute): less memory, same bits */
    ag_dtype dtype;
} ag_transformer_config;

/* ---- GPT: a causal language model. tokens[B,T] int32 -> logits[B,T,V] ---------------------------
 * logits = head(hidden); the head is the token table itself unless untied. GPT-2's kind is the plain configuration;
 * Llama's: norm AG_RMS_NORM, gated AG_SILU, positions none, attention rotary with kv_heads, no_bias, untied_head.
 * (Radford et al., "Language models are unsupervised multitask learners", 2019; Touvron et al., "LLaMA", 2023.) */

typedef struct ag_gpt ag_gpt;
/* tok, pos, type, emb_norm as configured, blocks.0 ..., norm unless post_norm, head if untied */
AG_OWNED ag_gpt *ag_gpt_new(ag_ctx *ctx, ag_transformer_config config);
ag_tensor *ag_gpt_forward(ag_gpt *gpt, ag_tensor *tokens);
/* The same for tokens that follow what the cache has; entry b's are the first counts[b] (NULL: all T), what stands
 * behind them is padding, whose logits mean nothing. */
ag_tensor *ag_gpt_forward_cached(ag_gpt *gpt, ag_tensor *tokens, ag_kv_cache *cache, const int64_t *counts);
ag_block *ag_gpt_block(ag_gpt *gpt, int64_t i); /* borrowed */
const ag_transformer_config *ag_gpt_config_of(const ag_gpt *gpt); /* with the defaults filled in */
ag_module *ag_gpt_module(ag_gpt *gpt);
void ag_gpt_free(AG_TAKES ag_gpt *gpt);

/* ---- Encoder: tokens[B,T] int32 -> hidden[B,T,emb], everyone sees everyone ------------------------
 * BERT's kind: post_norm, emb_norm, type_vocab_size 2, pooler, norm_eps 1e-12.
 * (Devlin et al., "BERT", 2019.) */

typedef struct ag_encoder ag_encoder;
AG_OWNED ag_encoder *ag_encoder_new(ag_ctx *ctx, ag_transformer_config config); /* as ag_gpt_new, then pooler */
/* lengths[B] int32: entry b has so many tokens, the rest is padding that nobody sees; types[B,T]: for the type table,
 * NULL: all 0. Either may be NULL. */
ag_tensor *ag_encoder_forward(ag_encoder *encoder, ag_tensor *tokens, ag_tensor *lengths, ag_tensor *types);

typedef enum ag_pooling { AG_POOL_MEAN, AG_POOL_FIRST } ag_pooling;
/* hidden[B,T,emb] -> [B,emb]: the mean over each entry's tokens; or the first token's row, this one through the pooler
 * if there is one. 0 for an entry of length 0; padding is not looked at. */
ag_tensor *ag_encoder_pool(ag_encoder *encoder, ag_tensor *hidden, ag_tensor *lengths, ag_pooling pooling);
ag_block *ag_encoder_block(ag_encoder *encoder, int64_t i);
const ag_transformer_config *ag_encoder_config_of(const ag_encoder *encoder);
ag_module *ag_encoder_module(ag_encoder *encoder);
void ag_encoder_free(AG_TAKES ag_encoder *encoder);

/* ---- Encoder-decoder: source[B,S], target[B,T] -> logits[B,T,V] of what follows each target token -- */

typedef struct ag_encoder_decoder_config {
    ag_transformer_config encoder, decoder; /* emb_size may differ; of the decoder non_causal is not looked at */
    bool shared_embedding; /* one token table, encoder.tok, for both; equal vocab_size and emb_size */
} ag_encoder_decoder_config;

typedef struct ag_encoder_decoder ag_encoder_decoder;
/* encoder, decoder */
AG_OWNED ag_encoder_decoder *ag_encoder_decoder_new(ag_ctx *ctx, ag_encoder_decoder_config config);
ag_tensor *ag_encoder_decoder_forward(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths,
                                      ag_tensor *target);
/* Its two halves. encode -> memory[B,S,emb]; decode with a cache as ag_gpt_forward_cached (NULL: the whole target).
 * A cache belongs to one memory: the keys and values of the cross-attention are made in the first pass and kept. */
ag_tensor *ag_encoder_decoder_encode(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths);
ag_tensor *ag_encoder_decoder_decode(ag_encoder_decoder *model, ag_tensor *target, ag_tensor *memory,
                                     ag_tensor *source_lengths, ag_kv_cache *cache);
ag_block *ag_encoder_decoder_block(ag_encoder_decoder *model, bool decoder, int64_t i);
ag_module *ag_encoder_decoder_module(ag_encoder_decoder *model);
void ag_encoder_decoder_free(AG_TAKES ag_encoder_decoder *model);

/* ---- Weights under other names -------------------------------------------------------------------
 * A rule says where a parameter lies in another framework's file. "{}" stands for one number, the same in both names
 * ("blocks.{}.attn.q.weight", "h.{}.attn.c_attn.weight"). */
typedef struct ag_weight_rule {
    const char *ours, *theirs;
    bool transposed;   /* theirs is [in,out] (GPT-2's Conv1D) */
    int part, parts;   /* parts > 0: ours is number `part` of so many equal pieces of theirs, along its output dim */
    bool optional;     /* may be missing from the file: ours keeps its value */
} ag_weight_rule;

/* Loads every parameter by the first rule that fits its name and whose tensor the file has; `prefix` (may be NULL)
 * stands before each of theirs if the file has it so ("transformer."). Values are cast to the parameter's dtype. What
 * the file has besides is let be. On any error every parameter keeps its value; the message says both names and both
 * shapes. */
ag_status ag_module_load_named(ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count,
                               const char *prefix);
/* The other way round, by the first rule that fits: parts are joined, transposed back. */
ag_status ag_module_save_named(const ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count);

/* The tables of the transformers package's models. */
extern const ag_weight_rule ag_gpt2_names[], ag_llama_names[], ag_bert_names[];
extern const int64_t ag_gpt2_name_count, ag_llama_name_count, ag_bert_name_count;

/* A model from its config.json and its safetensors file: model_type "gpt2", "llama" and "mistral", and "bert" (with
 * the pooler that the file has). What the configuration asks for and the library does not have is an error that names
 * it. The random stream stays where it was. */
AG_OWNED ag_gpt *ag_gpt_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype);
AG_OWNED ag_encoder *ag_encoder_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path,
                                           ag_dtype dtype);

/* The tokens that end a text, of a config.json (eos_token_id): the first `capacity` of them into ids[]. How many there
 * are, 0: none; -1 with the error when the file is none. */
int64_t ag_eos_from_file(ag_ctx *ctx, const char *config_path, int32_t *ids, int64_t capacity);

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

/* ---- Checkpoints: one safetensors file with parameters, optimizer state, random state and metadata ---- */

/* `optimizer` may be NULL. The metadata is the caller's (configuration, step); keys beginning "attngrad." are
 * the library's. */
ag_status ag_checkpoint_save(const char *path, const ag_module *module, const ag_optimizer *optimizer,
                             const ag_metadata *metadata, int64_t metadata_count);

/* Restores all three, so that training goes on with the same bits as a run that never stopped. On any error
 * module, optimizer and random state keep what they held. Read the metadata first, with ag_safetensors_open. */
ag_status ag_checkpoint_load(const char *path, ag_module *module, ag_optimizer *optimizer);

#ifdef __cplusplus
}
#endif

#endif
