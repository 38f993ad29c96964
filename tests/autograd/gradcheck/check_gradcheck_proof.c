/* SPDX-License-Identifier: MIT
 *
 * check_gradcheck_proof.c - the checker is right or says that it does not know: of random functions with right
 * gradients none fails, of those with wrong ones none passes. The functions are random graphs (random_graph.h) of
 * leaves that are scaled by 1e-6 to 1e6; a fault is an op in the graph that changes the gradient passing through it.
 *
 *     AG_GRADCHECK_PROOF=20000        that many of each, of the seeds 1, 2, ... (make gradcheck-proof cases=20000)
 *     AG_GRADCHECK_PROOF=17-17        those of these seeds
 */
#include "tests/autograd/random_graph.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CASES = 300 };

static void seeds(unsigned long long *first, unsigned long long *last)
{
    const char *set = getenv("AG_GRADCHECK_PROOF");
    *first = 1;
    *last = DEFAULT_CASES;
    int count = set == NULL ? 0 : sscanf(set, "%llu-%llu", first, last);
    ck_assert_msg(set == NULL || count > 0, "AG_GRADCHECK_PROOF is '%s', must be a number or first-last", set);
    if (count == 1) {
        *last = *first;
        *first = 1;
    }
}

/* ---- Faults ---- */

typedef enum kind { RIGHT, DROPPED, FACTOR, SHIFT, KINDS } kind;

typedef struct fault {
    kind kind;
    double amount;
} fault;

static void faulty_vjp(ag_vjp *v)
{
    const fault *f = v->attr;
    if (f->kind == SHIFT)
        ag_vjp_add(v, 0, ag_add_scalar(v->gy, f->amount));
    else
        ag_vjp_add(v, 0, ag_scale(v->gy, f->kind == DROPPED ? 0 : f->amount));
}

static const ag_op faulty_op = { "faulty", 1, AG_KEEP_NONE, faulty_vjp };

/* ---- A random function ---- */

/* The graph of x[i] / scale[i]; one argument of one node, `at` of the arguments in order, goes through the fault. */
typedef struct problem {
    graph g;
    double scale[GRAPH_NODES];
    fault fault;
    int at;
} problem;

static double uniform(uint64_t *state)
{
    return (double)(graph_random(state) >> 11) * 0x1p-53;
}

static void evaluate(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx;
    problem *p = user;
    ag_tensor *value[GRAPH_NODES];
    int leaf = 0, argument = 0;
    for (int i = 0; i < p->g.count; i++) {
        const graph_node *n = &p->g.node[i];
        if (graph_is_leaf(n)) {
            value[i] = n->op == &graph_leaf ? ag_scale(x[leaf], 1 / p->scale[leaf]) : x[leaf];
            leaf++;
            continue;
        }
        ag_tensor *seen[GRAPH_NODES];
        memcpy(seen, value, sizeof seen);
        for (int a = 0; a < n->arg_count; a++, argument++) {
            ag_tensor *v = value[n->arg[a]];
            if (p->fault.kind != RIGHT && argument == p->at && v != NULL && ag_dtype_of(v) == AG_F64)
                seen[n->arg[a]] = ag_record(&faulty_op, ag_tensor_clone(v), &v, 1, &p->fault, sizeof p->fault, NULL);
        }
        value[i] = graph_evaluate_node(n, seen);
    }
    y[0] = value[p->g.count - 1];
}

/* Makes the function of a seed, and its inputs. */
static int make(ag_ctx *ctx, uint64_t seed, problem *p, ag_tensor **leaf)
{
    uint64_t state = seed * 7919 + 13;
    *p = (problem){ .fault = { RIGHT, 1 } };
    graph_generate(ctx, seed, &p->g);
    int count = graph_make_leaves(ctx, &p->g, leaf);
    for (int k = 0; k < count; k++) {
        p->scale[k] = pow(10, 12 * uniform(&state) - 6);
        double *x = ag_dtype_of(leaf[k]) == AG_F64 ? ag_data_mut(leaf[k]) : NULL;
        for (int64_t i = 0; x != NULL && i < ag_numel(leaf[k]); i++)
            x[i] *= p->scale[k];
    }
    return count;
}

static void plant(uint64_t seed, problem *p)
{
    uint64_t state = seed * 104729 + 7;
    int arguments = 0;
    for (int i = 0; i < p->g.count; i++)
        arguments += graph_is_leaf(&p->g.node[i]) ? 0 : p->g.node[i].arg_count;
    p->fault.kind = (kind)(1 + graph_random(&state) % (KINDS - 1));
    double size = pow(10, -2 + 3 * uniform(&state));
    p->fault.amount = p->fault.kind == SHIFT ? size : uniform(&state) < 0.5 ? 1 + size : 1 - size;
    p->at = arguments > 0 ? (int)(graph_random(&state) % (uint64_t)arguments) : 0;
}

