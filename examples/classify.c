/* SPDX-License-Identifier: MIT
 *
 * classify.c - an encoder learns to tell well-formed bracket strings from broken ones:
 *
 *     "([]{})" well-formed      "([]{)}" broken
 *
 * Half of the strings are well-formed. Each broken one is a well-formed one with two brackets exchanged (two in three),
 * one replaced or one removed, so that counting brackets is not enough. A hash splits the strings: no test string
 * occurs in training. They differ in length and are padded. The program trains, compares the accuracy with rules that
 * need no attention, judges the strings of the command line, and shows the head that attends most to each bracket's
 * partner.
 */
#include "examples/shared/heatmap.h"
#include "examples/shared/learning.h"
#include "examples/shared/options.h"
#include "examples/shared/program.h"

#include <string.h>

enum { MOST = 16, BATCH = 128, HELD_OUT = 2000, EMB = 64, HEADS = 4, LAYERS = 2 };
static const char BRACKETS[] = "()[]{}"; /* closing ones at odd places */
enum { KINDS = 3, PAD = 2 * KINDS, VOCAB }; /* tokens: the brackets, then padding */

/* ---- Bracket strings ---- */

static int32_t token_of(char c)
{
    const char *at = c == '\0' ? NULL : strchr(BRACKETS, c);
    return at == NULL ? -1 : (int32_t)(at - BRACKETS);
}

/* Writes the position of each bracket's partner to partner[] (may be NULL). False: the string is broken. */
static bool well_formed(const char *text, int *partner)
{
    int open[MOST], depth = 0;
    for (int i = 0; text[i] != '\0'; i++) {
        int32_t token = token_of(text[i]);
        if (token % 2 == 0) {
            open[depth++] = i;
            continue;
        }
        if (depth == 0 || token_of(text[open[--depth]]) != token - 1)
            return false;
        if (partner != NULL) {
            partner[i] = open[depth];
            partner[open[depth]] = i;
        }
    }
    return depth == 0;
}

static int below(ag_ctx *ctx, int n)
{
    return (int)(ag_random(ctx) * n);
}

static void draw_well_formed(ag_ctx *ctx, char text[MOST + 1])
{
    int length = 2 * (2 + below(ctx, MOST / 2 - 1)), open[MOST], depth = 0; /* 4 to MOST */
    for (int i = 0; i < length; i++) {
        bool opens = depth == 0 || (depth < length - i && below(ctx, 2) == 0);
        if (opens)
            open[depth++] = 2 * below(ctx, KINDS);
        text[i] = BRACKETS[opens ? open[depth - 1] : open[--depth] + 1];
    }
    text[length] = '\0';
}

static void spoil(ag_ctx *ctx, char text[MOST + 1])
{
    char whole[MOST + 1];
    const int length = (int)strlen(text), way = below(ctx, 6);
    memcpy(whole, text, sizeof whole);
    do { /* exchanging two equal brackets changes nothing */
        int i = below(ctx, length), j = below(ctx, length);
        memcpy(text, whole, sizeof whole);
        if (way < 4) {
            text[i] = whole[j];
            text[j] = whole[i];
        } else if (way == 4) {
            text[i] = BRACKETS[below(ctx, 2 * KINDS)];
        } else {
            memmove(text + i, whole + i + 1, (size_t)(length - i));
        }
    } while (well_formed(text, NULL));
}

/* One string in five is kept for the test (FNV-1a). */
static bool held_out(const char *text)
{
    uint32_t hash = 2166136261u;
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return (hash >> 8) % 5 == 0;
}

/* ---- Rules that need no attention ---- */

typedef bool rule(const char *text);

static bool say_yes(const char *text)
{
    (void)text;
    return true;
}

