/* SPDX-License-Identifier: MIT
 *
 * pretrained_families.c - the families of models of the transformers package, as data: names of weights, defaults,
 * keys of config.json. A new family is a row of ag_families, its keys' bits, and names where its own differ.
 */
#include "nn/models/pretrained_impl.h"
#include "nn/positions/positions.h"

#define COUNT(table) (sizeof(table) / sizeof *(table))
#define NAME_COUNT(table) (int64_t)COUNT(table)

/* ---- Names of weights ---- */

#define WEIGHT(our, their) { .ours = our ".weight", .theirs = their ".weight" }
#define BOTH(our, their) WEIGHT(our, their), { .ours = our ".bias", .theirs = their ".bias" }
#define CONV(our, their) { .ours = our ".weight", .theirs = their ".weight", .transposed = true }, \
                           { .ours = our ".bias", .theirs = their ".bias" }
#define PART(our, their, n)                                                                             \
    { .ours = our ".weight", .theirs = their ".weight", .transposed = true, .part = n, .parts = 3 },    \
    { .ours = our ".bias", .theirs = their ".bias", .part = n, .parts = 3 }
#define HEAD_PART(our, their, n)                                                                        \
    { .ours = our ".weight", .theirs = their ".weight", .part = n, .parts = 3, .by_head = true },       \
    { .ours = our ".bias", .theirs = their ".bias", .part = n, .parts = 3, .by_head = true }

/* Files of GPT2LMHeadModel have the prefix "transformer."; the published file has none. */
const ag_weight_rule ag_gpt2_names[] = {
    WEIGHT("tok", "wte"),
    WEIGHT("pos", "wpe"),
    BOTH("blocks.{}.norm1", "h.{}.ln_1"),
    PART("blocks.{}.attn.q", "h.{}.attn.c_attn", 0),
    PART("blocks.{}.attn.k", "h.{}.attn.c_attn", 1),
    PART("blocks.{}.attn.v", "h.{}.attn.c_attn", 2),
    CONV("blocks.{}.attn.proj", "h.{}.attn.c_proj"),
    BOTH("blocks.{}.norm2", "h.{}.ln_2"),
    CONV("blocks.{}.ff.up", "h.{}.mlp.c_fc"),
    CONV("blocks.{}.ff.down", "h.{}.mlp.c_proj"),
    BOTH("norm", "ln_f"),
    WEIGHT("head", "lm_head"),
};
const int64_t ag_gpt2_name_count = NAME_COUNT(ag_gpt2_names);

const ag_weight_rule ag_llama_names[] = {
    WEIGHT("tok", "model.embed_tokens"),
    WEIGHT("blocks.{}.norm1", "model.layers.{}.input_layernorm"),
    BOTH("blocks.{}.attn.q", "model.layers.{}.self_attn.q_proj"),
    BOTH("blocks.{}.attn.k", "model.layers.{}.self_attn.k_proj"),
    BOTH("blocks.{}.attn.v", "model.layers.{}.self_attn.v_proj"),
    WEIGHT("blocks.{}.attn.q_norm", "model.layers.{}.self_attn.q_norm"),
    WEIGHT("blocks.{}.attn.k_norm", "model.layers.{}.self_attn.k_norm"),
    BOTH("blocks.{}.attn.proj", "model.layers.{}.self_attn.o_proj"),
    WEIGHT("blocks.{}.norm2", "model.layers.{}.post_attention_layernorm"),
    BOTH("blocks.{}.ff.up", "model.layers.{}.mlp.up_proj"),
    BOTH("blocks.{}.ff.gate", "model.layers.{}.mlp.gate_proj"),
    BOTH("blocks.{}.ff.down", "model.layers.{}.mlp.down_proj"),
    WEIGHT("norm", "model.norm"),
    WEIGHT("head", "lm_head"),
};
const int64_t ag_llama_name_count = NAME_COUNT(ag_llama_names);

