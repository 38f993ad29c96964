/* SPDX-License-Identifier: MIT
 *
 * lm_progress.c - see lm_progress.h.
 */
#include "examples/lm/lm_progress.h"
#include "attngrad.h"
#include "examples/shared/system.h"

#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { LINE = 200, SPARK_LEAST = 8, SPARK_MOST = 24, WIDTH_LEAST = 20 };
static const double first_seconds = 2, between_draws = 0.1;

static bool says_utf8(void)
{
    static const char *const name[] = { "LC_ALL", "LC_CTYPE", "LANG" };
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(name[i]);
        if (value != NULL && value[0] != '\0')
            return strstr(value, "UTF-8") != NULL || strstr(value, "utf8") != NULL || strstr(value, "utf-8") != NULL;
    }
    return false;
}

void progress_begin(progress *p, int64_t step, int64_t total, double tokens)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    double now = seconds();
    *p = (progress){ .step = step, .total = total, .said_total = total, .tokens = tokens, .began = now, .from = now,
                     .from_step = step, .course_width = 1 };
    p->terminal = system_is_terminal(stderr) && term != NULL && strcmp(term, "dumb") != 0 && term[0] != '\0';
    p->colour = p->terminal && (no_colour == NULL || no_colour[0] == '\0');
    p->blocks = p->terminal && says_utf8();
}

/* The columns that a line may have: one less than the terminal, in whose last column a character may wrap. */
static int columns(const progress *p)
{
    if (!p->terminal)
        return LINE - 1;
    const char *given = getenv("COLUMNS");
    const int wide = system_columns(stderr), width = wide > 0 ? wide : given != NULL ? atoi(given) : 80;
    return width < WIDTH_LEAST ? WIDTH_LEAST - 1 : width < LINE ? width - 1 : LINE - 1;
}

double progress_speed(const progress *p)
{
    double time = seconds() - p->from - p->paused;
    return p->step > p->from_step && time > 0 ? (double)(p->step - p->from_step) * p->tokens / time : 0;
}

/* ---- The line ---- */

