/* SPDX-License-Identifier: MIT
 *
 * lm_inspect.c - `lm inspect`: a model's parameters, its attention over a prompt, the neighbours of an embedding, what
 * it expects next.
 */
#include "examples/lm/lm.h"
#include "examples/lm/lm_command.h"
#include "examples/lm/lm_measure.h"
#include "examples/lm/lm_tokenizer.h"
#include "examples/shared/heatmap.h"
#include "examples/shared/options.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char about_inspect[] =
    "Prints the parameters of a model of lm train: shapes, root mean square, largest value. With --prompt instead the "
    "attention of one layer's heads over the prompt; with --logits what the model expects after each of its tokens; "
    "with --token the tokens whose embeddings are nearest.";

enum { TOKENS_MOST = 64, HEADS_MOST = 32 };

/* ---- Parameters ---- */

static bool print_parameters(lm_model *model)
{
    ag_module *module = ag_gpt_module(model->gpt);
    printf("%-28s %14s %10s %10s %10s\n", "parameter", "shape", "values", "rms", "largest");
    for (int64_t i = 0; i < ag_module_param_count(module); i++) {
        ag_named_tensor p = ag_module_param(module, i);
        char shape[40];
        int64_t rows = ag_dim(p.tensor, 0), n = ag_numel(p.tensor);
        snprintf(shape, sizeof shape, ag_ndim(p.tensor) == 2 ? "[%lld,%lld]" : "[%lld]", (long long)rows,
                 (long long)(n / rows));
        ag_scope_begin(model->ctx, NULL);
        ag_tensor *wide = ag_tensor_cast(p.tensor, AG_F64);
        const double *value = wide == NULL ? NULL : ag_data(wide);
        double squares = 0, largest = 0;
        for (int64_t j = 0; j < n && value != NULL; j++) {
            squares += value[j] * value[j];
            largest = fabs(value[j]) > largest ? fabs(value[j]) : largest;
        }
        ag_printf("%-28s %14s %10lld %10.4f %10.4f\n", p.name, shape, (long long)n, sqrt(squares / (double)n), largest);
        ag_scope_end(model->ctx, NULL);
    }
    printf("%-28s %14s %10lld\n", "total", "", (long long)ag_module_numel(module));
    return ag_error(model->ctx) == AG_OK || model_error(model);
}

/* ---- Neighbours ---- */

typedef struct neighbour {
    double cosine;
    int32_t token;
} neighbour;

static int compare_neighbours(const void *a, const void *b)
{
    const neighbour *x = a, *y = b;
    return x->cosine != y->cosine ? (x->cosine < y->cosine ? 1 : -1) : (x->token > y->token) - (x->token < y->token);
}

static bool print_neighbours(lm_model *model, const int32_t *token, int64_t count)
{
    enum { SHOWN = 10 };
    int64_t V = model->vocab.size, emb = ag_gpt_config_of(model->gpt)->emb_size;
    if (count != 1) {
        fprintf(stderr, "lm inspect: --token is of %lld tokens, must be of one\n", (long long)count);
        return false;
    }
    neighbour *list = malloc((size_t)V * sizeof *list);
    ag_scope_begin(model->ctx, NULL);
    ag_tensor *wide = ag_tensor_cast(ag_module_param(ag_gpt_module(model->gpt), 0).tensor, AG_F64);
    const double *table = wide == NULL ? NULL : ag_data(wide), *mine = table == NULL ? NULL : table + token[0] * emb;
    for (int64_t v = 0; v < V && list != NULL && table != NULL; v++) {
        double dot = 0, own = 0, its = 0;
        for (int64_t i = 0; i < emb; i++) {
            dot += mine[i] * table[v * emb + i];
            own += mine[i] * mine[i];
            its += table[v * emb + i] * table[v * emb + i];
        }
        list[v] = (neighbour){ dot / sqrt(own * its), (int32_t)v };
    }
    bool good = list != NULL && (table != NULL || model_error(model));
    if (good)
        qsort(list, (size_t)V, sizeof *list, compare_neighbours);
    for (int64_t v = 0; v < V && v <= SHOWN && good; v++) {
        char label[TOKEN_LABEL];
        token_label(&model->vocab, list[v].token, label);
        ag_printf("%7.4f  %5d  %s\n", list[v].cosine, (int)list[v].token, label);
    }
    ag_scope_end(model->ctx, NULL);
    free(list);
    return good;
}

/* ---- A prompt ---- */

