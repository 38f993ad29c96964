/* SPDX-License-Identifier: MIT
 *
 * locate.c - finds the op on a tape whose own vector-Jacobian product is wrong.
 *
 *     1. Run the function and backward under an observer that keeps g . u for every contribution g to a gradient, where
 *        u is a random direction of the value's shape.
 *     2. Two replays (replay.c) per step give, for all ops at once, the derivative of gy . y along the directions of
 *        the op's inputs. It must be the sum of g . u over them.
 *     3. An op that fails is judged one input at a time, then explained.
 *     4. If every op is right, the products also tell whether each gradient is the sum of its contributions.
 *     5. Under an observer each op runs by itself; a last backward without one tests vjps that take several nodes.
 */
#include "autograd/gradcheck/locate_impl.h"
#include "autograd/op_impl.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    RUNS = 2000,      /* runs of the function after which the search ends */
    WHOLE_OP = 1024,     /* elements of the largest input of a wrong op that is differentiated element by element */
    JACOBIAN = 65536, /* elements of the largest Jacobian that is kept */
    TEXT = 200
};

/* ---- Judging ops ---- */

/* Whether a node's contributions can be compared with differences. */
static bool locate_is_judged(const ag_locator *l, int64_t node)
{
    const ag_node *n = &l->tape->nodes[node];
    return n->op->vjp != NULL && l->node[node].gy != NULL;
}

/* Sets the expected derivative of an op: the sum of its contributions to the moved inputs. The size that tolerances are
 * relative to is at least that of gy times atol / rtol. */
static void locate_expect(ag_locator *l, int64_t node, int64_t moved)
{
    const ag_node *n = &l->tape->nodes[node];
    const ag_gradcheck_config *config = &l->check->config;
    ag_seen *s = &l->node[node];
    double square = 0;
    s->analytic = 0;
    s->levels = 0;
    for (int i = 0; i < n->input_count; i++) {
        int64_t edge = n->first_edge + i, from = l->tape->edges[edge];
        if (from >= 0 && !l->node[from].fixed && (moved < 0 || moved == from)) {
            s->analytic += l->product[edge];
            square += l->square[edge];
        }
    }
    s->norm = fmax(sqrt(square), config->atol / config->rtol * sqrt(ag_locator_dot(s->gy, s->gy)));
}

/* Whether a difference at one of the steps, or two of them extrapolated, is as expected. One is enough: a function that
 * is smooth only very near its point disagrees at the larger steps, and no step agrees by chance. */
static bool locate_agrees(const ag_locator *l, const ag_seen *s)
{
    for (int i = 0; i < s->levels; i++)
        if (ag_locator_is_close(l, s->analytic, s->slope[i], s->norm) ||
            (i > 0 && ag_locator_is_close(l, s->analytic, (64 * s->slope[i] - s->slope[i - 1]) / 63, s->norm)))
            return true;
    return false;
}

static ag_verdict locate_judge(const ag_locator *l, const ag_seen *s)
{
    double slope = s->slope[AG_LOCATE_LEVELS - 1];
    if (locate_agrees(l, s))
        return AG_PASS;
    if (s->levels < AG_LOCATE_LEVELS || !isfinite(slope))
        return AG_INCONCLUSIVE;
    /* At a kink any value between the one-sided derivatives is a subgradient. */
    return fabs(s->analytic - slope) <= 0.51 * s->gap ? AG_INCONCLUSIVE : AG_FAIL;
}

/* Takes the derivatives of ops first .. end-1 at one step. False: some do not agree yet. */
static bool locate_differentiate_at(ag_locator *l, int64_t first, int64_t end, int64_t moved, int level)
{
    double h = ldexp(1.0, -8 - 3 * level);
    l->bends = level == AG_LOCATE_LEVELS - 1;
    bool good = ag_locator_replay(l, h, moved), done = true;
    for (int64_t i = first; i < end; i++)
        l->node[i].slope[level] = l->node[i].change;
    good = ag_locator_replay(l, -h, moved) && good;
    ag_error_clear(l->ctx); /* the step may have left the function's domain; a smaller one may not */
    l->bends = false;
    for (int64_t i = first; i < end; i++) {
        ag_seen *s = &l->node[i];
        if (!locate_is_judged(l, i))
            continue;
        s->slope[level] = good ? (s->slope[level] - s->change) / (2 * h) : (double)NAN;
        s->gap = s->bend / h;
        s->levels = level + 1;
        done = done && locate_agrees(l, s);
    }
    return done;
}

