/* SPDX-License-Identifier: MIT
 *
 * a_toy_language_model.c - chapter 11 of the course: a model of one attention head learns a language of one kind of
 * sentence. Its attention is looked at before, while and after it learns.
 *
 * T positions, EMB channels, V words. usage: a_toy_language_model [picture.svg]
 */
#include "examples/shared/lecture.h"

#include <math.h>
#include <string.h>

/* ---- The language: "the N near the N near the N V". The verb has the number of the first noun ---- */

enum { T = 8, EMB = 16, STEPS = 150, FIRST = 1, LAST = 7 }; /* positions of the first and the last noun */
enum { THE, NEAR, NOUN, VERB = 6, V = 10, NOUNS = 4, VERBS = 2, BEGINS = NOUNS * NOUNS * NOUNS };
static const char *const word[V] = { "the", "near", "cat", "dog", "cats", "dogs", "sleeps", "runs", "sleep", "run" };

/* Begin n of the BEGINS, whose nouns are digits of n, with one of its VERBS. */
static void sentence(int n, int verb, int32_t s[T + 1])
{
    for (int t = 0; t < T; t++) {
        s[t] = t % 3 == 0 ? THE : t % 3 == 1 ? NOUN + n % NOUNS : NEAR;
        n /= t % 3 == 1 ? NOUNS : 1;
    }
    s[T] = VERB + VERBS * (s[FIRST] >= NOUN + NOUNS / 2) + verb;
}

/* ---- The model: x = tok[s] + pos, y = x + head(x), logits = y Wu^T ---- */

typedef struct model {
    ag_ctx *ctx;
    ag_embedding_layer *tok, *pos;
    ag_mha *head;
    ag_linear_layer *out;
    ag_module *all;
} model;

static model model_new(uint64_t seed)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = seed });
    model m = { .ctx = ctx, .all = ag_group_new(ctx, "toy") };
    m.tok = ag_embedding_new(ctx, (ag_embedding_config){ V, EMB, 0.3, AG_F64 });
    m.pos = ag_embedding_new(ctx, (ag_embedding_config){ T, EMB, 0.3, AG_F64 });
    m.head = ag_mha_new(
        ctx, (ag_mha_config){ .emb_size = EMB, .num_heads = 1, .no_bias = true, .init_std = 0.3, .dtype = AG_F64 });
    m.out = ag_linear_new(ctx, (ag_linear_config){ EMB, V, true, 0.3, AG_F64 });
    ag_group_add(m.all, "tok", ag_embedding_module(m.tok));
    ag_group_add(m.all, "pos", ag_embedding_module(m.pos));
    ag_group_add(m.all, "head", ag_mha_module(m.head));
    ag_group_add(m.all, "out", ag_linear_module(m.out));
    return m;
}

static bool model_free(model *m)
{
    ag_group_free(m->all);
    return ag_error(m->ctx) == AG_OK && ag_ctx_free(m->ctx) == 0;
}

typedef struct pass {
    ag_tensor *x, *y, *logits; /* y: of the head */
} pass;

static pass forward(model *m, ag_tensor *tokens, ag_attend with)
{
    const int32_t at[T] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    pass p;
    p.x = ag_add(ag_embedding_forward(m->tok, tokens),
                 ag_embedding_forward(m->pos, ag_from_data(m->ctx, AG_I32, AG_SHAPE(1, T), at)));
    p.y = ag_mha_forward_with(m->head, p.x, with);
    p.logits = ag_linear_forward(m->out, ag_add(p.x, p.y));
    return p;
}

/* ---- Training on all sentences at once, so that the loss has no noise. Two with the same begin share a row ---- */

typedef struct report {
    double loss, verb;  /* of all words, of the verb */
    double weight[T];   /* the mean row of P at the last noun */
    double push[T];     /* that of -dS, of the loss of a sentence */
} report;

