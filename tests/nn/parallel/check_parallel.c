/* SPDX-License-Identifier: MIT
 *
 * check_parallel.c - gradients summed over processes.
 *
 * The processes are played one after the other, in one process. A call that would have to wait for the others notes
 * what it sends and fails; when all have come to it, every call is made again from the beginning, with what the others
 * have sent before.
 */
#include "tests/nn/check_nn.h"
#include "tests/suites.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 5, CALLS = 16 };

/* Bytes that each process sends in each call so far. */
typedef struct network {
    int64_t count, broken; /* broken: the call in which no process is reached, -1: none */
    char *sent[CALLS][MOST];
} network;

typedef struct end { /* of one process */
    network *net;
    int64_t rank, call;
} end;

/* The bytes that this process sends are noted. False when those of another one are still missing. */
static bool meet(end *e, const void *send, size_t bytes)
{
    char **sent = e->net->sent[e->call++];
    ck_assert_int_le(e->call, CALLS);
    if (e->call - 1 == e->net->broken)
        return false;
    if (sent[e->rank] == NULL) {
        sent[e->rank] = malloc(bytes);
        memcpy(sent[e->rank], send, bytes);
    }
    bool all = true;
    for (int64_t k = 0; k < e->net->count; k++)
        all = all && sent[k] != NULL;
    return all;
}

static bool exchange(void *user, const void *send, void *received, size_t bytes)
{
    end *e = user;
    if (!meet(e, send, bytes * (size_t)e->net->count))
        return false;
    for (int64_t k = 0; k < e->net->count; k++)
        memcpy((char *)received + (size_t)k * bytes, e->net->sent[e->call - 1][k] + (size_t)e->rank * bytes, bytes);
    return true;
}

static bool gather(void *user, const void *part, void *all, size_t bytes)
{
    end *e = user;
    if (!meet(e, part, bytes))
        return false;
    for (int64_t k = 0; k < e->net->count; k++)
        memcpy((char *)all + (size_t)k * bytes, e->net->sent[e->call - 1][k], bytes);
    return true;
}

static void network_free(network *net)
{
    for (int c = 0; c < CALLS; c++)
        for (int k = 0; k < MOST; k++)
            free(net->sent[c][k]);
}

/* A linear layer of each dtype, as the parts of a group, and random inputs. */
typedef struct process {
    ag_ctx *ctx;
    ag_module *module;
    ag_linear_layer *single, *twice;
} process;

static process process_begin(int64_t features)
{
    process p = { .ctx = test_begin() };
    p.module = ag_group_new(p.ctx, "model");
    p.single = ag_linear_new(p.ctx, (ag_linear_config){ .in_features = features, .out_features = 3 });
    p.twice = ag_linear_new(p.ctx, (ag_linear_config){ .in_features = 7, .out_features = 5, .dtype = AG_F64 });
    ag_group_add(p.module, "single", ag_linear_module(p.single));
    ag_group_add(p.module, "twice", ag_linear_module(p.twice));
    return p;
}

static void process_end(process *p)
{
    ag_group_free(p->module);
    test_end(p->ctx);
}

/* Adds the gradient of micro-batch i, whose data are random with i as their seed. */
static void micro_batch(const process *p, int64_t i, int64_t features)
{
    ag_rng_set(p->ctx, (ag_rng){ .seed = (uint64_t)(100 + i) });
    ag_tensor *x = ag_randn(p->ctx, AG_F32, AG_SHAPE(2, features)), *x2 = ag_randn(p->ctx, AG_F64, AG_SHAPE(2, 7));
    ag_tape *tape = ag_tape_begin(p->ctx);
    ag_tensor *y = ag_linear_forward(p->single, x), *y2 = ag_linear_forward(p->twice, x2);
    ag_tensor *loss = ag_add(ag_cast(ag_sum(ag_mul(y, y), AG_ALL_DIMS, false), AG_F64),
                             ag_sum(ag_mul(y2, y2), AG_ALL_DIMS, false));
    assert_ok(p->ctx, ag_backward(tape, loss));
    ag_tape_end(tape);
}

