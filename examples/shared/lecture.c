/* SPDX-License-Identifier: MIT
 *
 * lecture.c - see lecture.h.
 */
#include "examples/shared/lecture.h"
#include "examples/shared/program.h"
#include "examples/shared/utf8.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static bool lecture_split(lecture *l)
{
    for (const char *text = l->text; *(text += strspn(text, " \t\n")) != '\0';) {
        const size_t bytes = strcspn(text, " \t\n");
        if (l->T == LECTURE_WORDS) {
            fprintf(stderr, "%s: --text has more than %d words\n", l->program, LECTURE_WORDS);
            return false;
        }
        if (bytes >= LECTURE_BYTES) {
            fprintf(stderr, "%s: --text has the word '%.*s' of %zu bytes, must be at most %d\n", l->program, (int)bytes,
                    text, bytes, LECTURE_BYTES - 1);
            return false;
        }
        const int n = l->T++;
        memcpy(l->bytes[n], text, bytes);
        l->word[n] = l->bytes[n];
        l->token[n] = l->vocabulary;
        for (int i = 0; i < n; i++)
            if (strcmp(l->word[i], l->word[n]) == 0)
                l->token[n] = l->token[i];
        l->vocabulary += l->token[n] == l->vocabulary;
        text += bytes;
    }
    if (l->T == 0)
        fprintf(stderr, "%s: --text has no words\n", l->program);
    return l->T > 0;
}

int lecture_read(lecture *l, const char *about, const option *own, int own_count, int argc, char **argv)
{
    enum { COMMON = 8, MOST = COMMON + 2 };
    char text_help[96], d_help[48], heads_help[48];
    snprintf(text_help, sizeof text_help, "the sentence, 1 to %d words [%s]", LECTURE_WORDS, l->text);
    snprintf(d_help, sizeof d_help, "channels of a head, 1 to %d [%d]", LECTURE_D, (int)l->d);
    const bool one = l->heads == 0;
    if (one)
        snprintf(heads_help, sizeof heads_help, "1: multi_head_attention shows several");
    else
        snprintf(heads_help, sizeof heads_help, "number of heads, 1 to %d [%d]", LECTURE_HEADS, (int)l->heads);
    l->heads = one ? 1 : l->heads;
    l->seed = 1;
    option all[MOST] = {
        { "--text", OPTION_TEXT, &l->text, "WORDS", text_help },
        { "--d", OPTION_NUMBER, &l->d, "N", d_help, 1, LECTURE_D },
        { "--seed", OPTION_NUMBER, &l->seed, "N", "seed of every random number [1]" },
        { "--no-scale", OPTION_FLAG, &l->no_scale, NULL, "leave 1/sqrt(d) out of the scores" },
        { "--non-causal", OPTION_FLAG, &l->non_causal, NULL, "let every word see every word" },
        { "--json", OPTION_TEXT, &l->json, "FILE", "write the library's trace: inputs, weights, every matrix" },
        { "--svg", OPTION_TEXT, &l->svg, "NAME", "write the heat maps as pictures, NAME-....svg" },
        { "--heads", OPTION_NUMBER, &l->heads, "N", heads_help, 1, one ? 1 : LECTURE_HEADS },
    };
    int count = COMMON;
    assert(count + own_count <= MOST);
    for (int i = 0; i < own_count; i++)
        all[count++] = own[i];
    const int status = options_read(l->program, about, all, count, argc, argv);
    return status == OPTIONS_RUN && !lecture_split(l) ? OPTIONS_WRONG : status;
}

double lecture_scale(const lecture *l)
{
    return l->no_scale ? 1 : 1 / sqrt((double)l->d);
}

ag_tensor *lecture_input(ag_ctx *ctx, const lecture *l, int64_t emb_size)
{
    ag_tensor *table = ag_randn(ctx, AG_F64, AG_SHAPE(l->vocabulary, emb_size));
    return ag_embedding(table, ag_from_data(ctx, AG_I32, AG_SHAPE(1, l->T), l->token));
}

void lecture_print(const char *name, const char *formula, const double *value, int rows, int cols,
                   const char *const *row_label)
{
    int width = 0;
    for (int r = 0; row_label != NULL && r < rows; r++) {
        const int characters = utf8_characters(row_label[r]);
        width = characters > width ? characters : width;
    }
    printf("%s = %s\n", name, formula);
    for (int r = 0; r < rows; r++) {
        const char *label = row_label != NULL ? row_label[r] : "";
        printf("  %s%*s", label, width - utf8_characters(label), "");
        for (int c = 0; c < cols; c++) {
            const double v = value[r * cols + c];
            if (v == 0)
                printf(" %8s", "0");
            else
                ag_printf(" %8.4f", v);
        }
        putchar('\n');
    }
    putchar('\n');
}

bool lecture_show(const lecture *l, heatmap *map, bool gradients, const char *suffix)
{
    double largest = 0;
    for (int i = 0; i < map->panel_count; i++)
        for (int j = 0; j < map->panel[i].rows * map->panel[i].cols; j++)
            largest = fmax(largest, fabs(map->panel[i].value[j]));
    map->high = gradients ? largest > 0 ? largest : 1 : 1;
    map->low = gradients ? -map->high : 0;
    if (!heatmap_print(stdout, map))
        return false;
    if (l->svg != NULL) {
        char path[1024];
        if (snprintf(path, sizeof path, "%s-%s.svg", l->svg, suffix) >= (int)sizeof path) {
            fprintf(stderr, "%s: the name of the picture has more than %zu bytes\n", l->program, sizeof path - 1);
            return false;
        }
        if (!heatmap_save_svg(path, map))
            return false;
        printf("The same as a picture: %s\n", path);
    }
    putchar('\n');
    return true;
}

bool lecture_write_json(const lecture *l, const ag_attention_trace *trace)
{
    FILE *file = l->json == NULL ? NULL : program_open(l->program, l->json, "w");
    if (file == NULL)
        return l->json == NULL;
    if (ag_attention_trace_json(trace, file) == AG_OK)
        return program_close(l->program, file, l->json);
    fclose(file); /* program_end has the reason */
    return false;
}
