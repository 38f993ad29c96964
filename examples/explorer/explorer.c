/* SPDX-License-Identifier: MIT
 *
 * explorer.c - the model of explorer.html as a program: writes every matrix of both passes as JSON, and the losses of a
 * training. The page shows the same numbers.
 */
#include "examples/explorer/explorer.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <inttypes.h>
#include <math.h>

typedef struct request {
    const char *text;
    uint64_t heads, size, seed, steps;
    bool scale, causal, residual;
    double temperature, dropout, rate;
    int loss;
} request;

/* JSON has no numbers that are not finite. */
static void print_number(bool first, int digits, double x)
{
    fputs(first ? "" : ",", stdout);
    if (isfinite(x))
        ag_printf("%.*g", digits, x);
    else
        fputs("null", stdout);
}

static void print_values(const explorer *model, explorer_entry entry)
{
    const int heads = explorer_heads(model, entry), rows = explorer_rows(model, entry);
    const int cols = explorer_cols(model, entry);
    const double *x = explorer_values(model, entry);
    printf("    \"%s\": { \"shape\": [%d,%d,%d], \"values\": [", explorer_name(entry), heads, rows, cols);
    for (int i = 0; i < heads * rows * cols; i++)
        print_number(i == 0, 17, x[i]);
    printf("] }");
}

static bool run(explorer *model, const request *r)
{
    if (!explorer_set(model, r->scale, r->causal, r->residual, r->temperature, r->dropout)) {
        fprintf(stderr, "explorer: %s\n", explorer_error(model));
        return false;
    }
    printf("{\n  \"losses\": [");
    for (uint64_t i = 0; i < r->steps; i++)
        print_number(i == 0, 9, explorer_train(model, r->rate, i + 1 == r->steps));
    printf("],\n  \"matrices\": {\n");
    for (int e = 0, written = 0; e < ENTRY_COUNT; e++)
        if (explorer_rows(model, (explorer_entry)e) > 0) {
            fputs(written++ > 0 ? ",\n" : "", stdout);
            print_values(model, (explorer_entry)e);
        }
    printf("\n  }\n}\n");
    return explorer_error(model)[0] == '\0';
}

int main(int argc, char **argv)
{
    static const char *const losses[] = { "sum", "square", "next", NULL };
    request r = { .text = "the cat sat on the mat", .heads = 1, .size = 4, .seed = 1, .scale = true, .causal = true,
                  .temperature = 1, .rate = 0.1 };
    const option options[] = {
        { "--text", OPTION_TEXT, &r.text, "TEXT", "2 to 12 words [the cat sat on the mat]" },
        { "--heads", OPTION_NUMBER, &r.heads, "N", "heads, 1 to 4 [1]", .least = 1, .most = MOST_HEADS },
        { "--size", OPTION_NUMBER, &r.size, "N", "channels, and size of a head, 2 to 8 [4]", .least = LEAST_SIZE,
          .most = MOST_SIZE },
        { "--seed", OPTION_NUMBER, &r.seed, "N", "seed of parameters and target [1]", .most = UINT32_MAX },
        { "--scale", OPTION_FLAG, &r.scale, NULL, "multiply the scores by 1/sqrt(size) [yes]" },
        { "--causal", OPTION_FLAG, &r.causal, NULL, "hide the words to come [yes]" },
        { "--residual", OPTION_FLAG, &r.residual, NULL, "add X to the output [no]" },
        { "--temperature", OPTION_REAL, &r.temperature, "X", "divide the scores by this [1]", .least = 0.01,
          .most = 100 },
        { "--dropout", OPTION_REAL, &r.dropout, "P", "drop weights with this probability [0]", .most = 0.9 },
        { "--loss", OPTION_CHOICE, &r.loss, "LOSS", "sum, square or next [sum]", .words = losses },
        { "--steps", OPTION_NUMBER, &r.steps, "N", "steps of SGD before the passes [0]" },
        { "--rate", OPTION_REAL, &r.rate, "X", "learning rate [0.1]" },
    };
    const int status = options_read("explorer",
                                    "Writes every matrix of one attention layer's forward and backward pass on a "
                                    "sentence, as JSON: the numbers that explorer.html shows.",
                                    options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    explorer *model = explorer_new(r.text, (int)r.heads, (int)r.size, (explorer_loss)r.loss, (uint32_t)r.seed);
    if (model == NULL) {
        fprintf(stderr, "explorer: --text is '%s', which is not two words or more; or out of memory\n", r.text);
        return 1;
    }
    const bool good = run(model, &r);
    explorer_free(model);
    return good ? 0 : 1;
}
