/* SPDX-License-Identifier: MIT
 *
 * differential.c - makes the calls of calls.def that standard input asks for, and writes what they gave, for
 * differential.py to compare with PyTorch. A case is text, one item a line, and ends with `run`:
 *
 *     case NAME 32|64 THREADS SEED        input NAME real|whole|int LOW HIGH extents
 *     view transpose|slice|expand numbers  (of the input before; recorded)
 *     number NAME x     list NAME items     text NAME words
 *
 * Inputs and cotangent come from the context's random stream. The answer is lines "tensor NAME extents", each followed
 * by its values as doubles; then `done`, or `error` with the message.
 */
#include "attngrad.h"

#include <stdlib.h>
#include <string.h>

enum { ITEMS = 64, VIEWS = 3, LINE = 1024 };

typedef struct view {
    char kind; /* 't', 's', 'e' */
    int count;
    int64_t number[AG_MAX_DIMS];
} view;

typedef struct item { /* an input, a number, a list or a text */
    char name[32];
    bool real;           /* an input with a gradient */
    ag_tensor *leaf, *seen;
    int view_count;
    view view[VIEWS];
    double number;
    int count, entry[AG_MAX_DIMS];
    int64_t extent[AG_MAX_DIMS];
    char text[LINE];
} item;

typedef struct task {
    ag_ctx *ctx;
    ag_dtype dtype;
    char call[32];
    int count;
    item item[ITEMS];
} task;

static const item *item_of(const task *t, const char *name)
{
    static const item none = { .name = "" };
    for (int i = 0; i < t->count; i++)
        if (strcmp(t->item[i].name, name) == 0)
            return &t->item[i];
    return &none;
}

/* ---- The answer ---- */

static void answer(const char *name, ag_tensor *x)
{
    x = ag_tensor_contiguous(ag_tensor_cast(x, AG_F64));
    if (x == NULL)
        return;
    printf("tensor %s", name);
    for (int i = 0; i < ag_ndim(x); i++)
        printf(" %lld", (long long)ag_shape(x)[i]);
    putchar('\n');
    fwrite(ag_data(x), sizeof(double), (size_t)ag_numel(x), stdout);
}

static void answer_number(const char *name, double x)
{
    printf("tensor %s\n", name);
    fwrite(&x, sizeof x, 1, stdout);
}

static void answer_grad(const char *name, ag_tensor *x)
{
    char text[160];
    snprintf(text, sizeof text, "grad:%s", name);
    if (ag_grad(x) != NULL)
        answer(text, ag_grad(x));
}

/* ---- Running ---- */

static ag_tensor *viewed(ag_tensor *x, const view *v)
{
    const int64_t *n = v->number;
    if (v->kind == 't')
        return ag_transpose(x, (int)n[0], (int)n[1]);
    if (v->kind == 's')
        return ag_slice(x, (int)n[0], n[1], n[2], n[3]);
    return ag_expand(x, v->count, n);
}

static ag_tape *begin(task *t)
{
    ag_tape *tape = ag_tape_begin(t->ctx);
    for (int i = 0; i < t->count; i++) {
        item *x = &t->item[i];
        x->seen = x->leaf;
        for (int k = 0; k < x->view_count; k++)
            x->seen = viewed(x->seen, &x->view[k]);
    }
    return tape;
}

/* Backward from a random cotangent; then all there is to compare. */
static void conclude(task *t, ag_tape *tape, ag_tensor *y, ag_module *module)
{
    ag_tensor *cotangent = y == NULL ? NULL : ag_randn(t->ctx, t->dtype, ag_ndim(y), ag_shape(y));
    ag_backward_from(tape, y, cotangent);
    answer("y", y);
    answer("cotangent", cotangent);
    for (int i = 0; i < t->count; i++)
        if (t->item[i].leaf != NULL) {
            answer(t->item[i].name, t->item[i].leaf);
            answer_grad(t->item[i].name, t->item[i].leaf);
        }
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        answer(ag_module_param(module, i).name, ag_module_param(module, i).tensor);
        answer_grad(ag_module_param(module, i).name, ag_module_param(module, i).tensor);
    }
    ag_tape_end(tape);
}

