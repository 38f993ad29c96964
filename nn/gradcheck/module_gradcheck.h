/* SPDX-License-Identifier: MIT
 *
 * module_gradcheck.h - checking the gradients of a whole module, and parameters without one (annex of nn/).
 */
#ifndef AG_MODULE_GRADCHECK_H
#define AG_MODULE_GRADCHECK_H

#include "autograd/gradcheck/gradcheck.h"
#include "nn/nn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ag_gradcheck of f with respect to input[count] and to every parameter of the module. f runs the module on input[..].
 * In the result the parameters follow the inputs, in the module's order: config.inputs has room
 * for count + ag_module_param_count entries, and a wrong parameter is named by its path ("attn.q.weight").
 * config.name NULL: the kind of layer ("mha"). */
ag_gradcheck_result ag_module_gradcheck(ag_module *module, ag_gradcheck_fn *f, ag_tensor *const *input, int count,
                                        void *user, ag_gradcheck_config config);

/* The number of parameters without a gradient; the first `capacity` of them go to unused[]. After a backward these are
 * the parameters that the loss does not depend on. */
int64_t ag_unused_parameters(const ag_module *module, ag_named_tensor *unused, int64_t capacity);

#ifdef __cplusplus
}
#endif

#endif
