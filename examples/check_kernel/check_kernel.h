/* SPDX-License-Identifier: MIT
 *
 * check_kernel.h - checks the backward of a C function on plain arrays, such as a kernel of llm.c. Wrap forward and
 * backward in two functions that take arrays of pointers, and say names and shapes in one text:
 *
 *     static void forward(const float *const *x, float *const *y, void *user) { my_forward(y[0], x[0], x[1]); }
 *     static void backward(const float *const *x, const float *const *gy, float *const *gx, void *user)
 *     { my_backward(gx[0], gx[1], gy[0], x[0], x[1]); }
 *     check_kernel("mine", forward, backward, "x[4,8] weight[8] -> y[4,8]");
 *
 * What forward saves for backward (means, probabilities) is no output: let the wrapped backward compute it again.
 */
#ifndef CHECK_KERNEL_H
#define CHECK_KERNEL_H

#include "attngrad.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KERNEL_ARRAYS = 16, KERNEL_NAME = 40 };

/* Reads "name[2,3]" at `at`, a scalar being "name[]"; returns its end, NULL when it is written otherwise. */
static inline const char *kernel_read(const char *at, ag_array *array, char name[KERNEL_NAME])
{
    size_t length = strcspn(at, "[ ");
    if (at[length] != '[' || length >= KERNEL_NAME)
        return NULL;
    memcpy(name, at, length);
    name[length] = '\0';
    *array = (ag_array){ .name = name };
    for (at += length + 1; *at != ']' || at[-1] == ',';) {
        char *end;
        long long extent = strtoll(at, &end, 10);
        if (end == at || extent < 1 || array->ndim == AG_MAX_DIMS || (*end != ',' && *end != ']'))
            return NULL;
        array->shape[array->ndim++] = extent;
        at = end + (*end == ',');
    }
    return at + 1;
}

/* The values given, or random ones in [-1.5, 1.5); NULL when memory runs out. The caller frees it. */
static inline void *kernel_values(ag_ctx *ctx, ag_array *array, bool single, const void *given)
{
    size_t n = 1, size = single ? sizeof(float) : sizeof(double);
    for (int d = 0; d < array->ndim; d++)
        n *= (size_t)array->shape[d];
    void *memory = malloc(n * size);
    if (memory == NULL)
        return NULL;
    array->value = single ? NULL : memory;
    array->value_f32 = single ? memory : NULL;
    if (given != NULL)
        memcpy(memory, given, n * size);
    for (size_t i = 0; i < n && given == NULL; i++) {
        double value = 3 * ag_random(ctx) - 1.5;
        if (single)
            array->value_f32[i] = (float)value;
        else
            array->value[i] = value;
    }
    return memory;
}

/* Reads a signature "inputs -> outputs" into array[..] and names[..]. Returns the number of arrays and writes that of
 * the inputs; 0 when it is written otherwise. */
static inline int kernel_signature(const char *signature, ag_array array[KERNEL_ARRAYS],
                                   char names[KERNEL_ARRAYS][KERNEL_NAME], int *inputs)
{
    int count = 0;
    const char *at = signature + strspn(signature, " ");
    *inputs = -1;
    while (at != NULL && *at != '\0' && count < KERNEL_ARRAYS) {
        if (strncmp(at, "->", 2) == 0) {
            *inputs = count;
            at += 2;
        } else {
            at = kernel_read(at, &array[count], names[count]);
            count++;
        }
        at = at == NULL ? NULL : at + strspn(at, " ");
    }
    return at != NULL && *at == '\0' && *inputs > 0 && *inputs < count ? count : 0;
}

/* Checks a function of "inputs -> outputs" at the given values, an array for each input, or at random ones (NULL), in a
 * context of its own. AG_CAUSE_ERROR: the signature is written otherwise, or memory ran out. */
static inline ag_gradcheck_result check_kernel_run(ag_array_function function, const char *signature,
                                                   const void *const *given, ag_gradcheck_config config)
{
    ag_array array[KERNEL_ARRAYS];
    char names[KERNEL_ARRAYS][KERNEL_NAME];
    void *memory[KERNEL_ARRAYS] = { NULL };
    int inputs, count = kernel_signature(signature, array, names, &inputs);
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1 });
    ag_gradcheck_result result = { .verdict = AG_FAIL, .worst.cause = AG_CAUSE_ERROR };
    bool good = count > 0 && ctx != NULL;
    for (int i = 0; i < inputs && good; i++) {
        const void *values = given == NULL ? NULL : given[i];
        memory[i] = kernel_values(ctx, &array[i], function.forward_f32 != NULL, values);
        good = memory[i] != NULL;
    }
    if (good)
        result = ag_gradcheck_arrays(ctx, function, array, inputs, array + inputs, count - inputs, config);
    result.op = result.path = ""; /* they belong to the context */
    for (int i = 0; i < KERNEL_ARRAYS; i++)
        free(memory[i]);
    ag_ctx_free(ctx);
    return result;
}

/* Writes the report to stdout. Returns 0 for a right backward, 1 for a wrong or undecided one, 2 for a wrong call. */
static inline int check_kernel_at(const char *name, ag_array_function function, const char *signature,
                                  const void *const *given)
{
    ag_gradcheck_config config = { .name = name, .report = stdout };
    ag_gradcheck_result result = check_kernel_run(function, signature, given, config);
    fflush(stdout);
    if (result.verdict == AG_PASS)
        return 0;
    if (result.worst.cause != AG_CAUSE_ERROR)
        return 1;
    fprintf(stderr, "check_kernel: is '%s' of the form 'x[4,8] weight[8] -> y[4,8]'?\n", signature);
    return 2;
}

/* For functions of floats, at random values. */
static inline int check_kernel(const char *name, void (*forward)(const float *const *, float *const *, void *),
                               void (*backward)(const float *const *, const float *const *, float *const *, void *),
                               const char *signature)
{
    ag_array_function function = { .forward_f32 = forward, .backward_f32 = backward };
    return check_kernel_at(name, function, signature, NULL);
}

#endif
