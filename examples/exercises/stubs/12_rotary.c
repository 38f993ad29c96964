/* SPDX-License-Identifier: MIT
 *
 * Exercise 12: rotary positions. Channels n and n + D/2 of row t turn by t 10000^(-2n/D).
 */
#include "examples/exercises/exercises.h"

void rotary(double *y, const double *x, int T, int D)
{
    for (int t = 0; t < T; t++)
        for (int n = 0; n < D / 2; n++) {
            /* here */
        }
}

void rotary_backward(double *dx, const double *dy, int T, int D)
{
    for (int t = 0; t < T; t++)
        for (int n = 0; n < D / 2; n++) {
            /* here */
        }
}
