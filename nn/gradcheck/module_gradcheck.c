/* SPDX-License-Identifier: MIT
 *
 * module_gradcheck.c - the gradient check of a module: of its inputs and of all its parameters, by name.
 */
#include "nn/gradcheck/module_gradcheck.h"

#include "nn/module_impl.h"

ag_gradcheck_result ag_module_gradcheck(ag_module *module, ag_gradcheck_fn *f, ag_tensor *const *input, int count,
                                        void *user, ag_gradcheck_config config)
{
    if (module == NULL)
        return ag_gradcheck(NULL, f, input, count, user, config);
    if (count < 0 || (count > 0 && !ag_check_given(module->ctx, "gradcheck", "input", input)))
        return ag_gradcheck(module->ctx, f, NULL, count, user, config);
    int total = count + (int)module->param_count;
    size_t bytes = (size_t)total * sizeof(ag_tensor *);
    ag_tensor **all = ag_alloc(module->ctx, bytes);
    if (all == NULL)
        total = 0; /* the check below reports the error */
    for (int i = 0; i < total; i++)
        all[i] = i < count ? input[i] : module->param[i - count].tensor;
    if (config.name == NULL)
        config.name = module->kind;
    ag_gradcheck_result result = ag_gradcheck(module->ctx, f, all, total, user, config);
    ag_free(module->ctx, all, bytes);
    return result;
}

int64_t ag_unused_parameters(const ag_module *module, ag_named_tensor *unused, int64_t capacity)
{
    int64_t count = 0;
    if (module != NULL && capacity > 0 && !ag_check_given(module->ctx, "unused_parameters", "unused", unused))
        return 0;
    if (module != NULL && capacity < 0)
        ag_fail(module->ctx, AG_ERR_ARGUMENT, "unused_parameters", "capacity is %lld, must not be negative",
                (long long)capacity);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        if (ag_grad(module->param[i].tensor) != NULL)
            continue;
        if (count < capacity)
            unused[count] = module->param[i];
        count++;
    }
    return count;
}
