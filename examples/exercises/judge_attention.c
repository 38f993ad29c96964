/* SPDX-License-Identifier: MIT
 *
 * judge_attention.c - exercises 6 to 9, 12 and 13: attention, its mask, heads, positions and cache.
 */
#include "examples/exercises/exercises.h"
#include "examples/exercises/judge_impl.h"

#include <string.h>

enum { T = 5, D = 4 }; /* of one head */

/* Typical mistakes in attention's forward. */
enum {
    NO_SCALE = 1,
    SCALED_BY_D,
    OVER_QUERIES,
    EXCHANGED,
    NO_SOFTMAX,
    P_TRANSPOSED,
    NOT_MASKED,
    NOT_ITSELF,
    FUTURE_ONLY,
    MASKED_SCORES_0,
    MASKED_SCORES_LOW,
    MASKED_AFTERWARDS,
    NEXT_TOO,
    SLOT_0,
    VALUE_ALONE,
    NOT_DIVIDED
};

static bool is_seen(int i, int j, bool causal, int mistake)
{
    switch (mistake) {
    case NOT_MASKED: return true;
    case NOT_ITSELF: return j < i;
    case FUTURE_ONLY: return j >= i;
    default: return !causal || j <= i;
    }
}

static double row_max(const double *x, int n)
{
    double max = x[0];
    for (int i = 1; i < n; i++)
        max = fmax(max, x[i]);
    return max;
}

/* o[T,D] and p[T,T] of q, k, v = x[0], x[1], x[2]. */
static void attend(double *o, double *p, const double *const *x, bool causal, int mistake)
{
    const double *q = x[mistake == EXCHANGED ? 1 : 0], *k = x[mistake == EXCHANGED ? 0 : 1], *v = x[2];
    const double scale = mistake == NO_SCALE ? 1 : mistake == SCALED_BY_D ? 1.0 / D : 1 / sqrt(D);
    double s[T * T], turned[T * T];
    for (int i = 0; i < T; i++)
        for (int j = 0; j < T; j++) {
            double sum = 0;
            for (int d = 0; d < D; d++)
                sum += q[i * D + d] * k[j * D + d];
            s[i * T + j] = scale * sum;
            if (!is_seen(i, j, causal, mistake) && mistake != MASKED_AFTERWARDS)
                s[i * T + j] = mistake == MASKED_SCORES_0 ? 0 : mistake == MASKED_SCORES_LOW ? -1e4 : (double)-INFINITY;
        }
    if (mistake == OVER_QUERIES) {
        for (int i = 0; i < T * T; i++)
            turned[i] = s[i % T * T + i / T];
        judge_softmax(s, turned, T, T);
        for (int i = 0; i < T * T; i++)
            p[i] = s[i % T * T + i / T];
    } else if (mistake == NO_SOFTMAX) {
        memcpy(p, s, sizeof s);
    } else {
        judge_softmax(p, s, T, T);
        for (int i = 0; i < T * T && mistake == NOT_DIVIDED; i++)
            p[i] = exp(s[i] - row_max(s + i / T * T, T));
    }
    for (int i = 0; i < T; i++)
        for (int d = 0; d < D; d++) {
            o[i * D + d] = 0;
            for (int j = 0; j < T; j++)
                if (mistake != MASKED_AFTERWARDS || is_seen(i, j, causal, mistake))
                    o[i * D + d] += p[mistake == P_TRANSPOSED ? j * T + i : i * T + j] * v[j * D + d];
        }
}

static attention_head head_of(const double *const *x)
{
    return (attention_head){ .T = T, .D = D, .q = x[0], .k = x[1], .v = x[2] };
}

/* ---- 6. Attention forward ---- */

static void attention_right(const double *const *x, double *const *y, void *user)
{
    attend(y[0], y[1], x, false, *(const int *)user);
}

static void attention_answer(const double *const *x, double *const *y, void *user)
{
    (void)user;
    attention_forward(y[0], y[1], head_of(x));
}

