/* SPDX-License-Identifier: MIT
 *
 * fuzz_tokens.c - a libFuzzer target: the input on standard input, as lines of token ids.
 */
#include "tests/fuzz/fuzz.h"

#include "examples/shared/pretrained_model.h"

void fuzz_input(const uint8_t *data, size_t size)
{
    fuzz_demand(freopen(fuzz_file(0, data, size), "rb", stdin) != NULL);
    token_lines lines;
    if (!token_lines_read(&lines, "fuzz", NULL))
        return;
    fuzz_demand(lines.count > 0 && lines.longest > 0);
    for (int64_t i = 0; i < lines.count; i++) {
        int64_t length = lines.first[i + 1] - lines.first[i];
        fuzz_demand(length > 0 && length <= lines.longest);
        for (int64_t k = lines.first[i]; k < lines.first[i + 1]; k++)
            fuzz_demand(lines.token[k] >= 0);
    }
    token_lines_free(&lines);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const char *const words[] = {
        "0", "-1", "+1", "007", "2147483647", "2147483648", "9223372036854775808", "1.0", "1e3", "0x1", "a", "[1]",
        "1-2", "\n", "\r\n", ",", ",,", "\xef\xbb\xbf", "\xff\xfe", "\xc2\xa0", NULL,
    };
    return fuzz_mutate_field(data, size, max_size, seed, " ,\t\r\n", words);
}