/* Gives the leaves the gradients of sum(c y), c random. False: y depends on none of them. */
static bool differentiate(ag_ctx *ctx, problem *p, ag_tensor *const *leaf)
{
    ag_tensor *y;
    ag_rng_set(ctx, (ag_rng){ p->g.seed, 0 });
    ag_tape *tape = ag_tape_begin(ctx);
    evaluate(ctx, leaf, &y, p);
    ag_rng_set(ctx, (ag_rng){ p->g.seed, 1000000 });
    ag_tensor *c = ag_add_scalar(ag_randn(ctx, AG_F64, ag_ndim(y), ag_shape(y)), 3);
    bool depends = ag_numel(y) > 0 && ag_node_of(tape, y) >= 0 && ag_backward_from(tape, y, c) == AG_OK;
    ag_tape_end(tape);
    return depends;
}

static double largest(const ag_tensor *a, const ag_tensor *b)
{
    double most = 0;
    for (int64_t i = 0; i < ag_numel(a); i++)
        most = fmax(most, fabs(test_at(a, i) - (b == NULL ? 0 : test_at(b, i))));
    return most;
}

/* Whether the fault changes the gradient of a leaf by 1 % of its largest element or more; a gradient that is 0 but for
 * rounding does not count. */
static bool fault_matters(ag_ctx *ctx, problem *p, ag_tensor *const *leaf, int count)
{
    ag_tensor *right[GRAPH_NODES];
    bool matters = false;
    fault planted = p->fault;
    p->fault.kind = RIGHT;
    bool depends = differentiate(ctx, p, leaf);
    for (int k = 0; k < count; k++) {
        ag_tensor *g = ag_dtype_of(leaf[k]) == AG_F64 ? ag_grad(leaf[k]) : NULL;
        right[k] = g == NULL ? NULL : ag_tensor_clone(g);
        ag_zero_grad(leaf[k]);
    }
    p->fault = planted;
    depends = depends && differentiate(ctx, p, leaf);
    for (int k = 0; k < count && depends; k++) {
        ag_tensor *g = ag_dtype_of(leaf[k]) == AG_F64 ? ag_grad(leaf[k]) : NULL;
        if (g != NULL && right[k] != NULL && largest(right[k], NULL) * p->scale[k] > 1e-9)
            matters = matters || largest(g, right[k]) >= 0.01 * largest(right[k], NULL);
        ag_zero_grad(leaf[k]);
    }
    return matters;
}

/* ---- The proofs ---- */

typedef struct tally {
    unsigned long long checked, verdict[3];
} tally;

static void judge(uint64_t seed, bool wrong, tally *t)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = 1 });
    problem p;
    ag_tensor *leaf[GRAPH_NODES];
    int count = make(ctx, seed, &p, leaf);
    if (wrong)
        plant(seed, &p);
    if (!wrong || fault_matters(ctx, &p, leaf, count)) {
        ag_rng_set(ctx, (ag_rng){ p.g.seed, 0 });
        ag_gradcheck_result r = ag_gradcheck(ctx, evaluate, leaf, count, &p, (ag_gradcheck_config){ .seed = seed });
        if (r.verdict == (wrong ? AG_PASS : AG_FAIL)) {
            ag_gradcheck(ctx, evaluate, leaf, count, &p, (ag_gradcheck_config){ .seed = seed, .report = stderr });
            graph_print(stderr, &p.g);
            for (int k = 0; k < count; k++)
                fprintf(stderr, "scale %g\n", p.scale[k]);
        }
        ck_assert_msg(r.verdict != (wrong ? AG_PASS : AG_FAIL), "seed %llu (AG_GRADCHECK_PROOF=%llu-%llu shows it "
                      "again): a %s gradient is %s: %s", (unsigned long long)seed, (unsigned long long)seed,
                      (unsigned long long)seed, wrong ? "wrong" : "right", ag_verdict_name(r.verdict), r.explanation);
        t->checked++;
        t->verdict[r.verdict]++;
    }
    ag_error_clear(ctx);
    ck_assert_int_eq(ag_ctx_free(ctx), 0);
}

static tally judge_all(bool wrong)
{
    unsigned long long first, last;
    tally t = { 0 };
    seeds(&first, &last);
    for (unsigned long long seed = first; seed <= last; seed++)
        judge(seed, wrong, &t);
    if (getenv("AG_GRADCHECK_PROOF") != NULL)
        printf("seeds %llu-%llu, %s gradients: %llu checked, %llu PASS, %llu FAIL, %llu INCONCLUSIVE\n", first, last,
               wrong ? "wrong" : "right", t.checked, t.verdict[AG_PASS], t.verdict[AG_FAIL],
               t.verdict[AG_INCONCLUSIVE]);
    return t;
}

START_TEST(right_gradients_do_not_fail)
{
    tally t = judge_all(false);
    ck_assert_msg(t.verdict[AG_PASS] * 10 >= t.checked * 8, "only %llu of %llu pass", t.verdict[AG_PASS], t.checked);
}
END_TEST

START_TEST(wrong_gradients_do_not_pass)
{
    tally t = judge_all(true);
    ck_assert_msg(t.verdict[AG_FAIL] * 10 >= t.checked * 8, "only %llu of %llu fail", t.verdict[AG_FAIL], t.checked);
}
END_TEST

Suite *gradcheck_proof_suite(void)
{
    Suite *suite = suite_create("gradcheck_proof");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 0); /* AG_GRADCHECK_PROOF may ask for any number */
    tcase_add_test(all, right_gradients_do_not_fail);
    tcase_add_test(all, wrong_gradients_do_not_pass);
    suite_add_tcase(suite, all);
    return suite;
}
