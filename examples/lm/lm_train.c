/* SPDX-License-Identifier: MIT
 *
 * lm_train.c - see lm_train.h. B windows of T tokens a step; the loss is in nats per token.
 */
#include "examples/lm/lm_advice.h"
#include "examples/lm/lm_checkpoint.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_plan.h"
#include "examples/lm/lm_processes.h"
#include "examples/lm/lm_report.h"
#include "examples/lm/lm_step.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct training {
    run r;
    progress p;
    advice a;
    const char *resumed; /* the folder of the run to go on with; NULL: a new run */
    bool good;           /* so far */
    bool patient;        /* false: validation has not improved for --patience reports */
    volatile const sig_atomic_t *stop; /* the signal to end, or 0 */
} training;

/* ---- Setting up ---- */

/* The settings that others decide: the optimizer, and sizes and steps once they are known. */
static void fill_in(train_options *o)
{
    bool sgd = o->optimizer == OPTIMIZER_SGD;
    if (o->lr < 0)
        o->lr = sgd ? 0.1 : 4e-3;
    if (o->weight_decay < 0)
        o->weight_decay = sgd ? 0 : 0.2;
    if (o->heads == 0 && o->emb > 0)
        o->heads = plan_heads(o);
    if (o->steps == 0)
        return;
    if (o->warmup == SETTING_AUTO)
        o->warmup = o->steps / 10 < 100 ? o->steps / 10 : 100;
    if (o->report == 0)
        o->report = o->steps / 24 > 10 ? o->steps / 24 : 10;
    if (o->sample == SETTING_AUTO)
        o->sample = 5 * o->report;
}

/* The bundled novel's path: from a folder above the program, where the program's is known, so that `lm train` works in
 * every working directory; in the sources or, of an installed program, in share/. */
static void bundled_text(char path[RUN_PATH])
{
    static const char *const name[] = { "examples/data/pride_and_prejudice.txt",
                                        "share/attngrad/pride_and_prejudice.txt" };
    enum { NAMES = sizeof name / sizeof *name, LONGEST = 40 };
    const bool known = system_program(path, RUN_PATH - LONGEST);
    for (char *slash; known && (slash = strrchr(path, '/')) != NULL; *slash = '\0')
        for (int i = 0; i < NAMES; i++) {
            strcpy(slash + 1, name[i]);
            if (system_exists(path))
                return;
            slash[1] = '\0';
        }
    strcpy(path, name[0]);
}

/* Whether part divides whole; if not, says which numbers do. 0: not chosen yet. */
static bool divides(const char *part_name, uint64_t part, const char *whole_name, uint64_t whole)
{
    if (part == 0 || whole % part == 0)
        return true;
    fprintf(stderr, "lm train: %s %llu: must divide %s %llu:", part_name, (unsigned long long)part, whole_name,
            (unsigned long long)whole);
    const char *between = " ";
    for (uint64_t d = 1; d <= whole && d <= 64; d++)
        if (whole % d == 0) {
            fprintf(stderr, "%s%llu", between, (unsigned long long)d);
            between = ", ";
        }
    fprintf(stderr, whole > 64 ? ", ...\n" : "\n");
    return false;
}

static bool is_below_1(const char *name, double value)
{
    if (value < 1)
        return true;
    ag_fprintf(stderr, "lm train: %s is %g, must be at least 0 and below 1\n", name, value);
    return false;
}

