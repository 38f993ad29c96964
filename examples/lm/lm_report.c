/* SPDX-License-Identifier: MIT
 *
 * lm_report.c - see lm_report.h.
 */
#include "examples/lm/lm_report.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_measure.h"
#include "examples/lm/lm_report_page.h"
#include "examples/shared/program.h"
#include "examples/shared/system.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 5, PASSAGE = 600, SAMPLE_BYTES = 24000 };

/* ---- Curves ---- */

/* The columns of log.csv, each [count]. */
typedef struct course {
    double *value[COLUMNS]; /* step, loss, val, gnorm, lr */
    int64_t count;
} course;

static bool add_row(course *c, const char *line)
{
    for (int i = 0; i < COLUMNS; i++) {
        char *end;
        double number = ag_strtod(line, &end), *more = realloc(c->value[i], (size_t)(c->count + 1) * sizeof *more);
        if (more == NULL)
            return false;
        c->value[i] = more;
        c->value[i][c->count] = end == line ? (double)NAN : number;
        line = *end == ',' ? end + 1 : end;
    }
    c->count++;
    return true;
}

static bool read_course(course *c, const char *path)
{
    char line[256];
    FILE *file = program_open("lm", path, "r");
    bool good = file != NULL && fgets(line, sizeof line, file) != NULL; /* the header */
    while (good && fgets(line, sizeof line, file) != NULL && strchr(line, '\n') != NULL)
        good = add_row(c, line);
    if (file != NULL)
        fclose(file);
    return good;
}

static void put_curves(FILE *file, const run *r, const course *c)
{
    const baselines b = r->corpus.chance;
    const page_curve losses[] = { { "training", c->value[1], 1, false }, { "validation", c->value[2], 2, false },
                                  { "uniform", &b.uniform, 3, true }, { "unigram", &b.unigram, 3, true },
                                  { "bigram", &b.bigram, 3, true } };
    const page_curve rate[] = { { "now", c->value[4], 1, false } }, norm[] = { { "now", c->value[3], 2, false } };
    char title[80];
    snprintf(title, sizeof title, "nats per %s over steps", token_noun[r->corpus.vocab.kind]);
    fputs("<h2>Loss</h2>\n<p>Baselines know nothing (uniform), how frequent each token is (unigram), or also the token "
          "before (bigram).</p>\n<div class=\"two\">\n", file);
    page_chart(file, title, c->value[0], c->count, losses, 5);
    page_chart(file, "the same without the baselines", c->value[0], c->count, losses, 2);
    page_chart(file, "learning rate", c->value[0], c->count, rate, 1);
    page_chart(file, "gradient norm before clipping", c->value[0], c->count, norm, 1);
    fputs("</div>\n", file);
}

/* ---- Samples ---- */

static void put_samples(FILE *file, const run *r)
{
    char path[RUN_PATH + 16];
    snprintf(path, sizeof path, "%s/samples.txt", r->folder);
    FILE *samples = fflush(r->samples) == 0 ? fopen(path, "rb") : NULL;
    int64_t length = -1;
    char *text = samples == NULL ? NULL : program_read("lm", samples, path, false, &length);
    fputs("<h2>Samples over time</h2>\n", file);
    if (length <= 0)
        fputs("<p class=\"dim\">None were asked for: --sample 0.</p>\n", file);
    for (int64_t at = 0; at < length && at < SAMPLE_BYTES;) {
        const char *end = strstr(text + at, "\n---\n"), *head = strchr(text + at, '\n');
        if (strncmp(text + at, "--- sample", 10) != 0 || end == NULL || head == NULL || head > end)
            break;
        fputs("<p class=\"dim\">", file);
        page_text(file, text + at + 4, head - 4 - (text + at + 4));
        fputs("</p><pre>", file);
        page_text(file, head, end - head);
        fputs("</pre>\n", file);
        at = end + 5 - text;
    }
    free(text);
    if (samples != NULL)
        fclose(samples);
}

/* ---- Attention ---- */

/* The tokens of the validation text from its second line that is not empty on, at most `most`. */
static const int32_t *sentence(const corpus *c, int64_t most, int64_t *count)
{
    int64_t first = c->train_count;
    bool ended = false;
    for (int64_t i = c->train_count; i + most < c->count && i < c->train_count + 2000; i++) {
        unsigned char space[UTF8_BYTES];
        int64_t length;
        const unsigned char *bytes = vocab_bytes(&c->vocab, c->token[i], space, &length);
        if (ended && bytes[0] != '\n' && bytes[0] != '\r') {
            first = i;
            break;
        }
        ended = bytes[length - 1] == '\n';
    }
    *count = c->count - first < most ? c->count - first : most;
    return c->token + first;
}

