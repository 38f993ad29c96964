/* SPDX-License-Identifier: MIT
 *
 * finetune.c - trains a model in the files of the transformers package, one that `generate` reads, further on texts,
 * and writes it under the same names of tensors into a new folder, which that package and `generate` read.
 *
 * B windows of T tokens a step, at random places of the text; its last tenth is for validation.
 */
#include "examples/shared/learning.h"
#include "examples/shared/model_folder.h"
#include "examples/shared/options.h"
#include "examples/shared/pretrained_model.h"
#include "examples/shared/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "finetune";
static const char about[] =
    "Trains a GPT-2, Llama, Mistral, Qwen, SmolLM, GPT-NeoX or Phi model in the files of the transformers package "
    "further on texts, and writes it into a new folder: the same names of tensors, float32, in one file. The last "
    "tenth of the text is for validation. Ctrl-C ends the training after the step, and the model is written. A "
    "training that was killed goes on from its last checkpoint when the same command is given again. Numbers N are at "
    "least 1.";

enum { TRAINING_MOST = 256 };

typedef struct finetuning {
    ag_ctx *ctx;
    ag_gpt *gpt;
    const char *from, *to; /* folders */
    token_ids text;
    int64_t train_count; /* the first tokens of the text */
    int64_t batch, context;
    uint64_t seed;
} finetuning;

/* ---- The text ---- */

/* Adds a file's tokens, with those that the tokenizer sets around a text. */
static bool add_file(finetuning *f, const tokenizer *t, const char *path)
{
    int64_t length = 0;
    FILE *file = program_open(program, path, "rb");
    char *text = file == NULL ? NULL : program_read(program, file, path, false, &length);
    if (file != NULL)
        fclose(file);
    if (text == NULL)
        return false;
    const int64_t wrong = tokenizer_encode(t, text, length, true, &f->text);
    free(text);
    if (wrong == TOKENIZER_OUT_OF_MEMORY)
        fprintf(stderr, "%s: %s: out of memory for the tokens of %lld bytes\n", program, path, (long long)length);
    else if (wrong != TOKENIZER_ENCODED)
        fprintf(stderr, "%s: %s: byte %lld is not UTF-8\n", program, path, (long long)wrong);
    return wrong == TOKENIZER_ENCODED;
}

static bool read_texts(finetuning *f, const option_words *files)
{
    char path[MODEL_PATH];
    tokenizer *t = model_folder_path(program, path, f->from, "tokenizer.json") ? tokenizer_load(program, path) : NULL;
    bool good = t != NULL;
    for (int i = 0; i < files->count && good; i++)
        good = add_file(f, t, files->word[i]);
    tokenizer_free(t);
    f->train_count = f->text.count - f->text.count / 10;
    return good;
}

/* Whether text, context and model suit each other. */
static bool check_text(const finetuning *f)
{
    const ag_transformer_config *c = ag_gpt_config_of(f->gpt);
    if (c->max_seq_len > 0 && f->context > c->max_seq_len) {
        fprintf(stderr, "%s: --context %lld: the model reads at most %lld tokens\n", program, (long long)f->context,
                (long long)c->max_seq_len);
        return false;
    }
    if (f->text.count < 20) {
        fprintf(stderr, "%s: the text has too few tokens, %lld: 20 are needed, and many thousands to learn from\n",
                program, (long long)f->text.count);
        return false;
    }
    if (f->train_count <= f->context) {
        fprintf(stderr, "%s: the text has %lld tokens, of which %lld are for training; a context of %lld needs %lld: "
                        "give --context %lld or less, or more text\n", program, (long long)f->text.count,
                (long long)f->train_count, (long long)f->context, (long long)f->context + 1,
                (long long)f->train_count - 1);
        return false;
    }
    for (int64_t i = 0; i < f->text.count; i++)
        if (f->text.id[i] >= c->vocab_size) {
            fprintf(stderr, "%s: %s/tokenizer.json makes token %lld, the model has %lld: they do not belong together\n",
                    program, f->from, (long long)f->text.id[i], (long long)c->vocab_size);
            return false;
        }
    return true;
}

