/* SPDX-License-Identifier: MIT
 *
 * pretrained.c - models from files of the transformers package: config.json has the kind of model and its sizes,
 * model.safetensors the weights, whose names weight_names.c maps.
 *
 * A configuration is not trusted: sizes are checked before use, and a model with more weights than the file is not
 * made. A key belongs to families of models; other families ignore it, as the package does. Keys that do not change the
 * computation (use_cache, dropout, token ids, ...) are ignored; a value that changes it in a way that the library does
 * not have is an error that names key and value.
 */
#include "nn/models/models.h"
#include "nn/module_impl.h"
#include "nn/models/state_dict_impl.h"
#include "nn/positions/positions.h"
#include "tensor/files/json.h"
#include "tensor/files/safetensors_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { CONFIG_MOST = 1 << 20, ENDS_MOST = 64, WORD_MOST = 24 };

/* rope_parameters, or rope_scaling in files of older versions of the package. */
#define UNSAID (-1)
typedef struct rope_said {
    char type[WORD_MOST], old_type[WORD_MOST]; /* "": unsaid */
    double theta, factor, low_freq, high_freq, beta_fast, beta_slow, attention_factor, mscale, mscale_all, partial;
    int64_t original_len;
    bool truncate;
} rope_said;

#define ROPE_UNSAID                                                                                                 \
    {                                                                                                               \
        .theta = UNSAID, .factor = UNSAID, .low_freq = UNSAID, .high_freq = UNSAID, .attention_factor = UNSAID,     \
        .truncate = true                                                                                            \
    }

/* What a configuration says, filled in with the defaults of its family. A size that is 0 is null in the file. */
typedef struct description {
    char model_type[WORD_MOST];
    int64_t vocab_size, emb_size, heads, layers, positions, ff_size, kv_heads, head_size, types, window, original_len;
    double norm_eps, dropout, theta, partial;
    ag_activation activation;
    bool scaled, tied, attention_bias, mlp_bias;
    rope_said rope;
    int32_t end[ENDS_MOST];
    int64_t end_count;
} description;

/* ---- Families ---- */

enum { GPT2 = 1, LLAMA = 2, MISTRAL = 4, BERT = 8, QWEN3 = 16, ROTARY = LLAMA | MISTRAL | QWEN3, ANY = 31 };

typedef struct reader reader;
typedef struct family {
    description defaults; /* of the package's configuration class */
    int bit;
    bool encoder;
    bool (*fill)(const reader *r, ag_transformer_config *c);
    const ag_weight_rule *rules;
    const int64_t *rule_count;
    const char *prefix; /* of the names in files of a model with a head */
} family;

static bool pretrained_fill_gpt2(const reader *r, ag_transformer_config *c);
static bool pretrained_fill_llama(const reader *r, ag_transformer_config *c);
static bool pretrained_fill_bert(const reader *r, ag_transformer_config *c);

static const family families[] = {
    { { .model_type = "gpt2", .vocab_size = 50257, .emb_size = 768, .heads = 12, .layers = 12, .positions = 1024,
        .norm_eps = 1e-5, .dropout = 0.1, .activation = AG_GELU_TANH, .scaled = true, .tied = true },
      GPT2, false, pretrained_fill_gpt2, ag_gpt2_names, &ag_gpt2_name_count, "transformer." },
    { { .model_type = "llama", .vocab_size = 32000, .emb_size = 4096, .heads = 32, .layers = 32, .positions = 2048,
        .ff_size = 11008, .norm_eps = 1e-6, .theta = 10000, .partial = 1, .activation = AG_SILU, .rope = ROPE_UNSAID },
      LLAMA, false, pretrained_fill_llama, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "mistral", .vocab_size = 32000, .emb_size = 4096, .heads = 32, .layers = 32,
        .positions = 131072, .ff_size = 14336, .kv_heads = 8, .window = 4096, .norm_eps = 1e-6, .theta = 10000,
        .partial = 1, .activation = AG_SILU, .rope = ROPE_UNSAID },
      MISTRAL, false, pretrained_fill_llama, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "qwen3", .vocab_size = 151936, .emb_size = 4096, .heads = 32, .layers = 32, .positions = 32768,
        .ff_size = 22016, .kv_heads = 32, .head_size = 128, .norm_eps = 1e-6, .theta = 10000, .partial = 1,
        .activation = AG_SILU, .rope = ROPE_UNSAID },
      QWEN3, false, pretrained_fill_llama, ag_llama_names, &ag_llama_name_count, NULL },
    { { .model_type = "bert", .vocab_size = 30522, .emb_size = 768, .heads = 12, .layers = 12, .positions = 512,
        .ff_size = 3072, .types = 2, .norm_eps = 1e-12, .dropout = 0.1, .activation = AG_GELU },
      BERT, true, pretrained_fill_bert, ag_bert_names, &ag_bert_name_count, "bert." },
};

