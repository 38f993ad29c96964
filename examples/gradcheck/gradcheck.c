/* SPDX-License-Identifier: MIT
 *
 * gradcheck.c - runs the gradient checker over layers and ops by name, in float64: a report of each, a table of all.
 *
 * Each case is checked by central differences and, if it has a complex formula, by the complex step. The formula shares
 * no code with the library (gradcheck_complex.c). --plant shows how a fault is explained, --curve why float64.
 */
#include "examples/gradcheck/gradcheck_cases.h"
#include "examples/gradcheck/gradcheck_curve.h"
#include "examples/gradcheck/gradcheck_plant.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "gradcheck";

#define SMOOTH_BOUND 1e-8 /* largest allowed relative error by differences, for a smooth function */

typedef struct settings {
    option_words names;
    bool list, all, json, curve;
    const char *plant, *html, *colour, *out;
    uint64_t seed;
} settings;

/* ---- Names ----------------------------------------------------------------------------------- */

static void unknown_name(const char *name)
{
    const char *nearest = subjects[0].name;
    for (int i = 1; i < subject_count; i++)
        if (option_distance(name, subjects[i].name) < option_distance(name, nearest))
            nearest = subjects[i].name;
    fprintf(stderr, "%s: no layer or op '%s'; did you mean %s? --list shows all\n", program, name, nearest);
}

static const fault *find_fault(const char *kind)
{
    const char *nearest = faults[0].kind;
    for (int i = 0; i < fault_count; i++) {
        if (strcmp(faults[i].kind, kind) == 0)
            return &faults[i];
        if (option_distance(kind, faults[i].kind) < option_distance(kind, nearest))
            nearest = faults[i].kind;
    }
    fprintf(stderr, "%s: no fault '%s'; did you mean %s? --plant alone shows all\n", program, kind, nearest);
    return NULL;
}

/* "mha": every case of it; "mha/causal": that one. */
static bool name_means(const char *name, const check_case *c)
{
    size_t length = strlen(c->subject);
    if (strncmp(name, c->subject, length) != 0)
        return false;
    return name[length] == '\0' || (name[length] == '/' && strcmp(name + length + 1, c->name) == 0);
}

static bool is_chosen(const settings *s, const check_case *c)
{
    for (int i = 0; i < s->names.count; i++)
        if (name_means(s->names.word[i], c))
            return true;
    return s->all;
}

/* The first case that a name means; NULL: there is none. */
static const check_case *first_case(const char *name)
{
    for (int i = 0; i < case_count; i++)
        if (name_means(name, &cases[i]))
            return &cases[i];
    return NULL;
}

static bool names_are_known(const settings *s)
{
    for (int i = 0; i < s->names.count; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s", s->names.word[i]);
        char *slash = strchr(name, '/');
        if (slash != NULL)
            *slash = '\0';
        if (first_case(name) == NULL) {
            unknown_name(name);
            return false;
        }
        if (first_case(s->names.word[i]) != NULL)
            continue;
        fprintf(stderr, "%s: %s has no case '%s'; it has", program, name, slash + 1);
        for (int j = 0; j < case_count; j++)
            if (name_means(name, &cases[j]))
                fprintf(stderr, " %s", cases[j].name);
        fprintf(stderr, "\n");
        return false;
    }
    return true;
}

/* Whether every op of the library has a case that records it. */
static bool cases_are_complete(ag_ctx *ctx)
{
    for (int i = 0; i < ag_op_count; i++) {
        bool found = false;
        for (int j = 0; j < case_count && !found; j++)
            found = cases[j].layer == NULL && strcmp(cases[j].subject, ag_ops[i]->name) == 0 &&
                    case_records(ctx, &cases[j]);
        if (!found) {
            fprintf(stderr, "%s: no case in examples/gradcheck/gradcheck_ops.def records the op %s\n", program,
                    ag_ops[i]->name);
            return false;
        }
    }
    return true;
}

static void print_group(const char *title, bool layers)
{
    printf("%s\n", title);
    for (int i = 0; i < subject_count; i++)
        if (subjects[i].layer == layers)
            printf("  %-15s %s\n", subjects[i].name, subjects[i].about);
}

