/* SPDX-License-Identifier: MIT
 *
 * check_graph.c - looking at a tape: node by node, and as DOT, compared with an expected text to the letter.
 */
#include "tests/test.h"

#include <string.h>

/* y = mean(gelu(x w^T + b)) in module "blocks.0", names on the parameters. */
typedef struct net {
    ag_tensor *w, *b, *x, *loss;
    ag_tape *tape;
} net;

static net build(ag_ctx *ctx)
{
    net n = {
        .w = ag_set_name(ag_require_grad(ag_full(ctx, AG_F64, AG_SHAPE(2, 3), 0.5)), "blocks.0.fc.weight"),
        .b = ag_require_grad(ag_zeros(ctx, AG_F64, AG_SHAPE(2))),
        .x = ag_full(ctx, AG_F64, AG_SHAPE(4, 3), 1),
    };
    n.tape = ag_tape_begin(ctx);
    ag_scope_begin(ctx, "blocks.0");
    ag_scope_begin(ctx, "fc");
    ag_tensor *y = ag_scope_end(ctx, ag_linear(n.x, n.w, n.b));
    y = ag_scope_end(ctx, ag_mul(y, y));
    n.loss = ag_sum(y, AG_ALL_DIMS, false);
    return n;
}

static void read_dot(const ag_tape *tape, char *text, size_t size)
{
    FILE *file = tmpfile();
    ck_assert_int_eq(ag_tape_dot(tape, file), AG_OK);
    rewind(file);
    size_t read = fread(text, 1, size - 1, file);
    text[read] = '\0';
    fclose(file);
}

START_TEST(nodes_of_a_small_net)
{
    ag_ctx *ctx = test_begin();
    net n = build(ctx);
    static const struct {
        const char *op, *path, *name;
        int count;
        int64_t input[3];
        const char *shape;
    } want[] = {
        { "leaf", "blocks.0.fc", "blocks.0.fc.weight", 0, { 0 }, "[2,3]" },
        { "leaf", "blocks.0.fc", NULL, 0, { 0 }, "[2]" },
        { "linear", "blocks.0.fc", NULL, 3, { -1, 0, 1 }, "[4,2]" },
        { "mul", "blocks.0", NULL, 2, { 2, 2 }, "[4,2]" },
        { "sum", "", NULL, 1, { 3 }, "[]" },
    };
    ck_assert_int_eq(ag_tape_size(n.tape), 5);
    for (int64_t i = 0; i < 5; i++) {
        ag_node_view node = ag_tape_node(n.tape, i);
        ck_assert_str_eq(node.op, want[i].op);
        ck_assert_str_eq(node.path, want[i].path);
        if (want[i].name == NULL)
            ck_assert_ptr_null(node.name);
        else
            ck_assert_str_eq(node.name, want[i].name);
        ck_assert_int_eq(node.input_count, want[i].count);
        for (int j = 0; j < node.input_count; j++)
            ck_assert_int_eq(node.input[j], want[i].input[j]);
        ck_assert_int_eq(node.dtype, AG_F64);
        ck_assert_str_eq(ag_dims_text(ctx, node.ndim, node.shape), want[i].shape);
        ck_assert(isnan(node.grad_norm));
    }
    ck_assert_int_eq(ag_node_of(n.tape, n.w), 0);
    ck_assert_int_eq(ag_node_of(n.tape, n.loss), 4);
    ck_assert_int_eq(ag_node_of(n.tape, n.x), -1);
    ck_assert_int_eq(ag_node_of(n.tape, NULL), -1);
    ck_assert_int_eq(ag_node_of(NULL, n.w), -1);
    ck_assert_int_eq(ag_tape_size(NULL), 0);
    ag_tape_end(n.tape);
    test_end(ctx);
}
END_TEST

START_TEST(gradient_norms)
{
    ag_ctx *ctx = test_begin();
    net n = build(ctx);
    ck_assert_int_eq(ag_backward(n.tape, n.loss), AG_OK);
    ck_assert(isnan(ag_tape_node(n.tape, 0).grad_norm)); /* not asked for */
    ag_tape_measure_grads(n.tape);
    ag_tape_measure_grads(NULL);
    ag_tensor *aside = ag_exp(n.loss);
    ck_assert_int_eq(ag_backward(n.tape, n.loss), AG_OK);
    /* y = 1.5 everywhere: gy = 3 in [4,2], gw = 12 in [2,3], gb = 12 in [2], and 1s of sum in [4,2]. */
    const double want[] = { 12 * sqrt(6), 12 * sqrt(2), 3 * sqrt(8), sqrt(8), 1 };
    for (int64_t i = 0; i < 5; i++)
        ck_assert_double_eq_tol(ag_tape_node(n.tape, i).grad_norm, want[i], 1e-13);
    ck_assert(isnan(ag_tape_node(n.tape, ag_node_of(n.tape, aside)).grad_norm));
    ck_assert_int_eq(ag_backward(n.tape, ag_select(ag_reshape(n.b, AG_SHAPE(2)), 0, 1)), AG_OK);
    ck_assert(isnan(ag_tape_node(n.tape, 0).grad_norm)); /* of the last backward alone */
    ck_assert_double_eq(ag_tape_node(n.tape, 1).grad_norm, 1);
    ag_tape_end(n.tape);
    test_end(ctx);
}
END_TEST