/* Differentiates one op, or (-1) all, along the direction of one node, or (-1) of all. Stops when all agree. */
static void locate_differentiate(ag_locator *l, int64_t op, int64_t moved)
{
    int64_t first = op < 0 ? 0 : op, end = op < 0 ? l->count : op + 1;
    for (int64_t i = first; i < end; i++)
        if (locate_is_judged(l, i))
            locate_expect(l, i, moved);
    int level = 0;
    while (level < AG_LOCATE_LEVELS && !locate_differentiate_at(l, first, end, moved, level))
        level++;
}

/* Whether input i of a node can be moved and is the first input that comes from its node. */
static bool locate_is_distinct(const ag_locator *l, const ag_node *n, int i)
{
    const int64_t *edge = &l->tape->edges[n->first_edge];
    for (int j = 0; j < i; j++)
        if (edge[j] == edge[i])
            return false;
    return edge[i] >= 0 && !l->node[edge[i]].fixed;
}

/* Judges a suspect op one input at a time. FAIL: the contribution to *input is wrong. PASS: all are right, so the
 * result depends on something that is not a recorded input. */
static ag_verdict locate_judge_inputs(ag_locator *l, int64_t op, int *input)
{
    const ag_node *n = &l->tape->nodes[op];
    ag_verdict all = AG_PASS;
    for (int i = 0; i < n->input_count && all != AG_FAIL; i++) {
        if (!locate_is_distinct(l, n, i))
            continue;
        locate_differentiate(l, op, l->tape->edges[n->first_edge + i]);
        ag_verdict one = locate_judge(l, &l->node[op]);
        all = one == AG_PASS ? all : one;
        *input = i;
    }
    return all;
}

/* The wrong op nearest to the output, and its input; -1: none. */
static int64_t locate_find_wrong_op(ag_locator *l, int *input)
{
    l->differs = !ag_locator_replay(l, 0, -1) && ag_error(l->ctx) == AG_OK;
    if (l->differs || ag_error(l->ctx) != AG_OK)
        return -1;
    locate_differentiate(l, -1, -1);
    for (int64_t i = 0; i < l->count; i++) {
        ag_verdict verdict = locate_is_judged(l, i) ? locate_judge(l, &l->node[i]) : AG_PASS;
        l->node[i].suspect = verdict == AG_FAIL;
        l->undecided += verdict == AG_INCONCLUSIVE;
    }
    for (int64_t i = l->count - 1; i >= 0 && l->runs < RUNS; i--) {
        if (!l->node[i].suspect)
            continue;
        ag_verdict verdict = locate_judge_inputs(l, i, input);
        if (verdict == AG_FAIL)
            return i;
        if (verdict == AG_PASS)
            l->unrecorded = i;
        l->undecided += verdict == AG_INCONCLUSIVE;
    }
    return -1;
}

/* ---- Explaining a wrong op ---- */

/* One op as a function of its movable inputs. */
typedef struct op_function {
    ag_locator *l;
    int64_t node;
    int *input; /* the op's input that each input of the check is */
} op_function;

static int64_t locate_from_node(const ag_locator *l, int64_t op, int input)
{
    return l->tape->edges[l->tape->nodes[op].first_edge + input];
}

static bool op_evaluate(ag_check *check, double *y)
{
    const op_function *f = check->function;
    ag_locator *l = f->l;
    l->wanted = f->node;
    l->wanted_y = y;
    bool good = ag_locator_replay(l, 0, -1);
    l->wanted = -1;
    if (!good && ag_error(l->ctx) == AG_OK)
        ag_fail(l->ctx, AG_ERR_STATE, "gradcheck", "the function records other ops when an input of '%s' moves",
                check->name);
    return good;
}

/* What the vjp gives to each input of the check for any gradient of the result: the sum over the inputs of the op that
 * are that one node. */