/* Sizes and steps that --minutes has not chosen yet are 0. */
static bool check_options(const run *r)
{
    const train_options *o = &r->o;
    if (!is_below_1("--momentum", o->momentum) || !is_below_1("--dropout", o->dropout))
        return false;
    if (o->lr == 0) {
        fprintf(stderr, "lm train: --lr is 0, must be above 0\n");
        return false;
    }
    if (!divides("--heads", o->heads, "--emb", o->emb) || !divides("--kv-heads", o->kv_heads, "--heads", o->heads))
        return false;
    if (o->kinds.positions == POSITIONS_ROTARY && o->emb % 2 != 0) {
        fprintf(stderr, "lm train: --emb %llu: rotary positions need an even number; give other --emb or --positions\n",
                (unsigned long long)o->emb);
        return false;
    }
    if (o->kinds.positions == POSITIONS_ROTARY && o->heads > 0 && o->emb / o->heads % 2 != 0) {
        fprintf(stderr, "lm train: --heads %llu: heads of %llu channels, rotary positions need an even number; give "
                        "other --heads, --emb or --positions\n", (unsigned long long)o->heads,
                (unsigned long long)(o->emb / o->heads));
        return false;
    }
    if (!divides("--accumulate", o->accumulate, "--batch", o->batch) ||
        !divides("mpirun -n", (uint64_t)processes_count(), "--accumulate", o->accumulate))
        return false;
    if (processes_count() > 1 && (o->minutes > 0 || o->dry_run)) {
        fprintf(stderr, "lm train: %s measures one process; leave it out, or start lm without mpirun\n",
                o->minutes > 0 ? "--minutes" : "--dry-run");
        return false;
    }
    if (o->warmup >= o->steps && o->warmup > 0 && o->steps > 0) {
        fprintf(stderr, "lm train: --steps %llu ends within the warm-up; give --warmup %llu or less, or more steps\n",
                (unsigned long long)o->steps, (unsigned long long)o->steps / 10);
        return false;
    }
    return true;
}

/* The text must hold a training window and one validation token with its successor. */
static bool check_corpus(const run *r)
{
    const corpus *c = &r->corpus;
    int64_t wanted = (int64_t)r->o.context + 1, most = c->train_count - 1;
    if (c->train_count >= wanted && c->train_count >= 2 && c->count - c->train_count >= 2)
        return true;
    if (r->o.val != NULL && c->count - c->train_count < 2)
        fprintf(stderr, "lm: %s: a text to validate on needs at least 2 tokens\n", r->o.val);
    else if (most < 1 || c->count - c->train_count < 2)
        fprintf(stderr, "lm: the text has too few tokens, %lld: 20 are needed, and many thousands to learn from\n",
                (long long)c->count);
    else
        fprintf(stderr, "lm: the text has %lld tokens, of which %lld are for training; a context of %lld needs %lld: "
                        "give --context %lld or less, or more text\n", (long long)c->count,
                (long long)c->train_count, (long long)r->o.context, (long long)wanted, (long long)most);
    return false;
}

static bool read_corpus(training *t, raw_text *raw)
{
    static const int64_t pairs_from = 100000; /* bytes of text; from less, pairs learn no more than characters */
    run *r = &t->r;
    static char bundled[RUN_PATH], *only[] = { bundled };
    const vocab *known = r->model.gpt == NULL ? NULL : &r->model.vocab;
    token_kind kind = known != NULL ? known->kind : r->o.level == LEVEL_AUTO ? TOKENS_CHAR : (token_kind)r->o.level;
    if (r->o.files.count == 0) {
        bundled_text(bundled);
        r->o.files = (option_words){ only, 1 };
    }
    if (!text_read(raw, (text_files){ (const char *const *)r->o.files.word, r->o.files.count, r->o.val,
                                      plan_text_bytes() }, kind))
        return false;
    r->file_count = raw->files;
    text_mark(raw, r->mark);
    if (known == NULL && r->o.level == LEVEL_AUTO && raw->size >= pairs_from)
        kind = TOKENS_BPE;
    r->o.level = (int)kind;
    if (kind == TOKENS_BPE && r->o.vocab == 0)
        r->o.vocab = 1024;
    return corpus_make(&r->corpus, raw, known, kind, (int32_t)r->o.vocab);
}

/* Chooses what --minutes leaves open, once the text is known. */
static bool choose_settings(training *t)
{
    run *r = &t->r;
    if (!check_corpus(r)) /* with --minutes the context may be open yet: 0 */
        return false;
    if (r->o.minutes > 0) {
        fprintf(stderr, "measuring this machine for two seconds...\n");
        if (!plan_minutes(r))
            return false;
    }
    if (r->o.dropout < 0)
        r->o.dropout = plan_dropout(r);
    if (r->model.gpt != NULL && ag_gpt_config_of(r->model.gpt)->dropout != r->o.dropout)
        run_free_model(r); /* run_make_model takes it from --from again */
    fill_in(&r->o);
    return check_options(r) && check_corpus(r) && plan_fits(r);
}