/* ---- Reading config.json ---- */

struct reader {
    ag_ctx *ctx;
    const char *where, *path; /* for errors: the function and the file's path */
    char *text, *decoded;     /* [CONFIG_MOST + 1]: the file, and a copy that the JSON reader decodes */
    size_t size;
    ag_json json;
    int family; /* its bit */
    description said;
};

typedef enum value_kind {
    SIZE,       /* int64_t, 1 .. 2^31 - 1; null: 0 */
    REAL,       /* double, not negative */
    POSITIVE,   /* double, above 0 */
    FLAG,       /* bool */
    WORD,       /* char[WORD_MOST], cut */
    ACTIVATION, /* ag_activation, by the package's name */
    ENDS,       /* one token id or a list of them, into end[] */
    ROPE,       /* an object of rope_keys, which replaces what was said before */
    MUST_BE_TRUE, MUST_BE_FALSE, MUST_BE_NULL, MUST_BE_ABSOLUTE, /* any other value is an error */
    MUST_BE_FULL /* a list of "full_attention" */
} value_kind;

typedef struct key {
    const char *name;
    int families; /* that have it */
    value_kind kind;
    size_t offset; /* in a description */
} key;
#define INTO(field) offsetof(description, field)

static const key rope_keys[] = {
    { "rope_type", ROTARY, WORD, INTO(rope.type) },
    { "type", ROTARY, WORD, INTO(rope.old_type) },
    { "rope_theta", ROTARY, POSITIVE, INTO(rope.theta) },
    { "factor", ROTARY, REAL, INTO(rope.factor) },
    { "low_freq_factor", ROTARY, POSITIVE, INTO(rope.low_freq) },
    { "high_freq_factor", ROTARY, POSITIVE, INTO(rope.high_freq) },
    { "original_max_position_embeddings", ROTARY, SIZE, INTO(rope.original_len) },
    { "partial_rotary_factor", ROTARY, REAL, INTO(rope.partial) },
    { "beta_fast", ROTARY, REAL, INTO(rope.beta_fast) },
    { "beta_slow", ROTARY, REAL, INTO(rope.beta_slow) },
    { "truncate", ROTARY, FLAG, INTO(rope.truncate) },
    { "attention_factor", ROTARY, REAL, INTO(rope.attention_factor) },
    { "mscale", ROTARY, REAL, INTO(rope.mscale) },
    { "mscale_all_dim", ROTARY, REAL, INTO(rope.mscale_all) },
    { "full_attention", ROTARY, MUST_BE_NULL, 0 }, /* parameters per kind of layer */
    { "sliding_attention", ROTARY, MUST_BE_NULL, 0 },
};

static const key type_keys[] = { { "model_type", ANY, WORD, INTO(model_type) } };
static const key end_keys[] = { { "eos_token_id", ANY, ENDS, 0 } };