static bool print_list(ag_ctx *ctx)
{
    print_group("layers", true);
    print_group("ops", false);
    return cases_are_complete(ctx);
}

static void print_names(const char *title, bool layers)
{
    int column = printf("%s", title);
    for (int i = 0; i < subject_count; i++) {
        if (subjects[i].layer != layers)
            continue;
        if (column + 1 + (int)strlen(subjects[i].name) > 79)
            column = printf("\n%*s", (int)strlen(title), "") - 1;
        column += printf(" %s", subjects[i].name);
    }
    printf("\n");
}

static void print_hint(void)
{
    printf("Compares the gradients of layers and ops with numeric derivatives, in float64.\n\n");
    print_names("layers:", true);
    print_names("ops:   ", false);
    printf("\ntry  %s mha softmax         a report of each\n"
           "     %s --all               a table of all\n"
           "     %s --plant sign mha    a fault, found and explained\n"
           "     %s --list, %s --help\n",
           program, program, program, program, program);
}

static void print_faults(void)
{
    for (int i = 0; i < fault_count; i++)
        printf("  %-10s %-43s %s\n", faults[i].kind, faults[i].about, ag_cause_name(faults[i].cause));
    printf("\ntry  %s --plant row-sum mha\n", program);
}

/* ---- Checking -------------------------------------------------------------------------------- */

static bool use_colour(const settings *s)
{
    if (strcmp(s->colour, "auto") == 0)
        return system_is_terminal(stdout) && getenv("NO_COLOR") == NULL;
    return strcmp(s->colour, "always") == 0;
}

static void print_painted(const settings *s, bool good, const char *text)
{
    if (use_colour(s))
        printf("\033[%dm%s\033[0m", good ? 32 : 31, text);
    else
        printf("%s", text);
}

/* Checks one case by one oracle and reports it; a pass by the complex step is one line. */
static ag_gradcheck_result check(ag_ctx *ctx, const settings *s, const check_case *c, oracle by,
                                 ag_gradcheck_config config)
{
    char name[96];
    snprintf(name, sizeof name, "%s/%s%s", c->subject, c->name, by == BY_COMPLEX_STEP ? " by the complex step" : "");
    config.name = name;
    config.colour = use_colour(s);
    FILE *report = config.report;
    if (by == BY_COMPLEX_STEP)
        config.report = NULL;
    ag_gradcheck_result r = case_check(ctx, s->seed, c, by, NULL, config);
    if (by == BY_COMPLEX_STEP && report != NULL && r.verdict == AG_PASS) {
        ag_printf("  by the complex step: worst relative error %.1e\n", r.max_error);
    } else if (by == BY_COMPLEX_STEP && report != NULL && ag_error(ctx) == AG_OK) {
        config.report = report;
        r = case_check(ctx, s->seed, c, by, NULL, config);
    }
    if (report != NULL && r.verdict != AG_PASS)
        printf("\n");
    return r;
}

/* The results of a subject's cases. */
typedef struct finding {
    int64_t cases, derivatives;
    double differences, complex_step; /* worst relative errors; complex_step NaN: none */
    ag_verdict verdict;
    const check_case *worst; /* the first that did not pass */
} finding;

static void take(finding *f, const check_case *c, oracle by, const ag_gradcheck_result *r)
{
    if (by == BY_DIFFERENCES) {
        f->cases++;
        f->derivatives += r->checked;
        f->differences = fmax(f->differences, r->max_error);
    } else {
        f->complex_step = fmax(f->complex_step, r->max_error); /* fmax ignores NaN */
    }
    if (r->verdict != AG_PASS && f->worst == NULL)
        f->worst = c;
    if (f->verdict == AG_PASS || r->verdict == AG_FAIL)
        f->verdict = r->verdict;
}

static bool is_too_rough(const subject *s, const finding *f)
{
    return s->rough == NULL && !(f->differences < SMOOTH_BOUND);
}

/* Progress of a long check: one line on the terminal, overwritten. */
static void show_progress(const char *name, int done)
{
    static double begin;
    begin = begin == 0 ? seconds() : begin;
    if (system_is_terminal(stderr) && !system_is_terminal(stdout) && seconds() - begin >= 2)
        fprintf(stderr, "\r%d of %d: %-20s%s", done, subject_count, name, done == subject_count ? "\r\033[K" : "");
}

