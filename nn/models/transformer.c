/* SPDX-License-Identifier: MIT
 *
 * transformer.c - the base of gpt, encoder and both halves of encoder_decoder. tokens[B,T] -> hidden[B,T,emb].
 *
 *     x = dropout(emb_norm(tok[tokens] + positions + type[types]))    emb_norm only if configured
 *     x = block(x), num_layers times
 *     hidden = norm(x)                                                post_norm: hidden = x
 */
#include "nn/models/transformer_impl.h"

#include "autograd/recompute/recompute.h"
#include "nn/models/kv_cache_impl.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- Making ---- */

static bool transformer_check_options(ag_ctx *ctx, const char *kind, const ag_transformer_config *c,
                                      const ag_transformer_role *role)
{
    if (c->positions == AG_POSITIONS_SINUSOIDAL && c->emb_size % 2 != 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "emb_size is %" PRId64 ", must be even for sinusoidal positions",
                c->emb_size);
    else if ((int)c->positions < 0 || c->positions > AG_POSITIONS_NONE)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "there are no positions number %d", (int)c->positions);
    else if (c->untied_head && !role->head)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "untied_head is for a model with a head");
    else if (c->head_bias && !c->untied_head)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "head_bias is set, but untied_head is false");
    else if (c->first_position != 0 && c->positions != AG_POSITIONS_LEARNED)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "first_position is %" PRId64 ", but positions are not learned",
                c->first_position);
    else if (c->skip_padding && !(role->pooler && c->first_position > 0))
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "skip_padding is for an encoder with a first_position");
    else if (c->pooler && !role->pooler)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "pooler is set, but this model has none");
    else
        return true;
    return false;
}

/* Checks what the parts can not check or would name differently; fills in the defaults. */
static bool transformer_check_config(ag_ctx *ctx, const char *kind, ag_transformer_config *c,
                                     const ag_transformer_role *role)
{
    bool any_length = c->max_seq_len == 0 && c->positions != AG_POSITIONS_LEARNED;
    if (!ag_check_size(ctx, kind, "vocab_size", c->vocab_size) ||
        (!any_length && !ag_check_size(ctx, kind, "max_seq_len", c->max_seq_len)) ||
        !ag_check_size(ctx, kind, "emb_size", c->emb_size) || !ag_check_size(ctx, kind, "num_heads", c->num_heads) ||
        !ag_check_size(ctx, kind, "num_layers", c->num_layers) ||
        (c->first_position != 0 && !ag_check_size(ctx, kind, "first_position", c->first_position)) ||
        (c->type_vocab_size != 0 && !ag_check_size(ctx, kind, "type_vocab_size", c->type_vocab_size)) ||
        !ag_check_probability(ctx, kind, "dropout", c->dropout) ||
        !ag_check_probability(ctx, kind, "ff_dropout", c->ff_dropout) || !ag_check_real(ctx, kind, c->dtype) ||
        !transformer_check_options(ctx, kind, c, role))
        return false;
    if (c->head_size == 0 && c->emb_size % c->num_heads == 0)
        c->head_size = c->emb_size / c->num_heads;
    if (c->ff_size == 0)
        c->ff_size = 4 * c->emb_size;
    if (c->norm_eps == 0)
        c->norm_eps = c->norm == AG_RMS_NORM ? 1e-6 : 1e-5;
    if (c->attention.kv_heads == 0)
        c->attention.kv_heads = c->num_heads;
    return true;
}

static ag_embedding_layer *transformer_add_table(ag_transformer *model, const char *name, int64_t rows)
{
    const ag_transformer_config *c = &model->config;
    ag_embedding_layer *table = ag_embedding_new(
        model->module.ctx, (ag_embedding_config){ rows, c->emb_size, AG_TRANSFORMER_INIT_STD, c->dtype });
    ag_module_add_part(&model->module, name, ag_embedding_module(table));
    return table;
}

static ag_norm transformer_add_norm(ag_transformer *model, const char *name)
{
    const ag_transformer_config *c = &model->config;
    return ag_norm_add(&model->module, name, c->norm,
                       (ag_layer_norm_config){ c->emb_size, c->norm_eps, c->no_bias, c->dtype });
}

