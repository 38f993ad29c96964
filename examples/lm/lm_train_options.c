/* SPDX-License-Identifier: MIT
 *
 * lm_train_options.c - the command lines of `lm train` and `lm finetune`.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_checkpoint.h"
#include "examples/lm/lm_processes.h"
#include "examples/shared/config.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char about[] =
    "Trains a causal language model on texts. The last tenth of the text is for validation. Progress goes to stderr, "
    "samples to stdout, all that is kept to the run's folder. Ctrl-C stops and saves. Numbers N are whole and at least "
    "1 where 0 is not explained.";

static const char about_finetune[] =
    "Goes on with other texts from a trained model's weights and tokens, as a new run: `lm train` with --from and a "
    "lower learning rate.";

static const char about_continue[] =
    "Goes on with a run that was stopped, as if it had not been: the same model and log, byte for byte. All settings "
    "are the run's own; only these may be given.";

static const char *const optimizer_word[] = { "adamw", "sgd", NULL };
static const char *const schedule_word[] = { "constant", "linear", "cosine", NULL };

/* The best known configuration for its time: the kinds of layers are Llama's. */
static train_options defaults(void)
{
    return (train_options){
        .level = LEVEL_AUTO, .steps = 1250, .batch = 8, .accumulate = 1, .context = 128,
        .layers = 4, .emb = 96,
        .kinds = { POSITIONS_ROTARY, NORM_RMS, FEED_FORWARD_SWIGLU }, .qk_norm = true,
        .warmup = SETTING_AUTO, .sample = SETTING_AUTO, .seed = 1, .checkpoint = 20,
        .dropout = -1, .lr = -1, .momentum = 0.9, .weight_decay = -1, .clip = 1, .schedule = AG_LR_COSINE,
    };
}

int train_settings(train_options *o, option settings[SETTINGS_MOST])
{
    static const double most = 1e9;
    const option all[] = {
        { "[FILE...]", OPTION_WORDS, &o->files, NULL,
          "texts to train on, and folders of texts; -: standard input [the bundled novel]" },
        { "--val", OPTION_TEXT, &o->val, "FILE", "text to validate on [the last tenth of the text]" },
        { "--level", OPTION_CHOICE, &o->level, "L",
          "tokens: char, byte, or bpe, byte pairs of the text [bpe; char below 100 kB]", .words = token_word },
        { "--vocab", OPTION_NUMBER, &o->vocab, "N", "number of tokens of --level bpe, which it implies [1024]",
          BPE_BYTES + 1, 65536 },
        { "--from", OPTION_TEXT, &o->from, "FILE",
          "begin with this model's or run's weights and tokens [lm finetune: the newest run's]" },
        { "the model", OPTION_HEADING },
        { "--context", OPTION_NUMBER, &o->context, "N", "tokens per window [128]", 1, most },
        { "--layers", OPTION_NUMBER, &o->layers, "N", "blocks [4]", 1, most },
        { "--heads", OPTION_NUMBER, &o->heads, "N", "heads, a divisor of --emb [of 32 or 64 channels]", 1, most },
        { "--emb", OPTION_NUMBER, &o->emb, "N", "embedding size [96]", 1, most },
        { "--positions", OPTION_CHOICE, &o->kinds.positions, "P", "learned, sinusoidal, rotary, alibi or none [rotary]",
          .words = position_word },
        { "--window", OPTION_NUMBER, &o->window, "N", "a token attends to the last N; 0: to all [0]", 0, most },
        { "--kv-heads", OPTION_NUMBER, &o->kv_heads, "N", "key and value heads, a divisor of --heads [as many]", 0,
          most },
        { "--qk-norm", OPTION_FLAG, &o->qk_norm, NULL, "apply RMS norm to queries and keys [yes]; --no-qk-norm: none" },
        { "--norm", OPTION_CHOICE, &o->kinds.norm, "N", "kind of norm, layer or rms [rms]", .words = norm_word },
        { "--ff", OPTION_CHOICE, &o->kinds.feed_forward, "F",
          "feed-forward: gelu, relu, silu, swiglu or geglu [swiglu]", .words = feed_forward_word },
        { "--ff-size", OPTION_NUMBER, &o->ff_size, "N", "its channels [4 --emb; swiglu, geglu: 8/3 --emb]", 0, most },
        { "--dropout", OPTION_REAL, &o->dropout, "P",
          "probability, 0 <= P < 1 [0, 0.1 or 0.2: more for a small text that is read often]" },
        { "training", OPTION_HEADING },
        { "--steps", OPTION_NUMBER, &o->steps, "N", "training steps [1250]", 1, STEPS_MOST },
        { "--batch", OPTION_NUMBER, &o->batch, "N", "windows of text per step [8]", 1, most },
        { "--accumulate", OPTION_NUMBER, &o->accumulate, "N",
          "cut a step into N parts, a divisor of --batch: less memory; mpirun's processes share them [1]", 1, 1 << 20 },
        { "--optimizer", OPTION_CHOICE, &o->optimizer, "NAME", "adamw or sgd [adamw]", .words = optimizer_word },
        { "--lr", OPTION_REAL, &o->lr, "X", "peak learning rate, above 0 [adamw 4e-3, sgd 0.1; lm finetune 1e-3]" },
        { "--momentum", OPTION_REAL, &o->momentum, "X", "of sgd, 0 <= X < 1 [0.9]" },
        { "--weight-decay", OPTION_REAL, &o->weight_decay, "X", "at least 0 [adamw 0.2, sgd 0]" },
        { "--schedule", OPTION_CHOICE, &o->schedule, "NAME",
          "of the learning rate: constant, linear or cosine [cosine]", .words = schedule_word },
        { "--warmup", OPTION_NUMBER, &o->warmup, "N",
          "steps of linear warm-up, fewer than --steps; 0: none [100, at most a tenth of --steps]", 0, most },
        { "--clip", OPTION_REAL, &o->clip, "X", "largest gradient norm, 0: no limit [1]" },
        { "--patience", OPTION_NUMBER, &o->patience, "N",
          "end after N reports without a better validation loss [never]", 0, most },
        { "--seed", OPTION_NUMBER, &o->seed, "N", "of initial weights and batches, from 0 [1]" },
        { "--recompute", OPTION_FLAG, &o->recompute, NULL, "backward computes activations again: less memory" },
        { "the run", OPTION_HEADING },
        { "--report", OPTION_NUMBER, &o->report, "N", "steps between reports [a 24th of --steps, at least 10]", 1,
          most },
        { "--sample", OPTION_NUMBER, &o->sample, "N", "steps between samples, 0: only at the end [5 times --report]", 0,
          most },
        { "--checkpoint", OPTION_REAL, &o->checkpoint, "S",
          "seconds between checkpoints, 0: one after each step [20]" },
    };
    enum { COUNT = (int)(sizeof all / sizeof *all) };
    memcpy(settings, all, sizeof all);
    return COUNT;
}

