/* SPDX-License-Identifier: MIT
 *
 * gradcheck_curve.h - why gradients are checked in float64: the error of a central difference against its step h. It is
 * the sum of truncation, about h^2, and rounding, about eps / h.
 */
#ifndef EXAMPLES_GRADCHECK_CURVE_H
#define EXAMPLES_GRADCHECK_CURVE_H

#include "attngrad.h"

/* Prints a table and a plot; with a path also writes the plot as SVG there. False on error, with a message on stderr
 * unless the context has it. */
bool curve_show(ag_ctx *ctx, const char *path);

#endif
