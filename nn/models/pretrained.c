/* SPDX-License-Identifier: MIT
 *
 * pretrained.c - models from files of the transformers package: config.json has the kind of model and its sizes,
 * model.safetensors the weights, whose names weight_names.c maps.
 *
 * A configuration is not trusted: sizes are checked before use, and a model with more weights than the file is not
 * made. Keys that do not change the computation (use_cache, token ids, ...) are ignored; a value that changes it in a
 * way that the library does not have is an error that names key and value.
 */
#include "nn/models/models.h"
#include "nn/module_impl.h"
#include "nn/positions/positions.h"
#include "tensor/files/json.h"
#include "tensor/files/safetensors_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { CONFIG_MOST = 1 << 20, ENDS_MOST = 64 };

/* The values of a configuration. A missing value is 0 or NULL; a missing real or flag is UNSAID. */
#define UNSAID (-1)
typedef struct description {
    const char *model_type, *activation, *position_type, *rope_type; /* point into reader.text */
    int64_t vocab_size, emb_size, heads, layers, positions, ff_size, kv_heads, head_size, types, window, original_len;
    double norm_eps, emb_dropout, attn_dropout, dropout, theta, factor, low_freq, high_freq;
    int tied, attention_bias, mlp_bias, is_decoder;
    int32_t end[ENDS_MOST];
    int64_t end_count;
} description;

static const description nothing_said = {
    .norm_eps = UNSAID, .emb_dropout = UNSAID, .attn_dropout = UNSAID, .dropout = UNSAID, .theta = UNSAID,
    .factor = UNSAID, .low_freq = UNSAID, .high_freq = UNSAID,
    .tied = UNSAID, .attention_bias = UNSAID, .mlp_bias = UNSAID, .is_decoder = UNSAID,
};

/* ---- Reading config.json ---- */

typedef struct reader {
    ag_ctx *ctx;
    const char *where, *path; /* for errors: the function and the file's path */
    char *text;
    ag_json json;
    description said;
} reader;

typedef enum value_kind {
    SIZE,   /* int64_t, 1 .. 2^31 - 1 */
    REAL,   /* double, not negative */
    FLAG,   /* int */
    WORD,   /* const char * */
    ENDS,   /* one token id or a list of them, into end[] */
    PART,   /* an object of rope_keys */
    MUST_BE_TRUE, MUST_BE_FALSE, MUST_BE_1, MUST_BE_32, MUST_BE_NULL /* any other value is an error */
} value_kind;

typedef struct key {
    const char *name;
    value_kind kind;
    size_t offset; /* in a description */
} key;
#define INTO(field) offsetof(description, field)

static const key rope_keys[] = {
    { "rope_type", WORD, INTO(rope_type) },
    { "type", WORD, INTO(rope_type) },
    { "rope_theta", REAL, INTO(theta) },
    { "factor", REAL, INTO(factor) },
    { "low_freq_factor", REAL, INTO(low_freq) },
    { "high_freq_factor", REAL, INTO(high_freq) },
    { "original_max_position_embeddings", SIZE, INTO(original_len) },
    { "partial_rotary_factor", MUST_BE_1, 0 },
    { "beta_fast", MUST_BE_32, 0 },
    { "beta_slow", MUST_BE_1, 0 },
    { "truncate", MUST_BE_TRUE, 0 },
    { "attention_factor", MUST_BE_NULL, 0 },
    { "mscale", MUST_BE_NULL, 0 },
    { "mscale_all_dim", MUST_BE_NULL, 0 },
    { "full_attention", MUST_BE_NULL, 0 }, /* parameters per kind of layer */
    { "sliding_attention", MUST_BE_NULL, 0 },
};