/* What the training is made of, for its checkpoint: settings, and FNV-1a over the model's path and the tokens. */
static void describe(const finetuning *f, const learning *l, char text[TRAINING_MOST])
{
    uint64_t sum = 0xcbf29ce484222325;
    for (const char *c = f->from; *c != '\0'; c++)
        sum = (sum ^ (unsigned char)*c) * 0x100000001b3;
    for (int64_t i = 0; i < f->text.count; i++)
        sum = (sum ^ (uint32_t)f->text.id[i]) * 0x100000001b3;
    ag_snprintf(text, TRAINING_MOST,
                "%lld tokens and model %016llx, %lld steps of %lld x %lld, lr %g, weight decay %g, seed %llu",
                (long long)f->text.count, (unsigned long long)sum, (long long)l->steps, (long long)f->batch,
                (long long)f->context, l->lr, l->weight_decay, (unsigned long long)f->seed);
}

/* ---- Training ---- */

/* The mean loss of windows of T + 1 tokens [B,T+1]. */
static ag_tensor *window_loss(const finetuning *f, ag_tensor *window, int64_t T)
{
    ag_tensor *logits = ag_gpt_forward(f->gpt, ag_slice(window, 1, 0, T, 1));
    return ag_cross_entropy(logits, ag_slice(window, 1, 1, T + 1, 1));
}

static ag_tensor *batch_loss(void *user)
{
    const finetuning *f = user;
    const int64_t T = f->context;
    ag_tensor *window = ag_empty(f->ctx, AG_I32, AG_SHAPE(f->batch, T + 1));
    int32_t *to = window == NULL ? NULL : ag_data_mut(window);
    for (int64_t b = 0; b < f->batch && to != NULL; b++) {
        const int64_t start = (int64_t)(ag_random(f->ctx) * (double)(f->train_count - T));
        memcpy(to + b * (T + 1), f->text.id + start, (size_t)(T + 1) * sizeof *to);
    }
    return window_loss(f, window, T);
}

/* The mean loss over at most 64 windows of the validation text, evenly spread. */
static double validate(const finetuning *f)
{
    enum { WINDOWS = 64 };
    const int64_t first = f->train_count, predicted = f->text.count - first - 1;
    const int64_t T = f->context < predicted ? f->context : predicted, all = predicted / T;
    const int64_t stride = all > WINDOWS ? all / WINDOWS : 1;
    double sum = 0;
    int64_t count = 0;
    for (int64_t w = 0; w < all; w += stride, count++) {
        double loss = (double)NAN;
        ag_scope_begin(f->ctx, NULL);
        ag_item(window_loss(f, ag_from_data(f->ctx, AG_I32, AG_SHAPE(1, T + 1), f->text.id + first + w * T), T), &loss);
        ag_scope_end(f->ctx, NULL);
        sum += loss;
    }
    return sum / (double)count;
}

static bool write_folder(const finetuning *f, const model_files *files)
{
    char path[MODEL_PATH];
    return model_folder_copy(program, f->from, f->to) && model_folder_path(program, path, f->to, "model.safetensors") &&
           ag_gpt_to_file(f->gpt, files->config, files->weights, path) == AG_OK &&
           model_folder_end(program, f->from, f->to);
}

static bool finetune(finetuning *f, const model_files *files, learning *l)
{
    char checkpoint[MODEL_PATH], training[TRAINING_MOST];
    f->gpt = ag_gpt_from_files(f->ctx, files->config, files->weights, AG_F32);
    if (f->gpt == NULL || !check_text(f) || !model_folder_path(program, checkpoint, f->to, "checkpoint.safetensors"))
        return false;
    describe(f, l, training);
    l->checkpoint = checkpoint;
    l->training = training;
    l->ctx = f->ctx;
    l->module = ag_gpt_module(f->gpt);
    l->stop = system_catch_stops();
    fprintf(stderr, "%s: %lld parameters, %lld tokens to train on, %lld to validate; %lld steps of %lld x %lld\n",
            program, (long long)ag_module_numel(l->module), (long long)f->train_count,
            (long long)(f->text.count - f->train_count), (long long)l->steps, (long long)f->batch,
            (long long)f->context);
    const double before = validate(f);
    if (!learn(l))
        return false;
    const double after = validate(f);
    if (!write_folder(f, files))
        return false;
    remove(checkpoint);
    ag_fprintf(stderr, "%s: validation loss %.4f nats per token, %.4f before\n%s: wrote %s%s\n", program, after, before,
               program, f->to, *l->stop != 0 ? ", the model as it was when the training was stopped" : "");
    return true;
}

