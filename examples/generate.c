/* SPDX-License-Identifier: MIT
 *
 * generate.c - continues text or token ids with a model in the files of the transformers package: GPT-2, Llama,
 * Mistral, Qwen, SmolLM, GPT-NeoX, Phi.
 *
 * All prompts are one batch. The first pass reads the prompts; each later pass reads one token of every entry that has
 * not ended and finds the keys and values of earlier tokens in a cache. --no-cache computes all of them again instead.
 */
#include "examples/shared/options.h"
#include "examples/shared/pretrained_model.h"
#include "examples/shared/program.h"
#include "examples/shared/sampling.h"
#include "examples/shared/system.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char program[] = "generate";
static const char about[] =
    "Continues prompts with a GPT-2, Llama, Mistral, Qwen, SmolLM, GPT-NeoX or Phi model in the files of the "
    "transformers package. Prompts and output are token ids, or text with --prompt or --text, which tokenizer.json "
    "makes ids of: GPT-2's kind, Llama's, Qwen's. Text must be UTF-8; special tokens in it, as <|im_end|>, are "
    "themselves, so that a chat's template can be written out. Each line of input is a prompt; all lines are "
    "generated together, and each gives one line of output, what follows it. In texts of several lines, \\n is the "
    "end of a line and \\\\ a backslash. An id of eos_token_id in generation_config.json, or in config.json where "
    "there is none, ends a line.";

/* The text of an entry. */
typedef struct entry {
    token_text text;
    text_out out;
    text_buffer buffer; /* of several entries */
} entry;

typedef struct generation {
    ag_ctx *ctx;
    ag_gpt *gpt;
    const token_lines *prompts;
    int64_t length;
    sampling how;
    bool no_cache;
    int32_t end[64];
    int64_t ends;
    int32_t *token;  /* [B,room]: prompt and generated tokens */
    int64_t *filled; /* [B] */
    int64_t *counts; /* [B]: number of tokens that the next pass reads; 0: the entry has ended */
    int64_t room;
    double prompt_seconds, seconds; /* of the first pass, and of the others */
    int64_t passes;
    const tokenizer *tokenizer; /* NULL: ids */
    const char *stop;
    entry *entry; /* [B], of text */
    bool good;
} generation;

static bool is_end(const generation *g, int32_t token)
{
    for (int64_t i = 0; i < g->ends; i++)
        if (g->end[i] == token)
            return true;
    return false;
}

/* The tokens that a pass reads, [B,T]: the last counts[b] of each entry; without a cache all. */
static ag_tensor *pass_tokens(const generation *g, bool whole)
{
    int64_t B = g->prompts->count, T = 1;
    for (int64_t b = 0; b < B; b++) {
        int64_t length = whole ? g->filled[b] : g->counts[b];
        T = length > T ? length : T;
    }
    ag_tensor *tokens = ag_zeros(g->ctx, AG_I32, AG_SHAPE(B, T));
    int32_t *row = tokens == NULL ? NULL : ag_data_mut(tokens);
    for (int64_t b = 0; b < B && row != NULL; b++, row += T) {
        int64_t length = whole ? g->filled[b] : g->counts[b];
        memcpy(row, g->token + b * g->room + g->filled[b] - length, (size_t)length * sizeof *row);
    }
    return tokens;
}

/* Writes what an entry drew; returns whether it goes on. */
static bool write_token(generation *g, int64_t b, int32_t token)
{
    if (g->tokenizer != NULL) {
        entry *e = &g->entry[b];
        g->good = token_text_put(&e->text, token, &e->out) && !e->buffer.failed && g->good;
        if (e->out.stopped)
            return false;
    } else if (g->prompts->count == 1) {
        printf("%s%d", g->passes == 0 ? "" : " ", (int)token);
    }
    if (g->prompts->count == 1)
        fflush(stdout); /* show each token at once */
    return !is_end(g, token);
}

/* Runs one pass and draws a token for each entry that has not ended. Returns the number that go on, -1 on error. */
static int64_t step(generation *g, ag_kv_cache *cache)
{
    int64_t left = 0;
    ag_scope_begin(g->ctx, NULL);
    ag_tensor *tokens = pass_tokens(g, g->no_cache);
    ag_tensor *logits = g->no_cache ? ag_gpt_forward(g->gpt, tokens)
                                    : ag_gpt_forward_cached(g->gpt, tokens, cache, g->counts);
    for (int64_t b = 0; b < g->prompts->count && left >= 0; b++) {
        if (g->counts[b] == 0)
            continue;
        int64_t last = (g->no_cache ? g->filled[b] : g->counts[b]) - 1;
        int32_t next = sampling_draw(ag_select(ag_select(logits, 0, b), 0, last), &g->how, b + 1, g->filled[b]);
        if (next < 0) {
            left = -1;
            break;
        }
        g->token[b * g->room + g->filled[b]++] = next;
        g->counts[b] = write_token(g, b, next);
        left += g->counts[b];
    }
    ag_scope_end(g->ctx, NULL);
    return ferror(stdout) || !g->good ? -1 : left;
}

