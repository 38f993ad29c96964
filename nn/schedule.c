/* SPDX-License-Identifier: MIT
 *
 * schedule.c - learning rates by step: warm-up, then constant, linear or cosine, by the formulas of nn.h.
 */
#include "nn/training.h"

#include <math.h>

#define PI 3.14159265358979323846

double ag_schedule_lr(const ag_schedule *schedule, int64_t step)
{
    if (schedule == NULL)
        return (double)NAN;
    double lr = schedule->lr, min_lr = schedule->min_lr;
    int64_t warmup = schedule->warmup_steps, last = schedule->total_steps - 1;
    if (step < 0)
        step = 0;
    if (step < warmup)
        return lr * ((double)(step + 1) / (double)warmup);
    if (schedule->kind == AG_LR_CONSTANT)
        return lr;
    if (step >= last)
        return min_lr;
    double progress = (double)(step - warmup) / (double)(last - warmup);
    if (schedule->kind == AG_LR_COSINE)
        progress = (1 - cos(PI * progress)) / 2;
    return lr + progress * (min_lr - lr);
}