static bool op_contributions(ag_check *check, ag_tensor *gy, double *const *grad)
{
    const op_function *f = check->function;
    ag_locator *l = f->l;
    int count = l->tape->nodes[f->node].input_count;
    size_t bytes = (size_t)count * sizeof(ag_tensor *);
    ag_tensor **g = ag_alloc(l->ctx, bytes);
    if (g == NULL)
        return false;
    ag_scope_begin(l->ctx, NULL);
    bool good = ag_node_vjp(l->tape, f->node, gy, g);
    for (int i = 0; i < check->input_count && good; i++) {
        const int64_t numel = check->input[i].numel;
        memset(grad[i], 0, (size_t)numel * sizeof *grad[i]);
        for (int j = 0; j < count && good; j++) {
            bool given = g[j] != NULL && locate_from_node(l, f->node, j) == locate_from_node(l, f->node, f->input[i]);
            ag_tensor *dense = given ? ag_tensor_contiguous(g[j]) : NULL;
            good = !given || dense != NULL;
            for (int64_t e = 0; e < numel && dense != NULL; e++)
                grad[i][e] += ((const double *)ag_data(dense))[e];
        }
    }
    for (int i = 0; i < count; i++)
        ag_release(g[i]);
    ag_scope_end(l->ctx, NULL);
    ag_free(l->ctx, g, bytes);
    return good;
}

static bool op_backward(ag_check *check, const double *cotangent, double *const *grad)
{
    const ag_array *y = &check->output[0].y;
    ag_scope_begin(check->ctx, NULL);
    ag_tensor *gy = ag_from_data(check->ctx, AG_F64, y->ndim, y->shape, cotangent);
    bool good = gy != NULL && op_contributions(check, gy, grad);
    ag_scope_end(check->ctx, NULL);
    return good;
}

/* Adds an input of the op, with its recorded values, to the check. False on error. */
static bool op_add_input(ag_check *op, op_function *f, int input)
{
    ag_seen *s = &f->l->node[locate_from_node(f->l, f->node, input)];
    ag_check_input *in = &op->input[op->input_count];
    *in = (ag_check_input){
        .x = { .value = ag_check_memory(op->ctx, s->value->numel, sizeof(double)), .ndim = s->value->ndim },
        .numel = s->value->numel,
        .checked = true,
        .analytic = ag_check_memory(op->ctx, s->value->numel, sizeof(double)),
        .found = { .verdict = AG_FAIL, .index = -1, .output_index = -1 },
    };
    if (in->x.value == NULL || in->analytic == NULL)
        return false;
    memcpy(in->x.shape, s->value->shape, sizeof in->x.shape);
    memcpy(in->x.value, ag_data(s->value), (size_t)in->numel * sizeof(double));
    s->moved = in->x.value;
    f->input[op->input_count++] = input;
    return true;
}

/* Fills in the check of one op: result, inputs, and the vjp's contributions to them. False on error. */
static bool op_begin(ag_check *op, op_function *f, double **grad)
{
    ag_locator *l = f->l;
    const ag_node *n = &l->tape->nodes[f->node];
    const ag_tensor *y = l->node[f->node].value, *gy = ag_tensor_contiguous(l->node[f->node].gy);
    op->input = ag_check_memory(l->ctx, n->input_count, sizeof *op->input);
    op->y = ag_check_memory(l->ctx, y->numel, sizeof(double));
    op->cotangent = ag_check_memory(l->ctx, y->numel, sizeof(double));
    f->input = ag_check_memory(l->ctx, n->input_count, sizeof *f->input);
    if (gy == NULL || op->input == NULL || op->y == NULL || op->cotangent == NULL || f->input == NULL)
        return false;
    memcpy(op->cotangent, ag_data(gy), (size_t)y->numel * sizeof(double));
    op->output_numel = op->output[0].numel = y->numel;
    op->output[0].y = (ag_array){ .value = op->y, .ndim = y->ndim };
    memcpy(op->output[0].y.shape, y->shape, sizeof y->shape);
    for (int i = 0; i < n->input_count; i++)
        if (locate_is_distinct(l, n, i) && !op_add_input(op, f, i))
            return false;
    for (int i = 0; i < op->input_count; i++)
        grad[i] = op->input[i].analytic;
    return op_evaluate(op, op->y) && op_contributions(op, l->node[f->node].gy, grad);
}

