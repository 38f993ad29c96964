/* SPDX-License-Identifier: MIT
 *
 * attention_scores.h - attention's scores and weights as compositions of plain ops (private header): T x S matrices in
 * memory, each recorded, where ag_sdpa's kernels make none. B batch, H query heads, Hk key heads, T queries, S keys.
 */
#ifndef AG_ATTENTION_SCORES_H
#define AG_ATTENTION_SCORES_H

#include "autograd/autograd.h"

typedef struct ag_attention_scores {
    ag_tensor *U;       /* scale Q K^T, [B,H,T,S] */
    ag_tensor *allowed; /* int32, 1 where the mask allows */
    ag_tensor *S;       /* soft_cap tanh(U / soft_cap) + bias + relative where allowed, else -inf */
    ag_tensor *P;       /* softmax(S); 0 in a row of -inf */
} ag_attention_scores;

/* For q[B,H,T,D], k[B,Hk,S,D]; dropout and lse of the config are not used. False: an error of `where` stands. */
bool ag_attention_scores_of(const char *where, ag_tensor *q, ag_tensor *k, const ag_sdpa_config *config,
                            ag_attention_scores *out);

/* a[B,H,M,K] times b[B,Hk,K,N], head h of a with head h / (H / Hk) of b -> [B,H,M,N]. */
ag_tensor *ag_head_product(ag_tensor *a, ag_tensor *b);

#endif
