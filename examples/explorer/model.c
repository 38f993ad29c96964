/* SPDX-License-Identifier: MIT
 *
 * model.c - the explorer's model: parameters, forward and backward pass as ops of the library, pokes, training.
 *
 * The layer is ag_mha's without biases, written as plain ops so that a poke can enter at every matrix. Weights are
 * [H,D,C], and [H,C,D] for Wo; X[T,C] broadcasts over the heads.
 */
#include "examples/explorer/explorer_impl.h"
#include "examples/shared/lecture_number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { EXTENT_ONE, EXTENT_T, EXTENT_C, EXTENT_D, EXTENT_V, EXTENT_G };

static const struct {
    const char *name;
    int heads, rows, cols;
} entries[] = {
#define ENTRY(id, heads, rows, cols) { #id, heads, EXTENT_##rows, EXTENT_##cols },
#include "examples/explorer/entries.def"
#undef ENTRY
};

/* The parameters that training moves. */
static const explorer_entry trained[] = { ENTRY_E,  ENTRY_pos, ENTRY_Wq, ENTRY_Wk, ENTRY_Wv, ENTRY_Wo, ENTRY_Wu };
enum { TRAINED = sizeof trained / sizeof *trained };

/* ---- Entries --------------------------------------------------------------------------------- */

const char *explorer_name(explorer_entry entry)
{
    return (int)entry < ENTRY_COUNT ? entries[entry].name : NULL;
}

int explorer_find(const char *name)
{
    for (int e = 0; e < ENTRY_COUNT; e++)
        if (strcmp(entries[e].name, name) == 0)
            return e;
    return -1;
}

static int gradient_of(explorer_entry entry)
{
    char name[16] = "d";
    strcat(name, entries[entry].name);
    return explorer_find(name);
}

static bool present(const explorer *model, explorer_entry entry)
{
    switch (entry) {
    case ENTRY_drop:
    case ENTRY_A:
    case ENTRY_dA:
        return model->dropout > 0;
    case ENTRY_Wo:
    case ENTRY_dWo:
        return model->H > 1;
    case ENTRY_Wu:
    case ENTRY_dWu:
    case ENTRY_logits:
    case ENTRY_dlogits:
    case ENTRY_prob:
        return model->loss == LOSS_NEXT;
    default:
        return true;
    }
}

static int extent_of(const explorer *model, int extent)
{
    const int extents[] = { 1, model->T, model->D, model->D, model->V, model->loss == LOSS_NEXT ? model->V : model->D };
    return extents[extent];
}

int explorer_heads(const explorer *model, explorer_entry entry)
{
    return entries[entry].heads ? model->H : 1;
}

int explorer_rows(const explorer *model, explorer_entry entry)
{
    return present(model, entry) ? extent_of(model, entries[entry].rows) : 0;
}

int explorer_cols(const explorer *model, explorer_entry entry)
{
    return extent_of(model, entries[entry].cols);
}

const double *explorer_values(const explorer *model, explorer_entry entry)
{
    return model->value[entry];
}

bool explorer_given(explorer_entry entry)
{
    for (int i = 0; i < TRAINED; i++)
        if (trained[i] == entry)
            return true;
    return entry == ENTRY_target;
}

static int elements(const explorer *model, explorer_entry entry)
{
    return explorer_heads(model, entry) * explorer_rows(model, entry) * explorer_cols(model, entry);
}

/* A new tensor of the entry's shape. */
static ag_tensor *tensor_of(const explorer *model, explorer_entry entry, ag_dtype dtype)
{
    const int64_t shape[] = { model->H, explorer_rows(model, entry), explorer_cols(model, entry) };
    const int shared = entries[entry].heads ? 0 : 1;
    return ag_zeros(model->ctx, dtype, 3 - shared, shape + shared);
}

bool explorer_sees(const explorer *model, int i, int j)
{
    return !model->causal || j <= i;
}

/* ---- A new model ------------------------------------------------------------------------------ */

/* Splits the text at spaces and numbers its words. False: fewer than two words. */
static bool read_words(explorer *model, const char *text)
{
    const char *word[MOST_WORDS];
    size_t length[MOST_WORDS];
    for (text += strspn(text, " "); *text != '\0' && model->T < MOST_WORDS; text += strspn(text, " ")) {
        int v = 0;
        size_t n = strcspn(text, " ");
        while (v < model->V && (length[v] != n || memcmp(word[v], text, n) != 0))
            v++;
        if (v == model->V) {
            word[v] = text;
            length[v] = n;
            model->V++;
        }
        model->word[model->T++] = v;
        text += n;
    }
    return model->T >= 2;
}

