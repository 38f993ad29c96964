/* SPDX-License-Identifier: MIT
 *
 * threads_impl.h - ag_with_threads for a team (private header).
 */
#ifndef AG_THREADS_IMPL_H
#define AG_THREADS_IMPL_H

#include "tensor/team.h"

/* Calls body(argument) in one parallel region, where the team's other threads wait for ag_team_run. In a region of the
 * team, with one thread, or where ag_team_has_threads is false, body is just called. */
void ag_team_hold(ag_team *team, void (*body)(void *argument), void *argument);

#endif
