/* SPDX-License-Identifier: MIT
 *
 * explorer_impl.h - what the files of the explorer's model share.
 */
#ifndef EXAMPLES_EXPLORER_IMPL_H
#define EXAMPLES_EXPLORER_IMPL_H

#include "examples/explorer/explorer.h"

struct explorer {
    ag_ctx *ctx;
    int T, V, H, D; /* words, different words, heads, channels and size of a head */
    explorer_loss loss;
    bool scaled, causal, residual;
    double temperature, dropout, a; /* a: of a Q K^T */
    ag_rng drop_from;               /* where dropout's mask is drawn from */
    int32_t word[MOST_WORDS];       /* rows of E */
    ag_tensor *given[ENTRY_COUNT];  /* float32 [H,rows,cols] or [rows,cols]; NULL: computed, or absent */
    double value[ENTRY_COUNT][MOST_ELEMENTS];
    double spread[3][MOST_WORDS * MOST_WORDS];
    explorer_term term[MOST_TERMS];
    int terms;
    int32_t use[2 * ENTRY_COUNT * MOST_ELEMENTS];
};

/* Whether the query at row i sees the key at column j. */
bool explorer_sees(const explorer *model, int i, int j);

/* Every step of the forward and backward pass. */
bool explorer_passes(explorer *model);

#endif
