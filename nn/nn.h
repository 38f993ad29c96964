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

/* ---- Dropout --------------------------------------------------------------------------------- */

typedef struct ag_dropout_config {
    double p; /* 0 <= p < 1 */
} ag_dropout_config;

typedef struct ag_dropout_layer ag_dropout_layer;
AG_OWNED ag_dropout_layer *ag_dropout_new(ag_ctx *ctx, ag_dropout_config config);
ag_tensor *ag_dropout_forward(ag_dropout_layer *layer, ag_tensor *x);
ag_module *ag_dropout_module(ag_dropout_layer *layer);
void ag_dropout_free(AG_TAKES ag_dropout_layer *layer);

/* ---- Feed-forward: down(activation(up(x))). x[..,emb] -> [..,emb] ---------------------------- */

typedef enum ag_activation { AG_GELU, AG_GELU_TANH, AG_RELU, AG_SILU } ag_activation;

typedef struct ag_feed_forward_config {
    int64_t emb_size;
    int64_t ff_size; /* 0: 4 emb_size */
    ag_activation activation;
    double dropout; /* of the result */
    bool no_bias;
    double init_std, out_init_std; /* of up and of down, as in ag_linear_config; out_init_std 0: init_std */
    ag_dtype dtype;
} ag_feed_forward_config;

typedef struct ag_feed_forward ag_feed_forward;
AG_OWNED ag_feed_forward *ag_feed_forward_new(ag_ctx *ctx, ag_feed_forward_config config); /* up, down */
ag_tensor *ag_feed_forward_forward(ag_feed_forward *layer, ag_tensor *x);
ag_module *ag_feed_forward_module(ag_feed_forward *layer);
void ag_feed_forward_free(AG_TAKES ag_feed_forward *layer);

/* ---- Head attention: one head. x[B,T,emb] -> [B,T,head_size] ------------------------------------
 * Q, K, V = q(x), k(x), v(x); O = softmax(Q K^T / sqrt(head_size), lower triangle) V.
 * T > max_seq_len is an error that names both. */

typedef struct ag_head_attention_config {
    int64_t emb_size, head_size, max_seq_len;
    double dropout; /* of the weights */
    bool non_causal;
    bool no_bias;
    double init_std; /* as in ag_linear_config */
    ag_dtype dtype;
} ag_head_attention_config;

typedef struct ag_head_attention ag_head_attention;
AG_OWNED ag_head_attention *ag_head_attention_new(ag_ctx *ctx, ag_head_attention_config config); /* q, k, v */
ag_tensor *ag_head_attention_forward(ag_head_attention *layer, ag_tensor *x);
/* The weights of the last forward, as the layer masked them, before dropout: [B,T,T]. They are computed from the
 * queries and keys that ran and change nothing. An error when the layer has not run. */
ag_tensor *ag_head_attention_weights(ag_head_attention *layer);
ag_module *ag_head_attention_module(ag_head_attention *layer);
void ag_head_attention_free(AG_TAKES ag_head_attention *layer);

/* ---- Multi-head attention. x[B,T,emb] -> [B,T,emb] ----------------------------------------------
 * q, k, v project to num_heads * head_size, the heads attend in parallel, proj joins them. Head h has rows
 * h*head_size .. (h+1)*head_size - 1 of q, k and v. */

typedef struct ag_mha_config {
    int64_t emb_size, num_heads;
    int64_t head_size; /* 0: emb_size / num_heads, which must divide */
    int64_t max_seq_len;
    double dropout; /* of the weights */
    bool non_causal;
    bool no_bias;
    double init_std, out_init_std; /* of q, k, v and of proj, as in ag_feed_forward_config */
    ag_dtype dtype;
} ag_mha_config;

typedef struct ag_mha ag_mha;
AG_OWNED ag_mha *ag_mha_new(ag_ctx *ctx, ag_mha_config config); /* q, k, v, proj */
ag_tensor *ag_mha_forward(ag_mha *layer, ag_tensor *x);
ag_tensor *ag_mha_weights(ag_mha *layer); /* [B,H,T,T], see ag_head_attention_weights */
ag_module *ag_mha_module(ag_mha *layer);
void ag_mha_free(AG_TAKES ag_mha *layer);

/* ---- Decoder block: attention and feed-forward, each with a residual and a norm -----------------
 * pre-norm (default): x += attn(norm1(x)); x += ff(norm2(x)). post_norm: x = norm1(x + attn(x)); x = norm2(x + ff(x)).
 * (Vaswani et al., "Attention is all you need", 2017; Xiong et al., "On layer normalization in the transformer
 * architecture", 2020.) */

typedef struct ag_decoder_block_config {
    int64_t emb_size, num_heads, head_size, max_seq_len, ff_size; /* as in their layers */
    ag_activation activation;
    double dropout; /* of attention weights, attention output and feed-forward output */
    double norm_eps;
    bool non_causal, no_bias, post_norm;
    double init_std, out_init_std; /* out_init_std: of attn.proj and ff.down */
    ag_dtype dtype;
} ag_decoder_block_config;

typedef struct ag_decoder_block ag_decoder_block;
/* Parts: norm1, attn, norm2, ff. */
AG_OWNED ag_decoder_block *ag_decoder_block_new(ag_ctx *ctx, ag_decoder_block_config config);
ag_tensor *ag_decoder_block_forward(ag_decoder_block *block, ag_tensor *x);
ag_mha *ag_decoder_block_attn(ag_decoder_block *block); /* borrowed; for its weights */
ag_module *ag_decoder_block_module(ag_decoder_block *block);
void ag_decoder_block_free(AG_TAKES ag_decoder_block *block);

/* ---- GPT: a causal language model. tokens[B,T] int32 -> logits[B,T,V] ---------------------------
 * x = drop(tok(tokens) + pos(0..T-1)); blocks; norm; head. The head is the token table itself unless untied.
 * First values: normal(0, 0.02), proj and down normal(0, 0.02 / sqrt(2 num_layers)), biases 0.
 * (Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3.) */

typedef struct ag_gpt_config {
    int64_t vocab_size, max_seq_len, emb_size, num_heads, num_layers;
    int64_t head_size; /* 0: emb_size / num_heads */
    int64_t ff_size;   /* 0: 4 emb_size */
    ag_activation activation;
    double dropout;
    double norm_eps; /* 0: 1e-5 */
    bool no_bias, post_norm, untied_head;
    bool recompute; /* each block's activations are computed again in backward (ag_recompute): less memory, same bits */
    ag_dtype dtype;
} ag_gpt_config;

typedef struct ag_gpt ag_gpt;
AG_OWNED ag_gpt *ag_gpt_new(ag_ctx *ctx, ag_gpt_config config); /* tok, pos, blocks.0 ..., norm, head if untied */
ag_tensor *ag_gpt_forward(ag_gpt *gpt, ag_tensor *tokens);
ag_decoder_block *ag_gpt_block(ag_gpt *gpt, int64_t i); /* borrowed */
const ag_gpt_config *ag_gpt_config_of(const ag_gpt *gpt); /* with the defaults filled in */
ag_module *ag_gpt_module(ag_gpt *gpt);
void ag_gpt_free(AG_TAKES ag_gpt *gpt);

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
