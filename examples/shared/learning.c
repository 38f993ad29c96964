/* SPDX-License-Identifier: MIT
 *
 * learning.c - see learning.h.
 */
#include "examples/shared/learning.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One step; its loss, NaN after an error. */
static double train_step(const learning *l, ag_optimizer *optimizer)
{
    double value = (double)NAN;
    ag_tape *tape = ag_tape_begin(l->ctx);
    ag_tensor *loss = l->loss(l->user);
    ag_status status = ag_backward(tape, loss);
    if (status == AG_OK)
        status = ag_item(loss, &value);
    ag_tape_end(tape);
    if (status == AG_OK)
        status = ag_clip_grad_norm(l->module, 1, NULL);
    if (status == AG_OK)
        ag_optimizer_step(optimizer);
    ag_module_zero_grad(l->module);
    return value;
}

/* On a terminal one line that is written over, else one line each tenth of the way. */
static void report(const learning *l, int64_t done, double loss, double began)
{
    bool terminal = isatty(STDERR_FILENO);
    double left = (seconds() - began) / (double)done * (double)(l->steps - done);
    ag_fprintf(stderr, "%s%s: step %lld/%lld %3lld%% | loss %.4f | %02d:%02d left%s", terminal ? "\r" : "", l->program,
               (long long)done, (long long)l->steps, (long long)(100 * done / l->steps), loss, (int)left / 60,
               (int)left % 60, terminal && done < l->steps ? "" : "\n");
}

static void steps(void *argument)
{
    const learning *l = argument;
    ag_optimizer *optimizer = ag_adamw_new(l->module, (ag_adamw_config){ .lr = l->lr, .beta2 = 0.99,
                                                                         .weight_decay = l->weight_decay });
    ag_schedule schedule = { AG_LR_COSINE, l->lr, l->lr / 20, l->steps / 20 + 1, l->steps };
    double began = seconds(), shown = began, sum = 0;
    int64_t count = 0;
    const bool stops = l->stop != NULL;
    for (int64_t step = 0; step < l->steps && ag_error(l->ctx) == AG_OK && !(stops && *l->stop != 0); step++) {
        ag_optimizer_set_lr(optimizer, ag_schedule_lr(&schedule, step));
        double loss = train_step(l, optimizer);
        sum += loss;
        count++;
        bool tenth = (step + 1) % (l->steps > 10 ? l->steps / 10 : 1) == 0;
        if (step + 1 == l->steps || (isatty(STDERR_FILENO) ? seconds() - shown > 0.2 : tenth)) {
            report(l, step + 1, sum / (double)count, began);
            shown = seconds();
            sum = 0;
            count = 0;
        }
    }
    ag_optimizer_free(optimizer);
}

bool learn(learning *l)
{
    ag_with_threads(l->ctx, steps, l);
    return ag_error(l->ctx) == AG_OK;
}