/* Checks the chosen cases of a subject and writes the reports of the config; `written` counts them. */
static finding check_subject(ag_ctx *ctx, const settings *s, const subject *which, ag_gradcheck_config config,
                             int *written)
{
    finding f = { .complex_step = (double)NAN };
    for (int i = 0; i < case_count && ag_error(ctx) == AG_OK; i++) {
        const check_case *c = &cases[i];
        if (!case_is_of(c, which) || !is_chosen(s, c))
            continue;
        if ((*written)++ > 0 && config.json != NULL)
            printf(",\n");
        ag_gradcheck_result r = check(ctx, s, c, BY_DIFFERENCES, config);
        take(&f, c, BY_DIFFERENCES, &r);
        config.html = NULL; /* the page shows one case */
        if (c->z == NULL || r.verdict != AG_PASS)
            continue;
        if ((*written)++ > 0 && config.json != NULL)
            printf(",\n");
        r = check(ctx, s, c, BY_COMPLEX_STEP, config);
        take(&f, c, BY_COMPLEX_STEP, &r);
    }
    return f;
}

static void print_error(int width, double error)
{
    if (isnan(error) || error == 0)
        printf(" %*s", width, error == 0 ? "0" : "-");
    else
        ag_printf(" %*.1e", width, error);
}

/* Prints a line of the table. Returns whether all cases pass. */
static bool print_finding(const settings *s, const subject *which, const finding *f)
{
    bool rough = is_too_rough(which, f);
    printf("  %-15s %5lld %11lld  ", which->name, (long long)f->cases, (long long)f->derivatives);
    print_error(11, f->differences);
    print_error(12, f->complex_step);
    printf("   ");
    print_painted(s, f->verdict == AG_PASS && !rough, ag_verdict_name(f->verdict));
    if (f->verdict == AG_PASS && rough)
        ag_printf(", over %.0e", SMOOTH_BOUND);
    else if (f->verdict == AG_PASS && which->rough != NULL)
        printf(", %s", which->rough);
    printf("\n");
    fflush(stdout);
    return f->verdict == AG_PASS && !rough;
}

typedef struct totals {
    int subjects, bad;
    int64_t cases, derivatives;
    double differences, complex_step;                /* worst errors of smooth subjects, */
    const subject *by_differences, *by_complex_step; /* and the subjects that have them */
    const check_case *worst;                         /* the first that did not pass */
} totals;

static void add_finding(totals *t, const subject *which, const finding *f, bool good)
{
    t->subjects++;
    t->bad += !good;
    t->cases += f->cases;
    t->derivatives += f->derivatives;
    if (t->worst == NULL)
        t->worst = f->worst;
    if (which->rough != NULL)
        return;
    if (t->by_differences == NULL || f->differences > t->differences) {
        t->differences = f->differences;
        t->by_differences = which;
    }
    if (!isnan(f->complex_step) && (t->by_complex_step == NULL || f->complex_step > t->complex_step)) {
        t->complex_step = f->complex_step;
        t->by_complex_step = which;
    }
}

static void print_totals(const totals *t)
{
    if (t->by_differences != NULL && t->by_complex_step != NULL)
        ag_printf("\nworst smooth one by differences %.1e (%s), to be below %.0e;\n"
                  "by the complex step %.1e (%s)\n",
                  t->differences, t->by_differences->name, SMOOTH_BOUND, t->complex_step, t->by_complex_step->name);
    if (t->worst != NULL)
        printf("to see what is wrong: %s %s/%s\n", program, t->worst->subject, t->worst->name);
    if (t->bad == 0)
        printf("%d layers and ops, %lld cases, %lld derivatives: all pass\n", t->subjects, (long long)t->cases,
               (long long)t->derivatives);
    else
        printf("%d layers and ops, %lld cases, %lld derivatives: %d do not pass\n", t->subjects, (long long)t->cases,
               (long long)t->derivatives, t->bad);
}

