/* SPDX-License-Identifier: MIT
 *
 * replay.c - records a function on a tape with all its values and gradients, then runs it again with the values moved.
 *
 * In a replay every op gets x + h u for each recorded input x, u the random direction of x. Its result is compared with
 * the recorded one; then it is replaced by y + h u, y the recorded result, before the next op reads it. So one run
 * tests each op independently of all others.
 */
#include "autograd/gradcheck/locate_impl.h"

#include <math.h>
#include <string.h>

bool ag_locator_is_close(const ag_locator *l, double a, double b, double size)
{
    return isfinite(a) && isfinite(b) && fabs(a - b) <= l->check->config.rtol * fmax(size, fmax(fabs(a), fabs(b)));
}

/* ---- Tensors with strides ---- */

double ag_locator_dot(const ag_tensor *a, const ag_tensor *b)
{
    const double *x = ag_data(a), *y = ag_data(b);
    double sum = 0;
    ag_loop loop;
    ag_loop_init(&loop, 2, (const ag_tensor *[]){ a, b });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i++)
            sum += x[loop.at[0] + i * loop.step[0]] * y[loop.at[1] + i * loop.step[1]];
    return sum;
}

/* gy . (y - value); equal elements, infinities included, differ by 0. */
static double replay_change(const ag_tensor *gy, const ag_tensor *y, const ag_tensor *value)
{
    const double *c = ag_data(gy), *a = ag_data(y), *b = ag_data(value);
    double sum = 0;
    ag_loop loop;
    ag_loop_init(&loop, 3, (const ag_tensor *[]){ gy, y, value });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i++) {
            double now = a[loop.at[1] + i * loop.step[1]], before = b[loop.at[2] + i * loop.step[2]];
            if (now != before)
                sum += c[loop.at[0] + i * loop.step[0]] * (now - before);
        }
    return sum;
}

/* |gy| . |above - 2 value + y| */
static double replay_bend(const ag_tensor *gy, const ag_tensor *above, const ag_tensor *value, const ag_tensor *y)
{
    const double *c = ag_data(gy), *a = ag_data(above), *b = ag_data(value), *d = ag_data(y);
    double sum = 0;
    ag_loop loop;
    ag_loop_init(&loop, 4, (const ag_tensor *[]){ gy, above, value, y });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i++) {
            double before = b[loop.at[2] + i * loop.step[2]];
            sum += fabs(c[loop.at[0] + i * loop.step[0]] * ((a[loop.at[1] + i * loop.step[1]] - before) -
                                                            (before - d[loop.at[3] + i * loop.step[3]])));
        }
    return sum;
}

/* to = the node's value + amount u; float64. Does not raise the version: values that a replay writes into a leaf are
 * put back before the function's caller can see them. */
static void replay_put(ag_tensor *to, const ag_seen *s, double amount)
{
    double *y = (double *)to->storage->data + to->offset;
    const double *x = s->moved != NULL ? s->moved : ag_data(s->value), *u = ag_data(s->direction);
    ag_loop loop;
    ag_loop_init(&loop, 3, (const ag_tensor *[]){ to, s->value, s->direction });
    for (; loop.row < loop.rows; ag_loop_next(&loop))
        for (int64_t i = 0; i < loop.n; i++) {
            double v = x[loop.at[1] + i * loop.step[1]];
            y[loop.at[0] + i * loop.step[0]] = amount == 0 ? v : v + amount * u[loop.at[2] + i * loop.step[2]];
        }
}

static int64_t replay_span(int ndim, const int64_t *shape, const int64_t *stride)
{
    int64_t last = 0;
    for (int d = 0; d < ndim; d++) {
        if (shape[d] == 0)
            return 0;
        last += (shape[d] - 1) * stride[d];
    }
    return last + 1;
}

/* The strides of t, changed so that no two elements share memory. What is not contiguous stays so, because a function
 * may record other ops for a contiguous tensor. */
static void replay_strides_apart(const ag_tensor *t, int64_t *stride)
{
    int64_t end = replay_span(t->ndim, t->shape, t->stride);
    for (int d = 0; d < t->ndim; d++) {
        stride[d] = t->stride[d];
        if (stride[d] == 0 && t->shape[d] > 1) {
            stride[d] = end + 1;
            end += (t->shape[d] - 1) * stride[d];
        }
    }
}