/* Makes the call of each process until none has to wait; each then has the gradients of micro-batch first + rank,
 * process 0 added to those of the first `first`. */
static void sum_all(process *p, network *net, int64_t first, int64_t features)
{
    for (bool waits = true; waits;) {
        waits = false;
        for (int64_t rank = 0; rank < net->count; rank++) {
            end e = { net, rank, 0 };
            ag_module_zero_grad(p[rank].module);
            for (int64_t i = rank == 0 ? 0 : first; i < first && rank == 0; i++)
                micro_batch(&p[rank], i, features);
            micro_batch(&p[rank], first + rank, features);
            if (ag_sum_grads(p[rank].module, (ag_processes){ rank, net->count, exchange, gather, &e }) == AG_OK)
                continue;
            assert_error(p[rank].ctx, AG_ERR_STATE, "sum_grads: the other processes can not be reached");
            waits = true;
        }
    }
}

/* The gradients of A micro-batches one after the other, and of the same ones by `count` processes. */
static void check_sum(int64_t count, int64_t A, int64_t features)
{
    process alone = process_begin(features), p[MOST];
    for (int64_t i = 0; i < A; i++)
        micro_batch(&alone, i, features);
    for (int64_t k = 0; k < count; k++)
        p[k] = process_begin(features);
    for (int64_t first = 0; first < A; first += count) {
        network net = { .count = count, .broken = -1 };
        sum_all(p, &net, first, features);
        network_free(&net);
    }
    for (int64_t k = 0; k < count; k++) {
        for (int64_t i = 0; i < ag_module_param_count(alone.module); i++)
            assert_same_bits(ag_grad(ag_module_param(p[k].module, i).tensor),
                             ag_grad(ag_module_param(alone.module, i).tensor));
        process_end(&p[k]);
    }
    process_end(&alone);
}

START_TEST(sum_is_that_of_one_process)
{
    check_sum(2, 2, 9);
    check_sum(2, 4, 9); /* two rounds */
    check_sum(4, 4, 9);
    check_sum(3, 3, 1);
    check_sum(5, 5, 2); /* more processes than elements in some parameters; shares that are filled up */
}
END_TEST

START_TEST(gradients_of_more_than_one_piece)
{
    check_sum(2, 2, ((1 << 20) + 5) / 3);
}
END_TEST

START_TEST(one_process_changes_nothing)
{
    process p = process_begin(4);
    micro_batch(&p, 0, 4);
    ag_tensor *before = ag_tensor_clone(ag_grad(ag_module_param(p.module, 0).tensor));
    assert_ok(p.ctx, ag_sum_grads(p.module, (ag_processes){ .count = 1 }));
    assert_same_bits(ag_grad(ag_module_param(p.module, 0).tensor), before);
    process_end(&p);
}
END_TEST

/* The calls of two processes, until both have come to their end: their statuses. */
static void call_both(process *p, network *net, ag_status status[2])
{
    for (int round = 0; round < CALLS; round++)
        for (int64_t rank = 0; rank < 2; rank++) {
            end e = { net, rank, 0 };
            if (ag_error(p[rank].ctx) == AG_ERR_STATE) /* it waited */
                ag_error_clear(p[rank].ctx);
            status[rank] = ag_sum_grads(p[rank].module, (ag_processes){ rank, 2, exchange, gather, &e });
        }
}

START_TEST(a_process_that_fails_tells_the_others)
{
    process p[2] = { process_begin(4), process_begin(4) };
    network net = { .count = 2, .broken = -1 };
    ag_status status[2];
    micro_batch(&p[0], 0, 4);
    ag_fail(p[1].ctx, AG_ERR_MEMORY, "test", "no memory");
    call_both(p, &net, status);
    ck_assert_int_eq(status[0], AG_ERR_STATE);
    ck_assert_int_eq(status[1], AG_ERR_MEMORY);
    assert_error(p[0].ctx, AG_ERR_STATE, "sum_grads: process 1 has failed");
    assert_error(p[1].ctx, AG_ERR_MEMORY, "test: no memory");
    network_free(&net);
    process_end(&p[0]);
    process_end(&p[1]);
}
END_TEST

