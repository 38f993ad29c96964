/* SPDX-License-Identifier: MIT
 *
 * check_attention_problem.h - one call of the attention kernels with every array it needs, for the suites that test
 * them. All tables get the same numbers, which float holds exactly. Outputs and scratch start as NaN, so that an
 * element not written, or read before it is written, shows. Masks lie in memory of exactly their size.
 */
#ifndef AG_CHECK_ATTENTION_PROBLEM_H
#define AG_CHECK_ATTENTION_PROBLEM_H

#include "tensor/kernels/kernels.h"

enum { TABLE_COUNT = 4 };
extern const char *const TABLES[TABLE_COUNT];

/* What to make a problem of. Bits of `..._own`: 1 batch entries, 2 heads, 4 queries, 8 keys have numbers of their
 * own; otherwise they share them. */
typedef struct attention_setup {
    int64_t B, H, Hk, Tq, Tk, D, Dv;
    double scale; /* 0: 1 / sqrt(D) */
    double dropout, cap;
    bool gaps; /* memory [B,T,H,width] with a gap of one number after each row; else dense [B,H,T,width] */

    int64_t offset;
    bool starts, causal;
    bool window;         /* then left and right count, where -1 is no bound */
    int64_t left, right;
    int64_t stride, global;
    bool key_lengths;
    bool documents, documents_own; /* own: of each batch entry */
    int64_t block_size;  /* 0: no block table */
    int blocks_own;
    bool allowed;
    int allowed_own;
    double density;      /* of the block table and of allowed */

    bool bias;
    int bias_own;
    bool relative, relative_shared; /* by the heads */
    int64_t reach;
    bool choose; /* weights of heads and rows drawn at random */
    uint64_t seed;
} attention_setup;

enum { Q, K, V, DOUT, BIAS, RELATIVE, O, DQ, DK, DV, DBIAS, DRELATIVE, LSE, NORM, WEIGHTS, ARRAYS };
extern const char *const NAME[ARRAYS];

typedef struct array {
    int64_t batch, head, time, width, T, count;
    void *data;
} array;

typedef struct problem {
    attention_setup setup;
    ag_attention a;
    bool single; /* float; else double */
    array x[ARRAYS];
    void *mask[9]; /* memory of masks, heads and rows */
} problem;

problem problem_new(attention_setup s, bool single);
void problem_free(problem *p);

double get(const problem *p, int x, int64_t i);
void set(problem *p, int x, int64_t i, double value);
int64_t at(const problem *p, int x, int64_t b, int64_t h, int64_t t, int64_t d);
bool sees(const problem *p, int64_t b, int64_t h, int64_t i, int64_t j);
bool sees_some(const problem *p, int64_t b, int64_t h, int64_t i);

/* NULL: this machine does not have the table. */
const ag_real_kernels *kernels_of(const char *isa, bool single);

/* Forward, backward, gradients of biases and weights. */
void run(problem *p, const ag_real_kernels *kernels, int threads);

/* Every element within tol of its array's largest finite one (or of 0.1, should all cancel to zero), gaps untouched.
 * What is not finite must be the same. */
void compare(const problem *got, const problem *want, double tol, const char *text);

const char *describe(const char *isa, const problem *p);

/* All tables, float and double, against the reference in double. */
void check_tables(attention_setup s);

#endif
