/* SPDX-License-Identifier: MIT
 *
 * lm_sample.c - `lm sample`: continues prompts with a trained model.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_model.h"
#include "examples/lm/lm_text.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <stdlib.h>
#include <string.h>

static const char about_sample[] =
    "Continues prompts with a model of lm train. The text goes to stdout as it is written, in whole characters.";

typedef struct asked {
    const char *model, *prompt, *file; /* file NULL: the prompt */
    bool interactive;
    uint64_t tokens, samples, top_k, seed, threads;
    sampling how;
} asked;

/* Writes a->samples continuations of one prompt, whose byte order mark is removed. */
static bool write_samples(lm_model *model, const asked *a, const char *prompt, int64_t length)
{
    int64_t count = 0, mark = model->vocab.kind == TOKENS_BYTE ? 0 : text_mark_size("the prompt", prompt, length);
    if (mark < 0)
        return false;
    prompt += mark;
    length -= mark;
    int32_t *token = vocab_encode_said(&model->vocab, "the prompt", (const unsigned char *)prompt, length, &count);
    bool good = token != NULL;
    if (good && count == 0)
        token[count++] = vocab_start(&model->vocab);
    for (uint64_t i = 0; i < a->samples && good; i++) {
        if (i > 0)
            puts("---");
        fwrite(prompt, 1, (size_t)length, stdout);
        good = model_write(model, token, count, (int64_t)a->tokens, &a->how, stdout);
        putchar('\n');
    }
    free(token);
    return good;
}

/* A prompt per line of stdin, until it ends. */
static bool converse(lm_model *model, const asked *a)
{
    for (;;) {
        int64_t length;
        if (system_is_terminal(stdin)) {
            fputs("> ", stderr);
            fflush(stderr);
        }
        char *prompt = program_read("lm sample", stdin, "standard input", true, &length);
        const bool good = prompt != NULL;
        if (length >= 0)
            write_samples(model, a, prompt, length); /* a prompt that does not fit is explained: the next may */
        free(prompt);
        fflush(stdout);
        if (length < 0 || ag_error(model->ctx) != AG_OK)
            return good && ag_error(model->ctx) == AG_OK;
    }
}

static bool from_file(lm_model *model, const asked *a)
{
    bool standard = strcmp(a->file, "-") == 0;
    int64_t length;
    FILE *file = standard ? stdin : program_open("lm sample", a->file, "rb");
    if (file == NULL)
        return false;
    char *prompt = program_read("lm sample", file, standard ? "standard input" : a->file, false, &length);
    if (length > 0 && prompt[length - 1] == '\n')
        length--;
    bool good = prompt != NULL && write_samples(model, a, prompt, length);
    free(prompt);
    if (!standard)
        fclose(file);
    return good;
}

static bool sample(lm_model *model, const asked *a)
{
    ag_rng_set(model->ctx, (ag_rng){ .seed = a->seed }); /* not the state at the end of training */
    return a->interactive ? converse(model, a)
           : a->file != NULL ? from_file(model, a) : write_samples(model, a, a->prompt, (int64_t)strlen(a->prompt));
}

int lm_sample_command(int argc, char **argv)
{
    static const double most = 1e9;
    asked a = { .model = "", .prompt = "", .tokens = 500, .samples = 1, .seed = 1,
                .how = { .temperature = 0.8, .top_p = 1, .repetition = 1 } };
    const option options[] = {
        { "--model", OPTION_TEXT, &a.model, "FILE", "the model, or a run's folder [the newest run's best]" },
        { "--prompt", OPTION_PROSE, &a.prompt, "TEXT", "text to continue [none: the beginning of a line]" },
        { "--prompt-file", OPTION_TEXT, &a.file, "FILE", "text to continue, without its last line's end; -: stdin" },
        { "--interactive", OPTION_FLAG, &a.interactive, NULL, "continue every line of stdin" },
        { "--samples", OPTION_NUMBER, &a.samples, "N", "continuations of a prompt, at least 1 [1]", 1, most },
        { "--tokens", OPTION_NUMBER, &a.tokens, "N", "number of tokens to write, at most 10^9 [500]", 0, most },
        { "--stop", OPTION_TEXT, &a.how.stop, "TEXT", "end before this text" },
        { "--temperature", OPTION_REAL, &a.how.temperature, "X", "at least 0; 0: always the likeliest token [0.8]" },
        { "--top-k", OPTION_NUMBER, &a.top_k, "N", "draw from the N likeliest tokens, 0: all [0]" },
        { "--top-p", OPTION_REAL, &a.how.top_p, "P", "draw from the likeliest that together reach P, 0 < P <= 1 [1]" },
        { "--min-p", OPTION_REAL, &a.how.min_p, "P",
          "draw from those of at least P times the probability of the likeliest, 0 <= P <= 1 [0]" },
        { "--repetition", OPTION_REAL, &a.how.repetition, "X",
          "divide the logits of tokens that came already, at least 1 [1]" },
        { "--seed", OPTION_NUMBER, &a.seed, "N", "seed of the drawing [1]" },
        { "--threads", OPTION_NUMBER, &a.threads, "N", "0: all cores [0]" },
        { "lm sample --prompt 'My dear' --samples 3 --stop '.'", OPTION_EXAMPLE, NULL, NULL, "three sentences" },
    };
    int status = options_read("lm sample", about_sample, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    if (!sampling_in_range("lm sample", &a.how))
        return OPTIONS_WRONG;
    a.how.top_k = a.top_k > INT64_MAX ? 0 : (int64_t)a.top_k;
    lm_model model;
    bool good = command_begin(&model, "lm sample", a.model, a.threads) && sample(&model, &a);
    return command_end(&model, good);
}
