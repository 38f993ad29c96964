/* SPDX-License-Identifier: MIT
 *
 * pages.h - a context's memory in pages of 2 MB, which Linux gives a program that asks. The processor translates
 * fewer addresses and reads further ahead: generation by a model that no cache holds takes a seventh less time.
 */
#ifndef EXAMPLES_PAGES_H
#define EXAMPLES_PAGES_H

#include "attngrad.h"

/* For the contexts of one thread. Blocks of 64 kB and more lie together in regions of such pages, smaller ones are
 * malloc's. {0}, which is malloc and free, where there are no such pages, and with the address sanitizer, which watches
 * each block by itself. */
extern const ag_allocator pages_allocator;

#endif
