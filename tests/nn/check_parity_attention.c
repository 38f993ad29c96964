/* SPDX-License-Identifier: MIT
 *
 * check_parity_attention.c - the functional op against PyTorch's, from the file that make_attention_fixtures.py wrote:
 * every kind of mask and of bias, scale, soft cap, grouped heads. Output, log-sum-exp, weights, the mask itself and
 * every gradient, in float64 and float32, on every table of kernels.
 *
 * A case here says what numbers can say; its tensors (starts, key_lengths, blocks, bias, ...) stand in the file under
 * their names in autograd.h. B batch, H heads, Tq queries, Tk keys.
 */
#include "tests/parity.h"

typedef struct sdpa_case {
    const char *name;
    ag_mask mask;
    double scale, soft_cap;
    int64_t reach;        /* of a table of distances: alibi's, */
    int64_t max_distance; /* or of buckets, */
    bool bidirectional;
} sdpa_case;

static const sdpa_case cases[] = {
    { .name = "none" },
    { .name = "causal", .mask = { .causal = true } },
    { .name = "causal_top_left", .mask = { .causal = true } },
    { .name = "causal_top_left_tall", .mask = { .causal = true } },
    { .name = "causal_bottom_right", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT } },
    { .name = "causal_bottom_right_tall", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT } },
    { .name = "offset", .mask = { .causal = true, .offset = 2 } },
    { .name = "offset_negative", .mask = { .causal = true, .offset = -2 } },
    { .name = "starts", .mask = { .causal = true } },
    { .name = "window_back", .mask = { .back = 2 } },
    { .name = "window_ahead", .mask = { .ahead = 2 } },
    { .name = "window_both", .mask = { .back = 3, .ahead = 2 } },
    { .name = "window_causal", .mask = { .causal = true, .back = 3 } },
    { .name = "window_own_key", .mask = { .back = 1, .ahead = 1 } },
    { .name = "window_bottom_right", .mask = { .align = AG_BOTTOM_RIGHT, .back = 2, .ahead = 3 } },
    { .name = "window_global", .mask = { .back = 2, .ahead = 2, .global = 2 } },
    { .name = "window_global_causal", .mask = { .causal = true, .back = 2, .global = 1 } },
    { .name = "window_global_offset", .mask = { .offset = -2, .back = 2, .ahead = 1, .global = 2 } },
    { .name = "strided", .mask = { .stride = 3 } },
    { .name = "strided_causal", .mask = { .causal = true, .stride = 2 } },
    { .name = "strided_window", .mask = { .causal = true, .stride = 3, .back = 2 } },
    { .name = "strided_window_global",
      .mask = { .align = AG_BOTTOM_RIGHT, .stride = 4, .back = 2, .ahead = 2, .global = 1 } },
    { .name = "blocks", .mask = { .block_size = 3 } },
    { .name = "blocks_per_head", .mask = { .block_size = 2 } },
    { .name = "blocks_per_entry", .mask = { .block_size = 2 } },
    { .name = "blocks_each", .mask = { .block_size = 2 } },
    { .name = "blocks_outside", .mask = { .block_size = 3 } },
    { .name = "blocks_offset", .mask = { .block_size = 3, .offset = -1, .causal = true } },
    { .name = "key_lengths" },
    { .name = "key_lengths_zero" },
    { .name = "key_lengths_causal", .mask = { .causal = true } },
    { .name = "documents" },
    { .name = "documents_causal", .mask = { .causal = true } },
    { .name = "documents_cross" },
    { .name = "allowed" },
    { .name = "allowed_per_entry" },
    { .name = "allowed_per_head" },
    { .name = "allowed_each" },
    { .name = "allowed_keys" },
    { .name = "allowed_queries" },
    { .name = "allowed_none" },
    { .name = "together", .mask = { .causal = true, .back = 4, .global = 1 } },
    { .name = "together_blocks",
      .mask = { .align = AG_BOTTOM_RIGHT, .causal = true, .back = 3, .stride = 3, .block_size = 2 } },
    { .name = "together_starts", .mask = { .causal = true, .back = 4 } },

    { .name = "long_window", .mask = { .causal = true, .back = 9 } },
    { .name = "long_window_global", .mask = { .align = AG_BOTTOM_RIGHT, .back = 5, .ahead = 3, .global = 2 } },
    { .name = "long_strided", .mask = { .causal = true, .back = 4, .stride = 31 } },
    { .name = "long_blocks", .mask = { .causal = true, .block_size = 32 } },
    { .name = "long_documents", .mask = { .causal = true } },

    { .name = "bias" },
    { .name = "bias_per_head" },
    { .name = "bias_per_entry" },
    { .name = "bias_each" },
    { .name = "bias_keys" },
    { .name = "bias_queries_keys" },
    { .name = "bias_causal", .mask = { .causal = true } },
    { .name = "bias_blind", .mask = { .causal = true, .offset = -2 } },
    { .name = "bias_window", .mask = { .causal = true, .back = 3 } },
    { .name = "bias_allowed" },
    { .name = "soft_cap_bias", .mask = { .causal = true }, .soft_cap = 1.5 },
    { .name = "grouped_bias", .mask = { .causal = true } },

    { .name = "alibi", .mask = { .causal = true }, .reach = 5 },
    { .name = "alibi_six_heads", .reach = 3 },
    { .name = "alibi_bottom_right", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT }, .reach = 8 },
    { .name = "alibi_slopes", .reach = 4 },
    { .name = "relative" },
    { .name = "relative_clamped" },
    { .name = "relative_shared", .mask = { .causal = true } },
    { .name = "relative_reach_0" },
    { .name = "relative_offset", .mask = { .causal = true, .offset = 1 } },
    { .name = "relative_starts", .mask = { .causal = true } },
    { .name = "relative_window", .mask = { .back = 3, .ahead = 3 } },
    { .name = "grouped_relative", .mask = { .causal = true } },
    { .name = "buckets", .reach = 9, .max_distance = 7, .bidirectional = true },
    { .name = "buckets_causal", .mask = { .causal = true }, .reach = 6, .max_distance = 7 },
    { .name = "everything", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT, .back = 4, .global = 1 },
      .scale = 0.8 },
    { .name = "everything_capped", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT, .back = 4, .global = 1 },
      .scale = 0.8, .soft_cap = 1.2 },
    { .name = "long_everything", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT, .back = 40, .global = 2 },
      .soft_cap = 2 },

    { .name = "scale", .scale = 0.3 },
    { .name = "soft_cap", .soft_cap = 0.7 },
    { .name = "soft_cap_scale_causal", .mask = { .causal = true }, .soft_cap = 1.5, .scale = 1.1 },
    { .name = "soft_cap_blind", .mask = { .causal = true, .align = AG_BOTTOM_RIGHT }, .soft_cap = 1 },
    { .name = "grouped" },
    { .name = "multi_query", .mask = { .causal = true } },
    { .name = "grouped_blocks", .mask = { .block_size = 2 } },
    { .name = "one_query" },
    { .name = "one_key" },
    { .name = "sizes_small" },
    { .name = "sizes" },
};
enum { CASES = sizeof cases / sizeof *cases, LONG_CASES = 6 };