/* Each token beside its place in the diagonal, where the squares of all heads show it again. */
static void put_labels(FILE *file, const vocab *v, const int32_t *token, int64_t count)
{
    fputs("<g id=\"tokens\" transform=\"scale(.1)\" style=\"font-size:9px;fill:var(--dim)\">", file);
    for (int64_t i = 0; i < count; i++) {
        char label[TOKEN_LABEL];
        token_label(v, token[i], label);
        fprintf(file, "<text x=\"%d3\" y=\"%d8\">", (int)i + 1, (int)i);
        page_text(file, label, (int64_t)strlen(label));
        fputs("</text>", file);
    }
    fputs("</g>", file);
}

/* The weights of one head: per tenth of weight a path of the cells that have it, which opacity tells apart. */
static void put_cells(FILE *file, const double *weight, int64_t T)
{
    enum { SHADES = 10 };
    for (int shade = 1; shade <= SHADES; shade++) {
        bool begun = false;
        for (int64_t q = 0; q < T; q++)
            for (int64_t k = 0; k <= q; k++) {
                if ((int)lround(weight[q * T + k] * (double)SHADES) != shade)
                    continue;
                if (!begun)
                    ag_fprintf(file, "<path opacity=\"%.1f\" d=\"", (double)shade / (double)SHADES);
                fprintf(file, "M%d %d.5h1", (int)k, (int)q);
                begun = true;
            }
        if (begun)
            fputs("\"/>", file);
    }
    fprintf(file, "<path d=\"M0 0V%d\" style=\"stroke:var(--line);stroke-width:.3\"/>", (int)T);
}

/* The heads of one layer. False on error. */
static bool put_layer(FILE *file, run *r, int64_t layer, const int32_t *token, int64_t count)
{
    const int64_t H = ag_gpt_config_of(r->model.gpt)->num_heads;
    double *weight = measure_attention(&r->model, layer, token, count);
    fputs("<div class=\"heads\">\n", file);
    for (int64_t h = 0; h < H && weight != NULL; h++) {
        fprintf(file, "<figure><svg viewBox=\"0 0 %d %d\">", (int)count + 2, (int)count);
        put_cells(file, weight + h * count * count, count);
        if (layer == 0 && h == 0)
            put_labels(file, &r->corpus.vocab, token, count);
        else
            fputs("<use href=\"#tokens\"/>", file);
        fprintf(file, "</svg><figcaption>layer %lld, head %lld</figcaption></figure>\n", (long long)layer,
                (long long)h);
    }
    fputs("</div>\n", file);
    free(weight);
    return weight != NULL;
}

static bool put_attention(FILE *file, run *r)
{
    enum { MOST_HEADS = 256, BYTES = 70000 };
    const ag_transformer_config *c = ag_gpt_config_of(r->model.gpt);
    int64_t layers = c->num_layers * c->num_heads <= MOST_HEADS ? c->num_layers : MOST_HEADS / c->num_heads + 1, count;
    int64_t most = (int64_t)sqrt((double)BYTES / 4 / (double)(layers * c->num_heads));
    most = most > 32 ? 32 : most < 8 ? 8 : most;
    const int32_t *token = sentence(&r->corpus, most < r->model.context ? most : r->model.context, &count);
    fputs("<h2>Attention</h2>\n<p>Every head over a piece of the validation text. A row is a token that looks back, a "
          "column one that is looked at; on the diagonal, beside which the tokens stand, a token looks at itself.</p>"
          "\n", file);
    bool good = true;
    for (int64_t layer = 0; layer < layers && good; layer++)
        good = put_layer(file, r, layer, token, count);
    return good;
}

/* ---- Surprise ---- */

static void put_span_shaded(void *file, const unsigned char *text, int64_t length, double nats)
{
    ag_fprintf(file, "<i title=\"%.2f\"", nats);
    if (nats >= 0.25)
        ag_fprintf(file, " style=\"background:rgba(var(--heat),%.2f)\"", fmin(nats / 6, 1) * 0.85);
    fputc('>', file);
    page_text(file, (const char *)text, length);
    fputs("</i>", file);
}

static bool put_surprise(FILE *file, run *r)
{
    const corpus *c = &r->corpus;
    int64_t count = c->count - c->train_count < PASSAGE ? c->count - c->train_count : PASSAGE;
    double *nats = malloc((size_t)count * sizeof *nats);
    bool good = nats != NULL && measure_surprise(&r->model, c->token + c->train_count, count, nats);
    fprintf(file, "<h2>Surprise</h2>\n<p>The beginning of the validation text. The redder a token, the less likely it "
                  "was to the model; pointing at it shows its nats. The model sees at most %lld tokens before.</p>\n"
                  "<div class=\"passage\">", (long long)r->model.context);
    if (good)
        measure_spans(&c->vocab, c->token + c->train_count, nats, count, put_span_shaded, file);
    fputs("</div>\n", file);
    free(nats);
    return good;
}

