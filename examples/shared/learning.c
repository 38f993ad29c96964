/* SPDX-License-Identifier: MIT
 *
 * learning.c - see learning.h.
 */
#include "examples/shared/learning.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- The checkpoint ---- */

static const char key_training[] = "training", key_steps[] = "steps";

static void save(const learning *l, const ag_optimizer *optimizer, int64_t done)
{
    char steps_done[24];
    snprintf(steps_done, sizeof steps_done, "%lld", (long long)done);
    const ag_metadata entry[] = { { key_training, l->training }, { key_steps, steps_done } };
    ag_checkpoint_save(l->checkpoint, l->module, optimizer, entry, sizeof entry / sizeof *entry);
}

/* Loads the checkpoint if there is one. Returns the steps that it has behind it; 0, with the context's error set, when
 * it can not be gone on from. */
static int64_t resume(const learning *l, ag_optimizer *optimizer)
{
    FILE *there = l->checkpoint == NULL ? NULL : fopen(l->checkpoint, "rb");
    if (there == NULL)
        return 0;
    fclose(there);
    ag_safetensors *file = ag_safetensors_open(l->ctx, l->checkpoint);
    const char *training = file == NULL ? NULL : ag_safetensors_metadata(file, key_training);
    const char *steps_done = training == NULL ? NULL : ag_safetensors_metadata(file, key_steps);
    const int64_t done = steps_done == NULL ? 0 : strtoll(steps_done, NULL, 10);
    const bool same = done > 0 && strcmp(training, l->training) == 0;
    if (file != NULL && !same)
        ag_fail(l->ctx, AG_ERR_FILE, "checkpoint", "%s is of another training (%s), this one is %s", l->checkpoint,
                training == NULL ? "unknown" : training, l->training);
    ag_safetensors_close(file);
    if (!same || ag_checkpoint_load(l->checkpoint, l->module, optimizer) != AG_OK)
        return 0;
    fprintf(stderr, "%s: goes on after step %lld, from %s\n", l->program, (long long)done, l->checkpoint);
    return done;
}

/* ---- The loop ---- */

/* On a terminal one line that is written over, else one line each tenth of the way. */
static void report(const learning *l, int64_t done, double loss, double step_time)
{
    bool terminal = system_is_terminal(stderr);
    double left = step_time * (double)(l->steps - done);
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
    const int64_t first = resume(l, optimizer);
    double began = seconds(), shown = began, saved = began, sum = 0;
    int64_t count = 0;
    const bool stops = l->stop != NULL;
    for (int64_t step = first; step < l->steps && ag_error(l->ctx) == AG_OK && !(stops && *l->stop != 0); step++) {
        ag_optimizer_set_lr(optimizer, ag_schedule_lr(&schedule, step));
        double loss = train_step(l, optimizer);
        sum += loss;
        count++;
        bool tenth = (step + 1) % (l->steps > 10 ? l->steps / 10 : 1) == 0;
        if (step + 1 == l->steps || (system_is_terminal(stderr) ? seconds() - shown > 0.2 : tenth)) {
            report(l, step + 1, sum / (double)count, (seconds() - began) / (double)(step + 1 - first));
            shown = seconds();
            sum = 0;
            count = 0;
        }
        if (l->checkpoint != NULL && seconds() - saved >= l->checkpoint_every) {
            save(l, optimizer, step + 1);
            saved = seconds();
        }
    }
    ag_optimizer_free(optimizer);
}

bool learn(learning *l)
{
    ag_with_threads(l->ctx, steps, l);
    return ag_error(l->ctx) == AG_OK;
}