/* ---- What stands in the file ---- */

/* NULL: the case has none. */
static ag_tensor *optional(const parity *p, const char *name)
{
    return parity_has(p, name) ? parity_stored(p, name) : NULL;
}

static ag_tensor *optional_leaf(const parity *p, const char *name)
{
    return parity_has(p, name) ? parity_leaf(p, name) : NULL;
}

/* The case's own tensor, or the leading corner of the pool's, with the shape of `like`. */
static ag_tensor *own_or_pooled(const parity *p, const char *name, const char *like)
{
    if (parity_has(p, name))
        return parity_given(p, name);
    parity pool = *p;
    pool.name = "pool";
    ag_tensor *t = parity_given(&pool, name), *shape = parity_stored(p, like);
    for (int d = 0; d < ag_ndim(t); d++)
        t = ag_tensor_slice(t, d, 0, ag_dim(shape, d), 1);
    return ag_tensor_clone(t);
}

/* ---- One case ---- */

enum { LEAVES = 7 };

/* What the case computes with; leaf[] are those that want a gradient, NULL where it has none of the name. */
typedef struct operands {
    ag_tensor *leaf[LEAVES];
    ag_sdpa_config config;
    ag_tensor *lse;
} operands;

static const char *const leaf_name[LEAVES] = { "q", "k", "v", "bias", "relative", "slopes", "table" };

static operands read_operands(const parity *p, const sdpa_case *c)
{
    operands o = { .config = { .mask = c->mask, .scale = c->scale, .soft_cap = c->soft_cap } };
    o.leaf[0] = ag_require_grad(own_or_pooled(p, "q", "grad/q"));
    o.leaf[1] = ag_require_grad(own_or_pooled(p, "k", "grad/k"));
    o.leaf[2] = ag_require_grad(own_or_pooled(p, "v", "grad/v"));
    for (int i = 3; i < LEAVES; i++)
        o.leaf[i] = optional_leaf(p, leaf_name[i]);
    ag_mask *mask = &o.config.mask;
    mask->starts = optional(p, "starts");
    mask->key_lengths = optional(p, "key_lengths");
    mask->query_documents = optional(p, "query_documents");
    mask->key_documents = optional(p, "key_documents");
    mask->blocks = optional(p, "blocks");
    mask->allowed = optional(p, "allowed");
    o.config.bias = o.leaf[3];
    o.config.relative = o.leaf[4];
    return o;
}