const exercise exercise_attention_forward = {
    .name = "attention_forward",
    .signature = "q[5,4] k[5,4] v[5,4] -> o[5,4] p[5,5]",
    .forward = attention_right,
    .answer = attention_answer,
    .scale = 100,
    .start = "Three steps: the score of query i and key j, which is a product of two rows; softmax over the keys of "
             "each query; o[i] as a mean of the rows of v with these weights.",
    .hint = {
        { .mistake = NO_SCALE, .text = "The scores grow with the head size. Something in exercises.h keeps them "
                                       "from that." },
        { .mistake = SCALED_BY_D, .text = "The scores are divided by D: look at the root." },
        { .mistake = OVER_QUERIES, .text = "Your weights sum to 1 over the queries, down each column. Whose weights "
                                           "must sum to 1?" },
        { .mistake = EXCHANGED, .text = "Queries and keys are exchanged: row i of p belongs to the query of "
                                        "position i." },
        { .mistake = NO_SOFTMAX, .text = "p holds the scores themselves: weights are positive, and those of a query "
                                         "sum to 1." },
        { .mistake = P_TRANSPOSED, .text = "p is right, and o mixes the values by its columns: whose weights does "
                                           "o[i] use?" },
        { .mistake = NOT_DIVIDED, .text = "Your weights are exp of the scores, and do not sum to 1: softmax divides "
                                          "by something." },
        { .right = "p", .text = "p is right, and o is not: o[i] is the sum of the rows of v, each with a weight of "
                                "row i of p. Does that sum begin at 0?" },
        { .cause = AG_CAUSE_GRADIENT_NON_FINITE, .text = "A score is so large that its exp is infinite, and "
                                                         "infinity / infinity is NaN. What can you take from all "
                                                         "scores of a row without changing the weights?" },
        { .right = "p[0]", .text = "The weights of query 0 are right, and those of the next are not: what is left "
                                   "over from the query before?" },
    },
    .shows = "each row of o is a weighted mean of the values. The maximum of a row is subtracted before exp, which "
             "changes no weight and makes every score safe.",
};

/* ---- 7. Attention backward ---- */

static void attention_output(const double *const *x, double *const *y, void *user)
{
    double p[T * T];
    attend(y[0], p, x, false, *(const int *)user);
}

static void attention_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    double o[T * D], p[T * T];
    (void)user;
    attend(o, p, x, false, 0);
    attention_backward(gx[0], gx[1], gx[2], gy[0], p, head_of(x));
}

const exercise exercise_attention_backward = {
    .name = "attention_backward",
    .signature = "q[5,4] k[5,4] v[5,4] -> o[5,4]",
    .forward = attention_output,
    .backward = attention_student,
    .start = "Go back through the forward's three steps. o = p v is a product: it gives dv and dp. Softmax, exercise "
             "1, makes ds of dp. s = q k^T / sqrt(D) is a product again: dq and dk.",
    .hint = {
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "missing or wrong", .text = "dv is right. The sum in ds is not "
                                                                                  "that of its query: where does it "
                                                                                  "begin, and what does it hold "
                                                                                  "there?" },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "is -1 times", .text = "dv is right. The sum in ds is right too, "
                                                                             "and its sign is not." },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "the diagonal", .text = "dv is right. ds is as if each score "
                                                                              "moved its own weight alone. You had "
                                                                              "it in exercise 1." },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "is missing", .text = "dv is right. ds lacks a term: raising "
                                                                            "one score lowers the other weights of "
                                                                            "its row. You had it in exercise 1." },
        { .cause = AG_CAUSE_ROW_SUM_MISSING, .words = "is sum(dP)", .text = "The sum in ds adds up dp alone. In "
                                                                            "exercise 1, what was dy weighted with?" },
        { .cause = AG_CAUSE_FACTOR, .input = "q", .text = "dq is off by a factor: the scores are q k^T times "
                                                          "something, and that comes back too." },
        { .cause = AG_CAUSE_FACTOR, .input = "k", .text = "dk is off by a factor that dq has right." },
        { .cause = AG_CAUSE_TRANSPOSED, .input = "v", .text = "dv mixes the rows of dout by the wrong index of p: "
                                                              "v[j] is in every o[i], with the weight p[i,j]." },
        { .cause = AG_CAUSE_TRANSPOSED, .input = "k", .text = "dk reads ds by rows: k[j] is in the scores of all "
                                                              "queries, a column." },
        { .cause = AG_CAUSE_OPERAND, .words = "by the input itself", .text = "A gradient is multiplied by its own "
                                                                             "array. In a score q k, what is the "
                                                                             "slope along q?" },
        { .cause = AG_CAUSE_OPERAND, .words = "factor P is left out", .text = "The last factor of softmax's "
                                                                              "backward is missing in ds: a key "
                                                                              "with the weight 0 must get nothing." },
        { .input = "q", .alone = true, .text = "dq alone is wrong, so ds is right. dq[i] has a part from every key: "
                                               "is each of them added, and multiplied by the right row?" },
        { .input = "k", .alone = true, .text = "dk alone is wrong, so ds is right. dk[j] has a part from every query: "
                                               "is each of them added, and multiplied by the right row?" },
        { .input = "v", .alone = true, .text = "dv alone is wrong. dv[j] has a part from every o[i]: is each of them "
                                               "added, and how much of v[j] is in o[i]?" },
    },
    .shows = "attention's backward is two products, a softmax backward and two products. dv needs the weights alone; "
             "dq and dk are small where softmax is saturated.",
};

