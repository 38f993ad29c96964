/* SPDX-License-Identifier: MIT
 *
 * lm_train_options.c - the command line of `lm train`.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_train.h"
#include "examples/shared/options.h"

#include <stdio.h>
#include <string.h>

static const char about_train[] =
    "Trains a causal language model on a text and prints samples during training. Progress goes to stderr, samples to "
    "stdout, log.csv and model.safetensors to the --out folder. Ctrl-C stops and saves.";

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

int lm_train_command(int argc, char **argv)
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