static const key config_keys[] = {
    { "model_type", WORD, INTO(model_type) },
    { "vocab_size", SIZE, INTO(vocab_size) },
    { "n_embd", SIZE, INTO(emb_size) },
    { "hidden_size", SIZE, INTO(emb_size) },
    { "n_head", SIZE, INTO(heads) },
    { "num_attention_heads", SIZE, INTO(heads) },
    { "n_layer", SIZE, INTO(layers) },
    { "num_hidden_layers", SIZE, INTO(layers) },
    { "n_positions", SIZE, INTO(positions) },
    { "max_position_embeddings", SIZE, INTO(positions) },
    { "n_inner", SIZE, INTO(ff_size) },
    { "intermediate_size", SIZE, INTO(ff_size) },
    { "num_key_value_heads", SIZE, INTO(kv_heads) },
    { "head_dim", SIZE, INTO(head_size) },
    { "type_vocab_size", SIZE, INTO(types) },
    { "sliding_window", SIZE, INTO(window) },
    { "activation_function", WORD, INTO(activation) },
    { "hidden_act", WORD, INTO(activation) },
    { "position_embedding_type", WORD, INTO(position_type) },
    { "layer_norm_epsilon", REAL, INTO(norm_eps) },
    { "layer_norm_eps", REAL, INTO(norm_eps) },
    { "rms_norm_eps", REAL, INTO(norm_eps) },
    { "embd_pdrop", REAL, INTO(emb_dropout) },
    { "attn_pdrop", REAL, INTO(attn_dropout) },
    { "attention_probs_dropout_prob", REAL, INTO(attn_dropout) },
    { "attention_dropout", REAL, INTO(attn_dropout) },
    { "resid_pdrop", REAL, INTO(dropout) },
    { "hidden_dropout_prob", REAL, INTO(dropout) },
    { "tie_word_embeddings", FLAG, INTO(tied) },
    { "attention_bias", FLAG, INTO(attention_bias) },
    { "mlp_bias", FLAG, INTO(mlp_bias) },
    { "is_decoder", FLAG, INTO(is_decoder) },
    { "eos_token_id", ENDS, 0 },
    { "rope_theta", REAL, INTO(theta) },
    { "rope_scaling", PART, 0 },
    { "rope_parameters", PART, 0 },
    { "scale_attn_weights", MUST_BE_TRUE, 0 },
    { "scale_attn_by_inverse_layer_idx", MUST_BE_FALSE, 0 },
    { "add_cross_attention", MUST_BE_FALSE, 0 },
    { "is_encoder_decoder", MUST_BE_FALSE, 0 },
    { "quantization_config", MUST_BE_NULL, 0 },
};
#define COUNT(table) (sizeof(table) / sizeof *(table))

/* Records the error "<path>: <key> is <value>, <wanted>"; returns false. */
static bool pretrained_wrong(const reader *r, const char *name, const char *value, const char *wanted)
{
    char text[AG_SHOWN_BYTES];
    ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s: %s is %s, %s", r->path, name, ag_shown_text(text, value), wanted);
    return false;
}

static bool pretrained_wrong_number(const reader *r, const char *name, double value, const char *wanted)
{
    char text[32];
    ag_snprintf(text, sizeof text, "%.15g", value);
    return pretrained_wrong(r, name, text, wanted);
}

static bool pretrained_read_size(reader *r, const char *name, int64_t *value)
{
    return ag_json_whole(&r->json, value) &&
           ((*value >= 1 && *value <= INT32_MAX) ||
            pretrained_wrong_number(r, name, (double)*value, "must be in 1 .. 2147483647"));
}

static bool pretrained_read_flag(reader *r, const char *name, value_kind kind, void *into)
{
    bool value;
    if (!ag_json_bool(&r->json, &value))
        return false;
    if (kind == FLAG)
        *(int *)into = value;
    return kind == FLAG || value == (kind == MUST_BE_TRUE) ||
           pretrained_wrong(r, name, value ? "true" : "false", value ? "must be false" : "must be true");
}

static bool pretrained_read_real(reader *r, const char *name, value_kind kind, void *into)
{
    double value, must = kind == MUST_BE_1 ? 1 : 32;
    if (!ag_json_real(&r->json, &value))
        return false;
    if (kind == REAL)
        *(double *)into = value;
    return kind == REAL
               ? value >= 0 || pretrained_wrong_number(r, name, value, "must not be negative")
               : value == must || pretrained_wrong_number(r, name, value, must == 1 ? "must be 1" : "must be 32");
}

