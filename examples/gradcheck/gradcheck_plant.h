/* SPDX-License-Identifier: MIT
 *
 * gradcheck_plant.h - faults to plant, so that the checker can be seen to explain them. Each is an op of the program's
 * own with a right forward and a wrong backward, to be put in front of a function's input.
 */
#ifndef EXAMPLES_GRADCHECK_PLANT_H
#define EXAMPLES_GRADCHECK_PLANT_H

#include "attngrad.h"

typedef struct fault {
    const char *kind, *op; /* "row-sum", "planted_softmax" */
    const char *about;     /* what its backward does wrong */
    ag_cause cause;        /* that the checker must report */
    int dims;              /* of the tensor it is put behind, at least; the extents of the last ones above 1 */
    enum { ALONE, WITH_ROW, WITH_EQUAL } second; /* the shape of its second input: none, x's last dim, x's */
    ag_tensor *(*apply)(ag_tensor *x, ag_tensor *second); /* of x's shape; positive where x is */
} fault;

extern const fault faults[];
extern const int fault_count;

bool fault_fits(const fault *planted, int ndim, const int64_t *shape);

#endif