static bool show_attention(lm_model *model, int64_t layer, const int32_t *token, int64_t count, const char *svg)
{
    static char label[TOKENS_MOST][TOKEN_LABEL], title[HEADS_MOST][32];
    const char *labels[TOKENS_MOST];
    heatmap_panel panel[HEADS_MOST];
    int64_t H = ag_gpt_config_of(model->gpt)->num_heads;
    if (count > TOKENS_MOST || H > HEADS_MOST) {
        fprintf(stderr, "lm inspect: the prompt has %lld tokens and the layer %lld heads; pictures are of %d and %d\n",
                (long long)count, (long long)H, TOKENS_MOST, HEADS_MOST);
        return false;
    }
    double *weights = measure_attention(model, layer, token, count);
    for (int64_t i = 0; i < count; i++) {
        token_label(&model->vocab, token[i], label[i]);
        labels[i] = label[i];
    }
    for (int64_t h = 0; h < H && weights != NULL; h++) {
        snprintf(title[h], sizeof title[h], "head %lld", (long long)h);
        panel[h] = (heatmap_panel){ title[h], (int)count, (int)count, weights + h * count * count, labels, labels,
                                    "query", "key" };
    }
    char name[40];
    snprintf(name, sizeof name, "attention of layer %lld", (long long)layer);
    heatmap map = { name, "weight", 0, 1, (int)H, panel };
    bool good = weights != NULL && (svg != NULL ? heatmap_show(&map, svg) : heatmap_print(stdout, &map));
    free(weights);
    return good;
}

/* A row of logits per token. */
static bool print_logits(lm_model *model, const int32_t *token, int64_t count)
{
    int64_t V = model->vocab.size;
    ag_module_set_training(ag_gpt_module(model->gpt), false);
    ag_scope_begin(model->ctx, NULL);
    ag_tensor *logits = ag_gpt_forward(model->gpt, ag_from_data(model->ctx, AG_I32, AG_SHAPE(1, count), token));
    const float *value = logits == NULL ? NULL : ag_data(logits);
    for (int64_t i = 0; i < count * V && value != NULL; i++)
        ag_printf("%.9g%c", (double)value[i], i % V == V - 1 ? '\n' : ' ');
    ag_scope_end(model->ctx, NULL);
    return value != NULL || model_error(model);
}

typedef struct wanted {
    const char *prompt, *token, *svg;
    uint64_t layer;
    bool logits;
} wanted;

static bool inspect(lm_model *model, const wanted *w)
{
    const char *text = w->token != NULL ? w->token : w->prompt;
    if (text == NULL)
        return print_parameters(model);
    int64_t count, layers = ag_gpt_config_of(model->gpt)->num_layers;
    if (w->layer >= (uint64_t)layers) {
        fprintf(stderr, "lm inspect: --layer is %llu, must be 0 to %lld\n", (unsigned long long)w->layer,
                (long long)layers - 1);
        return false;
    }
    int32_t *token = vocab_encode_said(&model->vocab, "the prompt", (const unsigned char *)text, (int64_t)strlen(text),
                                       &count);
    bool good = token != NULL && (w->token != NULL ? print_neighbours(model, token, count)
                                  : w->logits ? print_logits(model, token, count)
                                              : show_attention(model, (int64_t)w->layer, token, count, w->svg));
    free(token);
    return good;
}

int lm_inspect_command(int argc, char **argv)
{
    wanted w = { .layer = 0 };
    const char *where = "";
    const option options[] = {
        { "--model", OPTION_TEXT, &where, "FILE", "the model, or a run's folder [the newest run's best]" },
        { "--prompt", OPTION_TEXT, &w.prompt, "TEXT", "show the attention over this text" },
        { "--layer", OPTION_NUMBER, &w.layer, "N", "of this layer, from 0 [0]" },
        { "--svg", OPTION_TEXT, &w.svg, "FILE", "write the attention as a picture too" },
        { "--logits", OPTION_FLAG, &w.logits, NULL, "of the prompt: a row of logits after each token" },
        { "--token", OPTION_TEXT, &w.token, "TEXT", "show the ten tokens with the nearest embeddings, by cosine" },
        { "lm inspect --prompt 'I am happy' --layer 1", OPTION_EXAMPLE, NULL, NULL, "shows its attention" },
        { "lm inspect --token e", OPTION_EXAMPLE, NULL, NULL, "shows the letters that are used as e is" },
    };
    int status = options_read("lm inspect", about_inspect, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    lm_model model;
    bool good = command_begin(&model, "lm inspect", where, 1) && inspect(&model, &w);
    return command_end(&model, good);
}
