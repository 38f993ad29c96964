#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""peer_torch.py - bench_step.c's training step in PyTorch: same models, first weights, batch, optimizer.

Written as a PyTorch user who wants speed writes it: fused query-key-value projection, F.scaled_dot_product_attention
with is_causal, F.gelu, F.cross_entropy, gradients set to None between steps, the multi-tensor SGD.

    peer_torch.py --model toy --weights first.safetensors [--threads N] [--repeats N]

The weights come from `bench_step --model toy --save first.safetensors`. Prints one line of JSON.
"""
import argparse
import json
import statistics
import struct
import time

import torch
import torch.nn.functional as F
from torch import nn

MODELS = {  # batch, time, emb, heads, layers, repeats: as in bench_step.c
    "toy": (4, 32, 64, 4, 2, 400),
    "tiny": (12, 64, 128, 4, 4, 40),
    "baby": (8, 256, 384, 6, 6, 5),
    "long": (1, 2048, 128, 4, 2, 11),
}
VOCAB = 65


class Attention(nn.Module):
    def __init__(self, emb, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(emb, 3 * emb)
        self.proj = nn.Linear(emb, emb)

    def forward(self, x):
        batch, length, emb = x.shape
        q, k, v = (t.view(batch, length, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(emb, dim=2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
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

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.ff(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, length, emb, heads, layers):
        super().__init__()
        self.tok = nn.Embedding(VOCAB, emb)
        self.pos = nn.Embedding(length, emb)
        self.blocks = nn.ModuleList(Block(emb, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(emb)
        self.register_buffer("positions", torch.arange(length), persistent=False)

    def forward(self, tokens):
        x = self.tok(tokens) + self.pos(self.positions[: tokens.shape[1]])
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tok.weight)  # the head is the token table


def read_weights(path, layers):
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
    for i in range(layers):
        for part in ("weight", "bias"):
            names = [f"blocks.{i}.attn.{n}.{part}" for n in "qkv"]
            state[f"blocks.{i}.attn.qkv.{part}"] = torch.cat([state.pop(name) for name in names])
    return state


def make_tokens(batch, length, state):
    """bench_step.c's batch."""
    tokens = []
    for _ in range(batch * length):
        state = (state * 1664525 + 1013904223) % 2**32
        tokens.append((state >> 16) % VOCAB)
    return torch.tensor(tokens).reshape(batch, length)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--threads", type=int, default=0, help="0: PyTorch's own choice")
    parser.add_argument("--repeats", type=int, default=0)
    args = parser.parse_args()

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    batch, length, emb, heads, layers, repeats = MODELS[args.model]
    model = GPT(length, emb, heads, layers)
    model.load_state_dict(read_weights(args.weights, layers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, foreach=True)
    tokens, targets = make_tokens(batch, length, 1), make_tokens(batch, length, 2).flatten()

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), targets)
        loss.backward()
        optimizer.step()
        return loss.item()

    losses, ms = [step()], []
    for _ in range(args.repeats or repeats):
        start = time.perf_counter()
        losses.append(step())
        ms.append(1e3 * (time.perf_counter() - start))
    median = statistics.median(ms)
    print(
        json.dumps(
            {
                "model": args.model,
                "threads": torch.get_num_threads(),
                "version": torch.__version__,
                "ms": median,
                "tokens_per_s": 1e3 * batch * length / median,
                "loss": losses[0],
                "last_loss": losses[-1],
            }
        )
    )


if __name__ == "__main__":
    main()