static void transformer_add_blocks(ag_transformer *model, int64_t memory_size)
{
    const ag_transformer_config *c = &model->config;
    ag_block_config config = {
        .emb_size = c->emb_size,
        .num_heads = c->num_heads,
        .head_size = c->head_size,
        .max_seq_len = c->max_seq_len,
        .ff_size = c->ff_size,
        .activation = c->activation,
        .gated = c->gated,
        .norm = c->norm,
        .norm_eps = c->norm_eps,
        .dropout = c->dropout,
        .ff_dropout = c->ff_dropout,
        .non_causal = c->non_causal,
        .no_bias = c->no_bias,
        .no_attn_bias = c->no_attn_bias,
        .no_ff_bias = c->no_ff_bias,
        .parallel = c->parallel,
        .one_norm = c->one_norm,
        .post_norm = c->post_norm,
        .cross = memory_size > 0,
        .memory_size = memory_size,
        .attention = c->attention,
        .init_std = AG_TRANSFORMER_INIT_STD,
        .out_init_std = AG_TRANSFORMER_INIT_STD / sqrt(2 * (double)c->num_layers),
        .dtype = c->dtype,
    };
    for (int64_t i = 0; i < c->num_layers && !model->module.failed; i++) {
        char name[32];
        snprintf(name, sizeof name, "blocks.%" PRId64, i);
        if (c->layer_attention != NULL)
            config.attention = c->layer_attention[i];
        model->block[i] = ag_block_new(model->module.ctx, config);
        ag_module_add_part(&model->module, name, ag_block_module(model->block[i]));
    }
}

static void transformer_forget_blocks(ag_module *module)
{
    ag_transformer *model = (ag_transformer *)module;
    ag_free(module->ctx, model->block, (size_t)model->config.num_layers * sizeof *model->block);
    ag_free(module->ctx, model->layer_attention, (size_t)model->config.num_layers * sizeof *model->layer_attention);
}

/* Makes config.layer_attention the model's own. */
static bool transformer_copy_layers(ag_transformer *model)
{
    ag_transformer_config *c = &model->config;
    if (c->layer_attention == NULL)
        return true;
    const size_t bytes = (size_t)c->num_layers * sizeof *c->layer_attention;
    model->layer_attention = ag_alloc(model->module.ctx, bytes);
    if (model->layer_attention != NULL)
        memcpy(model->layer_attention, c->layer_attention, bytes);
    c->layer_attention = model->layer_attention;
    return c->layer_attention != NULL;
}

void *ag_transformer_new(ag_ctx *ctx, const char *kind, size_t size, ag_transformer_config config,
                         ag_transformer_role role)
{
    if (ctx == NULL || !transformer_check_config(ctx, kind, &config, &role))
        return NULL;
    ag_transformer *model = ag_module_new(ctx, kind, size);
    if (model == NULL)
        return NULL;
    ag_module *module = &model->module;
    model->config = config;
    module->forget = transformer_forget_blocks;
    model->block = ag_alloc(ctx, (size_t)config.num_layers * sizeof *model->block);
    module->failed = model->block == NULL || !transformer_copy_layers(model);
    model->tok = role.tok != NULL ? role.tok : transformer_add_table(model, "tok", config.vocab_size);
    if (config.positions == AG_POSITIONS_LEARNED)
        model->pos = transformer_add_table(model, "pos", config.first_position + config.max_seq_len);
    if (config.type_vocab_size > 0)
        model->type = transformer_add_table(model, "type", config.type_vocab_size);
    if (config.emb_norm)
        model->emb_norm = transformer_add_norm(model, "emb_norm");
    transformer_add_blocks(model, role.memory_size);
    if (!config.post_norm)
        model->norm = transformer_add_norm(model, "norm");
    if (config.untied_head) {
        model->head = ag_linear_new(ctx, (ag_linear_config){ config.emb_size, config.vocab_size, !config.head_bias,
                                                             AG_TRANSFORMER_INIT_STD, config.dtype });
        ag_module_add_part(module, "head", ag_linear_module(model->head));
    }
    return ag_module_made(module);
}

/* ---- Checking inputs ---- */

bool ag_check_lengths(ag_ctx *ctx, const char *kind, const ag_tensor *lengths, int64_t B, int64_t T)
{
    if (lengths == NULL)
        return true;
    if (lengths->dtype != AG_I32 || lengths->ndim != 1 || lengths->shape[0] != B) {
        ag_fail(ctx, lengths->dtype != AG_I32 ? AG_ERR_DTYPE : AG_ERR_SHAPE, kind,
                "lengths are %s %s, must be int32 [%" PRId64 "]", ag_dtype_name(lengths->dtype), ag_shape_text(lengths),
                B);
        return false;
    }
    for (int64_t b = 0; b < B; b++) {
        double length = 0;
        ag_get(lengths, &b, &length);
        if (length >= 0 && length <= (double)T)
            continue;
        ag_fail(ctx, AG_ERR_INDEX, kind, "the length of batch entry %" PRId64 " is %s, must be in 0 .. %" PRId64, b,
                ag_number_text(ctx, length), T);
        return false;
    }
    return true;
}

