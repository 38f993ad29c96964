/* SPDX-License-Identifier: MIT
 *
 * node_vjp.h - what the vjp of one node contributes, for watch/ and gradcheck/ (private header).
 */
#ifndef AG_NODE_VJP_H
#define AG_NODE_VJP_H

#include "autograd/tape_impl.h"

/* Runs the vjp of one node by itself, for any gradient of its result, during a walk too: the gradients in the nodes
 * stay as they are. contribution[i] gets what it adds to input i, for the caller to release; NULL: nothing. On error
 * all are NULL. */
bool ag_node_vjp(ag_tape *tape, int64_t node, ag_tensor *gy, ag_tensor **contribution);

#endif
