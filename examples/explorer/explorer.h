/* SPDX-License-Identifier: MIT
 *
 * explorer.h - the model behind explorer.html: one attention layer on one sentence, every matrix of its forward and
 * backward pass, the terms of every element, pokes, and training. The page calls these functions through WebAssembly,
 * explorer.c natively.
 *
 * Matrices are float64, computed from float32 parameters; training is float32. The words of entries.def name the
 * matrices and sizes. An index is that of an element in [heads, rows, cols], row-major.
 */
#ifndef EXAMPLES_EXPLORER_H
#define EXAMPLES_EXPLORER_H

#include "attngrad.h"

typedef enum explorer_entry {
#define ENTRY(id, heads, rows, cols) ENTRY_##id,
#include "examples/explorer/entries.def"
#undef ENTRY
    ENTRY_COUNT
} explorer_entry;

enum { MOST_WORDS = 12, MOST_HEADS = 4, LEAST_SIZE = 2, MOST_SIZE = 8, MOST_ELEMENTS = 576, MOST_TERMS = 128 };

typedef enum explorer_loss {
    LOSS_SUM,    /* sum(target * Y): target is dY */
    LOSS_SQUARE, /* mean (Y - target)^2 */
    LOSS_NEXT    /* cross-entropy of the next word, mean over the T - 1 positions that have one */
} explorer_loss;

typedef struct explorer explorer;

/* A model of up to MOST_WORDS words, which spaces separate; equal words share a row of E. NULL: out of memory, fewer
 * than two words, or heads or size (D) out of range. Parameters and target are multiples of 0.01 that follow from the
 * seed. */
AG_OWNED explorer *explorer_new(const char *text, int heads, int size, explorer_loss loss, uint32_t seed);
void explorer_free(AG_TAKES explorer *model);
int explorer_word(const explorer *model, int position); /* the row of E; -1: there is no such position */

/* Scores are a Q K^T, a = (scaled ? 1/sqrt(D) : 1) / temperature. Dropout's mask follows from the seed; 0: none. Then
 * forward and backward pass. False: an error, whose text is explorer_error's. */
bool explorer_set(explorer *model, bool scaled, bool causal, bool residual, double temperature, double dropout);
const char *explorer_error(const explorer *model);

/* ---- What is known of a matrix --------------------------------------------------------------- */

const char *explorer_name(explorer_entry entry); /* NULL: behind the last */
int explorer_find(const char *name); /* -1: no such entry */
int explorer_heads(const explorer *model, explorer_entry entry); /* 1 where the heads share a matrix */
int explorer_rows(const explorer *model, explorer_entry entry);  /* 0: the model has no such matrix */
int explorer_cols(const explorer *model, explorer_entry entry);
const double *explorer_values(const explorer *model, explorer_entry entry);
bool explorer_given(explorer_entry entry); /* a parameter or the target */
/* Sets an element of a given matrix; then both passes. */
bool explorer_change(explorer *model, explorer_entry entry, int index, double value);

/* One term of the sum that makes an element. The two factors are elements of other matrices; entry -1: no such factor.
 *     '*'  coef a b      '+'  coef a      'e'  exp(a - the row's largest); the element is its own term over the sum
 *     's'  coef (a - b)^2     '-'  coef (a - b)     'l'  coef b log(a) */
typedef struct explorer_term {
    int32_t op;
    int32_t a, a_index, b, b_index;
    int32_t unused;
    double coef, value;
} explorer_term;

/* The terms of an element; their number is in *count, 0 for what is given. Valid until the next call. */
const explorer_term *explorer_terms(explorer *model, explorer_entry entry, int index, int *count);

/* The elements that have this one as a factor: pairs (entry, index), *count of them. Valid until the next call. */
const int32_t *explorer_uses(explorer *model, explorer_entry entry, int index, int *count);

/* Why an element of a gradient is exactly 0. */
typedef enum explorer_reason {
    REASON_NONE,      /* it is not 0, or only by chance */
    REASON_MASKED,    /* the mask hides the key from the query */
    REASON_ONE_KEY,   /* the query sees one key: its weight is 1 whatever the score */
    REASON_DROPPED,   /* dropout took the weight */
    REASON_NO_TARGET, /* the position has no next word, so the loss does not see it */
    REASON_LAST_KEY   /* no query reads this key with a weight that could change */
} explorer_reason;
explorer_reason explorer_zero(explorer *model, explorer_entry entry, int index);

/* ---- Experiments ------------------------------------------------------------------------------ */

/* The loss when `step` is added to one element of a forward matrix and everything behind it is computed again. */
double explorer_poke(explorer *model, explorer_entry entry, int index, double step);
/* The gradient of the loss by that element; NaN for a matrix without one. */
double explorer_slope(const explorer *model, explorer_entry entry, int index);

/* One step of SGD, in float32, on every parameter; explorer_set's passes follow where `show`. Returns the loss before
 * the step. */
double explorer_train(explorer *model, double rate, bool show);

/* Random queries, keys, values and dO of size d for 12 positions, seed fixed, all normal: 144 scores, then as many
 * weights and gradients of scores. */
const double *explorer_spread(explorer *model, int d, bool scaled);

/* Challenges, judged by the numbers. */
typedef enum explorer_challenge { CHALLENGE_ZERO, CHALLENGE_COPY, CHALLENGE_VANISH } explorer_challenge;
/* ZERO: the element has no gradient, for this reason. COPY: head 2 reads the previous word with a weight of 0.9 or more
 * at every position but the first. VANISH: of the queries that see two keys or more, the one in the element's row has
 * the smallest dQ. */
bool explorer_judge(explorer *model, explorer_challenge challenge, explorer_entry entry, int index,
                    explorer_reason reason);

#endif
