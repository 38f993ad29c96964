/* SPDX-License-Identifier: MIT
 *
 * pages.h - a context's memory in pages of 2 MB, where the system has them for the asking (Linux): fewer addresses to
 * look up, and the processor reads ahead further. A model that is read from memory for each token is a fifth faster.
 */
#ifndef EXAMPLES_PAGES_H
#define EXAMPLES_PAGES_H

#include "attngrad.h"

/* For the contexts of one thread. Blocks of 64 kB and more lie together in regions of such pages, smaller ones are
 * malloc's. {0}, which is malloc and free, where there are no such pages, and with the address sanitizer, which watches
 * each block by itself. */
extern const ag_allocator pages_allocator;

#endif
