/* SPDX-License-Identifier: MIT
 *
 * report_json.c - the gradient checker's report as a JSON object on one line (RFC 8259).
 *
 * Numbers have enough digits to restore the double. Numbers that are not finite are the strings "nan", "inf" and
 * "-inf", which Python's float() accepts. A missing value is null. An index is one number per dim. Bytes of a name that
 * are not UTF-8 become U+FFFD.
 */
#include "autograd/gradcheck/report_impl.h"
#include "tensor/files/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_ELEMENTS = 4096 }; /* of an input whose gradients are written */

/* ---- Values ---------------------------------------------------------------------------------- */

/* A string, written character by character, so that it needs no buffer. */
static void json_put_string(FILE *file, const char *text)
{
    if (text == NULL) {
        fputs("null", file);
        return;
    }
    fputc('"', file);
    for (int size; *text != '\0'; text += size) {
        char character[8] = { 0 }, quoted[16];
        size = ag_utf8_size(text, strlen(text));
        memcpy(character, size > 0 ? text : "\xef\xbf\xbd", size > 0 ? (size_t)size : 3);
        size = size > 0 ? size : 1;
        ag_json_out out = { .text = quoted, .capacity = sizeof quoted };
        ag_json_put_string(&out, character);
        fwrite(quoted + 1, 1, out.length - 2, file);
    }
    fputc('"', file);
}

static void json_put_number(FILE *file, double value)
{
    ag_fprintf(file, isfinite(value) ? "%.*g" : "\"%.*g\"", ag_digits(AG_F64, value), value);
}

static void json_put_numbers(FILE *file, const double *value, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        fputs(i == 0 ? "[" : ",", file);
        json_put_number(file, value[i]);
    }
    fputs(count == 0 ? "[]" : "]", file);
}

/* A comma and the name of a member that is not the first. */
static void json_put_key(FILE *file, const char *key)
{
    fprintf(file, ",\"%s\":", key);
}

static void json_member_string(FILE *file, const char *key, const char *text)
{
    json_put_key(file, key);
    json_put_string(file, text);
}

static void json_member_number(FILE *file, const char *key, double value)
{
    json_put_key(file, key);
    json_put_number(file, value);
}

/* A count or an index; -1: null. */
static void json_member_whole(FILE *file, const char *key, int64_t value)
{
    json_put_key(file, key);
    if (value < 0)
        fputs("null", file);
    else
        fprintf(file, "%" PRId64, value);
}

/* ---- Objects --------------------------------------------------------------------------------- */

static void json_put_found(FILE *file, const ag_check *check, const ag_check_input *in)
{
    const ag_gradcheck_input *found = &in->found;
    json_member_string(file, "cause", ag_cause_name(found->cause));
    json_member_number(file, "factor", found->factor);
    json_put_key(file, "index");
    fputs(found->index < 0 ? "null" : ag_index_text(check, in->x.ndim, in->x.shape, found->index), file);
    json_member_whole(file, "output_index", found->output_index);
    json_member_number(file, "analytic", found->analytic);
    json_member_number(file, "numeric", found->numeric);
    json_member_number(file, "uncertainty", found->uncertainty);
    json_member_number(file, "max_error", found->max_error);
    json_member_whole(file, "checked", found->checked);
    json_member_whole(file, "failed", found->failed);
    json_member_whole(file, "inconclusive", found->inconclusive);
    if (in->analytic == NULL || in->numeric == NULL || in->numel > MOST_ELEMENTS)
        return;
    json_put_key(file, "analytic_gradient");
    json_put_numbers(file, in->analytic, in->numel);
    json_put_key(file, "numeric_gradient");
    json_put_numbers(file, in->numeric, in->numel);
}

/* An input that was not checked has the verdict null and no members after it. */
static void json_put_input(FILE *file, const ag_check *check, const ag_check_input *in)
{
    fputs("{\"name\":", file);
    json_put_string(file, in->x.name);
    json_put_key(file, "shape");
    fputs(ag_dims_text(check->ctx, in->x.ndim, in->x.shape), file);
    json_member_string(file, "verdict", in->checked ? ag_verdict_name(in->found.verdict) : NULL);
    if (in->checked)
        json_put_found(file, check, in);
    fputc('}', file);
}

void ag_report_json(FILE *file, const ag_check *check, const ag_gradcheck_result *result)
{
    bool op = result->op != NULL && *result->op != '\0';
    fputs("{\"name\":", file);
    json_put_string(file, check->name);
    json_member_string(file, "verdict", ag_verdict_name(result->verdict));
    json_member_string(file, "error", ag_report_is_error(check) ? ag_error_message(check->ctx) : NULL);
    json_member_whole(file, "derivatives", result->checked);
    json_member_whole(file, "failed", result->failed);
    json_member_whole(file, "inconclusive", result->inconclusive);
    json_member_number(file, "max_error", result->max_error);
    json_member_string(file, "cause", ag_cause_name(result->worst.cause));
    json_member_number(file, "factor", result->worst.factor);
    json_member_string(file, "explanation", result->explanation);
    json_member_whole(file, "input", result->input);
    json_member_string(file, "op", op ? result->op : NULL);
    json_member_string(file, "path", op ? result->path : NULL);
    json_member_whole(file, "node", op ? result->node : -1);
    json_member_whole(file, "op_input", op ? result->op_input : -1);
    json_put_key(file, "inputs");
    fputc('[', file);
    for (int i = 0; i < check->input_count; i++) {
        fputs(i == 0 ? "" : ",", file);
        json_put_input(file, check, &check->input[i]);
    }
    fputs("]}\n", file);
}
