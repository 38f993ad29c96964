/* SPDX-License-Identifier: MIT
 *
 * Exercise 5: linear backward. y = x w^T + b: y[r,o] = b[o] + sum over i of x[r,i] w[o,i].
 */
#include "examples/exercises/exercises.h"

void linear_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                     linear_sizes n)
{
    for (int r = 0; r < n.rows; r++)
        for (int o = 0; o < n.out; o++) {
            double g = dy[r * n.out + o];
            /* here: what g sends to db, and for each i to dx and dw */
        }
}
