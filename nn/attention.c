/* SPDX-License-Identifier: MIT
 *
 * attention.c - heads that attend in parallel, for head_attention and mha.
 *
 *     Q = q(x)  [B,T,H*D], seen as [B,H,T,D]: head h has columns h*D .. (h+1)*D - 1;  K, V = k(keys), v(values)
 *     O = softmax(scale Q K^T + ..., where the mask allows) V   [B,H,T,Dv], seen as [B,T,H*Dv]
 *
 * Both changes of shape are views: attention reads and writes through strides. What the last forward attended with
 * stays for the weights until the next one begins, so that it finds their memory in the cache. Tables of positions
 * are made as far as they are needed, in steps of powers of two, and kept from call to call.
 */
#include "nn/attention_impl.h"
#include "nn/layers_impl.h"

#include <inttypes.h>
#include <math.h>

/* ---- What it keeps ---- */

static void retain_all(bool keep, int count, ag_tensor *const *t)
{
    for (int i = 0; i < count; i++)
        if (keep)
            ag_retain(t[i]);
        else
            ag_release(t[i]);
}

static void retain_mask(bool keep, const ag_mask *m)
{
    retain_all(keep, 6, (ag_tensor *const[]){ m->starts, m->key_lengths, m->query_documents, m->key_documents,
                                              m->blocks, m->allowed });
}

static void retain_last(bool keep, const ag_attention_layer *layer)
{
    const ag_attention_operands *last = &layer->last;
    retain_all(keep, 5, (ag_tensor *const[]){ last->q, last->k, last->config.bias, last->config.relative, layer->lse });
    retain_mask(keep, &last->config.mask);
}

static void forget_last(ag_attention_layer *layer)
{
    retain_last(false, layer);
    layer->last = (ag_attention_operands){ 0 };
    layer->lse = NULL;
}

static void forget(ag_module *module)
{
    ag_attention_layer *layer = (ag_attention_layer *)module;
    forget_last(layer);
    retain_mask(false, &layer->config.attention.mask);
    retain_all(false, 3, (ag_tensor *const[]){ layer->slopes, layer->alibi, layer->rope });
}

/* ---- Making it ---- */

static void fill_size(int64_t *size, int64_t otherwise)
{
    if (*size == 0)
        *size = otherwise;
}

/* Fills in the defaults and checks what there is. */
static bool fill_config(ag_ctx *ctx, const char *kind, ag_mha_config *config)
{
    ag_attention_options *options = &config->attention;
    fill_size(&config->key_size, config->emb_size);
    fill_size(&config->value_size, config->emb_size);
    fill_size(&config->value_head_size, config->head_size);
    fill_size(&options->kv_heads, config->num_heads);
    if (!ag_check_size(ctx, kind, "emb_size", config->emb_size) ||
        !ag_check_size(ctx, kind, "num_heads", config->num_heads) ||
        !ag_check_size(ctx, kind, "head_size", config->head_size) ||
        (config->max_seq_len != 0 && !ag_check_size(ctx, kind, "max_seq_len", config->max_seq_len)) ||
        !ag_check_size(ctx, kind, "key_size", config->key_size) ||
        !ag_check_size(ctx, kind, "value_size", config->value_size) ||
        !ag_check_size(ctx, kind, "value_head_size", config->value_head_size) ||
        !ag_check_size(ctx, kind, "kv_heads", options->kv_heads) ||
        !ag_check_probability(ctx, kind, "dropout", config->dropout) ||
        !ag_check_amount(ctx, kind, "scale", options->scale) ||
        !ag_check_amount(ctx, kind, "soft_cap", options->soft_cap) ||
        (options->relative != 0 && !ag_check_size(ctx, kind, "relative", options->relative)) ||
        !ag_check_amount(ctx, kind, "init_std", config->init_std) ||
        !ag_check_amount(ctx, kind, "out_init_std", config->out_init_std) || !ag_check_real(ctx, kind, config->dtype))
        return false;
    if (config->num_heads % options->kv_heads != 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "kv_heads is %" PRId64 ", must divide num_heads %" PRId64,
                options->kv_heads, config->num_heads);
    else if (options->alibi && options->relative != 0)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "alibi is set, and relative is %" PRId64 "; one of them",
                options->relative);
    else if (options->mask.causal && config->non_causal)
        ag_fail(ctx, AG_ERR_ARGUMENT, kind, "mask.causal and non_causal are both set");
    else {
        options->mask.causal = !config->non_causal;
        return true;
    }
    return false;
}