/* ---- 8. Its mask ---- */

static void causal_right(const double *const *x, double *const *y, void *user)
{
    double p[T * T];
    attend(y[0], p, x, true, *(const int *)user);
}

static void causal_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)user;
    causal_attention_backward(gx[0], gx[1], gx[2], gy[0], head_of(x));
}

static void causal_answer(const double *const *x, double *const *y, void *user)
{
    double p[T * T];
    (void)user;
    causal_attention_forward(y[0], p, head_of(x));
}

const exercise exercise_causal_attention = {
    .name = "causal_attention",
    .signature = "q[5,4] k[5,4] v[5,4] -> o[5,4]",
    .forward = causal_right,
    .answer = causal_answer,
    .scale = 1000,
    .backward = causal_student,
    .uses = { &exercise_attention_backward },
    .start = "First the forward: softmax of each row over the keys that its query sees. For the backward compute that "
             "p again; where p is exactly 0, does the backward of exercise 7 need a mask at all?",
    .hint = {
        { .mistake = NOT_MASKED, .input = "q", .text = "The forward is right, and the backward is that of attention "
                                                       "without a mask: its p is another." },
        { .mistake = NOT_MASKED, .text = "Nothing is masked: position 0 must see one key, itself." },
        { .mistake = NOT_ITSELF, .text = "A position sees itself too: j <= i, and not j < i." },
        { .mistake = FUTURE_ONLY, .text = "The mask is the wrong way round: your queries see what comes later." },
        { .mistake = MASKED_SCORES_LOW, .text = "-10000 is not low enough: where all scores of a row are lower, the "
                                                "future leaks. What is lower than every number?" },
        { .mistake = MASKED_SCORES_0, .text = "Masked keys have the score 0 and still get a weight: exp(0) is 1. "
                                              "Which score has the weight 0?" },
        { .mistake = MASKED_AFTERWARDS, .text = "The mask comes after softmax: a row's weights no longer sum to 1, "
                                                "since masked keys are still in the sum below the fraction." },
        { .mistake = NO_SCALE, .text = "The mask is right, and the scores are not those of exercise 6." },
        { .cause = AG_CAUSE_GRADIENT_NON_FINITE, .text = "NaN: is it infinity / infinity, from exp of a large "
                                                         "score, or 0 / 0, in a row without a key?" },
        { .cause = AG_CAUSE_MASK_LEAK, .text = "Keys of the future get a gradient. Is p[i,j] exactly 0 for every j > i "
                                               "after your forward?" },
        { .cause = AG_CAUSE_ZERO, .text = "The forward is right. The backward is next: it gets no p, and computes "
                                          "it as the forward does." },
    },
    .shows = "the backward of a mask is the mask in p: where p is exactly 0, nothing flows, and no key of the future "
             "gets a gradient from the past.",
};

/* ---- 9. Several heads ---- */

enum { HEADS_T = 4, HEADS_H = 2, HEADS_D = 3 };

enum { HEADS_AS_THEY_LIE = 1, HEADS_INTERLEAVED, HEADS_TURNED, JOIN_AS_THEY_LIE };

/* Where element d of head h at position t stands in heads, and in a row of x. */
static void heads_right(const double *const *x, double *const *y, void *user)
{
    int mistake = *(const int *)user;
    for (int t = 0; t < HEADS_T; t++)
        for (int h = 0; h < HEADS_H; h++)
            for (int d = 0; d < HEADS_D; d++) {
                int lies = (t * HEADS_H + h) * HEADS_D + d, turned = (h * HEADS_D + d) * HEADS_T + t;
                int right = (h * HEADS_T + t) * HEADS_D + d;
                int at = mistake == HEADS_AS_THEY_LIE ? lies : mistake == HEADS_TURNED ? turned : right;
                int column = mistake == HEADS_INTERLEAVED ? d * HEADS_H + h : h * HEADS_D + d;
                y[0][at] = x[0][t * HEADS_H * HEADS_D + column];
                y[1][t * HEADS_H * HEADS_D + column] = x[1][mistake == JOIN_AS_THEY_LIE ? lies : at];
            }
}

