/* SPDX-License-Identifier: MIT
 *
 * models.h - whole models of nn/'s layers, and what they need: a cache for generation, weights in files, traces
 * (annex of nn/).
 *
 *     Transformers: one configuration for three models
 *         GPT, encoder, encoder-decoder
 *     A module of the caller's own
 *     Key and value cache
 *     Weights in files: state dicts, other frameworks' names, pretrained models, checkpoints
 *     Attention weights, attention trace
 *
 * B batch, T target or only sequence, S source sequence, V vocabulary, emb channels. Token tensors are int32.
 */
#ifndef AG_MODELS_H
#define AG_MODELS_H

#include "autograd/watch/watch.h"
#include "nn/layers.h"
#include "tensor/files/files.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Transformers: one configuration for the three models below -----------------------------------
 *     x = tok[tokens] + positions + type[types]    sinusoidal positions: sqrt(emb) tok[tokens] + ...
 *     x = dropout(emb_norm(x))                     [B,T,emb]; emb_norm only if config.emb_norm
 *     x = block(x), num_layers times
 *     hidden = norm(x)                             post_norm: hidden = x, as the last block ends with a norm
 * Initial values: normal(0, 0.02); attn.proj, cross.proj and ff.down normal(0, 0.02 / sqrt(2 num_layers)); biases 0. */

typedef enum ag_positions {
    AG_POSITIONS_LEARNED,    /* a table pos[max_seq_len,emb] */
    AG_POSITIONS_SINUSOIDAL, /* ag_sinusoidal */
    AG_POSITIONS_NONE        /* none here; attention may have its own (rotary, alibi, relative) */
} ag_positions;

/* table[t - first,2i] = sin(t w_i), table[t - first,2i+1] = cos(t w_i), w_i = 10000^(-2i/emb), for positions t =
 * first .. first + length - 1: [length,emb]; emb is even. (Vaswani et al., 2017, section 3.5.) */
ag_tensor *ag_sinusoidal(ag_ctx *ctx, ag_dtype dtype, int64_t first, int64_t length, int64_t emb);

typedef struct ag_transformer_config {
    int64_t vocab_size, emb_size, num_heads, num_layers;
    int64_t max_seq_len; /* 0: any length; learned positions require it */
    int64_t head_size;   /* 0: emb_size / num_heads */
    int64_t ff_size;     /* 0: 4 emb_size */
    ag_activation activation;
    bool gated;          /* of the feed-forward layers */
    ag_positions positions;
    int64_t first_position; /* learned positions: the row of pos for the first token; pos has as many rows more */
    bool skip_padding; /* of an encoder: token first_position - 1 has that row of pos, the others count on without it */
    ag_attention_options attention;
    const ag_attention_options *layer_attention; /* [num_layers], of each layer instead; copied. NULL: as attention */
    int64_t type_vocab_size; /* > 0: a table type[type_vocab_size,emb] for a second index per token */
    double dropout;          /* of the embeddings, and ag_block_config.dropout */
    double ff_dropout;
    ag_norm_kind norm;
    double norm_eps;         /* 0: 1e-5, RMS norm 1e-6 */
    bool no_bias, post_norm, emb_norm;
    bool no_attn_bias, no_ff_bias, parallel, one_norm; /* as in ag_block_config */
    bool untied_head; /* the head has a weight of its own; default: it uses the table tok */
    bool head_bias;   /* of an untied head: it has a bias */
    bool non_causal;  /* of a GPT; an encoder is always non_causal, a decoder never */
    bool pooler;      /* of an encoder: see ag_encoder_pool */
    bool recompute;   /* backward computes each block's activations again (ag_recompute): less memory, same bits */
    ag_dtype dtype;
} ag_transformer_config;

/* ---- GPT: a causal language model. tokens[B,T] -> logits[B,T,V] ----------------------------------
 * logits = hidden W^T, W[V,emb] the table tok or the untied head. GPT-2 is the default configuration. Llama: norm
 * AG_RMS_NORM, gated with AG_SILU, positions none, attention rotary with kv_heads, no_bias, untied_head.
 * (Radford et al., "Language models are unsupervised multitask learners", 2019; Touvron et al., "LLaMA", 2023.) */

typedef struct ag_gpt ag_gpt;
/* tok; pos, type, emb_norm as configured; blocks.0, blocks.1, ...; norm unless post_norm; head if untied_head */
AG_OWNED ag_gpt *ag_gpt_new(ag_ctx *ctx, ag_transformer_config config);
ag_tensor *ag_gpt_forward(ag_gpt *gpt, ag_tensor *tokens);
/* The same for tokens that follow the cached ones, which are then cached too. Entry b has counts[b] new tokens, the
 * first ones of its row (NULL: T); the rest is padding, whose logits are meaningless. */
