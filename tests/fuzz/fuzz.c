/* SPDX-License-Identifier: MIT
 *
 * fuzz.c - see fuzz.h.
 */
#include "tests/fuzz/fuzz.h"

#include <sanitizer/allocator_interface.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void fuzz_demand(bool holds)
{
    if (!holds)
        abort();
}

/* ---- One input, its memory and its time ---- */

/* Of the input that runs; and of all inputs so far. */
static struct {
    bool runs;
    size_t bytes, peak;
    size_t largest, largest_of; /* peak, and the size of its input */
    double slowest;             /* seconds of processor time */
} spent;

static void count_malloc(const volatile void *block, size_t size)
{
    (void)block;
    if (!spent.runs)
        return;
    spent.bytes += size;
    spent.peak = spent.bytes > spent.peak ? spent.bytes : spent.peak;
}

static void count_free(const volatile void *block)
{
    if (spent.runs && block != NULL)
        spent.bytes -= __sanitizer_get_allocated_size(block);
}

static FILE *out; /* the stderr that libFuzzer has, which -close_fd_mask keeps from the target */

static void report(void)
{
    fprintf(out, "stat::largest_memory_bytes:      %zu of an input of %zu\n", spent.largest, spent.largest_of);
    fprintf(out, "stat::slowest_input_seconds:     %.3f\n", spent.slowest);
    fflush(out);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    out = fdopen(dup(STDERR_FILENO), "w");
    fuzz_demand(out != NULL && atexit(report) == 0);
    fuzz_demand(__sanitizer_install_malloc_and_free_hooks(count_malloc, count_free) != 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    spent.bytes = spent.peak = 0;
    spent.runs = true;
    const clock_t began = clock();
    fuzz_input(data, size);
    const double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    spent.runs = false;
    fuzz_demand(spent.peak <= FUZZ_MEMORY + FUZZ_MEMORY_PER_BYTE * size && seconds < FUZZ_SECONDS);
    if (spent.peak > spent.largest) {
        spent.largest = spent.peak;
        spent.largest_of = size;
    }
    spent.slowest = seconds > spent.slowest ? seconds : spent.slowest;
    return 0;
}

ag_ctx *fuzz_begin(void)
{
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .isa = "baseline", .threads = 1 });
    fuzz_demand(ctx != NULL);
    return ctx;
}

void fuzz_end(ag_ctx *ctx)
{
    fuzz_demand(ag_ctx_free(ctx) == 0);
}

const char *fuzz_file(int which, const void *bytes, size_t size)
{
    static char path[2][64];
    snprintf(path[which], sizeof path[which], "build/fuzz.%ld.%d", (long)getpid(), which);
    FILE *file = fopen(path[which], "wb");
    fuzz_demand(file != NULL && fwrite(bytes, 1, size, file) == size && fclose(file) == 0);
    return path[which];
}

/* ---- Fields of a text ---- */

typedef struct field {
    size_t begin, end;
} field;

/* The field behind a place drawn at random: the last one where there is none behind it. */
static field field_at(const uint8_t *data, size_t size, const char *separators, size_t at)
{
    field f = { size, size };
    while (at < size && strchr(separators, data[at]) != NULL && data[at] != '\0')
        at++;
    for (f.begin = at; f.begin > 0 && (data[f.begin - 1] == '\0' || !strchr(separators, data[f.begin - 1])); f.begin--)
        ;
    for (f.end = at; f.end < size && (data[f.end] == '\0' || !strchr(separators, data[f.end])); f.end++)
        ;
    return f;
}

/* data[begin .. end] becomes text[length]. Returns the new size; 0: it does not fit. */
static size_t replaced(uint8_t *data, size_t size, size_t max_size, field f, const void *text, size_t length)
{
    size_t grown = size - (f.end - f.begin) + length;
    if (grown > max_size || grown == 0)
        return 0;
    memmove(data + f.begin + length, data + f.end, size - f.end);
    memcpy(data + f.begin, text, length);
    return grown;
}

size_t fuzz_mutate_field(uint8_t *data, size_t size, size_t max_size, unsigned seed, const char *separators,
                         const char *const *words)
{
    enum { LONGEST = 256 };
    char text[2 * LONGEST + 1];
    uint64_t random = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    const unsigned way = (unsigned)(random >> 60);
    if (size == 0 || way < 4)
        return LLVMFuzzerMutate(data, size, max_size);
    const field f = field_at(data, size, separators, (size_t)(random >> 8) % size);
    size_t length = f.end - f.begin, grown = 0;
    if (way < 6) { /* out, or twice with the separator before it between */
        if (way == 5 && length < LONGEST) {
            memcpy(text, data + f.begin, length);
            text[length] = f.begin > 0 ? (char)data[f.begin - 1] : *separators;
            memcpy(text + length + 1, data + f.begin, length);
        }
        grown = replaced(data, size, max_size, f, text, way == 5 && length < LONGEST ? 2 * length + 1 : 0);
    } else if (way < 9) { /* another one */
        const field other = field_at(data, size, separators, (size_t)(random >> 32) % size);
        length = other.end - other.begin < LONGEST ? other.end - other.begin : LONGEST;
        memcpy(text, data + other.begin, length);
        grown = replaced(data, size, max_size, f, text, length);
    } else {
        size_t count = 0;
        while (words[count] != NULL)
            count++;
        const char *word = words[(random >> 32) % count];
        grown = replaced(data, size, max_size, f, word, strlen(word));
    }
    return grown > 0 ? grown : LLVMFuzzerMutate(data, size, max_size);
}

size_t fuzz_mutate_json(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const words[] = {
        "0", "1", "2", "3", "7", "-1", "-0", "0.5", "1e308", "1e999", "1e-320", "2147483647", "2147483648",
        "4294967296", "9223372036854775807", "9223372036854775808", "18446744073709551616", "true", "false", "null",
        "\"\"", "\"a\"", "\"\\ud83d\\ude00\"", "\"\\u0000\"", "[]", "{}", "[1,2]", "[0,0]", "[[[[]]]]", "\"F32\"",
        "\"F64\"", "\"BF16\"", "\"F16\"", "\"I64\"", "\"BOOL\"", "\"gpt2\"", "\"llama\"", "\"mistral\"", "\"bert\"",
        "\"gelu_new\"", "\"silu\"", "\"data_offsets\"", "\"shape\"", "\"dtype\"", "\"__metadata__\"",
        "\"model_type\"", "{\"rope_type\":\"yarn\"}", "}", "]", ",", ":", "{", "[", NULL,
    };
    return fuzz_mutate_field(data, size, max_size, seed, "{}[],: \n\t\r", words);
}

/* ---- Safetensors ---- */

size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    uint64_t header = 0;
    for (size_t i = 0; i < 8 && size >= 8; i++)
        header |= (uint64_t)data[i] << (8 * i);
    if (size < 8 || header > size - 8 || seed % 16 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    size_t text = (size_t)header, rest = size - 8 - text;
    if (seed % 4 == 1) /* the data */
        return 8 + text + LLVMFuzzerMutate(data + 8 + text, rest, max_size - 8 - text);
    uint8_t *copy = malloc(rest + 1);
    if (copy == NULL)
        return size;
    memcpy(copy, data + 8 + text, rest);
    size_t grown = fuzz_mutate_json(data + 8, text, max_size - 8 - rest, seed / 16);
    memcpy(data + 8 + grown, copy, rest);
    free(copy);
    for (size_t i = 0; i < 8; i++)
        data[i] = (uint8_t)((uint64_t)grown >> (8 * i));
    return 8 + grown + rest;
}