/* The table of distances that the case is made of, if not a leaf itself; recorded. */
static void make_relative(const parity *p, const sdpa_case *c, operands *o)
{
    ag_tensor *slopes = o->leaf[5], *table = o->leaf[6];
    if (table != NULL) {
        o->config.relative = ag_relative_buckets(table, c->reach, c->max_distance, c->bidirectional);
    } else if (c->reach > 0) {
        if (slopes == NULL)
            slopes = ag_alibi_slopes(p->ctx, p->dtype, ag_dim(o->leaf[0], 1));
        o->config.relative = ag_alibi(slopes, c->reach);
    }
}

/* Where a weight is 0 in PyTorch the pair is not allowed: then it is 0 exactly, and the mask's tensor says so. */
static void expect_mask(const parity *p, ag_mask mask, const ag_tensor *weights)
{
    ag_tensor *want = parity_stored(p, "weights");
    ag_tensor *allowed =
        ag_mask_tensor(p->ctx, mask, ag_dim(want, 0), ag_dim(want, 1), ag_dim(want, 2), ag_dim(want, 3));
    assert_no_error(p->ctx);
    ck_assert_int_eq(ag_numel(allowed), ag_numel(want));
    for (int64_t i = 0; i < ag_numel(want); i++) {
        ck_assert_msg((test_at(allowed, i) != 0) == (test_at(want, i) != 0), "%s: mask %s at %lld: %g, weight %g",
                      p->name, ag_shape_text(allowed), (long long)i, test_at(allowed, i), test_at(want, i));
        ck_assert_msg(test_at(want, i) != 0 || test_at(weights, i) == 0, "%s: weight at %lld is %g, not allowed",
                      p->name, (long long)i, test_at(weights, i));
    }
}

/* The last head's weights for the last query and the first one. */
static void expect_chosen_weights(const parity *p, const operands *o)
{
    ag_tensor *want = parity_stored(p, "weights");
    const int64_t head = ag_dim(want, 1) - 1, rows[] = { ag_dim(want, 2) - 1, 0 };
    const ag_weights_of which = { .heads = &head, .head_count = 1, .rows = rows, .row_count = 2 };
    ag_tensor *chosen = ag_sdpa_weights(o->leaf[0], o->leaf[1], o->lse, o->config, which);
    want = ag_tensor_slice(want, 1, head, head + 1, 1);
    for (int i = 0; i < 2; i++)
        parity_expect_tensor(p, "chosen weights", ag_tensor_slice(chosen, 2, i, i + 1, 1),
                             ag_tensor_slice(want, 2, rows[i], rows[i] + 1, 1));
}

static void check_case(const parity *p, const sdpa_case *c)
{
    operands o = read_operands(p, c);
    o.config.lse = &o.lse;
    ag_tape *tape = ag_tape_begin(p->ctx);
    make_relative(p, c, &o);
    ag_tensor *y = ag_sdpa(o.leaf[0], o.leaf[1], o.leaf[2], o.config);
    parity_expect(p, "y", y);
    parity_expect(p, "lse", o.lse);
    if (parity_has(p, "weights")) {
        ag_tensor *weights = ag_sdpa_weights(o.leaf[0], o.leaf[1], o.lse, o.config, (ag_weights_of){ 0 });
        parity_expect(p, "weights", weights);
        expect_mask(p, o.config.mask, weights);
        expect_chosen_weights(p, &o);
    }
    ag_backward_from(tape, y, own_or_pooled(p, "gy", "y"));
    ag_tape_end(tape);
    for (int i = 0; i < LEAVES; i++)
        if (o.leaf[i] != NULL)
            parity_expect_grad(p, leaf_name[i], o.leaf[i]);
}

START_TEST(test_case)
{
    int ran = 0;
    for (int table = 0; table < PARITY_TABLES; table++)
        for (int dtype = 0; dtype < 2; dtype++) {
            parity p;
            if (!parity_begin_on(&p, table, "attention", cases[_i].name, dtype))
                continue;
            check_case(&p, &cases[_i]);
            parity_end(&p);
            ran++;
        }
    ck_assert_int_gt(ran, 0);
}
END_TEST

START_TEST(test_cases_complete)
{
    ck_assert_int_eq(parity_count("attention", "/y"), CASES);
    ck_assert_int_eq(parity_count("attention", "/lse"), CASES);
    ck_assert_int_eq(parity_count("attention", "/weights"), CASES - LONG_CASES);
}
END_TEST

Suite *parity_attention_suite(void)
{
    Suite *suite = suite_create("parity_attention");
    TCase *tc = tcase_create("parity_attention");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_case, 0, CASES);
    tcase_add_test(tc, test_cases_complete);
    suite_add_tcase(suite, tc);
    return suite;
}
