/* SPDX-License-Identifier: MIT
 *
 * pages.c - see pages.h. A region begins at a multiple of its size, so that a block finds its region. A block is cut
 * from the fullest region with room for it behind its blocks; a region is freed with its last block. The context keeps
 * what it frees for its next tensors, so holes need no second use.
 */
#define _DEFAULT_SOURCE /* madvise */

#include "examples/shared/pages.h"

#include <stdint.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#ifdef __has_feature
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif

#if !defined MADV_HUGEPAGE || defined __SANITIZE_ADDRESS__ || HAS_FEATURE(address_sanitizer)

const ag_allocator pages_allocator = { NULL, NULL, NULL };

#else

enum { PAGE = 1 << 21, REGION = 1 << 24, LEAST = 1 << 16, MOST = REGION / 4, LINE = 64 };

typedef struct region {
    size_t used, blocks;
    struct region *older;
} region;

static region *newest;

static void *huge_pages(size_t alignment, size_t size)
{
    void *memory;
    if (posix_memalign(&memory, alignment, size) != 0)
        return NULL;
    madvise(memory, size, MADV_HUGEPAGE); /* where it is refused, the pages are small */
    return memory;
}

static void *cut(size_t size)
{
    size = (size + LINE - 1) / LINE * LINE;
    region *r = NULL;
    for (region *with = newest; with != NULL; with = with->older)
        if (REGION - with->used >= size && (r == NULL || with->used > r->used))
            r = with;
    if (r == NULL) {
        r = huge_pages(REGION, REGION);
        if (r == NULL)
            return NULL;
        *r = (region){ .used = LINE, .older = newest };
        newest = r;
    }
    void *block = (char *)r + r->used;
    r->used += size;
    r->blocks++;
    return block;
}

static void give_back(void *block)
{
    region *r = (region *)((uintptr_t)block / REGION * REGION);
    if (--r->blocks > 0)
        return;
    region **at = &newest;
    while (*at != r)
        at = &(*at)->older;
    *at = r->older;
    free(r);
}

static void *pages_alloc(void *user, size_t size)
{
    (void)user;
    return size < LEAST ? malloc(size) : size > MOST ? huge_pages(PAGE, size) : cut(size);
}

static void pages_free(void *user, void *block, size_t size)
{
    (void)user;
    if (size < LEAST || size > MOST)
        free(block);
    else
        give_back(block);
}

const ag_allocator pages_allocator = { pages_alloc, pages_free, NULL };

#endif