/* From the head's input x and the gradient dY of its output, of the mean over all sentences and positions. */
static void look(model *m, const double *x, const double *dY, report *r)
{
    ag_tensor *in = ag_from_data(m->ctx, AG_F64, AG_SHAPE(BEGINS, T, EMB), x);
    ag_attention_trace *trace = ag_mha_trace(m->head, in, (ag_attend){ 0 },
                                             ag_from_data(m->ctx, AG_F64, AG_SHAPE(BEGINS, T, EMB), dY));
    const double *P = ag_data(ag_attention_trace_find(trace, "P")), *dS = ag_data(ag_attention_trace_find(trace, "dS"));
    for (int n = 0; n < BEGINS * T && P != NULL && dS != NULL; n++) {
        const int at = (n / T * T + LAST) * T + n % T;
        r->weight[n % T] += P[at] / BEGINS;
        r->push[n % T] -= dS[at] * T;
    }
    ag_attention_trace_free(trace);
}

/* One step, unless it is the last one. `r` gets the losses before it, and with `looking` the rest. */
static void step(model *m, ag_optimizer *adamw, bool last, bool looking, report *r)
{
    enum { SIZE = BEGINS * T * EMB };
    static double x[SIZE], dY[SIZE];
    int32_t in[BEGINS * T], target[VERBS][BEGINS * T], s[T + 1];
    for (int n = 0; n < BEGINS * VERBS; n++) {
        sentence(n / VERBS, n % VERBS, s);
        memcpy(in + n / VERBS * T, s, T * sizeof s[0]);
        memcpy(target[n % VERBS] + n / VERBS * T, s + 1, T * sizeof s[0]);
    }
    *r = (report){ 0 };
    ag_tape *tape = ag_tape_begin(m->ctx);
    ag_module_zero_grad(m->all);
    const pass p = forward(m, ag_from_data(m->ctx, AG_I32, AG_SHAPE(BEGINS, T), in), (ag_attend){ 0 });
    ag_tensor *of_last = ag_slice(p.logits, 1, LAST, T, 1), *loss = NULL, *verb = NULL;
    for (int v = 0; v < VERBS; v++) {
        ag_tensor *next = ag_from_data(m->ctx, AG_I32, AG_SHAPE(BEGINS, T), target[v]);
        ag_tensor *l = ag_cross_entropy(p.logits, next), *lv = ag_cross_entropy(of_last, ag_slice(next, 1, LAST, T, 1));
        loss = v == 0 ? l : ag_add(loss, l);
        verb = v == 0 ? lv : ag_add(verb, lv);
    }
    loss = ag_scale(loss, 1.0 / VERBS);
    ag_retain_grad(p.y);
    ag_item(loss, &r->loss);
    ag_item(ag_scale(verb, 1.0 / VERBS), &r->verb);
    const bool good = ag_backward(tape, loss) == AG_OK;
    if (good && looking) {
        memcpy(x, ag_data(p.x), sizeof x);
        memcpy(dY, ag_data(ag_grad(p.y)), sizeof dY);
    }
    ag_tape_end(tape);
    if (good && looking)
        look(m, x, dY, r);
    if (good && !last)
        ag_optimizer_step(adamw);
}

/* Trains a new model; prints a line at each of some steps. */
static model train(uint64_t seed, bool show, report *r)
{
    model m = model_new(seed);
    ag_optimizer *adamw = ag_adamw_new(m.all, (ag_adamw_config){ .lr = 0.01 });
    for (int n = 0; n <= STEPS && ag_error(m.ctx) == AG_OK; n++) {
        const bool shown = show && (n % 50 == 0 || (n <= 70 && n % 10 == 0)), last = n == STEPS;
        step(&m, adamw, last, shown || last, r);
        if (shown)
            ag_printf("%4d %9.3f %9.3f %15.2f %15.3f\n", n, r->loss, r->verb, r->weight[FIRST], r->push[FIRST]);
    }
    ag_optimizer_free(adamw);
    return m;
}

/* ---- Looking at it ---- */

static const int32_t shown[T] = { 0, 2, 1, 0, 5, 1, 0, 5 }; /* the cat near the dogs near the dogs */

static void weights_of(model *m, double P[T * T])
{
    forward(m, ag_from_data(m->ctx, AG_I32, AG_SHAPE(1, T), shown), (ag_attend){ 0 });
    const double *p = ag_data(ag_mha_weights(m->head));
    for (int n = 0; n < T * T; n++)
        P[n] = p == NULL ? (double)NAN : p[n];
}

