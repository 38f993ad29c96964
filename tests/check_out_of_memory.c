/* SPDX-License-Identifier: MIT
 *
 * check_out_of_memory.c - whole flows of work, in which memory ends at the n-th request, for every n (a spread of them
 * where there are many; AG_ALL_ALLOCATIONS=1: all). Each time: an error, no crash, parameters and files as before,
 * nothing lost; and the next attempt gives the result of an undisturbed run. If only the n-th request fails, the flow
 * succeeds, since the context then gives its cache back and asks once more.
 */
#include "tests/nn/check_nn.h"

#include <stdlib.h>
#include <string.h>

#ifndef AG_FIXTURES
#define AG_FIXTURES "tests/fixtures"
#endif

/* ---- Memory that ends ---- */

typedef struct purse {
    int64_t requests; /* so far */
    int64_t from, to; /* requests from .. to - 1 fail */
    size_t bytes;
} purse;

static void *purse_alloc(void *user, size_t size)
{
    purse *p = user;
    int64_t n = p->requests++;
    if (n >= p->from && n < p->to)
        return NULL;
    void *block = malloc(size);
    if (block != NULL)
        p->bytes += size;
    return block;
}

static void purse_free(void *user, void *block, size_t size)
{
    ((purse *)user)->bytes -= size;
    free(block);
}

/* ---- Flows ---- */

typedef struct state {
    ag_ctx *ctx;
    ag_module *module; /* whose parameters count; NULL: none */
    ag_gpt *gpt;
    ag_encoder_decoder *translator;
    ag_mha *mha;
    ag_optimizer *adamw;
    ag_tensor *tokens, *x;
    FILE *out;
    char path[300];
    double result;
} state;

typedef struct flow {
    const char *name;
    bool (*make)(state *s);
    bool (*run)(state *s); /* sets s->result; false after an error */
} flow;

static const ag_transformer_config tiny = { .vocab_size = 11, .emb_size = 8, .num_heads = 2, .num_layers = 2,
                                            .max_seq_len = 8, .dropout = 0.2 };

static bool make_gpt(state *s, ag_transformer_config config)
{
    s->gpt = ag_gpt_new(s->ctx, config);
    s->module = ag_gpt_module(s->gpt);
    s->adamw = ag_adamw_new(s->module, (ag_adamw_config){ .lr = 0.01 });
    s->tokens = ag_randint(s->ctx, 0, 11, AG_SHAPE(2, 7));
    return s->tokens != NULL && s->adamw != NULL;
}

static bool make_plain(state *s)
{
    return make_gpt(s, tiny);
}

static bool make_recomputed(state *s)
{
    ag_transformer_config config = tiny;
    config.recompute = true;
    return make_gpt(s, config);
}

static double digest(const state *s)
{
    double sum = 0;
    for (int64_t i = 0; i < ag_module_param_count(s->module); i++) {
        const ag_tensor *p = ag_module_param(s->module, i).tensor;
        for (int64_t k = 0; k < ag_numel(p); k++)
            sum = sum * 0.999 + (double)((const float *)ag_data(p))[k] * (double)(1 + k % 7);
    }
    return sum;
}

/* A step on a loss of this tape. */
static bool step(state *s, ag_tape *tape, ag_tensor *loss)
{
    ag_status status = ag_backward(tape, loss);
    ag_tape_end(tape);
    if (status == AG_OK)
        status = ag_clip_grad_norm(s->module, 0.5, NULL);
    if (status == AG_OK)
        status = ag_optimizer_step(s->adamw);
    ag_module_zero_grad(s->module);
    s->result = digest(s);
    return status == AG_OK;
}

static bool run_step(state *s)
{
    ag_tape *tape = ag_tape_begin(s->ctx);
    ag_tensor *logits = ag_gpt_forward(s->gpt, ag_slice(s->tokens, 1, 0, 6, 1));
    return step(s, tape, ag_cross_entropy(logits, ag_slice(s->tokens, 1, 1, 7, 1)));
}

