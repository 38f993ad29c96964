/* SPDX-License-Identifier: MIT
 *
 * lm_report.h - a run as one page: report.html in its folder.
 */
#ifndef EXAMPLES_LM_REPORT_H
#define EXAMPLES_LM_REPORT_H

#include "examples/lm/lm_run.h"

/* Writes report.html, which needs no other file: curves, samples, attention, surprise, structure, the command. Under
 * 200 kB. The model is that of the run's best step, `loss` that of the validation text. False after one line on
 * stderr. */
bool report_write(run *r, double loss);

#endif