/* The numeric gradient of the wrong input, and the Jacobian if it is small. A larger input is left to random
 * directions. False on error. */
static bool op_differentiate(ag_check *op, ag_check_input *in, double **jacobian)
{
    int64_t m = op->output_numel;
    bool small = in->numel * m <= JACOBIAN;
    if (in->numel > WHOLE_OP || in->numel > op->config.elements)
        return true;
    in->numeric = ag_check_memory(op->ctx, in->numel, sizeof(double));
    ag_derivative sum, *each = small ? ag_check_memory(op->ctx, m, sizeof *each) : NULL;
    *jacobian = small ? ag_check_memory(op->ctx, in->numel * m, sizeof(double)) : NULL;
    if (in->numeric == NULL || (small && (each == NULL || *jacobian == NULL)))
        return false;
    for (int64_t e = 0; e < in->numel; e++) {
        ag_direction d = { .input = (int)(in - op->input), .index = e };
        if (!ag_check_derivatives(op, &d, op->cotangent, &sum, each, small))
            return false;
        in->numeric[e] = sum.trouble == AG_CAUSE_NONE ? sum.value : (double)NAN;
        for (int64_t j = 0; j < m && small; j++)
            (*jacobian)[e * m + j] = each[j].value;
    }
    return true;
}

static ag_explanation locate_explain_op(ag_locator *l, int64_t node, int input)
{
    const ag_node *n = &l->tape->nodes[node];
    op_function f = { .l = l, .node = node };
    ag_check_output output = { .first = 0 };
    ag_check op = {
        .ctx = l->ctx, .config = l->check->config, .name = n->op->name, .output_count = 1, .output = &output,
        .evaluate = op_evaluate, .backward = op_backward, .function = &f, .around = l->check,
    };
    op.config.complex_step = NULL;
    ag_explanation found = { .cause = AG_CAUSE_UNKNOWN, .factor = 1 };
    ag_scope_begin(l->ctx, NULL);
    double **grad = ag_check_memory(l->ctx, n->input_count, sizeof *grad);
    op.jacobian = ag_check_memory(l->ctx, n->input_count, sizeof *op.jacobian);
    if (grad != NULL && op.jacobian != NULL && op_begin(&op, &f, grad)) {
        int wrong = 0;
        while (f.input[wrong] != input)
            wrong++;
        if (op_differentiate(&op, &op.input[wrong], &op.jacobian[wrong]))
            found = ag_check_explain(&op, wrong);
    }
    for (int64_t i = 0; i < l->count; i++)
        l->node[i].moved = NULL;
    ag_scope_end(l->ctx, NULL);
    return found;
}

/* Whether the contribution of a wrong op to the input that was differentiated last is right when its vjp runs again. */
static bool locate_is_right_with(ag_locator *l, int64_t node, int input, ag_tensor *gy)
{
    int count = l->tape->nodes[node].input_count;
    ag_seen *s = &l->node[node];
    ag_tensor **g = ag_check_memory(l->ctx, count, sizeof(ag_tensor *));
    if (g == NULL || gy == NULL || !ag_node_vjp(l->tape, node, gy, g))
        return false;
    s->analytic = 0;
    for (int i = 0; i < count; i++) {
        if (g[i] != NULL && locate_from_node(l, node, i) == locate_from_node(l, node, input))
            s->analytic += ag_locator_dot(g[i], l->node[locate_from_node(l, node, input)].direction);
        ag_release(g[i]);
    }
    return locate_agrees(l, s);
}

/* Whether a wrong op is right with a contiguous copy of its incoming gradient, or of an input that it keeps. Cause
 * NONE: no. */
