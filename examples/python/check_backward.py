#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks a backward written in Python: a NumPy pair of functions, or a torch.autograd.Function.

    check(name, forward, backward, *inputs)   forward(*x) -> y, backward(gy, *x) -> (gx, ...), all NumPy arrays
    check_torch(name, Function, *inputs)      Function.apply(*x) -> y

Inputs are NumPy arrays, all float64 or all float32. Prints the report of ag_gradcheck_arrays; returns 0 when the
backward is right. Builds the library as a shared one in build/python, with make and the C compiler; run as a program,
it checks three wrong backwards.
"""
import ctypes
import os
import subprocess
import sys

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SHIM = """
#include "examples/check_kernel/check_kernel.h"
typedef void call(void);
int check(const char *name, const char *signature, int single, call *forward, call *backward, const void *const *values)
{
    ag_array_function f = { 0 };
    if (single) {
        f.forward_f32 = (void (*)(const float *const *, float *const *, void *))forward;
        f.backward_f32 = (void (*)(const float *const *, const float *const *, float *const *, void *))backward;
    } else {
        f.forward = (void (*)(const double *const *, double *const *, void *))forward;
        f.backward = (void (*)(const double *const *, const double *const *, double *const *, void *))backward;
    }
    return check_kernel_at(name, f, signature, values);
}
"""


def library():
    """The shared library, built when it is missing or older than a source."""
    folder = os.path.join("build", "python")  # in ROOT, whose path may have blanks, which make does not take
    archive, shared = os.path.join(folder, "libattngrad.a"), os.path.join(ROOT, folder, "libcheck.so")
    options = ["config=scalar", "openmp=0", "CFLAGS=-g -fPIC", "build=" + folder]
    subprocess.run(["make", "-s", "-C", ROOT] + options + [archive], check=True, stdout=subprocess.DEVNULL)
    archive = os.path.join(ROOT, archive)
    if not os.path.exists(shared) or os.path.getmtime(shared) < os.path.getmtime(archive):
        flags = "-std=c99 -shared -fPIC -x c - -x none -lm".split() + ["-I" + ROOT, archive, "-lm", "-o", shared]
        subprocess.run(os.environ.get("CC", "cc").split() + flags, input=SHIM.encode(), check=True)
    return ctypes.CDLL(shared)


def views(pointers, shapes):
    """NumPy arrays over the memory that an array of C pointers points to."""
    return [np.ctypeslib.as_array(pointers[i], shape=shape or (1,)).reshape(shape) for i, shape in enumerate(shapes)]


def check(name, forward, backward, *inputs):
    """forward(*x) -> y; backward(gy, *x) -> gx, or a tuple of them."""
    inputs = [np.ascontiguousarray(x) for x in inputs]
    single = inputs[0].dtype == np.float32
    number = ctypes.c_float if single else ctypes.c_double
    arrays = ctypes.POINTER(ctypes.POINTER(number))
    shapes, y_shape = [x.shape for x in inputs], np.shape(forward(*inputs))
    failure = []

    def guarded(write):
        def call(*pointers):
            try:
                write(*pointers)
            except Exception as error:  # a callback can not raise through C
                failure.append(error)
        return call

    def write_y(x, y, _):
        views(y, [y_shape])[0][...] = forward(*views(x, shapes))

    def write_gx(x, gy, gx, _):
        result = backward(views(gy, [y_shape])[0], *views(x, shapes))
        for to, value in zip(views(gx, shapes), result if isinstance(result, tuple) else (result,)):
            to[...] = value

    text = ["x%d[%s]" % (i, ",".join(map(str, shape))) for i, shape in enumerate(shapes)]
    signature = " ".join(text) + " -> y[%s]" % ",".join(map(str, y_shape))
    values = (ctypes.c_void_p * len(inputs))(*[x.ctypes.data for x in inputs])
    sys.stdout.flush()
    status = library().check(
        name.encode(), signature.encode(), int(single),
        ctypes.CFUNCTYPE(None, arrays, arrays, ctypes.c_void_p)(guarded(write_y)),
        ctypes.CFUNCTYPE(None, arrays, arrays, arrays, ctypes.c_void_p)(guarded(write_gx)), values)
    if failure:
        raise failure[0]
    return status


def check_torch(name, function, *inputs):
    """A torch.autograd.Function."""
    import torch

    def forward(*x):
        return function.apply(*[torch.tensor(v) for v in x]).detach().numpy()

    def backward(gy, *x):
        leaves = [torch.tensor(v, requires_grad=True) for v in x]
        grads = torch.autograd.grad(function.apply(*leaves), leaves, torch.tensor(gy), allow_unused=True)
        return tuple(0 if g is None else g.numpy() for g in grads)

    return check(name, forward, backward, *inputs)


def main():
    random = np.random.default_rng(1)
    x, w = random.uniform(-2, 2, (3, 4)), random.uniform(-1, 1, 4)

    def softmax(x):
        e = np.exp(x - x.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def softmax_backward(gy, x):
        y = softmax(x)
        return y * (gy - (gy * y).sum())  # wrong: summed over all rows

    check("softmax", softmax, softmax_backward, x)
    check("scale", lambda x, w: x * w, lambda gy, x, w: (gy, (gy * x).sum(0)), x, w)  # wrong: w is left out
    try:
        import torch
    except ImportError:
        print("torch is not installed: its example is left out")
        return

    class Gelu(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.nn.functional.gelu(x)

        @staticmethod
        def backward(ctx, gy):
            x, = ctx.saved_tensors
            return gy * (torch.special.ndtr(x) + x * torch.exp(-x * x / 2))  # wrong: 1/sqrt(2 pi) is left out

    check_torch("gelu", Gelu, x)


if __name__ == "__main__":
    main()
