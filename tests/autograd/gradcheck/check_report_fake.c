/* SPDX-License-Identifier: MIT
 *
 * check_report_fake.c - see check_report_fake.h.
 */
#include "tests/autograd/gradcheck/check_report_fake.h"

#include <stdlib.h>
#include <string.h>

const char fake_hostile[] = "<b>\"x\" & 'y'\\ \033[2J\n\x7f \xc3\xa9\xe2\x82\xac \xff</b>";
const char fake_endless[] = "decoder.blocks.11.attention.projections.of.all.heads.together.weight.of.the.very.large."
                            "model_without_a_single_blank_in_its_name_anywhere_at_all";

void fake_begin(fake *f, const char *name, ag_verdict verdict)
{
    *f = (fake){ .output = { .y = { .ndim = 2, .shape = { 4, 2 } }, .numel = 8 } };
    f->check = (ag_check){ .ctx = test_begin(), .name = name, .input = f->input, .output_count = 1,
                           .output = &f->output, .config = { .rtol = 1e-6, .atol = 1e-9 } };
    f->result = (ag_gradcheck_result){ .verdict = verdict, .input = -1, .op = "", .path = "", .node = -1 };
}

void fake_end(fake *f)
{
    for (int i = 0; i < f->check.input_count; i++) {
        free(f->input[i].analytic);
        free(f->input[i].numeric);
    }
    test_end(f->check.ctx);
}

ag_check_input *fake_input(fake *f, const char *name, int ndim, const int64_t *shape, ag_verdict verdict,
                           ag_cause cause)
{
    ag_check_input *in = &f->input[f->check.input_count++];
    *in = (ag_check_input){ .x = { .name = name, .ndim = ndim }, .numel = 1, .checked = true, .reached = true };
    for (int d = 0; d < ndim; d++)
        in->numel *= in->x.shape[d] = shape[d];
    in->analytic = malloc((size_t)in->numel * sizeof(double) + 1);
    in->numeric = malloc((size_t)in->numel * sizeof(double) + 1);
    for (int64_t i = 0; i < in->numel; i++)
        in->analytic[i] = in->numeric[i] = (i % 2 == 0 ? 0.5 : -0.5) + 0.001 * (double)i;
    in->found = (ag_gradcheck_input){ .verdict = verdict, .cause = cause, .factor = 1, .output_index = -1,
                                      .max_error = 3.1e-11, .checked = in->numel };
    in->found.failed = verdict == AG_FAIL ? in->numel : 0;
    in->found.inconclusive = verdict == AG_INCONCLUSIVE ? 1 : 0;
    return in;
}

void fake_settle(fake *f)
{
    ag_gradcheck_result *r = &f->result;
    r->checked = r->failed = r->inconclusive = 0;
    for (int i = 0; i < f->check.input_count; i++) {
        r->checked += f->input[i].found.checked;
        r->failed += f->input[i].found.failed;
        r->inconclusive += f->input[i].found.inconclusive;
    }
    r->input = f->check.input_count - 1;
    if (r->input >= 0)
        r->worst = f->input[r->input].found;
    r->max_error = r->worst.max_error;
}

void fake_spoil(ag_check_input *in, int64_t i, double analytic)
{
    in->analytic[i] = analytic;
    in->found.index = i;
    in->found.analytic = analytic;
    in->found.numeric = in->numeric[i];
    in->found.uncertainty = 2e-13;
    in->found.max_error = 2;
}

char *fake_written(fake *f, form which)
{
    static char text[FORM_BYTES];
    FILE *file = tmpfile();
    ck_assert_ptr_nonnull(file);
    f->check.config.report = which == TEXT ? file : NULL;
    f->check.config.json = which == JSON ? file : NULL;
    f->check.config.html = which == HTML ? file : NULL;
    ag_check_report(&f->check, &f->result);
    rewind(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    ck_assert_uint_lt(length, sizeof text - 1);
    text[length] = '\0';
    fclose(file);
    return text;
}

int fake_count(const char *text, const char *part)
{
    int count = 0;
    for (; (text = strstr(text, part)) != NULL; text += strlen(part))
        count++;
    return count;
}

void fake_failure(fake *f)
{
    fake_begin(f, "mha", AG_FAIL);
    fake_input(f, "x", 2, (int64_t[]){ 2, 2 }, AG_PASS, AG_CAUSE_NONE);
    ag_check_input *in = fake_input(f, "tokens", 1, (int64_t[]){ 4 }, AG_PASS, AG_CAUSE_NONE);
    in->checked = false;
    in->found = (ag_gradcheck_input){ .index = -1, .output_index = -1 };
    in = fake_input(f, NULL, 0, NULL, AG_FAIL, AG_CAUSE_FACTOR);
    in->found.factor = 0.5;
    in = fake_input(f, "blocks.0.attn.q.weight", 2, (int64_t[]){ 3, 2 }, AG_FAIL, AG_CAUSE_SIGN);
    for (int64_t i = 0; i < in->numel; i++)
        in->analytic[i] = -in->numeric[i];
    fake_spoil(in, 3, 0.497);
    in->found.output_index = 5;
    fake_settle(f);
    f->result.op = "linear";
    f->result.path = "blocks.0.attn.q";
    f->result.node = 17;
    f->result.op_input = 1;
    strcpy(f->result.explanation, "The gradient is the negative of the right one. Look for a subtraction the wrong "
                                  "way round.");
}
