/* SPDX-License-Identifier: MIT
 *
 * Exercise 2: layer norm backward. y = xhat w + b, xhat = (x - mean) / sqrt(variance + 1e-5) in each row. Write dx, and
 * for the parameters dw and db.
 */
#include "examples/exercises/exercises.h"

void layer_norm_backward(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                         int rows, int cols)
{
    for (int r = 0; r < rows; r++) {
        double mean = 0, variance = 0;
        for (int c = 0; c < cols; c++)
            mean += x[r * cols + c] / cols;
        for (int c = 0; c < cols; c++)
            variance += (x[r * cols + c] - mean) * (x[r * cols + c] - mean) / cols;
        /* here */
    }
}
