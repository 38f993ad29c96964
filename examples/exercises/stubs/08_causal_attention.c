/* SPDX-License-Identifier: MIT
 *
 * Exercise 8: attention's mask. Position i sees positions j <= i. Write the forward, then the backward, which gets no
 * p. You may call attention_forward and attention_backward, your own of exercises 6 and 7.
 */
#include "examples/exercises/exercises.h"

void causal_attention_forward(double *o, double *p, attention_head h)
{
    for (int i = 0; i < h.T; i++) {
        const double *q_row = h.q + i * h.D;
        /* here */
    }
}

void causal_attention_backward(double *dq, double *dk, double *dv, const double *dout, attention_head h)
{
    /* here; an array of h.T * h.T elements is `double p[h.T * h.T]` */
}