static bool make_translator(state *s)
{
    s->translator = ag_encoder_decoder_new(s->ctx, (ag_encoder_decoder_config){ tiny, tiny, .shared_embedding = true });
    s->module = ag_encoder_decoder_module(s->translator);
    s->adamw = ag_adamw_new(s->module, (ag_adamw_config){ .lr = 0.01 });
    s->tokens = ag_randint(s->ctx, 0, 11, AG_SHAPE(2, 7));
    return s->tokens != NULL && s->adamw != NULL;
}

static bool run_translator(state *s)
{
    ag_tape *tape = ag_tape_begin(s->ctx);
    ag_tensor *lengths = ag_full(s->ctx, AG_I32, AG_SHAPE(2), 5);
    ag_tensor *logits = ag_encoder_decoder_forward(s->translator, s->tokens, lengths, ag_slice(s->tokens, 1, 0, 6, 1));
    return step(s, tape, ag_cross_entropy(logits, ag_slice(s->tokens, 1, 1, 7, 1)));
}

/* Three passes with a cache, greedy. */
static bool run_generation(state *s)
{
    ag_kv_cache *cache = ag_kv_cache_new(s->ctx, 2, 2);
    ag_tensor *next = s->tokens;
    s->result = 0;
    for (int i = 0; i < 2 && next != NULL; i++) {
        ag_tensor *logits = ag_gpt_forward_cached(s->gpt, ag_slice(next, 1, 0, i == 0 ? 4 : 2, 1), cache, NULL);
        ag_tensor *best = ag_max(logits, AG_ALL_DIMS, false);
        double value = 0;
        if (ag_item(best, &value) != AG_OK)
            next = NULL;
        s->result += value;
    }
    ag_kv_cache_free(cache);
    return ag_error(s->ctx) == AG_OK;
}

static bool make_mha(state *s)
{
    s->mha = ag_mha_new(s->ctx, (ag_mha_config){ 8, 2, .attention = { .relative = 3, .qk_norm = true } });
    s->module = ag_mha_module(s->mha);
    s->x = ag_randn(s->ctx, AG_F32, AG_SHAPE(2, 5, 8));
    return s->x != NULL;
}

static bool run_trace(state *s)
{
    rewind(s->out);
    ag_attention_trace *trace = ag_mha_trace(s->mha, s->x, (ag_attend){ .mask.back = 3 }, NULL);
    ag_status status = ag_attention_trace_json(trace, s->out);
    s->result = (double)ag_attention_trace_count(trace) + (double)ftell(s->out);
    ag_attention_trace_free(trace);
    return status == AG_OK;
}

static double no_time(void)
{
    return 0;
}

/* Every kind of mask, looked at and attended through, with the tape's graph and profile. */
static bool run_masks(state *s)
{
    ag_ctx *ctx = s->ctx;
    rewind(s->out);
    ag_tensor *q = ag_require_grad(ag_randn(ctx, AG_F32, AG_SHAPE(2, 2, 5, 4)));
    ag_tensor *documents = ag_zeros(ctx, AG_I32, AG_SHAPE(2, 5)), *ones = ag_full(ctx, AG_I32, AG_SHAPE(2, 2), 1);
    const ag_mask masks[] = {
        { .causal = true, .back = 3 },
        { .stride = 2, .global = 1 },
        { .key_lengths = ag_full(ctx, AG_I32, AG_SHAPE(2), 4), .starts = ag_zeros(ctx, AG_I32, AG_SHAPE(2)) },
        { .query_documents = documents, .key_documents = documents },
        { .blocks = ones, .block_size = 3 },
        { .allowed = ag_full(ctx, AG_I32, AG_SHAPE(5, 5), 1) },
    };
    s->result = 0;
    ag_profile *profile = ag_profile_new(ctx, no_time);
    for (size_t i = 0; i < sizeof masks / sizeof *masks && ag_error(ctx) == AG_OK; i++) {
        ag_tape *tape = ag_tape_begin(ctx);
        ag_profile_tape(profile, tape);
        ag_tensor *o = ag_sdpa(q, q, q, (ag_sdpa_config){ .mask = masks[i], .dropout = 0.1 });
        ag_tensor *loss = ag_add(test_total(o), test_total(ag_attention_weights(q, q, (ag_sdpa_config){ masks[i] })));
        double value = 0;
        if (ag_backward(tape, loss) == AG_OK && ag_item(loss, &value) == AG_OK && ag_tape_dot(tape, s->out) == AG_OK &&
            ag_mask_tensor(ctx, masks[i], 2, 2, 5, 5) != NULL && ag_mask_svg(s->out, masks[i], 5, 5, "a") == AG_OK)
            s->result += value;
        ag_tape_end(tape);
        ag_zero_grad(q);
    }
    if (ag_error(ctx) == AG_OK)
        ag_profile_print(profile, s->out);
    ag_profile_free(profile);
    return ag_error(ctx) == AG_OK;
}

