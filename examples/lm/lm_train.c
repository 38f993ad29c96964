/* SPDX-License-Identifier: MIT
 *
 * lm_train.c - see lm_train.h. B windows of T tokens a step; the loss is in nats per token.
 */
#include "examples/lm/lm_train.h"
#include "examples/lm/lm_text.h"

#include "examples/shared/program.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef struct run {
    train_options o;
    corpus corpus;
    int file_count; /* of the text */
    lm_model model;
    ag_optimizer *optimizer;
    ag_schedule schedule;
    ag_profile *profile; /* NULL: none */
    int64_t step; /* steps done */
    FILE *log;
    char model_path[512], log_path[512];
    double started;          /* when this run began, in seconds */
    int64_t first_step;      /* and the step it began at */
    double loss_sum, gnorm;  /* since the last report; of the last step */
    int64_t loss_count;
    double reported_at;
    bool good; /* so far */
} run;

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
    if (number == SIGPIPE) /* a second Ctrl-C ends the program, a second write into a closed pipe does not */
        signal(SIGPIPE, SIG_IGN);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool library_error(const run *r)
{
    fprintf(stderr, "lm: %s\n", ag_error_message(r->model.ctx));
    return false;
}

/* ---- Validation ---- */

/* The mean loss over validation windows of T tokens: all of them, one after the other, or about `some` evenly
 * spread. Does not touch the random stream. NaN on error. */
static double validate(run *r, int64_t some)
{
    ag_ctx *ctx = r->model.ctx;
    const int64_t T = (int64_t)r->o.context, first = r->corpus.train_count, end = r->corpus.count - 1;
    int64_t windows = (end - first + T - 1) / T, stride = some > 0 && windows > some ? windows / some : 1;
    double sum = 0, tokens = 0;
    for (int64_t w = 0; w < windows; w += stride) {
        int64_t start = first + w * T, length = end - start < T ? end - start : T;
        double loss = (double)NAN;
        ag_scope_begin(ctx, NULL);
        ag_tensor *x = ag_from_data(ctx, AG_I32, AG_SHAPE(1, length), r->corpus.token + start);
        ag_tensor *y = ag_from_data(ctx, AG_I32, AG_SHAPE(1, length), r->corpus.token + start + 1);
        ag_item(ag_cross_entropy(ag_gpt_forward(r->model.gpt, x), y), &loss);
        ag_scope_end(ctx, NULL);
        sum += loss * (double)length;
        tokens += (double)length;
    }
    return sum / tokens;
}

/* ---- Setting up ---- */

/* The run's own state in the checkpoint: a resumed run continues with the same bits. */
static bool save(run *r)
{
    model_metadata model;
    char step[32];
    snprintf(step, sizeof step, "%lld", (long long)r->step);
    ag_metadata entry[MODEL_METADATA + 1] = { { "lm.step", step } };
    bool good = model_metadata_make(&model, &r->model);
    if (good) {
        memcpy(entry + 1, model.entry, sizeof model.entry);
        good = ag_checkpoint_save(r->model_path, ag_gpt_module(r->model.gpt), r->optimizer, entry,
                                  MODEL_METADATA + 1) == AG_OK || library_error(r);
    }
    model_metadata_free(&model);
    return good;
}

static bool new_model(run *r)
{
    r->model.vocab = vocab_share(&r->corpus.vocab);
    r->model.context = (int64_t)r->o.context;
    ag_transformer_config c = {
        .vocab_size = r->corpus.vocab.size,
        .emb_size = (int64_t)r->o.emb,
        .num_heads = (int64_t)r->o.heads,
        .num_layers = (int64_t)r->o.layers,
        .dropout = r->o.dropout,
        .attention = { .mask.back = (int64_t)r->o.window, .kv_heads = (int64_t)r->o.kv_heads,
                       .qk_norm = r->o.qk_norm },
        .recompute = r->o.recompute,
    };
    model_set_kinds(&c, r->o.kinds);
    if (c.gated) /* three matrices of 8/3 emb have the parameters of two of 4 emb */
        c.ff_size = (8 * c.emb_size / 3 + 7) / 8 * 8;
    if (c.positions == AG_POSITIONS_LEARNED)
        c.max_seq_len = r->model.context;
    r->model.gpt = ag_gpt_new(r->model.ctx, c);
    return r->model.gpt != NULL || library_error(r);
}

