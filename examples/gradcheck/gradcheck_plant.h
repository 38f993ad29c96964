/* SPDX-License-Identifier: MIT
 *
 * gradcheck_plant.h - faults that the checker must explain. Each is an op of this program with a right forward and a
 * wrong backward, which is put on an input of a function.
 */
#ifndef EXAMPLES_GRADCHECK_PLANT_H
#define EXAMPLES_GRADCHECK_PLANT_H

#include "attngrad.h"

typedef struct fault {
    const char *kind, *op; /* "row-sum", "planted_softmax" */
    const char *about;     /* the error of its backward */
    ag_cause cause;        /* that the checker must report */
    int dims;              /* the tensor has at least this many dims, and the last ones have extents above 1 */
    enum { ALONE, WITH_ROW, WITH_EQUAL } second; /* the shape of its second input: none, x's last dim, x's */
    ag_tensor *(*apply)(ag_tensor *x, ag_tensor *second); /* of x's shape; positive where x is */
} fault;

extern const fault faults[];
extern const int fault_count;

bool fault_fits(const fault *planted, int ndim, const int64_t *shape);

#endif