static bool set_up(training *t)
{
    run *r = &t->r;
    raw_text raw = { .size = 0 };
    fill_in(&r->o);
    if (!check_options(r) || (t->resumed == NULL && !r->o.dry_run && !run_may_begin(r)))
        return false;
    r->model.recompute = r->o.recompute;
    r->model.dropout = &r->o.dropout;
    if (r->o.threads == 0)
        r->o.threads = processes_threads();
    r->model.ctx = program_context("lm train", r->o.seed, r->o.threads);
    if (r->model.ctx == NULL)
        return false;
    if (t->resumed != NULL)
        snprintf(r->folder, sizeof r->folder, "%s", t->resumed);
    bool good = (t->resumed == NULL ? r->o.from == NULL || run_start_from(r) : checkpoint_model(r)) &&
                read_corpus(t, &raw) && choose_settings(t) && run_make_model(r) &&
                (r->o.dry_run || (r->link != NULL      ? checkpoint_load(r)
                                  : t->resumed != NULL ? run_resume(r)
                                                       : run_begin(r, &raw)));
    text_free(&raw);
    return good;
}

/* ---- Reports ---- */

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

static void introduce_kind(const ag_transformer_config *c)
{
    model_kinds kinds = model_kinds_of(c);
    char heads[40] = "", window[40] = "", dropout[40] = "";
    if (c->attention.kv_heads != c->num_heads)
        snprintf(heads, sizeof heads, ", %lld key head%s", (long long)c->attention.kv_heads,
                 plural(c->attention.kv_heads));
    if (c->attention.mask.back > 0)
        snprintf(window, sizeof window, ", window %lld", (long long)c->attention.mask.back);
    if (c->dropout > 0)
        ag_snprintf(dropout, sizeof dropout, ", dropout %g", c->dropout);
    const char *positions = position_word[kinds.positions];
    fprintf(stderr, "kind      %s positions, %s norm, %s feed-forward%s%s%s%s\n",
            strcmp(positions, "none") == 0 ? "no" : positions, norm_word[kinds.norm],
            feed_forward_word[kinds.feed_forward], heads, window,
            c->attention.qk_norm ? ", query and key norm" : "", dropout);
}

static void introduce(const run *r)
{
    const ag_transformer_config *c = ag_gpt_config_of(r->model.gpt);
    const token_kind kind = r->corpus.vocab.kind;
    const char *last = strrchr(r->o.files.word[0], '/');
    fprintf(stderr, "text      %s%s: %lld %s\n", last == NULL ? r->o.files.word[0] : last + 1,
            r->file_count > 1 ? " and others" : "", (long long)r->corpus.count,
            kind == TOKENS_CHAR ? "characters" : kind == TOKENS_BYTE ? "bytes" : "tokens");
    fprintf(stderr, "split     %lld to train on, %lld to validate (%s)\n", (long long)r->corpus.train_count,
            (long long)(r->corpus.count - r->corpus.train_count), r->o.val == NULL ? "the last tenth" : r->o.val);
    fprintf(stderr, "vocab     %d\n", (int)r->corpus.vocab.size);
    fprintf(stderr, "model     %lld parameters: %lld layer%s, %lld head%s of %lld, embedding %lld\n",
            (long long)ag_module_numel(ag_gpt_module(r->model.gpt)), (long long)c->num_layers, plural(c->num_layers),
            (long long)c->num_heads, plural(c->num_heads), (long long)c->head_size, (long long)c->emb_size);
    introduce_kind(c);
    char processes[40] = "", parts[40] = "";
    if (processes_count() > 1)
        snprintf(processes, sizeof processes, "%lld processes with ", (long long)processes_count());
    if (r->o.accumulate > 1)
        snprintf(parts, sizeof parts, " in %llu parts", (unsigned long long)r->o.accumulate);
    const int threads = ag_ctx_threads(r->model.ctx);
    fprintf(stderr, "training  %s, %llu step%s of %llu x %llu tokens%s, %s%d thread%s, %s kernels\n",
            r->o.optimizer == OPTIMIZER_SGD ? "SGD" : "AdamW", (unsigned long long)r->o.steps,
            plural((int64_t)r->o.steps), (unsigned long long)r->o.batch, (unsigned long long)r->o.context, parts,
            processes, threads, plural(threads), ag_ctx_isa(r->model.ctx));
}