static void draw(explorer *model, explorer_entry entry, double most)
{
    ag_tensor *t = tensor_of(model, entry, AG_F32);
    float *x = ag_data_mut(t);
    for (int64_t i = 0; x != NULL && i < ag_numel(t); i++)
        x[i] = lecture_number(model->ctx, most);
    model->given[entry] = ag_retain(t);
}

static void draw_target(explorer *model)
{
    if (model->loss != LOSS_NEXT) {
        draw(model, ENTRY_target, 1);
        return;
    }
    ag_tensor *t = tensor_of(model, ENTRY_target, AG_F32);
    float *x = ag_data_mut(t);
    for (int i = 0; x != NULL && i + 1 < model->T; i++)
        x[i * model->V + model->word[i + 1]] = 1;
    model->given[ENTRY_target] = ag_retain(t);
}

explorer *explorer_new(const char *text, int heads, int size, explorer_loss loss, uint32_t seed)
{
    explorer *model = calloc(1, sizeof *model);
    if (model == NULL)
        return NULL;
    model->ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = 1, .isa = "baseline" });
    model->H = heads;
    model->D = size;
    model->loss = loss;
    if (model->ctx == NULL || !read_words(model, text) || heads < 1 || heads > MOST_HEADS || size < LEAST_SIZE ||
        size > MOST_SIZE) {
        explorer_free(model);
        return NULL;
    }
    ag_scope_begin(model->ctx, NULL);
    draw(model, ENTRY_E, 1);
    draw(model, ENTRY_pos, 0.6);
    for (int e = ENTRY_Wq; e <= ENTRY_Wv; e++)
        draw(model, (explorer_entry)e, 1.2);
    if (heads > 1)
        draw(model, ENTRY_Wo, 1);
    if (loss == LOSS_NEXT)
        draw(model, ENTRY_Wu, 1);
    draw_target(model);
    ag_scope_end(model->ctx, NULL);
    model->drop_from = ag_rng_get(model->ctx);
    if (explorer_set(model, true, true, false, 1, 0))
        return model;
    explorer_free(model);
    return NULL;
}

void explorer_free(explorer *model)
{
    if (model == NULL)
        return;
    for (int e = 0; e < ENTRY_COUNT; e++)
        ag_release(model->given[e]);
    ag_ctx_free(model->ctx);
    free(model);
}

int explorer_word(const explorer *model, int position)
{
    return position >= 0 && position < model->T ? model->word[position] : -1;
}

bool explorer_set(explorer *model, bool scaled, bool causal, bool residual, double temperature, double dropout)
{
    model->scaled = scaled;
    model->causal = causal;
    model->residual = residual;
    model->temperature = temperature;
    model->dropout = dropout;
    model->a = (scaled ? 1 / sqrt(model->D) : 1) / temperature;
    return explorer_passes(model);
}

const char *explorer_error(const explorer *model)
{
    return ag_error_message(model->ctx);
}

/* ---- The forward pass ------------------------------------------------------------------------- */

typedef struct pass {
    explorer *model;
    ag_dtype dtype;
    ag_tensor *at[ENTRY_COUNT]; /* NULL: not made */
    int poked;                  /* the entry that `poke` is added to; -1: none */
    ag_tensor *poke;
} pass;

/* Notes the tensor of an entry, poked where asked for. */
static ag_tensor *note(pass *p, explorer_entry entry, ag_tensor *t)
{
    if (p->poked == (int)entry)
        t = ag_add(t, p->poke);
    return p->at[entry] = t;
}

static ag_tensor *leaf(pass *p, explorer_entry entry)
{
    ag_tensor *given = p->model->given[entry];
    ag_tensor *own = given == NULL || p->dtype == AG_F32 ? ag_tensor_clone(given) : ag_tensor_cast(given, p->dtype);
    return note(p, entry, ag_require_grad(own));
}

/* 0 or 1/(1-p) for each weight, always the same draw. */
static ag_tensor *drop_mask(pass *p)
{
    explorer *model = p->model;
    ag_tensor *t = tensor_of(model, ENTRY_drop, p->dtype);
    ag_rng_set(model->ctx, model->drop_from);
    for (int64_t i = 0; i < ag_numel(t); i++) {
        const bool kept = ag_random(model->ctx) >= model->dropout;
        const int64_t T = model->T, index[] = { i / (T * T), i / T % T, i % T };
        ag_set(t, index, kept ? 1 / (1 - model->dropout) : 0);
    }
    return note(p, ENTRY_drop, t);
}