static const key config_keys[] = {
    { "vocab_size", ANY, SIZE, INTO(vocab_size) },
    { "n_embd", GPT2, SIZE, INTO(emb_size) },
    { "hidden_size", ROTARY | BERT, SIZE, INTO(emb_size) },
    { "n_head", GPT2, SIZE, INTO(heads) },
    { "num_attention_heads", ROTARY | BERT, SIZE, INTO(heads) },
    { "n_layer", GPT2, SIZE, INTO(layers) },
    { "num_hidden_layers", ROTARY | BERT, SIZE, INTO(layers) },
    { "n_positions", GPT2, SIZE, INTO(positions) },
    { "max_position_embeddings", ROTARY | BERT, SIZE, INTO(positions) },
    { "n_inner", GPT2, SIZE, INTO(ff_size) },
    { "intermediate_size", ROTARY | BERT, SIZE, INTO(ff_size) },
    { "num_key_value_heads", ROTARY, SIZE, INTO(kv_heads) },
    { "head_dim", ROTARY, SIZE, INTO(head_size) },
    { "type_vocab_size", BERT, SIZE, INTO(types) },
    { "sliding_window", MISTRAL, SIZE, INTO(window) },
    { "activation_function", GPT2, ACTIVATION, INTO(activation) },
    { "hidden_act", ROTARY | BERT, ACTIVATION, INTO(activation) },
    { "position_embedding_type", BERT, MUST_BE_ABSOLUTE, 0 },
    { "layer_norm_epsilon", GPT2, POSITIVE, INTO(norm_eps) },
    { "layer_norm_eps", BERT, POSITIVE, INTO(norm_eps) },
    { "rms_norm_eps", ROTARY, POSITIVE, INTO(norm_eps) },
    { "resid_pdrop", GPT2, REAL, INTO(dropout) },
    { "hidden_dropout_prob", BERT, REAL, INTO(dropout) },
    { "tie_word_embeddings", GPT2 | ROTARY, FLAG, INTO(tied) },
    { "attention_bias", LLAMA | QWEN3, FLAG, INTO(attention_bias) },
    { "use_sliding_window", QWEN3, MUST_BE_FALSE, 0 },
    { "layer_types", QWEN3, MUST_BE_FULL, 0 },
    { "mlp_bias", LLAMA, FLAG, INTO(mlp_bias) },
    { "rope_theta", ROTARY, POSITIVE, INTO(theta) },
    { "partial_rotary_factor", ROTARY, REAL, INTO(partial) },
    { "original_max_position_embeddings", ROTARY, SIZE, INTO(original_len) },
    { "rope_parameters", ROTARY, ROPE, 0 },
    { "scale_attn_weights", GPT2, FLAG, INTO(scaled) },
    { "scale_attn_by_inverse_layer_idx", GPT2, MUST_BE_FALSE, 0 },
    { "is_causal", GPT2 | ROTARY, MUST_BE_TRUE, 0 },
    { "is_causal", BERT, MUST_BE_FALSE, 0 },
    { "is_decoder", BERT, MUST_BE_FALSE, 0 },
    { "per_layer_config", ANY, MUST_BE_NULL, 0 },
    { "quantization_config", ANY, MUST_BE_NULL, 0 },
};

