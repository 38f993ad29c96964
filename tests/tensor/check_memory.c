/* SPDX-License-Identifier: MIT
 *
 * check_memory.c - the context's memory: blocks by size class, reuse, the peak, interned texts, and an allocator that
 * fails at every point of a training step in turn.
 */
#include "tests/test.h"

#include "tensor/tensor_impl.h"

#include <stdlib.h>
#include <string.h>

/* An allocator that counts, checks sizes, and fails when told. */
typedef struct heap {
    int64_t calls, live;
    size_t bytes, peak;
    int64_t fail_from, fail_count; /* the calls that get nothing: fail_from .. fail_from + fail_count - 1 */
} heap;

typedef struct header {
    size_t size;
    size_t unused; /* keeps the block aligned as malloc's is */
} header;

static void *heap_alloc(void *user, size_t size)
{
    heap *h = user;
    int64_t call = h->calls++;
    if (call >= h->fail_from && call < h->fail_from + h->fail_count)
        return NULL;
    header *block = malloc(sizeof *block + size);
    ck_assert_ptr_nonnull(block);
    block->size = size;
    h->live++;
    h->bytes += size;
    h->peak = h->bytes > h->peak ? h->bytes : h->peak;
    memset(block + 1, 0xa5, size); /* so that nothing relies on zeros */
    return block + 1;
}

static void heap_free(void *user, void *memory, size_t size)
{
    heap *h = user;
    header *block = (header *)memory - 1;
    ck_assert_uint_eq(block->size, size);
    h->live--;
    h->bytes -= size;
    free(block);
}

static ag_ctx *heap_ctx(heap *h)
{
    return ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1, .allocator = { heap_alloc, heap_free, h } });
}

/* ---- Blocks ---- */

START_TEST(blocks_are_large_enough_and_aligned)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    int64_t calls = h.calls;
    for (int round = 0; round < 2; round++) {
        for (size_t size = 0; size <= 100000; size += size < 3000 ? 1 : 251) {
            unsigned char *block = ag_alloc(ctx, size);
            ck_assert_ptr_nonnull(block);
            ck_assert_uint_eq((uintptr_t)block % 64, 0);
            memset(block, round, size); /* past its end the sanitizers would see it */
            ag_free(ctx, block, size);
        }
        if (round == 0)
            calls = h.calls;
    }
    ck_assert_int_eq(h.calls, calls); /* the second round finds every block */
    ck_assert_uint_eq(h.bytes, ag_ctx_bytes(ctx));
    test_end(ctx);
    ck_assert_int_eq(h.live, 0);
    ck_assert_uint_eq(h.bytes, 0);
}
END_TEST

START_TEST(little_is_wasted)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    for (size_t size = 1024; size <= (size_t)1 << 24; size += size / 7) {
        size_t before = ag_ctx_bytes(ctx);
        void *block = ag_alloc(ctx, size);
        size_t taken = ag_ctx_bytes(ctx) - before;
        ck_assert(taken >= size && taken <= size + size / 8 + 200);
        ag_free(ctx, block, size);
        ag_ctx_trim(ctx);
        ck_assert_uint_eq(ag_ctx_bytes(ctx), before);
    }
    test_end(ctx);
}
END_TEST

/* Blocks in use at one time are apart from each other, also those of one class. */
START_TEST(blocks_do_not_overlap)
{
    ag_ctx *ctx = test_begin();
    enum { COUNT = 200 };
    unsigned char *block[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            block[i] = ag_alloc(ctx, (size_t)(i * 37 % 1500));
            memset(block[i], i, (size_t)(i * 37 % 1500));
        }
        for (int i = 0; i < COUNT; i++)
            for (int b = 0; b < i * 37 % 1500; b++)
                ck_assert_int_eq(block[i][b], i);
        for (int i = 0; i < COUNT; i++)
            ag_free(ctx, block[(i * 7) % COUNT], (size_t)((i * 7) % COUNT * 37 % 1500));
    }
    ag_free(ctx, NULL, 5);
    test_end(ctx);
}
END_TEST

START_TEST(sizes_that_can_not_be_had)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    int64_t calls = h.calls;
    ck_assert_ptr_null(ag_alloc(ctx, SIZE_MAX));
    assert_error(ctx, AG_ERR_MEMORY, WIDE_SIZES ? "memory: 18446744073709551615 bytes can not be had"
                                                : "memory: 4294967295 bytes can not be had");
    ck_assert_ptr_null(ag_alloc(ctx, SIZE_MAX / 2));
    assert_error(ctx, AG_ERR_MEMORY, "bytes can not be had");
    ck_assert_int_eq(h.calls, calls); /* never asked for */
    test_end(ctx);
}
END_TEST