/* A tensor of zeros with these strides and memory of its own. */
static ag_tensor *replay_strided(const ag_tensor *like, const int64_t *stride)
{
    ag_tensor *memory = ag_zeros(like->ctx, like->dtype, AG_SHAPE(replay_span(like->ndim, like->shape, stride)));
    return memory == NULL ? NULL : ag_view_new(memory, like->ndim, like->shape, stride, 0);
}

/* A copy with the same strides and bits, the bits between the elements included. */
static ag_tensor *replay_exact_copy(const ag_tensor *t)
{
    ag_tensor *copy = replay_strided(t, t->stride);
    if (copy != NULL)
        memcpy(copy->storage->data, ag_data(t), copy->storage->bytes);
    return copy;
}

/* ---- The recorded run ---- */

/* The entry of a node; makes it and all before it. NULL on error. */
static ag_seen *replay_seen_at(ag_locator *l, int64_t node)
{
    if (!ag_grow(l->ctx, (void **)&l->node, &l->capacity, node + 1, sizeof *l->node))
        return NULL;
    for (; l->count <= node; l->count++)
        l->node[l->count] = (ag_seen){ .value = NULL };
    return &l->node[node];
}

static bool replay_keep_value(ag_seen *s, ag_tensor *y)
{
    ag_release(s->value);
    s->value = ag_retain(ag_tensor_clone(y));
    replay_strides_apart(y, s->stride);
    return s->value != NULL;
}

/* An input that gets no gradient but shares memory with one that does; -1: none. */
static int replay_find_alias(const ag_tape *tape, int64_t node, ag_tensor *const *input)
{
    const ag_node *n = &tape->nodes[node];
    const int64_t *from = &tape->edges[n->first_edge];
    for (int i = 0; i < n->input_count; i++)
        for (int j = 0; j < n->input_count && from[i] < 0 && input[i] != NULL; j++)
            if (from[j] >= 0 && input[j]->storage == input[i]->storage)
                return i;
    return -1;
}

static ag_tensor *replay_see_result(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *y, ag_tensor *const *input)
{
    ag_locator *l = (ag_locator *)o;
    if (tape->segment != NULL)
        return y;
    ag_seen *s = replay_seen_at(l, node);
    if (s == NULL || !replay_keep_value(s, y))
        return NULL;
    s->alias = replay_find_alias(tape, node, input);
    return y;
}

/* Runs the vjp of a node once by itself, for a copy of its gradient, and takes the products of what it contributes. */
static void replay_see_contributions(ag_locator *l, ag_tape *tape, int64_t node, ag_tensor *gy)
{
    const int count = tape->nodes[node].input_count;
    const int64_t first = tape->nodes[node].first_edge;
    ag_tensor **g = ag_check_memory(l->ctx, count, sizeof(ag_tensor *));
    ag_tensor *copy = replay_exact_copy(gy);
    if (g == NULL || copy == NULL || !ag_node_vjp(tape, node, copy, g))
        return;
    for (int i = 0; i < count; i++) {
        if (g[i] != NULL && g[i]->dtype == AG_F64) {
            ag_seen *s = &l->node[tape->edges[first + i]];
            l->product[first + i] = ag_locator_dot(g[i], s->direction);
            l->square[first + i] = ag_locator_dot(g[i], g[i]);
            s->expected += l->product[first + i];
            s->size += l->square[first + i];
        }
        ag_release(g[i]);
    }
}

/* The walk goes on with the gradients that the vjps add to where they lie. One that writes over what it should add to
 * shows by what arrives at its inputs. */
static void replay_see_gradient(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *gy)
{
    ag_locator *l = (ag_locator *)o;
    if (tape->segment != NULL)
        return;
    if (gy->dtype == AG_F64) {
        l->node[node].gy = ag_retain(replay_exact_copy(gy));
        l->node[node].arrived = ag_locator_dot(gy, l->node[node].direction);
    }
    if (tape->nodes[node].op->vjp != NULL)
        replay_see_contributions(l, tape, node, gy);
}

