/* SPDX-License-Identifier: MIT
 *
 * lm_model.c - see lm_model.h.
 */
#include "examples/lm/lm_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- Kinds ---- */

const char *const position_word[] = { "learned", "sinusoidal", "rotary", "alibi", "none", NULL };
const char *const norm_word[] = { "layer", "rms", NULL };
const char *const feed_forward_word[] = { "gelu", "relu", "silu", "swiglu", "geglu", NULL };

static const struct {
    ag_activation activation;
    bool gated;
} feed_forward[FEED_FORWARD_WORDS] = {
    { AG_GELU, false }, { AG_RELU, false }, { AG_SILU, false }, { AG_SILU, true }, { AG_GELU, true }
};

void model_set_kinds(ag_transformer_config *config, model_kinds kinds)
{
    config->positions = kinds.positions == POSITIONS_LEARNED ? AG_POSITIONS_LEARNED
                        : kinds.positions == POSITIONS_SINUSOIDAL ? AG_POSITIONS_SINUSOIDAL : AG_POSITIONS_NONE;
    config->attention.rotary = kinds.positions == POSITIONS_ROTARY ? &ag_rotary : NULL;
    config->attention.alibi = kinds.positions == POSITIONS_ALIBI ? &ag_alibi_bias : NULL;
    config->norm = kinds.norm == NORM_LAYER ? AG_LAYER_NORM : AG_RMS_NORM;
    config->no_bias = kinds.norm == NORM_RMS; /* as in GPT-2 and in Llama */
    config->activation = feed_forward[kinds.feed_forward].activation;
    config->gated = feed_forward[kinds.feed_forward].gated;
}

model_kinds model_kinds_of(const ag_transformer_config *config)
{
    model_kinds kinds = { .norm = config->norm == AG_RMS_NORM ? NORM_RMS : NORM_LAYER };
    kinds.positions = config->positions == AG_POSITIONS_LEARNED ? POSITIONS_LEARNED
                      : config->positions == AG_POSITIONS_SINUSOIDAL ? POSITIONS_SINUSOIDAL
                      : config->attention.rotary ? POSITIONS_ROTARY
                      : config->attention.alibi ? POSITIONS_ALIBI : POSITIONS_NONE;
    while (feed_forward[kinds.feed_forward].activation != config->activation ||
           feed_forward[kinds.feed_forward].gated != config->gated)
        kinds.feed_forward++;
    return kinds;
}

bool model_error(const lm_model *model)
{
    fprintf(stderr, "lm: %s\n", ag_error_message(model->ctx));
    return false;
}

/* ---- Metadata ---- */

bool model_metadata_make(model_metadata *m, const lm_model *model)
{
    const ag_transformer_config *c = ag_gpt_config_of(model->gpt);
    const struct {
        const char *key;
        double value;
    } number[MODEL_NUMBERS] = {
        { "lm.context", (double)model->context }, { "lm.emb", (double)c->emb_size },
        { "lm.heads", (double)c->num_heads },     { "lm.head_size", (double)c->head_size },
        { "lm.layers", (double)c->num_layers },   { "lm.ff", (double)c->ff_size },
        { "lm.dropout", c->dropout },             { "lm.untied", c->untied_head },
        { "lm.window", (double)c->attention.mask.back }, { "lm.qk_norm", c->attention.qk_norm },
        { "lm.kv_heads", (double)c->attention.kv_heads }, { "lm.bias", !c->no_bias },
    };
    model_kinds kinds = model_kinds_of(c);
    for (int i = 0; i < MODEL_NUMBERS; i++) {
        ag_snprintf(m->text[i], sizeof m->text[i], "%.17g", number[i].value);
        m->entry[i] = (ag_metadata){ number[i].key, m->text[i] };
    }
    m->vocab = vocab_text(&model->vocab);
    m->entry[MODEL_NUMBERS] = (ag_metadata){ "lm.vocab", m->vocab };
    m->entry[MODEL_NUMBERS + 4] = (ag_metadata){ "lm.tokens", token_word[model->vocab.kind] };
    m->entry[MODEL_NUMBERS + 1] = (ag_metadata){ "lm.positions", position_word[kinds.positions] };
    m->entry[MODEL_NUMBERS + 2] = (ag_metadata){ "lm.norm", norm_word[kinds.norm] };
    m->entry[MODEL_NUMBERS + 3] = (ag_metadata){ "lm.feed_forward", feed_forward_word[kinds.feed_forward] };
    return m->vocab != NULL;
}

void model_metadata_free(model_metadata *m)
{
    free(m->vocab);
    m->vocab = NULL;
}

bool metadata_number(const ag_safetensors *file, const char *key, double *number)
{
    const char *text = ag_safetensors_metadata(file, key);
    char *end = NULL;
    *number = text == NULL ? 0 : ag_strtod(text, &end);
    return text != NULL && end != text && *end == '\0' && isfinite(*number);
}

