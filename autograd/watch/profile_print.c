/* SPDX-License-Identifier: MIT
 *
 * profile_print.c - a profile as text: a table by op, and one by module path. All numbers are per step (per tape);
 * times are in milliseconds.
 *
 * Modules form a tree. Modules whose paths differ only in numbers are one line: "blocks.0..5". A module with parts also
 * lists its own ops that take at least 0.5 % of the whole time.
 */
#include "autograd/watch/profile_impl.h"
#include "tensor/files/files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Columns of text. */
enum { PROFILE_WIDTH = 100, PROFILE_INDENT = 2, PROFILE_NAME_MOST = 28, NAME_LEAST = 18 };
enum { CALLS = 8, TIME = 11, SHARE = 9, RATE = 9 }; /* widths of columns */

typedef enum line_kind { OP, SUM, NOTE, MODULE } line_kind; /* the order of the table by op */

/* One line of a table. */
typedef struct line {
    line_kind kind;
    const char *name; /* [length], not terminated */
    int length;
    int64_t parent;   /* the line of the module around it; -1: none */
    int depth;
    bool has_parts;
    long least, most; /* range of the numbers after the name; least > most: none */
    ag_profile_row sum;
} line;

typedef struct table {
    const ag_profile *p;
    FILE *file;
    line *lines;
    int64_t count, capacity;
    double steps, whole;
    bool again;     /* the column "again" is shown */
    int name_width;
    double longest; /* the longest time of a line, which has the full bar */
} table;

/* ---- Summing up ---- */

static double table_total(const ag_profile_row *row)
{
    return row->forward + row->backward + row->again;
}

static void table_add(ag_profile_row *sum, const ag_profile_row *row)
{
    sum->calls += row->calls;
    sum->forward += row->forward;
    sum->backward += row->backward;
    sum->again += row->again;
    sum->multiply_adds += row->multiply_adds;
}

/* The line with the same kind, parent and name, new if there is none; -1 on error. */
static int64_t table_line_of(table *t, line like)
{
    for (int64_t i = 0; i < t->count; i++) {
        const line *l = &t->lines[i];
        if (l->kind == like.kind && l->parent == like.parent && l->length == like.length &&
            (l->most < 0) == (like.most < 0) && strncmp(l->name, like.name, (size_t)l->length) == 0)
            return i;
    }
    if (!ag_grow(t->p->ctx, (void **)&t->lines, &t->capacity, t->count + 1, sizeof *t->lines))
        return -1;
    t->lines[t->count] = like;
    return t->count++;
}

/* Adds a row to the line like this one, new if there is none. Returns the line, -1 on error. */
static int64_t table_add_to_line(table *t, line like, const ag_profile_row *row)
{
    int64_t i = table_line_of(t, like);
    if (i < 0)
        return -1;
    line *l = &t->lines[i];
    table_add(&l->sum, row);
    l->least = like.least < l->least ? like.least : l->least;
    l->most = like.most > l->most ? like.most : l->most;
    return i;
}

static line table_op_line(const ag_profile_row *row, int64_t module, int depth)
{
    return (line){ .kind = row->path == NULL ? NOTE : OP, .name = row->op, .length = (int)strlen(row->op),
                   .parent = module, .depth = depth, .least = 0, .most = -1 };
}

/* The number of digits of a path's first part, if it is a number; else 0. */
static size_t table_leading_number(const char *path)
{
    size_t digits = strspn(path, "0123456789");
    return path[digits] == '.' || path[digits] == '\0' ? digits : 0;
}

static const char *table_behind_dot(const char *path)
{
    return path + (*path == '.');
}

/* The first part of a path, a name and the number after it; *path moves past it. */
static line table_next_module(const char **path, int64_t parent, int depth)
{
    line l = { .kind = MODULE, .name = *path, .parent = parent, .depth = depth, .least = 0, .most = -1 };
    if (table_leading_number(*path) == 0)
        l.length = (int)strcspn(*path, ".");
    *path = table_behind_dot(*path + l.length);
    size_t digits = table_leading_number(*path);
    if (digits > 0) {
        l.least = l.most = strtol(*path, NULL, 10);
        *path = table_behind_dot(*path + digits);
    }
    return l;
}