/* Named settings. */
static const char *const preset_word[] = {
    "toy", "tiny", "small", "baby", "nanogpt-cpu", "nanogpt-cpu-published", NULL,
};
static const char *const preset_config[] = {
    "{\"layers\": 2, \"emb\": 64, \"context\": 64, \"steps\": 2000}",
    "{}",
    "{\"layers\": 6, \"emb\": 192, \"batch\": 16, \"steps\": 800, \"lr\": 3e-3, \"dropout\": 0.1}",
    "{\"layers\": 6, \"emb\": 384, \"context\": 256, \"batch\": 16, \"steps\": 500, "
    "\"lr\": 2e-3, \"dropout\": 0.1}",
    "{\"level\": \"char\", \"emb\": 128, \"kv-heads\": 1, \"ff-size\": 288, \"context\": 64, \"batch\": 12, "
    "\"steps\": 2000, \"lr\": 6e-3}",
    "{\"level\": \"char\", \"emb\": 128, \"context\": 64, \"batch\": 12, \"steps\": 2000, \"lr\": 1e-3, "
    "\"weight-decay\": 0.1, \"positions\": \"learned\", \"norm\": \"layer\", \"ff\": \"gelu\", \"qk-norm\": false}",
};

static const char preset_help[] =
    "named settings; by size, with what they reach on the bundled novel: toy (1.22 nats per character, in 10 s on two "
    "cores of 2023), tiny (the default: 1.13, 31 s), small (1.10, 3 minutes), baby (1.10, 15 minutes). For tiny "
    "Shakespeare: nanogpt-cpu (1.65, 38 s), and nanogpt-cpu-published, which has nanoGPT's kinds of layers (1.91)";

/* The value of the last --NAME VALUE or --NAME=VALUE on the command line; NULL: it is not there. */
static const char *given(int argc, char **argv, const char *name)
{
    const char *value = NULL;
    size_t length = strlen(name);
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=')
            value = argv[i] + length + 1;
        else if (strcmp(argv[i], name) == 0)
            value = i + 1 < argc ? argv[i + 1] : "";
    return value;
}