static ag_linear_layer *add_linear(ag_attention_layer *layer, const char *name, int64_t in, int64_t out)
{
    const ag_mha_config *config = &layer->config;
    ag_linear_layer *part = ag_linear_new(layer->module.ctx, (ag_linear_config){
        .in_features = in,
        .out_features = out,
        .no_bias = config->no_bias,
        .init_std = config->init_std,
        .dtype = config->dtype,
    });
    ag_module_add_part(&layer->module, name, ag_linear_module(part));
    return part;
}

static ag_rms_norm_layer *add_norm(ag_attention_layer *layer, const char *name)
{
    ag_rms_norm_layer *part = ag_rms_norm_new(
        layer->module.ctx, (ag_rms_norm_config){ .size = layer->config.head_size, .dtype = layer->config.dtype });
    ag_module_add_part(&layer->module, name, ag_rms_norm_module(part));
    return part;
}

static bool reach_positions(ag_attention_layer *layer, int64_t low, int64_t high);

void *ag_attention_new(ag_ctx *ctx, const char *kind, size_t size, ag_mha_config config)
{
    if (!fill_config(ctx, kind, &config))
        return NULL;
    ag_attention_layer *layer = ag_module_new(ctx, kind, size);
    if (layer == NULL)
        return NULL;
    const ag_attention_options *options = &config.attention;
    ag_module *module = &layer->module;
    module->forget = forget;
    layer->config = config;
    retain_mask(true, &options->mask);
    layer->q = add_linear(layer, "q", config.emb_size, config.num_heads * config.head_size);
    layer->k = add_linear(layer, "k", config.key_size, options->kv_heads * config.head_size);
    layer->v = add_linear(layer, "v", config.value_size, options->kv_heads * config.value_head_size);
    if (options->qk_norm) {
        layer->q_norm = add_norm(layer, "q_norm");
        layer->k_norm = add_norm(layer, "k_norm");
    }
    if (options->relative > 0)
        layer->relative = ag_module_add_param(module, "relative", config.dtype,
                                              AG_SHAPE(config.num_heads, 2 * options->relative + 1),
                                              (ag_init){ AG_INIT_CONSTANT, 0 });
    ag_scope_begin(ctx, NULL);
    if (options->alibi) {
        layer->slopes = ag_retain(ag_alibi_slopes(ctx, config.dtype, config.num_heads));
        module->failed = module->failed || layer->slopes == NULL;
    }
    if (options->rotary) /* now, so that a wrong configuration is found now */
        module->failed = module->failed || !reach_positions(layer, 0, 0);
    ag_scope_end(ctx, NULL);
    return ag_module_made(module);
}

/* ---- Masks ---- */

enum {
    ALIGN = 1 << 0, OFFSET = 1 << 1, STARTS = 1 << 6, KEY_LENGTHS = 1 << 7,
    DOCUMENTS = 1 << 8 | 1 << 9, ALLOWED = 1 << 12,
    FIELDS = 13
};

static const char *const field_name[FIELDS] = {
    "align", "offset", "back", "ahead", "stride", "global", "starts", "key_lengths", "query_documents", "key_documents",
    "blocks", "block_size", "allowed",
};

/* The fields that say something, a bit each; causal has none: two masks may both say it. */
static unsigned fields_of(const ag_mask *m)
{
    const bool set[FIELDS] = {
        m->align != AG_TOP_LEFT, m->offset != 0, m->back != 0, m->ahead != 0, m->stride != 0, m->global != 0,
        m->starts != NULL, m->key_lengths != NULL, m->query_documents != NULL, m->key_documents != NULL,
        m->blocks != NULL, m->block_size != 0, m->allowed != NULL,
    };
    unsigned fields = 0;
    for (int i = 0; i < FIELDS; i++)
        fields |= (unsigned)set[i] << i;
    return fields;
}

/* Whether there are none of these fields; else the error that names the first. */
static bool none(const ag_module *module, unsigned fields, const char *what)
{
    for (int i = 0; i < FIELDS; i++)
        if ((fields >> i & 1) != 0) {
            ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "mask.%s %s", field_name[i], what);
            return false;
        }
    return true;
}

static ag_tensor *either(ag_tensor *own, ag_tensor *call)
{
    return own != NULL ? own : call;
}