static ag_tensor *hidden_keys(const explorer *model)
{
    int32_t hidden[MOST_WORDS * MOST_WORDS];
    for (int i = 0; i < model->T * model->T; i++)
        hidden[i] = !explorer_sees(model, i / model->T, i % model->T);
    return ag_from_data(model->ctx, AG_I32, AG_SHAPE(model->T, model->T), hidden);
}

static ag_tensor *transposed(ag_tensor *t)
{
    return ag_transpose(t, -2, -1);
}

static ag_tensor *loss_of(pass *p, ag_tensor *Y)
{
    explorer *model = p->model;
    ag_tensor *target = leaf(p, ENTRY_target);
    if (model->loss == LOSS_SUM)
        return ag_sum(ag_mul(Y, target), AG_ALL_DIMS, false);
    if (model->loss == LOSS_SQUARE) {
        ag_tensor *apart = ag_sub(Y, target);
        return ag_mean(ag_mul(apart, apart), AG_ALL_DIMS, false);
    }
    ag_tensor *logits = note(p, ENTRY_logits, ag_matmul(Y, transposed(leaf(p, ENTRY_Wu))));
    ag_tensor *sum = ag_sum(ag_mul(target, ag_log_softmax(logits, -1)), AG_ALL_DIMS, false);
    return ag_scale(sum, -1.0 / (model->T - 1));
}

static ag_tensor *forward(pass *p)
{
    explorer *model = p->model;
    ag_tensor *word = ag_from_data(model->ctx, AG_I32, AG_SHAPE(model->T), model->word);
    ag_tensor *X = note(p, ENTRY_X, ag_add(ag_embedding(leaf(p, ENTRY_E), word), leaf(p, ENTRY_pos)));
    ag_tensor *Q = note(p, ENTRY_Q, ag_matmul(X, transposed(leaf(p, ENTRY_Wq))));
    ag_tensor *K = note(p, ENTRY_K, ag_matmul(X, transposed(leaf(p, ENTRY_Wk))));
    ag_tensor *V = note(p, ENTRY_V, ag_matmul(X, transposed(leaf(p, ENTRY_Wv))));
    ag_tensor *S = note(p, ENTRY_S, ag_scale(ag_matmul(Q, transposed(K)), model->a));
    ag_tensor *seen = ag_masked_fill(S, hidden_keys(model), -(double)INFINITY);
    ag_tensor *A = note(p, ENTRY_P, ag_softmax(seen, -1));
    if (model->dropout > 0)
        A = note(p, ENTRY_A, ag_mul(A, drop_mask(p)));
    ag_tensor *O = note(p, ENTRY_O, ag_matmul(A, V));
    ag_tensor *Y = model->H == 1 ? ag_squeeze(O, 0)
                                 : ag_sum(ag_matmul(O, transposed(leaf(p, ENTRY_Wo))), AG_DIMS(0), false);
    Y = note(p, ENTRY_Y, model->residual ? ag_add(Y, X) : Y);
    return note(p, ENTRY_L, loss_of(p, Y));
}

/* ---- Both passes ------------------------------------------------------------------------------ */

static void show(explorer *model, explorer_entry entry, ag_tensor *t)
{
    const double *x = ag_data(ag_tensor_contiguous(t));
    if (x != NULL)
        memcpy(model->value[entry], x, (size_t)elements(model, entry) * sizeof *x);
}

/* Copies what the passes made; a gradient where the loss does not depend on a matrix is 0. */
static void show_passes(pass *p, ag_tensor *const *gradient)
{
    explorer *model = p->model;
    for (int e = 0; e < ENTRY_COUNT; e++) {
        if (p->at[e] != NULL)
            show(model, (explorer_entry)e, p->at[e]);
        const int d = gradient_of((explorer_entry)e);
        if (d >= 0 && gradient[e] != NULL)
            show(model, (explorer_entry)d, gradient[e]);
    }
    for (int i = 0; i < model->T * model->T; i++)
        model->value[ENTRY_mask][i] = explorer_sees(model, i / model->T, i % model->T);
    show(model, ENTRY_delta, ag_sum(ag_mul(p->at[ENTRY_P], gradient[ENTRY_P]), AG_DIMS(-1), false));
    if (model->loss == LOSS_NEXT)
        show(model, ENTRY_prob, ag_softmax(p->at[ENTRY_logits], -1));
}

