#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""peer_torch.py - the work of bench_step.c, bench_generate.c and bench_op.c in PyTorch, from the same weights.

Written as a PyTorch user who wants speed writes it: fused query-key-value projection, F.scaled_dot_product_attention
with is_causal, F.gelu, F.cross_entropy, gradients set to None between steps, the multi-tensor SGD; for generating,
inference mode, and keys and values kept in tensors that are allocated once.

    peer_torch.py step --batch 4 --time 32 --emb 64 --heads 4 --layers 2 --vocab 65 --repeats 100 [--weights FILE]
    peer_torch.py generate --weights FILE
    peer_torch.py op
    each with [--threads 0,1,2]: does the work with each of these counts; 0, PyTorch's own choice, can only be first
    step with [--how eager|compile|bfloat16]: torch.compile of the model; its products and attention in bfloat16

The weights come from `bench_step --save FILE` and `bench_generate --save FILE`. No layers: one attention layer, its
loss the mean square of the output. Prints a JSON list with a result for each count of threads.
"""
import argparse
import json
import re
import resource
import statistics
import struct
import time

import torch
import torch.nn.functional as F
from torch import nn

LATER = 10  # as in bench_step.c


class Attention(nn.Module):
    def __init__(self, emb, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(emb, 3 * emb)
        self.proj = nn.Linear(emb, emb)

    def forward(self, x, cache=None):
        """cache: keys and values [2,B,H,T,D] of this layer, and how many positions stand in it before x, one token."""
        batch, length, emb = x.shape
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(emb, dim=2))
        if cache is not None:
            (keys, values), seen = cache
            keys[:, :, seen : seen + 1], values[:, :, seen : seen + 1] = k, v
            k, v = keys[:, :, : seen + 1], values[:, :, : seen + 1]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        return self.proj(y.transpose(1, 2).reshape(batch, length, emb))


class FeedForward(nn.Module):
    def __init__(self, emb):
        super().__init__()
        self.up = nn.Linear(emb, 4 * emb)
        self.down = nn.Linear(4 * emb, emb)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))


class Block(nn.Module):
    def __init__(self, emb, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(emb)
        self.attn = Attention(emb, heads)
        self.norm2 = nn.LayerNorm(emb)
        self.ff = FeedForward(emb)

    def forward(self, x, cache=None):
        x = x + self.attn(self.norm1(x), cache)
        return x + self.ff(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, vocab, length, emb, heads, layers):
        super().__init__()
        self.tok = nn.Embedding(vocab, emb)
        self.pos = nn.Embedding(length, emb)
        self.blocks = nn.ModuleList(Block(emb, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(emb)
        self.register_buffer("positions", torch.arange(length), persistent=False)

    def forward(self, tokens, cache=None, seen=0):
        """With cache[layer] the tokens, one for each sequence, follow `seen` others."""
        x = self.tok(tokens) + self.pos(self.positions[seen : seen + tokens.shape[1]])
        for i, block in enumerate(self.blocks):
            x = block(x, None if cache is None else (cache[i], seen))
        return F.linear(self.norm(x), self.tok.weight)  # the head is the token table


def read_weights(path):
    """A float32 safetensors file, q, k and v joined as Attention keeps them."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = bytearray(file.read())
    header.pop("__metadata__", None)
    state = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        state[name] = torch.frombuffer(data, dtype=torch.float32, offset=begin, count=(end - begin) // 4)
        state[name] = state[name].reshape(entry["shape"])
    for name in list(state):
        place = re.fullmatch(r"(.*\.|)q\.(weight|bias)", name)
        if place:
            joined = torch.cat([state.pop(f"{place[1]}{part}.{place[2]}") for part in "qkv"])
            state[f"{place[1]}qkv.{place[2]}"] = joined
    return state


def noise(count, first=0):
    """bench_step.c's numbers, 32 bits each."""
    i = torch.arange(first, first + count)
    for _ in range(2):
        i = ((i ^ (i >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return i ^ (i >> 16)


def elapsed_ms(work):
    start = time.perf_counter()
    result = work()
    return 1e3 * (time.perf_counter() - start), result


def make_step(args):
    """-> a function that does one step and returns the loss, and what has gradients."""
    shape = (args.batch, args.time)
    if args.layers == 0:
        layer = Attention(args.emb, args.heads)
        x = noise(args.batch * args.time * args.emb) >> 8
        x = (x.float() / 2**23 - 1).reshape(*shape, args.emb).requires_grad_()

        def pass_():
            layer.zero_grad(set_to_none=True)
            x.grad = None
            loss = layer(x).square().mean()
            loss.backward()
            return loss.item()

        return layer, pass_, [*layer.parameters(), x]

    model = GPT(args.vocab, args.time, args.emb, args.heads, args.layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True)
    tokens = (noise(args.batch * args.time) % args.vocab).reshape(shape)
    targets = noise(args.batch * args.time, 1 << 30) % args.vocab

    run = torch.compile(model) if args.how == "compile" else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.how == "bfloat16"):
            logits = run(tokens)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step, list(model.parameters())


def run_step(args):
    module, step, leaves = make_step(args)
    if args.weights:
        module.load_state_dict(read_weights(args.weights))
    losses = [step()]
    first_step_at = 1e3 * time.monotonic()
    grad_norm = torch.stack([leaf.grad.norm() for leaf in leaves]).norm().item()
    ms = []
    for _ in range(args.repeats):
        took, loss = elapsed_ms(step)
        ms.append(took)
        losses.append(loss)
    return {
        "ms": statistics.median(ms),
        "mean_ms": statistics.mean(ms),
        "first_step_at_ms": first_step_at,
        "loss": losses[0],
        "later_loss": losses[min(LATER, args.repeats)],
        "grad_norm": grad_norm,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


@torch.inference_mode()
def run_generate(args, count=256, emb=128, heads=4, layers=4, vocab=65, rounds=3):
    """Greedily, as bench_generate.c: module code that passes over all tokens each time, and with a cache."""
    model = GPT(vocab, count, emb, heads, layers).eval()
    model.load_state_dict(read_weights(args.weights))
    cache = torch.zeros(layers, 2, 1, heads, count, emb // heads)

    def whole():
        tokens = torch.tensor([[1]])
        for _ in range(count):
            tokens = torch.cat([tokens, model(tokens)[:, -1:].argmax(-1)], dim=1)
        return tokens[0].tolist()

    def cached():
        tokens = torch.ones(1, count + 1, dtype=torch.long)
        for t in range(count):
            tokens[:, t + 1] = model(tokens[:, t : t + 1], cache, t)[:, -1].argmax(-1)
        return tokens[0].tolist()

    whole(), cached()
    times = {"whole": [], "cached": []}
    for _ in range(rounds):
        for name, work in (("whole", whole), ("cached", cached)):
            took, text = elapsed_ms(work)
            times[name].append(took)
            if name == "whole":
                expected = text
    if text != expected:
        raise SystemExit("peer_torch.py: other tokens with the cache than without")
    return {"text": text, **{f"{name}_ms": statistics.median(ms) for name, ms in times.items()},
            **{f"{name}_mean_ms": statistics.mean(ms) for name, ms in times.items()}}


def run_op(args, ops=1000, repeats=101):
    """Additions of 8 floats, as bench_op.c. Python lets go of the graph with the last result."""
    x, y = torch.randn(8, requires_grad=True), torch.randn(8)

    def record():
        z = x
        for _ in range(ops):
            z = z + y
        return z

    def backward():
        nonlocal z
        z.backward(y)
        z = None

    record_ns, backward_ns = [], []
    for _ in range(repeats):
        x.grad = None
        took, z = elapsed_ms(record)
        record_ns.append(1e6 * took / ops)
        backward_ns.append(1e6 * elapsed_ms(backward)[0] / ops)
    return {"record_ns": statistics.median(record_ns), "backward_ns": statistics.median(backward_ns)}


def main():
    parser = argparse.ArgumentParser()
    works = {"step": run_step, "generate": run_generate, "op": run_op}
    parser.add_argument("work", choices=works)
    for size in ("batch", "time", "emb", "heads", "layers", "vocab", "repeats"):
        parser.add_argument(f"--{size}", type=int, default=0)
    parser.add_argument("--weights")
    parser.add_argument("--threads", default="0")
    parser.add_argument("--how", choices=("eager", "compile", "bfloat16"), default="eager")
    args = parser.parse_args()

    results = []
    for threads in map(int, args.threads.split(",")):
        if threads > 0:
            torch.set_num_threads(threads)
        result = works[args.work](args)
        results.append({**result, "threads": torch.get_num_threads(),
                        "capability": torch.backends.cpu.get_cpu_capability()})
    print(json.dumps(results))


if __name__ == "__main__":
    main()