static void introduce_chance(const run *r)
{
    const baselines *b = &r->corpus.chance;
    ag_fprintf(stderr, "baselines uniform %.3f  unigram %.3f  bigram %.3f nats per %s\n", b->uniform, b->unigram,
               b->bigram, token_noun[r->corpus.vocab.kind]);
    ag_fprintf(stderr, "          uniform %.3f  unigram %.3f  bigram %.3f bits per byte\n",
               corpus_bits_per_byte(&r->corpus, b->uniform), corpus_bits_per_byte(&r->corpus, b->unigram),
               corpus_bits_per_byte(&r->corpus, b->bigram));
    fprintf(stderr, "run       %s%s\n\n", r->folder, r->s.step > 0 ? ", which goes on" : "");
}

/* ---- Training ---- */

/* Writes a sample to stdout and samples.txt, drawn from a random stream of its own, so that training is the same
 * without it. False on error. */
static bool show_sample(run *r, int64_t length, FILE *kept)
{
    ag_rng before = ag_rng_get(r->model.ctx);
    system_memory memory;
    int32_t start = vocab_start(&r->model.vocab);
    ag_rng_set(r->model.ctx, (ag_rng){ .seed = r->o.seed + 1000 });
    bool good = system_memory_begin(&memory) != NULL &&
                model_write(&r->model, &start, 1, length, &(sampling){ .temperature = 0.8 }, memory.file);
    ag_rng_set(r->model.ctx, before);
    char *sample = system_memory_end(&memory);
    if (sample != NULL && good) {
        FILE *const to[] = { stdout, kept };
        for (int i = 0; i < 2 && to[i] != NULL; i++) {
            ag_fprintf(to[i], "--- sample after step %.0f ---\n%s\n---\n", r->s.step, sample);
            fflush(to[i]);
        }
    }
    free(sample);
    return good;
}

static void note_best(run *r, double val)
{
    if (!(val < (double)INFINITY) || (r->s.best_step > 0 && !(val < r->s.best_loss)))
        return;
    r->s.best_step = r->s.step;
    r->s.best_loss = val;
}

/* Whether --patience lets the run go on. */
static bool is_patient(const run *r)
{
    return r->o.patience == 0 || r->s.step - r->s.best_step < (double)(r->o.patience * r->o.report);
}

/* A row of the log, a line of progress, the best model kept, warnings. */
static bool report(training *t)
{
    run *r = &t->r;
    progress_pause(&t->p);
    double loss = r->s.loss_sum / r->s.loss_count, val = run_validate(r, VALIDATION_WINDOWS);
    note_best(r, val);
    ag_fprintf(r->log, "%.0f,%.9g,%.9g,%.9g,%.9g\n", r->s.step, loss, val, r->gnorm, r->lr);
    r->s.loss_sum = r->s.loss_count = 0;
    bool good = run_logs_whole(r) && (r->s.best_step < r->s.step || run_save_best(r));
    progress_report(&t->p, loss, val, r->gnorm, r->lr);
    advise_report(&t->a, r, &t->p, loss, val);
    t->patient = is_patient(r);
    progress_resume(&t->p);
    ag_profile_note(r->profile, "validation");
    if (!good)
        run_explain_rest(r);
    return good;
}

static bool sample_on_the_way(training *t)
{
    progress_pause(&t->p);
    bool good = show_sample(&t->r, 200, t->r.samples);
    progress_resume(&t->p);
    ag_profile_note(t->r.profile, "sample");
    return good;
}

static bool save(training *t)
{
    bool good = run_save(&t->r);
    if (!good)
        run_explain_rest(&t->r);
    return good;
}

/* Another process has ended or failed: the run is saved as it was before the step. */
static bool lost_process(training *t)
{
    run *r = &t->r;
    fprintf(stderr, "lm train: %s\n", ag_error_message(r->model.ctx));
    ag_error_clear(r->model.ctx);
    if (!save(t))
        return false;
    ag_fprintf(stderr, "lm train: another process has ended; step %.0f is saved, go on with:\n    ", r->s.step);
    command_print(stderr, (const char *const[]){ "train", "--continue", r->folder, NULL });
    fputc('\n', stderr);
    return false;
}

