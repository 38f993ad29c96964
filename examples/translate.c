/* SPDX-License-Identifier: MIT
 *
 * translate.c - an encoder-decoder learns to translate dates, written in twelve ways, to ISO form:
 *
 *     "the 3rd of May, 1987" -> "1987-05-03"
 *
 * The tokens are characters. A hash splits the days: no test day occurs in training in any form. The program trains,
 * measures how many held-out dates are right in every character, translates the dates of the command line, and shows
 * where the decoder attended while it wrote one of them.
 */
#include "examples/shared/heatmap.h"
#include "examples/shared/learning.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <stdlib.h>
#include <string.h>

enum { SOURCE = 32, ISO = 10, BATCH = 64, HELD_OUT = 2000, EMB = 64, HEADS = 4, LAYERS = 2 };
enum { PAD, BEGIN, FIRST_CHARACTER }; /* tokens; the characters follow */
static const char CHARACTERS[] = " ,-./0123456789abcdefghijklmnopqrstuvwxyz";
enum { VOCAB = FIRST_CHARACTER + sizeof CHARACTERS - 1 };

static const char *const MONTH[] = { "january", "february", "march", "april", "may", "june", "july",
                                     "august", "september", "october", "november", "december" };
static const char *const WEEKDAY[] = { "thursday", "friday", "saturday", "sunday", "monday", "tuesday", "wednesday" };

/* ---- Dates ---- */

typedef struct date {
    int number; /* of days since 1970-01-01, a Thursday */
    int year, month, day;
} date;