static bool is_size(const char *name, uint64_t value)
{
    if (value >= 1 && value <= INT32_MAX)
        return true;
    fprintf(stderr, "%s: %s is %llu, must be 1 to %d\n", program, name, (unsigned long long)value, INT32_MAX);
    return false;
}

int main(int argc, char **argv)
{
    finetuning f = { .seed = 1 };
    model_options o = { .dtype = "float32" };
    option_words texts = { .count = 0 };
    uint64_t steps = 500, batch = 4, context = 128;
    learning l = {
        .program = program, .lr = 1e-4, .weight_decay = 0.01, .loss = batch_loss, .user = &f, .checkpoint_every = 30
    };
    const option options[] = {
        { "FILE...", OPTION_WORDS, &texts, NULL, "texts to train on, UTF-8" },
        { "--model", OPTION_TEXT, &o.folder, "DIR", "folder with config.json, model.safetensors and tokenizer.json" },
        { "--out", OPTION_TEXT, &f.to, "DIR", "folder for the new model, made if missing" },
        { "--steps", OPTION_NUMBER, &steps, "N", "training steps [500]" },
        { "--batch", OPTION_NUMBER, &batch, "N", "windows of text per step [4]" },
        { "--context", OPTION_NUMBER, &context, "N", "tokens per window [128]" },
        { "--lr", OPTION_REAL, &l.lr, "X", "peak learning rate of AdamW, above 0 [1e-4]" },
        { "--weight-decay", OPTION_REAL, &l.weight_decay, "X", "of matrices, at least 0 [0.01]" },
        { "--seed", OPTION_NUMBER, &f.seed, "N", "of windows and dropout [1]" },
        { "--checkpoint", OPTION_REAL, &l.checkpoint_every, "S",
          "seconds between checkpoints, 0: one after each step [30]" },
        { "--threads", OPTION_NUMBER, &o.threads, "N", "0: all cores; results do not depend on it [0]" },
        { "finetune letters.txt --model gpt2 --out gpt2-letters", OPTION_EXAMPLE, NULL, NULL,
          "trains the model in the folder gpt2 on your letters" },
    };
    int status = options_read(program, about, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    model_files files;
    status = OPTIONS_WRONG;
    if (texts.count == 0)
        fprintf(stderr, "%s: on which text? finetune FILE --model DIR --out DIR\n", program);
    else if (f.to == NULL)
        fprintf(stderr, "%s: where to? --out DIR\n", program);
    else if (l.lr == 0)
        fprintf(stderr, "%s: --lr is 0, must be above 0\n", program);
    else if (is_size("--steps", steps) && is_size("--batch", batch) && is_size("--context", context) &&
             model_files_of(&files, program, &o))
        status = OPTIONS_RUN;
    if (status == OPTIONS_RUN) {
        f.from = o.folder;
        f.batch = (int64_t)batch;
        f.context = (int64_t)context;
        l.steps = (int64_t)steps;
        bool good = model_folder_begin(program, f.from, f.to) && read_texts(&f, &texts) &&
                    (f.ctx = program_context(program, f.seed, o.threads)) != NULL && finetune(&f, &files, &l);
        status = EXIT_FAILURE;
        ag_gpt_free(f.gpt);
        if (f.ctx != NULL)
            status = program_end(program, f.ctx, good);
        if (!good)
            system_remove_folder(f.to); /* when nothing was written into it */
    }
    free(f.text.id);
    return status;
}
