/* SPDX-License-Identifier: MIT
 *
 * forecast.c - a causal transformer learns to forecast a chaotic time series, sixteen steps ahead.
 *
 * The series is that of Mackey and Glass (1977), x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, sampled once per unit
 * of time; it almost repeats itself but never does. Training uses the first part of the series, the test the part after
 * it. From the 64 values of a window the model forecasts the next 16 at once. Its mean absolute error is compared with
 * two naive forecasts: the last value, and the continuation of the most similar training window.
 */
#include "examples/shared/learning.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <math.h>
#include <string.h>

enum { DELAY = 17, SUBSTEPS = 10, WARM_UP = 1000, LENGTH = 8000, TRAINING = 6000 };
enum { SEEN = 64, AHEAD = 16, WINDOW = SEEN + AHEAD, PATCH = 8, BATCH = 32, TESTS = 500 };
enum { EMB = 64, HEADS = 4, LAYERS = 2 };

/* ---- The series ---- */

/* Fourth-order Runge-Kutta in steps of 1/SUBSTEPS, with delayed values from earlier steps; then scaled so that the
 * training part has mean 0 and variance 1. */
static void make_series(float series[LENGTH])
{
    enum { BACK = DELAY * SUBSTEPS };
    double past[BACK], x = 1.2, mean = 0, square = 0;
    const double h = 1.0 / SUBSTEPS;
    for (int i = 0; i < BACK; i++)
        past[i] = 1.2;
    for (int64_t n = 0; n < (int64_t)(WARM_UP + LENGTH) * SUBSTEPS; n++) {
        if (n >= WARM_UP * SUBSTEPS && n % SUBSTEPS == 0)
            series[n / SUBSTEPS - WARM_UP] = (float)x;
        const double old = past[n % BACK], next = past[(n + 1) % BACK], between = 0.5 * (old + next);
        const double gain[] = { 0.2 * old / (1 + pow(old, 10)), 0.2 * between / (1 + pow(between, 10)),
                                0.2 * next / (1 + pow(next, 10)) };
        const double k1 = gain[0] - 0.1 * x, k2 = gain[1] - 0.1 * (x + 0.5 * h * k1);
        const double k3 = gain[1] - 0.1 * (x + 0.5 * h * k2), k4 = gain[2] - 0.1 * (x + h * k3);
        past[n % BACK] = x;
        x += h / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
    }
    for (int i = 0; i < TRAINING; i++) {
        mean += (double)series[i] / TRAINING;
        square += (double)series[i] * (double)series[i] / TRAINING;
    }
    for (int i = 0; i < LENGTH; i++)
        series[i] = (float)(((double)series[i] - mean) / sqrt(square - mean * mean));
}

/* ---- The model: linear, sinusoidal positions, blocks, norm, linear ----
 * A token is a value and the PATCH - 1 values before it (0 before the window), so that one token shows the slope. */

typedef struct forecaster {
    ag_ctx *ctx;
    ag_module *module;
    ag_linear_layer *in, *out;
    ag_block *block[LAYERS];
    ag_layer_norm_layer *norm;
    ag_tensor *positions; /* [SEEN,EMB] */
    float series[LENGTH];
} forecaster;

static void make_model(forecaster *f)
{
    ag_ctx *ctx = f->ctx;
    f->module = ag_group_new(ctx, "forecaster");
    f->in = ag_linear_new(ctx, (ag_linear_config){ .in_features = PATCH, .out_features = EMB });
    ag_group_add(f->module, "in", ag_linear_module(f->in));
    for (int i = 0; i < LAYERS; i++) {
        f->block[i] = ag_block_new(ctx, (ag_block_config){ .emb_size = EMB, .num_heads = HEADS, .max_seq_len = SEEN });
        ag_group_add(f->module, (const char *const[LAYERS]){ "block.0", "block.1" }[i], ag_block_module(f->block[i]));
    }
    f->norm = ag_layer_norm_new(ctx, (ag_layer_norm_config){ .size = EMB });
    ag_group_add(f->module, "norm", ag_layer_norm_module(f->norm));
    f->out = ag_linear_new(ctx, (ag_linear_config){ .in_features = EMB, .out_features = AHEAD });
    ag_group_add(f->module, "out", ag_linear_module(f->out));
    f->positions = ag_sinusoidal(ctx, AG_F32, 0, SEEN, EMB);
}

