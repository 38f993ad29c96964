/* SPDX-License-Identifier: MIT
 *
 * lm.c - a toy causal language model: `lm train` trains on a text, `lm sample` continues a prompt.
 */
#include "examples/lm/lm_train.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

static const char about_train[] =
    "Trains a causal language model on a text and prints samples during training. Progress goes to stderr, samples to "
    "stdout, log.csv and model.safetensors to the --out folder. Ctrl-C stops and saves.";

static const char about_sample[] = "Continues a prompt with a model that `lm train` wrote. Text goes to stdout.";

static int usage(FILE *file, int status)
{
    program_streams("lm");
    fprintf(file, "usage: lm train [options]     train a model; see lm train --help\n"
                  "       lm sample [options]    write with it; see lm sample --help\n");
    return status;
}

/* The index of an option's text among count words; -1 after an error message. */
static int choice(const char *program, const char *name, const char *text, const char *const *word, int count)
{
    for (int i = 0; i < count; i++)
        if (strcmp(text, word[i]) == 0)
            return i;
    fprintf(stderr, "%s: %s is '%s', must be one of:", program, name, text);
    for (int i = 0; i < count; i++)
        fprintf(stderr, " %s", word[i]);
    fputc('\n', stderr);
    return -1;
}

static int train(int argc, char **argv)
{
    train_options o = train_defaults();
    const char *level = "char", *optimizer = "adamw", *schedule = "cosine";
    const char *positions = position_word[0], *norm = norm_word[0], *feed_forward = feed_forward_word[0];
    const option options[] = {
        { "--data", OPTION_TEXT, &o.data, "FILE", "text to train on [the bundled novel]" },
        { "--level", OPTION_TEXT, &level, "L", "tokens: char or byte [char]" },
        { "--out", OPTION_TEXT, &o.out, "DIR", "folder for log.csv and model.safetensors [runs/lm]" },
        { "--resume", OPTION_TEXT, &o.resume, "FILE", "continue this checkpoint, with its model and optimizer" },
        { "--steps", OPTION_NUMBER, &o.steps, "N", "training steps, 1 to 10^9 [2400]" },
        { "--batch", OPTION_NUMBER, &o.batch, "N", "windows of text per step, at least 1 [16]" },
        { "--context", OPTION_NUMBER, &o.context, "N", "tokens per window, at least 1 [64]" },
        { "--layers", OPTION_NUMBER, &o.layers, "N", "blocks, at least 1 [4]" },
        { "--heads", OPTION_NUMBER, &o.heads, "N", "attention heads, at least 1 [4]" },
        { "--emb", OPTION_NUMBER, &o.emb, "N", "embedding size, a multiple of --heads [128]" },
        { "--positions", OPTION_TEXT, &positions, "P", "learned, sinusoidal, rotary, alibi or none [learned]" },
        { "--window", OPTION_NUMBER, &o.window, "N", "a token attends to the last N, itself included; 0: all [0]" },
        { "--kv-heads", OPTION_NUMBER, &o.kv_heads, "N", "key and value heads, a divisor of --heads; 0: as many [0]" },
        { "--qk-norm", OPTION_FLAG, &o.qk_norm, NULL, "apply RMS norm to queries and keys" },
        { "--norm", OPTION_TEXT, &norm, "N", "kind of norm, layer or rms [layer]" },
        { "--ff", OPTION_TEXT, &feed_forward, "F", "feed-forward: gelu, relu, silu, swiglu or geglu [gelu]" },
        { "--dropout", OPTION_REAL, &o.dropout, "P", "dropout probability, 0 <= P < 1 [0]" },
        { "--optimizer", OPTION_TEXT, &optimizer, "NAME", "adamw or sgd [adamw]" },
        { "--lr", OPTION_REAL, &o.lr, "X", "peak learning rate, above 0 [adamw 3e-3, sgd 0.1]" },
        { "--momentum", OPTION_REAL, &o.momentum, "X", "of sgd, 0 <= X < 1 [0.9]" },
        { "--weight-decay", OPTION_REAL, &o.weight_decay, "X", "at least 0 [adamw 0.1, sgd 0]" },
        { "--schedule", OPTION_TEXT, &schedule, "NAME", "of the learning rate: constant, linear or cosine [cosine]" },
        { "--warmup", OPTION_NUMBER, &o.warmup, "N", "steps of linear warm-up, 0: none [100]" },
        { "--clip", OPTION_REAL, &o.clip, "X", "largest gradient norm, 0: no limit [1]" },
        { "--report", OPTION_NUMBER, &o.report, "N", "steps between reports, at least 1 [100]" },
        { "--sample", OPTION_NUMBER, &o.sample, "N", "steps between samples, 0: only at the end [500]" },
        { "--threads", OPTION_NUMBER, &o.threads, "N", "0: all cores; results do not depend on it [0]" },
        { "--seed", OPTION_NUMBER, &o.seed, "N", "seed of initial weights and batches [1]" },
        { "--recompute", OPTION_FLAG, &o.recompute, NULL, "backward computes activations again: less memory" },
        { "--anomalies", OPTION_FLAG, &o.anomalies, NULL, "stop at the first NaN or infinity and name its source" },
        { "--profile", OPTION_FLAG, &o.profile, NULL, "print at the end where the time went; write profile.csv" },
    };
    int status = options_read("lm train", about_train, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    int which_level = choice("lm train", "--level", level, (const char *const[]){ "char", "byte" }, 2);
    int which_optimizer = choice("lm train", "--optimizer", optimizer, (const char *const[]){ "adamw", "sgd" }, 2);
    int which_schedule =
        choice("lm train", "--schedule", schedule, (const char *const[]){ "constant", "linear", "cosine" }, 3);
    o.kinds.positions = choice("lm train", "--positions", positions, position_word, POSITION_WORDS);
    o.kinds.norm = choice("lm train", "--norm", norm, norm_word, NORM_WORDS);
    o.kinds.feed_forward = choice("lm train", "--ff", feed_forward, feed_forward_word, FEED_FORWARD_WORDS);
    if (which_level < 0 || which_optimizer < 0 || which_schedule < 0 || o.kinds.positions < 0 || o.kinds.norm < 0 ||
        o.kinds.feed_forward < 0)
        return OPTIONS_WRONG;
    o.bytes = which_level == 1;
    o.sgd = which_optimizer == 1;
    o.schedule = which_schedule == 0 ? AG_LR_CONSTANT : which_schedule == 1 ? AG_LR_LINEAR : AG_LR_COSINE;
    return lm_train(&o);
}

/* What `lm sample` does after its options are read. */
static int write_sample(lm_model *model, const char *path, const char *prompt, uint64_t tokens, uint64_t seed,
                        const sampling *how)
{
    ag_safetensors *file = ag_safetensors_open(model->ctx, path);
    if (file == NULL) {
        fprintf(stderr, "lm: %s; lm train makes a model\n", ag_error_message(model->ctx));
        return EXIT_FAILURE;
    }
    bool good = model_from_metadata(model, file, path);
    ag_safetensors_close(file);
    if (good && ag_checkpoint_load(path, ag_gpt_module(model->gpt), NULL) != AG_OK) {
        fprintf(stderr, "lm: %s\n", ag_error_message(model->ctx));
        good = false;
    }
    int32_t *token = good ? malloc((strlen(prompt) + 1) * sizeof *token) : NULL;
    int64_t count = token == NULL ? -1 : vocab_encode(&model->vocab, prompt, token);
    if (count == 0)
        token[count++] = vocab_start(&model->vocab);
    good = count > 0;
    if (good) {
        ag_rng_set(model->ctx, (ag_rng){ .seed = seed }); /* not the state at the end of training */
        fputs(prompt, stdout);
        good = model_write(model, token, count, (int64_t)tokens, how, stdout);
        putchar('\n');
    }
    free(token);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int sample(int argc, char **argv)
{
    const char *path = "runs/lm/model.safetensors", *prompt = "";
    uint64_t tokens = 500, top_k = 0, seed = 1, threads = 0;
    sampling how = { .temperature = 0.8, .top_p = 1 };
    const option options[] = {
        { "--model", OPTION_TEXT, &path, "FILE", "the model [runs/lm/model.safetensors]" },
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
    lm_model model = { .ctx = program_context("lm sample", seed, threads) };
    if (model.ctx == NULL)
        return EXIT_FAILURE;
    status = write_sample(&model, path, prompt, tokens, seed, &how);
    ag_gpt_free(model.gpt);
    ag_ctx_free(model.ctx);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr, OPTIONS_WRONG);
    if (strcmp(argv[1], "train") == 0)
        return train(argc - 1, argv + 1);
    if (strcmp(argv[1], "sample") == 0)
        return sample(argc - 1, argv + 1);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout, EXIT_SUCCESS);
    fprintf(stderr, "lm: unknown command '%s'\n", argv[1]);
    return usage(stderr, OPTIONS_WRONG);
}