ag_tensor *ag_gpt_forward_cached(ag_gpt *gpt, ag_tensor *tokens, ag_kv_cache *cache, const int64_t *counts);
ag_block *ag_gpt_block(ag_gpt *gpt, int64_t i); /* borrowed; NULL: no such block */
const ag_transformer_config *ag_gpt_config_of(const ag_gpt *gpt); /* borrowed, defaults filled in */
ag_module *ag_gpt_module(ag_gpt *gpt);
void ag_gpt_free(AG_TAKES ag_gpt *gpt);

/* ---- Encoder: tokens[B,T] -> hidden[B,T,emb]; every token attends to every token ------------------
 * BERT: post_norm, emb_norm, type_vocab_size 2, pooler, norm_eps 1e-12. (Devlin et al., "BERT", 2019.) */

typedef struct ag_encoder ag_encoder;
AG_OWNED ag_encoder *ag_encoder_new(ag_ctx *ctx, ag_transformer_config config); /* as ag_gpt_new, then pooler */
/* lengths[B] int32: entry b has lengths[b] tokens, the rest is padding, which no token attends to; NULL: T.
 * types[B,T] int32: rows of the type table; NULL: 0. */
ag_tensor *ag_encoder_forward(ag_encoder *encoder, ag_tensor *tokens, ag_tensor *lengths, ag_tensor *types);

typedef enum ag_pooling { AG_POOL_MEAN, AG_POOL_FIRST } ag_pooling;
/* hidden[B,T,emb] -> one row h per entry, [B,emb]. AG_POOL_MEAN: the mean over the tokens. AG_POOL_FIRST: the first
 * token's row, and with config.pooler tanh(pooler(h)) instead. Padding is ignored; without tokens h = 0. */
ag_tensor *ag_encoder_pool(ag_encoder *encoder, ag_tensor *hidden, ag_tensor *lengths, ag_pooling pooling);
ag_block *ag_encoder_block(ag_encoder *encoder, int64_t i);
const ag_transformer_config *ag_encoder_config_of(const ag_encoder *encoder);
ag_module *ag_encoder_module(ag_encoder *encoder);
void ag_encoder_free(AG_TAKES ag_encoder *encoder);

/* ---- Encoder-decoder: source[B,S], target[B,T] -> logits[B,T,V] of the token after each target token --
 * memory = encoder(source); logits = decoder(target, memory), a causal model whose blocks have cross-attention over
 * memory. (Vaswani et al., "Attention is all you need", 2017.) */

typedef struct ag_encoder_decoder_config {
    ag_transformer_config encoder, decoder; /* emb_size may differ; non_causal is ignored */
    bool shared_embedding; /* both use the table encoder.tok; requires equal vocab_size and emb_size */
} ag_encoder_decoder_config;

typedef struct ag_encoder_decoder ag_encoder_decoder;
/* encoder, decoder */
AG_OWNED ag_encoder_decoder *ag_encoder_decoder_new(ag_ctx *ctx, ag_encoder_decoder_config config);
/* source_lengths[B] int32, as lengths of ag_encoder_forward; NULL: S. */
ag_tensor *ag_encoder_decoder_forward(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths,
                                      ag_tensor *target);
/* The two halves. encode: memory[B,S,emb]. decode: the logits of target, which follows the cached tokens (cache NULL:
 * nothing precedes it). A cache belongs to one memory: it keeps the keys and values made from memory in the first
 * pass. */
ag_tensor *ag_encoder_decoder_encode(ag_encoder_decoder *model, ag_tensor *source, ag_tensor *source_lengths);
ag_tensor *ag_encoder_decoder_decode(ag_encoder_decoder *model, ag_tensor *target, ag_tensor *memory,
                                     ag_tensor *source_lengths, ag_kv_cache *cache);
ag_block *ag_encoder_decoder_block(ag_encoder_decoder *model, bool decoder, int64_t i);
ag_module *ag_encoder_decoder_module(ag_encoder_decoder *model);
void ag_encoder_decoder_free(AG_TAKES ag_encoder_decoder *model);

/* ---- A module of the caller's own ----------------------------------------------------------------
 * Named parts, which are listed, trained and saved together. `kind` stands in errors and
 * is copied. The group owns the part and frees it, at once when the name is NULL or already used. If part is NULL,
 * returns the context's error. */