/* Version 5 of the package calls the head lm_head in models, and embed_out in files. */
const ag_weight_rule ag_gpt_neox_names[] = {
    WEIGHT("tok", "gpt_neox.embed_in"),
    BOTH("blocks.{}.norm1", "gpt_neox.layers.{}.input_layernorm"),
    HEAD_PART("blocks.{}.attn.q", "gpt_neox.layers.{}.attention.query_key_value", 0),
    HEAD_PART("blocks.{}.attn.k", "gpt_neox.layers.{}.attention.query_key_value", 1),
    HEAD_PART("blocks.{}.attn.v", "gpt_neox.layers.{}.attention.query_key_value", 2),
    BOTH("blocks.{}.attn.proj", "gpt_neox.layers.{}.attention.dense"),
    BOTH("blocks.{}.norm2", "gpt_neox.layers.{}.post_attention_layernorm"),
    BOTH("blocks.{}.ff.up", "gpt_neox.layers.{}.mlp.dense_h_to_4h"),
    BOTH("blocks.{}.ff.down", "gpt_neox.layers.{}.mlp.dense_4h_to_h"),
    BOTH("norm", "gpt_neox.final_layer_norm"),
    WEIGHT("head", "embed_out"),
    WEIGHT("head", "lm_head"),
};
const int64_t ag_gpt_neox_name_count = NAME_COUNT(ag_gpt_neox_names);

const ag_weight_rule ag_phi_names[] = {
    WEIGHT("tok", "model.embed_tokens"),
    BOTH("blocks.{}.norm1", "model.layers.{}.input_layernorm"),
    BOTH("blocks.{}.attn.q", "model.layers.{}.self_attn.q_proj"),
    BOTH("blocks.{}.attn.k", "model.layers.{}.self_attn.k_proj"),
    BOTH("blocks.{}.attn.v", "model.layers.{}.self_attn.v_proj"),
    BOTH("blocks.{}.attn.proj", "model.layers.{}.self_attn.dense"),
    BOTH("blocks.{}.ff.up", "model.layers.{}.mlp.fc1"),
    BOTH("blocks.{}.ff.down", "model.layers.{}.mlp.fc2"),
    BOTH("norm", "model.final_layernorm"),
    BOTH("head", "lm_head"),
};
const int64_t ag_phi_name_count = NAME_COUNT(ag_phi_names);

/* Files with a head have the prefix "bert."; those from TensorFlow call a norm's parameters gamma and beta. */
#define NORM(our, their) BOTH(our, their), { .ours = our ".weight", .theirs = their ".gamma" }, \
                           { .ours = our ".bias", .theirs = their ".beta" }
const ag_weight_rule ag_bert_names[] = {
    WEIGHT("tok", "embeddings.word_embeddings"),
    WEIGHT("pos", "embeddings.position_embeddings"),
    WEIGHT("type", "embeddings.token_type_embeddings"),
    NORM("emb_norm", "embeddings.LayerNorm"),
    BOTH("blocks.{}.attn.q", "encoder.layer.{}.attention.self.query"),
    BOTH("blocks.{}.attn.k", "encoder.layer.{}.attention.self.key"),
    BOTH("blocks.{}.attn.v", "encoder.layer.{}.attention.self.value"),
    BOTH("blocks.{}.attn.proj", "encoder.layer.{}.attention.output.dense"),
    NORM("blocks.{}.norm1", "encoder.layer.{}.attention.output.LayerNorm"),
    BOTH("blocks.{}.ff.up", "encoder.layer.{}.intermediate.dense"),
    BOTH("blocks.{}.ff.down", "encoder.layer.{}.output.dense"),
    NORM("blocks.{}.norm2", "encoder.layer.{}.output.LayerNorm"),
    BOTH("pooler", "pooler.dense"),
};
const int64_t ag_bert_name_count = NAME_COUNT(ag_bert_names);