static bool pretrained_read_end(reader *r, const char *name)
{
    int64_t id;
    if (!ag_json_whole(&r->json, &id))
        return false;
    if (id > INT32_MAX)
        return pretrained_wrong_number(r, name, (double)id, "must be in 0 .. 2147483647");
    if (r->said.end_count == ENDS_MOST)
        return pretrained_wrong(r, name, "a list", "of more than 64 tokens");
    r->said.end[r->said.end_count++] = (int32_t)id;
    return true;
}

static bool pretrained_read_ends(reader *r, const char *name)
{
    r->said.end_count = 0;
    if (ag_json_peek(&r->json) != '[')
        return pretrained_read_end(r, name);
    bool good = ag_json_begin(&r->json, '[');
    while (good && ag_json_next(&r->json, ']'))
        good = pretrained_read_end(r, name);
    return good;
}

static bool pretrained_read_object(reader *r, const key *keys, size_t count);

static bool pretrained_read_value(reader *r, const key *k)
{
    char *into = (char *)&r->said + k->offset;
    switch (k->kind) {
    case SIZE: return pretrained_read_size(r, k->name, (int64_t *)(void *)into);
    case FLAG: case MUST_BE_TRUE: case MUST_BE_FALSE: return pretrained_read_flag(r, k->name, k->kind, into);
    case REAL: case MUST_BE_1: case MUST_BE_32: return pretrained_read_real(r, k->name, k->kind, into);
    case WORD: return (*(const char **)(void *)into = ag_json_string(&r->json)) != NULL;
    case ENDS: return pretrained_read_ends(r, k->name);
    case PART: return pretrained_read_object(r, rope_keys, COUNT(rope_keys));
    case MUST_BE_NULL: break;
    }
    return pretrained_wrong(r, k->name, "given", "the library does not have it");
}

/* Reads one value by its key; null counts as missing. An error in the text of a known key's value names the key. */
static bool pretrained_read_item(reader *r, const key *keys, size_t count)
{
    const char *name = ag_json_key(&r->json);
    size_t i = 0;
    while (name != NULL && i < count && strcmp(keys[i].name, name) != 0)
        i++;
    if (name == NULL || i == count)
        return name != NULL && ag_json_skip(&r->json);
    int first = ag_json_peek(&r->json);
    char value[24];
    const char *text = r->json.text + r->json.at;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(text, ",]}\r\n"), text);
    if (ag_json_null(&r->json) || pretrained_read_value(r, &keys[i]))
        return true;
    if (first >= 0 && keys[i].kind != PART && r->json.error != NULL)
        return pretrained_wrong(r, name, value, r->json.error);
    return false;
}

static bool pretrained_read_object(reader *r, const key *keys, size_t count)
{
    bool good = ag_json_begin(&r->json, '{');
    while (good && ag_json_next(&r->json, '}'))
        good = pretrained_read_item(r, keys, count);
    return good && r->json.error == NULL;
}

/* Reads the whole file into r->text, ended with NUL. */
static bool pretrained_load_text(reader *r)
{
    errno = 0;
    FILE *file = fopen(r->path, "rb");
    r->text = file == NULL ? NULL : ag_alloc(r->ctx, CONFIG_MOST + 1);
    size_t size = r->text == NULL ? 0 : fread(r->text, 1, CONFIG_MOST + 1, file);
    bool good = r->text != NULL && ferror(file) == 0;
    if (!good)
        ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s can not be read: %s", r->path, ag_file_reason(errno));
    else if (size > CONFIG_MOST)
        good = pretrained_wrong(r, "the file", "larger than a megabyte", "must be smaller");
    if (file != NULL)
        fclose(file);
    if (good) {
        r->text[size] = '\0';
        r->json = ag_json_of(r->text, size);
    }
    return good;
}

/* Reads the configuration. pretrained_close_config frees the text that it points into, also after an error. */
static bool pretrained_open_config(reader *r)
{
    r->said = nothing_said;
    if (!pretrained_load_text(r))
        return false;
    if (pretrained_read_object(r, config_keys, COUNT(config_keys)) && ag_json_end(&r->json))
        return true;
    if (r->json.error != NULL)
        ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s: byte %zu: %s", r->path, r->json.at, r->json.error);
    return false;
}