/* A whole file as text with a NUL behind it, to be freed; NULL after a line on stderr. */
static char *read_text(const char *program, const char *path, size_t *size)
{
    FILE *file = program_open(program, path, "rb");
    int64_t length = 0;
    char *text = file == NULL ? NULL : program_read(program, file, path, false, &length);
    if (file != NULL)
        fclose(file);
    *size = (size_t)length;
    return text;
}

/* ---- A new run ---- */

/* What the command line is laid over: the defaults, then --preset, then --config. *config is the text that o then
 * points into, to be freed with the words. */
static bool base(const char *program, int argc, char **argv, train_options *o, char **config)
{
    const char *path = given(argc, argv, "--config"), *word = given(argc, argv, "--preset");
    option settings[SETTINGS_MOST];
    int count = train_settings(o, settings), preset = 0;
    if (word != NULL) {
        char text[400];
        option named = { "--preset", OPTION_CHOICE, &preset, "NAME", "", .words = preset_word };
        if (!option_set(program, &named, word))
            return false;
        snprintf(text, sizeof text, "%s", preset_config[preset]);
        config_apply(program, word, text, strlen(text), settings, count);
    }
    size_t size;
    if (path != NULL && path[0] != '\0' &&
        ((*config = read_text(program, path, &size)) == NULL ||
         !config_apply(program, path, *config, size, settings, count)))
        return false;
    if (given(argc, argv, "--level") != NULL)
        o->vocab = 0;
    else if (given(argc, argv, "--vocab") != NULL)
        o->level = LEVEL_AUTO;
    if (given(argc, argv, "--minutes") != NULL) {
        o->steps = 0;
        if (word == NULL && path == NULL)
            o->layers = o->heads = o->emb = o->context = o->batch = 0;
    }
    return true;
}

static const option train_examples[] = {
    { "lm train", OPTION_EXAMPLE, NULL, NULL, "trains on the bundled novel" },
    { "lm train notes.txt letters/ --minutes 5", OPTION_EXAMPLE, NULL, NULL,
      "trains on your texts what can be learned in five minutes" },
    { "lm train book.txt --layers 6 --heads 6 --emb 192 --steps 6000", OPTION_EXAMPLE, NULL, NULL,
      "trains a model of your own sizes" },
};
static const option finetune_example = { "lm finetune letters.txt --steps 500", OPTION_EXAMPLE, NULL, NULL,
                                         "goes on with your letters, from the newest run's model" };

/* Whether no option says what the model of --from has decided; if one does, says so. */
static bool leaves_the_model(const char *program, int argc, char **argv)
{
    static const char *const decided[] = { "--level",      "--vocab",     "--context", "--layers",   "--heads",
                                           "--emb",        "--positions", "--window",  "--kv-heads", "--qk-norm",
                                           "--no-qk-norm", "--norm",      "--ff",      "--ff-size" };
    for (size_t i = 0; i < sizeof decided / sizeof *decided; i++)
        if (given(argc, argv, decided[i]) != NULL) {
            fprintf(stderr, "%s: %s is as in the model that the run begins with; leave it out\n", program, decided[i]);
            return false;
        }
    return true;
}

/* Decides between options that say the same thing. False after a line on stderr. */
static bool settle(const char *program, train_options *o, char **data, const option_words *configured)
{
    static char newest[RUN_PATH];
    if (*data != NULL && o->files.count > 0) {
        fprintf(stderr, "%s: --data %s and %s are both texts; give them as FILE FILE\n", program, *data,
                o->files.word[0]);
        return false;
    }
    if (o->minutes > 0 && o->steps > 0) {
        fprintf(stderr, "%s: --minutes chooses the steps; give it or --steps\n", program);
        return false;
    }
    if (o->files.count == 0)
        o->files = *data != NULL ? (option_words){ data, 1 } : *configured;
    if (o->vocab > 0 && o->level == LEVEL_AUTO)
        o->level = TOKENS_BPE;
    if (o->vocab > 0 && o->level != TOKENS_BPE) {
        fprintf(stderr, "%s: --vocab %llu is for --level bpe, and --level is %s\n", program,
                (unsigned long long)o->vocab, token_word[o->level]);
        return false;
    }
    if (o->from != NULL && o->from[0] == '\0') {
        if (!folder_model("", newest))
            return false;
        o->from = newest;
    }
    return true;
}