const ag_weight_rule ag_distilbert_names[] = {
    WEIGHT("tok", "embeddings.word_embeddings"),
    WEIGHT("pos", "embeddings.position_embeddings"),
    BOTH("emb_norm", "embeddings.LayerNorm"),
    BOTH("blocks.{}.attn.q", "transformer.layer.{}.attention.q_lin"),
    BOTH("blocks.{}.attn.k", "transformer.layer.{}.attention.k_lin"),
    BOTH("blocks.{}.attn.v", "transformer.layer.{}.attention.v_lin"),
    BOTH("blocks.{}.attn.proj", "transformer.layer.{}.attention.out_lin"),
    BOTH("blocks.{}.norm1", "transformer.layer.{}.sa_layer_norm"),
    BOTH("blocks.{}.ff.up", "transformer.layer.{}.ffn.lin1"),
    BOTH("blocks.{}.ff.down", "transformer.layer.{}.ffn.lin2"),
    BOTH("blocks.{}.norm2", "transformer.layer.{}.output_layer_norm"),
};
const int64_t ag_distilbert_name_count = NAME_COUNT(ag_distilbert_names);

/* ---- Defaults ---- */

enum {
    GPT2 = 1, LLAMA = 2, MISTRAL = 4, QWEN2 = 8, QWEN3 = 16, SMOLLM3 = 32, GPT_NEOX = 64, PHI = 128, BERT = 256,
    ROBERTA = 512, DISTILBERT = 1024,
    QWEN = QWEN2 | QWEN3,
    LLAMA_LIKE = LLAMA | MISTRAL | QWEN | SMOLLM3,
    ROTARY = LLAMA_LIKE | GPT_NEOX | PHI,
    DECODERS = GPT2 | ROTARY,
    BERT_LIKE = BERT | ROBERTA,
    ENCODERS = BERT_LIKE | DISTILBERT,
    USUAL = ROTARY | BERT_LIKE, /* with hidden_size and so on */
    ANY = AG_ANY_FAMILY
};

#define ROTATED(base) .positions = AG_POSITIONS_NONE, .attention.rotary = &ag_rotary, .attention.rope.theta = base
#define LLAMA_BLOCKS \
    .norm = AG_RMS_NORM, .norm_eps = 1e-6, .gated = true, .activation = AG_SILU, .no_ff_bias = true
#define BERT_BLOCKS \
    .norm_eps = 1e-12, .dropout = 0.1, .post_norm = true, .emb_norm = true, .non_causal = true, .activation = AG_GELU
#define BERT_MODEL(vocab, first) \
    { .vocab_size = vocab, .emb_size = 768, .num_heads = 12, .num_layers = 12, .max_seq_len = 512, .ff_size = 3072, \
      .type_vocab_size = 2, .first_position = first, .skip_padding = (first) > 0, BERT_BLOCKS }