START_TEST(peak_and_trim)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    size_t before = ag_ctx_bytes(ctx);
    void *a = ag_alloc(ctx, 1000000), *b = ag_alloc(ctx, 2000000);
    size_t both = ag_ctx_bytes(ctx);
    ck_assert_uint_ge(both, before + 3000000);
    ag_free(ctx, a, 1000000);
    ck_assert_uint_eq(ag_ctx_bytes(ctx), both); /* cached */
    ag_ctx_trim(ctx);
    ck_assert_uint_le(ag_ctx_bytes(ctx), both - 1000000);
    ck_assert_uint_eq(ag_ctx_peak_bytes(ctx), both);
    ag_free(ctx, b, 2000000);
    ag_ctx_trim(ctx);
    ck_assert_uint_eq(h.peak, ag_ctx_peak_bytes(ctx));
    ck_assert_uint_eq(h.bytes, ag_ctx_bytes(ctx));
    test_end(ctx);
}
END_TEST

/* When there is no more, the cache gives back what it has and the request is tried once more. */
START_TEST(the_cache_gives_way)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    ag_free(ctx, ag_alloc(ctx, 100000), 100000);
    int64_t live = h.live;
    h.fail_from = h.calls;
    h.fail_count = 1;
    void *block = ag_alloc(ctx, 300000);
    ck_assert_ptr_nonnull(block);
    ck_assert_int_eq(h.live, live); /* one came, one went */
    ag_free(ctx, block, 300000);
    test_end(ctx);
    ck_assert_int_eq(h.live, 0);
}
END_TEST

START_TEST(arrays_grow)
{
    ag_ctx *ctx = test_begin();
    int *array = NULL;
    int64_t capacity = 0;
    for (int i = 0; i < 5000; i++) {
        ck_assert(ag_grow(ctx, (void **)&array, &capacity, i + 1, sizeof *array));
        array[i] = i;
    }
    for (int i = 0; i < 5000; i++)
        ck_assert_int_eq(array[i], i);
    ck_assert_int_ge(capacity, 5000);
    ck_assert_int_lt(capacity, 10001);
    ag_free(ctx, array, (size_t)capacity * sizeof *array);
    test_end(ctx);
}
END_TEST

START_TEST(interned_texts)
{
    ag_ctx *ctx = test_begin();
    const char *first[500];
    char text[20];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 500; i++) {
            snprintf(text, sizeof text, "layer.%d", i);
            const char *interned = ag_intern(ctx, "", text);
            ck_assert_str_eq(interned, text);
            if (round == 0)
                first[i] = interned;
            ck_assert_ptr_eq(interned, first[i]); /* also after the table has grown */
        }
    ck_assert_str_eq(ag_intern(ctx, "", ""), "");
    test_end(ctx);
}
END_TEST

/* ---- Training and the heap ---- */

/* Forward, backward and a step by hand; false on an error. */
static bool step(ag_ctx *ctx, ag_tensor *w, ag_tensor *b, ag_tensor *table)
{
    ag_tape *tape = ag_tape_begin(ctx);
    ag_scope_begin(ctx, "model");
    ag_tensor *index = ag_from_data(ctx, AG_I32, AG_SHAPE(1, 4), (const int32_t[]){ 0, 2, 1, 2 });
    ag_tensor *x = ag_layer_norm(ag_embedding(table, index), NULL, b, 1e-5);
    ag_scope_begin(ctx, "attn");
    ag_tensor *q = ag_transpose(ag_reshape(ag_linear(x, w, b), AG_SHAPE(1, 4, 2, 2)), 1, 2);
    ag_tensor *o = ag_reshape(ag_transpose(ag_sdpa(q, q, q, (ag_sdpa_config){ .mask.causal = true }), 1, 2),
                              AG_SHAPE(4, 4));
    x = ag_scope_end(ctx, ag_concat((ag_tensor *[]){ ag_gelu(o), ag_slice(o, 0, 0, 2, 1) }, 2, 0));
    ag_tensor *y = ag_softmax(ag_matmul(x, ag_transpose(table, 0, 1)), 0);
    ag_tensor *target = ag_from_data(ctx, AG_I32, AG_SHAPE(6), (const int32_t[]){ 0, 1, 2, 0, 1, 2 });
    ag_tensor *spread = ag_mean(ag_var(ag_max(x, AG_DIMS(0), true), AG_DIMS(1), 1, false), AG_ALL_DIMS, false);
    ag_tensor *loss = ag_scope_end(ctx, ag_add(ag_cross_entropy(ag_dropout(y, 0.1), target), spread));
    ag_retain_grad(loss);
    ag_status status = ag_backward(tape, loss);
    ag_tape_end(tape);
    return status == AG_OK && ag_error(ctx) == AG_OK;
}

