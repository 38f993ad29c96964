/* SPDX-License-Identifier: MIT
 *
 * lm_tokenize.c - `lm tokenize`: texts as token ids and back, for programs that read ids.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_text.h"
#include "examples/shared/options.h"
#include "examples/shared/pretrained_model.h"
#include "examples/shared/program.h"

#include <stdlib.h>

static const char about_tokenize[] =
    "Reads a text from stdin and writes its token ids in one line, or, with --decode, reads ids and writes their text. "
    "Without --lines the ends of lines are tokens too.";

static bool write_ids(const vocab *v, bool lines)
{
    int64_t length, count;
    bool good = true;
    do {
        char *text = program_read("lm tokenize", stdin, "standard input", lines, &length);
        const int64_t mark = length < 0 || v->kind == TOKENS_BYTE ? 0 : text_mark_size("the text", text, length);
        int32_t *token = length < 0 || mark < 0
                             ? NULL
                             : vocab_encode_said(v, "the text", (unsigned char *)text + mark, length - mark, &count);
        good = token != NULL || (lines && length < 0 && text != NULL);
        for (int64_t i = 0; token != NULL && i < count; i++)
            printf(i == 0 ? "%d" : " %d", (int)token[i]);
        if (token != NULL)
            putchar('\n');
        free(text);
        free(token);
    } while (good && lines && length >= 0);
    return good;
}

static bool write_texts(const vocab *v)
{
    token_lines ids;
    if (!token_lines_read(&ids, "lm tokenize", NULL))
        return false;
    bool good = true;
    for (int64_t i = 0; i < ids.first[ids.count] && good; i++) {
        unsigned char space[UTF8_BYTES];
        int64_t length;
        good = ids.token[i] < v->size;
        if (good) {
            const unsigned char *bytes = vocab_bytes(v, ids.token[i], space, &length);
            fwrite(bytes, 1, (size_t)length, stdout);
        } else {
            fprintf(stderr, "lm tokenize: %d is no token, they are 0 to %d\n", (int)ids.token[i], (int)v->size - 1);
        }
    }
    token_lines_free(&ids);
    return good;
}

int lm_tokenize_command(int argc, char **argv)
{
    const char *where = "";
    bool decode = false, lines = false;
    const option options[] = {
        { "--model", OPTION_TEXT, &where, "FILE", "the model, or a run's folder [the newest run's best]" },
        { "--decode", OPTION_FLAG, &decode, NULL, "from ids to text" },
        { "--lines", OPTION_FLAG, &lines, NULL, "each line of the text is a text of its own" },
        { "lm tokenize <notes.txt | lm tokenize --decode", OPTION_EXAMPLE, NULL, NULL, "writes the notes again" },
    };
    int status = options_read("lm tokenize", about_tokenize, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    lm_model model;
    bool good = command_begin(&model, "lm tokenize", where, 1) &&
                (decode ? write_texts(&model.vocab) : write_ids(&model.vocab, lines));
    return command_end(&model, good);
}