const ag_family ag_families[] = {
    { { .model_type = "gpt2",
        .model = { .vocab_size = 50257, .emb_size = 768, .num_heads = 12, .num_layers = 12, .max_seq_len = 1024,
                   .norm_eps = 1e-5, .dropout = 0.1, .activation = AG_GELU_TANH } },
      GPT2, false, ag_gpt2_names, &ag_gpt2_name_count, "transformer." },
    { { .model_type = "llama", .partial = 1, .rope = AG_ROPE_UNSAID,
        .model = { .vocab_size = 32000, .emb_size = 4096, .num_heads = 32, .num_layers = 32, .max_seq_len = 2048,
                   .ff_size = 11008, .no_attn_bias = true, .untied_head = true, LLAMA_BLOCKS, ROTATED(10000) } },
      LLAMA, false, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "mistral", .partial = 1, .rope = AG_ROPE_UNSAID, .windowed = true, .window = 4096,
        .model = { .vocab_size = 32000, .emb_size = 4096, .num_heads = 32, .num_layers = 32, .max_seq_len = 131072,
                   .ff_size = 14336, .no_attn_bias = true, .untied_head = true, .attention.kv_heads = 8, LLAMA_BLOCKS,
                   ROTATED(10000) } },
      MISTRAL, false, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "qwen2", .partial = 1, .rope = AG_ROPE_UNSAID, .window = 4096, .first_windowed = 28,
        .model = { .vocab_size = 151936, .emb_size = 4096, .num_heads = 32, .num_layers = 32, .max_seq_len = 32768,
                   .ff_size = 22016, .untied_head = true, .attention.kv_heads = 32, .attention.no_proj_bias = true,
                   LLAMA_BLOCKS, ROTATED(10000) } },
      QWEN2, false, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "qwen3", .partial = 1, .rope = AG_ROPE_UNSAID, .window = 4096, .first_windowed = 28,
        .model = { .vocab_size = 151936, .emb_size = 4096, .num_heads = 32, .num_layers = 32, .max_seq_len = 32768,
                   .ff_size = 22016, .head_size = 128, .no_attn_bias = true, .untied_head = true,
                   .attention.kv_heads = 32, .attention.qk_norm = true, LLAMA_BLOCKS, ROTATED(10000) } },
      QWEN3, false, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "smollm3", .partial = 1, .rope = AG_ROPE_UNSAID, .first_windowed = AG_UNSAID,
        .unrotated_every = 4,
        .model = { .vocab_size = 128256, .emb_size = 2048, .num_heads = 16, .num_layers = 36, .max_seq_len = 32768,
                   .ff_size = 11008, .no_attn_bias = true, .attention.kv_heads = 4, LLAMA_BLOCKS, ROTATED(2000000) } },
      SMOLLM3, false, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "gpt_neox", .partial = 0.25, .turns_part = true, .rope = AG_ROPE_UNSAID,
        .model = { .vocab_size = 50432, .emb_size = 6144, .num_heads = 64, .num_layers = 44, .max_seq_len = 2048,
                   .ff_size = 24576, .norm_eps = 1e-5, .activation = AG_GELU, .parallel = true, .untied_head = true,
                   ROTATED(10000) } },
      GPT_NEOX, false, ag_gpt_neox_names, &ag_gpt_neox_name_count, NULL },
    { { .model_type = "phi", .partial = 0.5, .turns_part = true, .rope = AG_ROPE_UNSAID,
        .model = { .vocab_size = 51200, .emb_size = 2048, .num_heads = 32, .num_layers = 24, .max_seq_len = 2048,
                   .ff_size = 8192, .norm_eps = 1e-5, .activation = AG_GELU_TANH, .parallel = true, .one_norm = true,
                   .untied_head = true, .head_bias = true, ROTATED(10000) } },
      PHI, false, ag_phi_names, &ag_phi_name_count, NULL },
    { { .model_type = "bert", .model = BERT_MODEL(30522, 0) },
      BERT, true, ag_bert_names, &ag_bert_name_count, "bert." },
    { { .model_type = "roberta", .model = BERT_MODEL(50265, 2) },
      ROBERTA, true, ag_bert_names, &ag_bert_name_count, "roberta." },
    { { .model_type = "xlm-roberta", .model = BERT_MODEL(30522, 2) },
      ROBERTA, true, ag_bert_names, &ag_bert_name_count, "roberta." },
    { { .model_type = "camembert", .model = BERT_MODEL(30522, 2) },
      ROBERTA, true, ag_bert_names, &ag_bert_name_count, "roberta." },
    { { .model_type = "distilbert",
        .model = { .vocab_size = 30522, .emb_size = 768, .num_heads = 12, .num_layers = 6, .max_seq_len = 512,
                   .ff_size = 3072, BERT_BLOCKS } },
      DISTILBERT, true, ag_distilbert_names, &ag_distilbert_name_count, "distilbert." },
};
const size_t ag_family_count = COUNT(ag_families);

/* ---- Keys ---- */

#define INTO(field) offsetof(ag_description, field)
#define MODEL(field) INTO(model.field)

