#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""peer_jax.py - the steps of bench_step.c in JAX, from the same weights.

Written as a JAX user who wants speed writes it: one jitted function for the step, which gives its parameters and
momenta away, one product for query, key and value, jax.nn.dot_product_attention with is_causal.

    peer_jax.py --batch 4 --time 32 --emb 64 --heads 4 --layers 2 --vocab 65 --repeats 100 --weights FILE

The weights come from `bench_step --save FILE`. Prints a JSON list with one result.
"""
import argparse
import functools
import json
import re
import resource
import statistics
import struct
import time

import jax
import jax.numpy as jnp
import numpy as np

LATER = 10  # as in bench_step.c


def read_weights(path):
    """A float32 safetensors file, q, k and v joined."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    header.pop("__metadata__", None)
    w = {name: np.frombuffer(data[slice(*entry["data_offsets"])], np.float32).reshape(entry["shape"])
         for name, entry in header.items()}
    for name in list(w):
        place = re.fullmatch(r"(.*)\.q\.(weight|bias)", name)
        if place:
            w[f"{place[1]}.qkv.{place[2]}"] = np.concatenate([w.pop(f"{place[1]}.{p}.{place[2]}") for p in "qkv"])
    return {name: jnp.array(value) for name, value in w.items()}


def noise(count, first=0):
    """bench_step.c's numbers, 32 bits each."""
    i = np.arange(first, first + count, dtype=np.uint64)
    for _ in range(2):
        i = ((i ^ (i >> 16)) * 0x45D9F3B) & 0xFFFFFFFF
    return i ^ (i >> 16)


def linear(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm(w, name, x):
    d = x - x.mean(-1, keepdims=True)
    return d * jax.lax.rsqrt(jnp.square(d).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def attention(w, name, x, heads):
    batch, length, emb = x.shape
    q, k, v = jnp.split(linear(w, f"{name}.qkv", x).reshape(batch, length, 3 * heads, emb // heads), 3, axis=2)
    y = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return linear(w, f"{name}.proj", y.reshape(batch, length, emb))


def loss_of(w, tokens, targets, heads, layers):
    x = w["tok.weight"][tokens] + w["pos.weight"][: tokens.shape[1]]
    for i in range(layers):
        block = f"blocks.{i}"
        x = x + attention(w, f"{block}.attn", norm(w, f"{block}.norm1", x), heads)
        up = jax.nn.gelu(linear(w, f"{block}.ff.up", norm(w, f"{block}.norm2", x)), approximate=False)
        x = x + linear(w, f"{block}.ff.down", up)
    logits = norm(w, "norm", x) @ w["tok.weight"].T  # the head is the token table
    chosen = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return (jax.nn.logsumexp(logits, -1) - chosen).mean()


def run_step(args):
    w = read_weights(args.weights)
    shape = (args.batch, args.time)
    tokens = jnp.array((noise(args.batch * args.time) % args.vocab).reshape(shape).astype(np.int32))
    targets = jnp.array((noise(args.batch * args.time, 1 << 30) % args.vocab).reshape(shape).astype(np.int32))
    gradient = jax.value_and_grad(functools.partial(loss_of, tokens=tokens, targets=targets, heads=args.heads,
                                                    layers=args.layers))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(w, momentum):
        loss, grads = gradient(w)
        momentum = {name: 0.9 * momentum[name] + grads[name] for name in w}
        return {name: w[name] - 0.01 * momentum[name] for name in w}, momentum, loss

    grad_norm = jnp.sqrt(sum(jnp.square(g).sum() for g in jax.jit(gradient)(w)[1].values())).item()
    w, momentum, loss = step(w, {name: jnp.zeros_like(value) for name, value in w.items()})
    losses, ms = [loss.item()], []
    for _ in range(args.repeats):
        start = time.perf_counter()
        w, momentum, loss = step(w, momentum)
        losses.append(loss.item())
        jax.block_until_ready(w)
        ms.append(1e3 * (time.perf_counter() - start))
    return {
        "ms": statistics.median(ms),
        "loss": losses[0],
        "later_loss": losses[min(LATER, args.repeats)],
        "grad_norm": grad_norm,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main():
    parser = argparse.ArgumentParser()
    for size in ("batch", "time", "emb", "heads", "layers", "vocab", "repeats"):
        parser.add_argument(f"--{size}", type=int, required=True)
    parser.add_argument("--weights", required=True)
    print(json.dumps([run_step(parser.parse_args())]))


if __name__ == "__main__":
    main()
