/* SPDX-License-Identifier: MIT
 *
 * Exercise 10: SGD with momentum. velocity = momentum velocity + g, then w = w - rate velocity.
 */
#include "examples/exercises/exercises.h"

void sgd_step(double *w, double *velocity, const double *g, int n, double rate, double momentum)
{
    for (int i = 0; i < n; i++) {
        /* here */
    }
}
