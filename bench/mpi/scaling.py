#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""scaling.py [ALPHA BETA] - the estimate of docs/data-parallel.md as a table: the efficiency of n processes, each with
a micro-batch of its own, and how many pay. ALPHA and BETA: a link of yours, as `make bench-mpi` prints it."""
import math
import sys

PIECE = 1 << 20  # gradients, as in nn/parallel/sum_grads.c
MOST = 1024  # processes: AG_MAX_PROCESSES
MODELS = {  # parameters, seconds of a micro-batch on this machine's two cores (docs/performance.md), tokens
    "tiny, 12 x 64 tokens": (0.80e6, 0.01094),
    "baby, 8 x 256 tokens": (10.7e6, 0.3415),
    "GPT-2, 1 x 1024 tokens": (124e6, 6 * 124e6 * 1024 / 404e9),
}
LINKS = {  # alpha: seconds per message, beta: seconds per byte
    "1 Gb/s Ethernet": (50e-6, 1 / 117e6),
    "10 Gb/s Ethernet": (30e-6, 1 / 1.1e9),
    "100 Gb/s InfiniBand": (2e-6, 1 / 11e9),
}


def sum_seconds(n, parameters, alpha, beta):
    """Of ag_sum_grads: two calls a piece and one before, each of n - 1 messages."""
    calls = 2 * math.ceil(parameters / PIECE) + 1
    return calls * (n - 1) * alpha + 8 * parameters * (n - 1) / n * beta


def efficiency(n, parameters, compute, link):
    return compute / (compute + sum_seconds(n, parameters, *link))


def most(parameters, compute, link):
    """The largest n with which each process does useful work for half of its time."""
    n = 1
    while n < MOST and efficiency(n + 1, parameters, compute, link) >= 0.5:
        n += 1
    return n


def main():
    links = {"yours": tuple(map(float, sys.argv[1:3]))} if len(sys.argv) == 3 else LINKS
    print("| model and micro-batch | link | n = 2 | 4 | 16 | 64 | half at n = |")
    print("|---|---|--:|--:|--:|--:|--:|")
    for model, (parameters, compute) in MODELS.items():
        for name, link in links.items():
            cells = [f"{100 * efficiency(n, parameters, compute, link):.0f} %" for n in (2, 4, 16, 64)]
            print(f"| {model} | {name} | {' | '.join(cells)} | {most(parameters, compute, link)} |")


if __name__ == "__main__":
    main()