static ag_explanation locate_explain_strides(ag_locator *l, int64_t node, int input)
{
    ag_tensor *gy = l->node[node].gy, *dense = ag_tensor_contiguous(gy);
    double before = l->node[node].analytic;
    bool right = locate_is_right_with(l, node, input, gy);
    if (!right && !ag_locator_is_close(l, before, l->node[node].analytic, l->node[node].norm))
        return ag_explanation_of(AG_CAUSE_MASK_DRAWN_AGAIN, "another gradient each time its vjp runs: it draws random "
                                                            "numbers again, in place of those of the forward.");
    if (right)
        return ag_explanation_of(AG_CAUSE_NOT_REPEATABLE, "right when its vjp runs again: it does not repeat "
                                                          "itself, or reads what changes meanwhile.");
    if (dense != gy && locate_is_right_with(l, node, input, dense))
        return ag_explanation_of(AG_CAUSE_STRIDE_IGNORED,
                                 "the strides of its incoming gradient are ignored, %s with strides %s; right for a "
                                 "contiguous copy.", ag_shape_text(gy), ag_dims_text(l->ctx, gy->ndim, gy->stride));
    for (int i = 0; i < l->tape->nodes[node].input_count; i++) {
        int64_t edge = l->tape->nodes[node].first_edge + i;
        ag_tensor *kept = l->tape->kept[edge], *copy = ag_tensor_contiguous(kept);
        const uint64_t version = l->tape->versions[edge];
        if (copy == kept || copy == NULL)
            continue;
        l->tape->kept[edge] = copy;
        l->tape->versions[edge] = copy->storage->version;
        right = locate_is_right_with(l, node, input, dense);
        l->tape->kept[edge] = kept;
        l->tape->versions[edge] = version;
        if (right)
            return ag_explanation_of(AG_CAUSE_STRIDE_IGNORED,
                                     "the strides of its input %d are ignored, %s with strides %s; right for a "
                                     "contiguous copy.", i, ag_shape_text(copy),
                                     ag_dims_text(l->ctx, copy->ndim, kept->stride));
    }
    return (ag_explanation){ .cause = AG_CAUSE_NONE };
}

/* "'softmax' in blocks.0.attn (node 12)" */
static const char *locate_op_text(const ag_locator *l, int64_t node, char text[TEXT])
{
    const ag_node *n = &l->tape->nodes[node];
    snprintf(text, TEXT, "'%s'%s%s (node %lld)", n->op->name, *n->path != '\0' ? " in " : "", n->path, (long long)node);
    return text;
}

static void locate_op(ag_locator *l, int64_t node, int input, ag_location *where)
{
    const ag_node *n = &l->tape->nodes[node], *from = &l->tape->nodes[locate_from_node(l, node, input)];
    const char *name = from->op == &ag_op_leaf ? ag_name(from->held) : NULL;
    *where = (ag_location){ .node = node, .op = n->op->name, .path = n->path, .op_input = input };
    double analytic = l->node[node].analytic, numeric = l->node[node].slope[1];
    ag_explanation e = { .cause = AG_CAUSE_NONE };
    if (l->node[node].alias >= 0)
        e = ag_explanation_of(AG_CAUSE_UNKNOWN, "its input %d is a detached view of the same memory, which gradients "
                                                "do not pass.", l->node[node].alias);
    if (e.cause == AG_CAUSE_NONE)
        e = locate_explain_strides(l, node, input);
    if (e.cause == AG_CAUSE_NONE)
        e = locate_explain_op(l, node, input);
    if (*e.text == '\0' || ag_error(l->ctx) != AG_OK)
        e = ag_explanation_of(AG_CAUSE_UNKNOWN, "analytic %.6g, numeric %.6g along a random direction.", analytic,
                              numeric);
    ag_error_clear(l->ctx);
    char text[TEXT];
    where->explanation = ag_explanation_of(e.cause, "First wrong op: %s, gradient of its input %d%s%s: %s",
                                           locate_op_text(l, node, text), input, name == NULL ? "" : ", ",
                                           name == NULL ? "" : name, e.text);
    where->explanation.factor = e.factor;
    if (e.cause == AG_CAUSE_ZERO && n->op->keep == AG_KEEP_NONE)
        ag_explanation_add(&where->explanation, " The op keeps nothing (AG_KEEP_NONE): is a flag forgotten? What vjp "
                                                "reads of its inputs and output is then NULL.");
}

/* ---- Gradients that do not add up ---- */

/* "input 0", "'blocks.0.attn.q.weight'", "the result of 'mul' (node 7)" */
static const char *locate_value_text(const ag_locator *l, int64_t node, char text[TEXT])
{
    const ag_node *n = &l->tape->nodes[node];
    const char *name = n->held == NULL ? NULL : ag_name(n->held);
    int input = 0;
    while (input < l->f->count && l->f->input[input] != n->held)
        input++;
    if (name != NULL)
        snprintf(text, TEXT, "'%s'", name);
    else if (input < l->f->count)
        snprintf(text, TEXT, "input %d", input);
    else
        snprintf(text, TEXT, "the result of '%s' (node %lld)", n->op->name, (long long)node);
    return text;
}