static bool transformer_check_tokens(const ag_transformer *model, const ag_tensor *tokens,
                                     const ag_transformer_inputs *with)
{
    const ag_module *module = &model->module;
    int64_t longest = model->config.max_seq_len;
    if (tokens->ndim != 2)
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind, "tokens is %s, must be [B,T]", ag_shape_text(tokens));
    else if (longest > 0 && tokens->shape[1] > longest)
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind,
                "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64, tokens->shape[1], longest);
    else if (with->types != NULL && model->type == NULL)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "there are types, but type_vocab_size is 0");
    else if (with->types != NULL && !ag_same_shape(with->types, tokens))
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind, "types is %s, tokens is %s", ag_shape_text(with->types),
                ag_shape_text(tokens));
    else
        return true;
    return false;
}

static bool transformer_check_inputs(const ag_transformer *model, const ag_tensor *tokens,
                                     const ag_transformer_inputs *with)
{
    const ag_module *module = &model->module;
    const ag_tensor *memory = with->memory;
    if (!transformer_check_tokens(model, tokens, with))
        return false;
    int64_t B = tokens->shape[0], T = tokens->shape[1];
    const ag_kv_pass pass = { .cache = with->cache, .kind = module->kind, .T = T, .counts = with->counts,
                              .max_seq_len = model->config.max_seq_len };
    if (memory != NULL && memory->ndim != 3) {
        ag_fail(module->ctx, AG_ERR_SHAPE, module->kind, "memory is %s, must be [B,S,emb]", ag_shape_text(memory));
        return false;
    }
    return ag_check_lengths(module->ctx, module->kind, with->lengths, B, T) &&
           (memory == NULL ||
            ag_check_lengths(module->ctx, module->kind, with->memory_lengths, memory->shape[0], memory->shape[1])) &&
           (with->cache == NULL || ag_kv_check_pass(&pass, B));
}

/* ---- Running ---- */

/* The position rows of tokens that follow the cached ones, [B,T,emb]. Padding gets any row of the table. */
static ag_tensor *transformer_cached_positions(const ag_transformer *model, int64_t B, int64_t T,
                                               const ag_transformer_inputs *with)
{
    ag_ctx *ctx = model->module.ctx;
    const ag_transformer_config *c = &model->config;
    const bool learned = c->positions == AG_POSITIONS_LEARNED;
    ag_tensor *index = ag_zeros(ctx, AG_I32, AG_SHAPE(B, T));
    int32_t *row = index == NULL ? NULL : ag_data_mut(index);
    int64_t first = learned || B == 0 ? 0 : INT64_MAX, rows = 0;
    for (int64_t b = 0; b < B; b++)
        if (ag_kv_cache_length(with->cache, b) < first)
            first = ag_kv_cache_length(with->cache, b);
    for (int64_t b = 0; b < B && row != NULL; b++) {
        int64_t before = ag_kv_cache_length(with->cache, b) - first;
        int64_t count = with->counts == NULL ? T : with->counts[b];
        for (int64_t t = 0; t < count; t++)
            row[b * T + t] = (int32_t)(c->first_position + before + t);
        if (before + T > rows)
            rows = before + T;
    }
    return learned ? ag_embedding_forward(model->pos, index)
                   : ag_embedding(ag_sinusoidal(ctx, c->dtype, first, rows, c->emb_size), index);
}

/* The position rows of tokens among which padding, token first_position - 1, is not counted, [B,T,emb]. */
static ag_tensor *transformer_positions_without_padding(const ag_transformer *model, const ag_tensor *tokens)
{
    const int32_t padding = (int32_t)(model->config.first_position - 1);
    const int64_t B = tokens->shape[0], T = tokens->shape[1];
    ag_tensor *index = ag_zeros(model->module.ctx, AG_I32, AG_SHAPE(B, T));
    int32_t *row = index == NULL ? NULL : ag_data_mut(index);
    for (int64_t b = 0; b < B && row != NULL; b++) {
        int32_t last = padding;
        for (int64_t t = 0; t < T; t++) {
            double token = 0;
            ag_get(tokens, (int64_t[]){ b, t }, &token);
            row[b * T + t] = token == padding ? padding : ++last;
        }
    }
    return ag_embedding_forward(model->pos, index);
}