/* A gradient that a hook makes wrong, with all reports. */
static ag_tensor *doubled(void *user, ag_tensor *grad)
{
    (void)user;
    return ag_scale(grad, 2);
}

static void hooked(ag_ctx *ctx, ag_tensor *const *input, ag_tensor **output, void *user)
{
    (void)ctx, (void)user;
    ag_tensor *y = ag_tanh(input[0]);
    ag_hook(y, doubled, NULL);
    output[0] = ag_mul(y, input[0]);
}

static bool run_gradcheck(state *s)
{
    rewind(s->out);
    ag_tensor *x = ag_require_grad(ag_randn(s->ctx, AG_F64, AG_SHAPE(2, 2)));
    ag_gradcheck_result r = ag_gradcheck(s->ctx, hooked, &x, 1, NULL, (ag_gradcheck_config){
                                         .report = s->out, .json = s->out, .html = s->out });
    s->result = (double)r.verdict; /* the search for the cause may end early, which the report says */
    return ag_error(s->ctx) == AG_OK;
}

static bool run_checkpoint(state *s)
{
    ag_metadata m = { "step", "7" };
    if (ag_checkpoint_save(s->path, s->module, s->adamw, &m, 1) != AG_OK ||
        ag_checkpoint_load(s->path, s->module, s->adamw) != AG_OK)
        return false;
    ag_safetensors *file = ag_safetensors_open(s->ctx, s->path);
    s->result = (double)ag_safetensors_count(file);
    ag_safetensors_close(file);
    return file != NULL;
}

static bool make_nothing(state *s)
{
    (void)s;
    return true;
}

static bool run_pretrained(state *s)
{
    const char *folder = AG_FIXTURES "/pretrained/llama3/";
    char config[200], weights[200];
    snprintf(config, sizeof config, "%sconfig.json", folder);
    snprintf(weights, sizeof weights, "%smodel.safetensors", folder);
    ag_gpt *gpt = ag_gpt_from_files(s->ctx, config, weights, AG_F32);
    int32_t end[4];
    s->result = (double)ag_eos_from_file(s->ctx, config, end, 4) + (double)ag_module_numel(ag_gpt_module(gpt));
    bool good = gpt != NULL && ag_error(s->ctx) == AG_OK;
    ag_gpt_free(gpt);
    return good;
}

static const flow flows[] = {
    { "a step of a gpt", make_plain, run_step },
    { "a step of a recomputed gpt", make_recomputed, run_step },
    { "a step of an encoder-decoder", make_translator, run_translator },
    { "generation", make_plain, run_generation },
    { "a trace", make_mha, run_trace },
    { "masks, graph, profile", make_nothing, run_masks },
    { "gradcheck and its reports", make_nothing, run_gradcheck },
    { "a checkpoint", make_plain, run_checkpoint },
    { "a pretrained model", make_nothing, run_pretrained },
};
enum { FLOWS = sizeof flows / sizeof *flows, MOST = 400 };

/* ---- The sweep ---- */