/* The model to begin with: its tokens and weights, at step 0. */
static bool starting_model(run *r)
{
    bool good = model_load(&r->model, r->o.from);
    r->o.context = good ? (uint64_t)r->model.context : 0;
    ag_rng_set(r->model.ctx, (ag_rng){ .seed = r->o.seed }); /* not the state at the end of the other training */
    return good;
}

/* The checkpoint's model; its weights come later, with the optimizer's state. */
static bool resumed_model(run *r)
{
    ag_safetensors *file = ag_safetensors_open(r->model.ctx, r->o.resume);
    if (file == NULL)
        return library_error(r);
    double step = 0;
    bool good = model_from_metadata(&r->model, file, r->o.resume);
    if (good && !metadata_number(file, "lm.step", &step)) {
        fprintf(stderr, "lm: %s does not say at which step it was written\n", r->o.resume);
        good = false;
    }
    if (good && !vocab_same(&r->model.vocab, &r->corpus.vocab)) {
        fprintf(stderr, "lm: %s was trained on another text: its tokens differ\n", r->o.resume);
        good = false;
    }
    ag_safetensors_close(file);
    if (good) {
        r->step = (int64_t)step;
        r->o.context = (uint64_t)r->model.context;
    }
    return good;
}

static bool set_up_optimizer(run *r)
{
    ag_module *module = ag_gpt_module(r->model.gpt);
    double lr = r->o.lr >= 0 ? r->o.lr : r->o.optimizer == OPTIMIZER_SGD ? 0.1 : 4e-3;
    double decay = r->o.weight_decay >= 0 ? r->o.weight_decay : r->o.optimizer == OPTIMIZER_SGD ? 0 : 0.1;
    r->optimizer = r->o.optimizer == OPTIMIZER_SGD
        ? ag_sgd_new(module, (ag_sgd_config){ .lr = lr, .momentum = r->o.momentum, .weight_decay = decay })
        : ag_adamw_new(module, (ag_adamw_config){ .lr = lr, .beta2 = 0.99, .weight_decay = decay });
    r->schedule = (ag_schedule){ .kind = (ag_schedule_kind)r->o.schedule, .lr = lr, .min_lr = lr / 20,
                                 .warmup_steps = (int64_t)r->o.warmup, .total_steps = (int64_t)r->o.steps };
    if (r->optimizer == NULL)
        return library_error(r);
    return r->o.resume == NULL || ag_checkpoint_load(r->o.resume, module, r->optimizer) == AG_OK || library_error(r);
}

/* Makes each folder on the way to path. */
static bool make_folder(const char *path)
{
    char part[400];
    if (snprintf(part, sizeof part, "%s", path) >= (int)sizeof part) {
        fprintf(stderr, "lm: the --out path has over %d characters\n", (int)sizeof part);
        return false;
    }
    for (char *at = part + 1;; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;
        *at = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            fprintf(stderr, "lm: %s: %s\n", part, strerror(errno));
            return false;
        }
        if (end == '\0')
            return true;
        *at = end;
    }
}

static bool open_log(run *r)
{
    if (!make_folder(r->o.out))
        return false;
    snprintf(r->model_path, sizeof r->model_path, "%s/model.safetensors", r->o.out);
    snprintf(r->log_path, sizeof r->log_path, "%s/log.csv", r->o.out);
    r->log = program_open("lm", r->log_path, r->step > 0 ? "a" : "w");
    if (r->log != NULL && r->step == 0)
        fprintf(r->log, "step,loss,val,gnorm,lr,tokens_per_second\n");
    return r->log != NULL;
}

static bool check_options(const run *r)
{
    const train_options *o = &r->o;
    if (o->momentum >= 1) {
        ag_fprintf(stderr, "lm train: --momentum is %g, must be at least 0 and below 1\n", o->momentum);
        return false;
    }
    if (o->profile && o->anomalies) {
        fprintf(stderr, "lm train: --profile and --anomalies exclude each other: a tape has one observer\n");
        return false;
    }
    if (o->kv_heads > 0 && o->heads % o->kv_heads != 0) {
        fprintf(stderr, "lm train: --kv-heads is %llu, must divide --heads, which is %llu\n",
                (unsigned long long)o->kv_heads, (unsigned long long)o->heads);
        return false;
    }
    return true;
}