/* The uses of a node, found by their contributions. */
typedef struct uses {
    int count;
    int64_t lost, alone;   /* edges: the gradient is the sum without `lost`; is `alone` by itself; -1: none */
    int64_t first, second; /* the first two */
} uses;

static uses locate_uses_of(const ag_locator *l, int64_t node, double there)
{
    const ag_seen *s = &l->node[node];
    uses u = { 0, -1, -1, -1, -1 };
    for (int64_t e = 0; e < l->tape->edge_count; e++) {
        if (l->tape->edges[e] != node || l->square[e] == 0)
            continue;
        if (u.count < 2)
            *(u.count == 0 ? &u.first : &u.second) = e;
        u.count++;
        if (ag_locator_is_close(l, there, s->expected - l->product[e], sqrt(s->size)))
            u.lost = e;
        if (ag_locator_is_close(l, there, l->product[e], sqrt(s->size)))
            u.alone = e;
    }
    if (u.lost < 0 && u.alone >= 0)
        u.lost = u.alone == u.first ? u.second : u.first;
    return u;
}

static int64_t locate_owner_of(const ag_locator *l, int64_t edge)
{
    int64_t node = l->count - 1;
    while (l->tape->nodes[node].first_edge > edge || l->tape->nodes[node].input_count == 0)
        node--;
    return node;
}

/* Explains a node's gradient, `there` being its product with the direction, that is not the sum of the contributions.
 * False: neither a hook nor a lost contribution explains it. */
static bool locate_loss(const ag_locator *l, int64_t node, double there, ag_location *where)
{
    char what[TEXT], which[TEXT];
    const ag_node *n = &l->tape->nodes[node];
    locate_value_text(l, node, what);
    if (n->held != NULL && ag_grad_state_of(n->held)->hook != NULL && there == l->node[node].arrived) {
        where->explanation = ag_explanation_of(AG_CAUSE_UNKNOWN, "No op is wrong: a hook changes the gradient of %s.",
                                               what);
        return true;
    }
    uses u = locate_uses_of(l, node, there);
    if (u.lost < 0) {
        where->explanation = ag_explanation_of(AG_CAUSE_UNKNOWN, "No op is wrong, but the gradient of %s is not the "
                                               "sum over its uses, %d.", what, u.count);
        return false;
    }
    int64_t owner = locate_owner_of(l, u.lost);
    const ag_node *lost = &l->tape->nodes[owner];
    *where = (ag_location){ .node = owner, .op = lost->op->name, .path = lost->path,
                            .op_input = (int)(u.lost - lost->first_edge) };
    locate_op_text(l, owner, which);
    if (u.alone < 0) {
        where->explanation = ag_explanation_of(AG_CAUSE_NOT_ACCUMULATED, "No op is wrong, but of the %d contributions "
                                               "to the gradient of %s that of %s is lost.", u.count, what, which);
        return true;
    }
    int64_t alone = locate_owner_of(l, u.alone);
    where->explanation = ag_explanation_of(AG_CAUSE_NOT_ACCUMULATED, "No op is wrong, but the gradient of %s is the "
                                           "contribution of '%s' (node %lld) alone: that of %s is lost.", what,
                                           l->tape->nodes[alone].op->name, (long long)alone, which);
    return true;
}

/* Whether another node of node i's op was recorded before it (step -1) or after it (1). */
static bool locate_has_another(const ag_locator *l, int64_t i, int step)
{
    const ag_op *op = l->tape->nodes[i].op;
    do
        i += step;
    while (i >= 0 && i < l->count && l->tape->nodes[i].op != op);
    return i >= 0 && i < l->count;
}