static state begin(const flow *f, purse *p)
{
    *p = (purse){ .from = INT64_MAX, .to = INT64_MAX };
    state s = { .ctx = ag_ctx_new((ag_ctx_config){ .seed = 3, .threads = 1,
                                                   .allocator = { purse_alloc, purse_free, p } }) };
    s.out = tmpfile();
    snprintf(s.path, sizeof s.path, "%s", test_file()); /* suites may run twice at once */
    ck_assert_msg(s.ctx != NULL && s.out != NULL && f->make(&s), "%s: %s", f->name, ag_error_message(s.ctx));
    return s;
}

static void end(state *s, const flow *f, const purse *p)
{
    fclose(s->out);
    remove(s->path);
    ag_optimizer_free(s->adamw);
    ag_gpt_free(s->gpt);
    ag_encoder_decoder_free(s->translator);
    ag_mha_free(s->mha);
    ck_assert_msg(ag_ctx_free(s->ctx) == 0 && p->bytes == 0, "%s: memory is held", f->name);
}

/* One attempt from the same random state, in a scope of its own. */
static bool attempt(state *s, const flow *f)
{
    ag_rng_set(s->ctx, (ag_rng){ .seed = 5 });
    ag_scope_begin(s->ctx, NULL);
    bool good = f->run(s);
    ag_scope_end(s->ctx, NULL);
    return good;
}

static uint64_t file_digest(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint64_t sum = 0;
    for (int c; file != NULL && (c = getc(file)) != EOF;)
        sum = sum * 31 + (uint64_t)c;
    if (file != NULL)
        fclose(file);
    return sum;
}

START_TEST(memory_ends)
{
    const flow *f = &flows[_i / 2];
    const bool once = _i % 2 == 1;
    purse p;
    state s = begin(f, &p);
    int64_t before = p.requests;
    ck_assert_msg(attempt(&s, f), "%s: %s", f->name, ag_error_message(s.ctx));
    const double want = s.result;
    int64_t requests = p.requests - before, every = getenv("AG_ALL_ALLOCATIONS") != NULL ? 1 : requests / MOST + 1;
    end(&s, f, &p);
    ck_assert_int_gt(requests, 0);
    for (int64_t n = 0; n < requests; n += every) {
        s = begin(f, &p);
        attempt(&s, &(flow){ f->name, f->make, f->run == run_checkpoint ? run_checkpoint : make_nothing });
        ag_ctx_trim(s.ctx);
        const double params = digest(&s);
        const uint64_t file = file_digest(s.path);
        p.from = p.requests + n;
        p.to = once ? p.from + 1 : INT64_MAX;
        const bool good = attempt(&s, f);
        ck_assert_msg(good == (ag_error(s.ctx) == AG_OK), "%s, request %lld: %s", f->name, (long long)n,
                      ag_error_message(s.ctx));
        if (good)
            ck_assert_msg(s.result == want, "%s, request %lld: another result", f->name, (long long)n);
        else {
            ck_assert_msg(!once, "%s, request %lld alone: %s", f->name, (long long)n, ag_error_message(s.ctx));
            ck_assert_int_eq(ag_error(s.ctx), AG_ERR_MEMORY);
            ck_assert_msg(digest(&s) == params, "%s, request %lld: parameters changed", f->name, (long long)n);
            ck_assert_msg(file_digest(s.path) == file, "%s, request %lld: the file changed", f->name, (long long)n);
            p.to = p.from;
            ag_error_clear(s.ctx);
            ck_assert_msg(attempt(&s, f) && s.result == want, "%s, after request %lld: %s", f->name, (long long)n,
                          ag_error_message(s.ctx));
        }
        end(&s, f, &p);
    }
}
END_TEST

Suite *out_of_memory_suite(void)
{
    Suite *suite = suite_create("out_of_memory");
    TCase *tcase = tcase_create("out_of_memory");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, memory_ends, 0, 2 * FLOWS);
    suite_add_tcase(suite, tcase);
    return suite;
}
