# SPDX-License-Identifier: MIT
"""references.py - what attention, layers and models of attngrad compute, once, in the functions of bounds.py: `f` is
Torch or Bounds. `p` holds parameters and inputs by name; `s` is the case's dictionary of numbers.
"""
import math

import torch

ACTIVATIONS = ["gelu", "gelu_tanh", "relu", "silu"]


# ---- Masks, as autograd/mask.h has them ----

def query_positions(s, B, Tq, Tk, p):
    """[B,Tq]"""
    at = torch.arange(Tq)[None] + s["offset"] + (Tk - Tq if s["align"] else 0)
    return at + p["starts"][:, None] if "starts" in p else at.expand(B, Tq)


def allowed_pairs(s, B, Tq, Tk, p):
    """bool [B,1 or H,Tq,Tk]"""
    j, at = torch.arange(Tk), query_positions(s, B, Tq, Tk, p)[:, :, None]
    back, ahead, stride, first = s["back"], s["ahead"], s["stride"], s["global"]
    seen = torch.full((B, Tq, Tk), not (back or ahead or stride or first))
    if back or ahead:
        seen |= ((j > at - back) | (back == 0)) & ((j < at + ahead) | (ahead == 0))
    if stride:
        seen |= (at - j) % stride == 0
    if first:
        seen |= (j < first) | ((at >= 0) & (at < first))
    if s["causal"]:
        seen &= j <= at
    if "key_lengths" in p:
        seen &= j < p["key_lengths"][:, None, None]
    if "query_documents" in p:
        seen &= p["query_documents"][:, :, None] == p["key_documents"][:, None, :]
    seen = seen[:, None]
    if "blocks" in p:
        table = p["blocks"].reshape((1,) * (4 - p["blocks"].dim()) + tuple(p["blocks"].shape))
        H, rows, columns = table.shape[1:]
        row, column = (at // s["block_size"]).expand(B, Tq, Tk), (j // s["block_size"]).expand(B, Tq, Tk)
        inside = (row >= 0) & (row < rows) & (column < columns)
        flat = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        value = table.expand(B, -1, -1, -1).reshape(B, H, -1).gather(-1, flat.reshape(B, 1, -1).expand(B, H, -1))
        seen = seen & inside[:, None] & (value.reshape(B, H, Tq, Tk) != 0)
    return seen & (p["allowed"] != 0) if "allowed" in p else seen


# ---- Attention ----

def distance_bias(f, table, s, B, Tq, Tk, p):
    """relative[h, clamp(j - p, -R, R) + R]: [B,H,Tq,Tk]"""
    R = (table.shape[1] - 1) // 2
    index = (torch.arange(Tk) - query_positions(s, B, Tq, Tk, p)[:, :, None]).clamp(-R, R) + R
    return f.move(table, lambda t: t[:, index].transpose(0, 1))


def alibi(f, s, H, B, Tq, Tk, p):
    power = 2 ** int(math.log2(H))
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    slopes += [2 ** (-8 * (2 * h + 1) / (2 * power)) for h in range(H - power)]
    away = (torch.arange(Tk) - query_positions(s, B, Tq, Tk, p)[:, :, None]).abs().double()
    return f.const(-torch.tensor(slopes, dtype=torch.float64)[:, None, None] * away[:, None]) * f.const(1)


def rope(f, x, s, positions, D):
    """x[B,H,T,D] turned by positions[B,T]."""
    R = s["size"] or D
    w = (s["theta"] or 10000) ** (-torch.arange(0, R, 2, dtype=torch.float64) / R)
    angle = positions[:, None, :, None] * w
    cos, sin = f.const(torch.cos(angle)), f.const(torch.sin(angle))
    if s["pairing"]:
        first, second = torch.arange(0, R, 2), torch.arange(1, R, 2)
    else:
        first, second = torch.arange(R // 2), torch.arange(R // 2, R)
    a, b = f.move(x, lambda t: t[..., first]), f.move(x, lambda t: t[..., second])
    y = f.cat([a * cos - b * sin, a * sin + b * cos, f.move(x, lambda t: t[..., R:])], -1)
    back = torch.argsort(torch.cat([first, second, torch.arange(R, D)]))
    return f.move(y, lambda t: t[..., back])


def sdpa(f, q, k, v, s, p, bias=None):
    """Grouped heads; every mask."""
    B, H, Tq, D = q.shape
    Hk, Tk = k.shape[1], k.shape[2]
    heads = torch.arange(H) // max(1, H // Hk)
    k, v = f.move(k, lambda t: t[:, heads]), f.move(v, lambda t: t[:, heads])
    allowed = allowed_pairs(s, B, Tq, Tk, p).expand(B, H, Tq, Tk)
    return f.sdpa(q, k, v, allowed, {"scale": s["scale"], "soft_cap": s["soft_cap"], "bias": bias})


def add(a, b):
    return b if a is None else a + b


def attention(f, name, x, s, p, memory=None):
    """An attention layer with parameters `name`...: head attention has no proj. memory: of cross-attention."""
    B, T = x.shape[:2]
    H = s["heads"]
    keys = x if memory is None else memory

    def head_of(tensor, which, heads):
        y = f.linear(tensor, p[f"{name}{which}.weight"], p.get(f"{name}{which}.bias"))
        return f.move(y, lambda t: t.reshape(B, tensor.shape[1], heads, -1).transpose(1, 2))
    q = head_of(x, "q", H)
    k, v = head_of(keys, "k", s["kv_heads"] or H), head_of(keys, "v", s["kv_heads"] or H)
    S, D = k.shape[2], q.shape[3]
    if s["qk_norm"]:
        q = f.rms_norm(q, p[f"{name}q_norm.weight"], s["qk_norm_eps"] or 1e-6)
        k = f.rms_norm(k, p[f"{name}k_norm.weight"], s["qk_norm_eps"] or 1e-6)
    if s["rotary"]:
        at = p["positions"] if "positions" in p else torch.arange(T).expand(B, T)
        q, k = rope(f, q, s, at, D), rope(f, k, s, at, D)
    bias = p.get("bias")
    if s["reach"]:
        bias = add(bias, distance_bias(f, p[f"{name}relative"], s, B, T, S, p))
    if s["alibi"]:
        bias = add(bias, alibi(f, s, H, B, T, S, p))
    o = f.move(sdpa(f, q, k, v, s, p, bias), lambda t: t.transpose(1, 2).reshape(B, T, -1))
    return o if s["one_head"] else f.linear(o, p[f"{name}proj.weight"], p.get(f"{name}proj.bias"))


# ---- Layers ----

def norm(f, name, x, s, p):
    if s["norm"]:
        return f.rms_norm(x, p[f"{name}.weight"], s["eps"] or 1e-6)
    return f.layer_norm(x, p[f"{name}.weight"], p.get(f"{name}.bias"), s["eps"] or 1e-5)


def feed_forward(f, name, x, s, p):
    def linear(which, x):
        return f.linear(x, p[f"{name}{which}.weight"], p.get(f"{name}{which}.bias"))
    activation = ACTIVATIONS[s["activation"]]
    if s["gated"]:
        return linear("down", f.unary(activation, linear("gate", x)) * linear("up", x))
    return linear("down", f.unary(activation, linear("up", x)))


CROSS_ONLY = dict(back=0, ahead=0, stride=0, offset=0, align=0, causal=0, rotary=0, alibi=0, reach=0)


def own(s, p, lengths="key_lengths"):
    """What attention inside of a block reads of the inputs, besides parameters."""
    q = {k: v for k, v in p.items() if k not in ("key_lengths", "memory_lengths", "bias", "positions")}
    return {**q, "key_lengths": p[lengths]} if lengths in p else q


def block(f, name, x, s, p, memory=None):
    def attn(x):
        return attention(f, name + "attn.", x, s, own(s, p))

    def cross(x):
        return attention(f, name + "cross.", x, s | CROSS_ONLY | {"global": 0}, own(s, p, "memory_lengths"), memory)
    if s["parallel"]:
        before = norm(f, name + "norm1", x, s, p)
        inner = before if s["one_norm"] else norm(f, name + "norm2", x, s, p)
        return x + attn(before) + feed_forward(f, name + "ff.", inner, s, p)
    steps = [("norm1", attn)] + ([("norm_cross", cross)] if memory is not None else []) + \
        [("norm2", lambda x: feed_forward(f, name + "ff.", x, s, p))]
    for which, step in steps:
        x = norm(f, name + which, x + step(x), s, p) if s["post_norm"] else x + step(norm(f, name + which, x, s, p))
    return x


# ---- Models ----

def sinusoidal(T, emb):
    at = torch.arange(T, dtype=torch.float64)[:, None] * 10000 ** (-torch.arange(0, emb, 2, dtype=torch.float64) / emb)
    return torch.stack([torch.sin(at), torch.cos(at)], -1).reshape(T, emb)


def positions(s, tokens):
    """The rows of the table: behind padding's, which is not counted."""
    counted = tokens != s["first"] - 1 if s["first"] else torch.ones_like(tokens, dtype=torch.bool)
    return torch.where(counted, counted.cumsum(1), 0) + s["first"] - 1


def transformer(f, name, tokens, s, p, memory=None, table=None):
    """The hidden states; `name` is "" or the part of an encoder-decoder. s["per_layer"]: what a layer has besides."""
    T = tokens.shape[1]
    x = f.embedding(p[f"{name}tok.weight"] if table is None else table, tokens)
    if s["position_kind"] == 1:
        x = x * f.const(math.sqrt(s["emb"])) + f.const(sinusoidal(T, s["emb"]))
    if s["position_kind"] == 0:
        x = x + f.embedding(p[f"{name}pos.weight"], positions(s, tokens))
    if s["types"]:
        x = x + f.embedding(p[f"{name}type.weight"], p.get("token_types", torch.zeros_like(tokens)))
    if s["emb_norm"]:
        x = norm(f, f"{name}emb_norm", x, s, p)
    for i in range(s["layers"]):
        own_s = s | s["per_layer"][i] if s["per_layer"] else s
        x = block(f, f"{name}blocks.{i}.", x, own_s, p, memory)
    return x if s["post_norm"] else norm(f, f"{name}norm", x, s, p)


def gpt(f, s, p):
    hidden = transformer(f, "", p["tokens"], s | {"causal": not s["non_causal"]}, p)
    return f.linear(hidden, p["head.weight" if s["untied_head"] else "tok.weight"], p.get("head.bias"))


def encoder(f, s, p):
    return transformer(f, "", p["tokens"], s | {"causal": 0}, p)


def pooled(f, s, p):
    hidden = encoder(f, s, p)
    B, T, emb = hidden.shape
    lengths = p.get("key_lengths", torch.full((B,), T))
    if s["pooling"] == 0:
        weight = (torch.arange(T) < lengths[:, None]).double() / lengths.clamp(min=1)[:, None]
        return f.move(f.const(weight[:, None]) @ hidden, lambda t: t[:, 0])
    first = f.move(hidden, lambda t: t[:, 0])
    first = f.select((lengths > 0)[:, None], first, f.const(torch.zeros(B, emb, dtype=torch.float64)))
    if s["pooler"]:
        first = f.unary("tanh", f.linear(first, p["pooler.weight"], p["pooler.bias"]))
    return first


def encoder_decoder(f, s, p):
    source = {k: v for k, v in p.items()}
    memory = transformer(f, "encoder.", p["source"], s | {"causal": 0}, source)
    inputs = {k: v for k, v in p.items() if k != "key_lengths"}
    if "key_lengths" in p:
        inputs["memory_lengths"] = p["key_lengths"]
    table = p["encoder.tok.weight"] if s["shared"] else p["decoder.tok.weight"]
    hidden = transformer(f, "decoder.", p["tokens"], s | {"causal": 1}, inputs, memory, table)
    return f.linear(hidden, p["decoder.head.weight"] if s["untied_head"] else table)
