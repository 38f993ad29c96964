/* SPDX-License-Identifier: MIT
 *
 * Exercise 9: split x[T,H*D] into heads[H,T,D], and join heads into x.
 */
#include "examples/exercises/exercises.h"

void split_heads(double *heads, const double *x, int T, int H, int D)
{
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++) {
                /* here */
            }
}

void join_heads(double *x, const double *heads, int T, int H, int D)
{
    for (int t = 0; t < T; t++)
        for (int h = 0; h < H; h++)
            for (int d = 0; d < D; d++) {
                /* here */
            }
}