AG_OWNED ag_module *ag_group_new(ag_ctx *ctx, const char *kind);
ag_status ag_group_add(ag_module *group, const char *name, AG_TAKES ag_module *part);
void ag_group_free(AG_TAKES ag_module *group);

/* ---- Key and value cache, for generating token by token -------------------------------------------
 * Keys and values that the attention layers of a model computed in earlier passes, for `batch` sequences of different
 * lengths. A layer whose mask limits how far back a query sees (`back`, without global, stride and blocks) drops the
 * positions that no later query can see. The cache grows as needed, in the context's memory. Not for training: a pass
 * while a tape records is an error. Free it before the context. */
AG_OWNED ag_kv_cache *ag_kv_cache_new(ag_ctx *ctx, int64_t batch, int64_t layers);
int64_t ag_kv_cache_length(const ag_kv_cache *cache, int64_t entry); /* positions of this batch entry; -1: no entry */
size_t ag_kv_cache_bytes(const ag_kv_cache *cache);                  /* of keys and values */
/* Ends a pass over T positions: entry b is now counts[b] (NULL: T) positions longer. Models call it themselves; a
 * caller that runs single layers calls it after the last one. */
void ag_kv_cache_advance(ag_kv_cache *cache, int64_t T, const int64_t *counts);
void ag_kv_cache_clear(ag_kv_cache *cache); /* all lengths become 0; the memory is kept */
void ag_kv_cache_free(AG_TAKES ag_kv_cache *cache);

/* ---- State dicts: the parameters of a module in a safetensors file --------------------------------
 * Load requires exactly the module's names, shapes and dtype. On error every parameter keeps its value. */
ag_status ag_module_save(const ag_module *module, const char *path);
ag_status ag_module_load(ag_module *module, const char *path);

/* ---- Weights under other names -------------------------------------------------------------------
 * A rule maps parameters to tensors of another framework's file. "{}" stands for one number, the same in both names
 * ("blocks.{}.attn.q.weight", "h.{}.attn.c_attn.weight"). */
typedef struct ag_weight_rule {
    const char *ours, *theirs;
    bool transposed;   /* theirs is [in,out] (GPT-2's Conv1D) */
    int part, parts;   /* parts > 0: theirs is `parts` equal pieces joined along its output dim; ours is piece `part` */
    bool by_head;      /* theirs has the pieces of one head, then those of the next; ours is of an attention layer */
    bool optional;     /* load: may be missing from the file; ours then keeps its value */
} ag_weight_rule;

/* Loads every parameter by the first rule that matches its name and whose tensor is in the file. If the file has
 * `prefix` followed by the name in the rule ("transformer."), that tensor is taken; NULL: no prefix. Values are cast to
 * the parameter's dtype. Other tensors in the file are ignored. On error every parameter keeps its value; the message
 * has both names and both shapes. */
ag_status ag_module_load_named(ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count,
                               const char *prefix);
/* Saves every parameter by the first rule that matches its name: parts are joined, transposed ones transposed back. */
ag_status ag_module_save_named(const ag_module *module, const char *path, const ag_weight_rule *rules, int64_t count);

/* The rules for models of the transformers package; Mistral, Qwen and SmolLM have Llama's, RoBERTa has BERT's. */
extern const ag_weight_rule ag_gpt2_names[], ag_llama_names[], ag_gpt_neox_names[], ag_phi_names[], ag_bert_names[],
    ag_distilbert_names[];
extern const int64_t ag_gpt2_name_count, ag_llama_name_count, ag_gpt_neox_name_count, ag_phi_name_count,
    ag_bert_name_count, ag_distilbert_name_count;

/* ---- Pretrained models: config.json and weights of the transformers package ------------------------
 * weights_path is a safetensors file, the index of its shards (model.safetensors.index.json), or a folder with either.
 * model_type is "gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3", "gpt_neox" or "phi" for a GPT; "bert",
 * "roberta", "xlm-roberta", "camembert" or "distilbert" for an encoder, with a pooler if the file has one. A missing
 * key has the default of the package's class, a key that the class does not have is ignored. A setting that changes the
 * results and that the library does not have is an error that names it. Of the package's dropout probabilities the
 * model has that of the residual branches, for training. The random stream is not used. RoBERTa: a token that equals
 * pad_token_id has no position of its own, but `lengths` alone says which tokens are not attended to. */
AG_OWNED ag_gpt *ag_gpt_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype);
AG_OWNED ag_encoder *ag_encoder_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path,
                                           ag_dtype dtype);

