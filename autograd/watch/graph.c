/* SPDX-License-Identifier: MIT
 *
 * graph.c - the nodes of a tape, one by one and as a Graphviz DOT graph.
 */
#include "autograd/watch/watch.h"

#include "autograd/tape_impl.h"
#include "tensor/files/files.h"

#include <math.h>
#include <string.h>

int64_t ag_tape_size(const ag_tape *tape)
{
    return tape == NULL ? 0 : tape->node_count;
}

int64_t ag_node_of(const ag_tape *tape, const ag_tensor *t)
{
    return tape != NULL && ag_tape_knows(tape, t) ? t->node : -1;
}

void ag_tape_measure_grads(ag_tape *tape)
{
    if (tape != NULL)
        tape->measure_grads = true;
}

ag_node_view ag_tape_node(const ag_tape *tape, int64_t number)
{
    if (tape == NULL || number < 0 || number >= tape->node_count) {
        if (tape != NULL)
            ag_fail(tape->ctx, AG_ERR_INDEX, "tape_node", "node %lld of a tape of %lld", (long long)number,
                    (long long)tape->node_count);
        return (ag_node_view){ .op = "", .path = "" };
    }
    const ag_node *node = &tape->nodes[number];
    return (ag_node_view){
        .op = node->op->name,
        .path = node->path,
        .name = node->held == NULL ? NULL : ag_name(node->held),
        .input_count = node->input_count,
        .input = node->input_count == 0 ? NULL : &tape->edges[node->first_edge],
        .dtype = node->dtype,
        .ndim = node->ndim,
        .shape = node->shape,
        .grad_norm = node->grad_norm,
    };
}

/* ---- DOT ---- */

/* Text inside DOT's quotes. */
static void graph_write_text(FILE *file, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        fputc(*text, file);
    }
}

static void graph_write_node(FILE *file, ag_ctx *ctx, const ag_node_view *node, int64_t number, int indent)
{
    bool leaf = strcmp(node->op, "leaf") == 0;
    fprintf(file, "%*sn%lld [label=\"", indent, "", (long long)number);
    graph_write_text(file, leaf && node->name != NULL ? node->name : node->op);
    fprintf(file, "\\n%s", ag_dims_text(ctx, node->ndim, node->shape));
    if (!isnan(node->grad_norm))
        ag_fprintf(file, "\\n|grad| %.3g", node->grad_norm);
    fprintf(file, "\"%s];\n", leaf ? ", shape=box, style=filled, fillcolor=\"#dde8f4\"" : "");
}

/* Paths are interned: equal paths are one address. */
static bool graph_path_is_new(const ag_tape *tape, int64_t node)
{
    for (int64_t i = 0; i < node; i++)
        if (tape->nodes[i].path == tape->nodes[node].path)
            return false;
    return true;
}

/* The longest other path on the tape that contains `path` ("blocks.0" for "blocks.0.attn"); "": none. */
static const char *graph_path_around(const ag_tape *tape, const char *path)
{
    const char *around = "";
    for (int64_t i = 0; i < tape->node_count; i++) {
        const char *other = tape->nodes[i].path;
        size_t length = strlen(other);
        if (length > strlen(around) && strncmp(other, path, length) == 0 && path[length] == '.')
            around = other;
    }
    return around;
}

/* The nodes of one module path and the clusters inside it, in the order of recording. Recursion as deep as modules
 * nest. */
static void graph_write_cluster(FILE *file, const ag_tape *tape, const char *path, int indent)
{
    const bool named = *path != '\0';
    if (named) {
        fprintf(file, "%*ssubgraph \"cluster_", indent, "");
        graph_write_text(file, path);
        fprintf(file, "\" {\n%*slabel=\"", indent + 2, "");
        graph_write_text(file, path);
        fprintf(file, "\"; color=\"#999999\"; fontcolor=\"#555555\";\n");
    }
    for (int64_t i = 0; i < tape->node_count; i++) {
        ag_node_view node = ag_tape_node(tape, i);
        if (strcmp(node.path, path) == 0)
            graph_write_node(file, tape->ctx, &node, i, indent + 2);
        else if (graph_path_is_new(tape, i) && strcmp(graph_path_around(tape, node.path), path) == 0)
            graph_write_cluster(file, tape, node.path, indent + 2);
    }
    if (named)
        fprintf(file, "%*s}\n", indent, "");
}

ag_status ag_tape_dot(const ag_tape *tape, FILE *file)
{
    if (tape == NULL || !ag_check_given(tape->ctx, "tape_dot", "file", file))
        return AG_ERR_ARGUMENT;
    fprintf(file, "digraph tape {\n  rankdir=TB; node [shape=ellipse, fontsize=10, fontname=\"sans-serif\"];\n");
    graph_write_cluster(file, tape, "", 0);
    for (int64_t i = 0; i < tape->node_count; i++) {
        ag_node_view node = ag_tape_node(tape, i);
        for (int j = 0; j < node.input_count; j++)
            if (node.input[j] >= 0)
                fprintf(file, "  n%lld -> n%lld;\n", (long long)node.input[j], (long long)i);
    }
    fprintf(file, "}\n");
    if (ferror(file)) {
        ag_fail(tape->ctx, AG_ERR_FILE, "tape_dot", "the graph of %lld nodes could not be written",
                (long long)tape->node_count);
        return AG_ERR_FILE;
    }
    return AG_OK;
}
