/* SPDX-License-Identifier: MIT
 *
 * dispatch.c - the kernel tables of this build, and which of them this machine runs.
 */
#include "tensor/kernels/kernels.h"

#include <string.h>

extern const ag_kernel_table ag_kernels_baseline, ag_kernels_reference;
#ifdef AG_HAVE_X86_64_LEVELS
extern const ag_kernel_table ag_kernels_v3, ag_kernels_v4;
#endif

static bool runs_everywhere(void)
{
    return true;
}

#ifdef AG_HAVE_X86_64_LEVELS
/* The features that the x86-64 psABI's levels add and that the compiler may use at -march=x86-64-v3, -v4. */
static bool runs_v3(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2");
}

static bool runs_v4(void)
{
    return runs_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

const ag_kernel_table *ag_kernels_find(const char *isa)
{
    const struct {
        const ag_kernel_table *table;
        bool (*runs)(void);
    } builds[] = { /* best first; the reference is found only by name */
#ifdef AG_HAVE_X86_64_LEVELS
        { &ag_kernels_v4, runs_v4 },
        { &ag_kernels_v3, runs_v3 },
#endif
        { &ag_kernels_baseline, runs_everywhere },
        { &ag_kernels_reference, runs_everywhere },
    };
    for (size_t i = 0; i < sizeof builds / sizeof *builds; i++)
        if (isa == NULL || strcmp(isa, builds[i].table->isa) == 0)
            if (builds[i].runs())
                return builds[i].table;
    return NULL;
}
