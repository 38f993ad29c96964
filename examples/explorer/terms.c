/* SPDX-License-Identifier: MIT
 *
 * terms.c - the formula of every matrix of the explorer's model, one case each: which elements of which matrices make
 * an element, and with which factors. The library's numbers are computed apart, in model.c; a test compares the two.
 */
#include "examples/explorer/explorer_impl.h"

#include <math.h>

/* An element: in the head h (0 where the heads share the matrix), row i, column j. */
typedef struct element {
    explorer_entry entry;
    int h, i, j;
} element;

static int index_of(const explorer *model, element e)
{
    return (e.h * explorer_rows(model, e.entry) + e.i) * explorer_cols(model, e.entry) + e.j;
}

static element element_at(const explorer *model, explorer_entry entry, int index)
{
    const int rows = explorer_rows(model, entry), cols = explorer_cols(model, entry);
    return (element){ entry, index / (rows * cols), index / cols % rows, index % cols };
}

static double value_of(const explorer *model, element e)
{
    return explorer_values(model, e.entry)[index_of(model, e)];
}

static void add(explorer *model, char op, double coef, element a, element b)
{
    const double x = value_of(model, a), y = value_of(model, b);
    double value = x * y;
    if (op == '-')
        value = x - y;
    else if (op == 's')
        value = (x - y) * (x - y);
    else if (op == 'l')
        value = y * log(x);
    model->term[model->terms++] = (explorer_term){
        .op = op,
        .a = (int32_t)a.entry,
        .a_index = index_of(model, a),
        .b = (int32_t)b.entry,
        .b_index = index_of(model, b),
        .coef = coef,
        .value = coef * value,
    };
}

/* coef a */
static void add_copy(explorer *model, double coef, element a)
{
    add(model, '+', coef, a, a);
    explorer_term *term = &model->term[model->terms - 1];
    term->b = term->b_index = -1;
    term->value = coef * value_of(model, a);
}

/* A factor of a matrix product: the matrix, or its transpose. */
typedef struct factor {
    explorer_entry entry;
    bool transposed;
} factor;

static element pick(const explorer *model, factor f, int h, int i, int j)
{
    h = explorer_heads(model, f.entry) > 1 ? h : 0;
    return f.transposed ? (element){ f.entry, h, j, i } : (element){ f.entry, h, i, j };
}

/* Element (i, j) of coef A B in head h. */
static void add_product(explorer *model, double coef, factor a, factor b, element at)
{
    const int inner = a.transposed ? explorer_rows(model, a.entry) : explorer_cols(model, a.entry);
    for (int k = 0; k < inner; k++)
        add(model, '*', coef, pick(model, a, at.h, at.i, k), pick(model, b, at.h, k, at.j));
}

#define PLAIN(id) ((factor){ ENTRY_##id, false })
#define TURNED(id) ((factor){ ENTRY_##id, true })
#define AT(id) pick(model, PLAIN(id), e.h, e.i, e.j)

/* exp(from - the row's largest), over the columns that are seen. */
static void add_softmax(explorer *model, explorer_entry from, element e)
{
    double most = -(double)INFINITY;
    const int cols = explorer_cols(model, from);
    for (int pass = 0; pass < 2; pass++)
        for (int j = 0; j < cols; j++) {
            const element a = { from, e.h, e.i, j };
            if (from == ENTRY_S && !explorer_sees(model, e.i, j))
                continue;
            if (pass == 0) {
                most = fmax(most, value_of(model, a));
                continue;
            }
            add_copy(model, 1, a);
            model->term[model->terms - 1].op = 'e';
            model->term[model->terms - 1].value = exp(value_of(model, a) - most);
        }
}

static void add_loss(explorer *model)
{
    const int rows = explorer_rows(model, ENTRY_target), cols = explorer_cols(model, ENTRY_target);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            const element e = { ENTRY_L, 0, i, j };
            if (model->loss == LOSS_SUM)
                add(model, '*', 1, AT(Y), AT(target));
            else if (model->loss == LOSS_SQUARE)
                add(model, 's', 1.0 / (rows * cols), AT(Y), AT(target));
            else if (value_of(model, AT(target)) != 0)
                add(model, 'l', -1.0 / (rows - 1), AT(prob), AT(target));
        }
}

