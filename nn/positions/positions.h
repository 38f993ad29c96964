/* SPDX-License-Identifier: MIT
 *
 * positions.h - what attention knows of positions besides the mask: rotary positions, and biases by distance (annex of
 * nn/).
 */
#ifndef AG_POSITIONS_H
#define AG_POSITIONS_H

#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- For ag_attention_options ---- */

extern const ag_rotation ag_rotary;           /* ag_rope, by a table that grows with the positions */
extern const ag_distance_bias ag_alibi_bias;  /* ag_alibi of ag_alibi_slopes; excludes a learned bias, `relative` */

/* ---- Rotary positions ----------------------------------------------------------------------------
 * Channels c and c' of a head at position p turn by the angle p w_n, n = 0 .. R/2 - 1, w_n = theta^(-2n/R):
 *     y_c = x_c cos - x_c' sin    y_c' = x_c sin + x_c' cos
 * with (c, c') = (n, n + R/2) for AG_ROPE_HALVES, (2n, 2n + 1) for AG_ROPE_NEIGHBOURS; channels from R on are copied.
 * (Su et al., "RoFormer", 2021.) */

/* [length,R] for positions first .. first + length - 1: cos(p w_n) in columns 0 .. R/2 - 1, sin(p w_n) in the rest. */
ag_tensor *ag_rope_table(ag_ctx *ctx, ag_dtype dtype, ag_rope_config config, int64_t head_size, int64_t first,
                         int64_t length);

/* x[B,H,T,D] turned by rows of table[P,R]: row positions[b,t] (int32 [B,T]; NULL: row t). gx is gy turned back. A
 * position outside of the table is an error, and so is a table that requires a gradient. The result's layout in memory
 * is that of x, so that split heads [B,T,H,D] can be viewed back. */
ag_tensor *ag_rope(ag_tensor *x, ag_tensor *table, ag_tensor *positions, ag_rope_pairing pairing);

/* ---- Biases by distance --------------------------------------------------------------------------
 * Tables for ag_sdpa_config.relative, compositions of ops with gradients.
 * alibi: slopes[H] -> -slopes[h] |j - p|, [H,2 reach + 1]. alibi_slopes: [H], 2^(-8 (h+1) / H); for H not a power of
 * two as published (Press et al., "Train short, test long", 2022).
 * buckets: table[buckets,H] -> [H,2 reach + 1], T5's. In each direction the first half of the buckets hold one
 * distance each; the other half cover the distances up to max_distance in logarithmic steps. Without `bidirectional`
 * later keys (j > p) count as distance 0 (Raffel et al., 2020, section 2.1). */
ag_tensor *ag_alibi_slopes(ag_ctx *ctx, ag_dtype dtype, int64_t H);
ag_tensor *ag_alibi(ag_tensor *slopes, int64_t reach);
ag_tensor *ag_relative_buckets(ag_tensor *table, int64_t reach, int64_t max_distance, bool bidirectional);

#ifdef __cplusplus
}
#endif

#endif
