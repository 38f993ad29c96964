/* SPDX-License-Identifier: MIT
 *
 * lm_advice.c - see lm_advice.h.
 */
#include "examples/lm/lm_advice.h"
#include "examples/lm/lm_checkpoint.h"
#include "examples/lm/lm_step.h"

#include <string.h>

/* Loss from which on a run has diverged: clearly above chance, or far above what it had reached. */
static double too_high(const advice *a)
{
    static const double above_chance = 0.3, above_least = 1;
    double chance = a->chance.uniform + above_chance, least = a->least + above_least;
    return a->least > 0 && least < chance ? least : chance;
}

void advise_step(advice *a, int64_t step, double loss)
{
    if (!(loss > too_high(a)))
        a->high_since = 0;
    else if (a->high_since == 0)
        a->high_since = step;
}

static void advise_divergence(advice *a, const run *r, progress *p, double loss)
{
    if (a->said_divergence || a->high_since == 0 || !(loss > too_high(a)))
        return;
    a->said_divergence = true;
    progress_warn(p, "lower --lr (now %g): diverged at step %lld; the loss is %.2f, chance gives %.2f", r->o.lr,
                  (long long)a->high_since, loss, a->chance.uniform);
}

/* A model that knows no more than how frequent each token is, late in the run. */
static void advise_plateau(advice *a, const run *r, progress *p, double loss)
{
    static const double near = 0.02;
    double past = r->s.step - (double)r->o.warmup;
    bool late = past > 2 * (double)r->o.report && r->s.step * 3 > (double)r->o.steps;
    if (a->said_plateau || a->said_divergence || !late || !(loss > a->chance.unigram - near))
        return;
    a->said_plateau = true;
    progress_warn(p, "plateau: after %.0f steps the loss %.3f is that of the tokens' frequencies alone (%.3f); "
                     "%s --lr (now %g)", r->s.step, loss, a->chance.unigram,
                  loss > a->chance.unigram + near ? "lower or raise" : "raise", r->o.lr);
}

static void advise_overfitting(advice *a, const run *r, progress *p, double loss, double val)
{
    enum { RISES = 3 };
    static const double clearly = 1.01;
    if (r->s.best_step == r->s.step)
        a->best_train = loss;
    a->rises = r->s.best_step < r->s.step && val > clearly * r->s.best_loss && loss < a->best_train ? a->rises + 1 : 0;
    if (a->said_overfitting || a->rises < RISES)
        return;
    a->said_overfitting = true;
    progress_warn(p, "overfitting: validation has risen since step %.0f (%.3f, now %.3f) while training falls; the "
                     "best is kept; more text, a smaller model or --dropout help, --patience N stops", r->s.best_step,
                  r->s.best_loss, val);
}

void advise_report(advice *a, const run *r, progress *p, double loss, double val)
{
    advise_divergence(a, r, p, loss);
    advise_plateau(a, r, p, loss);
    advise_overfitting(a, r, p, loss, val);
    if (a->least == 0 || loss < a->least)
        a->least = loss;
}

/* ---- A loss that is not finite ---- */

static void advise_change(const run *r, double from)
{
    fprintf(stderr, "lm: to change: ");
    if (r->o.clip == 0)
        fprintf(stderr, "give --clip 1; ");
    ag_fprintf(stderr, "lower --lr (%g at this step); raise --warmup (now %llu)\n", r->lr,
               (unsigned long long)r->o.warmup);
    ag_fprintf(stderr, "lm: %s/last.safetensors holds step %.0f, before the failure\n", r->folder, from);
}

void explain_infinity(run *r, volatile const sig_atomic_t *stop)
{
    char message[400];
    ag_ctx *ctx = r->model.ctx;
    double failed = r->s.step, loss = 0;
    snprintf(message, sizeof message, "%s", ag_error_message(ctx));
    ag_error_clear(ctx);
    ag_fprintf(stderr, "lm: step %.0f is not finite: %s\n", failed + 1, message);
    if (!checkpoint_load(r))
        return;
    double from = r->s.step;
    ag_fprintf(stderr, "lm: steps %.0f to %.0f are run again to find the source\n", from + 1, failed + 1);
    bool good = true;
    while (good && !*stop && r->s.step < failed)
        good = run_step(r, false, &loss);
    good = good && !*stop && run_step(r, true, &loss);
    if (!good && ag_error(ctx) == AG_ERR_NUMBER) {
        fprintf(stderr, "lm: found: %s\n", ag_error_message(ctx));
        advise_change(r, from);
    }
}