/* Adds a row to the line of each module that its path goes through, and to that of its op. */
static bool table_add_to_tree(table *t, const ag_profile_row *row)
{
    int64_t at = -1;
    int depth = 0;
    for (const char *path = row->path; *path != '\0'; depth++) {
        const int64_t around = at;
        at = table_add_to_line(t, table_next_module(&path, around, depth), row);
        if (at < 0)
            return false;
        if (around >= 0)
            t->lines[around].has_parts = true;
    }
    return table_add_to_line(t, table_op_line(row, at, depth), row) >= 0;
}

/* ---- Writing ---- */

/* The text of a line's name: "  blocks.0..5"; "  (sdpa)" for a module's own op. */
static void table_write_name(const line *l, bool in_tree, char *text, size_t size)
{
    char number[64] = "";
    if (l->most >= 0)
        snprintf(number, sizeof number, l->most > l->least ? "%s%ld..%ld" : "%s%ld", l->length > 0 ? "." : "",
                 l->least, l->most);
    bool brackets = in_tree && l->kind == OP;
    snprintf(text, size, "%*s%s%.*s%s%s", PROFILE_INDENT * l->depth, "", brackets ? "(" : "", l->length, l->name,
             number, brackets ? ")" : "");
}

/* Whether the tree shows the line: a module, or an op of a module with parts that takes at least 0.5 %. */
static bool table_is_shown(const table *t, const line *l)
{
    bool is_part = l->parent < 0 || t->lines[l->parent].has_parts;
    return l->kind == MODULE || (is_part && table_total(&l->sum) >= 0.005 * t->whole);
}

static void table_write_heading(const table *t, const char *what, const char *calls)
{
    fprintf(t->file, "\n%-*s%*s%*s%*s%*s%*s%*s%*s\n", t->name_width, what, CALLS, calls, TIME, "forward", TIME,
            "backward", t->again ? TIME : 0, t->again ? "again" : "", TIME, "total", SHARE, "share", RATE, "GFLOP/s");
}

/* One column; blank if the number is not positive and finite. */
static void table_write_number(FILE *file, int width, int decimals, double number)
{
    if (number > 0 && number < (double)INFINITY)
        ag_fprintf(file, "%*.*f", width, decimals, number);
    else
        fprintf(file, "%*s", width, "");
}

static void table_write_line(const table *t, const line *l, bool in_tree)
{
    const ag_profile_row *sum = &l->sum;
    const double calls = (double)sum->calls / t->steps, ms = 1e3 / t->steps, time = table_total(sum);
    double rate = 2e-9 * sum->multiply_adds / time;
    rate = rate >= 0.05 ? rate : 0; /* 0 also where the work is unknown (NaN) */
    const int bar_space = PROFILE_WIDTH - t->name_width - CALLS - (t->again ? 4 : 3) * TIME - SHARE - RATE - 2;
    const int bar = time > 0 && l->kind != SUM ? (int)(bar_space * time / t->longest + 0.5) : 0;
    char name[2 * PROFILE_WIDTH];
    table_write_name(l, in_tree, name, sizeof name);
    fprintf(t->file, "%-*.*s", t->name_width, t->name_width, name);
    table_write_number(t->file, CALLS, calls == floor(calls) ? 0 : 2, calls);
    table_write_number(t->file, TIME, 3, l->kind == NOTE ? 0 : ms * sum->forward);
    table_write_number(t->file, TIME, 3, ms * sum->backward);
    if (t->again)
        table_write_number(t->file, TIME, 3, ms * sum->again);
    ag_fprintf(t->file, "%*.3f%*.1f %%", TIME, ms * time, SHARE - 2, t->whole > 0 ? 100 * time / t->whole : 0);
    if (bar > 0 || rate > 0)
        table_write_number(t->file, RATE, rate < 10 ? 1 : 0, rate);
    fprintf(t->file, "%s%.*s\n", bar > 0 ? "  " : "", bar, "################################################");
}