static void heads_answer(const double *const *x, double *const *y, void *user)
{
    (void)user;
    split_heads(y[0], x[0], HEADS_T, HEADS_H, HEADS_D);
    join_heads(y[1], x[1], HEADS_T, HEADS_H, HEADS_D);
}

/* Each is the other's backward. */
static void heads_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)x;
    (void)user;
    join_heads(gx[0], gy[0], HEADS_T, HEADS_H, HEADS_D);
    split_heads(gx[1], gy[1], HEADS_T, HEADS_H, HEADS_D);
}

const exercise exercise_split_and_join_heads = {
    .name = "split_and_join_heads",
    .signature = "x[4,6] heads[2,4,3] -> split[2,4,3] joined[4,6]",
    .forward = heads_right,
    .answer = heads_answer,
    .backward = heads_student,
    .start = "Three loops, over t, h and d. For each array write the flat index of the element: x[t, h D + d] stands "
             "at t * (H * D) + h * D + d.",
    .hint = {
        { .mistake = HEADS_AS_THEY_LIE, .text = "The numbers are copied as they lie. In heads all positions of head "
                                                "0 come first: which index is outermost?" },
        { .mistake = HEADS_INTERLEAVED, .text = "Head h takes every H-th channel of a row. It has D channels side "
                                                "by side." },
        { .mistake = HEADS_TURNED, .text = "Each head lies transposed: t and d are exchanged in heads." },
        { .mistake = JOIN_AS_THEY_LIE, .text = "split_heads is right and join_heads is not its reverse: joining "
                                               "what was split must give x again." },
        { .right = "split", .text = "split_heads is right, and join_heads is not: it writes element [t, h D + d] of x, "
                                    "and reads the element of heads that split_heads wrote." },
    },
    .shows = "splitting and joining only move numbers, so each is the other's backward: what goes out of head h comes "
             "back to the channels of head h.",
};

/* ---- 12. Rotary positions ---- */

enum { ROTARY_T = 4, ROTARY_D = 6 };

enum { NEIGHBOURS = 1, OTHER_DIRECTION, FROM_1, HALF_EXPONENT, WHOLE_NUMBERS, BOTH_ADDED };

static void rotary_right(const double *const *x, double *const *y, void *user)
{
    int mistake = *(const int *)user;
    for (int t = 0; t < ROTARY_T; t++)
        for (int n = 0; n < ROTARY_D / 2; n++) {
            int a = t * ROTARY_D + (mistake == NEIGHBOURS ? 2 * n : n);
            int b = mistake == NEIGHBOURS ? a + 1 : a + ROTARY_D / 2;
            double angle = pow(10000, -(mistake == HALF_EXPONENT ? 1.0 : 2.0) * n / ROTARY_D);
            if (mistake == WHOLE_NUMBERS) /* -2 * n / D of ints */
                angle = 1;
            angle *= (mistake == FROM_1 ? t + 1 : t) * (mistake == OTHER_DIRECTION ? -1 : 1);
            y[0][a] = x[0][a] * cos(angle) - (mistake == BOTH_ADDED ? -1 : 1) * x[0][b] * sin(angle);
            y[0][b] = x[0][a] * sin(angle) + x[0][b] * cos(angle);
        }
}

static void rotary_answer(const double *const *x, double *const *y, void *user)
{
    (void)user;
    rotary(y[0], x[0], ROTARY_T, ROTARY_D);
}

static void rotary_student(const double *const *x, const double *const *gy, double *const *gx, void *user)
{
    (void)x;
    (void)user;
    rotary_backward(gx[0], gy[0], ROTARY_T, ROTARY_D);
}

