/* SPDX-License-Identifier: MIT
 *
 * text.h - a tensor as text (annex of tensor/).
 */
#ifndef AG_TEXT_H
#define AG_TEXT_H

#include "tensor/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Prints in NumPy's layout: nested brackets, aligned columns, `precision` digits after the point (0: 4), then dtype
 * and shape. In a tensor of more than 1000 elements, a dim longer than 6 is shortened to its first 3 and last 3
 * entries with "..." between. */
ag_status ag_fprint(FILE *file, const ag_tensor *t, int precision);

#ifdef __cplusplus
}
#endif

#endif