static bool failed_step(training *t)
{
    progress_pause(&t->p);
    if (t->r.link != NULL && ag_error(t->r.model.ctx) == AG_ERR_STATE)
        return lost_process(t);
    t->r.link = NULL; /* the others end; one process makes the same steps */
    if (ag_error(t->r.model.ctx) == AG_ERR_NUMBER) {
        explain_infinity(&t->r, t->stop);
        return false;
    }
    run_explain_rest(&t->r);
    return model_error(&t->r.model);
}

/* Whether all processes go on. False, with the context's error set, when one can not be reached. */
static bool agree(run *r, bool *go_on)
{
    if (!processes_agree(r->link, go_on))
        ag_fail(r->model.ctx, AG_ERR_STATE, "step", "the other processes can not be reached");
    return ag_error(r->model.ctx) == AG_OK;
}

static bool train_loop(training *t)
{
    run *r = &t->r;
    double loss;
    progress_begin(&t->p, (int64_t)r->s.step, (int64_t)r->o.steps, (double)(r->o.batch * r->o.context));
    t->patient = is_patient(r);
    for (;;) {
        bool go_on = r->s.step < (double)r->o.steps && t->patient && *t->stop == 0;
        if (!agree(r, &go_on) || (go_on && !run_step(r, false, &loss)))
            return failed_step(t);
        if (!go_on)
            return true;
        int64_t step = (int64_t)r->s.step;
        r->s.loss_sum += loss;
        r->s.loss_count++;
        advise_step(&t->a, step, loss);
        progress_step(&t->p, step, loss);
        bool last = step == (int64_t)r->o.steps, due = step % (int64_t)r->o.report == 0;
        if ((due || last) && !report(t))
            return false;
        if (r->o.sample > 0 && step % (int64_t)r->o.sample == 0 && !last && t->patient && !sample_on_the_way(t))
            return false;
        if (due && !last) {
            plan_again(r, t->p.began);
            progress_change(&t->p, (int64_t)r->o.steps);
        }
        if (seconds() - r->saved_at >= r->o.checkpoint && !save(t))
            return false;
    }
}

/* ---- The end ---- */

