/* SPDX-License-Identifier: MIT
 *
 * pretrained.c - models from files of the transformers package: config.json has the kind of model and its sizes, and
 * weight_names.c finds the weights under their names.
 *
 * Sizes are checked before use, and a model with more weights than the file is not made.
 */
#include "nn/models/pretrained_impl.h"
#include "nn/models/state_dict_impl.h"
#include "nn/module_impl.h"
#include "tensor/files/safetensors_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- From the description to a configuration ---- */

/* Settings of YaRN that the library does not have. */
static bool pretrained_check_yarn(const ag_config_source *source, const ag_rope_said *s, double factor)
{
    double usual = 0.1 * log(factor) + 1;
    if (s->beta_fast != 0 && s->beta_fast != 32)
        return ag_config_wrong_number(source, "beta_fast", s->beta_fast, "must be 32");
    if (s->beta_slow != 0 && s->beta_slow != 1)
        return ag_config_wrong_number(source, "beta_slow", s->beta_slow, "must be 1");
    if (!s->truncate)
        return ag_config_wrong(source, "truncate", "false", "must be true");
    if (s->attention_factor != AG_UNSAID && fabs(s->attention_factor - usual) > 1e-12 * usual)
        return ag_config_wrong_number(source, "attention_factor", s->attention_factor, "must be 0.1 ln(factor) + 1");
    if (s->attention_factor == AG_UNSAID && s->mscale > 0 && s->mscale_all > 0)
        return ag_config_wrong_number(source, "mscale_all_dim", s->mscale_all, "the library does not have it");
    return true;
}

/* "dynamic" differs only in sequences longer than max_position_embeddings, which max_seq_len forbids. */
static bool pretrained_set_scaling(const ag_config_source *source, const ag_description *d, ag_rope_config *rope)
{
    const ag_rope_said *s = &d->rope;
    rope->original_len = d->original_len > 0   ? d->original_len
                         : s->original_len > 0 ? s->original_len
                                               : d->model.max_seq_len;
    rope->factor = s->factor;
    if (s->factor == AG_UNSAID && rope->scaling == AG_ROPE_YARN)
        rope->factor = (double)d->model.max_seq_len / (double)rope->original_len;
    if (rope->factor == AG_UNSAID) {
        ag_fail(source->ctx, AG_ERR_FILE, source->where, "%s has no factor in rope_scaling or rope_parameters",
                source->path);
        return false;
    }
    if (!(rope->factor >= 1))
        return ag_config_wrong_number(source, "factor", rope->factor, "must be at least 1");
    rope->low_freq = s->low_freq != AG_UNSAID ? s->low_freq : 0;
    rope->high_freq = s->high_freq != AG_UNSAID ? s->high_freq : 0;
    return rope->scaling != AG_ROPE_YARN || pretrained_check_yarn(source, s, rope->factor);
}

/* How many channels of a head turn. */
static bool pretrained_set_turned(const ag_config_source *source, const ag_description *d, bool scaled,
                                  ag_rope_config *rope)
{
    const ag_transformer_config *m = &d->model;
    const double partial = d->rope.partial != AG_UNSAID ? d->rope.partial : d->partial;
    if (!d->turns_part && scaled && partial != 1)
        return ag_config_wrong_number(source, "partial_rotary_factor", partial, "must be 1");
    const int64_t channels = m->head_size > 0 ? m->head_size : m->emb_size / m->num_heads;
    const double turned = d->turns_part ? floor((double)channels * partial) : (double)channels;
    char wanted[160];
    snprintf(wanted, sizeof wanted, "must leave an even number of a head's %" PRId64
             " channels (head_dim, or hidden_size / num_attention_heads) to turn", channels);
    if (!(turned >= 2 && turned <= (double)channels && fmod(turned, 2) == 0))
        return ag_config_wrong_number(source, "partial_rotary_factor", partial, wanted);
    if (d->turns_part)
        rope->size = (int64_t)turned;
    return true;
}

