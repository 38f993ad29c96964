/* SPDX-License-Identifier: MIT
 *
 * Exercise 13: attention with a cache of keys and values. q, k, v [D] belong to position t, and so does o.
 */
#include "examples/exercises/exercises.h"

void cached_attention(double *o, double *k_cache, double *v_cache, const double *q, const double *k, const double *v,
                      int t, int D)
{
    for (int d = 0; d < D; d++) {
        /* here: row t of the caches */
    }
    /* here: o, from q and the rows of the caches */
}
