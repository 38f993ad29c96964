/* SPDX-License-Identifier: MIT
 *
 * fuzz_options.c - a libFuzzer target: the lines of the input as a command line.
 */
#include "tests/fuzz/fuzz.h"

#include "examples/shared/options.h"

#include <stdlib.h>
#include <string.h>

enum { WORDS = 64 };

void fuzz_input(const uint8_t *data, size_t size)
{
    bool flag = false;
    const char *text = NULL, *prose = NULL, *maybe = NULL;
    uint64_t number = 0;
    double real = 0;
    option_words words = { 0 };
    const option options[] = {
        { "[WORD...]", OPTION_WORDS, &words, NULL, "words" },
        { "--flag", OPTION_FLAG, &flag, NULL, "a flag" },
        { "--text", OPTION_TEXT, &text, "TEXT", "not empty" },
        { "--prose", OPTION_PROSE, &prose, "TEXT", "may be empty" },
        { "--maybe", OPTION_TEXT, &maybe, "[TEXT]", "optional" },
        { "--number", OPTION_NUMBER, &number, "N", "whole" },
        { "--real", OPTION_REAL, &real, "X", "finite, not negative" },
    };
    char *line = malloc(size + 1), *argv[WORDS + 1] = { "fuzz" };
    if (line == NULL)
        return;
    memcpy(line, data, size);
    line[size] = '\0';
    int argc = 1;
    for (char *word = line; word != NULL && argc < WORDS; argc++) {
        argv[argc] = word;
        word = strchr(word, '\n');
        if (word != NULL)
            *word++ = '\0';
    }
    int status = options_read("fuzz", "about", options, (int)(sizeof options / sizeof *options), argc, argv);
    fuzz_demand(status == OPTIONS_RUN || status == OPTIONS_HELP_SHOWN || status == OPTIONS_WRONG);
    fuzz_demand((status != OPTIONS_RUN || real >= 0) && words.count < WORDS && (text == NULL || *text != '\0'));
    free(line);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const words[] = {
        "--flag", "--flag=1", "--no-flag", "--text", "--text=", "--text=a", "--prose", "--prose=", "--maybe",
        "--maybe=", "--number", "--number=", "--number=0", "--number=-1", "--number=18446744073709551616", "--real",
        "--real=1e999", "--real=-0", "--real=nan", "--real=0x1p3", "--real=1,5", "--", "-", "---", "--help", "-h",
        "--num", "--=", "=", "", "0", "1", "1e5", "1.", ".5", "inf", "word", "\xc3\xa9", NULL,
    };
    return fuzz_mutate_field(data, size, max_size, seed, "\n", words);
}