/* x[B,SEEN,PATCH], newest value first -> [B,SEEN,AHEAD]: for each value the next ones, minus it. */
static ag_tensor *forecast(forecaster *f, ag_tensor *x)
{
    ag_tensor *h = ag_add(ag_linear_forward(f->in, x), f->positions);
    for (int i = 0; i < LAYERS; i++)
        h = ag_block_forward(f->block[i], h);
    return ag_add(ag_linear_forward(f->out, ag_layer_norm_forward(f->norm, h)), ag_slice(x, 2, 0, 1, 1));
}

/* The windows that begin at start[count]: [count,SEEN,PATCH], and the values after each one, [count,SEEN,AHEAD]. */
static void windows(forecaster *f, const int *start, int count, ag_tensor **x, ag_tensor **y)
{
    static float seen[BATCH * SEEN * PATCH], next[BATCH * SEEN * AHEAD];
    for (int b = 0; b < count; b++)
        for (int t = 0; t < SEEN; t++) {
            const float *now = f->series + start[b] + t;
            for (int i = 0; i < PATCH; i++)
                seen[(b * SEEN + t) * PATCH + i] = i <= t ? now[-i] : 0;
            memcpy(next + (b * SEEN + t) * AHEAD, now + 1, sizeof(float[AHEAD]));
        }
    *x = ag_from_data(f->ctx, AG_F32, AG_SHAPE(count, SEEN, PATCH), seen);
    *y = ag_from_data(f->ctx, AG_F32, AG_SHAPE(count, SEEN, AHEAD), next);
}

/* Of forecasts from at least half a window: those from fewer values are guesses and would dominate the mean. */
static ag_tensor *batch_loss(void *user)
{
    forecaster *f = user;
    int start[BATCH];
    for (int b = 0; b < BATCH; b++)
        start[b] = (int)(ag_random(f->ctx) * (TRAINING - WINDOW + 1));
    ag_tensor *x, *y;
    windows(f, start, BATCH, &x, &y);
    return ag_mse(ag_slice(forecast(f, x), 1, SEEN / 2, SEEN, 1), ag_slice(y, 1, SEEN / 2, SEEN, 1));
}

/* ---- The test ---- */

/* The start of the training window that is most similar to the one at `start`. */
static int most_similar(const forecaster *f, int start)
{
    int best = 0;
    double least = HUGE_VAL;
    for (int at = 0; at + WINDOW <= TRAINING; at++) {
        double sum = 0;
        for (int t = 0; t < SEEN && sum < least; t++) {
            double d = (double)(f->series[at + t] - f->series[start + t]);
            sum += d * d;
        }
        if (sum < least) {
            least = sum;
            best = at;
        }
    }
    return best;
}

enum { MODEL, LAST_VALUE, SIMILAR, KINDS };

/* The forecasts of each kind for the AHEAD values after the window at `start`. */
static void forecasts(forecaster *f, int start, double said[KINDS][AHEAD])
{
    ag_tensor *x, *y;
    ag_scope_begin(f->ctx, NULL);
    windows(f, &start, 1, &x, &y);
    ag_tensor *all = forecast(f, x);
    const float *similar = f->series + most_similar(f, start) + SEEN;
    for (int a = 0; a < AHEAD; a++) {
        ag_get(all, (const int64_t[]){ 0, SEEN - 1, a }, &said[MODEL][a]);
        said[LAST_VALUE][a] = (double)f->series[start + SEEN - 1];
        said[SIMILAR][a] = (double)similar[a];
    }
    ag_scope_end(f->ctx, NULL);
}