const exercise exercise_rotary = {
    .name = "rotary",
    .signature = "x[4,6] -> y[4,6]",
    .forward = rotary_right,
    .answer = rotary_answer,
    .backward = rotary_student,
    .start = "rotary first: for each row t and each n, turn one pair of channels. rotary_backward then: which matrix "
             "takes a turn's gradient back?",
    .hint = {
        { .mistake = OTHER_DIRECTION, .input = "x", .text = "rotary is right, and rotary_backward turns the same "
                                                            "way. The backward of a matrix is its transpose: what "
                                                            "is that for a rotation?" },
        { .mistake = NEIGHBOURS, .text = "You pair channels 2n and 2n + 1, as some models do. Here channel n is "
                                         "paired with n + D/2." },
        { .mistake = OTHER_DIRECTION, .text = "rotary turns the other way: look at the signs of the two sines." },
        { .mistake = FROM_1, .text = "Your first position is 1. At t = 0 nothing turns." },
        { .mistake = HALF_EXPONENT, .text = "The angles of n > 0 are too large: the exponent is -2n/D, from 0 "
                                            "almost to -1." },
        { .mistake = WHOLE_NUMBERS, .text = "All pairs of a row turn by the same angle. What type has 2 * n / D in "
                                            "C?" },
        { .mistake = BOTH_ADDED, .text = "A turn has one minus: your pairs change their length." },
        { .right = "y[0]", .text = "Row 0 is right, where nothing turns, and row 1 is not: work out by hand its "
                                   "first pair and the angle of its second, and print yours." },
        { .cause = AG_CAUSE_ZERO, .text = "rotary is right. rotary_backward is next: dx[n] gets a part of dy[n] and "
                                          "of dy[n + D/2]." },
    },
    .shows = "a rotation's backward is the rotation back. Lengths stay, so gradients neither grow nor shrink, and q k "
             "depends on the distance of two positions alone.",
};

/* ---- 13. A cache of keys and values ---- */

static void cache_right(const double *const *x, double *const *y, void *user)
{
    int mistake = *(const int *)user;
    double k[(T + 1) * D] = { 0 }, v[(T + 1) * D] = { 0 };
    for (int t = 0; t < T; t++) {
        int slot = mistake == SLOT_0 ? 0 : t, end = mistake == NOT_ITSELF ? t : mistake == NEXT_TOO ? t + 2 : t + 1;
        double s[T + 1], p[T + 1];
        memcpy(k + slot * D, x[1] + t * D, D * sizeof *k);
        memcpy(v + slot * D, x[2] + t * D, D * sizeof *v);
        for (int j = 0; j < end; j++) {
            s[j] = 0;
            for (int d = 0; d < D; d++)
                s[j] += x[0][t * D + d] * k[j * D + d] / (mistake == NO_SCALE ? 1 : sqrt(D));
        }
        if (end > 0)
            judge_softmax(p, s, 1, end);
        for (int j = 0; j < end && mistake == NOT_DIVIDED; j++)
            p[j] = exp(s[j]);
        for (int d = 0; d < D; d++) {
            y[0][t * D + d] = end > 0 ? 0 : (double)NAN;
            for (int j = 0; j < end; j++)
                y[0][t * D + d] += p[j] * (mistake == VALUE_ALONE ? x[2][t * D + d] : v[j * D + d]);
        }
    }
}

static void cache_answer(const double *const *x, double *const *y, void *user)
{
    double k[(T + 1) * D] = { 0 }, v[(T + 1) * D] = { 0 };
    (void)user;
    for (int t = 0; t < T; t++)
        cached_attention(y[0] + t * D, k, v, x[0] + t * D, x[1] + t * D, x[2] + t * D, t, D);
}

const exercise exercise_cached_attention = {
    .name = "cached_attention",
    .signature = "q[5,4] k[5,4] v[5,4] -> o[5,4]",
    .forward = cache_right,
    .answer = cache_answer,
    .start = "Put k and v into row t of the caches first. Then it is one row of exercise 6, over the rows that are "
             "there.",
    .hint = {
        { .mistake = NOT_ITSELF, .text = "The new position does not see itself: how many rows do the caches have "
                                         "after you have added one?" },
        { .mistake = NEXT_TOO, .text = "You read one row more than was written." },
        { .mistake = SLOT_0, .text = "Each call writes over row 0: the rows of the calls before are lost." },
        { .mistake = NO_SCALE, .text = "The first position is right, since it sees one key. The scores of more than "
                                       "one are not those of exercise 6." },
        { .mistake = NOT_DIVIDED, .text = "Your weights are exp of the scores, and do not sum to 1." },
        { .mistake = VALUE_ALONE, .text = "The weights multiply the new v each time; each cached position has a "
                                          "value of its own." },
        { .right = "o[0]", .text = "The first position is right, since it sees one key, and the next is not: is each "
                                   "score that of q and its own row of the cache, divided by sqrt(D)?" },
    },
    .shows = "with a cache each new token costs one row of attention and not all rows: keys and values of the past "
             "never change under a causal mask.",
};
