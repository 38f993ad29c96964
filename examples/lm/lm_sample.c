/* SPDX-License-Identifier: MIT
 *
 * lm_sample.c - `lm sample`: continues a prompt with a trained model.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_run.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

static const char about_sample[] = "Continues a prompt with a model that `lm train` wrote. Text goes to stdout.";

/* What `lm sample` does after its options are read. */
static int write_sample(lm_model *model, const char *path, const char *prompt, uint64_t tokens, uint64_t seed,
                        const sampling *how)
{
    bool good = model_load(model, path);
    int64_t count = 0;
    int32_t *token = !good ? NULL : vocab_encode_said(&model->vocab, "the prompt", (const unsigned char *)prompt,
                                                      (int64_t)strlen(prompt), &count);
    good = token != NULL;
    if (good && count == 0)
        token[count++] = vocab_start(&model->vocab);
    if (good) {
        ag_rng_set(model->ctx, (ag_rng){ .seed = seed }); /* not the state at the end of training */
        fputs(prompt, stdout);
        good = model_write(model, token, count, (int64_t)tokens, how, stdout);
        putchar('\n');
    }
    free(token);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int lm_sample_command(int argc, char **argv)
{
    char path[RUN_PATH];
    const char *where = "", *prompt = "";
    uint64_t tokens = 500, top_k = 0, seed = 1, threads = 0;
    sampling how = { .temperature = 0.8, .top_p = 1 };
    const option options[] = {
        { "--model", OPTION_TEXT, &where, "RUN",
          "a run's folder, whose best model is taken, or a model file [the newest run in runs/]" },
        { "--prompt", OPTION_PROSE, &prompt, "TEXT", "text to continue [none: the beginning of a line]" },
        { "--tokens", OPTION_NUMBER, &tokens, "N", "number of tokens to write, at most 10^9 [500]" },
        { "--temperature", OPTION_REAL, &how.temperature, "X", "at least 0; 0: always the likeliest token [0.8]" },
        { "--top-k", OPTION_NUMBER, &top_k, "N", "draw from the N likeliest tokens, 0: all [0]" },
        { "--top-p", OPTION_REAL, &how.top_p, "P", "draw from the likeliest that together reach P, 0 < P <= 1 [1]" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of the drawing [1]" },
        { "--threads", OPTION_NUMBER, &threads, "N", "0: all cores [0]" },
    };
    int status = options_read("lm sample", about_sample, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    if (!sampling_in_range("lm sample", &how))
        return OPTIONS_WRONG;
    if (tokens > 1000000000) {
        fprintf(stderr, "lm sample: --tokens is %llu, must be at most 1000000000\n", (unsigned long long)tokens);
        return OPTIONS_WRONG;
    }
    how.top_k = top_k > INT64_MAX ? 0 : (int64_t)top_k;
    if (!run_model(where, path))
        return EXIT_FAILURE;
    lm_model model = { .ctx = program_context("lm sample", seed, threads) };
    if (model.ctx == NULL)
        return EXIT_FAILURE;
    status = write_sample(&model, path, prompt, tokens, seed, &how);
    model_free(&model);
    ag_ctx_free(model.ctx);
    return status;
}
