/* SPDX-License-Identifier: MIT
 *
 * Exercise 7: attention backward. dout is the gradient of o; p has the attention weights, as in exercise 6.
 */
#include "examples/exercises/exercises.h"

void attention_backward(double *dq, double *dk, double *dv, const double *dout, const double *p, attention_head h)
{
    for (int i = 0; i < h.T; i++) {
        const double *dout_row = dout + i * h.D, *p_row = p + i * h.T;
        /* here: what query i sends to row i of dq, and to all rows of dk and dv */
    }
}