static const char *const picture =
    "digraph tape {\n"
    "  rankdir=TB; node [shape=ellipse, fontsize=10, fontname=\"sans-serif\"];\n"
    "  subgraph \"cluster_blocks.0\" {\n"
    "    label=\"blocks.0\"; color=\"#999999\"; fontcolor=\"#555555\";\n"
    "    subgraph \"cluster_blocks.0.fc\" {\n"
    "      label=\"blocks.0.fc\"; color=\"#999999\"; fontcolor=\"#555555\";\n"
    "      n0 [label=\"blocks.0.fc.weight\\n[2,3]\\n|grad| 29.4\", shape=box, style=filled, fillcolor=\"#dde8f4\"];\n"
    "      n1 [label=\"leaf\\n[2]\\n|grad| 17\", shape=box, style=filled, fillcolor=\"#dde8f4\"];\n"
    "      n2 [label=\"linear\\n[4,2]\\n|grad| 8.49\"];\n"
    "    }\n"
    "    n3 [label=\"mul\\n[4,2]\\n|grad| 2.83\"];\n"
    "  }\n"
    "  n4 [label=\"sum\\n[]\\n|grad| 1\"];\n"
    "  n0 -> n2;\n"
    "  n1 -> n2;\n"
    "  n2 -> n3;\n"
    "  n2 -> n3;\n"
    "  n3 -> n4;\n"
    "}\n";

START_TEST(dot_to_the_letter)
{
    char text[2][2000];
    for (int run = 0; run < 2; run++) { /* another context, the same text */
        ag_ctx *ctx = test_begin();
        net n = build(ctx);
        ag_tape_measure_grads(n.tape);
        ck_assert_int_eq(ag_backward(n.tape, n.loss), AG_OK);
        read_dot(n.tape, text[run], sizeof text[run]);
        ag_tape_end(n.tape);
        test_end(ctx);
    }
    ck_assert_str_eq(text[0], picture);
    ck_assert_str_eq(text[1], picture);
}
END_TEST

START_TEST(dot_of_odd_names)
{
    ag_ctx *ctx = test_begin();
    ag_tensor *a = ag_set_name(ag_require_grad(ag_zeros(ctx, AG_F32, AG_SHAPE(1))), "say \"a\\b\"");
    ag_tape *tape = ag_tape_begin(ctx);
    char text[1000];
    read_dot(tape, text, sizeof text);
    ck_assert_str_eq(text, "digraph tape {\n"
                           "  rankdir=TB; node [shape=ellipse, fontsize=10, fontname=\"sans-serif\"];\n}\n");
    ag_scope_begin(ctx, "the \"inner\" one");
    ag_exp(a);
    ag_scope_end(ctx, NULL);
    read_dot(tape, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "n0 [label=\"say \\\"a\\\\b\\\"\\n[1]\""));
    ck_assert_ptr_nonnull(strstr(text, "subgraph \"cluster_the \\\"inner\\\" one\" {"));
    ck_assert_ptr_nonnull(strstr(text, "label=\"the \\\"inner\\\" one\";"));
    ck_assert_int_eq(ag_tape_dot(NULL, stderr), AG_ERR_ARGUMENT);
    ck_assert_int_eq(ag_tape_dot(tape, NULL), AG_ERR_ARGUMENT);
    assert_error(ctx, AG_ERR_ARGUMENT, "file is NULL");
    ag_tape_end(tape);
    test_end(ctx);
}
END_TEST

START_TEST(names)
{
    ag_ctx *ctx = test_begin();
    char text[8] = "w";
    ag_tensor *t = ag_zeros(ctx, AG_F32, AG_SHAPE(1));
    ck_assert_ptr_null(ag_name(t));
    ck_assert_ptr_null(ag_name(NULL));
    ck_assert_ptr_eq(ag_set_name(t, text), t);
    text[0] = 'x'; /* the text was copied */
    ck_assert_str_eq(ag_name(t), "w");
    ck_assert(!ag_requires_grad(t));
    ck_assert_ptr_null(ag_set_name(NULL, "w"));
    test_end(ctx);
}
END_TEST

Suite *graph_suite(void)
{
    Suite *suite = suite_create("graph");
    TCase *graph = tcase_create("graph");
    tcase_add_test(graph, nodes_of_a_small_net);
    tcase_add_test(graph, gradient_norms);
    tcase_add_test(graph, dot_to_the_letter);
    tcase_add_test(graph, dot_of_odd_names);
    tcase_add_test(graph, names);
    suite_add_tcase(suite, graph);
    return suite;
}