/* No field is set in both, so that a sum is the one that is. */
static ag_mask join_masks(const ag_mask *own, const ag_mask *call)
{
    return (ag_mask){
        .causal = own->causal || call->causal,
        .align = own->align != AG_TOP_LEFT ? own->align : call->align,
        .offset = own->offset + call->offset,
        .back = own->back + call->back,
        .ahead = own->ahead + call->ahead,
        .stride = own->stride + call->stride,
        .global = own->global + call->global,
        .starts = either(own->starts, call->starts),
        .key_lengths = either(own->key_lengths, call->key_lengths),
        .query_documents = either(own->query_documents, call->query_documents),
        .key_documents = either(own->key_documents, call->key_documents),
        .blocks = either(own->blocks, call->blocks),
        .block_size = own->block_size + call->block_size,
        .allowed = either(own->allowed, call->allowed),
    };
}

/* The mask of the layer and the one of the call as one. */
static bool make_mask(const ag_attention_layer *layer, const ag_attend *with, ag_mask *mask)
{
    const ag_module *module = &layer->module;
    const ag_mask *own = &layer->config.attention.mask;
    unsigned of_layer = fields_of(own), of_call = fields_of(&with->mask);
    if (!none(module, of_layer & of_call, "is set by the layer and by this call"))
        return false;
    *mask = join_masks(own, &with->mask);
    if (with->cache == NULL)
        return true;
    if (with->memory != NULL) /* queries stand behind those of the passes before */
        return none(module, (of_layer | of_call) & (ALIGN | STARTS), "can not be had with a cache");
    mask->align = AG_TOP_LEFT; /* without a cache there are as many keys as queries, and it says nothing */
    return none(module, of_call, "of a call can not be had with a cache") &&
           none(module, of_layer & (OFFSET | STARTS | KEY_LENGTHS | DOCUMENTS | ALLOWED),
                "of the layer can not be had with a cache");
}

/* ---- Input ---- */

static bool check_shapes(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with)
{
    const ag_module *module = &layer->module;
    const ag_mha_config *config = &layer->config;
    ag_ctx *ctx = module->ctx;
    if (x->ndim != 3 || x->shape[2] != config->emb_size) {
        ag_fail(ctx, AG_ERR_SHAPE, module->kind, "x is %s, must be [B,T,%" PRId64 "]", ag_shape_text(x),
                config->emb_size);
        return false;
    }
    const ag_tensor *keys = with->memory != NULL ? with->memory : x;
    const ag_tensor *values = with->values != NULL ? with->values : keys;
    if (keys->ndim != 3 || keys->shape[0] != x->shape[0] || keys->shape[2] != config->key_size)
        ag_fail(ctx, AG_ERR_SHAPE, module->kind, "%s %s, must be [%" PRId64 ",S,%" PRId64 "]",
                with->memory != NULL ? "memory is" : "without memory keys come from x, which is", ag_shape_text(keys),
                x->shape[0], config->key_size);
    else if (values->ndim != 3 || values->shape[0] != x->shape[0] || values->shape[1] != keys->shape[1] ||
             values->shape[2] != config->value_size)
        ag_fail(ctx, AG_ERR_SHAPE, module->kind,
                "values are made of %s, must be [%" PRId64 ",%" PRId64 ",%" PRId64 "]", ag_shape_text(values),
                x->shape[0], keys->shape[1], config->value_size);
    else
        return true;
    return false;
}

static bool check_call(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with)
{
    const ag_module *module = &layer->module;
    const ag_mha_config *config = &layer->config;
    ag_ctx *ctx = module->ctx;
    if (!check_shapes(layer, x, with))
        return false;
    if (with->cache == NULL && config->max_seq_len != 0 && x->shape[1] > config->max_seq_len)
        ag_fail(ctx, AG_ERR_SHAPE, module->kind,
                "the sequence has %" PRId64 " positions, max_seq_len is %" PRId64, x->shape[1], config->max_seq_len);
    else if (config->attention.rotary && (with->memory != NULL || with->values != NULL))
        ag_fail(ctx, AG_ERR_ARGUMENT, module->kind,
                "rotary positions are those of one sequence; memory and values can not be had with them");
    else if (with->positions != NULL && !config->attention.rotary)
        ag_fail(ctx, AG_ERR_ARGUMENT, module->kind, "positions are given, and the layer is not rotary");
    else if (with->positions != NULL && with->positions->dtype != AG_I32)
        ag_fail(ctx, AG_ERR_DTYPE, module->kind, "positions are %s, must be int32",
                ag_dtype_name(with->positions->dtype));
    else if (with->positions != NULL && !(with->positions->ndim == 2 && with->positions->shape[0] == x->shape[0] &&
                                          with->positions->shape[1] == x->shape[1]))
        ag_fail(ctx, AG_ERR_SHAPE, module->kind, "positions are %s, must be [%" PRId64 ",%" PRId64 "]",
                ag_shape_text(with->positions), x->shape[0], x->shape[1]);
    else if (with->counts != NULL && with->cache == NULL)
        ag_fail(ctx, AG_ERR_ARGUMENT, module->kind, "counts are given without a cache");
    else
        return true;
    return false;
}