static void pretrained_close_config(reader *r)
{
    ag_free(r->ctx, r->text, CONFIG_MOST + 1);
}

int64_t ag_eos_from_file(ag_ctx *ctx, const char *config_path, int32_t *ids, int64_t capacity)
{
    if (ctx == NULL || config_path == NULL || ag_error(ctx) != AG_OK)
        return -1;
    reader r = { .ctx = ctx, .where = "eos_from_file", .path = config_path };
    int64_t count = pretrained_open_config(&r) ? r.said.end_count : -1;
    for (int64_t i = 0; i < count && i < capacity; i++)
        ids[i] = r.said.end[i];
    pretrained_close_config(&r);
    return count;
}

/* ---- From the configuration to ours ---- */

static bool pretrained_need(const reader *r, bool said, const char *name)
{
    if (!said)
        ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s has no %s", r->path, name);
    return said;
}

static double pretrained_or_else(double value, double otherwise)
{
    return value == UNSAID ? otherwise : value;
}

/* The sizes that every kind has, the norm and the activation. */
static bool pretrained_fill_common(const reader *r, const char *activation, double norm_eps, ag_transformer_config *c)
{
    static const struct {
        const char *name;
        ag_activation activation;
    } names[] = { { "gelu", AG_GELU }, { "gelu_new", AG_GELU_TANH }, { "gelu_pytorch_tanh", AG_GELU_TANH },
                  { "relu", AG_RELU }, { "silu", AG_SILU },          { "swish", AG_SILU } };
    const description *d = &r->said;
    if (!pretrained_need(r, d->vocab_size > 0, "vocab_size") ||
        !pretrained_need(r, d->emb_size > 0, "n_embd or hidden_size") ||
        !pretrained_need(r, d->heads > 0, "n_head or num_attention_heads") ||
        !pretrained_need(r, d->layers > 0, "n_layer or num_hidden_layers") ||
        !pretrained_need(r, d->positions > 0, "n_positions or max_position_embeddings"))
        return false;
    if (d->norm_eps == 0)
        return pretrained_wrong(r, "the norm's eps", "0", "must be greater");
    *c = (ag_transformer_config){
        .vocab_size = d->vocab_size, .emb_size = d->emb_size, .num_heads = d->heads, .num_layers = d->layers,
        .max_seq_len = d->positions, .head_size = d->head_size, .ff_size = d->ff_size,
        .norm_eps = pretrained_or_else(d->norm_eps, norm_eps),
    };
    activation = d->activation != NULL ? d->activation : activation;
    size_t i = 0;
    while (i < COUNT(names) && strcmp(names[i].name, activation) != 0)
        i++;
    if (i == COUNT(names))
        return pretrained_wrong(r, "the activation", activation,
                                "must be one of gelu gelu_new gelu_pytorch_tanh relu silu swish");
    c->activation = names[i].activation;
    return true;
}

/* The package has three dropout probabilities: of embeddings, attention weights, and residual branches. The library has
 * one, so they must be equal. */
static bool pretrained_fill_dropout(const reader *r, double emb, double attn, double residual, ag_transformer_config *c)
{
    c->dropout = residual;
    return ((emb == residual ||
             pretrained_wrong_number(r, "the embeddings' dropout", emb, "must equal the residual's")) &&
            (attn == residual ||
             pretrained_wrong_number(r, "attention's dropout", attn, "must equal the residual's")));
}

static bool pretrained_fill_gpt2(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    if (!pretrained_fill_common(r, "gelu_new", 1e-5, c))
        return false;
    c->untied_head = d->tied == 0;
    return pretrained_fill_dropout(r, pretrained_or_else(d->emb_dropout, 0.1), pretrained_or_else(d->attn_dropout, 0.1),
                                   pretrained_or_else(d->dropout, 0.1), c);
}

