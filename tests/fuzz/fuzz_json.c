/* SPDX-License-Identifier: MIT
 *
 * fuzz_json.c - a libFuzzer target: reads the input as JSON, value by value, and what is written of it again.
 */
#include "tests/fuzz/fuzz.h"

#include "tensor/files/json.h"

#include <stdlib.h>
#include <string.h>

/* Reads any value; objects and arrays at most 16 deep, deeper ones are skipped. */
static bool read_value(ag_json *json, int depth)
{
    double real;
    bool flag;
    int next = ag_json_peek(json);
    if (depth == 16)
        return ag_json_skip(json);
    if (next == '"') {
        const char *text = ag_json_string(json);
        char out[4096], shown[AG_SHOWN_BYTES];
        if (text == NULL)
            return false;
        fuzz_demand(strlen(ag_shown_text(shown, text)) < AG_SHOWN_BYTES);
        ag_json_out written = { .text = out, .capacity = sizeof out };
        ag_json_put_string(&written, text);
        if (written.length < sizeof out) {
            ag_json again = ag_json_of(out, written.length);
            const char *same = ag_json_string(&again);
            fuzz_demand(same != NULL && strcmp(same, text) == 0);
        }
        return true;
    }
    if (next == 't' || next == 'f')
        return ag_json_bool(json, &flag);
    if (next != '{' && next != '[')
        return ag_json_null(json) || ag_json_real(json, &real);
    bool good = ag_json_begin(json, (char)next);
    while (good && ag_json_next(json, next == '{' ? '}' : ']'))
        good = (next == '[' || ag_json_key(json) != NULL) && read_value(json, depth + 1);
    return good && json->error == NULL;
}

void fuzz_input(const uint8_t *data, size_t size)
{
    for (int skip = 0; skip < 2; skip++) {
        char *text = malloc(size + 1);
        if (text == NULL)
            return;
        memcpy(text, data, size);
        ag_json json = ag_json_of(text, size);
        bool good = (skip == 1 ? ag_json_skip(&json) : read_value(&json, 0)) && ag_json_end(&json);
        fuzz_demand(good == (json.error == NULL) && json.at <= size);
        free(text);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    return fuzz_mutate_json(data, size, max_size, seed);
}
