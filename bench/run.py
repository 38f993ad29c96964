#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py - attngrad beside PyTorch: one training step of each model, in interleaved rounds, as a Markdown table.

    run.py BUILD [--models toy,tiny,baby,long] [--rounds N]

BUILD holds the program bench_step. A round runs attngrad as it comes, then PyTorch as it comes, on 1 and on 2
threads, each in a process of its own that reports the median of its steps. A figure is the median over the rounds;
PyTorch's is the best of its three. Both start from the same weights and batch, and unless the losses of the first
and of the last step agree to four digits, there is no comparison: exit status 1.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

MODELS = ("toy", "tiny", "baby", "long")
PEER = pathlib.Path(__file__).resolve().parent / "peer_torch.py"
PEER_SETTINGS = {"default": [], "1 thread": ["--threads", "1"], "2 threads": ["--threads", "2"]}


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"run.py: {' '.join(str(c) for c in command)}: exit status {done.returncode}")
    return json.loads(done.stdout)


def check_losses(model, ours, peer):
    for which in ("loss", "last_loss"):
        if not abs(ours[which] - peer[which]) <= 1e-4 * abs(peer[which]):
            sys.exit(f"run.py: {model}: {which} is {ours[which]} here and {peer[which]} in PyTorch: not the same work")


def compare(program, model, rounds, folder):
    weights = pathlib.Path(folder) / f"{model}.safetensors"
    subprocess.run([program, "--model", model, "--save", weights], check=True)
    ours, peers = [], {setting: [] for setting in PEER_SETTINGS}
    for _ in range(rounds):
        ours.append(run(program, "--model", model, "--weights", weights, "--json"))
        for setting, options in PEER_SETTINGS.items():
            peers[setting].append(run(sys.executable, PEER, "--model", model, "--weights", weights, *options))
            check_losses(model, ours[-1], peers[setting][-1])
    peer_ms = {setting: statistics.median(r["ms"] for r in results) for setting, results in peers.items()}
    best = min(peer_ms, key=peer_ms.get)
    our_ms = statistics.median(r["ms"] for r in ours)
    tokens = ours[0]["tokens_per_s"] * ours[0]["ms"]
    print(
        f"| {model:5} | {our_ms:8.2f} | {peer_ms[best]:10.2f} | {best:9} | {peer_ms[best] / our_ms:5.2f} "
        f"| {tokens / our_ms:8.0f} | {tokens / peer_ms[best]:10.0f} "
        f"| {ours[0]['loss']:.4f} | {peers[best][0]['loss']:.4f} |",
        flush=True,
    )
    return ours[0], peers[best][0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    print("| model | ours, ms | PyTorch, ms | PyTorch on | ratio | ours, tok/s | PyTorch, tok/s | loss | PyTorch's |")
    print("|-------|---------:|------------:|------------|------:|------------:|---------------:|-----:|----------:|")
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models.split(","):
            ours, peer = compare(pathlib.Path(args.build) / "bench_step", model, args.rounds, folder)
    print(
        f"\nPyTorch {peer['version']}, best of its default, 1 and 2 threads; attngrad on {ours['threads']} threads, "
        f"{ours['isa']}. Ratio above 1: attngrad is faster."
    )


if __name__ == "__main__":
    main()