/* Keys that win over others of the same meaning, wherever they stand. */
static const key late_keys[] = {
    { "hidden_size", GPT2, SIZE, INTO(emb_size) },
    { "num_attention_heads", GPT2, SIZE, INTO(heads) },
    { "num_hidden_layers", GPT2, SIZE, INTO(layers) },
    { "max_position_embeddings", GPT2, SIZE, INTO(positions) },
    { "rope_scaling", ROTARY, ROPE, 0 },
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

static bool pretrained_read_flag(reader *r, const char *name, value_kind kind, bool *into)
{
    bool value;
    if (!ag_json_bool(&r->json, &value))
        return false;
    if (kind == FLAG)
        *into = value;
    return kind == FLAG || value == (kind == MUST_BE_TRUE) ||
           pretrained_wrong(r, name, value ? "true" : "false", value ? "must be false" : "must be true");
}

static bool pretrained_read_real(reader *r, const char *name, value_kind kind, double *value)
{
    return ag_json_real(&r->json, value) &&
           (*value > 0 || (*value == 0 && kind == REAL) ||
            pretrained_wrong_number(r, name, *value, kind == REAL ? "must not be negative" : "must be greater than 0"));
}

static bool pretrained_read_word(reader *r, const char *name, value_kind kind, char word[WORD_MOST])
{
    const char *text = ag_json_string(&r->json);
    if (text != NULL && kind == WORD)
        snprintf(word, WORD_MOST, "%s", text);
    return text != NULL &&
           (kind == WORD || strcmp(text, "absolute") == 0 || pretrained_wrong(r, name, text, "must be absolute"));
}

static bool pretrained_read_activation(reader *r, const char *name, ag_activation *activation)
{
    static const struct {
        const char *name;
        ag_activation activation;
    } names[] = { { "gelu", AG_GELU },
                  { "gelu_python", AG_GELU },
                  { "gelu_new", AG_GELU_TANH },
                  { "gelu_fast", AG_GELU_TANH },
                  { "gelu_accurate", AG_GELU_TANH },
                  { "gelu_pytorch_tanh", AG_GELU_TANH },
                  { "gelu_python_tanh", AG_GELU_TANH },
                  { "relu", AG_RELU },
                  { "silu", AG_SILU },
                  { "swish", AG_SILU } };
    const char *text = ag_json_string(&r->json);
    for (size_t i = 0; i < COUNT(names) && text != NULL; i++)
        if (strcmp(names[i].name, text) == 0) {
            *activation = names[i].activation;
            return true;
        }
    return text != NULL && pretrained_wrong(r, name, text, "must be one of gelu gelu_new relu silu and their aliases");
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

static bool pretrained_read_full(reader *r, const char *name)
{
    bool good = ag_json_begin(&r->json, '[');
    while (good && ag_json_next(&r->json, ']')) {
        const char *type = ag_json_string(&r->json);
        good = type != NULL && (strcmp(type, "full_attention") == 0 ||
                                pretrained_wrong(r, name, type, "must be full_attention"));
    }
    return good;
}

static bool pretrained_read_object(reader *r, const key *keys, size_t count);

static bool pretrained_read_rope(reader *r)
{
    r->said.rope = (rope_said)ROPE_UNSAID;
    return pretrained_read_object(r, rope_keys, COUNT(rope_keys));
}

static bool pretrained_read_value(reader *r, const key *k)
{
    void *into = (char *)&r->said + k->offset;
    switch (k->kind) {
    case SIZE: return pretrained_read_size(r, k->name, into);
    case REAL: case POSITIVE: return pretrained_read_real(r, k->name, k->kind, into);
    case FLAG: case MUST_BE_TRUE: case MUST_BE_FALSE: return pretrained_read_flag(r, k->name, k->kind, into);
    case WORD: case MUST_BE_ABSOLUTE: return pretrained_read_word(r, k->name, k->kind, into);
    case ACTIVATION: return pretrained_read_activation(r, k->name, into);
    case ENDS: return pretrained_read_ends(r, k->name);
    case ROPE: return pretrained_read_rope(r);
    case MUST_BE_FULL: return pretrained_read_full(r, k->name);
    case MUST_BE_NULL: break;
    }
    return pretrained_wrong(r, k->name, "given", "the library does not have it");
}

/* null is 0 for a size, no token for eos_token_id, false for what must be true, and the default for every other key. */
static bool pretrained_read_null(reader *r, const key *k)
{
    if (!ag_json_null(&r->json))
        return false;
    if (k->kind == MUST_BE_TRUE)
        return pretrained_wrong(r, k->name, "null", "must be true");
    if (k->kind == SIZE)
        *(int64_t *)(void *)((char *)&r->said + k->offset) = 0;
    if (k->kind == ENDS)
        r->said.end_count = 0;
    return true;
}

/* Reads one value by its key. An error in the text of a value names the key. */
static bool pretrained_read_item(reader *r, const key *keys, size_t count)
{
    const char *name = ag_json_key(&r->json);
    size_t i = 0;
    while (name != NULL && i < count && ((keys[i].families & r->family) == 0 || strcmp(keys[i].name, name) != 0))
        i++;
    if (name == NULL)
        return false;
    int first = ag_json_peek(&r->json);
    char value[24];
    const char *text = r->json.text + r->json.at;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(text, ",]}\r\n"), text);
    bool known = i < count, object = known ? keys[i].kind == ROPE : first == '{' || first == '[';
    if (known ? pretrained_read_null(r, &keys[i]) || pretrained_read_value(r, &keys[i]) : ag_json_skip(&r->json))
        return true;
    if (first >= 0 && !object && r->json.error != NULL)
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
static bool pretrained_load_text(reader *r, FILE *file)
{
    r->text = file == NULL ? NULL : ag_alloc(r->ctx, CONFIG_MOST + 1);
    r->decoded = file == NULL ? NULL : ag_alloc(r->ctx, CONFIG_MOST + 1);
    bool good = r->text != NULL && r->decoded != NULL;
    r->size = good ? fread(r->text, 1, CONFIG_MOST + 1, file) : 0;
    good = good && ferror(file) == 0;
    if (!good)
        ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s can not be read: %s", r->path, ag_file_reason(errno));
    else if (r->size > CONFIG_MOST)
        good = pretrained_wrong(r, "the file", "larger than a megabyte", "must be smaller");
    if (file != NULL)
        fclose(file);
    if (good)
        r->text[r->size] = '\0';
    return good;
}

static bool pretrained_open(reader *r)
{
    errno = 0;
    return pretrained_load_text(r, fopen(r->path, "rb"));
}

static void pretrained_close(reader *r)
{
    ag_free(r->ctx, r->text, CONFIG_MOST + 1);
    ag_free(r->ctx, r->decoded, CONFIG_MOST + 1);
    r->text = r->decoded = NULL;
}

/* Reads the values of these keys into r->said. */
static bool pretrained_read_keys(reader *r, const key *keys, size_t count)
{
    memcpy(r->decoded, r->text, r->size + 1);
    r->json = ag_json_of(r->decoded, r->size);
    if (pretrained_read_object(r, keys, count) && ag_json_end(&r->json))
        return true;
    if (r->json.error != NULL)
        ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s: byte %zu: %s", r->path, r->json.at, r->json.error);
    return false;
}

/* The family that the file names, with r->said filled in; NULL on error. pretrained_close frees the texts. */
static const family *pretrained_read_config(reader *r, bool encoder)
{
    r->family = ANY;
    if (!pretrained_open(r) || !pretrained_read_keys(r, type_keys, COUNT(type_keys)))
        return NULL;
    if (r->said.model_type[0] == '\0')
        return ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s has no model_type", r->path);
    size_t i = 0;
    while (i < COUNT(families) && (families[i].encoder != encoder ||
                                   strcmp(families[i].defaults.model_type, r->said.model_type) != 0))
        i++;
    if (i == COUNT(families)) {
        pretrained_wrong(r, "model_type", r->said.model_type,
                         encoder ? "must be bert" : "must be one of gpt2 llama mistral qwen3");
        return NULL;
    }
    r->family = families[i].bit;
    r->said = families[i].defaults;
    return pretrained_read_keys(r, config_keys, COUNT(config_keys)) &&
           pretrained_read_keys(r, late_keys, COUNT(late_keys)) ? &families[i] : NULL;
}

/* ---- Tokens that end a text ---- */

/* The path of generation_config.json beside the configuration, NULL when it is too long. */
static const char *pretrained_sibling(const char *config_path, char path[1024])
{
    const char *folder = strrchr(config_path, '/');
    int before = folder == NULL ? 0 : (int)(folder + 1 - config_path);
    int length = snprintf(path, 1024, "%.*sgeneration_config.json", before, config_path);
    return length < 1024 ? path : NULL;
}

int64_t ag_eos_from_file(ag_ctx *ctx, const char *config_path, int32_t *ids, int64_t capacity)
{
    static const char where[] = "eos_from_file";
    if (ctx == NULL || ag_error(ctx) != AG_OK || !ag_check_given(ctx, where, "config_path", config_path) ||
        (capacity > 0 && !ag_check_given(ctx, where, "ids", ids)))
        return -1;
    if (capacity < 0) {
        ag_fail(ctx, AG_ERR_ARGUMENT, where, "capacity is %" PRId64 ", must not be negative", capacity);
        return -1;
    }
    char sibling[1024];
    const char *path = pretrained_sibling(config_path, sibling);
    FILE *file = path == NULL ? NULL : fopen(path, "rb");
    reader r = { .ctx = ctx, .where = where, .path = file != NULL ? path : config_path, .family = ANY };
    bool good = file != NULL ? pretrained_load_text(&r, file) : pretrained_open(&r);
    int64_t count = good && pretrained_read_keys(&r, end_keys, COUNT(end_keys)) ? r.said.end_count : -1;
    for (int64_t i = 0; i < count && i < capacity; i++)
        ids[i] = r.said.end[i];
    pretrained_close(&r);
    return count;
}

/* ---- From the configuration to ours ---- */

static bool pretrained_need(const reader *r, bool said, const char *name)
{
    if (!said)
        ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s has no %s", r->path, name);
    return said;
}

/* What every family has. */
static bool pretrained_fill_common(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    *c = (ag_transformer_config){
        .vocab_size = d->vocab_size, .emb_size = d->emb_size, .num_heads = d->heads, .num_layers = d->layers,
        .max_seq_len = d->positions, .head_size = d->head_size, .ff_size = d->ff_size, .activation = d->activation,
        .norm_eps = d->norm_eps, .dropout = d->dropout,
    };
    return pretrained_need(r, d->vocab_size > 0, "vocab_size") &&
           pretrained_need(r, d->emb_size > 0, "n_embd or hidden_size") &&
           pretrained_need(r, d->heads > 0, "n_head or num_attention_heads") &&
           pretrained_need(r, d->layers > 0, "n_layer or num_hidden_layers") &&
           pretrained_need(r, d->positions > 0, "n_positions or max_position_embeddings");
}

static bool pretrained_fill_gpt2(const reader *r, ag_transformer_config *c)
{
    if (!pretrained_fill_common(r, c))
        return false;
    c->untied_head = !r->said.tied;
    if (!r->said.scaled)
        c->attention.scale = 1;
    return true;
}

/* Settings of YaRN that the library does not have. */
static bool pretrained_check_yarn(const reader *r, double factor)
{
    const rope_said *s = &r->said.rope;
    double usual = 0.1 * log(factor) + 1;
    if (s->beta_fast != 0 && s->beta_fast != 32)
        return pretrained_wrong_number(r, "beta_fast", s->beta_fast, "must be 32");
    if (s->beta_slow != 0 && s->beta_slow != 1)
        return pretrained_wrong_number(r, "beta_slow", s->beta_slow, "must be 1");
    if (!s->truncate)
        return pretrained_wrong(r, "truncate", "false", "must be true");
    if (s->attention_factor != UNSAID && fabs(s->attention_factor - usual) > 1e-12 * usual)
        return pretrained_wrong_number(r, "attention_factor", s->attention_factor, "must be 0.1 ln(factor) + 1");
    if (s->attention_factor == UNSAID && s->mscale > 0 && s->mscale_all > 0)
        return pretrained_wrong_number(r, "mscale_all_dim", s->mscale_all, "the library does not have it");
    return true;
}

static bool pretrained_fill_rope(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    const rope_said *s = &d->rope;
    const char *type = s->type[0] != '\0' ? s->type : s->old_type[0] != '\0' ? s->old_type : "default";
    ag_rope_config *rope = &c->attention.rope;
    *rope = (ag_rope_config){ .pairing = AG_ROPE_HALVES, .theta = s->theta != UNSAID ? s->theta : d->theta };
    if (strcmp(type, "default") == 0)
        return true;
    if (strcmp(type, "linear") == 0)
        rope->scaling = AG_ROPE_LINEAR;
    else if (strcmp(type, "llama3") == 0)
        rope->scaling = AG_ROPE_LLAMA3;
    else if (strcmp(type, "yarn") == 0)
        rope->scaling = AG_ROPE_YARN;
    else if (strcmp(type, "dynamic") != 0)
        return pretrained_wrong(r, "rope_type", type, "must be one of default linear dynamic llama3 yarn");
    double partial = s->partial > 0 ? s->partial : d->partial;
    if (partial != 1)
        return pretrained_wrong_number(r, "partial_rotary_factor", partial, "must be 1");
    /* "dynamic" differs only in sequences longer than max_position_embeddings, which max_seq_len forbids. */
    if (rope->scaling == AG_ROPE_UNSCALED)
        return true;
    rope->original_len = d->original_len > 0 ? d->original_len : s->original_len > 0 ? s->original_len : d->positions;
    rope->factor = s->factor;
    if (s->factor == UNSAID && rope->scaling == AG_ROPE_YARN)
        rope->factor = (double)d->positions / (double)rope->original_len;
    if (!pretrained_need(r, rope->factor != UNSAID, "factor in rope_scaling or rope_parameters"))
        return false;
    if (!(rope->factor >= 1))
        return pretrained_wrong_number(r, "factor", rope->factor, "must be at least 1");
    rope->low_freq = s->low_freq != UNSAID ? s->low_freq : 0;
    rope->high_freq = s->high_freq != UNSAID ? s->high_freq : 0;
    return rope->scaling != AG_ROPE_YARN || pretrained_check_yarn(r, rope->factor);
}

static bool pretrained_fill_llama(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    if (!pretrained_fill_common(r, c) || !pretrained_need(r, d->ff_size > 0, "intermediate_size") ||
        !pretrained_fill_rope(r, c))
        return false;
    c->norm = AG_RMS_NORM;
    c->gated = true;
    c->positions = AG_POSITIONS_NONE;
    c->attention.rotary = &ag_rotary;
    c->attention.kv_heads = d->kv_heads;
    c->attention.qk_norm = r->family == QWEN3;
    c->attention.mask.back = d->window;
    c->no_bias = !d->attention_bias && !d->mlp_bias;
    c->no_attn_bias = !d->attention_bias;
    c->no_ff_bias = !d->mlp_bias;
    c->untied_head = !d->tied;
    return true;
}

static bool pretrained_fill_bert(const reader *r, ag_transformer_config *c)
{
    const description *d = &r->said;
    if (!pretrained_fill_common(r, c) || !pretrained_need(r, d->ff_size > 0, "intermediate_size") ||
        !pretrained_need(r, d->types > 0, "type_vocab_size"))
        return false;
    c->post_norm = c->emb_norm = c->non_causal = true;
    c->type_vocab_size = d->types;
    return true;
}

/* ---- Models ---- */

/* Whether the file has a head that differs from the table of tokens. The package uses it then, tied or not. */
static bool pretrained_has_own_head(ag_safetensors *file, const family *of)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", of->prefix == NULL ? "" : of->prefix, of->rules[0].theirs);
    ag_tensor *table = ag_safetensors_read(file, ag_safetensors_has(file, name) ? name : of->rules[0].theirs);
    ag_tensor *head = ag_safetensors_read(file, "lm_head.weight");
    return table != NULL && head != NULL &&
           (head->dtype != table->dtype || !ag_same_shape(head, table) ||
            memcmp(ag_data(head), ag_data(table), (size_t)head->numel * ag_dtype_size(head->dtype)) != 0);
}

/* Whether the file is large enough for such a model, so that a model much larger than the file is not made; sets
 * c->pooler and c->untied_head if the file has a pooler or a head of its own. */
static bool pretrained_check_weights(const reader *r, const char *path, const family *of, ag_transformer_config *c)
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
    bool enough = weights * 2 <= (double)bytes; /* the smallest dtype has two bytes */
    ag_scope_begin(r->ctx, NULL);
    if (enough && !c->untied_head && ag_safetensors_has(file, "lm_head.weight"))
        c->untied_head = pretrained_has_own_head(file, of);
    ag_scope_end(r->ctx, NULL);
    ag_safetensors_close(file);
    if (enough)
        return ag_error(r->ctx) == AG_OK;
    char count[40];
    ag_snprintf(count, sizeof count, "%.0f", weights);
    ag_fail(r->ctx, AG_ERR_FILE, r->where, "%s: a model of %s weights, %s has %" PRId64 " bytes", r->path, count,
            path, bytes);
    return false;
}