static void run(void *generation_)
{
    generation *const g = generation_;
    ag_kv_cache *cache = ag_kv_cache_new(g->ctx, g->prompts->count, ag_gpt_config_of(g->gpt)->num_layers);
    int64_t left = cache == NULL ? -1 : g->prompts->count;
    g->good = true;
    while (left > 0 && g->passes < g->length) {
        double start = seconds();
        left = step(g, cache);
        *(g->passes == 0 ? &g->prompt_seconds : &g->seconds) += seconds() - start;
        g->passes += left >= 0;
    }
    ag_kv_cache_free(cache);
    g->good = left >= 0;
}

/* One line: ends of lines are \n, a backslash is \\. */
static void print_escaped(const text_buffer *text)
{
    for (int64_t i = 0; i < text->length; i++)
        if (text->text[i] == '\n' || text->text[i] == '\\')
            fputs(text->text[i] == '\n' ? "\\n" : "\\\\", stdout);
        else
            putchar(text->text[i]);
}

static void print_entry(const generation *g, int64_t b, int64_t prompt)
{
    entry *e = g->tokenizer == NULL ? NULL : &g->entry[b];
    if (e != NULL) {
        token_text_end(&e->text, &e->out);
        print_escaped(&e->buffer);
    }
    for (int64_t i = prompt; i < g->filled[b] && g->prompts->count > 1 && e == NULL; i++)
        printf("%s%d", i == prompt ? "" : " ", (int)g->token[b * g->room + i]);
    putchar('\n');
}

static void print_result(const generation *g)
{
    int64_t made = 0;
    for (int64_t b = 0; b < g->prompts->count; b++) {
        int64_t prompt = g->prompts->first[b + 1] - g->prompts->first[b];
        print_entry(g, b, prompt);
        made += g->filled[b] - prompt;
    }
    int64_t B = g->prompts->count, read = g->prompts->first[B], later = made - B;
    ag_fprintf(stderr, "%lld %s of %lld tokens read in %.3f s", (long long)B, B == 1 ? "prompt" : "prompts",
               (long long)read, g->prompt_seconds);
    if (later > 0 && g->seconds > 0)
        ag_fprintf(stderr, "; %lld tokens more in %.3f s, %.1f tokens/s", (long long)later, g->seconds,
                   (double)later / g->seconds);
    fputc('\n', stderr);
}

/* The texts of the entries, each where its prompt ends: what a prompt's tokens are decides on the blank after it. */
static bool begin_texts(generation *g)
{
    const token_lines *p = g->prompts;
    g->entry = calloc((size_t)p->count, sizeof *g->entry);
    bool good = g->entry != NULL;
    for (int64_t b = 0; b < p->count && good; b++) {
        entry *e = &g->entry[b];
        e->text.tokenizer = g->tokenizer;
        e->out.text = &e->buffer;
        for (int64_t i = p->first[b]; i < p->first[b + 1] && good; i++)
            good = token_text_put(&e->text, p->token[i], &e->out);
        good = token_text_end(&e->text, &e->out) && !e->buffer.failed && good;
        e->buffer.length = 0;
        e->out.file = p->count == 1 ? stdout : NULL;
        e->out.stop = g->stop;
    }
    if (!good)
        fprintf(stderr, "%s: out of memory for %lld texts\n", program, (long long)p->count);
    return good;
}

static void free_texts(generation *g)
{
    for (int64_t b = 0; b < g->prompts->count && g->entry != NULL; b++) {
        entry *e = &g->entry[b];
        e->out.file = NULL;
        token_text_end(&e->text, &e->out);
        free(e->buffer.text);
    }
    free(g->entry);
}

/* Allocates the tokens and copies the prompts. */
static bool fill(generation *g)
{
    const token_lines *p = g->prompts;
    g->room = p->longest + g->length;
    size_t count = (size_t)p->count;
    g->token = calloc(count, (size_t)g->room * sizeof *g->token);
    g->filled = calloc(count, sizeof *g->filled);
    g->counts = calloc(count, sizeof *g->counts);
    if (g->token == NULL || g->filled == NULL || g->counts == NULL) {
        fprintf(stderr, "%s: out of memory for %lld times %lld tokens\n", program, (long long)p->count,
                (long long)g->room);
        return false;
    }
    for (int64_t b = 0; b < p->count; b++) {
        g->filled[b] = g->counts[b] = p->first[b + 1] - p->first[b];
        memcpy(g->token + b * g->room, p->token + p->first[b], (size_t)g->filled[b] * sizeof *g->token);
    }
    return true;
}

/* The last token is not read again, so max_seq_len + 1 tokens fit. */
static bool check_length(const generation *g)
{
    int64_t most = ag_gpt_config_of(g->gpt)->max_seq_len, read = g->prompts->longest + g->length - 1;
    if (most == 0 || read <= most)
        return true;
    fprintf(stderr, "%s: the longest prompt has %lld tokens and --length is %lld; the model reads at most %lld: ",
            program, (long long)g->prompts->longest, (long long)g->length, (long long)most);
    if (g->prompts->longest <= most)
        fprintf(stderr, "--length %lld fits\n", (long long)(most - g->prompts->longest + 1));
    else
        fprintf(stderr, "the prompt is too long\n");
    return false;
}