static bool check_all(ag_ctx *ctx, const settings *s)
{
    totals t = { 0 };
    if (!cases_are_complete(ctx))
        return false;
    printf("%-17s %5s %11s   %11s %12s\n", "", "cases", "derivatives", "differences", "complex step");
    for (int i = 0; i < subject_count && ag_error(ctx) == AG_OK; i++) {
        if (i == 0 || subjects[i].layer != subjects[i - 1].layer)
            printf("%s\n", subjects[i].layer ? "layers" : "ops");
        show_progress(subjects[i].name, i);
        finding f = check_subject(ctx, s, &subjects[i], (ag_gradcheck_config){ 0 }, &(int){ 0 });
        add_finding(&t, &subjects[i], &f, print_finding(s, &subjects[i], &f));
    }
    show_progress("", subject_count);
    print_totals(&t);
    return t.bad == 0;
}

/* Reports or JSON objects of the chosen cases, and an HTML page of the first. */
static bool check_chosen(ag_ctx *ctx, const settings *s, FILE *html)
{
    int written = 0;
    bool good = true;
    ag_gradcheck_config config = { .html = html };
    if (s->json)
        config.json = stdout;
    else
        config.report = stdout;
    if (s->json)
        printf("[\n");
    for (int i = 0; i < subject_count && ag_error(ctx) == AG_OK; i++) {
        show_progress(subjects[i].name, i);
        int before = written;
        finding f = check_subject(ctx, s, &subjects[i], config, &written);
        if (written > before)
            config.html = NULL;
        good = good && f.verdict == AG_PASS;
        if (f.verdict == AG_PASS && written > before && is_too_rough(&subjects[i], &f)) {
            ag_fprintf(stderr, "%s: %s is smooth, but its worst relative error is %.1e, not below %.0e\n", program,
                       subjects[i].name, f.differences, SMOOTH_BOUND);
            good = false;
        }
    }
    show_progress("", subject_count);
    if (s->json)
        printf("]\n");
    return good;
}

/* ---- Planting -------------------------------------------------------------------------------- */

static bool plant(ag_ctx *ctx, const settings *s, const fault *planted, FILE *html)
{
    const check_case *c = NULL;
    const char *place = NULL;
    for (int i = 0; i < case_count && place == NULL; i++)
        if (name_means(s->names.word[0], &cases[i])) {
            c = &cases[i];
            place = case_place(ctx, c, planted);
        }
    if (place == NULL) {
        fprintf(stderr, "%s: %s has no tensor of the shape that '%s' wants; try mha\n", program, s->names.word[0],
                planted->kind);
        return false;
    }
    char name[96];
    snprintf(name, sizeof name, "%s/%s", c->subject, c->name);
    ag_gradcheck_config config = { .name = name, .html = html, .colour = use_colour(s) };
    if (s->json) {
        config.json = stdout;
        printf("[\n");
    } else {
        config.report = stdout;
        printf("planted: %s %s of %s;\nits backward %s\n\n", planted->op, place, name, planted->about);
    }
    ag_gradcheck_result r = case_check(ctx, s->seed, c, BY_DIFFERENCES, planted, config);
    bool found = r.verdict == AG_FAIL && ag_error(ctx) == AG_OK && strstr(r.explanation, planted->op) != NULL &&
                 r.worst.cause == planted->cause;
    if (s->json) {
        printf("]\n");
        return found;
    }
    printf("\n");
    print_painted(s, found, found ? "found" : "NOT FOUND");
    if (r.verdict == AG_PASS)
        printf(": here the gradient is the same with the fault; try mha\n");
    else
        printf(": %s%s, %s\n", found ? "" : "wanted was ", planted->op, ag_cause_name(planted->cause));
    return found;
}

/* ---- The program ----------------------------------------------------------------------------- */

static int wrong(const char *message)
{
    fprintf(stderr, "%s: %s\n", program, message);
    return OPTIONS_WRONG;
}