static void print_weights(const char *title, const double *P)
{
    printf("\n%-8s", title);
    for (int t = 0; t < T; t++)
        printf("%6s", word[shown[t]]);
    putchar('\n');
    for (int i = 0; i < T; i++) {
        printf("%-8s", word[shown[i]]);
        for (int j = 0; j <= i; j++)
            ag_printf("%6.2f", P[i * T + j]);
        putchar('\n');
    }
}

/* The probabilities of the verbs, and of "the", after the sentence with another word at `place`, or with a key hidden
 * from the last query. Returns the probability of the verbs for one animal. */
static double ask(model *m, const char *what, int place, int32_t other, int hidden)
{
    int32_t s[T], allowed[T * T];
    memcpy(s, shown, sizeof s);
    s[place] = other;
    for (int n = 0; n < T * T; n++)
        allowed[n] = n != LAST * T + hidden;
    const ag_mask mask = { .allowed = ag_from_data(m->ctx, AG_I32, AG_SHAPE(T, T), allowed) };
    const pass p = forward(m, ag_from_data(m->ctx, AG_I32, AG_SHAPE(1, T), s), (ag_attend){ .mask = mask });
    const double *prob = ag_data(ag_softmax(p.logits, -1));
    if (prob == NULL)
        return (double)NAN;
    printf("%-26s", what);
    for (int w = VERB; w < V; w++)
        ag_printf("%8.2f", prob[LAST * V + w]);
    ag_printf("%8.2f", prob[LAST * V + THE]);
    putchar('\n');
    return prob[LAST * V + VERB] + prob[LAST * V + VERB + 1];
}

static bool show_tests(model *m)
{
    printf("\n%-26s%8s%8s%8s%8s%8s\n", "the next word", word[VERB], word[VERB + 1], word[VERB + 2], word[VERB + 3],
           word[THE]);
    bool good = ask(m, "the cat .. dogs .. dogs", 0, THE, -1) > 0.9;
    good = ask(m, "the cats .. dogs .. dogs", FIRST, 4, -1) < 0.1 && good;
    good = ask(m, "the cat .. dog .. dogs", 4, 3, -1) > 0.9 && good;
    good = ask(m, "the cat .. dogs .. dog", LAST, 3, -1) > 0.9 && good;
    ask(m, "the cat hidden", 0, THE, FIRST);
    return good;
}

static void show_seeds(void)
{
    printf("\nseed  verb's loss  weight on: 1st noun  2nd noun  3rd noun  the, near\n");
    for (uint64_t seed = 8; seed <= 10; seed += 2) {
        report r;
        model m = train(seed, false, &r);
        ag_printf("%4d %12.3f %20.2f %9.2f %9.2f %10.2f\n", (int)seed, r.verb, r.weight[FIRST], r.weight[4],
                  r.weight[LAST], 1 - r.weight[FIRST] - r.weight[4] - r.weight[LAST]);
        model_free(&m);
    }
}

int main(int argc, char **argv)
{
    double before[T * T], after[T * T];
    report r;
    ag_printf("%d sentences of %d words. chance: log %d = %.3f\n", BEGINS * VERBS, V, V, log(V));
    ag_printf("best: (3 log %d + log %d) / %d = %.3f; for the verb log %d = %.3f, without its number log %d = %.3f\n\n",
              NOUNS, VERBS, T, (3 * log(NOUNS) + log(VERBS)) / T, VERBS, log(VERBS), 2 * VERBS, log(2 * VERBS));
    model m = model_new(3);
    weights_of(&m, before);
    bool good = model_free(&m);
    printf("step      loss    verb's  P on 1st noun   push on it\n");
    m = train(3, true, &r);
    weights_of(&m, after);
    print_weights("before", before);
    print_weights("after", after);
    good = show_tests(&m) && good && fabs(r.verb - log(VERBS)) < 0.01;
    good = model_free(&m) && good;
    show_seeds();
    const char *label[T];
    for (int t = 0; t < T; t++)
        label[t] = word[shown[t]];
    heatmap_panel panel[] = { { "P before", T, T, before, label, label, "query", "key" },
                              { "P after", T, T, after, label, label, "query", "key" } };
    heatmap map = { "Attention before and after training", "weight", 0, 1, 2, panel };
    return !good || (argc > 1 && !heatmap_save_svg(argv[1], &map));
}