static ag_tensor *transformer_positions(const ag_transformer *model, const ag_tensor *tokens,
                                        const ag_transformer_inputs *with)
{
    const ag_transformer_config *c = &model->config;
    int64_t B = tokens->shape[0], T = tokens->shape[1];
    if (with->cache != NULL)
        return transformer_cached_positions(model, B, T, with);
    if (c->skip_padding)
        return transformer_positions_without_padding(model, tokens);
    if (c->positions == AG_POSITIONS_LEARNED)
        return ag_slice(model->pos->weight, 0, c->first_position, c->first_position + T, 1);
    return ag_sinusoidal(model->module.ctx, c->dtype, 0, T, c->emb_size);
}

static ag_tensor *transformer_embed(const ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with)
{
    const ag_transformer_config *c = &model->config;
    ag_tensor *x = ag_embedding_forward(model->tok, tokens);
    if (c->positions == AG_POSITIONS_SINUSOIDAL)
        x = ag_scale(x, sqrt((double)c->emb_size));
    if (c->positions != AG_POSITIONS_NONE)
        x = ag_add(x, transformer_positions(model, tokens, with));
    if (with->types != NULL)
        x = ag_add(x, ag_embedding_forward(model->type, with->types));
    else if (model->type != NULL)
        x = ag_add(x, ag_slice(model->type->weight, 0, 0, 1, 1));
    if (c->emb_norm)
        x = ag_norm_forward(model->emb_norm, x);
    return ag_module_dropout(&model->module, x, c->dropout);
}

/* A block as ag_recompute runs it. input: x, memory if the block has cross, lengths if given. */
static ag_tensor *transformer_block_again(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    ag_block *block = user;
    ag_block_inputs with = { .memory = NULL };
    (void)ctx;
    if (ag_block_cross(block) != NULL) {
        with.memory = input[1];
        with.memory_mask.key_lengths = count > 2 ? input[2] : NULL;
    } else {
        with.attn.mask.key_lengths = count > 1 ? input[1] : NULL;
    }
    return ag_block_forward_with(block, input[0], with);
}

static ag_tensor *transformer_run_block(ag_transformer *model, int64_t i, ag_tensor *x,
                                        const ag_transformer_inputs *with)
{
    if (model->config.recompute && with->cache == NULL) {
        ag_tensor *input[3] = { x };
        ag_tensor *lengths = with->memory != NULL ? with->memory_lengths : with->lengths;
        int count = 1;
        if (with->memory != NULL)
            input[count++] = with->memory;
        if (lengths != NULL)
            input[count++] = lengths;
        return ag_recompute(model->module.ctx, transformer_block_again, input, count, model->block[i]);
    }
    return ag_block_forward_with(model->block[i], x, (ag_block_inputs){
        .attn = { .mask.key_lengths = with->lengths, .cache = with->cache, .layer = i, .counts = with->counts },
        .memory = with->memory,
        .memory_mask.key_lengths = with->memory_lengths,
    });
}

static ag_tensor *transformer_run(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with)
{
    if (tokens == NULL || !transformer_check_inputs(model, tokens, with))
        return NULL;
    ag_tensor *x = transformer_embed(model, tokens, with);
    for (int64_t i = 0; i < model->config.num_layers; i++)
        x = transformer_run_block(model, i, x, with);
    return model->config.post_norm ? x : ag_norm_forward(model->norm, x);
}

ag_tensor *ag_transformer_hidden(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with)
{
    ag_module_begin(&model->module);
    return ag_scope_end(model->module.ctx, transformer_run(model, tokens, with));
}

ag_tensor *ag_transformer_logits(ag_transformer *model, ag_tensor *tokens, const ag_transformer_inputs *with)
{
    ag_module_begin(&model->module);
    ag_tensor *hidden = transformer_run(model, tokens, with);
    ag_tensor *logits = model->head != NULL ? ag_linear_forward(model->head, hidden)
                                            : ag_linear(hidden, model->tok->weight, NULL);
    if (logits != NULL && with->cache != NULL)
        ag_kv_cache_advance(with->cache, logits->shape[1], with->counts);
    return ag_scope_end(model->module.ctx, logits);
}

ag_block *ag_transformer_block(const ag_transformer *model, int64_t i)
{
    return i < 0 || i >= model->config.num_layers ? NULL : model->block[i];
}