static bool pretrained_set_rope(const ag_config_source *source, const ag_description *d, ag_transformer_config *c)
{
    static const struct {
        const char *type;
        ag_rope_scaling scaling;
    } types[] = { { "default", AG_ROPE_UNSCALED }, { "linear", AG_ROPE_LINEAR }, { "dynamic", AG_ROPE_UNSCALED },
                  { "llama3", AG_ROPE_LLAMA3 },    { "yarn", AG_ROPE_YARN } };
    enum { TYPES = sizeof types / sizeof *types };
    const ag_rope_said *s = &d->rope;
    ag_rope_config *rope = &c->attention.rope;
    const char *type = s->type[0] != '\0' ? s->type : s->old_type[0] != '\0' ? s->old_type : "default";
    int i = 0;
    while (i < TYPES && strcmp(types[i].type, type) != 0)
        i++;
    if (i == TYPES)
        return ag_config_wrong(source, "rope_type", type, "must be one of default linear dynamic llama3 yarn");
    if (s->theta != AG_UNSAID)
        rope->theta = s->theta;
    rope->scaling = types[i].scaling;
    return pretrained_set_turned(source, d, i != 0, rope) &&
           (rope->scaling == AG_ROPE_UNSCALED || pretrained_set_scaling(source, d, rope));
}

/* All but what differs from layer to layer. */
static bool pretrained_set_config(const ag_config_source *source, const ag_description *d, ag_transformer_config *c)
{
    *c = d->model;
    if (d->unscaled)
        c->attention.scale = 1;
    c->attention.qk_norm_eps = c->norm_eps;
    if (c->first_position >= c->max_seq_len)
        return ag_config_wrong_number(source, "max_position_embeddings", (double)c->max_seq_len,
                                      "must be above pad_token_id + 1");
    c->max_seq_len -= c->first_position;
    return c->attention.rotary == NULL || pretrained_set_rope(source, d, c);
}

/* A list of layers that config.json has must be as long as the model has layers; otherwise false, with an error. */
static bool pretrained_check_list(const ag_config_source *source, const ag_layers_said *said, const char *name,
                                  int64_t layers)
{
    char count[40], wanted[48];
    snprintf(count, sizeof count, "a list of %" PRId64, said->count);
    snprintf(wanted, sizeof wanted, "but num_hidden_layers is %" PRId64, layers);
    return said->count == 0 || said->count == layers || ag_config_wrong(source, name, count, wanted);
}

/* Sets c->attention to the options of the first layer, and c->layer_attention to layer[num_layers] if they differ. */
static bool pretrained_set_layers(const ag_config_source *source, const ag_description *d, ag_transformer_config *c,
                                  ag_attention_options *layer)
{
    const int64_t L = c->num_layers;
    if (!pretrained_check_list(source, &d->sliding, "layer_types", L) ||
        !pretrained_check_list(source, &d->rotated, "no_rope_layers", L))
        return false;
    bool differ = false;
    for (int64_t i = 0; i < L; i++) {
        const bool rotated = d->rotated.count > 0       ? d->rotated.on[i]
                             : d->unrotated_every > 0 ? (i + 1) % d->unrotated_every != 0
                                                        : true;
        const bool behind = d->first_windowed == AG_UNSAID ? !rotated : i >= d->first_windowed;
        const bool sliding = d->sliding.count > 0 ? d->sliding.on[i] : d->windowed && behind;
        if (d->sliding.count > 0 && sliding && d->window == 0)
            return ag_config_wrong(source, "layer_types", "sliding_attention", "but there is no sliding_window");
        layer[i] = c->attention;
        layer[i].mask.back = sliding ? d->window : 0;
        if (!rotated)
            layer[i].rotary = NULL;
        differ = differ || layer[i].rotary != layer[0].rotary || layer[i].mask.back != layer[0].mask.back;
    }
    c->attention = layer[0];
    c->layer_attention = differ ? layer : NULL;
    return true;
}

/* ---- Weights ---- */