static const char *clock_text(double time, char text[24])
{
    long long s = time < 0 ? 0 : (long long)(time + 0.5);
    if (s < 3600)
        snprintf(text, 24, "%lld:%02lld", s / 60, s % 60);
    else
        snprintf(text, 24, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    return text;
}

static const char *speed_text(double speed, char text[24])
{
    if (speed >= 9999.5)
        ag_snprintf(text, 24, "%.0fk", speed / 1000);
    else
        ag_snprintf(text, 24, "%.0f", speed);
    return text;
}

/* The richest form of the line that fits; returns its columns. All in it is ASCII. */
static int compose(const progress *p, const char *more, int width, char line[LINE])
{
    char left[24], speed[24], val[24] = "", loss[24];
    double time = (seconds() - p->from) / (double)(p->step > p->from_step ? p->step - p->from_step : 1);
    clock_text(time * (double)(p->total - p->step), left);
    speed_text(progress_speed(p), speed);
    if (p->val != 0)
        ag_snprintf(val, sizeof val, " val %.3f", p->val);
    ag_snprintf(loss, sizeof loss, "%.3f", p->loss);
    long long step = p->step, total = p->total, share = 100 * step / total;
    int digits = snprintf(NULL, 0, "%lld", total), size = INT_MAX;
    for (int form = more[0] != '\0' ? 0 : 1; form < 7 && size > width; form++)
        size = form == 0 ? snprintf(line, LINE, "step %*lld/%lld %3lld%% | loss %s%s | %s | %s tok/s | %s left",
                                    digits, step, total, share, loss, val, more, speed, left)
             : form == 1 ? snprintf(line, LINE, "step %*lld/%lld %3lld%% | loss %s%s | %s tok/s | %s left",
                                    digits, step, total, share, loss, val, speed, left)
             : form == 2 ? snprintf(line, LINE, "%*lld/%lld %3lld%% loss %s%s %s left",
                                    digits, step, total, share, loss, val, left)
             : form == 3 ? snprintf(line, LINE, "%lld/%lld %lld%% loss %s%s %s", step, total, share, loss, val, left)
             : form == 4 ? snprintf(line, LINE, "%lld%% loss %s%s %s", share, loss, val, left)
             : form == 5 ? snprintf(line, LINE, "%lld%% %s %s", share, loss, left)
                         : snprintf(line, LINE, "%.*s", width, loss);
    return size;
}

/* The course of the loss in at most `width` columns, the lowest block for the lowest loss, on a logarithmic scale, so
 * that the late part has heights of its own too. */
static void draw_course(const progress *p, int width)
{
    double height_of[PROGRESS_LOSSES], least = (double)INFINITY, most = -(double)INFINITY;
    int64_t count = p->course_count;
    if (width > count)
        width = (int)count;
    for (int64_t i = 0; i < count; i++) {
        height_of[i] = log(p->course[i] > 0 ? p->course[i] : DBL_MIN);
        least = height_of[i] < least ? height_of[i] : least;
        most = height_of[i] > most ? height_of[i] : most;
    }
    fputs(p->colour ? "  \033[36m" : "  ", stderr);
    for (int64_t column = 0; column < width; column++) {
        double at = height_of[(column + 1) * count / width - 1], range = most - least;
        int height = range > 0 ? (int)((at - least) / range * 7.999) : 0;
        fprintf(stderr, "\xe2\x96%c", 0x81 + (height >= 0 && height < 8 ? height : 7));
    }
    fputs(p->colour ? "\033[0m" : "", stderr);
}

static void draw(progress *p)
{
    char line[LINE];
    int width = columns(p), size = compose(p, "", width, line);
    fprintf(stderr, "\r%s", line);
    if (p->blocks && width - size - 2 >= SPARK_LEAST && p->course_count > 1)
        draw_course(p, width - size - 2 < SPARK_MOST ? width - size - 2 : SPARK_MOST);
    fputs("\033[K", stderr);
    fflush(stderr);
    p->shown = seconds();
}

/* Joins neighbours when all places are taken. */
static void remember(progress *p, double loss)
{
    if (p->course_count == 0 || p->course_steps == p->course_width) {
        if (p->course_count == PROGRESS_LOSSES) {
            p->course_count /= 2;
            p->course_width *= 2;
            for (int64_t i = 0; i < p->course_count; i++)
                p->course[i] = (p->course[2 * i] + p->course[2 * i + 1]) / 2;
        }
        p->course[p->course_count++] = 0;
        p->course_steps = 0;
    }
    double *last = &p->course[p->course_count - 1];
    *last += (loss - *last) / (double)++p->course_steps;
}

void progress_change(progress *p, int64_t total)
{
    static const double clearly = 1.25;
    const double factor = (double)total / (double)p->said_total;
    p->total = total;
    if (factor < clearly && factor * clearly > 1)
        return;
    progress_warn(p, "%lld steps now, and not %lld: this machine's speed has changed", (long long)total,
                  (long long)p->said_total);
    p->said_total = total;
}

void progress_step(progress *p, int64_t step, double loss)
{
    static const double smoothing = 0.05;
    double now = seconds();
    p->step = step;
    p->loss += (p->course_count == 0 ? 1 : smoothing) * (loss - p->loss);
    remember(p, loss);
    if (p->from == p->began && now - p->began > first_seconds) {
        p->from = now;
        p->from_step = step;
        p->paused = 0;
    }
    if (p->terminal && now - p->shown > between_draws)
        draw(p);
}

void progress_report(progress *p, double loss, double val, double gnorm, double lr)
{
    char line[LINE], more[64];
    double smooth = p->loss;
    p->loss = loss;
    p->val = val;
    ag_snprintf(more, sizeof more, "gnorm %.2f lr %.1e", gnorm, lr);
    compose(p, more, columns(p), line);
    fprintf(stderr, "%s%s%s\n", p->terminal ? "\r" : "", line, p->terminal ? "\033[K" : "");
    p->loss = smooth;
}

void progress_pause(progress *p)
{
    if (p->terminal)
        fputs("\r\033[K", stderr);
    fflush(stderr);
    p->pause_began = seconds();
}

void progress_resume(progress *p)
{
    p->paused += seconds() - p->pause_began;
}

void progress_warn(progress *p, const char *format, ...)
{
    char text[400];
    va_list values;
    va_start(values, format);
    ag_vsnprintf(text, sizeof text, format, values);
    va_end(values);
    if (p->terminal)
        fputs("\r\033[K", stderr);
    fprintf(stderr, "%swarning%s: %s\n", p->colour ? "\033[33m" : "", p->colour ? "\033[0m" : "", text);
}
