/* SPDX-License-Identifier: MIT
 *
 * lm_progress.h - how far a run is, on stderr.
 *
 * On a terminal one line is written over: step, share, losses, speed, time left and the course of the loss, as much of
 * it as fits. Elsewhere, and where TERM is dumb, a line per report. No colour where NO_COLOR is set.
 */
#ifndef EXAMPLES_LM_PROGRESS_H
#define EXAMPLES_LM_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

enum { PROGRESS_LOSSES = 64 };

typedef struct progress {
    bool terminal, colour, blocks; /* blocks: the terminal shows UTF-8 */
    int64_t step, total, said_total; /* said_total: the number of steps that was printed last */
    double loss, val; /* of the last steps; of the last report, 0: none yet */
    double began, shown, paused, pause_began; /* in seconds; paused is not in the speed */
    double from; /* since when speed is measured: the first seconds are slow */
    int64_t from_step;
    double tokens;                    /* of a step */
    double course[PROGRESS_LOSSES];   /* mean losses of `width` steps each, the last one growing */
    int64_t course_count, course_width, course_steps; /* steps in the last one */
} progress;

void progress_begin(progress *p, int64_t step, int64_t total, double tokens);
void progress_change(progress *p, int64_t total); /* another number of steps; a line when it is clearly another */
void progress_step(progress *p, int64_t step, double loss);

/* A line that stays. */
void progress_report(progress *p, double loss, double val, double gnorm, double lr);

/* Between these, other lines may be written; the time is not in the speed. */
void progress_pause(progress *p);
void progress_resume(progress *p);

double progress_speed(const progress *p); /* tokens per second; 0: not measured yet */

/* "warning: " and the text, in colour where there is any. */
void progress_warn(progress *p, const char *format, ...);

#endif