/* One window as text: seen values o, true ones +, forecasts *. */
static void draw(forecaster *f, int start)
{
    enum { ROWS = 17, SHOWN = 40, FROM = SEEN - (SHOWN - AHEAD) };
    char picture[ROWS][SHOWN + 1];
    double said[KINDS][AHEAD];
    forecasts(f, start, said);
    for (int r = 0; r < ROWS; r++) {
        memset(picture[r], ' ', SHOWN);
        picture[r][SHOWN] = '\0';
    }
    for (int t = FROM; t < WINDOW; t++) {
        const double value[] = { (double)f->series[start + t], t < SEEN ? 0 : said[MODEL][t - SEEN] };
        for (int k = 0; k < (t < SEEN ? 1 : 2); k++) {
            int row = (int)((2.5 - value[k]) / 5 * ROWS);
            row = row < 0 ? 0 : row >= ROWS ? ROWS - 1 : row;
            picture[row][t - FROM] = t < SEEN ? 'o' : k == 0 ? '+' : '*';
        }
    }
    printf("\nA held-out window: o seen, + what came, * what was said (over it)\n\n");
    for (int r = 0; r < ROWS; r++)
        ag_printf("  %5.1f |%s\n", 2.5 - 5.0 * (r + 0.5) / ROWS, picture[r]);
}

/* The mean absolute errors over TESTS windows of the held-out part. */
static void test(forecaster *f, double error[KINDS])
{
    memset(error, 0, KINDS * sizeof *error);
    for (int n = 0; n < TESTS && ag_error(f->ctx) == AG_OK; n++) {
        int start = TRAINING + (int)((int64_t)n * (LENGTH - TRAINING - WINDOW) / (TESTS - 1));
        double said[KINDS][AHEAD];
        forecasts(f, start, said);
        for (int k = 0; k < KINDS; k++)
            for (int a = 0; a < AHEAD; a++)
                error[k] += fabs(said[k][a] - (double)f->series[start + SEEN + a]) / (TESTS * AHEAD);
    }
}

static bool run(forecaster *f, uint64_t steps, double most)
{
    double error[KINDS], began = seconds();
    make_series(f->series);
    make_model(f);
    if (!learn(&(learning){ .program = "forecast", .ctx = f->ctx, .module = f->module, .steps = (int64_t)steps,
                            .lr = 2e-3, .weight_decay = 0.01, .loss = batch_loss, .user = f }))
        return false;
    test(f, error);
    draw(f, LENGTH - WINDOW);
    ag_printf(
        "\nMean absolute error of %d values ahead, in standard deviations of the series, %d held-out windows:\n\n"
        "  this model                 %.4f\n  the last value stays       %.4f\n  the most similar window    %.4f\n\n"
        "%.0f s in all\n",
        AHEAD, TESTS, error[MODEL], error[LAST_VALUE], error[SIMILAR], seconds() - began);
    bool good = most == 0 || error[MODEL] <= most;
    if (!good)
        ag_fprintf(stderr, "forecast: the error is above %g\n", most);
    return good;
}

int main(int argc, char **argv)
{
    uint64_t steps = 2000, seed = 1;
    double most = 0;
    const option options[] = {
        { "--steps", OPTION_NUMBER, &steps, "N", "training steps of 32 windows, 1 to 10^6 [2000]" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of initial weights and windows [1]" },
        { "--most", OPTION_REAL, &most, "X", "exit with 1 when the held-out error is above X, 0: never [0]" },
    };
    int status = options_read("forecast",
                              "Trains a causal transformer to forecast the Mackey-Glass series, 16 values from 64, "
                              "and compares it with two naive forecasts on a later part of the series.",
                              options, sizeof options / sizeof *options, argc, argv);
    if (status == OPTIONS_RUN && (steps < 1 || steps > 1000000)) {
        fprintf(stderr, "forecast: --steps is %llu, must be 1 to 1000000\n", (unsigned long long)steps);
        status = OPTIONS_WRONG;
    }
    if (status != OPTIONS_RUN)
        return status;
    static forecaster f;
    f.ctx = program_begin("forecast", seed);
    bool good = run(&f, steps, most);
    ag_group_free(f.module);
    return program_end("forecast", f.ctx, good);
}