/* The profile as a table on stderr, and its rows as profile.csv. */
static bool show_profile(const run *r)
{
    char path[RUN_PATH];
    FILE *file = NULL;
    if (snprintf(path, sizeof path, "%s/profile.csv", r->folder) < (int)sizeof path)
        file = program_open("lm", path, "w");
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

/* The end of a run that was stopped. */
static bool stopped(const training *t)
{
    const run *r = &t->r;
    ag_fprintf(stderr, "\nstopped after step %.0f of %llu by %s, and saved; go on with:\n    ", r->s.step,
               (unsigned long long)r->o.steps, system_stop_name(*t->stop));
    command_print(stderr, (const char *const[]){ "train", "--continue", r->folder, NULL });
    fputc('\n', stderr);
    return true;
}

/* A word before a validation that takes some seconds. */
static void say_validation(const training *t, double tokens)
{
    static const double of_training = 3; /* as many tokens a second as training, which has a backward */
    const double speed = of_training * progress_speed(&t->p);
    if (speed > 0 && tokens / speed > 2)
        ag_fprintf(stderr, "validating the best model on %.0f tokens, about %.0f s\n", tokens, tokens / speed);
}

static bool end_run(training *t)
{
    run *r = &t->r;
    double time = seconds() - t->p.began;
    progress_pause(&t->p);
    if (!save(t) || (r->profile != NULL && !show_profile(r)))
        return false;
    const double last = r->s.step;
    if (*t->stop != 0 && last < (double)r->o.steps && t->patient)
        return stopped(t);
    if (!folder_has(r->folder, FOLDER_BEST)) /* its folder was removed meanwhile */
        r->s.best_step = last;
    if (r->s.best_step < last && !checkpoint_load_best(r))
        return false;
    const int64_t some = run_last_windows(r);
    const bool all = run_validated(r, some) == run_windows(r);
    say_validation(t, (double)run_validated(r, some) * (double)r->o.context);
    const double whole = run_validate(r, some);
    r->s.step = r->s.best_step;
    if (!show_sample(r, 600, NULL))
        return false;
    ag_fprintf(stderr, "end       %s: step %.0f, %.1f s, %.0f tokens/s\n",
               t->patient ? "all steps made" : "no better validation loss for --patience reports", last, time,
               progress_speed(&t->p));
    ag_fprintf(stderr, "best      step %.0f: validation loss ", r->s.best_step);
    corpus_print_loss(stderr, &r->corpus, whole);
    fprintf(stderr, ", on %s\n", all ? "all the text" : "about a million of its tokens");
    if (!report_write(r, whole))
        return false;
    fprintf(stderr, "wrote     %s/: best.safetensors, last.safetensors, log.csv, report.html\nsample    ", r->folder);
    command_print(stderr, (const char *const[]){ "sample", "--model", r->folder, NULL });
    fputc('\n', stderr);
    return true;
}

static void train(void *argument)
{
    training *t = argument;
    t->good = train_loop(t) && end_run(t);
}

/* Whether there is something left to train, or the run was stopped in its ending; if not, says so. */
static bool goes_on(const run *r)
{
    if (!folder_has(r->folder, FOLDER_REPORT)) /* which is written last */
        return true;
    bool all = r->s.step >= (double)r->o.steps;
    if (all)
        ag_fprintf(stderr, "lm train: %s has made all its %.0f steps; --steps N, more than that, trains it further\n",
                   r->folder, r->s.step);
    else if (!is_patient(r))
        ag_fprintf(stderr, "lm train: %s has ended at step %.0f by --patience %llu\n", r->folder, r->s.step,
                   (unsigned long long)r->o.patience);
    return !all && is_patient(r);
}

/* Has the other processes, if there are any, train this run too. */
static bool join_processes(training *t)
{
    run *r = &t->r;
    led_run led = { .config = checkpoint_config(r), .threads = r->o.threads };
    snprintf(led.folder, sizeof led.folder, "%s", r->folder);
    if (led.config == NULL) {
        fprintf(stderr, "lm: out of memory for the settings\n");
        return false;
    }
    r->link = processes_join(&led, t->stop);
    free(led.config);
    return true;
}

/* Frees all; the exit status. */
static int tear_down(training *t)
{
    run *r = &t->r;
    t->good = run_close(r) && t->good;
    ag_profile_free(r->profile);
    run_free_model(r);
    corpus_free(&r->corpus);
    run_free(r);
    if (r->model.ctx != NULL && ag_ctx_free(r->model.ctx) != 0) {
        fprintf(stderr, "lm: tensors are still held at the end\n");
        t->good = false;
    }
    return t->good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int lm_train(const train_options *options, const char *folder)
{
    training t = { .r = { .o = *options, .began = seconds() }, .resumed = folder };
    run *r = &t.r;
    t.good = set_up(&t) && goes_on(r);
    if (t.good && r->o.dry_run) {
        introduce(r);
        t.good = plan_print(r);
    } else if (t.good) {
        introduce(r);
        introduce_chance(r);
        t.a.chance = r->corpus.chance;
        r->profile = r->o.profile ? ag_profile_new(r->model.ctx, seconds) : NULL;
        t.stop = system_catch_stops();
        t.good = join_processes(&t);
        if (t.good)
            ag_with_threads(r->model.ctx, train, &t);
    }
    return tear_down(&t);
}

/* ---- A process that is led ---- */

static void follow(void *argument)
{
    training *t = argument;
    double loss;
    bool go_on = true;
    while (t->good && go_on) {
        go_on = *t->stop == 0;
        t->good = agree(&t->r, &go_on) && (!go_on || run_step(&t->r, false, &loss));
    }
    const ag_status status = ag_error(t->r.model.ctx);
    if (status != AG_OK && status != AG_ERR_STATE && status != AG_ERR_NUMBER) /* those are everyone's */
        model_error(&t->r.model);
}

int lm_train_led_by(const train_options *options, const char *folder, const ag_processes *link)
{
    training t = { .r = { .o = *options, .link = link }, .resumed = folder };
    t.stop = system_catch_stops();
    t.good = set_up(&t);
    if (t.good)
        ag_with_threads(t.r.model.ctx, follow, &t);
    return tear_down(&t);
}