/* ---- Structure ---- */

static void put_structure(FILE *file, const run *r)
{
    const ag_transformer_config *c = ag_gpt_config_of(r->model.gpt);
    const model_kinds kinds = model_kinds_of(c);
    ag_module *module = ag_gpt_module(r->model.gpt);
    const struct {
        const char *name;
        int64_t value;
    } number[] = { { "layers", c->num_layers }, { "heads", c->num_heads }, { "key heads", c->attention.kv_heads },
                   { "head size", c->head_size }, { "embedding", c->emb_size }, { "feed-forward", c->ff_size },
                   { "context", r->model.context }, { "vocabulary", c->vocab_size },
                   { "parameters", ag_module_numel(module) } };
    fputs("<h2>Structure</h2>\n<div class=\"two\"><div class=\"wide\"><table>\n", file);
    for (size_t i = 0; i < sizeof number / sizeof *number; i++)
        fprintf(file, "<tr><td>%s<td class=\"n\">%lld\n", number[i].name, (long long)number[i].value);
    fprintf(file, "<tr><td>tokens<td>%ss\n<tr><td>positions<td>%s\n<tr><td>norm<td>%s%s\n<tr><td>activation<td>%s\n"
                  "</table></div>\n<div class=\"wide\"><table>\n",
            r->corpus.vocab.kind == TOKENS_BPE ? "byte pair" : token_noun[r->corpus.vocab.kind],
            position_word[kinds.positions], norm_word[kinds.norm],
            c->attention.qk_norm ? ", of queries and keys too" : "", feed_forward_word[kinds.feed_forward]);
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor p = ag_module_param(module, i);
        if (strncmp(p.name, "blocks.", 7) == 0 && strncmp(p.name, "blocks.0.", 9) != 0)
            continue;
        fprintf(file, "<tr><td>%s<td class=\"n\">", p.name);
        for (int d = 0; d < ag_ndim(p.tensor); d++)
            fprintf(file, d == 0 ? "%lld" : " &times; %lld", (long long)ag_dim(p.tensor, d));
        fputc('\n', file);
    }
    fprintf(file, "</table>%s</div></div>\n",
            c->num_layers > 1 ? "<p class=\"dim\">The other blocks are as blocks.0.</p>" : "");
}

static void put_command(FILE *file, const run *r)
{
    system_memory memory;
    char config[RUN_PATH + 16];
    snprintf(config, sizeof config, "%s/config.json", r->folder);
    if (system_memory_begin(&memory) != NULL)
        command_print(memory.file, (const char *const[]){ "train", "--config", config, NULL });
    char *text = system_memory_end(&memory);
    if (text != NULL) {
        fputs("<h2>Again</h2>\n<p>This command trains the same model in a folder of its own.</p>\n<pre>", file);
        page_text(file, text, (int64_t)memory.size);
        fputs("</pre>\n", file);
    }
    free(text);
}

static void put_summary(FILE *file, const run *r, double loss)
{
    ag_fprintf(file, "<p>%lld parameters, %lld %ss of text to train on, %lld to validate. Best at step %.0f: "
                     "validation loss ", (long long)ag_module_numel(ag_gpt_module(r->model.gpt)),
               (long long)r->corpus.train_count, token_noun[r->corpus.vocab.kind],
               (long long)(r->corpus.count - r->corpus.train_count), r->s.best_step);
    corpus_print_loss(file, &r->corpus, loss);
    fputs(".</p>\n", file);
}

bool report_write(run *r, double loss)
{
    char path[RUN_PATH + 16], title[RUN_PATH + 16];
    course c = { .count = 0 };
    snprintf(path, sizeof path, "%s/log.csv", r->folder);
    bool good = fflush(r->log) == 0 && read_course(&c, path);
    snprintf(path, sizeof path, "%s/report.html", r->folder);
    FILE *file = good ? program_open("lm", path, "w") : NULL;
    good = file != NULL;
    if (good) {
        const char *name = strrchr(r->folder, '/');
        snprintf(title, sizeof title, "Language model %s", name != NULL ? name + 1 : r->folder);
        page_begin(file, title);
        put_summary(file, r, loss);
        put_curves(file, r, &c);
        put_samples(file, r);
        good = put_attention(file, r) && put_surprise(file, r);
        put_structure(file, r);
        put_command(file, r);
        good = program_close("lm", file, path) && good;
    }
    for (int i = 0; i < COLUMNS; i++)
        free(c.value[i]);
    return good;
}