static void add_forward(explorer *model, element e)
{
    switch (e.entry) {
    case ENTRY_X:
        add_copy(model, 1, (element){ ENTRY_E, 0, model->word[e.i], e.j });
        add_copy(model, 1, AT(pos));
        break;
    case ENTRY_Q: add_product(model, 1, PLAIN(X), TURNED(Wq), e); break;
    case ENTRY_K: add_product(model, 1, PLAIN(X), TURNED(Wk), e); break;
    case ENTRY_V: add_product(model, 1, PLAIN(X), TURNED(Wv), e); break;
    case ENTRY_S: add_product(model, model->a, PLAIN(Q), TURNED(K), e); break;
    case ENTRY_P:
        if (explorer_sees(model, e.i, e.j))
            add_softmax(model, ENTRY_S, e);
        break;
    case ENTRY_A: add(model, '*', 1, AT(P), AT(drop)); break;
    case ENTRY_O: add_product(model, 1, model->dropout > 0 ? PLAIN(A) : PLAIN(P), PLAIN(V), e); break;
    case ENTRY_Y:
        for (e.h = 0; e.h < model->H; e.h++)
            if (model->H > 1)
                add_product(model, 1, PLAIN(O), TURNED(Wo), e);
            else
                add_copy(model, 1, AT(O));
        if (model->residual)
            add_copy(model, 1, AT(X));
        break;
    case ENTRY_logits: add_product(model, 1, PLAIN(Y), TURNED(Wu), e); break;
    case ENTRY_prob: add_softmax(model, ENTRY_logits, e); break;
    case ENTRY_L: add_loss(model); break;
    default: break;
    }
}

static void add_of_loss(explorer *model, element e)
{
    const int T = model->T;
    switch (e.entry) {
    case ENTRY_dlogits:
        if (e.i + 1 < T)
            add(model, '-', 1.0 / (T - 1), AT(prob), AT(target));
        break;
    case ENTRY_dWu: add_product(model, 1, TURNED(dlogits), PLAIN(Y), e); break;
    case ENTRY_dY:
        if (model->loss == LOSS_SUM)
            add_copy(model, 1, AT(target));
        else if (model->loss == LOSS_SQUARE)
            add(model, '-', 2.0 / (T * model->D), AT(Y), AT(target));
        else
            add_product(model, 1, PLAIN(dlogits), PLAIN(Wu), e);
        break;
    default: break;
    }
}

/* dX: what comes back through Q, K and V of every head, and past the layer. */
static void add_input(explorer *model, element e)
{
    for (e.h = 0; e.h < model->H; e.h++) {
        add_product(model, 1, PLAIN(dQ), PLAIN(Wq), e);
        add_product(model, 1, PLAIN(dK), PLAIN(Wk), e);
        add_product(model, 1, PLAIN(dV), PLAIN(Wv), e);
    }
    if (model->residual)
        add_copy(model, 1, AT(dY));
}

static void add_backward(explorer *model, element e)
{
    const bool drops = model->dropout > 0;
    const int T = model->T;
    switch (e.entry) {
    case ENTRY_dWo: add_product(model, 1, TURNED(dY), PLAIN(O), e); break;
    case ENTRY_dO:
        if (model->H > 1)
            add_product(model, 1, PLAIN(dY), PLAIN(Wo), e);
        else
            add_copy(model, 1, AT(dY));
        break;
    case ENTRY_dV: add_product(model, 1, drops ? TURNED(A) : TURNED(P), PLAIN(dO), e); break;
    case ENTRY_dA: add_product(model, 1, PLAIN(dO), TURNED(V), e); break;
    case ENTRY_dP:
        if (drops)
            add(model, '*', 1, AT(dA), AT(drop));
        else
            add_product(model, 1, PLAIN(dO), TURNED(V), e);
        break;
    case ENTRY_delta:
        for (e.j = 0; e.j < T; e.j++)
            add(model, '*', 1, AT(P), AT(dP));
        break;
    case ENTRY_dS:
        add(model, '*', 1, AT(P), AT(dP));
        add(model, '*', -1, AT(P), (element){ ENTRY_delta, e.h, e.i, 0 });
        break;
    case ENTRY_dQ: add_product(model, model->a, PLAIN(dS), PLAIN(K), e); break;
    case ENTRY_dK: add_product(model, model->a, TURNED(dS), PLAIN(Q), e); break;
    case ENTRY_dWq: add_product(model, 1, TURNED(dQ), PLAIN(X), e); break;
    case ENTRY_dWk: add_product(model, 1, TURNED(dK), PLAIN(X), e); break;
    case ENTRY_dWv: add_product(model, 1, TURNED(dV), PLAIN(X), e); break;
    case ENTRY_dX: add_input(model, e); break;
    case ENTRY_dpos: add_copy(model, 1, AT(dX)); break;
    case ENTRY_dE:
        for (int t = 0; t < T; t++)
            if (model->word[t] == e.i)
                add_copy(model, 1, (element){ ENTRY_dX, 0, t, e.j });
        break;
    default: add_of_loss(model, e); break;
    }
}