/* Measures the column of names and the longest bar. */
static void table_measure(table *t, bool in_tree)
{
    t->name_width = NAME_LEAST;
    t->longest = 0;
    for (int64_t i = 0; i < t->count; i++) {
        const line *l = &t->lines[i];
        char name[2 * PROFILE_WIDTH];
        table_write_name(l, in_tree, name, sizeof name);
        int width = (int)strlen(name);
        if (in_tree && !table_is_shown(t, l))
            continue;
        t->name_width = width <= t->name_width ? t->name_width : width < PROFILE_NAME_MOST ? width : PROFILE_NAME_MOST;
        t->longest = l->kind == SUM ? t->longest : fmax(t->longest, table_total(&l->sum));
    }
}

/* ---- The two tables ---- */

static int table_by_time(const void *a, const void *b)
{
    const line *x = a, *y = b;
    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    double tx = table_total(&x->sum), ty = table_total(&y->sum);
    return tx != ty ? (tx < ty) - (tx > ty) : strcmp(x->name, y->name);
}

/* False when out of memory. */
static bool table_write_ops(table *t)
{
    const line all = { .kind = SUM, .name = "all ops", .length = 7, .parent = -1, .most = -1 };
    t->count = 0;
    for (int64_t i = 0; i < t->p->count; i++) {
        const ag_profile_row *row = &t->p->rows[i];
        if (table_add_to_line(t, table_op_line(row, -1, 0), row) < 0 ||
            (row->path != NULL && table_add_to_line(t, all, row) < 0))
            return false;
    }
    table_measure(t, false);
    if (t->count > 0)
        qsort(t->lines, (size_t)t->count, sizeof *t->lines, table_by_time);
    table_write_heading(t, "op", "calls");
    for (int64_t i = 0; i < t->count; i++)
        table_write_line(t, &t->lines[i], false);
    return true;
}

/* The lines inside a module. Recursion as deep as modules nest. */
static void table_write_inside(const table *t, int64_t module)
{
    for (int64_t i = 0; i < t->count; i++)
        if (t->lines[i].parent == module && table_is_shown(t, &t->lines[i])) {
            table_write_line(t, &t->lines[i], true);
            if (t->lines[i].kind == MODULE)
                table_write_inside(t, i);
        }
}

/* False when out of memory. */
static bool table_write_modules(table *t)
{
    t->count = 0;
    for (int64_t i = 0; i < t->p->count; i++)
        if (t->p->rows[i].path != NULL && !table_add_to_tree(t, &t->p->rows[i]))
            return false;
    table_measure(t, true);
    table_write_heading(t, "module (own op)", "ops");
    table_write_inside(t, -1);
    return true;
}

ag_status ag_profile_print(const ag_profile *p, FILE *file)
{
    if (p == NULL || !ag_check_given(p->ctx, "profile_print", "file", file))
        return AG_ERR_ARGUMENT;
    table t = { .p = p, .file = file, .steps = p->tapes > 0 ? (double)p->tapes : 1, .whole = ag_profile_seconds(p) };
    for (int64_t i = 0; i < p->count; i++)
        t.again = t.again || p->rows[i].again > 0;
    ag_fprintf(file, "%.3f ms a step, over %lld step%s (%.3f s). Times in ms a step:\n", 1e3 * t.whole / t.steps,
               (long long)p->tapes, p->tapes == 1 ? "" : "s", t.whole);
    bool good = table_write_ops(&t) && table_write_modules(&t);
    ag_free(p->ctx, t.lines, (size_t)t.capacity * sizeof *t.lines);
    if (!good)
        return ag_error(p->ctx);
    if (ferror(file)) {
        ag_fail(p->ctx, AG_ERR_FILE, "profile_print", "the profile of %lld rows could not be written",
                (long long)p->count);
        return AG_ERR_FILE;
    }
    return AG_OK;
}