/* The text must hold a training window and one validation token with its successor. */
static bool check_corpus(const run *r)
{
    int64_t wanted = (int64_t)r->o.context + 1;
    if (r->corpus.train_count >= wanted && r->corpus.count - r->corpus.train_count >= 2)
        return true;
    fprintf(stderr, "lm: the text has %lld tokens, of which %lld are for training; a context of %lld needs %lld\n",
            (long long)r->corpus.count, (long long)r->corpus.train_count, (long long)r->o.context, (long long)wanted);
    return false;
}

/* The bundled novel's path: from a folder above the program, where the program's is known, so that `lm train` works in
 * every working directory. */
static void bundled_text(char path[4096])
{
    static const char name[] = "examples/data/pride_and_prejudice.txt";
    ssize_t length = readlink("/proc/self/exe", path, 4096 - sizeof name);
    path[length < 0 ? 0 : length] = '\0';
    for (char *slash; length > 0 && (slash = strrchr(path, '/')) != NULL; *slash = '\0') {
        strcpy(slash + 1, name);
        if (access(path, R_OK) == 0)
            return;
    }
    strcpy(path, name);
}

static bool read_corpus(run *r)
{
    char bundled[4096];
    const char *only = bundled;
    const char *const *path = r->o.files.count > 0 ? (const char *const *)r->o.files.word : &only;
    text t;
    bundled_text(bundled);
    const vocab *known = r->o.from == NULL ? NULL : &r->model.vocab;
    bool bytes = (known == NULL ? r->o.level : (int)known->kind) != TOKENS_CHAR;
    if (!text_read(&t, (text_files){ path, r->o.files.count > 0 ? r->o.files.count : 1, r->o.val }, bytes))
        return false;
    r->file_count = t.files;
    bool good = corpus_make(&r->corpus, &t, known, (token_kind)r->o.level,
                            (int32_t)(r->o.vocab > 0 ? r->o.vocab : 1024));
    text_free(&t);
    return good;
}

static bool set_up(run *r)
{
    if (!check_options(r))
        return false;
    r->model.recompute = r->o.recompute;
    r->model.ctx = program_context("lm train", r->o.seed, r->o.threads);
    if (r->model.ctx == NULL)
        return false;
    return (r->o.from == NULL || starting_model(r)) && read_corpus(r) &&
           (r->o.resume != NULL ? resumed_model(r) : r->o.from != NULL || new_model(r)) &&
           check_corpus(r) && set_up_optimizer(r) && open_log(r);
}

/* ---- Reports ---- */

static void introduce_kind(const ag_transformer_config *c)
{
    model_kinds kinds = model_kinds_of(c);
    char heads[40] = "", window[40] = "";
    if (c->attention.kv_heads != c->num_heads)
        snprintf(heads, sizeof heads, ", %lld key heads", (long long)c->attention.kv_heads);
    if (c->attention.mask.back > 0)
        snprintf(window, sizeof window, ", window %lld", (long long)c->attention.mask.back);
    const char *positions = position_word[kinds.positions];
    fprintf(stderr, "kind      %s positions, %s norm, %s feed-forward%s%s%s\n",
            strcmp(positions, "none") == 0 ? "no" : positions, norm_word[kinds.norm],
            feed_forward_word[kinds.feed_forward], heads, window, c->attention.qk_norm ? ", query and key norm" : "");
}