static bool generate(generation *g, const model_files *files, uint64_t seed, bool past_end)
{
    enum { ENDS = sizeof g->end / sizeof *g->end };
    g->gpt = ag_gpt_from_files(g->ctx, files->config, files->weights, files->dtype);
    g->ends = past_end ? 0 : ag_eos_from_file(g->ctx, files->config, g->end, ENDS);
    const int32_t stop = g->stop == NULL ? -1 : tokenizer_find(g->tokenizer, g->stop);
    if (stop >= 0 && g->ends < ENDS)
        g->end[g->ends++] = stop; /* a special token is not written, so that its text does not come */
    ag_rng_set(g->ctx, (ag_rng){ .seed = seed });
    bool good = g->gpt != NULL && check_length(g) && fill(g) && (g->tokenizer == NULL || begin_texts(g));
    if (good) {
        ag_with_threads(g->ctx, run, g);
        good = g->good;
    }
    if (good)
        print_result(g);
    else if (g->passes > 0 && g->prompts->count == 1)
        putchar('\n'); /* after the tokens written so far */
    free_texts(g);
    free(g->token);
    free(g->filled);
    free(g->counts);
    ag_gpt_free(g->gpt);
    return good;
}

int main(int argc, char **argv)
{
    model_options o = { .dtype = "float32" };
    generation g = { .how.top_p = 1 };
    uint64_t length = 32, top_k = 0, seed = 1;
    bool past_end = false;
    const option options[] = {
        { "--model", OPTION_TEXT, &o.folder, "DIR", "folder with config.json and model.safetensors, or its shards" },
        { "--config", OPTION_TEXT, &o.config, "FILE", "config.json, instead of DIR's" },
        { "--weights", OPTION_TEXT, &o.weights, "FILE", "the weights or their index, instead of DIR's" },
        { "--prompt", OPTION_TEXT, &o.text, "TEXT", "one prompt, as text" },
        { "--text", OPTION_FLAG, &o.text_lines, NULL, "the lines of stdin are text" },
        { "--tokens", OPTION_TEXT, &o.tokens, "IDS", "one prompt: \"1 2 3\" [lines of stdin]" },
        { "--tokenizer", OPTION_TEXT, &o.tokenizer, "FILE", "tokenizer.json, instead of DIR's" },
        { "--length", OPTION_NUMBER, &length, "N", "largest number of tokens per prompt, at least 1 [32]" },
        { "--temperature", OPTION_REAL, &g.how.temperature, "X", "at least 0; 0: always the likeliest token [0]" },
        { "--top-k", OPTION_NUMBER, &top_k, "N", "draw from the N likeliest tokens, 0: all [0]" },
        { "--top-p", OPTION_REAL, &g.how.top_p, "P", "draw from the likeliest that together reach P, 0 < P <= 1 [1]" },
        { "--seed", OPTION_NUMBER, &seed, "N", "seed of the drawing [1]" },
        { "--stop", OPTION_TEXT, &g.stop, "TEXT", "end a text before TEXT; with --prompt or --text" },
        { "--past-end", OPTION_FLAG, &past_end, NULL, "continue after a token that ends a text" },
        { "--threads", OPTION_NUMBER, &o.threads, "N", "0: all cores; results do not depend on it [0]" },
        { "--dtype", OPTION_TEXT, &o.dtype, "NAME", "float32 or float64 [float32]" },
        { "--no-cache", OPTION_FLAG, &g.no_cache, NULL, "compute all keys and values again for each token: slow" },
    };
    int status = options_read(program, about, options, sizeof options / sizeof *options, argc, argv);
    if (status != OPTIONS_RUN)
        return status;
    model_files files;
    if (!model_files_of(&files, program, &o))
        return OPTIONS_WRONG;
    if (!sampling_in_range(program, &g.how))
        return OPTIONS_WRONG;
    if (length == 0 || length > INT32_MAX) {
        fprintf(stderr, "%s: --length is %" PRIu64 ", must be 1 to %" PRId32 "\n", program, length, INT32_MAX);
        return OPTIONS_WRONG;
    }
    g.length = (int64_t)length;
    g.how.top_k = top_k > INT32_MAX ? 0 : (int64_t)top_k;
    if (g.stop != NULL && o.text == NULL && !o.text_lines) {
        fprintf(stderr, "%s: --stop needs text: --prompt or --text\n", program);
        return OPTIONS_WRONG;
    }
    token_lines prompts;
    tokenizer *t;
    if (!token_lines_of(&prompts, &t, program, &o, &files))
        return EXIT_FAILURE;
    g.prompts = &prompts;
    g.tokenizer = t;
    g.ctx = program_context(program, seed, o.threads);
    bool good = g.ctx != NULL && generate(&g, &files, seed, past_end);
    token_lines_free(&prompts);
    tokenizer_free(t);
    return g.ctx == NULL ? EXIT_FAILURE : program_end(program, g.ctx, good);
}
