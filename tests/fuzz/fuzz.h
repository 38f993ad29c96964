/* SPDX-License-Identifier: MIT
 *
 * fuzz.h - what the libFuzzer targets share: bounds of an input's memory and time, the input as a file, and mutations
 * of texts, JSON and safetensors files that keep their structure.
 *
 * `make fuzz seconds=N` runs every target for so long, from the files of tests/fixtures (seeds.sh).
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include "attngrad.h"

#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* What a target does with an input. fuzz.c ends the program when memory or time is more than the input justifies: the
 * peak of what is allocated meanwhile, and processor time, which no other program lengthens. */
void fuzz_input(const uint8_t *data, size_t size);
enum { FUZZ_MEMORY = 8 << 20, FUZZ_MEMORY_PER_BYTE = 256, FUZZ_SECONDS = 1 };

ag_ctx *fuzz_begin(void);
void fuzz_end(ag_ctx *ctx); /* ends the program when a tensor is held */

/* Writes a file; its path, valid until the next call with this `which`, 0 or 1. */
const char *fuzz_file(int which, const void *bytes, size_t size);

/* Replaces one field of a text by a word of words[], NULL-terminated, or by another of its fields; now and then takes
 * it out, lets it stand twice, or mutates bytes. A field is what stands between bytes of `separators`. */
size_t fuzz_mutate_field(uint8_t *data, size_t size, size_t max_size, unsigned seed, const char *separators,
                         const char *const *words);
size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Mutates a safetensors file: its header's text or its data, and mostly puts the header's size right again. */
size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Ends the program unless it holds. */
void fuzz_demand(bool holds);

#endif