static void introduce(const run *r)
{
    const ag_transformer_config *c = ag_gpt_config_of(r->model.gpt);
    const token_kind kind = r->corpus.vocab.kind;
    baselines b = corpus_baselines(&r->corpus);
    fprintf(stderr, "text      %s%s: %lld %s\n", r->o.files.count > 0 ? r->o.files.word[0] : "the bundled novel",
            r->file_count > 1 ? " and others" : "", (long long)r->corpus.count,
            kind == TOKENS_CHAR ? "characters" : kind == TOKENS_BYTE ? "bytes" : "tokens");
    fprintf(stderr, "split     %lld to train on, %lld to validate: %s\n", (long long)r->corpus.train_count,
            (long long)(r->corpus.count - r->corpus.train_count), r->o.val == NULL ? "the last tenth" : r->o.val);
    fprintf(stderr, "vocab     %d\n", (int)r->corpus.vocab.size);
    fprintf(stderr, "model     %lld parameters: %lld layers, %lld heads of %lld, embedding %lld, context %lld\n",
            (long long)ag_module_numel(ag_gpt_module(r->model.gpt)), (long long)c->num_layers, (long long)c->num_heads,
            (long long)c->head_size, (long long)c->emb_size, (long long)r->model.context);
    introduce_kind(c);
    fprintf(stderr, "training  %s, %llu steps of %llu x %llu tokens, %d threads, %s kernels\n",
            r->o.optimizer == OPTIMIZER_SGD ? "SGD" : "AdamW", (unsigned long long)r->o.steps,
            (unsigned long long)r->o.batch, (unsigned long long)r->o.context,
            ag_ctx_threads(r->model.ctx), ag_ctx_isa(r->model.ctx));
    ag_fprintf(stderr, "baselines uniform %.3f  unigram %.3f  bigram %.3f nats per %s, on the validation text\n",
               b.uniform, b.unigram, b.bigram, token_noun[kind]);
    ag_fprintf(stderr, "          uniform %.3f  unigram %.3f  bigram %.3f bits per byte\n\n",
               corpus_bits_per_byte(&r->corpus, b.uniform), corpus_bits_per_byte(&r->corpus, b.unigram),
               corpus_bits_per_byte(&r->corpus, b.bigram));
}

static void report(run *r, double lr)
{
    double val = validate(r, 24), time = now();
    double tokens = (double)r->loss_count * (double)(r->o.batch * r->o.context);
    double rate = tokens / (time - r->reported_at), loss = r->loss_sum / (double)r->loss_count;
    int64_t total = (int64_t)r->o.steps;
    double eta = (time - r->started) / (double)(r->step - r->first_step) * (double)(total - r->step);
    ag_fprintf(stderr,
               "step %*lld/%lld %3lld%% | loss %.3f val %.3f | gnorm %.2f lr %.1e | %.0fk tok/s | eta %02d:%02d\n",
               snprintf(NULL, 0, "%lld", (long long)total), (long long)r->step, (long long)total,
               (long long)(100 * r->step / total), loss, val, r->gnorm, lr, rate / 1000, (int)eta / 60, (int)eta % 60);
    ag_fprintf(r->log, "%lld,%.9g,%.9g,%.9g,%.9g,%.0f\n", (long long)r->step, loss, val, r->gnorm, lr, rate);
    fflush(r->log);
    r->loss_sum = 0;
    r->loss_count = 0;
    r->reported_at = now();
}

/* Writes a sample to stdout, drawn from a random stream of its own, so that training is the same without it. False on
 * error. */
static bool show_sample(run *r, int64_t length)
{
    ag_rng before = ag_rng_get(r->model.ctx);
    ag_rng_set(r->model.ctx, (ag_rng){ .seed = r->o.seed + 1000 });
    int32_t start = vocab_start(&r->model.vocab);
    printf("--- sample after step %lld ---\n", (long long)r->step);
    fflush(stdout);
    bool good = model_write(&r->model, &start, 1, length, &(sampling){ .temperature = 0.8 }, stdout);
    printf("\n---\n");
    fflush(stdout);
    ag_rng_set(r->model.ctx, before);
    return good;
}

/* ---- Training ---- */

static bool train_step(run *r, double lr)
{
    ag_ctx *ctx = r->model.ctx;
    ag_module *module = ag_gpt_module(r->model.gpt);
    const int64_t T = (int64_t)r->o.context;
    double loss_value = 0;
    ag_tape *tape = ag_tape_begin(ctx);
    if (r->o.anomalies)
        ag_tape_detect_anomalies(tape);
    ag_profile_tape(r->profile, tape); /* NULL does nothing */
    ag_tensor *window = corpus_batch(ctx, &r->corpus, (int64_t)r->o.batch, T);
    ag_profile_note(r->profile, "batch");
    ag_tensor *logits = ag_gpt_forward(r->model.gpt, ag_slice(window, 1, 0, T, 1));
    ag_tensor *loss = ag_cross_entropy(logits, ag_slice(window, 1, 1, T + 1, 1));
    ag_status status = ag_backward(tape, loss);
    if (status == AG_OK)
        status = ag_item(loss, &loss_value);
    ag_tape_end(tape);
    ag_profile_note(r->profile, "end of tape");
    if (status == AG_OK)
        status = ag_clip_grad_norm(module, r->o.clip > 0 ? r->o.clip : (double)INFINITY, &r->gnorm);
    ag_profile_note(r->profile, "clipping");
    ag_optimizer_set_lr(r->optimizer, lr);
    if (status == AG_OK)
        status = ag_optimizer_step(r->optimizer);
    ag_module_zero_grad(module);
    ag_profile_note(r->profile, "optimizer");
    r->loss_sum += loss_value;
    r->loss_count++;
    return status == AG_OK || library_error(r);
}

