/* SPDX-License-Identifier: MIT
 *
 * gradcheck_cases.h - the subjects of the program gradcheck, layers and ops, each with one or more cases.
 */
#ifndef EXAMPLES_GRADCHECK_CASES_H
#define EXAMPLES_GRADCHECK_CASES_H

#include "attngrad.h"
#include "examples/gradcheck/gradcheck_complex.h"
#include "examples/gradcheck/gradcheck_plant.h"

enum { CASE_INPUTS = 5 };

typedef struct subject {
    const char *name, *about;
    bool layer;
    const char *rough; /* why SMOOTH_BOUND does not apply; NULL: it is smooth */
} subject;

extern const subject subjects[]; /* the layers, then the ops; a name may be in both */
extern const int subject_count;

typedef struct input_spec {
    enum { NO_INPUT, SPEC_ANY, SPEC_POSITIVE, SPEC_NONZERO, SPEC_DISTINCT, SPEC_INDEX } kind;
    int ndim;
    int64_t shape[5]; /* SPEC_INDEX: the limit comes first */
} input_spec;

typedef struct layer_kind {
    ag_tensor *(*forward)(void *layer, ag_tensor *const *x); /* x ends with NULL */
    ag_module *(*module)(void *layer);
    void (*free)(void *layer);
} layer_kind;

typedef struct check_case {
    const char *subject, *name;
    bool rounds; /* to float32 inside */
    const layer_kind *layer;            /* NULL: of an op */
    void *(*make)(ag_ctx *ctx);         /* the layer */
    ag_tensor *(*f)(ag_tensor *const *x); /* the op's result */
    z_array *(*z)(z_array *const *x);   /* the same on complex numbers; NULL: it is not analytic */
    input_spec input[CASE_INPUTS];      /* ends with NO_INPUT */
} check_case;

extern const check_case cases[];
extern const int case_count;

bool case_is_of(const check_case *c, const subject *s);

typedef enum oracle { BY_DIFFERENCES, BY_COMPLEX_STEP } oracle;

/* Draws the inputs of a case from the random stream with this seed, makes the layer, and checks. A fault is put on the
 * first real input, or on the result if there is none. */
ag_gradcheck_result case_check(ag_ctx *ctx, uint64_t seed, const check_case *c, oracle by, const fault *planted,
                               ag_gradcheck_config config);

/* The place of a fault in words; NULL: it fits no shape. */
const char *case_place(ag_ctx *ctx, const check_case *c, const fault *planted);

/* Whether the case records a node of the op that its subject is named after. */
bool case_records(ag_ctx *ctx, const check_case *c);

#endif
