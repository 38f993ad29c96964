/* SPDX-License-Identifier: MIT
 *
 * lm.h - the commands of `lm`, each in a file of its own. argv[0] is the command's name; the exit status is returned.
 */
#ifndef EXAMPLES_LM_H
#define EXAMPLES_LM_H

/* Of a process that another one leads (lm_processes.h). */
int lm_train_led(void);

int lm_train_command(int argc, char **argv);
int lm_finetune_command(int argc, char **argv);
int lm_sample_command(int argc, char **argv);
int lm_eval_command(int argc, char **argv);
int lm_inspect_command(int argc, char **argv);
int lm_tokenize_command(int argc, char **argv);
int lm_export_command(int argc, char **argv);

#endif
