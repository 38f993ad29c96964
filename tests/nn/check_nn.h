/* SPDX-License-Identifier: MIT
 *
 * check_nn.h - what the suites of nn/ share (no suite itself).
 */
#ifndef TESTS_CHECK_NN_H
#define TESTS_CHECK_NN_H

#include "tests/test.h"

/* A layer's forward function behind one type. */
typedef ag_tensor *test_forward(void *layer, ag_tensor *x);

/* The module's parameter of that name, which must exist. */
ag_tensor *test_param(const ag_module *module, const char *name);

/* Asserts the whole list of parameters: "weight [2,3]|bias [2]". */
void test_param_list(const ag_module *module, const char *want);

/* Normal values for every parameter, so that zeros and ones of the first values hide nothing. */
void test_fill_params(ag_module *module, double std);

/* As test_begin, with one thread: for thousands of passes so small that threads only cost. */
ag_ctx *test_begin_serial(void);

/* Gradients of forward(layer, x) against central differences: of all parameters, and of x when it is real. */
void test_gradcheck(ag_module *module, test_forward *forward, void *layer, ag_tensor *x);

/* Copies every parameter of `from` to the one of the same name in `to`; `to` may lack some. */
void test_copy_params(ag_module *to, const ag_module *from);

/* A new, empty temporary file; the caller removes it. The text is the same one in every call. */
const char *test_file(void);

/* How many of the tape's nodes have that module path. */
int64_t test_nodes_in(const ag_tape *tape, const char *path);

#endif
