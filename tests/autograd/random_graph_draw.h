/* SPDX-License-Identifier: MIT
 *
 * random_graph_draw.h - how each op of random_graph_ops.def is drawn: into n its arguments, attributes and range. False
 * when it can not be.
 */
#ifndef TESTS_RANDOM_GRAPH_DRAW_H
#define TESTS_RANDOM_GRAPH_DRAW_H

#include "tests/autograd/random_graph_draft.h"

enum { ROPE_ROWS = 6 }; /* the least rows of a table, all of which positions may name */

#define OP(name, draw, ...) bool draw_##draw(graph_draft *d, graph_node *n);
#include "tests/autograd/random_graph_ops.def"
#undef OP

#endif
