/* SPDX-License-Identifier: MIT
 *
 * suites.h - the prototypes of the test suites in the file TESTS_SUITES, which is suites.def or a part of it.
 */
#ifndef TESTS_SUITES_H
#define TESTS_SUITES_H

#include <check.h>

#define SUITE(name) Suite *name##_suite(void);
#include TESTS_SUITES
#undef SUITE

#endif
