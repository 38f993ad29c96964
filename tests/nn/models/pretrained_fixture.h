/* SPDX-License-Identifier: MIT
 *
 * pretrained_fixture.h - the files of tests/fixtures/pretrained, for the suites pretrained, pretrained_settings and
 * pretrained_files.
 */
#ifndef TESTS_PRETRAINED_FIXTURE_H
#define TESTS_PRETRAINED_FIXTURE_H

#include "tests/nn/check_nn.h"

/* The path of a model's file. Valid for three more calls. */
const char *model_file(const char *model, const char *file);

/* |got - want| <= tolerance max(1, |want|). AG_SHOW=1: prints the largest of |got - want| / max(1, |want|). */
void assert_near(const char *what, const char *name, const ag_tensor *got, const ag_tensor *want);

/* A tensor of the file, which must have it. Floating-point ones in dtype. */
ag_tensor *stored_tensor(ag_safetensors *file, const char *name, ag_dtype dtype);

#endif
