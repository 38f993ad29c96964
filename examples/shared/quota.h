/* SPDX-License-Identifier: MIT
 *
 * quota.h - the processor time that Linux's control groups leave to a process (docker run --cpus, systemd's CPUQuota),
 * of which OpenMP does not know.
 */
#ifndef EXAMPLES_QUOTA_H
#define EXAMPLES_QUOTA_H

/* The number of processors that the quota is worth, rounded up: the lowest of the process's groups, of version 1 or 2.
 * 0: no quota. `root` stands before /proc and /sys: "", or another folder in a test. */
int quota_processors(const char *root);

#endif