/* Values of the leaves, and random directions for all nodes: along them wrong elements do not cancel. */
static bool replay_prepare(ag_locator *l)
{
    ag_tape *tape = l->tape;
    if (replay_seen_at(l, tape->node_count - 1) == NULL)
        return false;
    l->count = tape->node_count;
    ag_rng_set(l->ctx, (ag_rng){ .seed = l->check->config.seed + 1 });
    for (int64_t i = 0; i < l->count; i++) {
        ag_seen *s = &l->node[i];
        const ag_tensor *leaf = tape->nodes[i].op == &ag_op_leaf ? tape->nodes[i].held : NULL;
        if ((leaf != NULL && !replay_keep_value(s, tape->nodes[i].held)) || s->value == NULL)
            return false;
        s->fixed = s->value->dtype != AG_F64 ||
                   (leaf != NULL && memcmp(s->stride, leaf->stride, (size_t)leaf->ndim * sizeof *s->stride) != 0);
        if (s->value->dtype != AG_F64)
            continue;
        s->direction = ag_retain(ag_empty(l->ctx, AG_F64, s->value->ndim, s->value->shape));
        if (s->direction == NULL || ag_fill_uniform(s->direction, -1, 1) != AG_OK)
            return false;
    }
    l->product = ag_check_memory(l->ctx, tape->edge_count, sizeof *l->product);
    l->square = ag_check_memory(l->ctx, tape->edge_count, sizeof *l->square);
    return l->product != NULL && l->square != NULL;
}

static void replay_call(ag_locator *l)
{
    for (int i = 0; i < l->check->output_count; i++)
        l->output[i] = NULL;
    ag_rng_set(l->ctx, l->f->rng);
    l->runs++;
    l->f->f(l->ctx, l->f->input, l->output, l->f->user);
}

/* The gradients of the function's inputs for output o. False on error. */
static bool replay_see_leaves(ag_locator *l, int o, const ag_tensor *cotangent)
{
    const int count = l->check->input_count;
    ag_tensor **wanted = ag_check_memory(l->ctx, count, sizeof *wanted);
    ag_tensor **unseen = ag_check_memory(l->ctx, count, sizeof *unseen);
    if (wanted == NULL || unseen == NULL)
        return false;
    int checked = 0;
    for (int i = 0; i < count; i++)
        if (l->check->input[i].checked)
            wanted[checked++] = l->f->input[i];
    if (ag_gradient(l->tape, l->output[o], cotangent, wanted, checked, unseen) != AG_OK)
        return false;
    for (int i = 0; i < count; i++) {
        const ag_check_input *input = &l->check->input[i];
        const ag_tensor *g = input->checked ? *unseen++ : NULL;
        int64_t node = ag_node_of(l->tape, l->f->input[i]);
        if (!input->checked || node < 0)
            continue;
        const ag_seen *s = &l->node[node];
        const double *u = ag_data(s->direction);
        ag_leaf_sum *leaf = &l->leaf[i];
        leaf->stored = 0;
        for (int64_t e = 0; e < input->numel; e++)
            leaf->stored += input->analytic[e] * u[e];
        leaf->used = true;
        leaf->arrived += s->arrived;
        leaf->unseen += g == NULL ? 0 : ag_locator_dot(g, s->direction);
        leaf->norm += sqrt(s->size);
        if (ag_locator_is_close(l, leaf->stored, s->arrived, leaf->norm))
            leaf->only = o;
    }
    return true;
}

bool ag_locator_record(ag_locator *l, int o)
{
    const ag_check_output *output = &l->check->output[o];
    l->tape->observer = &l->observer;
    l->observer = (ag_observer){ .recorded = replay_see_result, .arrived = replay_see_gradient };
    replay_call(l);
    ag_tensor *y = l->output[o];
    int64_t node = y == NULL ? -1 : ag_node_of(l->tape, y);
    if (node < 0 || y->numel != output->numel || ag_error(l->ctx) != AG_OK || !replay_prepare(l))
        return false;
    ag_tensor *cotangent = ag_from_data(l->ctx, AG_F64, y->ndim, y->shape, l->check->cotangent + output->first);
    if (cotangent == NULL || ag_gradient(l->tape, y, cotangent, NULL, 0, NULL) != AG_OK)
        return false;
    l->node[node].expected += ag_locator_dot(cotangent, l->node[node].direction);
    l->node[node].size += ag_locator_dot(cotangent, cotangent);
    l->tape->observer = NULL;
    return replay_see_leaves(l, o, cotangent);
}

