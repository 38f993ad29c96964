/* SPDX-License-Identifier: MIT
 *
 * check_accuracy.c - how far each float32 kernel is from the same kernel in float64 (the plain loops of the reference
 * table) that is given the same float32 numbers: on every instruction set within the bound of docs/numerics.md, "Every
 * kernel". A row of the table is a kernel with its inputs and its bound; rows stand in check_accuracy_elements.c,
 * check_accuracy_rows.c and check_accuracy_products.c. A kernel of kernels.def without a row fails.
 */
#include "tests/tensor/kernels/check_accuracy.h"
#include "tests/suites.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- Bounds ---------------------------------------------------------------------------------- */

bound sum_bound(sum_order o, terms t)
{
    if (t.count == 0)
        return (bound){ 0, 0 };
    const double mean = t.sum / t.count, variance = fmax(0, t.squares / t.count - mean * mean);
    const double pairs = exp2(o.levels + 1) - 2; /* sum of 2^level */
    const double random = o.chain / 2 + o.levels + o.blocks / 2;
    const double steady = o.chain * o.chain / 3 + o.chain * pairs + o.chain * o.blocks * o.blocks / 3;
    return (bound){ (o.chain + o.levels + o.blocks) * t.size * UNIT,
                    t.count * (random * variance + steady * mean * mean) * UNIT * UNIT / 3 };
}

sum_order lanes_of(int64_t N)
{
    return (sum_order){ .chain = (double)((N + 15) / 16), .levels = 4 };
}

/* ---- Inputs ---------------------------------------------------------------------------------- */

struct accuracy_memory {
    struct accuracy_memory *next;
    double bytes[]; /* aligned for all that is taken */
};

void *take(accuracy *a, size_t bytes)
{
    struct accuracy_memory *memory = calloc(1, sizeof *memory + bytes);
    ck_assert(memory != NULL);
    memory->next = a->memory;
    a->memory = memory;
    return memory->bytes;
}

static void give_back(accuracy *a)
{
    while (a->memory != NULL) {
        struct accuracy_memory *next = a->memory->next;
        free(a->memory);
        a->memory = next;
    }
}

numbers take_numbers(accuracy *a, int64_t count)
{
    return (numbers){ take(a, (size_t)count * sizeof(float)), take(a, (size_t)count * sizeof(double)), count };
}

bound *take_bounds(accuracy *a, int64_t count)
{
    return take(a, (size_t)count * sizeof(bound));
}

double uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (double)(*state >> 8) * 0x1p-24;
}

void set_number(numbers x, int64_t i, double value)
{
    x.f32[i] = (float)value;
    x.f64[i] = (double)x.f32[i];
}

numbers draw_uniform(accuracy *a, int64_t count, uint32_t seed, double low, double high)
{
    numbers x = take_numbers(a, count);
    uint32_t state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < count; i++)
        set_number(x, i, low + (high - low) * uniform(&state));
    return x;
}

numbers draw_magnitudes(accuracy *a, int64_t count, uint32_t seed, bool negative, double least, double most)
{
    numbers x = take_numbers(a, count);
    uint32_t state = seed * 2654435761u + 1;
    for (int64_t i = 0; i < count; i++) {
        const double sign = uniform(&state) < 0.5 && negative ? -1 : 1;
        set_number(x, i, sign * least * pow(most / least, uniform(&state)));
    }
    return x;
}

numbers widened(numbers x)
{
    for (int64_t i = 0; i < x.count; i++)
        x.f64[i] = (double)x.f32[i];
    return x;
}

/* ---- Comparison ------------------------------------------------------------------------------ */

/* Error over bound. Underflow may cost a unit in the last place of the smallest numbers, but for results that are to be
 * exact and can be. */
static double ratio_of(double got, double want, bound b)
{
    if (!isfinite(got) || !isfinite(want) || fabs(want) > (double)FLT_MAX)
        return got == (double)(float)want || (isnan(got) && isnan(want)) ? 0 : HUGE_VAL;
    const double allowed = b.worst == 0 && (double)(float)want == want ? 0 : b.worst + 0x1p-149;
    return got == want ? 0 : allowed == 0 ? HUGE_VAL : fabs(got - want) / allowed;
}

