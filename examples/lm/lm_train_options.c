/* SPDX-License-Identifier: MIT
 *
 * lm_train_options.c - the command line of `lm train`.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_train.h"

#include <string.h>

static const char about_train[] =
    "Trains a causal language model on texts and prints samples during training. The last tenth of the text is for "
    "validation. Progress goes to stderr, samples to stdout, log.csv and model.safetensors to the --out folder. Ctrl-C "
    "stops and saves. Numbers N are whole and at least 1 where 0 is not explained.";

static const char *const optimizer_word[] = { "adamw", "sgd", NULL };
static const char *const schedule_word[] = { "constant", "linear", "cosine", NULL };

/* The best known configuration for its time: the kinds of layers are Llama's. */
static train_options defaults(void)
{
    return (train_options){
        .out = "runs/lm", .steps = 2400, .batch = 16, .context = 64, .layers = 4, .heads = 4, .emb = 128,
        .kinds = { POSITIONS_ROTARY, NORM_RMS, FEED_FORWARD_SWIGLU }, .qk_norm = true,
        .warmup = 100, .report = 100, .sample = 500, .seed = 1,
        .lr = -1, .momentum = 0.9, .weight_decay = -1, .clip = 1, .schedule = AG_LR_COSINE,
    };
}

int lm_train_command(int argc, char **argv)
{
    static const double most = 1e9;
    train_options o = defaults();
    const option options[] = {
        { "[FILE...]", OPTION_WORDS, &o.files, NULL, "texts to train on, and folders of texts; -: standard input "
                                                     "[the bundled novel]" },
        { "--val", OPTION_TEXT, &o.val, "FILE", "text to validate on [the last tenth of the text]" },
        { "--level", OPTION_CHOICE, &o.level, "L", "tokens: char, byte, or bpe, byte pairs learned from the text "
                                                   "[char]", .words = token_word },
        { "--vocab", OPTION_NUMBER, &o.vocab, "N", "number of tokens of --level bpe, which it implies [1024]",
          BPE_BYTES + 1, 65536 },
        { "--out", OPTION_TEXT, &o.out, "DIR", "folder for log.csv and model.safetensors [runs/lm]" },
        { "--resume", OPTION_TEXT, &o.resume, "FILE", "continue this checkpoint, with its model and optimizer" },
        { "--from", OPTION_TEXT, &o.from, "FILE", "begin with this model's weights and tokens, on another text" },
        { "the model", OPTION_HEADING },
        { "--context", OPTION_NUMBER, &o.context, "N", "tokens per window [64]", 1, most },
        { "--layers", OPTION_NUMBER, &o.layers, "N", "blocks [4]", 1, most },
        { "--heads", OPTION_NUMBER, &o.heads, "N", "attention heads, a divisor of --emb [4]", 1, most },
        { "--emb", OPTION_NUMBER, &o.emb, "N", "embedding size [128]", 1, most },
        { "--positions", OPTION_CHOICE, &o.kinds.positions, "P",
          "learned, sinusoidal, rotary, alibi or none [rotary]", .words = position_word },
        { "--window", OPTION_NUMBER, &o.window, "N", "a token attends to the last N, itself included; 0: all [0]", 0,
          most },
        { "--kv-heads", OPTION_NUMBER, &o.kv_heads, "N", "key and value heads, a divisor of --heads; 0: as many [0]", 0,
          most },
        { "--qk-norm", OPTION_FLAG, &o.qk_norm, NULL, "apply RMS norm to queries and keys [yes]; --no-qk-norm: none" },
        { "--norm", OPTION_CHOICE, &o.kinds.norm, "N", "kind of norm, layer or rms [rms]", .words = norm_word },
        { "--ff", OPTION_CHOICE, &o.kinds.feed_forward, "F",
          "feed-forward: gelu, relu, silu, swiglu or geglu [swiglu]", .words = feed_forward_word },
        { "--dropout", OPTION_REAL, &o.dropout, "P", "dropout probability, 0 <= P < 1 [0]" },
        { "training", OPTION_HEADING },
        { "--steps", OPTION_NUMBER, &o.steps, "N", "training steps [2400]", 1, most },
        { "--batch", OPTION_NUMBER, &o.batch, "N", "windows of text per step [16]", 1, most },
        { "--optimizer", OPTION_CHOICE, &o.optimizer, "NAME", "adamw or sgd [adamw]", .words = optimizer_word },
        { "--lr", OPTION_REAL, &o.lr, "X", "peak learning rate, above 0 [adamw 4e-3, sgd 0.1]" },
        { "--momentum", OPTION_REAL, &o.momentum, "X", "of sgd, 0 <= X < 1 [0.9]" },
        { "--weight-decay", OPTION_REAL, &o.weight_decay, "X", "at least 0 [adamw 0.1, sgd 0]" },
        { "--schedule", OPTION_CHOICE, &o.schedule, "NAME",
          "of the learning rate: constant, linear or cosine [cosine]", .words = schedule_word },
        { "--warmup", OPTION_NUMBER, &o.warmup, "N", "steps of linear warm-up, 0: none [100]", 0, most },
        { "--clip", OPTION_REAL, &o.clip, "X", "largest gradient norm, 0: no limit [1]" },
        { "--seed", OPTION_NUMBER, &o.seed, "N", "of initial weights and batches, from 0 [1]" },
        { "the run", OPTION_HEADING },
        { "--report", OPTION_NUMBER, &o.report, "N", "steps between reports [100]", 1, most },
        { "--sample", OPTION_NUMBER, &o.sample, "N", "steps between samples, 0: only at the end [500]", 0, most },
        { "--threads", OPTION_NUMBER, &o.threads, "N", "0: all cores; results do not depend on it [0]" },
        { "--recompute", OPTION_FLAG, &o.recompute, NULL, "backward computes activations again: less memory" },
        { "--anomalies", OPTION_FLAG, &o.anomalies, NULL, "stop at the first NaN or infinity and name its source" },
        { "--profile", OPTION_FLAG, &o.profile, NULL, "print at the end where the time went; write profile.csv" },
        { "lm train", OPTION_EXAMPLE, NULL, NULL, "trains on the bundled novel" },
        { "lm train notes.txt letters/ --val diary.txt", OPTION_EXAMPLE, NULL, NULL, "trains on texts of your own" },
        { "lm train book.txt --layers 6 --heads 6 --emb 192 --steps 6000", OPTION_EXAMPLE, NULL, NULL,
          "a larger model, for longer" },
    };
    int status = options_read("lm train", about_train, options, sizeof options / sizeof *options, argc, argv);
    if (o.vocab > 0)
        o.level = TOKENS_BPE;
    return status != OPTIONS_RUN ? status : lm_train(&o);
}
