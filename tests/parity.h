/* SPDX-License-Identifier: MIT
 *
 * parity.h - what the suites share that compare attngrad with the files of tests/fixtures.
 *
 * A tensor in a file is named "<case>/<name>": inputs, outputs, a random cotangent, parameters by their names in
 * nn.h, and gradients under "grad/". Files hold float64, from which each case runs in float64 and in float32. A
 * float64 result may be 1e-10 away, a float32 result 1e-5, relative to values above 1. Any mismatch fails the test.
 */
#ifndef TESTS_PARITY_H
#define TESTS_PARITY_H

#include "tests/test.h"

#ifndef AG_FIXTURES
#define AG_FIXTURES "tests/fixtures"
#endif

enum { PARITY_NAME = 128 }; /* longest name in a file */

/* One case of one file, in one dtype. */
typedef struct parity {
    ag_ctx *ctx;
    ag_safetensors *file;
    const char *name;
    ag_dtype dtype;
} parity;

parity parity_begin(const char *file, const char *name, int dtype_index); /* 0: float64, 1: float32 */
/* The same on one table of kernels; false: this machine does not run it, or AG_ISA asks for another. */
enum { PARITY_TABLES = 4 };
bool parity_begin_on(parity *p, int table, const char *file, const char *name, int dtype_index);
void parity_end(parity *p);

bool parity_has(const parity *p, const char *tensor);
ag_tensor *parity_stored(const parity *p, const char *tensor); /* as it stands in the file */
ag_tensor *parity_given(const parity *p, const char *tensor);  /* in the dtype of the case */
ag_tensor *parity_leaf(const parity *p, const char *tensor);   /* the same, and its gradient is wanted */

/* `got` has the dtype of the case, and shape and values of `want`; of a tensor of the case; of a leaf's gradient. */
void parity_expect_tensor(const parity *p, const char *what, const ag_tensor *got, const ag_tensor *want);
void parity_expect(const parity *p, const char *tensor, const ag_tensor *got);
void parity_expect_grad(const parity *p, const char *tensor, const ag_tensor *leaf);

/* How many cases a file has: how many of its names are "<case><suffix>". */
int64_t parity_count(const char *file, const char *suffix);

/* Fills every parameter from the file, by name, and wants the file to have no other. What begins with x is an input. */
void parity_load_params(const parity *p, ag_module *module);
void parity_expect_param_grads(const parity *p, ag_module *module);

#endif