void judge(accuracy *a, const char *input, int64_t samples, int64_t count, const float *got, const double *want,
           const bound *bounds)
{
    double squares = 0, measured = 0;
    for (int64_t i = 0; i < count; i++) {
        const double value = (double)got[i], ratio = ratio_of(value, want[i], bounds[i]);
        if (!(ratio <= 1)) {
            char text[300];
            snprintf(text, sizeof text, "%s (%s), %s: [%lld] of %lld is %.9g, not %.12g: off by %.3g of its bound %.3g",
                     a->row->kernel, a->isa, input, (long long)i, (long long)count, value, want[i], ratio,
                     bounds[i].worst);
            ck_abort_msg("%s", text);
        }
        a->worst = fmax(a->worst, ratio);
        if (bounds[i].square > 0 && fabs(want[i]) >= (double)FLT_MIN) {
            squares += (value - want[i]) * (value - want[i]) / bounds[i].square;
            measured += 1;
        }
    }
    const double typical = measured > 0 ? sqrt(squares / measured) : 0;
    if (samples == 0)
        return;
    if (!(typical <= 1 + 2 / sqrt((double)samples))) {
        char text[300];
        snprintf(text, sizeof text, "%s (%s), %s: the root mean square of error / typical error is %.3g, the largest "
                 "error / bound %.3g", a->row->kernel, a->isa, input, typical, a->worst);
        ck_abort_msg("%s", text);
    }
    a->typical = fmax(a->typical, typical);
}

/* ---- The table ------------------------------------------------------------------------------- */

static const accuracy_row *row_at(int i)
{
    if (i < accuracy_element_count)
        return &accuracy_elements[i];
    i -= accuracy_element_count;
    if (i < accuracy_row_count)
        return &accuracy_rows[i];
    i -= accuracy_row_count;
    return i < accuracy_product_count ? &accuracy_products[i] : NULL;
}

START_TEST(every_kernel_has_a_bound)
{
    static const struct { const char *name; size_t field; } kernels[] = {
#define AG_KERNEL(type, name) { KERNEL(name) },
#include "tensor/kernels/kernels.def"
#undef AG_KERNEL
    };
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        bool found = false;
        for (int i = 0; row_at(i) != NULL; i++)
            found = found || row_at(i)->field == kernels[k].field;
        ck_assert_msg(found, "kernel '%s' has no row in the tables of check_accuracy_*.c", kernels[k].name);
    }
}
END_TEST

/* One row on one instruction set. The bound must also mean something: where anything is rounded, the largest ratio
 * found is above an eighth. */
START_TEST(kernel_is_within_its_bound)
{
    static const char *const isas[] = { "baseline", "x86-64-v3", "x86-64-v4", "reference" };
    const ag_kernel_table *plain = ag_kernels_find("reference");
    const accuracy_row *row = row_at(_i);
    for (int i = 0; i < (int)(sizeof isas / sizeof *isas) && row->measure != NULL; i++) {
        const ag_kernel_table *table = ag_kernels_find(isas[i]);
        if (table == NULL)
            continue;
        accuracy a = { .row = row, .isa = table->isa, .f32 = &table->f32, .f64 = &plain->f64, .plain = table == plain };
        row->measure(&a);
        give_back(&a);
        if (a.worst > 0)
            ck_assert_msg(fmax(a.worst, a.typical) > 0.125, "%s (%s): the bound is loose: the largest error / bound is "
                          "%.3g, of root mean squares %.3g", row->kernel, a.isa, a.worst, a.typical);
    }
}
END_TEST

Suite *accuracy_suite(void)
{
    Suite *suite = suite_create("accuracy");
    TCase *tests = tcase_create("accuracy");
    tcase_set_timeout(tests, 300);
    tcase_add_test(tests, every_kernel_has_a_bound);
    tcase_add_loop_test(tests, kernel_is_within_its_bound, 0,
                        accuracy_element_count + accuracy_row_count + accuracy_product_count);
    suite_add_tcase(suite, tests);
    return suite;
}
