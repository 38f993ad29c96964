/* SPDX-License-Identifier: MIT
 *
 * philox.h - Philox4x32-10, the counter-based generator behind every random number (private header).
 * Block `counter` of stream `seed` is four 32-bit words, a pure function of both.
 * (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.)
 */
#ifndef AG_PHILOX_H
#define AG_PHILOX_H

#include <stdint.h>

static inline void ag_philox(uint64_t seed, uint64_t counter, uint32_t out[4])
{
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = 0, c3 = 0;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)UINT32_C(0xD2511F53) * c0;
        uint64_t p1 = (uint64_t)UINT32_C(0xCD9E8D57) * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += UINT32_C(0x9E3779B9);
        k1 += UINT32_C(0xBB67AE85);
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* The words below this bound are the fraction p of all words: they drop their element (0 <= p < 1). */
static inline uint32_t ag_dropout_bound(double p)
{
    return (uint32_t)(p * 0x1p32);
}

#endif
