/* SPDX-License-Identifier: MIT
 *
 * Exercise 6: attention forward, of one head without a mask. p = softmax(q k^T / sqrt(D)) in each row, o = p v.
 */
#include "examples/exercises/exercises.h"

void attention_forward(double *o, double *p, attention_head h)
{
    for (int i = 0; i < h.T; i++) {
        const double *q_row = h.q + i * h.D;
        /* here: row i of p from q_row and all rows of h.k, then row i of o from it and all rows of h.v */
    }
}