/* Whether each kind is closed as often as opened; with `running` also never more often at any position. */
static bool counts_agree(const char *text, bool running)
{
    int open[KINDS] = { 0 };
    for (; *text != '\0'; text++) {
        int32_t token = token_of(*text);
        open[token / 2] += token % 2 == 0 ? 1 : -1;
        if (running && open[token / 2] < 0)
            return false;
    }
    for (int kind = 0; kind < KINDS; kind++)
        if (open[kind] != 0)
            return false;
    return true;
}

static bool count(const char *text)
{
    return counts_agree(text, false);
}

static bool count_running(const char *text)
{
    return counts_agree(text, true);
}

static const struct {
    const char *name;
    rule *says_good;
} RULE[] = { { "always the same answer", say_yes },
             { "counting each bracket", count },
             { "a running count of each kind", count_running } };
enum { RULES = sizeof RULE / sizeof *RULE };

/* ---- Batches and the model ---- */

typedef struct classifier {
    ag_ctx *ctx;
    ag_module *module;
    ag_encoder *encoder;
    ag_linear_layer *head;
    char text[BATCH][MOST + 1];
    int32_t token[BATCH][MOST], length[BATCH], good[BATCH]; /* padded at the end */
} classifier;

static void put_text(classifier *c, int row, const char *text)
{
    snprintf(c->text[row], sizeof c->text[row], "%s", text);
    c->length[row] = (int32_t)strlen(text);
    c->good[row] = well_formed(text, NULL);
    for (int i = 0; i < MOST; i++)
        c->token[row][i] = i < c->length[row] ? token_of(text[i]) : PAD;
}

static void draw_batch(classifier *c, bool test)
{
    for (int row = 0; row < BATCH; row++) {
        char text[MOST + 1];
        do {
            draw_well_formed(c->ctx, text);
            if (below(c->ctx, 2) == 0)
                spoil(c->ctx, text);
        } while (held_out(text) != test);
        put_text(c, row, text);
    }
}

static void make_model(classifier *c)
{
    c->module = ag_group_new(c->ctx, "classifier");
    c->encoder = ag_encoder_new(c->ctx, (ag_transformer_config){
        .vocab_size = VOCAB, .emb_size = EMB, .num_heads = HEADS, .num_layers = LAYERS,
        .positions = AG_POSITIONS_NONE, .attention.rotary = &ag_rotary });
    ag_group_add(c->module, "encoder", ag_encoder_module(c->encoder));
    c->head = ag_linear_new(c->ctx, (ag_linear_config){ .in_features = EMB, .out_features = 2 });
    ag_group_add(c->module, "head", ag_linear_module(c->head));
}

/* Of the batch: logits[BATCH,2] of broken and well-formed. */
static ag_tensor *classify(classifier *c)
{
    ag_tensor *tokens = ag_from_data(c->ctx, AG_I32, AG_SHAPE(BATCH, MOST), c->token);
    ag_tensor *lengths = ag_from_data(c->ctx, AG_I32, AG_SHAPE(BATCH), c->length);
    ag_tensor *hidden = ag_encoder_forward(c->encoder, tokens, lengths, NULL);
    return ag_linear_forward(c->head, ag_encoder_pool(c->encoder, hidden, lengths, AG_POOL_MEAN));
}

static ag_tensor *batch_loss(void *user)
{
    classifier *c = user;
    draw_batch(c, false);
    return ag_cross_entropy(classify(c), ag_from_data(c->ctx, AG_I32, AG_SHAPE(BATCH), c->good));
}

/* The probability that each of the batch is well-formed. */
static void judge(classifier *c, double probability[BATCH])
{
    ag_scope_begin(c->ctx, NULL);
    ag_tensor *p = ag_softmax(classify(c), 1);
    for (int row = 0; row < BATCH; row++) {
        probability[row] = 0;
        ag_get(p, (const int64_t[]){ row, 1 }, &probability[row]);
    }
    ag_scope_end(c->ctx, NULL);
}

/* ---- The test ---- */

static const char *verdict(bool good)
{
    return good ? "well-formed" : "broken";
}