/* Saves a model that ag_gpt_from_files made of these two files, trained further: every parameter under the name that it
 * has in weights_path, in the model's dtype. Other tensors of that file (a copy of the table as a tied head, masks) are
 * not in the new one. */
ag_status ag_gpt_to_file(ag_gpt *gpt, const char *config_path, const char *weights_path, const char *path);

/* Returns the number of tokens that end a text, eos_token_id of generation_config.json beside config_path, or of
 * config_path when there is no such file; writes the first `capacity` of them to ids[]. -1 on error, such as a file
 * that is not a configuration. */
int64_t ag_eos_from_file(ag_ctx *ctx, const char *config_path, int32_t *ids, int64_t capacity);

/* ---- Checkpoints: parameters, optimizer state, random state and metadata in one safetensors file ---- */

/* `optimizer` may be NULL. The metadata is the caller's (configuration, step); keys that begin with "attngrad." are
 * reserved. */
ag_status ag_checkpoint_save(const char *path, const ag_module *module, const ag_optimizer *optimizer,
                             const ag_metadata *metadata, int64_t metadata_count);

/* Restores parameters, optimizer and random state: training then continues with the bits of a run that never stopped.
 * On error all three keep what they held. The metadata is read with ag_safetensors_open and ag_safetensors_metadata. */
ag_status ag_checkpoint_load(const char *path, ag_module *module, ag_optimizer *optimizer);

/* ---- Attention weights of a layer ------------------------------------------------------------------ */

/* The attention weights of the last forward, masked, before dropout: [B,T,S], S = T unless memory or a cache gave the
 * keys; of the rows in `which`: [B,rows,S]. They are computed anew from the queries and keys of that forward, and are
 * not recorded: for gradients call ag_attention_weights. AG_ERR_STATE when the layer has not run, when its bias, mask
 * or cache has changed since, or when it ran inside ag_recompute under a tape, where it keeps no queries and keys. */
ag_tensor *ag_head_attention_weights(ag_head_attention *layer);
ag_tensor *ag_head_attention_weights_of(ag_head_attention *layer, ag_weights_of which);
ag_tensor *ag_mha_weights(ag_mha *layer); /* [B,H,T,S]; not recorded, as ag_head_attention_weights */
ag_tensor *ag_mha_weights_of(ag_mha *layer, ag_weights_of which); /* [B,heads,rows,S] */
/* The number of queries of the last forward, over all heads, whose mask allows no key: their output is 0. where[3] (may
 * be NULL) receives batch entry, head and query of the first. */
int64_t ag_mha_blind_queries(ag_mha *layer, int64_t *where);

/* ---- Attention trace: every matrix of one forward and backward pass --------------------------------
 * Runs the layer on x with plain ops, without dropout, that keep every matrix, the [T,S] ones included, and then its
 * backward from dY (NULL: drawn from the random stream, which is put back). Equal to the layer's own pass within
 * rounding for finite x. Leaves gradients and the layer's last forward as they are. An error while a tape runs.
 * Entries are copies, per head where they have heads [B,H,..]:
 *     forward      X, W of each parameter ("W.q.weight"), Q, K, V, U (scores before soft_cap and bias), mask, S, P,
 *                  lse, O, Y
 *     backward     dY, dO, dV, dP, delta, dS, dU, dQ, dK, dX, and dW of each parameter ("dW.q.weight")
 *     if given     memory, values, bias, and their gradients ("dmemory")
 * K, V, dK and dV have the key heads. */
typedef struct ag_attention_trace ag_attention_trace;
AG_OWNED ag_attention_trace *ag_mha_trace(ag_mha *layer, ag_tensor *x, ag_attend with, ag_tensor *dY);
AG_OWNED ag_attention_trace *ag_head_attention_trace(ag_head_attention *layer, ag_tensor *x, ag_attend with,
                                                     ag_tensor *dY);
/* Names and tensors are borrowed: they live until the trace is freed. */
int64_t ag_attention_trace_count(const ag_attention_trace *trace);
ag_named_tensor ag_attention_trace_entry(const ag_attention_trace *trace, int64_t i);
ag_tensor *ag_attention_trace_find(const ag_attention_trace *trace, const char *name); /* NULL: no such entry */
/* Writes one JSON object: layer, sizes, and each entry as {"shape": .., "formula": .., "values": nested lists}. Numbers
 * that are not finite are strings, "-inf". */
ag_status ag_attention_trace_json(const ag_attention_trace *trace, FILE *file);
void ag_attention_trace_free(AG_TAKES ag_attention_trace *trace);

#ifdef __cplusplus
}
#endif

#endif