/* "'linear' or 'conv'": the ops whose vjp may take several nodes in one call and has several here; "": none. */
static void locate_listed_ops(const ag_locator *l, char text[TEXT])
{
    size_t used = 0;
    text[0] = '\0';
    for (int64_t i = 0; i < l->count && used < TEXT; i++) {
        const ag_op *op = l->tape->nodes[i].op;
        if (op->list && locate_has_another(l, i, -1) && !locate_has_another(l, i, 1))
            used += (size_t)snprintf(text + used, TEXT - used, "%s'%s'", used > 0 ? " or " : "", op->name);
    }
}

/* Whether the check's gradient of an input differs from the one that arrived in this run. */
static bool locate_is_another(const ag_locator *l, const ag_leaf_sum *leaf)
{
    return leaf->used && isfinite(leaf->arrived) &&
           !ag_locator_is_close(l, leaf->stored, leaf->arrived, leaf->norm);
}

/* Explains a gradient that is wrong in the check and right in this run, where an observer makes every op run by itself,
 * forward and backward. */
static void locate_difference(const ag_locator *l, int input, int64_t node, ag_location *where)
{
    const ag_leaf_sum *leaf = &l->leaf[input];
    char what[TEXT], ops[TEXT];
    locate_value_text(l, node, what);
    locate_listed_ops(l, ops);
    if (*ops != '\0' && !ag_locator_is_close(l, leaf->unseen, leaf->arrived, leaf->norm)) {
        where->explanation =
            ag_explanation_of(AG_CAUSE_UNKNOWN,
                              "Every op is right by itself; the gradient of %s is "
                              "wrong when the vjp of %s takes several nodes in one call (ag_vjp.next).",
                              what, ops);
        return;
    }
    if (locate_loss(l, node, leaf->stored, where))
        return;
    bool linear = false;
    for (int64_t i = 0; i < l->count; i++)
        linear = linear || l->tape->nodes[i].op == &ag_op_linear;
    where->explanation = ag_explanation_of(AG_CAUSE_UNKNOWN, "No op is wrong: when the function runs again, each op by "
                                           "itself, the gradient of %s is right. It does not repeat itself%s.", what,
                                           linear ? ", or what ag_linear_list does at the end of a product is wrong"
                                                  : "");
}

/* A difference below this is rounding: backward adds contributions in another order than the observer, and cancellation
 * leaves noise relative to the largest contribution. */
static double locate_rounding_of(const ag_locator *l)
{
    double most = 0;
    for (int64_t i = 0; i < l->count; i++)
        if (isfinite(l->node[i].size))
            most = fmax(most, l->node[i].size);
    return 64 * DBL_EPSILON * sqrt(most);
}

/* Finds the node nearest to the output whose gradient is not the sum of its contributions; with a single output also an
 * input whose gradient in the check differs from this run. False: none. */
static bool locate_find_loss(ag_locator *l, ag_location *where)
{
    const double rounding = locate_rounding_of(l);
    for (int64_t i = l->count - 1; i >= 0; i--) {
        const ag_seen *s = &l->node[i];
        if (!isfinite(s->expected) || fabs(s->arrived - s->expected) <= rounding ||
            ag_locator_is_close(l, s->arrived, s->expected, sqrt(s->size)))
            continue;
        locate_loss(l, i, s->arrived, where);
        return true;
    }
    for (int i = 0; i < l->check->input_count && l->check->output_count == 1; i++) {
        if (!locate_is_another(l, &l->leaf[i]))
            continue;
        for (int64_t k = 0; k < l->count; k++)
            if (l->tape->nodes[k].held == l->f->input[i])
                locate_difference(l, i, k, where);
        return true;
    }
    return false;
}

/* Explains an op that is right for each recorded input but not when all values move. */
static void locate_unrecorded(const ag_locator *l, ag_location *where)
{
    char text[TEXT];
    where->explanation = ag_explanation_of(AG_CAUSE_GRAPH_CUT, "No op is wrong, but the result of %s depends on more "
                                           "than its recorded inputs: on a value that was detached, or read directly.",
                                           locate_op_text(l, l->unrecorded, text));
}

/* ---- The search ---- */

