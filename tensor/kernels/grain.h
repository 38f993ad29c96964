/* SPDX-License-Identifier: MIT
 *
 * grain.h - how the kernels cut their work. The cuts depend on sizes alone, never on the thread count, so that
 * every thread count gives the same bits.
 */
#ifndef AG_GRAIN_H
#define AG_GRAIN_H

#include <stdint.h>

enum {
    LANES = 16,            /* partial results side by side in a reduction; attention pads the widths of tiles to it */
    GRAIN = 4096,          /* elements of an elementwise loop that one thread takes at a time */
    PARALLEL_CHEAP = 32768, /* the least elements worth more than one thread: additions, copies */
    PARALLEL_DEAR = 8192,  /* the same where an element costs an exponential */
    BLOCK = 4096,          /* elements summed in `real` before the sum goes on in double */
    SUM_CHUNKS = 64        /* the most pieces of one long sum */
};

static inline int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/* How many of GRAIN elements n are. */
static inline int64_t grains(int64_t n) { return (n + GRAIN - 1) / GRAIN; }

#endif