/* Opens the path; where it is a folder, the file or the index of shards in it. */
static ag_safetensors *pretrained_open_weights(ag_ctx *ctx, const char *where, const char *path)
{
    static const char *const usual[] = { "model.safetensors", "model.safetensors.index.json" };
    char inside[1200];
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        const int length = snprintf(inside, sizeof inside, "%s/%s", path, usual[i]);
        FILE *there = length < (int)sizeof inside ? fopen(inside, "rb") : NULL;
        if (there == NULL)
            continue;
        fclose(there);
        return ag_safetensors_open(ctx, inside);
    }
    FILE *file = fopen(path, "rb");
    const bool folder = file != NULL && fgetc(file) == EOF && ferror(file) != 0;
    if (file != NULL)
        fclose(file);
    if (folder)
        return ag_fail(ctx, AG_ERR_FILE, where,
                       "%s has neither %s nor %s; weights in another format must be saved as safetensors", path,
                       usual[0], usual[1]);
    return ag_safetensors_open(ctx, path);
}

/* Whether the file has a head that differs from the table of tokens. The package uses it then, tied or not. */
static bool pretrained_has_own_head(ag_safetensors *file, const ag_family *of, const char *head_name)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", of->prefix == NULL ? "" : of->prefix, of->rules[0].theirs);
    ag_tensor *table = ag_safetensors_read(file, ag_safetensors_has(file, name) ? name : of->rules[0].theirs);
    ag_tensor *head = ag_safetensors_read(file, head_name);
    return table != NULL && head != NULL &&
           (head->dtype != table->dtype || !ag_same_shape(head, table) ||
            memcmp(ag_data(head), ag_data(table), (size_t)head->numel * ag_dtype_size(head->dtype)) != 0);
}

/* Sets c->untied_head if the file has a head of its own, and c->pooler if it has a pooler. */
static void pretrained_find_ends(ag_safetensors *file, const ag_family *of, ag_transformer_config *c)
{
    for (int64_t i = 0; i < *of->rule_count; i++) {
        const ag_weight_rule *rule = &of->rules[i];
        char name[64];
        snprintf(name, sizeof name, "%s%s", of->prefix == NULL ? "" : of->prefix, rule->theirs);
        if (strcmp(rule->ours, "pooler.weight") == 0)
            c->pooler = ag_safetensors_has(file, name) || ag_safetensors_has(file, rule->theirs);
        if (strcmp(rule->ours, "head.weight") == 0 && !c->untied_head && ag_safetensors_has(file, rule->theirs))
            c->untied_head = pretrained_has_own_head(file, of, rule->theirs);
    }
}

/* Whether the file is large enough for such a model, so that a model much larger than the file is not made. */
static bool pretrained_check_size(const ag_config_source *source, ag_safetensors *file, const ag_transformer_config *c)
{
    double emb = (double)c->emb_size, heads = (double)c->num_heads;
    double head_size = c->head_size > 0 ? (double)c->head_size : floor(emb / heads);
    double kv_heads = c->attention.kv_heads > 0 ? (double)c->attention.kv_heads : heads;
    double ff_size = c->ff_size > 0 ? (double)c->ff_size : 4 * emb;
    double block = emb * head_size * 2 * (heads + kv_heads) + emb * ff_size * (c->gated ? 3 : 2);
    double table = c->positions == AG_POSITIONS_LEARNED ? (double)c->max_seq_len * emb : 0;
    double weights = (double)c->vocab_size * emb + table + (double)c->num_layers * block;
    int64_t bytes = ag_safetensors_data_size(file);
    if (weights * 2 <= (double)bytes) /* the smallest dtype has two bytes */
        return true;
    char count[40];
    ag_snprintf(count, sizeof count, "%.0f", weights);
    ag_fail(source->ctx, AG_ERR_FILE, source->where, "%s: a model of %s weights, %s has %" PRId64 " bytes",
            source->path, count, file->path, bytes);
    return false;
}

/* ---- Models ---- */

/* A model that is being made. */
typedef struct pretrained {
    ag_config_source source;
    const ag_family *family;
    ag_transformer_config config;
    ag_safetensors *file;
    ag_attention_options *layer; /* [num_layers] */
    int64_t layers;
} pretrained;

static void pretrained_end(pretrained *p)
{
    ag_safetensors_close(p->file);
    ag_free(p->source.ctx, p->layer, (size_t)p->layers * sizeof *p->layer);
}