typedef struct parameters {
    ag_tensor *w, *b, *table;
} parameters;

static parameters make_parameters(ag_ctx *ctx)
{
    return (parameters){
        .w = ag_require_grad(ag_full(ctx, AG_F32, AG_SHAPE(4, 4), 0.3)),
        .b = ag_require_grad(ag_arange(ctx, AG_F32, 0, 0.1, 4)),
        .table = ag_require_grad(ag_reshape(ag_arange(ctx, AG_F32, -1, 0.2, 12), AG_SHAPE(3, 4))),
    };
}

static ag_tensor *half(ag_ctx *ctx, ag_tensor *const *input, int count, void *user)
{
    const parameters *p = user;
    (void)ctx, (void)count;
    return ag_add(ag_dropout(ag_gelu(ag_linear(input[0], p->w, p->b)), 0.1), input[0]);
}

/* The same with recomputation, anomalies looked for, and a gradient apart before the others. */
static bool lean_step(ag_ctx *ctx, ag_tensor *w, ag_tensor *b, ag_tensor *table)
{
    parameters p = { w, b, table };
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tape_detect_anomalies(tape);
    ag_scope_begin(ctx, "model");
    ag_tensor *index = ag_from_data(ctx, AG_I32, AG_SHAPE(4), (const int32_t[]){ 0, 2, 1, 2 });
    ag_tensor *x = ag_embedding(table, index), *y = ag_recompute(ctx, half, &x, 1, &p), *grad = table;
    y = ag_recompute(ctx, half, &y, 1, &p);
    ag_tensor *loss = ag_scope_end(ctx, ag_mean(ag_mul(y, y), AG_ALL_DIMS, false));
    ag_status status = ag_gradient(tape, loss, NULL, &w, 1, &grad);
    ck_assert(loss == NULL || (grad != NULL && grad != table) == (status == AG_OK));
    if (status == AG_OK)
        status = ag_backward(tape, loss);
    ag_tape_end(tape);
    return status == AG_OK && ag_error(ctx) == AG_OK;
}

static bool (*const steps[])(ag_ctx *ctx, ag_tensor *w, ag_tensor *b, ag_tensor *table) = { step, lean_step };

START_TEST(a_second_step_needs_no_new_memory)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    parameters p = make_parameters(ctx);
    ck_assert_msg(steps[_i](ctx, p.w, p.b, p.table), "%s", ag_error_message(ctx));
    ck_assert(steps[_i](ctx, p.w, p.b, p.table)); /* the first with old gradients to add to */
    int64_t calls = h.calls;
    for (int i = 0; i < 5; i++)
        ck_assert(steps[_i](ctx, p.w, p.b, p.table));
    ck_assert_int_eq(h.calls, calls);
    test_end(ctx);
    ck_assert_int_eq(h.live, 0);
}
END_TEST

START_TEST(a_context_that_can_not_be_had)
{
    heap whole = { 0 };
    ag_ctx *ctx = heap_ctx(&whole);
    test_end(ctx);
    for (int64_t n = 0; n < whole.calls; n++) {
        heap h = { .fail_from = n, .fail_count = 2 };
        ctx = heap_ctx(&h);
        ck_assert_ptr_null(ctx);
        ck_assert_int_eq(h.live, 0);
    }
}
END_TEST

/* Every call of the allocator fails in turn, with its second try (fail_count 2) or with all that follow: each time
 * an error or a good result, no gradient half done, nothing lost. */
START_TEST(every_allocation_fails_in_turn)
{
    const int64_t fail_count = _i % 2 == 0 ? 2 : INT64_MAX / 2;
    int64_t errors = 0;
    bool good = false;
    for (int64_t n = 0; !good; n++) {
        heap h = { .fail_from = INT64_MAX / 4 };
        ag_ctx *ctx = heap_ctx(&h);
        parameters p = make_parameters(ctx);
        ag_ctx_trim(ctx);
        int64_t start = h.calls;
        h.fail_from = start + n;
        h.fail_count = fail_count;
        good = steps[_i / 2](ctx, p.w, p.b, p.table);
        h.fail_count = 0;
        if (!good) {
            errors++;
            ck_assert_ptr_null(ag_grad(p.w));
            ck_assert_ptr_null(ag_grad(p.b));
            ck_assert_ptr_null(ag_grad(p.table));
            ck_assert_str_eq(ag_module_path(ctx), "");
            assert_error(ctx, AG_ERR_MEMORY, "memory: ");
            ck_assert_msg(steps[_i / 2](ctx, p.w, p.b, p.table), "not usable after call %lld failed: %s", (long long)n,
                          ag_error_message(ctx)); /* and the context works on */
        } else {
            ck_assert(h.calls <= start + n); /* the last round had nothing left to fail */
        }
        for (int64_t i = 0; i < 16; i++)
            ck_assert_double_eq(test_at(p.w, i), (double)(float)0.3);
        test_end(ctx);
        ck_assert_int_eq(h.live, 0);
    }
    ck_assert_int_gt(errors, 20);
}
END_TEST

