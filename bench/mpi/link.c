/* SPDX-License-Identifier: MIT
 *
 * link.c - what it costs to sum gradients over the processes that mpirun starts: seconds for some sizes, and the two
 * numbers of docs/data-parallel.md, alpha (seconds per message) and beta (seconds per byte). `make bench-mpi`.
 */
#include "examples/lm/lm_processes.h"
#include "examples/shared/learning.h"

#include <stdlib.h>
#include <string.h>

/* Seconds of one sum of `elements` gradients; negative after an error. */
static double sum_time(const ag_processes *link, int64_t elements)
{
    static const double enough = 0.5;
    ag_ctx *ctx = ag_ctx_new((ag_ctx_config){ .seed = 1, .threads = 1 });
    ag_linear_layer *layer = ag_linear_new(ctx, (ag_linear_config){ elements, 1, .no_bias = true });
    ag_module *module = ag_linear_module(layer);
    ag_tape *tape = ag_tape_begin(ctx);
    ag_tensor *y = ag_linear_forward(layer, ag_randn(ctx, AG_F32, AG_SHAPE(1, elements)));
    bool good = ag_backward(tape, ag_sum(y, AG_ALL_DIMS, false)) == AG_OK, go_on = true;
    ag_tape_end(tape);
    double began = 0;
    int64_t times = -2; /* the first two are slow */
    while (good && go_on) {
        if (times++ == -1)
            began = seconds();
        good = ag_sum_grads(module, *link) == AG_OK;
        if (times > 0 && times % 8 == 0) {
            go_on = seconds() - began < enough;
            good = good && processes_agree(link, &go_on);
        }
    }
    const double time = (seconds() - began) / (double)times;
    ag_linear_free(layer);
    ag_ctx_free(ctx);
    return good ? time : -1;
}

static bool measure(const ag_processes *link)
{
    enum { SMALL = 256, SIZES = 5 };
    static const int64_t size[SIZES] = { SMALL, 1 << 14, 1 << 18, 1 << 20, 1 << 23 };
    const double n = (double)link->count;
    double time[SIZES];
    for (int i = 0; i < SIZES; i++) {
        time[i] = sum_time(link, size[i]);
        if (time[i] < 0)
            return false;
        if (link->rank == 0)
            ag_printf("%9lld gradients: %.6f s\n", (long long)size[i], time[i]);
    }
    const double pieces = (double)(size[SIZES - 1] >> 20), alpha = time[0] / (3 * (n - 1));
    const double bytes = 8 * (double)size[SIZES - 1] * (n - 1) / n;
    const double beta = (time[SIZES - 1] - (2 * pieces + 1) * (n - 1) * alpha) / bytes;
    if (link->rank == 0)
        ag_printf("%.0f processes: alpha %.2e s per message, beta %.2e s per byte (%.2f GB/s)\n", n, alpha, beta,
                  1e-9 / beta);
    return true;
}

int main(int argc, char **argv)
{
    static char none[] = "{}";
    led_run led = { .config = processes_begin(&argc, &argv) ? none : NULL, .threads = 1 };
    const ag_processes *link = processes_join(&led, NULL);
    if (link == NULL)
        fprintf(stderr, "link: there is one process; start it with mpirun -n 2\n");
    const bool good = link != NULL && measure(link);
    if (led.config != none)
        free(led.config);
    return processes_end(good ? EXIT_SUCCESS : EXIT_FAILURE);
}