/* The configuration of the model in the two files; its family, NULL on error. */
static const family *pretrained_configure(ag_ctx *ctx, const char *where, bool encoder, const char *config_path,
                                          const char *weights_path, ag_transformer_config *c)
{
    if (ag_error(ctx) != AG_OK || !ag_check_given(ctx, where, "config_path", config_path) ||
        !ag_check_given(ctx, where, "weights_path", weights_path))
        return NULL;
    reader r = { .ctx = ctx, .where = where, .path = config_path };
    const family *of = pretrained_read_config(&r, encoder);
    if (of != NULL && (!of->fill(&r, c) || !pretrained_check_weights(&r, weights_path, of, c)))
        of = NULL;
    pretrained_close(&r);
    ag_ctx_trim(ctx); /* what was read would lie beside the model */
    return of;
}

ag_gpt *ag_gpt_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype)
{
    if (ctx == NULL)
        return NULL;
    ag_transformer_config config;
    const family *of = pretrained_configure(ctx, "gpt_from_files", false, config_path, weights_path, &config);
    if (of == NULL)
        return NULL;
    config.dtype = dtype;
    config.pooler = false;
    ag_skip_draws(ctx, true);
    ag_gpt *gpt = ag_gpt_new(ctx, config);
    ag_skip_draws(ctx, false);
    if (ag_names_load(ag_gpt_module(gpt), weights_path, of->rules, *of->rule_count, of->prefix, true) == AG_OK)
        return gpt;
    ag_gpt_free(gpt);
    return NULL;
}

ag_encoder *ag_encoder_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype)
{
    if (ctx == NULL)
        return NULL;
    ag_transformer_config config;
    const family *of = pretrained_configure(ctx, "encoder_from_files", true, config_path, weights_path, &config);
    if (of == NULL)
        return NULL;
    config.dtype = dtype;
    ag_skip_draws(ctx, true);
    ag_encoder *encoder = ag_encoder_new(ctx, config);
    ag_skip_draws(ctx, false);
    if (ag_names_load(ag_encoder_module(encoder), weights_path, of->rules, *of->rule_count, of->prefix, true) == AG_OK)
        return encoder;
    ag_encoder_free(encoder);
    return NULL;
}
