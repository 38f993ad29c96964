/* SPDX-License-Identifier: MIT
 *
 * models.h - transformers, the cache for generation, traces, weights in files (annex of nn/).
 */
#ifndef AG_MODELS_H
#define AG_MODELS_H

#include "nn/nn.h"
#include "tensor/files/files.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- State dicts ------------------------------------------------------------------------------ */

/* A state dict as a safetensors file. Load wants exactly the module's names, shapes and dtype; on any error
 * every parameter keeps its value. */
ag_status ag_module_save(const ag_module *module, const char *path);
ag_status ag_module_load(ag_module *module, const char *path);

/* ---- Key and value cache, for generating token by token -------------------------------------------
 * The keys and values that a model's attention layers have seen, for each batch entry as many positions as it has had.
 * A layer whose mask is causal and has `back` without global, stride and blocks keeps the positions that can still be
 * seen, and lets go of those before. Grows as needed; memory is the context's. Not for training: an error on a tape
 * that would record it. */
AG_OWNED ag_kv_cache *ag_kv_cache_new(ag_ctx *ctx, int64_t batch, int64_t layers);
int64_t ag_kv_cache_length(const ag_kv_cache *cache, int64_t entry); /* positions that this batch entry has had */
size_t ag_kv_cache_bytes(const ag_kv_cache *cache);                  /* of keys and values */
/* After a pass over T positions, of which entry b had counts[b] (NULL: T): they count from now on. Models do it. */
void ag_kv_cache_advance(ag_kv_cache *cache, int64_t T, const int64_t *counts);
void ag_kv_cache_clear(ag_kv_cache *cache); /* as new, memory kept */
void ag_kv_cache_free(AG_TAKES ag_kv_cache *cache);

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