/* Whether the call fits its cache. */
static bool check_cache(const ag_attention_layer *layer, const ag_attend *with, const ag_kv_pass *pass, int64_t B)
{
    const ag_module *module = &layer->module;
    const char *wrong = NULL;
    if (with->memory == NULL && layer->config.non_causal)
        wrong = "a cache is for causal self-attention, and the layer is non_causal";
    else if (with->memory == NULL && with->values != NULL)
        wrong = "values can not be had with a cache";
    else if (with->memory == NULL && with->bias != NULL)
        wrong = "bias can not be had with a cache";
    if (wrong == NULL)
        return with->cache->check(pass, module->kind, B);
    ag_fail(module->ctx, AG_ERR_ARGUMENT, module->kind, "%s", wrong);
    return false;
}

/* [B,S,heads size] -> [B,heads,S,size] */
static ag_tensor *split(ag_tensor *y, ag_rms_norm_layer *norm, int64_t heads, int64_t size)
{
    y = ag_reshape(y, AG_SHAPE(ag_dim(y, 0), ag_dim(y, 1), heads, size));
    if (norm != NULL)
        y = ag_rms_norm_forward(norm, y);
    return ag_transpose(y, 1, 2);
}

ag_tensor *ag_attention_merge(const ag_attention_layer *layer, ag_tensor *o)
{
    ag_tensor *beside = ag_transpose(o, 1, 2);
    const ag_mha_config *config = &layer->config;
    return ag_reshape(beside, AG_SHAPE(ag_dim(o, 0), ag_dim(o, 2), config->num_heads * config->value_head_size));
}

/* ---- Positions ---- */

enum { LEAST_ROWS = 256, LEAST_REACH = 64 };

/* The rope table has positions low .. high - 1 from here on. It moves with them: generation does not make it grow. */
static bool reach_positions(ag_attention_layer *layer, int64_t low, int64_t high)
{
    if (layer->rope != NULL && low >= layer->rope_first && high - layer->rope_first <= layer->rope->shape[0])
        return true;
    int64_t first = low - low % LEAST_ROWS, rows = LEAST_ROWS;
    while (rows < high - first)
        rows *= 2;
    ag_release(layer->rope);
    layer->rope_first = first;
    layer->rope = ag_retain(ag_rope_table(layer->module.ctx, layer->config.dtype, layer->config.attention.rope,
                                          layer->config.head_size, first, rows));
    return layer->rope != NULL;
}

/* Where x[b,t] stands, i = b T + t. */
static int64_t position_of(const ag_attend *with, const int32_t *given, int64_t T, int64_t i)
{
    return given != NULL ? given[i] : with->cache->length(with->cache, i / T) + i % T;
}

/* The rows of the rope table for x[B,T,..], int32 [B,T], where they are given or follow a cache. NULL: an error. */
static ag_tensor *rope_rows(ag_attention_layer *layer, const ag_attend *with, int64_t B, int64_t T)
{
    ag_ctx *ctx = layer->module.ctx;
    ag_tensor *rows = ag_empty(ctx, AG_I32, AG_SHAPE(B, T)), *positions = with->positions;
    if (positions != NULL)
        positions = ag_tensor_contiguous(positions);
    if (rows == NULL || (positions == NULL && with->positions != NULL))
        return NULL;
    const int32_t *given = positions == NULL ? NULL : ag_data(positions);
    int64_t low = INT64_MAX, high = 0;
    for (int64_t i = 0; i < B * T; i++) {
        int64_t p = position_of(with, given, T, i);
        if (p < 0)
            return ag_fail(ctx, AG_ERR_INDEX, layer->module.kind, "positions[%" PRId64 ",%" PRId64 "] is %" PRId64,
                           i / T, i % T, p);
        low = p < low ? p : low;
        high = p + 1 > high ? p + 1 : high;
    }
    if (!reach_positions(layer, low < high ? low : 0, high))
        return NULL;
    int32_t *row = ag_data_mut(rows);
    for (int64_t i = 0; i < B * T; i++)
        row[i] = (int32_t)(position_of(with, given, T, i) - layer->rope_first);
    return rows;
}