static bool leap(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int month_days(int year, int month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return month == 2 && leap(year) ? 29 : days[month - 1];
}

enum { DAYS = 47482 }; /* 1970-01-01 to 2099-12-31 */

static date date_of(int number)
{
    date d = { number, 1970, 1, 1 };
    int left = number;
    for (; left >= 365 + leap(d.year); d.year++)
        left -= 365 + leap(d.year);
    for (; left >= month_days(d.year, d.month); d.month++)
        left -= month_days(d.year, d.month);
    d.day = 1 + left;
    return d;
}

/* One day in five is kept for the test. */
static bool held_out(int number)
{
    return ((uint32_t)number * 2654435761u >> 16) % 5 == 0;
}

static const char *ordinal(int day)
{
    if (day / 10 == 1)
        return "th";
    return day % 10 == 1 ? "st" : day % 10 == 2 ? "nd" : day % 10 == 3 ? "rd" : "th";
}

enum { FORMS = 12, TEXT = 64 }; /* room for any numbers; a date has at most SOURCE characters */

/* The date in one of its forms. */
static void write_form(date d, int form, char text[TEXT])
{
    const char *month = MONTH[d.month - 1], *weekday = WEEKDAY[d.number % 7];
    const size_t size = TEXT;
    switch (form) {
    case 0: snprintf(text, size, "%d %s %d", d.day, month, d.year); break;
    case 1: snprintf(text, size, "%s %d, %d", month, d.day, d.year); break;
    case 2: snprintf(text, size, "%d.%d.%d", d.day, d.month, d.year); break;
    case 3: snprintf(text, size, "%02d.%02d.%d", d.day, d.month, d.year); break;
    case 4: snprintf(text, size, "%d/%d/%d", d.month, d.day, d.year); break; /* slashes: month first */
    case 5: snprintf(text, size, "%.3s %d %.3s %d", weekday, d.day, month, d.year); break;
    case 6: snprintf(text, size, "%s, %d %.3s %d", weekday, d.day, month, d.year); break;
    case 7: snprintf(text, size, "the %d%s of %s %d", d.day, ordinal(d.day), month, d.year); break;
    case 8: snprintf(text, size, "%s %d%s, %d", month, d.day, ordinal(d.day), d.year); break;
    case 9: snprintf(text, size, "%d-%.3s-%d", d.day, month, d.year); break;
    case 10: snprintf(text, size, "%d, %.3s %d", d.year, month, d.day); break;
    default: snprintf(text, size, "%d/%02d/%02d", d.year, d.month, d.day); break;
    }
}

/* ---- Tokens ---- */

/* -1: not a character of the model. */
static int32_t token_of(char c)
{
    const char *at = c == '\0' ? NULL : strchr(CHARACTERS, c);
    return at == NULL ? -1 : (int32_t)(FIRST_CHARACTER + (at - CHARACTERS));
}

static char character_of(int32_t token)
{
    return token < FIRST_CHARACTER ? '?' : CHARACTERS[token - FIRST_CHARACTER];
}

/* A batch: sources padded at the end, their lengths; targets begin with BEGIN. */
typedef struct batch {
    int32_t source[BATCH][SOURCE], length[BATCH], target[BATCH][ISO + 1];
} batch;

static void put_source(batch *b, int row, const char *text)
{
    b->length[row] = (int32_t)strlen(text);
    for (int c = 0; c < SOURCE; c++)
        b->source[row][c] = c < b->length[row] ? token_of(text[c]) : PAD;
}

static void put_target(batch *b, int row, date d)
{
    char iso[TEXT];
    snprintf(iso, sizeof iso, "%04d-%02d-%02d", d.year, d.month, d.day);
    b->target[row][0] = BEGIN;
    for (int c = 0; c < ISO; c++)
        b->target[row][c + 1] = token_of(iso[c]);
}

/* A random day of the training set, or of the held-out one. */
static date draw_date(ag_ctx *ctx, bool test)
{
    for (;;) {
        int number = (int)(ag_random(ctx) * DAYS);
        if (held_out(number) == test)
            return date_of(number);
    }
}

static void draw_batch(ag_ctx *ctx, bool test, batch *b)
{
    for (int row = 0; row < BATCH; row++) {
        char text[TEXT];
        date d = draw_date(ctx, test);
        write_form(d, (int)(ag_random(ctx) * FORMS), text);
        put_source(b, row, text);
        put_target(b, row, d);
    }
}

/* ---- The model ---- */

typedef struct translator {
    ag_ctx *ctx;
    ag_encoder_decoder *model;
    batch b;
} translator;

static ag_tensor *source_tensor(translator *t)
{
    return ag_from_data(t->ctx, AG_I32, AG_SHAPE(BATCH, SOURCE), t->b.source);
}

static ag_tensor *length_tensor(translator *t)
{
    return ag_from_data(t->ctx, AG_I32, AG_SHAPE(BATCH), t->b.length);
}

static ag_tensor *batch_loss(void *user)
{
    translator *t = user;
    draw_batch(t->ctx, false, &t->b);
    ag_tensor *target = ag_from_data(t->ctx, AG_I32, AG_SHAPE(BATCH, ISO + 1), t->b.target);
    ag_tensor *logits = ag_encoder_decoder_forward(t->model, source_tensor(t), length_tensor(t),
                                                   ag_slice(target, 1, 0, ISO, 1));
    return ag_cross_entropy(logits, ag_slice(target, 1, 1, ISO + 1, 1));
}

/* Translates the batch's sources, all at once, one character after the other: written[row], ending in '\0'. */
static void translate(translator *t, char written[BATCH][ISO + 1])
{
    ag_ctx *ctx = t->ctx;
    int32_t next[BATCH];
    for (int row = 0; row < BATCH; row++)
        next[row] = BEGIN;
    memset(written, 0, BATCH * (ISO + 1));
    ag_scope_begin(ctx, NULL);
    ag_kv_cache *cache = ag_kv_cache_new(ctx, BATCH, LAYERS);
    ag_tensor *lengths = length_tensor(t);
    ag_tensor *memory = ag_encoder_decoder_encode(t->model, source_tensor(t), lengths);
    for (int c = 0; c < ISO && ag_error(ctx) == AG_OK; c++) {
        ag_tensor *target = ag_from_data(ctx, AG_I32, AG_SHAPE(BATCH, 1), next);
        ag_tensor *logits = ag_contiguous(ag_encoder_decoder_decode(t->model, target, memory, lengths, cache));
        const float *logit = logits == NULL ? NULL : ag_data(logits);
        for (int row = 0; logit != NULL && row < BATCH; row++, logit += VOCAB) {
            next[row] = 0;
            for (int32_t v = 1; v < (int32_t)VOCAB; v++)
                next[row] = logit[v] > logit[next[row]] ? v : next[row];
            written[row][c] = character_of(next[row]);
        }
    }
    ag_kv_cache_free(cache);
    ag_scope_end(ctx, NULL);
}

/* How many of HELD_OUT dates are right; prints one of each form, and all wrong ones up to a few. */
static int test(translator *t)
{
    int right = 0, wrong = 0, seen = 0;
    printf("%-32s %-12s\n", "held-out date", "translation");
    for (int done = 0; done < HELD_OUT; done += BATCH) {
        char written[BATCH][ISO + 1];
        draw_batch(t->ctx, true, &t->b);
        translate(t, written);
        for (int row = 0; row < BATCH && done + row < HELD_OUT; row++) {
            bool same = true;
            char text[SOURCE + 1] = "";
            for (int c = 0; c < ISO; c++)
                same = same && written[row][c] == character_of(t->b.target[row][c + 1]);
            for (int c = 0; c < t->b.length[row]; c++)
                text[c] = character_of(t->b.source[row][c]);
            right += same;
            if ((same && seen++ < 8) || (!same && wrong++ < 5))
                printf("%-32s %-12s %s\n", text, written[row], same ? "" : "wrong");
        }
    }
    return right;
}

/* ---- Dates of the command line ---- */

/* The text in lower case, which the model has learned. False after a message when it has other characters. */
static bool put_text(translator *t, int row, const char *text)
{
    char lower[SOURCE + 1] = "";
    size_t length = strlen(text);
    if (length == 0 || length > SOURCE) {
        fprintf(stderr, "translate: '%s' has %zu characters, must have 1 to %d\n", text, length, SOURCE);
        return false;
    }
    for (size_t c = 0; c < length; c++) {
        lower[c] = text[c] >= 'A' && text[c] <= 'Z' ? (char)(text[c] - 'A' + 'a') : text[c];
        if (token_of(lower[c]) < 0) {
            fprintf(stderr, "translate: '%s' has other characters than letters, digits and \" ,-./\"\n", text);
            return false;
        }
    }
    put_source(&t->b, row, lower);
    return true;
}

/* Where in the source the decoder attended while it wrote each character: the mean over the last layer's heads. */
static bool show_attention(translator *t, const char *text, const char *path)
{
    ag_ctx *ctx = t->ctx;
    char written[BATCH][ISO + 1];
    double value[ISO * SOURCE];
    const char *row_label[ISO], *col_label[SOURCE];
    char row_text[ISO][2], col_text[SOURCE][2];
    if (!put_text(t, 0, text))
        return false;
    int length = t->b.length[0];
    for (int row = 1; row < BATCH; row++)
        put_text(t, row, text);
    translate(t, written);
    int32_t target[ISO] = { BEGIN };
    for (int c = 0; c + 1 < ISO; c++)
        target[c + 1] = token_of(written[0][c]);
    ag_scope_begin(ctx, NULL);
    ag_tensor *source = ag_slice(source_tensor(t), 0, 0, 1, 1), *lengths = ag_slice(length_tensor(t), 0, 0, 1, 1);
    ag_encoder_decoder_forward(t->model, source, lengths, ag_from_data(ctx, AG_I32, AG_SHAPE(1, ISO), target));
    ag_mha *cross = ag_block_cross(ag_encoder_decoder_block(t->model, true, LAYERS - 1));
    ag_tensor *weights = ag_mean(ag_mha_weights(cross), AG_DIMS(0, 1), false); /* [ISO,SOURCE] */
    for (int i = 0; i < ISO * length; i++)
        ag_get(weights, (const int64_t[]){ i / length, i % length }, &value[i]);
    ag_scope_end(ctx, NULL);
    for (int r = 0; r < ISO; r++) {
        snprintf(row_text[r], 2, "%c", written[0][r]);
        row_label[r] = row_text[r];
    }
    for (int c = 0; c < length; c++) {
        snprintf(col_text[c], 2, "%c", text[c]);
        col_label[c] = col_text[c];
    }
    heatmap_panel panel = { "cross-attention, mean of the heads", ISO, length, value, row_label, col_label,
                            "written", "read" };
    heatmap map = { "Where the decoder looks as it writes each character", "weight", 0, 1, 1, &panel };
    return ag_error(ctx) == AG_OK && heatmap_show(&map, path);
}

static bool run(translator *t, const option_words *words, uint64_t steps, uint64_t least, const char *path)
{
    const char *example = words->count > 0 ? words->word[0] : "the 3rd of May 1987";
    for (int i = 0; i < words->count; i++)
        if (!put_text(t, 0, words->word[i])) /* better now than after training */
            return false;
    if (!program_can_write("translate", path))
        return false;
    double began = seconds();
    if (!learn(&(learning){ .program = "translate", .ctx = t->ctx, .module = ag_encoder_decoder_module(t->model),
                            .steps = (int64_t)steps, .lr = 3e-3, .weight_decay = 0.01, .loss = batch_loss,
                            .user = t }))
        return false;
    int right = test(t);
    double percent = 100.0 * right / HELD_OUT;
    ag_printf("\n%d of %d held-out dates right in every character: %.2f %%; %.0f s in all\n", right, HELD_OUT, percent,
              seconds() - began);
    for (int i = 0; i < words->count; i++) {
        char written[BATCH][ISO + 1];
        for (int row = 0; row < BATCH; row++)
            put_text(t, row, words->word[i]);
        translate(t, written);
        printf("%s -> %s\n", words->word[i], written[0]);
    }
    if (!show_attention(t, example, path))
        return false;
    if (percent < (double)least)
        fprintf(stderr, "translate: fewer than %llu %% are right\n", (unsigned long long)least);
    return percent >= (double)least;
}

int main(int argc, char **argv)
{
    uint64_t steps = 1500, seed = 1, least = 0;
    const char *path = "translate.svg";
    option_words words = { 0 };
    const option options[] = {
        { "[DATE...]", OPTION_WORDS, &words, NULL, "dates to translate after training" },
        { "--steps", OPTION_NUMBER, &steps, "N", "training steps of 64 dates, 1 to 10^6 [1500]" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of initial weights and dates [1]" },
        { "--least", OPTION_NUMBER, &least, "P", "exit with 1 when less than P % of held-out dates are right [0]" },
        { "--out", OPTION_TEXT, &path, "PATH", "where the decoder attended, as SVG [translate.svg]" },
    };
    int status = options_read("translate",
                              "Trains an encoder-decoder to translate dates, written in twelve ways, to ISO form, and "
                              "tests it on days that training has not seen. Then translates the dates given, such as "
                              "\"the 3rd of May 1987\", and shows where the decoder attended. With slashes the month "
                              "comes first, unless the year does; with points the day comes first.",
                              options, sizeof options / sizeof *options, argc, argv);
    if (status == OPTIONS_RUN && (steps < 1 || steps > 1000000)) {
        fprintf(stderr, "translate: --steps is %llu, must be 1 to 1000000\n", (unsigned long long)steps);
        status = OPTIONS_WRONG;
    }
    if (status != OPTIONS_RUN)
        return status;
    translator t = { .ctx = program_begin("translate", seed) };
    ag_transformer_config half = { .vocab_size = VOCAB, .max_seq_len = SOURCE, .emb_size = EMB, .num_heads = HEADS,
                                   .num_layers = LAYERS };
    t.model = ag_encoder_decoder_new(t.ctx, (ag_encoder_decoder_config){ half, half, .shared_embedding = true });
    bool good = t.model != NULL && run(&t, &words, steps, least, path);
    ag_encoder_decoder_free(t.model);
    return program_end("translate", t.ctx, good);
}