START_TEST(sizes_must_be_equal)
{
    process p[2] = { process_begin(4), process_begin(4) };
    network net = { .count = 2, .broken = -1 };
    ag_status status[2];
    micro_batch(&p[0], 0, 4); /* process 1 has no gradients */
    call_both(p, &net, status);
    ck_assert_int_eq(status[0], AG_ERR_SHAPE);
    ck_assert_int_eq(status[1], AG_ERR_SHAPE);
    assert_error(p[0].ctx, AG_ERR_SHAPE, "process 0 has float32 gradients of 15 elements, process 1 of 0");
    ag_error_clear(p[1].ctx);
    network_free(&net);
    process_end(&p[0]);
    process_end(&p[1]);
}
END_TEST

START_TEST(wrong_processes_are_refused)
{
    process p = process_begin(4);
    end e = { NULL, 0, 0 };
    ck_assert_int_eq(ag_sum_grads(NULL, (ag_processes){ .count = 1 }), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_sum_grads(p.module, (ag_processes){ .count = 0 }), AG_ERR_ARGUMENT);
    assert_error(p.ctx, AG_ERR_ARGUMENT, "rank is 0 of 0 processes");
    ck_assert_int_eq(ag_sum_grads(p.module, (ag_processes){ 2, 2, exchange, gather, &e }), AG_ERR_ARGUMENT);
    assert_error(p.ctx, AG_ERR_ARGUMENT, "rank is 2 of 2 processes");
    ck_assert_int_eq(ag_sum_grads(p.module, (ag_processes){ .count = AG_MAX_PROCESSES + 1 }), AG_ERR_ARGUMENT);
    assert_error(p.ctx, AG_ERR_ARGUMENT, "rank is 0 of 1025 processes");
    ck_assert_int_eq(ag_sum_grads(p.module, (ag_processes){ 0, 2, NULL, gather, &e }), AG_ERR_ARGUMENT);
    assert_error(p.ctx, AG_ERR_ARGUMENT, "exchange is NULL");
    ck_assert_int_eq(ag_sum_grads(p.module, (ag_processes){ 0, 2, exchange, NULL, &e }), AG_ERR_ARGUMENT);
    assert_error(p.ctx, AG_ERR_ARGUMENT, "gather is NULL");
    process_end(&p);
}
END_TEST

/* In each of the calls between processes. */
START_TEST(a_process_that_is_not_reached_is_an_error)
{
    for (int64_t broken = 0; broken < 5; broken++) {
        process p[2] = { process_begin(4), process_begin(4) };
        network net = { .count = 2, .broken = broken };
        ag_status status[2];
        for (int64_t k = 0; k < 2; k++)
            micro_batch(&p[k], k, 4);
        call_both(p, &net, status);
        for (int64_t k = 0; k < 2; k++)
            assert_error(p[k].ctx, AG_ERR_STATE, "can not be reached");
        network_free(&net);
        process_end(&p[0]);
        process_end(&p[1]);
    }
}
END_TEST

Suite *parallel_suite(void)
{
    Suite *suite = suite_create("parallel");
    TCase *test = tcase_create("parallel");
    tcase_add_test(test, sum_is_that_of_one_process);
    tcase_set_timeout(test, 60);
    tcase_add_test(test, one_process_changes_nothing);
    tcase_add_test(test, a_process_that_fails_tells_the_others);
    tcase_add_test(test, sizes_must_be_equal);
    tcase_add_test(test, wrong_processes_are_refused);
    tcase_add_test(test, a_process_that_is_not_reached_is_an_error);
    tcase_add_test(test, gradients_of_more_than_one_piece); /* last: it takes most of the time */
    suite_add_tcase(suite, test);
    return suite;
}