static bool turn(ag_attention_layer *layer, const ag_attend *with, ag_attention_operands *operands)
{
    ag_tensor *q = operands->q, *k = operands->k, *rows = NULL;
    if (q == NULL || k == NULL)
        return false;
    bool in_order = with->positions == NULL && with->cache == NULL;
    if (!in_order)
        rows = rope_rows(layer, with, q->shape[0], q->shape[2]);
    if (in_order ? !reach_positions(layer, 0, q->shape[2]) : rows == NULL)
        return false;
    operands->q = ag_rope(q, layer->rope, rows, layer->config.attention.rope.pairing);
    operands->k = ag_rope(k, layer->rope, rows, layer->config.attention.rope.pairing);
    return operands->q != NULL && operands->k != NULL;
}

/* How far a key may lie from a query, at the most. In double: an offset may be any number. */
static double farthest(const ag_mask *mask, int64_t Tq, int64_t Tk)
{
    double shift = (double)mask->offset + (double)(mask->align == AG_BOTTOM_RIGHT ? Tk - Tq : 0);
    double low = 0, high = 0;
    for (int64_t b = 0; mask->starts != NULL && b < ag_dim(mask->starts, 0); b++) {
        double start = 0;
        ag_get(mask->starts, (const int64_t[AG_MAX_DIMS]){ b }, &start);
        low = b == 0 || start < low ? start : low;
        high = b == 0 || start > high ? start : high;
    }
    double back = high + shift + (double)Tq - 1, ahead = (double)Tk - 1 - (low + shift);
    return back > ahead ? back : ahead;
}

/* The layer's table of distances, as far as this call looks. */
static ag_tensor *alibi(ag_attention_layer *layer, const ag_mask *mask, int64_t Tq, int64_t Tk)
{
    double wanted = farthest(mask, Tq, Tk);
    if (!(wanted <= INT32_MAX))
        return ag_fail(layer->module.ctx, AG_ERR_ARGUMENT, layer->module.kind,
                       "keys lie %g positions from their queries; alibi reaches %" PRId32, wanted, INT32_MAX);
    int64_t reach = LEAST_REACH;
    while ((double)reach < wanted)
        reach *= 2;
    if (layer->alibi == NULL || layer->alibi->shape[1] < 2 * reach + 1) {
        ag_release(layer->alibi);
        layer->alibi = ag_retain(ag_alibi(layer->slopes, reach));
    }
    return layer->alibi;
}

/* ---- Forward ---- */

/* Queries, keys and values of this call, the two of memory from the cache where it has them. */
static void project(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with, ag_attention_operands *operands)
{
    const ag_mha_config *config = &layer->config;
    ag_tensor *keys = with->memory != NULL ? with->memory : x, *values = with->values != NULL ? with->values : keys;
    ag_tensor *y[3];
    bool cached = with->cache != NULL && with->memory != NULL &&
                  with->cache->memory(with->cache, with->layer, &operands->k, &operands->v);
    const ag_linear_call call[] = { { .layer = layer->q, .x = x },
                                    { .layer = layer->k, .x = keys },
                                    { .layer = layer->v, .x = values } };
    if (!ag_linear_forward_list(cached ? 1 : 3, call, y))
        return;
    operands->q = split(y[0], layer->q_norm, config->num_heads, config->head_size);
    if (cached)
        return;
    operands->k = split(y[1], layer->k_norm, config->attention.kv_heads, config->head_size);
    operands->v = split(y[2], NULL, config->attention.kv_heads, config->value_head_size);
}

static bool join_cache(const ag_attention_layer *layer, const ag_attend *with, const ag_kv_pass *pass,
                       ag_attention_operands *operands)
{
    ag_mask *mask = &operands->config.mask;
    if (with->memory == NULL)
        return with->cache->join(pass, layer->module.kind, &operands->k, &operands->v, mask);
    return with->cache->keep_memory(pass, layer->module.kind, with->memory, operands->k, operands->v, mask);
}