/* Searches backward from one output of the function. True: *where explains something. */
static bool locate_search(ag_locator *l, int output, ag_location *where)
{
    bool found = false;
    l->unrecorded = -1;
    l->tape = ag_tape_begin(l->ctx);
    if (l->tape == NULL)
        return false;
    if (ag_locator_record(l, output)) {
        int input = -1;
        int64_t node = locate_find_wrong_op(l, &input);
        found = node >= 0 || (!l->differs && locate_find_loss(l, where)) || l->unrecorded >= 0;
        if (node >= 0)
            locate_op(l, node, input, where);
        else if (l->unrecorded >= 0 && where->explanation.cause == AG_CAUSE_NONE)
            locate_unrecorded(l, where);
    }
    for (int64_t i = 0; i < l->count; i++) {
        ag_release(l->node[i].value);
        ag_release(l->node[i].direction);
        ag_release(l->node[i].gy);
        ag_release(l->node[i].above);
    }
    l->count = 0;
    ag_tape_end(l->tape);
    return found;
}

/* The explanation when no op was found. */
static ag_explanation locate_explain_nothing(const ag_locator *l)
{
    const ag_check *check = l->check;
    for (int i = 0; i < check->input_count; i++) {
        const ag_check_input *input = &check->input[i];
        const ag_leaf_sum *leaf = &l->leaf[i];
        if (input->checked && input->found.verdict == AG_FAIL && !leaf->used)
            return ag_explanation_of(AG_CAUSE_GRAPH_CUT, "No op on the tape uses input %d: its values were detached, "
                                                         "read directly, or cast to integers.", i);
        if (leaf->only >= 0 && !ag_locator_is_close(l, leaf->stored, leaf->arrived, leaf->norm))
            return ag_explanation_of(AG_CAUSE_NOT_ACCUMULATED, "No op is wrong, but the gradient of input %d is that "
                                                               "of output %d alone.", i, leaf->only);
    }
    if (l->differs)
        return ag_explanation_of(AG_CAUSE_UNKNOWN, "The function records other ops when it runs again: none could be "
                                                   "looked at alone.");
    if (l->runs >= RUNS)
        return ag_explanation_of(AG_CAUSE_UNKNOWN, "The search for the op ended after %lld runs of the function; those "
                                                   "that it has seen are right.", (long long)l->runs);
    if (l->undecided > 0)
        return ag_explanation_of(AG_CAUSE_UNKNOWN, "No op is wrong, but %lld could not be judged: at a kink, or not "
                                                   "finite.", (long long)l->undecided);
    for (int i = 0; i < check->input_count; i++)
        if (locate_is_another(l, &l->leaf[i]))
            return ag_explanation_of(AG_CAUSE_UNKNOWN, "No op is wrong: when the function runs again, each op by "
                                                       "itself, the gradient of input %d is right.", i);
    return ag_explanation_of(AG_CAUSE_UNKNOWN, "No op on the tape is wrong.");
}

ag_location ag_check_locate(ag_check *check)
{
    ag_ctx *ctx = check->ctx;
    ag_location where = { .node = -1, .op = "", .path = "", .op_input = -1 };
    if (ag_error(ctx) != AG_OK || ag_recorder_of(ctx) != NULL)
        return where;
    ag_rng before = ag_rng_get(ctx);
    ag_scope_begin(ctx, NULL);
    ag_locator l = { .check = check, .ctx = ctx, .f = check->function, .wanted = -1, .unrecorded = -1 };
    l.output = ag_check_memory(ctx, check->output_count, sizeof *l.output);
    l.leaf = ag_check_memory(ctx, check->input_count, sizeof *l.leaf);
    if (l.output != NULL && l.leaf != NULL) {
        bool found = false;
        for (int i = 0; i < check->input_count; i++)
            l.leaf[i].only = -1;
        for (int o = 0; o < check->output_count && !found && ag_error(ctx) == AG_OK; o++)
            found = locate_search(&l, o, &where);
        if (!found)
            where.explanation = locate_explain_nothing(&l);
    }
    ag_free(ctx, l.node, (size_t)l.capacity * sizeof *l.node);
    ag_scope_end(ctx, NULL);
    ag_rng_set(ctx, before);
    if (ag_error(ctx) != AG_OK) { /* the verdict does not depend on the search */
        where = (ag_location){ .node = -1, .op = "", .path = "", .op_input = -1 };
        where.explanation = ag_explanation_of(AG_CAUSE_UNKNOWN, "The search for the op ended early: %s",
                                              ag_error_message(ctx));
        ag_error_clear(ctx);
    }
    return where;
}