static int new_run(const char *program, bool finetune, int argc, char **argv)
{
    train_options o = defaults();
    const char *unused = NULL;
    char *data = NULL, *config = NULL;
    int preset;
    if (finetune) {
        o.from = ""; /* the newest run */
        o.lr = 1e-3;
    }
    if (!base(program, argc, argv, &o, &config)) {
        free(o.files.word);
        free(config);
        return OPTIONS_WRONG;
    }
    option_words configured = o.files;
    o.files = (option_words){ .count = 0 };
    option options[SETTINGS_MOST + 16] = { { "the text", OPTION_HEADING } };
    int count = 1 + train_settings(&o, options + 1);
    const option others[] = {
        { "--minutes", OPTION_REAL, &o.minutes, "M",
          "choose model and steps for a run of M minutes on this machine; with --preset or --config the steps alone",
          0.05, 1e5 },
        { "--preset", OPTION_CHOICE, &preset, "NAME", preset_help, .words = preset_word },
        { "--config", OPTION_TEXT, &unused, "FILE", "settings to begin with, as a run's config.json" },
        { "--dry-run", OPTION_FLAG, &o.dry_run, NULL, "print parameters, memory and time; train for two seconds only" },
        { "--data", OPTION_TEXT, &data, "FILE", "a text, in place of FILE" },
        { "--out", OPTION_TEXT, &o.out, "DIR", "folder of the run [the next number in runs/]" },
        { "--continue", OPTION_TEXT, &unused, "[RUN]",
          "go on with a run that was stopped [the newest in runs/]; lm train --continue --help" },
        { "--threads", OPTION_NUMBER, &o.threads, "N", "0: all cores; results do not depend on it [0]" },
        { "--profile", OPTION_FLAG, &o.profile, NULL, "print at the end where the time went; write profile.csv" },
    };
    memcpy(options + count, others, sizeof others);
    count += (int)(sizeof others / sizeof *others);
    const int examples = finetune ? 1 : (int)(sizeof train_examples / sizeof *train_examples);
    memcpy(options + count, finetune ? &finetune_example : train_examples, (size_t)examples * sizeof *options);
    int status = options_read(program, finetune ? about_finetune : about, options, count + examples, argc, argv);
    if (status == OPTIONS_RUN)
        status = (o.from == NULL || leaves_the_model(program, argc, argv)) &&
                 settle(program, &o, &data, &configured) ? lm_train(&o, NULL) : OPTIONS_WRONG;
    free(configured.word);
    free(config);
    return status;
}

/* ---- A run that goes on ---- */

static int continue_run(int argc, char **argv)
{
    train_options o = defaults();
    char folder[RUN_PATH];
    const char *where = "";
    uint64_t steps = 0, threads = 0;
    bool profile = false;
    const option options[] = {
        { "--continue", OPTION_TEXT, &where, "[RUN]", "the run's folder [the newest in runs/]" },
        { "--steps", OPTION_NUMBER, &steps, "N", "train to step N [as the run was to]", 1, STEPS_MOST },
        { "--threads", OPTION_NUMBER, &threads, "N", "0: all cores; results do not depend on it [0]" },
        { "--profile", OPTION_FLAG, &profile, NULL, "print at the end where the time went; write profile.csv" },
    };
    int status = options_read("lm train --continue", about_continue, options, sizeof options / sizeof *options, argc,
                              argv);
    if (status != OPTIONS_RUN)
        return status;
    char *config = checkpoint_settings(where, folder, &o);
    if (config == NULL)
        return EXIT_FAILURE;
    option_words files = o.files;
    o.steps = steps > 0 ? steps : o.steps;
    o.threads = threads;
    o.profile = profile;
    status = lm_train(&o, folder);
    free(files.word);
    free(config);
    return status;
}

int lm_train_led(void)
{
    led_run led = { .threads = 0 };
    const ag_processes *link = processes_join(&led, system_catch_stops());
    if (link == NULL)
        return EXIT_SUCCESS;
    train_options o = defaults();
    o.threads = led.threads;
    int status = EXIT_FAILURE;
    if (checkpoint_read_settings(led.config, led.folder, &o)) {
        option_words files = o.files;
        status = lm_train_led_by(&o, led.folder, link);
        free(files.word);
    }
    free(led.config);
    return status;
}

static int begin_or_continue(const char *program, bool finetune, int argc, char **argv)
{
    return given(argc, argv, "--continue") != NULL ? continue_run(argc, argv) : new_run(program, finetune, argc, argv);
}

int lm_train_command(int argc, char **argv)
{
    return begin_or_continue("lm train", false, argc, argv);
}

int lm_finetune_command(int argc, char **argv)
{
    return begin_or_continue("lm finetune", true, argc, argv);
}