static bool pretrained_fill_rope(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    const char *type = d->rope_type != NULL ? d->rope_type : "default";
    ag_rope_config *rope = &c->attention.rope;
    *rope = (ag_rope_config){ .pairing = AG_ROPE_HALVES, .theta = pretrained_or_else(d->theta, 10000) };
    if (rope->theta == 0)
        return pretrained_wrong(r, "rope_theta", "0", "must be greater");
    /* "dynamic" differs only in sequences longer than max_position_embeddings, which max_seq_len forbids. */
    if (strcmp(type, "default") == 0 || strcmp(type, "dynamic") == 0)
        return true;
    if (strcmp(type, "linear") == 0)
        rope->scaling = AG_ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        rope->scaling = AG_ROPE_LLAMA3;
    else if (strcmp(type, "yarn") == 0)
        rope->scaling = AG_ROPE_YARN;
    else
        return pretrained_wrong(r, "rope_type", type, "must be one of default linear dynamic llama3 yarn");
    if (!pretrained_need(r, d->factor != UNSAID, "factor in rope_scaling or rope_parameters"))
        return false;
    if (!(d->factor >= 1))
        return pretrained_wrong_number(r, "factor", d->factor, "must be at least 1");
    rope->factor = d->factor;
    rope->low_freq = pretrained_or_else(d->low_freq, 0);
    rope->high_freq = pretrained_or_else(d->high_freq, 0);
    rope->original_len = d->original_len > 0 ? d->original_len : d->positions;
    return true;
}

static bool pretrained_fill_llama(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    bool bias = d->attention_bias == 1;
    if (!pretrained_need(r, d->ff_size > 0, "intermediate_size") || !pretrained_fill_common(r, "silu", 1e-6, c) ||
        !pretrained_fill_dropout(r, 0, pretrained_or_else(d->attn_dropout, 0), 0, c) || !pretrained_fill_rope(r, c))
        return false;
    if (bias != (d->mlp_bias == 1))
        return pretrained_wrong(r, "mlp_bias", bias ? "false" : "true", "must equal attention_bias");
    c->norm = AG_RMS_NORM;
    c->gated = true;
    c->positions = AG_POSITIONS_NONE;
    c->attention.rotary = &ag_rotary;
    c->attention.kv_heads = d->kv_heads;
    c->attention.mask.back = d->window;
    c->no_bias = !bias;
    c->untied_head = d->tied != 1;
    return true;
}

static bool pretrained_fill_bert(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    double dropout = pretrained_or_else(d->dropout, 0.1);
    if (!pretrained_need(r, d->ff_size > 0, "intermediate_size") || !pretrained_fill_common(r, "gelu", 1e-12, c) ||
        !pretrained_fill_dropout(r, dropout, pretrained_or_else(d->attn_dropout, 0.1), dropout, c))
        return false;
    if (d->is_decoder == 1)
        return pretrained_wrong(r, "is_decoder", "true", "must be false");
    if (d->position_type != NULL && strcmp(d->position_type, "absolute") != 0)
        return pretrained_wrong(r, "position_embedding_type", d->position_type, "must be absolute");
    c->post_norm = c->emb_norm = c->non_causal = true;
    c->type_vocab_size = d->types > 0 ? d->types : 2;
    return true;
}

/* ---- Models ---- */

typedef struct family {
    const char *model_type;
    bool encoder;
    bool (*fill)(const reader *r, ag_transformer_config *c);
    const ag_weight_rule *rules;
    const int64_t *rule_count;
    const char *prefix; /* of the names in files of a model with a head */
} family;

static const family families[] = {
    { "gpt2", false, pretrained_fill_gpt2, ag_gpt2_names, &ag_gpt2_name_count, "transformer." },
    { "llama", false, pretrained_fill_llama, ag_llama_names, &ag_llama_name_count, NULL },
    { "mistral", false, pretrained_fill_llama, ag_llama_names, &ag_llama_name_count, NULL },
    { "bert", true, pretrained_fill_bert, ag_bert_names, &ag_bert_name_count, "bert." },
};