/* Values under which every parameter shows, biases and norms too. */
static void fill(ag_module *module)
{
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_tensor *p = ag_module_param(module, i).tensor;
        ag_fill_normal(p, 0.1, 0.5);
    }
}

#define T(name) (item_of(t, #name)->seen)
#define N(name) (item_of(t, #name)->number)
#define I(name) ((int64_t)item_of(t, #name)->number)
#define S(name) (item_of(t, #name)->text)
#define DIMS(name) (item_of(t, #name)->entry)
#define COUNTED(name) item_of(t, #name)->count, item_of(t, #name)->entry
#define SHAPE(name) item_of(t, #name)->count, item_of(t, #name)->extent

#define OP(name, result)                                                  \
    static void run_##name(task *t)                                       \
    {                                                                     \
        ag_tape *tape = begin(t);                                         \
        ag_ctx *ctx = t->ctx;                                             \
        const ag_dtype dtype = t->dtype;                                  \
        (void)ctx, (void)dtype;                                           \
        conclude(t, tape, result, NULL);                                    \
    }
#define LAYER(call, functions, type, make, result)                        \
    static void run_##call(task *t)                                       \
    {                                                                     \
        ag_ctx *ctx = t->ctx;                                             \
        const ag_dtype dtype = t->dtype;                                  \
        type *layer = make;                                               \
        if (*S(config) == '\0')                                           \
            fill(ag_##functions##_module(layer));                         \
        ag_module_set_training(ag_##functions##_module(layer), false);    \
        ag_tape *tape = begin(t);                                         \
        conclude(t, tape, result, ag_##functions##_module(layer));        \
        ag_##functions##_free(layer);                                     \
    }
#define OPTIMIZER(name, make) \
    static ag_optimizer *make_##name(const task *t, ag_module *module) { return make; }
#include "tests/differential/calls.def"
#undef OP
#undef LAYER
#undef OPTIMIZER

/* ---- Training: steps with given gradients ---- */

static void random_gradients(const task *t, ag_module *module, int64_t step)
{
    char name[64];
    ag_module_zero_grad(module);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor p = ag_module_param(module, i);
        if (i == 1 && step == I(skipped))
            continue; /* a parameter without a gradient keeps its state */
        ag_tape *tape = ag_tape_begin(t->ctx);
        ag_tensor *g = ag_randn(t->ctx, t->dtype, ag_ndim(p.tensor), ag_shape(p.tensor));
        g = ag_scale(g, N(size));
        ag_backward_from(tape, ag_scale(p.tensor, 1), g);
        snprintf(name, sizeof name, "g%d.%s", (int)step, p.name);
        answer(name, g);
        ag_tape_end(tape);
    }
}

static void run_training(task *t, ag_optimizer *(*make)(const task *t, ag_module *module))
{
    char name[64];
    ag_linear_layer *layer = ag_linear_new(t->ctx, (ag_linear_config){ I(in), I(out), .dtype = t->dtype });
    ag_module *module = ag_linear_module(layer);
    ag_optimizer *optimizer = make(t, module);
    const ag_schedule schedule = { (ag_schedule_kind)I(schedule), N(lr), N(min_lr), I(warmup), I(total) };
    fill(module);
    for (int64_t i = 0; i < ag_module_param_count(module); i++)
        answer(ag_module_param(module, i).name, ag_module_param(module, i).tensor);
    for (int64_t step = 0; step < I(steps); step++) {
        double norm = 0;
        random_gradients(t, module, step);
        if (N(max_norm) > 0) {
            ag_clip_grad_norm(module, N(max_norm), &norm);
            snprintf(name, sizeof name, "norm%d", (int)step);
            answer_number(name, norm);
        }
        ag_optimizer_set_lr(optimizer, ag_schedule_lr(&schedule, step));
        ag_optimizer_step(optimizer);
        snprintf(name, sizeof name, "lr%d", (int)step);
        answer_number(name, ag_optimizer_lr(optimizer));
        for (int64_t i = 0; i < ag_module_param_count(module); i++) {
            snprintf(name, sizeof name, "p%d.%s", (int)step, ag_module_param(module, i).name);
            answer(name, ag_module_param(module, i).tensor);
        }
    }
    ag_optimizer_free(optimizer);
    ag_linear_free(layer);
}

#define OP(name, result)
#define LAYER(call, functions, type, make, result)
#define OPTIMIZER(name, make) \
    static void run_##name(task *t) { run_training(t, make_##name); }
#include "tests/differential/calls.def"
#undef OP
#undef LAYER
#undef OPTIMIZER

static const struct {
    const char *name;
    void (*run)(task *t);
} calls[] = {
#define OP(name, result) { #name, run_##name },
#define LAYER(call, functions, type, make, result) { #call, run_##call },
#define OPTIMIZER(name, make) { #name, run_##name },
#include "tests/differential/calls.def"
};

/* ---- Reading ---- */

/* Numbers of a line from `text` on. */
static int read_numbers(const char *text, double *number, int most)
{
    int count = 0;
    char *end;
    for (double x = strtod(text, &end); end != text && count < most; x = strtod(text = end, &end))
        number[count++] = x;
    return count;
}

static void read_input(task *t, item *x, const char *kind, const double *number, int count)
{
    double low = number[0], high = number[1];
    x->real = strcmp(kind, "int") != 0;
    for (int i = 2; i < count; i++)
        x->extent[i - 2] = (int64_t)number[i];
    if (strcmp(kind, "real") != 0)
        x->leaf = ag_randint(t->ctx, (int32_t)low, (int32_t)high, count - 2, x->extent);
    else
        ag_fill_uniform(x->leaf = ag_empty(t->ctx, t->dtype, count - 2, x->extent), low, high);
    if (x->real)
        x->leaf = ag_require_grad(ag_tensor_cast(x->leaf, t->dtype));
}

static void read_line(task *t, char *line)
{
    char word[32], name[32], kind[32];
    double number[AG_MAX_DIMS + 2] = { 0 };
    int at = 0;
    line[strcspn(line, "\n")] = '\0';
    sscanf(line, "%31s %31s %n", word, name, &at);
    if (strcmp(word, "view") == 0) {
        item *x = &t->item[t->count - 1];
        view *v = &x->view[x->view_count++];
        v->kind = name[0];
        v->count = read_numbers(line + at, number, AG_MAX_DIMS);
        for (int i = 0; i < v->count; i++)
            v->number[i] = (int64_t)number[i];
        return;
    }
    item *x = &t->item[t->count++];
    *x = (item){ .count = 0 };
    strcpy(x->name, name);
    strcpy(x->text, line + at);
    if (strcmp(word, "input") == 0) {
        sscanf(line + at, "%31s", kind);
        read_input(t, x, kind, number, read_numbers(line + at + strlen(kind), number, AG_MAX_DIMS + 2));
        return;
    }
    x->count = read_numbers(line + at, number, AG_MAX_DIMS);
    for (int i = 0; i < x->count; i++)
        x->extent[i] = x->entry[i] = (int)number[i];
    x->number = x->count > 0 ? number[0] : 0;
}

static void run(task *t)
{
    bool known = false;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, t->call) == 0) {
            known = true;
            calls[i].run(t);
        }
    if (!known)
        ag_fail(t->ctx, AG_ERR_ARGUMENT, "differential", "there is no call '%s'", t->call);
    if (ag_error(t->ctx) != AG_OK)
        printf("error %s\n", ag_error_message(t->ctx));
    else
        puts("done");
    fflush(stdout);
}

int main(void)
{
    char line[LINE];
    static task t;
    while (fgets(line, sizeof line, stdin) != NULL) {
        int bits, threads;
        unsigned long long seed;
        if (strncmp(line, "run", 3) == 0) {
            run(&t);
            if (ag_ctx_free(t.ctx) != 0)
                return 1;
        } else if (sscanf(line, "case %31s %d %d %llu", t.call, &bits, &threads, &seed) == 4) {
            t.count = 0;
            t.dtype = bits == 64 ? AG_F64 : AG_F32;
            t.ctx = ag_ctx_new((ag_ctx_config){ .seed = seed, .threads = threads });
        } else if (t.count < ITEMS) {
            read_line(&t, line);
        }
    }
    return 0;
}
