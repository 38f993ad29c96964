/* SPDX-License-Identifier: MIT
 *
 * both_types.h - includes the file FUNCTIONS twice: REAL is double, then float; OF(name) is a function's name, which
 * ends in _float in float; R(f) is the math function of that type.
 */
#include "attngrad.h"

#include <math.h>

#define REAL double
#define OF(name) name
#define R(function) function
#include FUNCTIONS
#undef REAL
#undef OF
#undef R

#define REAL float
#define OF(name) name##_float
#define R(function) function##f
#include FUNCTIONS

/* A forward and a backward in both types, as an ag_array_function[2]. */
#define BOTH_WITH(f, b, data)                                                             \
    {                                                                                     \
        { .forward = f, .backward = b, .user = data },                                    \
        {                                                                                 \
            .forward_f32 = f##_float, .backward_f32 = b##_float, .user = data             \
        }                                                                                 \
    }
#define BOTH(f, b) BOTH_WITH(f, b, NULL)
