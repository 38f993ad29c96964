/* SPDX-License-Identifier: MIT
 *
 * parallel.h - data parallel training: gradients summed over processes, in a fixed order (annex of nn/).
 *
 * Every process has a model with the same parameters and computes the gradient of its own part of a step's data. The
 * library moves no bytes between processes: the program gives two functions that do, over MPI for example.
 *
 * The bits of a step do not depend on the number n of processes when micro-batches are its parts: gradients of
 * micro-batches 0 .. A - 1 are added in this order, for every n that divides A.
 *
 *     for (first = 0; first < A; first += n) {
 *         forward and backward pass of micro-batch first + rank
 *         ag_sum_grads(module, processes);
 *         if (rank > 0 && first + n < A)
 *             ag_module_zero_grad(module);      process 0 alone adds to the sum so far
 *     }
 */
#ifndef AG_PARALLEL_H
#define AG_PARALLEL_H

#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { AG_MAX_PROCESSES = 1024 };

/* Both functions are called by all processes, in the same order and with the same `bytes`, and return false when
 * another process can not be reached. */
typedef struct ag_processes {
    int64_t rank, count; /* 0 <= rank < count <= AG_MAX_PROCESSES */
    /* send[count][bytes], received[count][bytes]: received[k] is what process k has in its send[rank]. */
    bool (*exchange)(void *user, const void *send, void *received, size_t bytes);
    /* part[bytes], all[count][bytes]: all[k] is the part of process k. */
    bool (*gather)(void *user, const void *part, void *all, size_t bytes);
    void *user;
} ag_processes;

/* The gradient g of each parameter becomes ((g_0 + g_1) + g_2) + ..., g_k that of process k, with the same bits in
 * every process. Each process sends 2 (count - 1) / count times the bytes of its gradients, in pieces: it adds its own
 * share of a piece, then all shares are gathered. With one process a no-op.
 *
 * To be called after errors too: a context that has one sends it, and every other process gets AG_ERR_STATE ("process 1
 * has failed"). AG_ERR_STATE also when a process can not be reached, gradients then being undefined; AG_ERR_SHAPE when
 * the processes have gradients of different sizes. */
ag_status ag_sum_grads(ag_module *module, ag_processes processes);

#ifdef __cplusplus
}
#endif

#endif
