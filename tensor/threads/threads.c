/* SPDX-License-Identifier: MIT
 *
 * threads.c - a body in one parallel region of a context's threads.
 */
#include "tensor/threads/threads.h"

#include "tensor/tensor_impl.h"
#include "tensor/threads/threads_impl.h"

void ag_with_threads(ag_ctx *ctx, void (*body)(void *argument), void *argument)
{
    if (body == NULL && ctx != NULL)
        ag_check_given(ctx, "with_threads", "body", NULL);
    else if (ctx != NULL)
        ag_team_hold(ag_ctx_team(ctx), body, argument);
    else if (body != NULL)
        body(argument);
}