bool ag_attention_operands_of(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with,
                              ag_attention_operands *operands)
{
    const ag_mha_config *config = &layer->config;
    const ag_attention_options *options = &config->attention;
    *operands = (ag_attention_operands){ .config = { .scale = options->scale, .soft_cap = options->soft_cap,
                                                     .bias = with->bias } };
    ag_mask *mask = &operands->config.mask;
    if (x == NULL || !check_call(layer, x, with) || !make_mask(layer, with, mask))
        return false;
    const ag_kv_pass pass = { .cache = with->cache, .layer = with->layer, .T = x->shape[1], .counts = with->counts,
                              .max_seq_len = config->max_seq_len,
                              .back = mask->global == 0 && mask->stride == 0 && mask->blocks == NULL ? mask->back : 0 };
    if (with->cache != NULL && !check_cache(layer, with, &pass, x->shape[0]))
        return false;
    project(layer, x, with, operands);
    if (options->rotary && !turn(layer, with, operands))
        return false;
    if (operands->q == NULL || operands->k == NULL || operands->v == NULL)
        return false;
    if (with->cache != NULL && !join_cache(layer, with, &pass, operands))
        return false;
    operands->config.relative = layer->relative;
    if (options->alibi)
        operands->config.relative = alibi(layer, mask, operands->q->shape[2], operands->k->shape[2]);
    return !options->alibi || operands->config.relative != NULL;
}

/* The storages' versions added up: they only rise, so that any change shows. */
static uint64_t versions(const ag_attention_layer *layer)
{
    const ag_sdpa_config *config = &layer->last.config;
    const ag_mask *m = &config->mask;
    const ag_tensor *const t[] = { layer->last.q, layer->last.k, config->bias, m->starts, m->key_lengths,
                                   m->query_documents, m->key_documents, m->blocks, m->allowed };
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++)
        sum += t[i] == NULL ? 0 : t[i]->storage->version;
    return sum;
}

ag_tensor *ag_attention_forward(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with)
{
    forget_last(layer);
    ag_attention_operands operands;
    if (!ag_attention_operands_of(layer, x, with, &operands))
        return NULL;
    ag_tensor *lse = NULL, *relative = operands.config.relative;
    ag_sdpa_config config = operands.config;
    config.lse = &lse;
    if (ag_module_drops(&layer->module))
        config.dropout = layer->config.dropout;
    ag_tensor *o = ag_sdpa(operands.q, operands.k, operands.v, config);
    if (layer->relative != NULL) /* the optimizer's next step changes the parameter, the weights shall stay */
        relative = ag_tensor_clone(relative);
    if (o == NULL || (layer->relative != NULL && relative == NULL))
        return NULL;
    layer->last = operands;
    layer->last.v = NULL;
    if (ag_recomputing(layer->module.ctx)) /* it is run so that queries and keys go */
        layer->last.q = layer->last.k = NULL;
    layer->last.config.relative = relative;
    layer->lse = lse;
    retain_last(true, layer);
    layer->versions = versions(layer);
    return ag_attention_merge(layer, o);
}

/* ---- Weights ---- */

/* Whether there is a last forward to look at. */
static bool check_last(const ag_attention_layer *layer)
{
    const ag_module *module = &layer->module;
    if (layer->lse == NULL)
        ag_fail(module->ctx, AG_ERR_STATE, module->kind, "there are no weights: the layer has not run");
    else if (layer->versions != versions(layer))
        ag_fail(module->ctx, AG_ERR_STATE, module->kind,
                "there are no weights: bias, mask or cache have changed since the layer ran");
    else
        return true;
    return false;
}

ag_tensor *ag_attention_weights(ag_attention_layer *layer, ag_weights_of which)
{
    if (!check_last(layer))
        return NULL;
    if (layer->last.q == NULL)
        return ag_fail(layer->module.ctx, AG_ERR_STATE, layer->module.kind,
                       "there are no weights: the layer ran in a function that is recomputed (ag_recompute)");
    return ag_sdpa_weights(layer->last.q, layer->last.k, layer->lse, layer->last.config, which);
}

int64_t ag_attention_blind_queries(const ag_attention_layer *layer, int64_t *where)
{
    if (!check_last(layer))
        return 0;
    const ag_tensor *lse = layer->lse;
    int64_t H = lse->shape[1], T = lse->shape[2], count = 0;
    for (int64_t i = 0; i < lse->numel; i++) {
        double value = 0;
        const int64_t index[] = { i / T / H, i / T % H, i % T };
        ag_get(lse, index, &value);
        if (value != -(double)INFINITY)
            continue;
        if (count == 0 && where != NULL)
            where[0] = index[0], where[1] = index[1], where[2] = index[2];
        count++;
    }
    return count;
}
