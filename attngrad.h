/* SPDX-License-Identifier: MIT
 *
 * attngrad.h - everything public: the core (tensor.h, autograd.h, nn.h) and its annexes.
 */
#ifndef ATTNGRAD_H
#define ATTNGRAD_H

#include "autograd/autograd.h"
#include "autograd/gradcheck/gradcheck.h"
#include "autograd/mask.h"
#include "autograd/recompute/recompute.h"
#include "autograd/watch/watch.h"
#include "nn/gradcheck/module_gradcheck.h"
#include "nn/layers.h"
#include "nn/models/models.h"
#include "nn/nn.h"
#include "nn/parallel/parallel.h"
#include "nn/positions/positions.h"
#include "nn/training.h"
#include "tensor/files/files.h"
#include "tensor/tensor.h"
#include "tensor/threads/threads.h"

#endif