static const ag_key config_keys[] = {
    { "vocab_size", ANY, AG_KEY_SIZE, MODEL(vocab_size) },
    { "n_embd", GPT2, AG_KEY_SIZE, MODEL(emb_size) },
    { "dim", DISTILBERT, AG_KEY_SIZE, MODEL(emb_size) },
    { "hidden_size", USUAL, AG_KEY_SIZE, MODEL(emb_size) },
    { "n_head", GPT2, AG_KEY_SIZE, MODEL(num_heads) },
    { "n_heads", DISTILBERT, AG_KEY_SIZE, MODEL(num_heads) },
    { "num_attention_heads", USUAL, AG_KEY_SIZE, MODEL(num_heads) },
    { "n_layer", GPT2, AG_KEY_SIZE, MODEL(num_layers) },
    { "n_layers", DISTILBERT, AG_KEY_SIZE, MODEL(num_layers) },
    { "num_hidden_layers", USUAL, AG_KEY_SIZE, MODEL(num_layers) },
    { "n_positions", GPT2, AG_KEY_SIZE, MODEL(max_seq_len) },
    { "max_position_embeddings", USUAL | DISTILBERT, AG_KEY_SIZE, MODEL(max_seq_len) },
    { "n_inner", GPT2, AG_KEY_OPTIONAL, MODEL(ff_size) },
    { "hidden_dim", DISTILBERT, AG_KEY_SIZE, MODEL(ff_size) },
    { "intermediate_size", USUAL, AG_KEY_SIZE, MODEL(ff_size) },
    { "num_key_value_heads", LLAMA_LIKE | PHI, AG_KEY_OPTIONAL, MODEL(attention.kv_heads) },
    { "head_dim", LLAMA_LIKE | PHI, AG_KEY_OPTIONAL, MODEL(head_size) },
    { "head_dim", GPT_NEOX, AG_KEY_NULL, 0 }, /* the package would turn channels of heads of this size alone */
    { "type_vocab_size", BERT_LIKE, AG_KEY_SIZE, MODEL(type_vocab_size) },
    { "pad_token_id", ROBERTA, AG_KEY_AFTER, MODEL(first_position) },
    { "activation_function", GPT2, AG_KEY_ACTIVATION, MODEL(activation) },
    { "activation", DISTILBERT, AG_KEY_ACTIVATION, MODEL(activation) },
    { "hidden_act", USUAL, AG_KEY_ACTIVATION, MODEL(activation) },
    { "layer_norm_epsilon", GPT2, AG_KEY_POSITIVE, MODEL(norm_eps) },
    { "layer_norm_eps", BERT_LIKE | GPT_NEOX | PHI, AG_KEY_POSITIVE, MODEL(norm_eps) },
    { "rms_norm_eps", LLAMA_LIKE, AG_KEY_POSITIVE, MODEL(norm_eps) },
    { "resid_pdrop", GPT2 | PHI, AG_KEY_REAL, MODEL(dropout) },
    { "hidden_dropout_prob", BERT_LIKE, AG_KEY_REAL, MODEL(dropout) },
    { "hidden_dropout", GPT_NEOX, AG_KEY_REAL, MODEL(dropout) },
    { "dropout", DISTILBERT, AG_KEY_REAL, MODEL(dropout) },
    { "tie_word_embeddings", GPT2 | LLAMA_LIKE | GPT_NEOX, AG_KEY_NOT, MODEL(untied_head) },
    { "tie_word_embeddings", PHI, AG_KEY_FALSE, 0 }, /* the head has a bias */
    { "attention_bias", LLAMA | QWEN3 | SMOLLM3 | GPT_NEOX, AG_KEY_NOT, MODEL(no_attn_bias) },
    { "mlp_bias", LLAMA | SMOLLM3, AG_KEY_NOT, MODEL(no_ff_bias) },
    { "use_parallel_residual", GPT_NEOX, AG_KEY_FLAG, MODEL(parallel) },
    { "scale_attn_weights", GPT2, AG_KEY_NOT, INTO(unscaled) },
    { "sliding_window", MISTRAL | QWEN | SMOLLM3, AG_KEY_OPTIONAL, INTO(window) },
    { "use_sliding_window", QWEN | SMOLLM3, AG_KEY_FLAG, INTO(windowed) },
    { "max_window_layers", QWEN, AG_KEY_FROM, INTO(first_windowed) },
    { "layer_types", QWEN | SMOLLM3, AG_KEY_SLIDING, INTO(sliding) },
    { "no_rope_layers", SMOLLM3, AG_KEY_ROTATED, INTO(rotated) },
    { "no_rope_layer_interval", SMOLLM3, AG_KEY_SIZE, INTO(unrotated_every) },
    { "rope_theta", LLAMA_LIKE | PHI, AG_KEY_POSITIVE, MODEL(attention.rope.theta) },
    { "rotary_emb_base", GPT_NEOX, AG_KEY_POSITIVE, MODEL(attention.rope.theta) },
    { "partial_rotary_factor", LLAMA_LIKE | PHI, AG_KEY_REAL, INTO(partial) },
    { "rotary_pct", GPT_NEOX, AG_KEY_REAL, INTO(partial) },
    { "original_max_position_embeddings", ROTARY, AG_KEY_OPTIONAL, INTO(original_len) },
    { "rope_parameters", ROTARY, AG_KEY_ROPE, 0 },
    { "qk_layernorm", PHI, AG_KEY_FALSE, 0 },
    { "scale_attn_by_inverse_layer_idx", GPT2, AG_KEY_FALSE, 0 },
    { "position_embedding_type", BERT_LIKE, AG_KEY_ABSOLUTE, 0 },
    { "is_causal", DECODERS, AG_KEY_TRUE, 0 },
    { "is_causal", ENCODERS, AG_KEY_FALSE, 0 },
    { "is_decoder", BERT_LIKE, AG_KEY_FALSE, 0 },
    { "per_layer_config", ANY, AG_KEY_NULL, 0 },
    { "quantization_config", ANY, AG_KEY_NULL, 0 },
};