const explorer_term *explorer_terms(explorer *model, explorer_entry entry, int index, int *count)
{
    const element e = element_at(model, entry, index);
    model->terms = 0;
    if (entry <= ENTRY_L)
        add_forward(model, e);
    else
        add_backward(model, e);
    *count = model->terms;
    return model->term;
}

const int32_t *explorer_uses(explorer *model, explorer_entry entry, int index, int *count)
{
    int uses = 0;
    for (int e = 0; e < ENTRY_COUNT; e++) {
        const int elements = explorer_heads(model, (explorer_entry)e) * explorer_rows(model, (explorer_entry)e) *
                             explorer_cols(model, (explorer_entry)e);
        for (int i = 0; i < elements; i++) {
            int terms = 0, t = 0;
            const explorer_term *term = explorer_terms(model, (explorer_entry)e, i, &terms);
            while (t < terms && !(term[t].a == (int32_t)entry && term[t].a_index == index) &&
                   !(term[t].b == (int32_t)entry && term[t].b_index == index))
                t++;
            if (t == terms)
                continue;
            model->use[2 * uses] = e;
            model->use[2 * uses++ + 1] = i;
        }
    }
    *count = uses;
    return model->use;
}

/* ---- Zeros, and the challenges about them ----------------------------------------------------- */

static int keys_seen(const explorer *model, int i)
{
    return model->causal ? i + 1 : model->T;
}

/* Whether no query that reads key j has another key to choose, so that the key's score changes no weight. */
static bool read_alone(const explorer *model, int j)
{
    for (int i = 0; i < model->T; i++)
        if (explorer_sees(model, i, j) && keys_seen(model, i) > 1 && !(model->loss == LOSS_NEXT && i == model->T - 1))
            return false;
    return true;
}

explorer_reason explorer_zero(explorer *model, explorer_entry entry, int index)
{
    const element e = element_at(model, entry, index);
    if (explorer_name(entry)[0] != 'd' || explorer_values(model, entry)[index] != 0)
        return REASON_NONE;
    const bool last = model->loss == LOSS_NEXT && e.i == model->T - 1;
    switch (entry) {
    case ENTRY_dS:
        if (!explorer_sees(model, e.i, e.j))
            return REASON_MASKED;
        return last ? REASON_NO_TARGET : keys_seen(model, e.i) == 1 ? REASON_ONE_KEY : REASON_NONE;
    case ENTRY_dQ: return last ? REASON_NO_TARGET : keys_seen(model, e.i) == 1 ? REASON_ONE_KEY : REASON_NONE;
    case ENTRY_dP:
        if (model->dropout > 0 && explorer_values(model, ENTRY_drop)[index] == 0)
            return REASON_DROPPED;
        return last ? REASON_NO_TARGET : REASON_NONE;
    case ENTRY_dlogits:
    case ENTRY_dY:
    case ENTRY_dO:
    case ENTRY_dA:
    case ENTRY_delta: return last ? REASON_NO_TARGET : REASON_NONE;
    case ENTRY_dK: return read_alone(model, e.i) ? REASON_LAST_KEY : REASON_NONE;
    default: return REASON_NONE;
    }
}

static double row_norm(const explorer *model, element e)
{
    double sum = 0;
    for (e.j = 0; e.j < explorer_cols(model, e.entry); e.j++)
        sum += value_of(model, e) * value_of(model, e);
    return sqrt(sum);
}

static bool smallest_row(const explorer *model, element chosen)
{
    element e = chosen;
    const double least = row_norm(model, chosen);
    bool smallest = keys_seen(model, chosen.i) > 1;
    for (e.i = 0; e.i < model->T; e.i++)
        smallest = smallest && (keys_seen(model, e.i) == 1 || row_norm(model, e) >= least);
    return smallest;
}

bool explorer_judge(explorer *model, explorer_challenge challenge, explorer_entry entry, int index,
                    explorer_reason reason)
{
    if (challenge == CHALLENGE_ZERO)
        return reason != REASON_NONE && explorer_zero(model, entry, index) == reason;
    if (challenge == CHALLENGE_VANISH)
        return entry == ENTRY_dQ && smallest_row(model, element_at(model, entry, index));
    bool copies = model->H >= 2;
    for (int i = 1; i < model->T && copies; i++)
        copies = value_of(model, (element){ ENTRY_P, 1, i, i - 1 }) >= 0.9;
    return copies;
}