bool explorer_passes(explorer *model)
{
    ag_tensor *of[ENTRY_COUNT], *got[ENTRY_COUNT], *gradient[ENTRY_COUNT] = { NULL };
    int from[ENTRY_COUNT], count = 0;
    pass p = { .model = model, .dtype = AG_F64, .poked = -1 };
    ag_scope_begin(model->ctx, NULL);
    memset(model->value, 0, sizeof model->value);
    ag_tape *tape = ag_tape_begin(model->ctx);
    ag_tensor *loss = forward(&p);
    for (int e = 0; e < ENTRY_COUNT; e++)
        if (p.at[e] != NULL && gradient_of((explorer_entry)e) >= 0) {
            from[count] = e;
            of[count++] = p.at[e];
        }
    if (ag_gradient(tape, loss, NULL, of, count, got) == AG_OK)
        for (int i = 0; i < count; i++)
            gradient[from[i]] = got[i];
    if (ag_error(model->ctx) == AG_OK)
        show_passes(&p, gradient);
    ag_tape_end(tape);
    ag_scope_end(model->ctx, NULL);
    return ag_error(model->ctx) == AG_OK;
}

bool explorer_change(explorer *model, explorer_entry entry, int index, double value)
{
    float *x = model->given[entry] == NULL ? NULL : ag_data_mut(model->given[entry]);
    if (x == NULL || index < 0 || index >= elements(model, entry))
        return false;
    x[index] = (float)value;
    return explorer_passes(model);
}

/* ---- Experiments ------------------------------------------------------------------------------ */

double explorer_poke(explorer *model, explorer_entry entry, int index, double step)
{
    double loss = (double)NAN;
    pass p = { .model = model, .dtype = AG_F64, .poked = (int)entry };
    ag_scope_begin(model->ctx, NULL);
    p.poke = tensor_of(model, entry, AG_F64);
    double *x = ag_data_mut(p.poke);
    if (x != NULL && index >= 0 && index < elements(model, entry)) {
        x[index] = step;
        ag_item(forward(&p), &loss);
    }
    ag_scope_end(model->ctx, NULL);
    return loss;
}

double explorer_slope(const explorer *model, explorer_entry entry, int index)
{
    const int d = gradient_of(entry);
    return d < 0 || !present(model, entry) ? (double)NAN : model->value[d][index];
}

double explorer_train(explorer *model, double rate, bool again)
{
    double loss = (double)NAN;
    pass p = { .model = model, .dtype = AG_F32, .poked = -1 };
    ag_scope_begin(model->ctx, NULL);
    ag_tape *tape = ag_tape_begin(model->ctx);
    ag_tensor *L = forward(&p);
    ag_item(L, &loss);
    ag_backward(tape, L);
    for (int i = 0; i < TRAINED && ag_error(model->ctx) == AG_OK; i++) {
        ag_tensor *w = model->given[trained[i]], *gradient = w == NULL ? NULL : ag_grad(p.at[trained[i]]);
        if (gradient != NULL)
            ag_copy_into(w, ag_sub(w, ag_scale(gradient, rate)));
    }
    ag_tape_end(tape);
    ag_scope_end(model->ctx, NULL);
    if (again)
        explorer_passes(model);
    return loss;
}

const double *explorer_spread(explorer *model, int d, bool scaled)
{
    ag_ctx *ctx = model->ctx;
    const int64_t shape[] = { MOST_WORDS, d };
    const size_t bytes = sizeof model->spread[0];
    ag_tensor *normal[4], *of[1], *dS = NULL;
    ag_scope_begin(ctx, NULL);
    ag_rng_set(ctx, (ag_rng){ .seed = 1 });
    for (int i = 0; i < 4; i++)
        normal[i] = ag_randn(ctx, AG_F64, 2, shape);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *S = ag_require_grad(ag_scale(ag_matmul(normal[0], transposed(normal[1])), scaled ? 1 / sqrt(d) : 1));
    ag_tensor *P = ag_softmax(S, -1);
    of[0] = S;
    ag_status status = ag_gradient(tape, ag_matmul(P, normal[2]), normal[3], of, 1, &dS);
    if (status == AG_OK) {
        memcpy(model->spread[0], ag_data(S), bytes);
        memcpy(model->spread[1], ag_data(P), bytes);
        memcpy(model->spread[2], ag_data(dS), bytes);
    }
    ag_tape_end(tape);
    ag_scope_end(ctx, NULL);
    return status == AG_OK ? model->spread[0] : NULL;
}