/* OPTIONS_RUN if the options are compatible. */
static int settings_check(const settings *s)
{
    if (strcmp(s->colour, "auto") != 0 && strcmp(s->colour, "always") != 0 && strcmp(s->colour, "never") != 0)
        return wrong("--color is auto, always or never");
    if (s->list + s->all + s->curve + (s->plant != NULL) > 1)
        return wrong("choose one of --list, --all, --curve and --plant");
    if (s->names.count > 0 && (s->all || s->list || s->curve))
        return wrong("--all, --list and --curve take no names");
    if (s->out != NULL && !s->curve)
        return wrong("--out is for --curve; a page of gradients is --html");
    if (s->html != NULL && s->names.count != 1)
        return wrong("--html shows one layer or op: give its name");
    if (s->plant != NULL && s->plant[0] != '\0' && s->names.count != 1)
        return wrong("--plant KIND needs the name of one layer or op, such as mha");
    if (s->json && !s->all && s->names.count == 0)
        return wrong("--json needs --all or names");
    return names_are_known(s) ? OPTIONS_RUN : OPTIONS_WRONG;
}

/* Runs with the HTML page open, if there is one. */
static bool run_checks(ag_ctx *ctx, const settings *s, const fault *planted)
{
    FILE *html = s->html == NULL ? NULL : fopen(s->html, "w");
    if (s->html != NULL && html == NULL) {
        fprintf(stderr, "%s: can not write %s: %s\n", program, s->html, strerror(errno));
        return false;
    }
    bool good = planted != NULL    ? plant(ctx, s, planted, html)
                : s->all && !s->json ? check_all(ctx, s)
                                     : check_chosen(ctx, s, html);
    if (html == NULL)
        return good;
    bool written = !ferror(html);
    if (fclose(html) != 0 || !written) {
        fprintf(stderr, "%s: can not write %s: %s\n", program, s->html, strerror(errno));
        return false;
    }
    if (!s->json)
        printf("\nthe page: %s\n", s->html);
    return good;
}

static int run(const settings *s)
{
    if (s->plant != NULL && s->plant[0] == '\0') {
        print_faults();
        return 0;
    }
    const fault *planted = s->plant == NULL ? NULL : find_fault(s->plant);
    if (s->plant != NULL && planted == NULL)
        return OPTIONS_WRONG;

    /* The tensors are too small for more threads. */
    ag_ctx *ctx = program_context(program, s->seed, 1);
    if (ctx == NULL)
        return 1;
    bool good = true;
    if (s->curve)
        good = curve_show(ctx, s->out);
    else if (s->list)
        good = print_list(ctx);
    else if (s->all || s->names.count > 0)
        good = run_checks(ctx, s, planted);
    else
        print_hint();
    return program_end(program, ctx, good);
}

int main(int argc, char **argv)
{
    settings s = { .colour = "auto", .seed = 1 };
    const option options[] = {
        { "[NAME...]", OPTION_WORDS, &s.names, NULL, "layers and ops, or single cases of them: mha, add/broadcast" },
        { "--list", OPTION_FLAG, &s.list, NULL, "list the layers and ops" },
        { "--all", OPTION_FLAG, &s.all, NULL, "check all of them; print a table" },
        { "--plant", OPTION_TEXT, &s.plant, "[KIND]", "put a wrong op before NAME; without KIND: list the faults" },
        { "--json", OPTION_FLAG, &s.json, NULL, "write the reports as one JSON array" },
        { "--html", OPTION_TEXT, &s.html, "FILE", "write a page with the gradients of NAME (its first case)" },
        { "--color", OPTION_TEXT, &s.colour, "WHEN", "colours: auto, always or never [auto]" },
        { "--seed", OPTION_NUMBER, &s.seed, "N", "seed of inputs, weights and cotangents [1]" },
        { "--curve", OPTION_FLAG, &s.curve, NULL, "show the error of a difference against its step" },
        { "--out", OPTION_TEXT, &s.out, "FILE", "with --curve: write it as SVG too [none]" },
    };
    int status = options_read(program,
                              "Compares the gradients of layers and ops with numeric derivatives, in float64, and "
                              "says what is wrong with a wrong one. Exits with 1 unless all are right; with --plant, "
                              "unless the fault was found.",
                              options, sizeof options / sizeof *options, argc, argv);
    if (status == OPTIONS_RUN)
        status = settings_check(&s);
    return status != OPTIONS_RUN ? status : run(&s);
}
