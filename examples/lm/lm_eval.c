/* SPDX-License-Identifier: MIT
 *
 * lm_eval.c - `lm eval`: how well a model predicts a text, and which tokens surprise it.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_measure.h"
#include "examples/lm/lm_text.h"
#include "examples/lm/lm_tokenizer.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char about_eval[] =
    "Prints how well a model of lm train predicts texts: nats per token, bits per byte, perplexity. --color shows the "
    "text, the more red the more a token surprised the model; where stdout is no terminal, a line per token.";

/* Backgrounds of the 256 colours, from none for what was expected to red for what was not. */
static void put_coloured(void *none, const unsigned char *text, int64_t length, double nats)
{
    static const int shade[] = { 0, 230, 223, 216, 209, 203, 196 };
    (void)none;
    int i = nats < 0.5 ? 0 : nats >= 6 ? 6 : 1 + (int)(nats * 5 / 6);
    if (i > 0)
        printf("\033[30;48;5;%dm", shade[i]);
    for (int64_t at = 0; at < length; at++) { /* a line's end would colour the rest of the line */
        if (text[at] == '\n' && i > 0)
            fputs("\033[0m", stdout);
        putchar(text[at]);
    }
    if (i > 0)
        fputs("\033[0m", stdout);
}

static void put_line(void *none, const unsigned char *text, int64_t length, double nats)
{
    (void)none;
    ag_printf("%8.4f ", nats);
    json_string(stdout, text, length);
    putchar('\n');
}

static void print_text(const vocab *v, const int32_t *token, const double *nats, int64_t count)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool colours = system_is_terminal(stdout) && (no_color == NULL || no_color[0] == '\0') &&
                   (term == NULL || strcmp(term, "dumb") != 0);
    measure_spans(v, token, nats, count, colours ? put_coloured : put_line, NULL);
    if (colours)
        printf("\n\n");
}

static bool evaluate(lm_model *model, const raw_text *t, bool color)
{
    int64_t count;
    int32_t *token = vocab_encode_said(&model->vocab, "the text", t->byte, t->size, &count);
    if (token != NULL && count < 2) {
        fprintf(stderr, "lm eval: the text has %lld token, of which none is predicted; it needs 2\n", (long long)count);
        free(token);
        return false;
    }
    double *nats = token == NULL ? NULL : malloc((size_t)count * sizeof *nats), sum = 0;
    bool good = nats != NULL && measure_surprise(model, token, count, nats);
    if (good) {
        unsigned char space[UTF8_BYTES];
        int64_t first;
        vocab_bytes(&model->vocab, token[0], space, &first);
        for (int64_t i = 1; i < count; i++)
            sum += nats[i];
        if (color)
            print_text(&model->vocab, token, nats, count);
        double per_token = sum / (double)(count - 1);
        const char *noun = token_noun[model->vocab.kind];
        ag_printf("%lld %ss, %lld bytes\n%.4f nats per %s, perplexity %.3f\n%.4f bits per byte\n", (long long)count,
                  noun, (long long)t->size, per_token, noun, exp(per_token), sum / log(2) / (double)(t->size - first));
    }
    free(token);
    free(nats);
    return good;
}

int lm_eval_command(int argc, char **argv)
{
    const char *where = "", *standard = "-";
    uint64_t threads = 0;
    bool color = false;
    option_words files = { .count = 0 };
    const option options[] = {
        { "[FILE...]", OPTION_WORDS, &files, NULL, "texts, and folders of texts; -: standard input [-]" },
        { "--model", OPTION_TEXT, &where, "FILE", "the model, or a run's folder [the newest run's best]" },
        { "--color", OPTION_FLAG, &color, NULL, "show the surprise of every token" },
        { "--threads", OPTION_NUMBER, &threads, "N", "0: all cores [0]" },
        { "lm eval letter.txt --color", OPTION_EXAMPLE, NULL, NULL, "shows what the model did not expect" },
    };
    int status = options_read("lm eval", about_eval, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    lm_model model;
    raw_text t = { .size = 0 };
    bool good = command_begin(&model, "lm eval", where, threads) &&
                text_read(&t, (text_files){ files.count > 0 ? (const char *const *)files.word : &standard,
                                            files.count > 0 ? files.count : 1, NULL, 0 },
                          model.vocab.kind) &&
                evaluate(&model, &t, color);
    text_free(&t);
    return command_end(&model, good);
}
