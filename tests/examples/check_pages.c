/* SPDX-License-Identifier: MIT
 *
 * check_pages.c - the huge pages of examples/shared/pages.c: blocks of every size, taken and given back in any order,
 * keep what was written to them and go back to the system. Where the allocator is malloc, so is the test's.
 */
#include "tests/test.h"

#include "examples/shared/pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { KB = 1024, MB = 1024 * KB };

static void *heap_alloc(void *user, size_t size)
{
    (void)user;
    return malloc(size);
}

static void heap_free(void *user, void *block, size_t size)
{
    (void)user, (void)size;
    free(block);
}

static ag_allocator allocator(void)
{
    return pages_allocator.alloc != NULL ? pages_allocator : (ag_allocator){ heap_alloc, heap_free, NULL };
}

typedef struct taken {
    unsigned char *block, mark;
    size_t size;
} taken;

static void take(taken *t, size_t size, unsigned char mark)
{
    const ag_allocator a = allocator();
    *t = (taken){ a.alloc(a.user, size), mark, size };
    ck_assert_ptr_nonnull(t->block);
    ck_assert_uint_eq((uintptr_t)t->block % sizeof(double), 0);
    memset(t->block, mark, size);
}

static void give_back(taken *t)
{
    const ag_allocator a = allocator();
    size_t i = 0;
    while (i < t->size && t->block[i] == t->mark)
        i++;
    ck_assert_msg(i == t->size, "byte %zu of a block of %zu bytes was overwritten", i, t->size);
    a.free(a.user, t->block, t->size);
    t->block = NULL;
}

START_TEST(blocks_keep_their_bytes)
{
    static const size_t sizes[] = { 1, 63, 64 * KB - 1, 64 * KB, 64 * KB + 1, 100 * KB, MB + 8, 3 * MB, 4 * MB - 64,
                                    4 * MB, 4 * MB + 1, 9 * MB };
    enum { SIZES = sizeof sizes / sizeof *sizes, SLOTS = 20, TURNS = 400 };
    taken slot[SLOTS] = { { NULL, 0, 0 } };
    uint32_t draw = 1;
    for (int i = 0; i < TURNS; i++) {
        draw = draw * 1664525 + 1013904223;
        taken *t = &slot[(draw >> 8) % SLOTS];
        if (t->block != NULL)
            give_back(t);
        take(t, sizes[(draw >> 20) % SIZES], (unsigned char)i);
    }
    for (int i = 0; i < SLOTS; i++)
        if (slot[i].block != NULL)
            give_back(&slot[i]);
}
END_TEST

START_TEST(blocks_lie_together)
{
    enum { BLOCKS = 100 };
    taken t[BLOCKS];
    uintptr_t first = UINTPTR_MAX, last = 0;
    for (int i = 0; i < BLOCKS; i++) {
        take(&t[i], 100 * KB, 1);
        first = (uintptr_t)t[i].block < first ? (uintptr_t)t[i].block : first;
        last = (uintptr_t)t[i].block > last ? (uintptr_t)t[i].block : last;
    }
    if (pages_allocator.alloc != NULL)
        ck_assert_uint_lt(last - first, 16 * MB);
    for (int i = 0; i < BLOCKS; i++)
        give_back(&t[i]);
}
END_TEST

/* The matrices of 30 layers of SmolLM2, in the order of its parts. */
START_TEST(regions_are_filled)
{
    static const size_t sizes[] = { 3670144, 1441920, 458880, 458880, 1441920, 3670144, 3670144 };
    enum { SIZES = sizeof sizes / sizeof *sizes, BLOCKS = 30 * SIZES, REGION = 16 * MB };
    const ag_allocator a = allocator();
    void *block[BLOCKS];
    size_t bytes = 0, regions = 0;
    for (int i = 0; i < BLOCKS; i++) {
        block[i] = a.alloc(a.user, sizes[i % SIZES]);
        ck_assert_ptr_nonnull(block[i]);
        bytes += sizes[i % SIZES];
        bool found = false;
        for (int k = 0; k < i && !found; k++)
            found = (uintptr_t)block[k] / REGION == (uintptr_t)block[i] / REGION;
        regions += !found;
    }
    if (pages_allocator.alloc != NULL)
        ck_assert_msg(regions * REGION < bytes * 1.08, "%zu regions of 16 MB for %zu bytes", regions, bytes);
    for (int i = 0; i < BLOCKS; i++)
        a.free(a.user, block[i], sizes[i % SIZES]);
}
END_TEST

START_TEST(memory_goes_back)
{
    enum { TURNS = 50, BLOCKS = 4 };
    struct rusage before, after;
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &before), 0);
    for (int i = 0; i < TURNS; i++) {
        taken t[BLOCKS];
        for (int k = 0; k < BLOCKS; k++)
            take(&t[k], 4 * MB, 1);
        for (int k = 0; k < BLOCKS; k++)
            give_back(&t[k]);
    }
    ck_assert_int_eq(getrusage(RUSAGE_SELF, &after), 0);
    if (pages_allocator.alloc != NULL)                                  /* the address sanitizer keeps some */
        ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 300 * KB); /* in kB: 300 MB, of 800 that were taken */
}
END_TEST

START_TEST(contexts_use_it)
{
    for (int turn = 0; turn < 2; turn++) {
        ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .allocator = pages_allocator });
        ag_tensor *x = ag_full(ctx, AG_F32, AG_SHAPE(300, 100), 1);
        double sum = 0;
        for (int i = 0; i < 20; i++)
            x = ag_add(x, ag_full(ctx, AG_F32, AG_SHAPE(300, 100), 1));
        ck_assert_int_eq(ag_item(ag_sum(x, 0, NULL, false), &sum), AG_OK);
        ck_assert(sum == 21 * 300 * 100);
        ck_assert_int_eq(ag_ctx_free(ctx), 0);
    }
}
END_TEST

Suite *pages_suite(void)
{
    Suite *suite = suite_create("pages");
    TCase *tcase = tcase_create("pages");
    tcase_add_test(tcase, blocks_keep_their_bytes);
    tcase_add_test(tcase, blocks_lie_together);
    tcase_add_test(tcase, regions_are_filled);
    tcase_add_test(tcase, memory_goes_back);
    tcase_add_test(tcase, contexts_use_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
