/* SPDX-License-Identifier: MIT
 *
 * module_gradcheck.h - checking the gradients of a whole module (annex of nn/).
 */
#ifndef AG_MODULE_GRADCHECK_H
#define AG_MODULE_GRADCHECK_H

#include "autograd/gradcheck/gradcheck.h"
#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Checks the gradients of f's outputs with respect to input[count] and all parameters of the module, which must be
 * float64: ag_gradcheck with the parameters behind the inputs, in the module's order. f gets input[..]; it runs the
 * module, which has the parameters. config.inputs wants room for inputs and parameters; config.name NULL: the kind of
 * layer. A wrong parameter is named by its path ("attn.q.weight"). */
ag_gradcheck_result ag_module_gradcheck(ag_module *module, ag_gradcheck_fn *f, ag_tensor *const *input, int count,
                                        void *user, ag_gradcheck_config config);

#ifdef __cplusplus
}
#endif

#endif