static bool train_loop(run *r)
{
    const int64_t total = (int64_t)r->o.steps;
    r->started = r->reported_at = now();
    r->first_step = r->step;
    while (r->step < total && !interrupted) {
        double lr = ag_schedule_lr(&r->schedule, r->step);
        if (!train_step(r, lr))
            return false;
        r->step++;
        if (r->step % (int64_t)r->o.report == 0 || r->step == total) {
            report(r, lr);
            ag_profile_note(r->profile, "validation");
        }
        if (r->o.sample > 0 && r->step % (int64_t)r->o.sample == 0 && r->step < total && !interrupted) {
            if (!show_sample(r, 200))
                return false;
            ag_profile_note(r->profile, "sample");
        }
    }
    return true;
}

/* The profile as a table on stderr, and its rows as profile.csv. */
static bool show_profile(const run *r)
{
    char path[512];
    snprintf(path, sizeof path, "%s/profile.csv", r->o.out);
    FILE *file = program_open("lm", path, "w");
    if (file == NULL)
        return false;
    fprintf(file, "op,path,calls,forward,backward,again,multiply_adds\n");
    for (int64_t i = 0; i < ag_profile_size(r->profile); i++) {
        ag_profile_row row = ag_profile_at(r->profile, i);
        ag_fprintf(file, "%s,%s,%lld,%.9f,%.9f,%.9f,%.0f\n", row.op, row.path == NULL ? "" : row.path,
                   (long long)row.calls, row.forward, row.backward, row.again, row.multiply_adds);
    }
    bool good = program_close("lm", file, path);
    fputc('\n', stderr);
    good = ag_profile_print(r->profile, stderr) == AG_OK && good;
    fputc('\n', stderr);
    return good;
}

static bool close_log(run *r)
{
    FILE *log = r->log;
    r->log = NULL;
    return log == NULL || program_close("lm", log, r->log_path);
}

static bool end_run(run *r)
{
    bool saved = save(r);
    if (!close_log(r) || !saved || (r->profile != NULL && !show_profile(r)))
        return false;
    if (interrupted) {
        fprintf(stderr, "\nstopped after step %lld and saved; to go on, give the same options and --resume %s\n",
                (long long)r->step, r->model_path);
        return true;
    }
    if (!show_sample(r, 600))
        return false;
    double loss = validate(r, 0);
    ag_fprintf(stderr, "validation loss %.4f nats per %s, %.4f bits per byte on the whole validation text, %.1f s\n",
               loss, token_noun[r->corpus.vocab.kind], corpus_bits_per_byte(&r->corpus, loss), now() - r->started);
    fprintf(stderr, "wrote %s and %s; let it write with: lm sample --model %s --prompt \"...\"\n",
            r->model_path, r->log_path, r->model_path);
    return true;
}

static void train(void *argument)
{
    run *r = argument;
    r->good = train_loop(r) && end_run(r);
}

int lm_train(const train_options *options)
{
    run r = { .o = *options };
    r.good = set_up(&r);
    if (r.good) {
        introduce(&r);
        r.profile = r.o.profile ? ag_profile_new(r.model.ctx, now) : NULL;
        signal(SIGINT, on_interrupt);
        signal(SIGTERM, on_interrupt);
        signal(SIGPIPE, on_interrupt); /* no one reads the output any more: save and end */
        ag_with_threads(r.model.ctx, train, &r);
    }
    r.good = close_log(&r) && r.good;
    ag_profile_free(r.profile);
    ag_optimizer_free(r.optimizer);
    model_free(&r.model);
    corpus_free(&r.corpus);
    if (r.model.ctx != NULL && ag_ctx_free(r.model.ctx) != 0) {
        fprintf(stderr, "lm: tensors are still held at the end\n");
        r.good = false;
    }
    return r.good ? EXIT_SUCCESS : EXIT_FAILURE;
}
