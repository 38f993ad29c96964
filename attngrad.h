/* SPDX-License-Identifier: MIT
 *
 * attngrad.h - everything public: tensors, autograd, layers.
 */
#ifndef ATTNGRAD_H
#define ATTNGRAD_H

#include "autograd/autograd.h"
#include "nn/nn.h"
#include "tensor/tensor.h"

#endif