/* A whole number of at least `least`, or false. */
static bool metadata_count(const ag_safetensors *file, const char *key, int64_t least, int64_t *count)
{
    double number;
    if (!metadata_number(file, key, &number) || number != floor(number) || number < (double)least || number > 1e9)
        return false;
    *count = (int64_t)number;
    return true;
}

/* The index of a metadata word; false: an unknown word. Older files without the key have the first. */
static bool metadata_word(const ag_safetensors *file, const char *key, const char *const *word, int count, int *which)
{
    const char *text = ag_safetensors_metadata(file, key);
    *which = 0;
    while (text != NULL && *which < count && strcmp(text, word[*which]) != 0)
        ++*which;
    return *which < count;
}

/* Entries that older files do not have: those files have the plain model. */
static bool attention_from_metadata(ag_transformer_config *c, const ag_safetensors *file)
{
    int64_t qk_norm = 0, bias = 1;
    model_kinds kinds;
    if (ag_safetensors_metadata(file, "lm.kv_heads") != NULL &&
        (!metadata_count(file, "lm.window", 0, &c->attention.mask.back) ||
         !metadata_count(file, "lm.kv_heads", 1, &c->attention.kv_heads) ||
         !metadata_count(file, "lm.qk_norm", 0, &qk_norm)))
        return false;
    if (!metadata_word(file, "lm.positions", position_word, POSITION_WORDS, &kinds.positions) ||
        !metadata_word(file, "lm.norm", norm_word, NORM_WORDS, &kinds.norm) ||
        !metadata_word(file, "lm.feed_forward", feed_forward_word, FEED_FORWARD_WORDS, &kinds.feed_forward))
        return false;
    if (ag_safetensors_metadata(file, "lm.bias") != NULL && !metadata_count(file, "lm.bias", 0, &bias))
        return false;
    c->attention.qk_norm = qk_norm != 0;
    model_set_kinds(c, kinds);
    c->no_bias = bias == 0;
    return true;
}

static bool vocab_from_metadata(vocab *v, const ag_safetensors *file)
{
    const char *text = ag_safetensors_metadata(file, "lm.vocab");
    int64_t bytes = 0; /* the key of older files */
    int kind;
    if (text == NULL || !metadata_word(file, "lm.tokens", token_word, TOKEN_WORDS, &kind) ||
        (ag_safetensors_metadata(file, "lm.bytes") != NULL && !metadata_count(file, "lm.bytes", 0, &bytes)))
        return false;
    return vocab_from_text(v, bytes != 0 ? TOKENS_BYTE : (token_kind)kind, text);
}

/* Whether the file has a tensor of this name and of [rows,columns]. */
static bool file_has(ag_ctx *ctx, ag_safetensors *file, const char *name, int64_t rows, int64_t columns)
{
    ag_scope_begin(ctx, NULL);
    ag_tensor *t = ag_safetensors_has(file, name) ? ag_safetensors_read(file, name) : NULL;
    bool same = ag_ndim(t) == 2 && ag_dim(t, 0) == rows && ag_dim(t, 1) == columns;
    ag_scope_end(ctx, NULL);
    return same;
}

/* Whether the file's tensors have the sizes that its metadata says, so that a model much larger than the file is not
 * made. */
static bool sizes_are_true(ag_ctx *ctx, ag_safetensors *file, const ag_transformer_config *c)
{
    char last[64];
    snprintf(last, sizeof last, "blocks.%lld.ff.up.weight", (long long)c->num_layers - 1);
    return c->num_layers <= ag_safetensors_count(file) &&
           file_has(ctx, file, "tok.weight", c->vocab_size, c->emb_size) &&
           file_has(ctx, file, last, c->ff_size, c->emb_size) &&
           c->num_heads <= c->emb_size && c->head_size <= INT32_MAX / c->num_heads &&
           file_has(ctx, file, "blocks.0.attn.q.weight", c->num_heads * c->head_size, c->emb_size) &&
           (c->positions != AG_POSITIONS_LEARNED || file_has(ctx, file, "pos.weight", c->max_seq_len, c->emb_size));
}