static const ag_key late_keys[] = {
    { "hidden_size", GPT2 | DISTILBERT, AG_KEY_SIZE, MODEL(emb_size) },
    { "num_attention_heads", GPT2 | DISTILBERT, AG_KEY_SIZE, MODEL(num_heads) },
    { "num_hidden_layers", GPT2 | DISTILBERT, AG_KEY_SIZE, MODEL(num_layers) },
    { "max_position_embeddings", GPT2, AG_KEY_SIZE, MODEL(max_seq_len) },
    { "rope_scaling", ROTARY, AG_KEY_ROPE, 0 },
};

static const ag_key rope_keys[] = {
    { "rope_type", ROTARY, AG_KEY_WORD, INTO(rope.type) },
    { "type", ROTARY, AG_KEY_WORD, INTO(rope.old_type) },
    { "rope_theta", ROTARY, AG_KEY_POSITIVE, INTO(rope.theta) },
    { "factor", ROTARY, AG_KEY_REAL, INTO(rope.factor) },
    { "low_freq_factor", ROTARY, AG_KEY_POSITIVE, INTO(rope.low_freq) },
    { "high_freq_factor", ROTARY, AG_KEY_POSITIVE, INTO(rope.high_freq) },
    { "original_max_position_embeddings", ROTARY, AG_KEY_OPTIONAL, INTO(rope.original_len) },
    { "partial_rotary_factor", ROTARY, AG_KEY_REAL, INTO(rope.partial) },
    { "beta_fast", ROTARY, AG_KEY_REAL, INTO(rope.beta_fast) },
    { "beta_slow", ROTARY, AG_KEY_REAL, INTO(rope.beta_slow) },
    { "truncate", ROTARY, AG_KEY_FLAG, INTO(rope.truncate) },
    { "attention_factor", ROTARY, AG_KEY_REAL, INTO(rope.attention_factor) },
    { "mscale", ROTARY, AG_KEY_REAL, INTO(rope.mscale) },
    { "mscale_all_dim", ROTARY, AG_KEY_REAL, INTO(rope.mscale_all) },
    { "full_attention", ROTARY, AG_KEY_NULL, 0 }, /* parameters per kind of layer */
    { "sliding_attention", ROTARY, AG_KEY_NULL, 0 },
};

static const ag_key type_keys[] = { { "model_type", ANY, AG_KEY_WORD, INTO(model_type) } };
static const ag_key end_keys[] = { { "eos_token_id", ANY, AG_KEY_ENDS, 0 } };

const ag_key_table ag_config_keys = { config_keys, COUNT(config_keys) };
const ag_key_table ag_late_keys = { late_keys, COUNT(late_keys) };
const ag_key_table ag_rope_keys = { rope_keys, COUNT(rope_keys) };
const ag_key_table ag_type_keys = { type_keys, COUNT(type_keys) };
const ag_key_table ag_end_keys = { end_keys, COUNT(end_keys) };