enum { WIDTH = 4, BINS = MOST / WIDTH };

/* Prints examples, and the accuracy by length; returns the percentage of HELD_OUT strings that are right. */
static double test(classifier *c)
{
    int right = 0, wrong = 0, rule_right[RULES] = { 0 }, bin_right[BINS] = { 0 }, bin_all[BINS] = { 0 };
    printf("%-*s  %-15s %s\n", MOST, "held-out string", "the model says", "it is");
    for (int done = 0; done < HELD_OUT; done += BATCH) {
        double probability[BATCH];
        draw_batch(c, true);
        judge(c, probability);
        for (int row = 0; row < BATCH && done + row < HELD_OUT; row++) {
            const bool said = probability[row] > 0.5, good = c->good[row], same = said == good;
            const int bin = (c->length[row] - 1) / WIDTH;
            right += same;
            bin_all[bin]++;
            bin_right[bin] += same;
            for (int r = 0; r < RULES; r++)
                rule_right[r] += RULE[r].says_good(c->text[row]) == good;
            if (done + row < 8 || (!same && wrong++ < 5))
                printf("%-*s  %-15s %-12s%s\n", MOST, c->text[row], verdict(said), verdict(good), same ? "" : " wrong");
        }
    }
    printf("\n%-32s %8s %12s\n", "length", "strings", "right");
    for (int bin = 0; bin < BINS; bin++)
        if (bin_all[bin] > 0)
            ag_printf("%2d to %-26d %8d %10.2f %%\n", bin * WIDTH + 1, (bin + 1) * WIDTH, bin_all[bin],
                      100.0 * bin_right[bin] / bin_all[bin]);
    printf("\n");
    for (int r = 0; r < RULES; r++)
        ag_printf("%-32s %8d %10.2f %%\n", RULE[r].name, HELD_OUT, 100.0 * rule_right[r] / HELD_OUT);
    ag_printf("%-32s %8d %10.2f %%\n", "the model", HELD_OUT, 100.0 * right / HELD_OUT);
    return 100.0 * right / HELD_OUT;
}

/* ---- Where a head attends ---- */

/* The attention of one string in one block, [HEADS,length,length]; the batch's first row must be the string. */
static void attention_of(classifier *c, int layer, double *value)
{
    const int length = c->length[0];
    ag_scope_begin(c->ctx, NULL);
    classify(c);
    ag_tensor *weights = ag_mha_weights(ag_block_attn(ag_encoder_block(c->encoder, layer)));
    for (int i = 0; i < HEADS * length * length; i++)
        ag_get(weights, (const int64_t[]){ 0, i / (length * length), i / length % length, i % length }, &value[i]);
    ag_scope_end(c->ctx, NULL);
}

/* The mean attention weight of a well-formed string's brackets on their partners. */
static double partner_share(const double *value, const char *text)
{
    int partner[MOST];
    const int length = (int)strlen(text);
    double sum = 0;
    well_formed(text, partner);
    for (int i = 0; i < length; i++)
        sum += value[i * length + partner[i]] / length;
    return sum;
}

/* A heat map of the head that attends most to partners. */
static bool show_attention(classifier *c, const char *text, const char *path)
{
    double value[HEADS * MOST * MOST], shown[MOST * MOST], most = -1;
    const char *label[MOST];
    char label_text[MOST][2], title[80];
    const int length = (int)strlen(text);
    put_text(c, 0, text);
    for (int layer = 0; layer < LAYERS; layer++) {
        attention_of(c, layer, value);
        for (int head = 0; head < HEADS; head++) {
            double share = partner_share(value + head * length * length, text);
            if (!(share > most))
                continue;
            most = share;
            memcpy(shown, value + head * length * length, (size_t)(length * length) * sizeof *shown);
            ag_snprintf(title, sizeof title, "block %d, head %d: %.0f %% on the partner, %.0f %% were chance", layer,
                        head, 100 * share, 100.0 / length);
        }
    }
    if (ag_error(c->ctx) != AG_OK)
        return false;
    for (int i = 0; i < length; i++) {
        snprintf(label_text[i], 2, "%c", text[i]);
        label[i] = label_text[i];
    }
    heatmap_panel panel = { title, length, length, shown, label, label, "looks", "at" };
    heatmap map = { "The head that looks most at each bracket's partner", "weight", 0, 1, 1, &panel };
    return heatmap_show(&map, path);
}

