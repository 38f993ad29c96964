#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""attention.py - how attention's cost grows with T, and what masks save, as Markdown tables.

    attention.py BUILD [--rounds N] [--longest T]

BUILD holds bench_attention. Forward and backward, B=1, 8 heads of 64, float32; each figure is the median over
interleaved rounds of runs in processes of their own. PyTorch, where python3 has it, is
F.scaled_dot_product_attention in its default setting: is_causal for causal, a boolean T x T mask for a window, which
is what it has; it stands beside where its matrices fit. Exit status 1 when a bound of the project is not kept.
"""
import argparse
import json
import pathlib
import resource
import statistics
import subprocess
import sys
import time

LENGTHS = (4096, 8192, 16384, 32768, 65536)
CAUSAL_UP_TO = 32768  # beyond, a pass takes minutes
PEER_UP_TO = {"causal": 16384, "window": 8192}
WINDOW = 512


def peer(pattern, length, window, repeats):
    """In a process of its own: prints one line of JSON."""
    import torch
    import torch.nn.functional as F

    torch.manual_seed(1)
    q, k, v = (torch.randn(1, 8, length, 64, requires_grad=True) for _ in range(3))
    cotangent = torch.randn(1, 8, length, 64)
    mask = None
    if pattern == "window":
        i, j = torch.arange(length)[:, None], torch.arange(length)[None, :]
        mask = (j <= i) & (j > i - window)

    def step():
        F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=pattern == "causal").backward(cotangent)
        q.grad = k.grad = v.grad = None

    step()
    ms = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        ms.append(1e3 * (time.perf_counter() - start))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"ms": statistics.median(ms), "peak_mb": peak, "version": torch.__version__}))


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"attention.py: {' '.join(str(c) for c in command)}: exit status {done.returncode}")
    return json.loads(done.stdout)


class Bench:
    def __init__(self, program, rounds, has_torch):
        self.program, self.rounds, self.has_torch = program, rounds, has_torch

    def ours(self, pattern, length, window=WINDOW):
        repeats = 1 if length > 16384 and pattern != "window" else 3
        return run(self.program, "--pattern", pattern, "--time", length, "--window", window, "--repeats", repeats,
                   "--json")

    def theirs(self, pattern, length):
        if not self.has_torch or length > PEER_UP_TO[pattern]:
            return None
        return run(sys.executable, __file__, "--peer", pattern, "--length", length)

    def row(self, pattern, length):
        ours, theirs = [], []
        for _ in range(self.rounds if length <= 16384 else 1):
            ours.append(self.ours(pattern, length))
            theirs.append(self.theirs(pattern, length))
        ms = statistics.median(r["ms"] for r in ours)
        cells = [f"{length:6}", pattern if pattern == "causal" else f"window {WINDOW}", f"{ms:9.1f}",
                 f"{1e6 * ms / length:8.0f}", f"{statistics.median(r['gflops'] for r in ours):7.1f}",
                 f"{max(r['peak_mb'] for r in ours):7.0f}"]
        if theirs[0] is not None:
            their_ms = statistics.median(r["ms"] for r in theirs)
            cells += [f"{their_ms:9.1f}", f"{max(r['peak_mb'] for r in theirs):7.0f}", f"{their_ms / ms:5.2f}"]
        else:
            cells += ["", "", ""]
        print("| " + " | ".join(cells) + " |", flush=True)
        return ms, max(r["peak_mb"] for r in ours)

    def ratio(self, first, second):
        """Median over rounds of first's time by second's, taken in turns."""
        ratios = []
        for _ in range(max(3, self.rounds)):
            ratios.append(self.ours(*first)["ms"] / self.ours(*second)["ms"])
        return statistics.median(ratios)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--longest", type=int, default=LENGTHS[-1])
    parser.add_argument("--peer")
    parser.add_argument("--length", type=int)
    args = parser.parse_args()
    if args.peer:
        return peer(args.peer, args.length, WINDOW, 3 if args.length <= 8192 else 1)
    has_torch = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0
    bench = Bench(pathlib.Path(args.build) / "bench_attention", args.rounds, has_torch)

    print("Attention forward and backward, B=1, 8 heads of 64, float32; GFLOP/s on the tiles that the mask allows.\n")
    print("| T | mask | ms | ns per token | GFLOP/s | peak MB | PyTorch, ms | PyTorch, peak MB | ratio |")
    print("|--:|------|---:|-------------:|--------:|--------:|------------:|-----------------:|------:|")
    peaks, times = {}, {}
    for pattern in ("causal", "window"):
        for length in LENGTHS:
            if length <= args.longest and (pattern == "window" or length <= CAUSAL_UP_TO):
                times[pattern, length], peaks[pattern, length] = bench.row(pattern, length)
    causal = bench.ratio(("causal", 4096), ("full", 4096))
    window = bench.ratio(("window", 8192, 256), ("causal", 8192))
    bounds = [
        ("causal by full, T = 4096", causal, 0.6, ""),
        ("window 256 by causal, T = 8192", window, 0.1, ""),
        ("peak memory, causal, T = 16384", peaks.get(("causal", 16384)), 600, " MB"),
        ("peak memory, window 512, T = 65536", peaks.get(("window", 65536)), 2500, " MB"),
    ]
    print("\n| | measured | at most |\n|---|---:|---:|")
    kept = True
    for name, value, bound, unit in bounds:
        if value is not None:
            kept = kept and value <= bound
            print(f"| {name} | {value:.{0 if unit else 3}f}{unit} | {bound:g}{unit} |")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
