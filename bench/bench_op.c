/* SPDX-License-Identifier: MIT
 *
 * bench_op.c - what one small op costs: additions of 8 floats, one after the other on a tape, as one line of JSON.
 *
 * record_ns: the tape's begin and the ops, by op. backward_ns: backward and the tape's end, which frees all that was
 * recorded, by op. Medians of REPEATS. bytes: what an op takes of the tape and of memory.
 */
#define _POSIX_C_SOURCE 200809L

#include "attngrad.h"
#include "bench/measure.h"
#include "examples/shared/program.h"

#include <stdio.h>

enum { OPS = 1000, FLOATS = 8, REPEATS = 1001 };

int main(void)
{
    program_streams("bench_op");
    static double record[REPEATS], backward[REPEATS];
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    if (ctx == NULL) {
        fprintf(stderr, "bench_op: no context: out of memory, or AG_ISA is not one that this machine runs\n");
        return 1;
    }
    ag_tensor *x = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(FLOATS)));
    ag_tensor *y = ag_randn(ctx, AG_F32, AG_SHAPE(FLOATS));
    ag_status status = ag_error(ctx);
    const size_t before = ag_ctx_bytes(ctx);
    for (int i = 0; i < REPEATS && status == AG_OK; i++) {
        ag_zero_grad(x);
        double start = now_ms();
        ag_tape *tape = ag_tape_begin(ctx);
        ag_tensor *z = x;
        for (int op = 0; op < OPS; op++)
            z = ag_add(z, y);
        record[i] = (now_ms() - start) * 1e6 / OPS;
        start = now_ms();
        status = ag_backward_from(tape, z, y);
        ag_tape_end(tape);
        backward[i] = (now_ms() - start) * 1e6 / OPS;
    }
    if (status == AG_OK)
        ag_printf("{\"ops\": %d, \"floats\": %d, \"record_ns\": %.1f, \"backward_ns\": %.1f, \"bytes\": %zu, "
                  "\"threads\": %d}\n",
                  OPS, FLOATS, median(record, REPEATS), median(backward, REPEATS),
                  (ag_ctx_peak_bytes(ctx) - before) / OPS, ag_ctx_threads(ctx));
    else
        fprintf(stderr, "bench_op: %s\n", ag_error_message(ctx));
    ag_ctx_free(ctx);
    return status == AG_OK ? 0 : 1;
}
