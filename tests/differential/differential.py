#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""differential.py PROGRAM [minutes=N] [seed=S] [only=KIND] - random cases of every op, layer, model and optimizer, in
PROGRAM (differential.c) and in PyTorch: values and gradients must agree within the bounds of docs/numerics.md (see
bounds.py). A case that fails is made as small as it still fails, and printed as a C program. Kinds: elementwise,
broadcast, reduce, shape, product, row, sdpa, rope, layer, model, optimizer, pretrained (with the transformers package).
Skipped with a word where torch is missing.
"""
import collections
import os
import random
import subprocess
import sys
import time
import traceback

try:
    import torch
except ImportError as missing:
    print(f"skip  differential: {missing}")
    sys.exit(0)

import optimizers
from bounds import STEP, Bounded, Bounds, Torch, backward
from kinds import KINDS, apply_views
from program import program

RUNS = 8        # of a deep case
STUDENT = 32    # Student's t with as many degrees of freedom is larger with a probability of 1e-9
TINY = {True: 2.0 ** -1020, False: 2.0 ** -120}  # results near the end of the range lose bits


class Library:
    def __init__(self, path):
        self.path = path
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, case):
        """Tensors by name, and the error's message or ""."""
        got, pipe = {}, self.process.stdout
        try:
            self.process.stdin.write(case.text().encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        while True:
            line = pipe.readline().decode()
            words = line.split()
            if not words:
                status = self.process.wait()
                self.start()
                return got, f"the program ended with status {status}"
            if words[0] == "done":
                return got, ""
            if words[0] == "error":
                return got, line[6:].strip()
            shape = [int(w) for w in words[2:]]
            count = 1
            for n in shape:
                count *= n
            data = bytearray(pipe.read(8 * count))
            got[words[1]] = torch.frombuffer(data, dtype=torch.float64).reshape(shape) if count else torch.zeros(shape)


def values(case, got, f):
    """Inputs and parameters as f has them: (leaves, what the reference reads)."""
    inputs = {i[0]: i for i in case.inputs}
    leaves, seen = {}, {}
    for name, x in got.items():
        if name.startswith("grad:") or name in ("y", "cotangent"):
            continue
        if name in inputs and inputs[name][1] == "int":
            seen[name] = x.long()
            continue
        x = x.double()
        leaves[name] = x.clone().requires_grad_(True) if f is Torch else Bounded(x)
        seen[name] = apply_views(f, leaves[name], inputs[name][5] if name in inputs else [])
    return leaves, seen


def run_reference(kind, case, got, f):
    leaves, seen = values(case, got, f)
    y = kind.reference(f, case.s, seen)
    if f is Bounds:
        backward(y, got["cotangent"].double())
        return y, {k: x.grad for k, x in leaves.items() if x.grad is not None}
    if y.requires_grad:
        y.backward(got["cotangent"].double())
    return y.detach(), {k: x.grad for k, x in leaves.items() if x.grad is not None}


def expected(kind, case, got):
    """Name -> (value, bound in u)."""
    Bounded.tape, Bounded.unit = [], 2.0 ** (-53 if case.s["double"] else -24)
    if not hasattr(kind, "reference"):
        return optimizers.expected(case.s, got)
    y, grads = run_reference(kind, case, got, Torch)
    values = {"y": y, **{"grad:" + k: g for k, g in grads.items()}}
    if getattr(kind, "deep", False):
        return {k: (v, e) for (k, v), e in zip(values.items(), typical(kind, case, got, values))}
    bound, bounds = run_reference(kind, case, got, Bounds)
    result = {}
    for name, value in values.items():
        own = bound if name == "y" else bounds.get(name[5:], Bounded(0 * value, 0 * value))
        same(name, value, own)
        result[name] = (value, own.e)
    return result


def typical(kind, case, got, values):
    """The bounds from the spread of RUNS runs with random roundings."""
    squares = {k: torch.zeros_like(v) for k, v in values.items()}
    for run in range(RUNS):
        Bounded.tape, Bounded.noise = [], torch.Generator().manual_seed(run)
        try:
            y, grads = run_reference(kind, case, got, Bounds)
        finally:
            Bounded.noise = None
        for name, value in values.items():
            own = y.v if name == "y" else grads[name[5:]].v if name[5:] in grads else 0 * value
            squares[name] += ((own - value) / max(Bounded.unit, STEP)) ** 2
    return [STUDENT * (s / RUNS) ** 0.5 for s in squares.values()]


def same(name, value, bound):
    """The bounds must be those of these values: else references.py or bounds.py is wrong."""
    if tuple(value.shape) != tuple(bound.shape):
        raise AssertionError(f"{name}: the references' shapes differ: {tuple(value.shape)} and {tuple(bound.shape)}")
    alike = (value - bound.v).abs() <= 2.0 ** -52 * (bound.e + bound.v.abs()) * 2 + TINY[True]
    if not bool((alike | (torch.isnan(value) & torch.isnan(bound.v))).all()):
        raise AssertionError(f"{name}: PyTorch and bounds.py differ by {(value - bound.v).abs().max():.3g}")


class Failure:
    def __init__(self, sort, name, message, value=None):
        self.sort, self.name, self.message, self.value = sort, name, message, value


def compare(case, got, want):
    """None, or the worst Failure. PyTorch's own float64 errs too, by as many of its own u."""
    worst, failure = 1, None
    values_only = getattr(KINDS[case.s["kind"]], "values_only", False)
    unit = 2.0 ** (-53 if case.s["double"] and not values_only else -24)
    for name, (value, bound) in want.items():
        have = got.get(name)
        if have is None:
            if name.startswith("grad:") and float(value.abs().sum()) == 0:
                continue
            return Failure("missing", name, f"{name} is missing")
        if tuple(have.shape) != tuple(value.shape):
            return Failure("shape", name, f"{name} is {list(have.shape)}, PyTorch has {list(value.shape)}", value)
        if have.numel() == 0:
            continue
        limit = bound * (unit + 2.0 ** -53) + TINY[bool(case.s["double"])]
        excess = ((have - value).abs() / limit).flatten()
        excess = torch.where(torch.isnan(have.flatten()) & torch.isnan(value.flatten()), 0, excess)
        excess = torch.where(torch.isnan(excess), float("inf"), excess)
        at = int(excess.argmax())
        if float(excess[at]) > worst:
            worst = float(excess[at])
            failure = Failure("differs", name, f"{name}, element {at}: {have.flatten()[at]:.17g}, PyTorch "
                              f"{value.flatten()[at]:.17g}: {worst:.3g} times the bound", value)
    for name in got:
        if name.startswith("grad:") and name not in want and not values_only:
            if float(got[name].abs().sum()) != 0:
                return Failure("extra", name, f"{name} is there, and PyTorch has none")
    return failure


def judge(library, s):
    """The case, and its Failure or None; an AssertionError when there is no such case."""
    kind = KINDS[s["kind"]]
    case = kind.case(s)
    got, error = library.run(case)
    if error:
        return case, Failure("error", "y", error)
    try:
        want = expected(kind, case, got)
    except Exception:
        return case, Failure("reference", "y", "the reference fails: " + traceback.format_exc(limit=-3))
    return case, compare(case, got, want)


# ---- Shrinking ----

def smaller(value):
    if isinstance(value, bool):
        return [False] if value else []
    if isinstance(value, int):
        return [v for v in dict.fromkeys((0, 1, value // 2, value - 1)) if abs(v) < abs(value)]
    if isinstance(value, float):
        return [v for v in (0.0, 1.0, 0.5) if abs(v) < abs(value)]
    if isinstance(value, list):
        return [value[:i] + value[i + 1:] for i in range(len(value))] + \
            [value[:i] + [v] + value[i + 1:] for i in range(len(value)) for v in smaller(value[i])]
    return []


def shrink(library, s, failure):
    """The smallest case found that fails in the same way."""
    best, again = (s, *judge(library, s)), True
    tried = set()
    while again:
        again = False
        for key in sorted(best[0]):
            candidates = [True] if key == "double" else [] if key == "seed" else smaller(best[0][key])
            for value in candidates:
                changed = collections.defaultdict(int, {**best[0], key: value})
                mark = repr(sorted(changed.items()))
                if mark in tried or changed[key] == best[0][key]:
                    continue
                tried.add(mark)
                try:
                    case, found = judge(library, changed)
                except Exception:  # there is no such case
                    continue
                if found is not None and found.sort == failure.sort:
                    best, again = (changed, case, found), True
                    break
    return best


def report(s, case, failure):
    kind = KINDS[s["kind"]]
    case = kind.keep(s) if hasattr(kind, "keep") else case
    print(f"FAIL  {s['kind']}: {failure.message}")
    print("   ", ", ".join(f"{k}={v}" for k, v in sorted(s.items()) if v not in (0, False, [], "")))
    if failure.value is not None and failure.value.numel() <= 16:
        print("    PyTorch's", failure.name + ":", failure.value.flatten().tolist())
    print(program(case, failure.name))


def main():
    torch.set_num_threads(1)
    try:
        import pretrained
        KINDS["pretrained"] = pretrained.pretrained
    except ImportError as missing:
        print(f"skip  pretrained: {missing}")
    options = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
    seed = int(options.get("seed") or random.SystemRandom().getrandbits(31))
    ends = time.monotonic() + 60 * float(options.get("minutes") or 2)
    most = int(options.get("cases") or 10 ** 9)
    kinds = [k for k in KINDS if options.get("only") in (None, "", k)]
    if not kinds:
        sys.exit(f"differential: there is no kind '{options['only']}'")
    print(f"differential: seed={seed}")
    library, r = Library(sys.argv[1]), random.Random(seed)
    count, failed, shown = collections.Counter(), collections.Counter(), set()
    while time.monotonic() < ends and sum(count.values()) < most:
        kind = next((k for k in kinds if count[k] == 0), None)  # each at least once, however small its share is
        if kind is None:
            kind, = r.choices(kinds, [getattr(KINDS[k], "share", 1) for k in kinds])
        s = collections.defaultdict(int, KINDS[kind].draw(r), kind=kind)
        try:
            case = KINDS[kind].case(s)
        except AssertionError:
            continue
        count[kind] += 1
        case, failure = judge(library, s)
        if failure is None:
            continue
        failed[kind] += 1
        if (s["call"], failure.sort) not in shown:
            shown.add((s["call"], failure.sort))
            report(*shrink(library, s, failure))
            sys.stdout.flush()
    print(f"{'FAIL' if failed else 'ok'}    differential: {sum(count.values())} cases, {sum(failed.values())} wrong: " +
          ", ".join(f"{k} {count[k]}" + (f" ({failed[k]} wrong)" if failed[k] else "") for k in kinds))
    sys.exit(1 if failed else 0)


main()