/* Reads the configuration and looks at the weights. False on error; pretrained_end is due in any case. */
static bool pretrained_begin(pretrained *p, bool encoder, const char *weights_path)
{
    const ag_config_source *source = &p->source;
    ag_ctx *ctx = source->ctx;
    ag_description d;
    if (ag_error(ctx) != AG_OK || !ag_check_given(ctx, source->where, "config_path", source->path) ||
        !ag_check_given(ctx, source->where, "weights_path", weights_path))
        return false;
    p->family = ag_config_read(source, encoder, &d);
    if (p->family == NULL || !pretrained_set_config(source, &d, &p->config))
        return false;
    p->file = pretrained_open_weights(ctx, source->where, weights_path);
    if (p->file == NULL || !pretrained_check_size(source, p->file, &p->config))
        return false;
    ag_scope_begin(ctx, NULL);
    pretrained_find_ends(p->file, p->family, &p->config);
    ag_scope_end(ctx, NULL);
    p->layer = ag_alloc(ctx, (size_t)p->config.num_layers * sizeof *p->layer);
    p->layers = p->layer == NULL ? 0 : p->config.num_layers;
    ag_ctx_trim(ctx); /* what was read would lie beside the model */
    return p->layer != NULL && pretrained_set_layers(source, &d, &p->config, p->layer) && ag_error(ctx) == AG_OK;
}

static bool pretrained_load(const pretrained *p, ag_module *module)
{
    return module != NULL &&
           ag_names_load(module, p->file, p->family->rules, *p->family->rule_count, p->family->prefix, true) == AG_OK;
}

ag_gpt *ag_gpt_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype)
{
    if (ctx == NULL)
        return NULL;
    pretrained p = { .source = { ctx, "gpt_from_files", config_path } };
    ag_gpt *gpt = NULL;
    if (pretrained_begin(&p, false, weights_path)) {
        p.config.dtype = dtype;
        ag_skip_draws(ctx, true);
        gpt = ag_gpt_new(ctx, p.config);
        ag_skip_draws(ctx, false);
    }
    const bool loaded = pretrained_load(&p, ag_gpt_module(gpt));
    pretrained_end(&p);
    if (loaded)
        return gpt;
    ag_gpt_free(gpt);
    return NULL;
}

ag_encoder *ag_encoder_from_files(ag_ctx *ctx, const char *config_path, const char *weights_path, ag_dtype dtype)
{
    if (ctx == NULL)
        return NULL;
    pretrained p = { .source = { ctx, "encoder_from_files", config_path } };
    ag_encoder *encoder = NULL;
    if (pretrained_begin(&p, true, weights_path)) {
        p.config.dtype = dtype;
        ag_skip_draws(ctx, true);
        encoder = ag_encoder_new(ctx, p.config);
        ag_skip_draws(ctx, false);
    }
    const bool loaded = pretrained_load(&p, ag_encoder_module(encoder));
    pretrained_end(&p);
    if (loaded)
        return encoder;
    ag_encoder_free(encoder);
    return NULL;
}

ag_status ag_gpt_to_file(ag_gpt *gpt, const char *config_path, const char *weights_path, const char *path)
{
    if (gpt == NULL)
        return AG_ERR_ARGUMENT;
    const ag_module *module = ag_gpt_module(gpt);
    ag_ctx *ctx = module->ctx;
    const ag_config_source source = { ctx, "gpt_to_file", config_path };
    ag_description d;
    if (ag_error(ctx) != AG_OK || !ag_check_given(ctx, source.where, "config_path", config_path) ||
        !ag_check_given(ctx, source.where, "weights_path", weights_path))
        return ag_error(ctx);
    const ag_family *of = ag_config_read(&source, false, &d);
    ag_safetensors *file = of == NULL ? NULL : pretrained_open_weights(ctx, source.where, weights_path);
    if (file != NULL)
        ag_names_save(module, path, of->rules, *of->rule_count, of->prefix, file);
    ag_safetensors_close(file);
    return ag_error(ctx);
}