static const family *pretrained_find_family(const reader *r, bool encoder)
{
    if (!pretrained_need(r, r->said.model_type != NULL, "model_type"))
        return NULL;
    for (size_t i = 0; i < COUNT(families); i++)
        if (families[i].encoder == encoder && strcmp(families[i].model_type, r->said.model_type) == 0)
            return &families[i];
    pretrained_wrong(r, "model_type", r->said.model_type,
                     encoder ? "must be bert" : "must be one of gpt2 llama mistral");
    return NULL;
}

/* Whether the file is large enough for such a model, so that a model much larger than the file is not made; sets
 * c->pooler if the file has one. */
static bool pretrained_check_weights(const reader *r, const char *path, ag_transformer_config *c)
{
    ag_safetensors *file = ag_safetensors_open(r->ctx, path);
    if (file == NULL)
        return false;
    double emb = (double)c->emb_size, heads = (double)c->num_heads;
    double head_size = c->head_size > 0 ? (double)c->head_size : floor(emb / heads);
    double kv_heads = c->attention.kv_heads > 0 ? (double)c->attention.kv_heads : heads;
    double ff_size = c->ff_size > 0 ? (double)c->ff_size : 4 * emb;
    double block = emb * head_size * 2 * (heads + kv_heads) + emb * ff_size * (c->gated ? 3 : 2);
    double table = c->positions == AG_POSITIONS_LEARNED ? (double)c->max_seq_len * emb : 0;
    double weights = (double)c->vocab_size * emb + table + (double)c->num_layers * block;
    int64_t bytes = ag_safetensors_data_size(file);
    c->pooler = ag_safetensors_has(file, "pooler.dense.weight") || ag_safetensors_has(file, "bert.pooler.dense.weight");
    ag_safetensors_close(file);
    if (weights * 2 <= (double)bytes) /* the smallest dtype has two bytes */
        return true;
    ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s: a model of %.0f weights, %s has %" PRId64 " bytes", r->path, weights,
            path, bytes);
    return false;
}

/* The configuration of the model in the two files; its family, NULL on error. */
static const family *pretrained_configure(ag_ctx *ctx, const char *where, bool encoder, const char *config_path,
                                          const char *weights_path, ag_transformer_config *c)
{
    reader r = { .ctx = ctx, .where = where, .path = config_path };
    const family *of = pretrained_open_config(&r) ? pretrained_find_family(&r, encoder) : NULL;
    if (of != NULL && (!of->fill(&r, c) || !pretrained_check_weights(&r, weights_path, c)))
        of = NULL;
    pretrained_close_config(&r);
    return of;
}

ag_gpt *ag_gpt_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype)
{
    if (ctx == NULL || config_path == NULL || weights_path == NULL || ag_error(ctx) != AG_OK)
        return NULL;
    ag_transformer_config config;
    const family *of = pretrained_configure(ctx, "gpt_from_files", false, config_path, weights_path, &config);
    if (of == NULL)
        return NULL;
    config.dtype = dtype;
    config.pooler = false;
    ag_rng rng = ag_rng_get(ctx); /* initial values are overwritten: the stream is put back */
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    ag_rng_set(ctx, rng);
    if (ag_module_load_named(ag_gpt_module(gpt), weights_path, of->rules, *of->rule_count, of->prefix) == AG_OK)
        return gpt;
    ag_gpt_free(gpt);
    return NULL;
}

ag_encoder *ag_encoder_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype)
{
    if (ctx == NULL || config_path == NULL || weights_path == NULL || ag_error(ctx) != AG_OK)
        return NULL;
    ag_transformer_config config;
    const family *of = pretrained_configure(ctx, "encoder_from_files", true, config_path, weights_path, &config);
    if (of == NULL)
        return NULL;
    config.dtype = dtype;
    ag_rng rng = ag_rng_get(ctx);
    ag_encoder *encoder = ag_encoder_new(ctx, config);
    ag_rng_set(ctx, rng);
    if (ag_module_load_named(ag_encoder_module(encoder), weights_path, of->rules, *of->rule_count, of->prefix) == AG_OK)
        return encoder;
    ag_encoder_free(encoder);
    return NULL;
}
