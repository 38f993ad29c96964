/* SPDX-License-Identifier: MIT
 *
 * attention_impl.h - what head_attention and mha share: heads that attend in parallel (private header).
 *
 * The struct of either begins with an ag_attention_layer, which begins with the ag_module. H query heads of D channels,
 * Hk key heads; a value row has Dv channels. T queries, S keys: those of x, of memory, or of the cache.
 */
#ifndef AG_ATTENTION_IMPL_H
#define AG_ATTENTION_IMPL_H

#include "autograd/mask_impl.h"
#include "nn/layers.h"
#include "nn/module_impl.h"

/* What one call attends with: after projection, norm and rotation, the cache joined. */
typedef struct ag_attention_operands {
    ag_tensor *q, *k, *v;  /* [B,H,T,D], [B,Hk,S,D], [B,Hk,S,Dv] */
    ag_sdpa_config config; /* mask of layer and call, scale, soft_cap, bias, relative; no dropout, no lse */
} ag_attention_operands;

enum { AG_ATTENTION_LAST = 5 + AG_MASK_TENSORS };

typedef struct ag_attention_layer ag_attention_layer;

/* What a cache does for an attention layer, which knows it by these functions alone; models/kv_cache.c has them. False:
 * an error stands, and the cache is unchanged. */
struct ag_kv_cache {
    /* Whether the layer can be called so; sets what the cache determines in the mask. */
    bool (*check)(const ag_attention_layer *layer, const ag_tensor *x, const ag_attend *with, ag_mask *mask);

    /* Cached positions of batch entry `entry`. */
    int64_t (*length)(const ag_kv_cache *cache, int64_t entry);

    /* The cached keys and values of with->memory. False, without an error: there are none. */
    bool (*memory)(const ag_attend *with, ag_attention_operands *in);

    /* Self-attention: appends k[B,Hk,T,D] and v[B,Hk,T,Dv], which become views of all cached rows; sets starts and
     * key_lengths of the mask. Cross-attention: keeps k and v, made of the memory; sets the mask's starts. */
    bool (*join)(const ag_attention_layer *layer, const ag_attend *with, ag_attention_operands *in);
};

/* What positions/ does for an attention layer, which knows it by these functions alone. False: an error stands. */
struct ag_rotation {
    bool (*begin)(ag_attention_layer *layer); /* when the layer is made, as is the other begin */
    bool (*turn)(ag_attention_layer *layer, const ag_attend *with, ag_attention_operands *in); /* q and k */
};
struct ag_distance_bias {
    bool (*begin)(ag_attention_layer *layer);
    bool (*bias)(ag_attention_layer *layer, ag_attention_operands *in); /* sets in->config.relative */
};

struct ag_attention_layer {
    ag_module module;
    ag_mha_config config;             /* the defaults filled in; the tensors of its mask are retained */
    ag_linear_layer *q, *k, *v;       /* [H*D,emb], [Hk*D,key_size], [Hk*Dv,value_size] */
    ag_rms_norm_layer *q_norm, *k_norm; /* over D; NULL: none */
    ag_tensor *relative;              /* [H,2R+1], a parameter; NULL: none */
    ag_tensor *table[3];              /* what positions/ keeps between calls */
    int64_t first_row;                /* the same */
    /* Of the last forward, all retained, for its weights (models/attention_weights.c); lse NULL: there was none. */
    ag_attention_operands last;
    ag_tensor *lse;    /* [B,H,T] */
    uint64_t versions; /* of ag_attention_last then: the weights are an error when it has changed */
};

struct ag_head_attention {
    ag_attention_layer attention;
};

struct ag_mha {
    ag_attention_layer attention;
    ag_linear_layer *proj; /* [emb,H*Dv] */
};

/* A layer's struct of `size` bytes with everything in it up to `relative`. head_size is given. NULL on error. */
void *ag_attention_new(ag_ctx *ctx, const char *kind, size_t size, ag_mha_config config);

/* Projects, turns, joins the cache and the masks; recorded if a tape runs. The last forward and the random stream stay
 * as they are. False: an error stands. */
bool ag_attention_operands_of(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with,
                              ag_attention_operands *in);

/* [B,H,T,Dv] -> [B,T,H*Dv], the heads' outputs side by side. */
ag_tensor *ag_attention_merge(const ag_attention_layer *layer, ag_tensor *o);

/* x[B,T,emb] -> [B,T,H*Dv]. In the caller's scope, as is the next. */
ag_tensor *ag_attention_forward(ag_attention_layer *layer, ag_tensor *x, const ag_attend *with);

/* Lists the tensors that the weights of the last forward are made of. Returns the sum of their storages' versions,
 * which only rise. */
uint64_t ag_attention_last(const ag_attention_layer *layer, ag_tensor **t);

#endif