/* Scopes that there is no memory for are still ended one by one; their tensors go to the scope around them. */
START_TEST(lost_scopes)
{
    heap h = { 0 };
    ag_ctx *ctx = heap_ctx(&h);
    ag_tensor *kept = NULL;
    ag_ctx_trim(ctx);
    h.fail_from = h.calls;
    h.fail_count = INT64_MAX / 2;
    for (int i = 0; i < 300; i++)
        ag_scope_begin(ctx, NULL);
    assert_error(ctx, AG_ERR_MEMORY, "memory: ");
    h.fail_count = 0;
    ck_assert_int_eq(ag_scope_depth(ctx), 301);
    ag_scope_begin(ctx, "lost too");
    kept = ag_scope_end(ctx, ag_full(ctx, AG_F32, AG_SHAPE(2), 5));
    for (int i = 0; i < 200; i++)
        ck_assert_ptr_eq(ag_scope_end(ctx, kept), kept);
    assert_values(kept, 0, 5.0, 5.0);
    for (int i = 0; i < 100; i++)
        ag_scope_end(ctx, NULL);
    ck_assert_int_eq(ag_scope_depth(ctx), 1);
    ag_scope_begin(ctx, "again");
    ck_assert_str_eq(ag_module_path(ctx), "again");
    ag_scope_end(ctx, NULL);
    test_end(ctx);
    ck_assert_int_eq(h.live, 0);
}
END_TEST

static void of_square(ag_ctx *ctx, ag_tensor *const *x, ag_tensor **y, void *user)
{
    (void)ctx, (void)user;
    y[0] = ag_mul(x[0], x[0]);
}

START_TEST(gradcheck_without_memory)
{
    ag_verdict verdict = AG_FAIL;
    for (int64_t n = 0; verdict != AG_PASS; n++) {
        heap h = { .fail_from = INT64_MAX / 4 };
        ag_ctx *ctx = heap_ctx(&h);
        ag_tensor *x = ag_require_grad(ag_arange(ctx, AG_F64, 1, 1, 3));
        ag_ctx_trim(ctx);
        h.fail_from = h.calls + n;
        h.fail_count = INT64_MAX / 2;
        verdict = ag_gradcheck(ctx, of_square, &x, 1, NULL, (ag_gradcheck_config){ 0 }).verdict;
        if (verdict != AG_PASS)
            assert_error(ctx, AG_ERR_MEMORY, "memory: ");
        h.fail_count = 0;
        assert_values(x, 0, 1.0, 2.0, 3.0);
        ck_assert_ptr_null(ag_grad(x));
        test_end(ctx);
        ck_assert_int_eq(h.live, 0);
    }
}
END_TEST

Suite *memory_suite(void)
{
    Suite *suite = suite_create("memory");
    TCase *blocks = tcase_create("blocks");
    tcase_set_timeout(blocks, 60);
    tcase_add_test(blocks, blocks_are_large_enough_and_aligned);
    tcase_add_test(blocks, little_is_wasted);
    tcase_add_test(blocks, blocks_do_not_overlap);
    tcase_add_test(blocks, sizes_that_can_not_be_had);
    tcase_add_test(blocks, peak_and_trim);
    tcase_add_test(blocks, the_cache_gives_way);
    tcase_add_test(blocks, arrays_grow);
    tcase_add_test(blocks, interned_texts);
    suite_add_tcase(suite, blocks);
    TCase *training = tcase_create("training");
    tcase_set_timeout(training, 120);
    tcase_add_loop_test(training, a_second_step_needs_no_new_memory, 0, 2);
    tcase_add_test(training, a_context_that_can_not_be_had);
    tcase_add_loop_test(training, every_allocation_fails_in_turn, 0, 4);
    tcase_add_test(training, lost_scopes);
    tcase_add_test(training, gradcheck_without_memory);
    suite_add_tcase(suite, training);
    return suite;
}