bool model_from_metadata(lm_model *model, ag_safetensors *file, const char *path)
{
    ag_transformer_config c = { .vocab_size = 0 };
    int64_t untied = 0;
    if (!metadata_count(file, "lm.context", 1, &model->context) ||
        !metadata_count(file, "lm.emb", 1, &c.emb_size) || !metadata_count(file, "lm.heads", 1, &c.num_heads) ||
        !metadata_count(file, "lm.head_size", 1, &c.head_size) ||
        !metadata_count(file, "lm.layers", 1, &c.num_layers) ||
        !metadata_count(file, "lm.ff", 1, &c.ff_size) || !metadata_count(file, "lm.untied", 0, &untied) ||
        !metadata_number(file, "lm.dropout", &c.dropout) || !attention_from_metadata(&c, file) ||
        !vocab_from_metadata(&model->vocab, file)) {
        fprintf(stderr, "lm: %s is not a model that `lm train` wrote: its metadata does not describe one; "
                        "generate runs models of the transformers package\n", path);
        return false;
    }
    c.vocab_size = model->vocab.size;
    c.max_seq_len = c.positions == AG_POSITIONS_LEARNED ? model->context : 0;
    c.untied_head = untied != 0;
    c.recompute = model->recompute;
    if (model->dropout != NULL && *model->dropout >= 0)
        c.dropout = *model->dropout;
    if (!sizes_are_true(model->ctx, file, &c)) {
        fprintf(stderr, "lm: %s: the sizes in its metadata are not those of its tensors\n", path);
        return false;
    }
    model->gpt = ag_gpt_new(model->ctx, c);
    if (model->gpt == NULL)
        fprintf(stderr, "lm: %s: %s\n", path, ag_error_message(model->ctx));
    return model->gpt != NULL;
}

bool model_load(lm_model *model, const char *path)
{
    ag_safetensors *file = ag_safetensors_open(model->ctx, path);
    if (file == NULL) {
        fprintf(stderr, "lm: %s; lm train makes a model\n", ag_error_message(model->ctx));
        return false;
    }
    bool good = model_from_metadata(model, file, path);
    ag_safetensors_close(file);
    return good && (ag_checkpoint_load(path, ag_gpt_module(model->gpt), NULL) == AG_OK || model_error(model));
}

void model_free(lm_model *model)
{
    ag_gpt_free(model->gpt);
    model->gpt = NULL;
    vocab_free(&model->vocab);
}

/* ---- Sampling ---- */

/* Draws the token that follows token[count]. Cached tokens are not computed again, unless there are more tokens than
 * the model's window: then every position moves with each token. */
static int32_t next_token(lm_model *model, ag_kv_cache *cache, const int32_t *token, int64_t count,
                          const sampling *how)
{
    ag_ctx *ctx = model->ctx;
    int64_t longest = ag_gpt_config_of(model->gpt)->max_seq_len, had = ag_kv_cache_length(cache, 0);
    bool fits = longest == 0 || count <= longest;
    int64_t T = fits ? count - had : longest;
    ag_scope_begin(ctx, NULL);
    ag_tensor *x = ag_from_data(ctx, AG_I32, AG_SHAPE(1, T), token + (count - T));
    ag_tensor *logits = fits ? ag_gpt_forward_cached(model->gpt, x, cache, NULL) : ag_gpt_forward(model->gpt, x);
    int32_t next = sampling_draw(ag_select(ag_select(logits, 0, 0), 0, -1), how, 1, count);
    ag_scope_end(ctx, NULL);
    return next;
}

/* token[from .. end - 1] are drawn and written. */
typedef struct writing {
    lm_model *model;
    int32_t *token;
    int64_t from, end;
    const sampling *how;
    FILE *file;
    bool good;
} writing;

static void write_tokens(void *writing_)
{
    writing *const w = writing_;
    text_out out = { .file = w->file, .stop = w->how->stop };
    sampling how = *w->how;
    ag_kv_cache *cache = ag_kv_cache_new(w->model->ctx, 1, ag_gpt_config_of(w->model->gpt)->num_layers);
    w->good = cache != NULL;
    for (int64_t i = w->from; i < w->end && w->good && !out.stopped && !ferror(w->file); i++) {
        how.seen = w->token;
        how.seen_count = i;
        w->token[i] = next_token(w->model, cache, w->token, i, &how);
        w->good = w->token[i] >= 0;
        if (w->good)
            text_put(&out, &w->model->vocab, w->token[i]);
        fflush(w->file); /* show each token at once */
    }
    text_out_end(&out);
    fflush(w->file);
    ag_kv_cache_free(cache);
}

bool model_write(lm_model *model, const int32_t *prompt, int64_t prompt_count, int64_t length, const sampling *how,
                 FILE *file)
{
    const int64_t end = prompt_count + length;
    int32_t *token = malloc((size_t)end * sizeof *token);
    if (token == NULL) {
        fprintf(stderr, "lm: out of memory for %lld tokens\n", (long long)end);
        return false;
    }
    memcpy(token, prompt, (size_t)prompt_count * sizeof *token);
    writing w = { .model = model, .token = token, .from = prompt_count, .end = end, .how = how, .file = file };
    ag_with_threads(model->ctx, write_tokens, &w);
    free(token);
    return w.good || model_error(model);
}
