/* SPDX-License-Identifier: MIT
 *
 * explain_all.c - puts the explanations of all failed inputs, and that of the wrong op on the tape, into one text.
 */
#include "autograd/gradcheck/gradcheck_impl.h"

#include <stdio.h>
#include <string.h>

/* Appends to the explanation, with a blank between. */
static void all_append(ag_gradcheck_result *r, const char *text)
{
    size_t used = strlen(r->explanation), room = sizeof r->explanation - used;
    snprintf(r->explanation + used, room, "%s%s", used > 0 && *text != '\0' ? " " : "", text);
}

/* Appends, for each failed input besides r->input, its explanation; inputs with the cause of an earlier one are named
 * together. */
static void all_append_others(const ag_check *check, const ag_explanation *found, ag_gradcheck_result *r)
{
    char text[AG_EXPLANATION + 80];
    for (int i = 0; i < check->input_count; i++) {
        const char *name = check->input[i].x.name;
        int first = r->input; /* the input that has this cause and whose explanation stands in the text */
        if (i == r->input || found[i].cause <= AG_CAUSE_UNKNOWN)
            continue;
        for (int k = 0; k < i && found[first].cause != found[i].cause; k++)
            first = found[k].cause == found[i].cause ? k : first;
        bool same = found[first].cause == found[i].cause && first != i;
        snprintf(text, sizeof text, "%s input %d%s%.40s%s%s%s", same ? "The same cause for" : "And", i,
                 name == NULL ? "" : " (", name == NULL ? "" : name, name == NULL ? "" : ")", same ? "." : ": ",
                 same ? "" : found[i].text);
        all_append(r, text);
    }
}

/* Of two failed inputs, the one with a cause; of two with or without, the one that is worse. */
static int all_best_explained(const ag_check *check, const ag_explanation *found, int worst)
{
    int best = worst;
    for (int i = 0; i < check->input_count; i++) {
        bool known = found[i].cause > AG_CAUSE_UNKNOWN, best_known = found[best].cause > AG_CAUSE_UNKNOWN;
        bool worse = check->input[i].found.max_error > check->input[best].found.max_error * (1 + 1e-6);
        if (known && (!best_known || (best != worst && worse)))
            best = i;
    }
    return best;
}

/* Finds the causes of failed inputs. The explanation begins with the wrong op, if one was found; where that has no
 * cause or there is none, the best explained input follows, then the others. */
void ag_check_explain_all(ag_check *check, ag_gradcheck_result *r, bool on_tape)
{
    size_t bytes = (size_t)check->input_count * sizeof(ag_explanation);
    ag_explanation *found = ag_alloc(check->ctx, bytes);
    if (found == NULL)
        return;
    memset(found, 0, bytes);
    for (int i = 0; i < check->input_count; i++) {
        ag_gradcheck_input *in = &check->input[i].found;
        bool cheap = i == r->input || check->jacobian[i] != NULL;
        if (in->checked == 0 || in->verdict != AG_FAIL || !cheap)
            continue;
        found[i] = ag_check_explain(check, i);
        in->cause = found[i].cause;
        in->factor = found[i].factor;
    }
    ag_location at = { .node = -1, .op = "", .path = "" };
    if (on_tape && ag_error(check->ctx) == AG_OK)
        at = ag_check_locate(check);
    r->op = at.op;
    r->path = at.path;
    r->node = at.node;
    r->op_input = at.op_input;
    bool known = at.explanation.cause > AG_CAUSE_UNKNOWN;
    if (!known)
        r->input = all_best_explained(check, found, r->input);
    ag_gradcheck_input *worst = &check->input[r->input].found;
    if (known) {
        worst->cause = at.explanation.cause;
        worst->factor = at.explanation.factor;
    }
    r->worst = *worst;
    all_append(r, at.explanation.text);
    if (!known && (at.node < 0 || found[r->input].cause != AG_CAUSE_UNKNOWN)) { /* else it would add nothing */
        all_append(r, found[r->input].text);
        all_append_others(check, found, r);
    }
    ag_free(check->ctx, found, bytes);
}
