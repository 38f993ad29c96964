/* SPDX-License-Identifier: MIT
 *
 * pretrained_fixture.c - see pretrained_fixture.h.
 */
#include "tests/nn/models/pretrained_fixture.h"

#include <stdlib.h>

#ifndef AG_FIXTURES
#define AG_FIXTURES "tests/fixtures"
#endif

enum { PATH_MOST = 300 };

const char *model_file(const char *model, const char *file)
{
    static char path[4][PATH_MOST]; /* so that some can be used at once */
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, PATH_MOST, "%s/pretrained/%s/%s", AG_FIXTURES, model, file);
    return out;
}

void assert_near(const char *what, const char *name, const ag_tensor *got, const ag_tensor *want)
{
    ck_assert_msg(got != NULL && want != NULL, "%s %s: no tensor", what, name);
    double tolerance = ag_dtype_of(got) == AG_F64 ? 1e-10 : 1e-5;
    ck_assert_msg(ag_numel(got) == ag_numel(want) && ag_ndim(got) == ag_ndim(want) && ag_numel(got) > 0,
                  "%s %s: %s and %s", what, name, ag_shape_text(got), ag_shape_text(want));
    double worst = 0;
    for (int64_t i = 0; i < ag_numel(got); i++) {
        double a = test_at(got, i), b = test_at(want, i);
        ck_assert_msg(fabs(a - b) <= tolerance * fmax(1, fabs(b)), "%s %s %s at %lld: %.17g, transformers has %.17g",
                      what, name, ag_dtype_name(ag_dtype_of(got)), (long long)i, a, b);
        worst = fmax(worst, fabs(a - b) / fmax(1, fabs(b)));
    }
    if (getenv("AG_SHOW") != NULL)
        printf("near: %s %s %s %.1e\n", what, ag_dtype_name(ag_dtype_of(got)), name, worst);
}

ag_tensor *stored_tensor(ag_safetensors *file, const char *name, ag_dtype dtype)
{
    ag_tensor *t = ag_safetensors_read(file, name);
    ck_assert_msg(t != NULL, "there is no %s", name);
    return ag_dtype_of(t) == AG_I32 ? t : ag_tensor_cast(t, dtype);
}