/* ---- Strings of the command line ---- */

static bool readable(const char *text)
{
    size_t length = strlen(text), brackets = strspn(text, BRACKETS);
    if (length < 1 || length > MOST)
        fprintf(stderr, "classify: '%s' has %zu characters, must have 1 to %d\n", text, length, MOST);
    else if (brackets < length)
        fprintf(stderr, "classify: '%s' has other characters than %s\n", text, BRACKETS);
    return length >= 1 && length <= MOST && brackets == length;
}

static bool run(classifier *c, const option_words *words, uint64_t steps, uint64_t least, const char *path)
{
    const char *example = "{[()]}([]{})";
    for (int i = 0; i < words->count; i++)
        if (!readable(words->word[i])) /* better now than after training */
            return false;
    if (!program_can_write("classify", path))
        return false;
    double began = seconds();
    make_model(c);
    if (!learn(&(learning){ .program = "classify", .ctx = c->ctx, .module = c->module, .steps = (int64_t)steps,
                            .lr = 1e-3, .weight_decay = 0.01, .loss = batch_loss, .user = c }))
        return false;
    double percent = test(c);
    ag_printf("%.0f s in all\n", seconds() - began);
    for (int i = 0; i < words->count; i++) {
        double probability[BATCH];
        put_text(c, 0, words->word[i]);
        judge(c, probability);
        ag_printf("%s%-*s  %s (well-formed with probability %.3f)\n", i == 0 ? "\n" : "", MOST, words->word[i],
                  verdict(probability[0] > 0.5), probability[0]);
        if (c->good[0])
            example = words->word[i];
    }
    if (!show_attention(c, example, path))
        return false;
    if (percent < (double)least)
        fprintf(stderr, "classify: fewer than %llu %% are right\n", (unsigned long long)least);
    return percent >= (double)least;
}

int main(int argc, char **argv)
{
    uint64_t steps = 4000, seed = 1, least = 0;
    const char *path = "classify.svg";
    option_words words = { 0 };
    const option options[] = {
        { "[STRING...]", OPTION_WORDS, &words, NULL, "strings to judge after training" },
        { "--steps", OPTION_NUMBER, &steps, "N", "training steps of 128 strings, 1 to 10^6 [4000]" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of initial weights and strings [1]" },
        { "--least", OPTION_NUMBER, &least, "P", "exit with 1 when less than P % of held-out strings are right [0]" },
        { "--out", OPTION_TEXT, &path, "PATH", "where one head attends, as SVG [classify.svg]" },
    };
    int status = options_read("classify",
                              "Trains an encoder to tell well-formed strings of three kinds of brackets from broken "
                              "ones, and tests it on strings that training has not seen, against rules that count. "
                              "Then judges the strings given, such as '([]{})', and shows where one head attends.",
                              options, sizeof options / sizeof *options, argc, argv);
    if (status == OPTIONS_RUN && (steps < 1 || steps > 1000000)) {
        fprintf(stderr, "classify: --steps is %llu, must be 1 to 1000000\n", (unsigned long long)steps);
        status = OPTIONS_WRONG;
    }
    if (status != OPTIONS_RUN)
        return status;
    static classifier c;
    c.ctx = program_begin("classify", seed);
    bool good = run(&c, &words, steps, least, path);
    ag_group_free(c.module);
    return program_end("classify", c.ctx, good);
}