/* ---- Replays ---- */

static bool replay_same_node(const ag_tape *a, const ag_tape *b, int64_t node)
{
    const ag_node *x = &a->nodes[node], *y = &b->nodes[node];
    return x->op == y->op && x->dtype == y->dtype && x->ndim == y->ndim && x->input_count == y->input_count &&
           memcmp(x->shape, y->shape, (size_t)x->ndim * sizeof *x->shape) == 0 &&
           (x->input_count == 0 || memcmp(&a->edges[x->first_edge], &b->edges[y->first_edge],
                                          (size_t)x->input_count * sizeof *a->edges) == 0);
}

static double replay_amount(const ag_locator *l, int64_t node)
{
    return l->node[node].fixed || (l->moved >= 0 && l->moved != node) ? 0 : l->step;
}

/* Measures an op's result. */
static void replay_read_result(ag_locator *l, int64_t node, ag_tensor *y)
{
    ag_seen *s = &l->node[node];
    if (s->gy != NULL)
        s->change = replay_change(s->gy, y, s->value);
    if (s->gy != NULL && l->bends && l->step < 0 && s->above != NULL)
        s->bend = replay_bend(s->gy, s->above, s->value, y);
    if (s->gy != NULL && l->bends && l->step > 0) {
        ag_release(s->above);
        s->above = ag_retain(ag_tensor_clone(y));
    }
    ag_tensor *dense = node == l->wanted ? ag_tensor_contiguous(y) : NULL;
    if (dense != NULL)
        memcpy(l->wanted_y, ag_data(dense), (size_t)y->numel * sizeof *l->wanted_y);
}

/* Replaces an op's result by the recorded one, moved or not. */
static ag_tensor *replay_replace(ag_observer *o, ag_tape *tape, int64_t node, ag_tensor *y, ag_tensor *const *input)
{
    (void)input;
    ag_locator *l = (ag_locator *)o;
    if (tape->segment != NULL || !l->same)
        return y;
    l->same = node < l->count && replay_same_node(l->tape, tape, node);
    if (!l->same)
        return y;
    replay_read_result(l, node, y);
    const ag_seen *s = &l->node[node];
    ag_tensor *t = replay_strided(s->value, s->stride);
    if (t == NULL)
        return NULL;
    if (s->direction != NULL)
        replay_put(t, s, replay_amount(l, node));
    else
        ag_copy_into(t, s->value);
    t->tape = tape->serial;
    t->node = node;
    return t;
}

/* Moves the leaves, or puts them back. */
static void replay_put_leaves(const ag_locator *l, bool back)
{
    for (int64_t i = 0; i < l->count; i++) {
        const ag_node *node = &l->tape->nodes[i];
        if (node->op != &ag_op_leaf)
            continue;
        ag_seen s = l->node[i];
        if (back) {
            s.moved = NULL;
            node->held->tape = l->tape->serial;
            node->held->node = i;
        }
        if (!s.fixed)
            replay_put(node->held, &s, back ? 0 : replay_amount(l, i));
    }
}

/* Whether a replay has recorded the same ops. Finds the leaves that the function makes anew. */
static bool replay_same_tape(ag_locator *l, const ag_tape *again)
{
    if (again->node_count != l->count)
        return false;
    for (int64_t i = 0; i < l->count; i++) {
        if (!replay_same_node(l->tape, again, i))
            return false;
        if (again->nodes[i].op == &ag_op_leaf && again->nodes[i].held != l->tape->nodes[i].held)
            l->node[i].fixed = true;
    }
    return true;
}

bool ag_locator_replay(ag_locator *l, double step, int64_t moved)
{
    l->step = step;
    l->moved = moved;
    l->same = true;
    l->observer = (ag_observer){ .recorded = replay_replace };
    replay_put_leaves(l, false);
    ag_recorder_set(l->ctx, NULL); /* the recorded tape rests */
    ag_tape *tape = ag_tape_begin(l->ctx);
    if (tape != NULL) {
        tape->observer = &l->observer;
        replay_call(l);
        l->same = l->same && replay_same_tape(l, tape);
        ag_tape_end(tape);
    }
    ag_recorder_set(l->ctx, &l->tape->recorder);
    replay_put_leaves(l, true);
    return ag_error(l->ctx) == AG_OK && l->same;
}

