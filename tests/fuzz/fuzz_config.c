/* SPDX-License-Identifier: MIT
 *
 * fuzz_config.c - a libFuzzer target: the input as the config.json of a run of `lm`. Settings that are read are written
 * and read again as they were.
 */
#include "tests/fuzz/fuzz.h"

#include "examples/lm/lm_train.h"
#include "examples/shared/config.h"

#include <stdlib.h>
#include <string.h>

/* The settings that a text of `size` bytes gives, as a text to be freed; NULL: it is refused. */
static char *read_and_write(const char *given, size_t size)
{
    train_options o = { .lr = 0.004, .weight_decay = 0.2 }; /* chosen, as they are in a run */
    option settings[SETTINGS_MOST];
    const int count = train_settings(&o, settings);
    char *text = malloc(size + 1), *written = NULL;
    if (text == NULL)
        return NULL;
    memcpy(text, given, size);
    text[size] = '\0';
    if (config_apply("fuzz", "input", text, size, settings, count))
        written = config_text(settings, count);
    free(o.files.word);
    free(text);
    return written;
}

void fuzz_input(const uint8_t *data, size_t size)
{
    char *once = read_and_write((const char *)data, size);
    char *twice = once == NULL ? NULL : read_and_write(once, strlen(once));
    fuzz_demand(once == NULL || (twice != NULL && strcmp(once, twice) == 0));
    free(once);
    free(twice);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const words[] = {
        "\"files\"", "\"val\"", "\"from\"", "\"level\"", "\"vocab\"", "\"steps\"", "\"lr\"", "\"ff\"", "\"qk-norm\"",
        "\"dropout\"", "\"window\"", "\"warmup\"", "\"char\"", "\"bpe\"", "\"swiglu\"", "[\"a\",\"b\"]", "[]", "[\"\"]",
        "\"\"", "\"\\u0000\"", "\"\\ud83d\\ude00\"", "\"\\udcff\"", "\"\\ud800\"", "\"\xff\"", "true", "false", "null",
        "0", "-0", "1", "257", "65536", "1e9", "1e308", "1e999", "0.1", "5e-324", "18446744073709551615", "nan", "0x10",
        "{", "}", "[", "]", ",", ":", NULL,
    };
    return fuzz_mutate_field(data, size, max_size, seed, "{}[],: \n\t\r", words);
}
