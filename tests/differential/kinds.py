# SPDX-License-Identifier: MIT
"""kinds.py - the kinds of random cases. Each class draws a case's numbers (a dictionary, whose missing keys are 0), and
makes of them the text for differential.c and the reference. Numbers that do not fit each other fail an assertion: so
any number may be made smaller, and a case that stands is a smaller one.
"""
import math

import torch

import references as ref
from bounds import Bounds


class Case:
    """What differential.c gets, and what program.py prints."""

    def __init__(self, s):
        self.s, self.call = s, s["call"]
        self.inputs, self.numbers, self.lists, self.texts = [], {}, {}, {}

    def input(self, name, kind, low, high, shape, view=0):
        assert all(n >= 0 for n in shape) and math.prod(shape) < 30000
        base, views = viewed(list(shape), view)
        self.inputs.append((name, kind, low, high, base, views))

    def real(self, name, shape, view=0, low=-1.5, high=1.5):
        self.input(name, "whole" if self.s["ties"] else "real", low, high, shape, view)

    def ints(self, name, limit, shape):
        self.input(name, "int", 0, limit, shape)

    def number(self, *names):
        for name in names:
            self.numbers[name] = self.s[name]

    def list(self, name, items):
        self.lists[name] = items

    def text(self):
        s = self.s
        lines = [f"case {self.call} {64 if s['double'] else 32} {s['threads'] or 1} {s['seed']}"]
        for name, kind, low, high, shape, views in self.inputs:
            lines.append(f"input {name} {kind} {low} {high} " + " ".join(map(str, shape)))
            lines += [f"view {v[0]} " + " ".join(map(str, v[1:])) for v in views]
        lines += [f"number {k} {float(v)!r}" for k, v in self.numbers.items()]
        lines += [f"list {k} " + " ".join(map(str, v)) for k, v in self.lists.items()]
        lines += [f"text {k} {v}" for k, v in self.texts.items()]
        return "\n".join(lines) + "\nrun\n"


def viewed(shape, view):
    """A tensor to draw, and the views of it that have this shape: 1 transposed, 2 behind a gap, 3 every second element,
    4 expanded along the first dim, 5 along the last, 6 transposed and every second."""
    base, views = list(shape), []
    if view in (1, 6) and len(shape) >= 2:
        base[-1], base[-2] = base[-2], base[-1]
        views.append(("transpose", -1, -2))
    if view == 2 and shape:
        base[0] += 2
        views.append(("slice", 0, 1, shape[0] + 1, 1))
    if view in (3, 6) and shape:
        base[0] *= 2
        dim = 0 if view == 3 or len(shape) > 2 else 1 if len(shape) == 2 else 0
        views.append(("slice", dim, 0, base[0], 2))
    if view in (4, 5) and shape and shape[0 if view == 4 else -1] > 0:
        base[0 if view == 4 else -1] = 1
        views.append(("expand", *shape))
    return base, views


def apply_views(f, x, views):
    for v in views:
        if v[0] == "transpose":
            x = f.move(x, lambda t: t.transpose(v[1], v[2]))
        elif v[0] == "slice":
            x = f.move(x, lambda t: t.movedim(v[1], 0)[v[2]:v[3]:v[4]].movedim(0, v[1]))
        else:
            x = f.move(x, lambda t: t.expand(v[1:]))
    return x


def some(r, *weighted):
    """One of the values; each stands as often as it is likely."""
    return r.choice(weighted)


def size(r, most=6):
    """A small extent; now and then around a vector's or a block's."""
    return some(r, *[r.randint(1, most)] * 12, r.randint(7, 20), some(r, 15, 16, 17, 31, 33, 64, 65))


def shape_of(r, least=0, most=4):
    shape = [size(r) for _ in range(r.randint(least, most))]
    while math.prod(shape) > 2000:
        shape[r.randrange(len(shape))] = r.randint(1, 3)
    if shape and r.random() < 0.03:
        shape[r.randrange(len(shape))] = 0
    return shape


def view_of(r):
    return some(r, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6)


def base(r, call, **more):
    return dict(call=call, double=some(r, True, False), threads=some(r, *[1] * 15, 2), seed=r.getrandbits(31), **more)


# ---- Ops ----

class elementwise:
    positive = {"log": (0.1, 3), "sqrt": (0.1, 3), "pow": (0.3, 2)}
    unary = ["neg", "scale", "add_scalar", "exp", "log", "sqrt", "tanh", "sigmoid", "relu", "gelu", "gelu_tanh", "silu",
             "pow", "abs", "clamp", "dropout"]

    @staticmethod
    def draw(r):
        wide = some(r, 1.5, 1.5, 8.0)
        return base(r, r.choice(elementwise.unary), shape=shape_of(r), view=view_of(r), high=wide,
                    p=some(r, 2.0, 3.0, -1.0, 0.5, 1.0, 0.0, round(r.uniform(-2, 2), 2)))

    @staticmethod
    def case(s):
        c = Case(s)
        low, high = elementwise.positive.get(s["call"], (-s["high"], s["high"]))
        assert high > low
        c.real("x", s["shape"], s["view"], low, high)
        c.number("p")
        if s["call"] == "clamp":
            c.numbers.update(low=-0.5, high=0.7)
        return c

    @staticmethod
    def reference(f, s, p):
        x, call = p["x"], s["call"]
        if call == "neg":
            return -x
        if call == "scale":
            return x * f.const(s["p"])
        if call == "add_scalar":
            return x + f.const(s["p"])
        if call == "pow":
            return f.pow(x, s["p"])
        if call == "dropout":
            return x * f.const(1.0)
        if call == "clamp":
            low, high = f.const(-0.5), f.const(0.7)
            value = x.v if f is Bounds else x.detach()
            return f.select(value < -0.5, low, f.select(value > 0.7, high, x))
        return f.unary(call, x)


class broadcast:
    @staticmethod
    def draw(r):
        call = r.choice(["add", "sub", "mul", "div", "maximum", "minimum", "where", "masked_fill", "mse"])
        return base(r, call, shape=shape_of(r), view=view_of(r), other_view=view_of(r), drop=r.randint(0, 2),
                    ones=r.getrandbits(4) & r.getrandbits(4), swap=some(r, True, False), p=round(r.uniform(-2, 2), 2),
                    ties=call in ("maximum", "minimum") and r.random() < 0.5)

    @staticmethod
    def case(s):
        c = Case(s)
        small = [1 if s["ones"] >> i & 1 else n for i, n in enumerate(s["shape"])][s["drop"]:]
        if s["call"] in ("mse", "masked_fill"):
            assert not s["swap"] and (s["call"] == "masked_fill" or small == s["shape"])
        a, b = (small, s["shape"]) if s["swap"] else (s["shape"], small)
        high = 3 if s["ties"] else 1.5
        c.real("a", a, s["view"], 0 if s["ties"] else -1.5, high)
        if s["call"] != "masked_fill":
            c.real("b", b, s["other_view"], 0.3 if s["call"] == "div" else 0 if s["ties"] else -1.5, high)
        if s["call"] in ("where", "masked_fill"):
            c.ints("mask", 2, small if s["call"] == "masked_fill" else s["shape"])
        c.number("p")
        return c

    @staticmethod
    def reference(f, s, p):
        a, b, call = p["a"], p.get("b"), s["call"]
        if call == "add":
            return a + b
        if call == "sub":
            return a - b
        if call == "mul":
            return a * b
        if call == "div":
            return a / b
        if call == "maximum":
            return f.maximum(a, b)
        if call == "minimum":
            return -f.maximum(-a, -b)
        if call == "where":
            return f.select(p["mask"] != 0, a, b)
        if call == "masked_fill":
            return f.select(p["mask"] != 0, f.const(s["p"]), a)
        d = a - b
        return f.mean(d * d, tuple(range(len(s["shape"]))), False) if s["shape"] else d * d


class reduce:
    @staticmethod
    def draw(r):
        call = r.choice(["sum", "mean", "max", "var", "softmax", "log_softmax", "logsumexp"])
        shape = shape_of(r, 1)
        if r.random() < 0.05:
            shape = [some(r, 300, 1030, 5000)] + [r.randint(1, 2)] * r.randint(0, 1)
        return base(r, call, shape=shape, view=view_of(r), dims=r.getrandbits(4), dim=r.randint(-1, len(shape) - 1),
                    keepdim=some(r, True, False), correction=some(r, 0, 1), ties=call == "max" and r.random() < 0.5,
                    high=some(r, 1.5, 1.5, 20.0))

    @staticmethod
    def case(s):
        c = Case(s)
        high = 3 if s["ties"] else s["high"]
        assert s["shape"] and -len(s["shape"]) <= s["dim"] < len(s["shape"]) and high >= 1 and min(s["shape"]) > 0
        c.real("x", s["shape"], s["view"], 0 if s["ties"] else -high, high)
        c.number("dim", "keepdim", "correction")
        c.list("dims", [i for i in range(len(s["shape"])) if s["dims"] >> i & 1])
        assert s["call"] != "var" or math.prod(s["shape"][i] for i in reduce.dims(s)) > s["correction"]
        return c

    @staticmethod
    def dims(s):
        dims = tuple(i for i in range(len(s["shape"])) if s["dims"] >> i & 1)
        return dims or tuple(range(len(s["shape"])))

    @staticmethod
    def reference(f, s, p):
        x, call, keep = p["x"], s["call"], bool(s["keepdim"])
        if call in ("softmax", "log_softmax"):
            return getattr(f, call)(x, s["dim"])
        if call == "logsumexp":
            return f.logsumexp(x, s["dim"], keep)
        if call == "var":
            return f.var(x, reduce.dims(s), s["correction"], keep)
        return getattr(f, call)(x, reduce.dims(s), keep)


class shape:
    @staticmethod
    def draw(r):
        call = r.choice(["reshape", "permute", "transpose", "slice", "select", "expand", "squeeze", "unsqueeze",
                         "contiguous", "concat", "stack"])
        s = base(r, call, shape=shape_of(r, 1), view=view_of(r), dim=r.randint(0, 3), other=r.randint(0, 3),
                 start=r.randint(-3, 4), stop=r.randint(-2, 9), step=r.randint(1, 3), count=r.randint(1, 3),
                 mix=r.getrandbits(16))
        return s

    @staticmethod
    def case(s):
        c, n = Case(s), len(s["shape"])
        assert s["dim"] < n + (s["call"] in ("unsqueeze", "stack")) and s["other"] < n and s["step"] >= 1
        if s["call"] in ("concat", "stack"):
            for i in range(s["count"]):
                c.real("abc"[i], s["shape"][:], s["view"] if i == 0 else 0)
        else:
            c.real("x", shape.source(s), s["view"])
        if s["call"] == "select":
            assert -s["shape"][s["dim"]] <= s["start"] < s["shape"][s["dim"]]
        c.number("dim", "other", "start", "stop", "step", "count")
        c.list("to", shape.target(s))
        c.list("dims", shape.order(s))
        return c

    @staticmethod
    def source(s):
        own = list(s["shape"])
        if s["call"] in ("expand", "squeeze"):
            own[s["dim"]] = 1
        return own

    @staticmethod
    def target(s):
        if s["call"] == "expand":
            return ([2] if s["other"] else []) + list(s["shape"])
        cut = s["other"]
        return [math.prod(s["shape"][:cut])] + list(s["shape"][cut:])

    @staticmethod
    def order(s):
        left, order, mix = list(range(len(s["shape"]))), [], s["mix"]
        while left:
            order.append(left.pop(mix % len(left)))
            mix //= 3
        return order

    @staticmethod
    def reference(f, s, p):
        call, dim = s["call"], s["dim"]
        if call == "concat":
            return f.cat([p["abc"[i]] for i in range(s["count"])], dim)
        if call == "stack":
            return f.cat([f.move(p["abc"[i]], lambda t: t.unsqueeze(dim)) for i in range(s["count"])], dim)
        way = {
            "reshape": lambda t: t.reshape(shape.target(s)), "permute": lambda t: t.permute(shape.order(s)),
            "transpose": lambda t: t.transpose(dim, s["other"]),
            "slice": lambda t: t[(slice(None),) * dim + (slice(s["start"], s["stop"], s["step"]),)],
            "select": lambda t: t.select(dim, s["start"]), "expand": lambda t: t.expand(shape.target(s)),
            "squeeze": lambda t: t.squeeze(dim), "unsqueeze": lambda t: t.unsqueeze(dim),
            "contiguous": lambda t: t.transpose(0, -1),
        }[call]
        return f.move(p["x"], way)


class product:
    @staticmethod
    def draw(r):
        return base(r, some(r, "matmul", "matmul", "linear"), lead=shape_of(r, 0, 2), other_lead=r.randint(0, 2),
                    M=some(r, 0, *[size(r)] * 9), K=size(r, 9), N=some(r, 0, *[size(r)] * 9),
                    vector=some(r, 0, 0, 0, 0, 1, 2, 3), view=view_of(r), other_view=view_of(r), bias=some(r, 0, 1))

    @staticmethod
    def case(s):
        c = Case(s)
        M, K, N, lead = s["M"], s["K"], s["N"], list(s["lead"])
        assert K > 0
        if s["call"] == "linear":
            c.real("x", lead + [M, K], s["view"])
            c.real("w", [N, K], s["other_view"])
            if s["bias"]:
                c.real("b", [N])
            return c
        c.real("a", [K] if s["vector"] & 1 else lead + [M, K], s["view"])
        other = [] if s["other_lead"] == 0 else lead if s["other_lead"] == 1 else [1] * len(lead)
        c.real("b", [K] if s["vector"] & 2 else other + [K, N], s["other_view"])
        return c

    @staticmethod
    def reference(f, s, p):
        if s["call"] == "linear":
            return f.linear(p["x"], p["w"], p.get("b"))
        a, b = p["a"], p["b"]
        if s["vector"] & 1:
            a = f.move(a, lambda t: t[None])
        if s["vector"] & 2:
            b = f.move(b, lambda t: t[:, None])
        y = a @ b
        if s["vector"] & 2:
            y = f.move(y, lambda t: t[..., 0])
        if s["vector"] & 1:
            y = f.move(y, lambda t: t.select(-1 if s["vector"] & 2 else -2, 0))
        return y


class row:
    """Norms, losses, tables."""
    @staticmethod
    def draw(r):
        call = r.choice(["layer_norm", "rms_norm", "cross_entropy", "cross_entropy", "embedding"])
        lead = shape_of(r, 0, 2)
        return base(r, call, lead=lead, N=size(r, 9), view=view_of(r), weight=some(r, 0, 1, 1), bias=some(r, 0, 1),
                    eps=some(r, 1e-5, 1e-12, 0.5), sum=some(r, 0, 1), smoothing=some(r, 0, 0.1, 1.0),
                    ignore=some(r, 0, 1), ignore_index=r.randint(0, 2), high=some(r, 1.5, 1.5, 20.0, 0.01),
                    offset=some(r, 0, 0, 0, 100))

    @staticmethod
    def case(s):
        c, N = Case(s), s["N"]
        assert N > 0 and s["high"] > 0
        if s["call"] in ("layer_norm", "rms_norm"):
            assert s["eps"] > 0 and (s["weight"] or not s["bias"])
            c.real("x", s["lead"] + [N], s["view"], s["offset"] - s["high"], s["offset"] + s["high"])
            if s["weight"]:
                c.real("w", [N])
            if s["bias"] and s["call"] == "layer_norm":
                c.real("b", [N])
        elif s["call"] == "embedding":
            c.real("table", [N, 3], s["view"])
            c.ints("index", N, s["lead"])
        else:
            c.real("x", s["lead"] + [N], s["view"], -s["high"], s["high"])
            c.ints("index", N, s["lead"])
        c.number("eps", "sum", "smoothing", "ignore", "ignore_index")
        return c

    @staticmethod
    def reference(f, s, p):
        if s["call"] == "layer_norm":
            return f.layer_norm(p["x"], p.get("w"), p.get("b"), s["eps"])
        if s["call"] == "rms_norm":
            return f.rms_norm(p["x"], p.get("w"), s["eps"])
        if s["call"] == "embedding":
            return f.embedding(p["table"], p["index"])
        return f.cross_entropy(p["x"], p["index"], bool(s["sum"]), s["smoothing"],
                               s["ignore_index"] if s["ignore"] else None)


# ---- Attention ----

def draw_window(r):
    return dict(align=some(r, 0, 0, 1), offset=some(r, 0, 0, 0, r.randint(-4, 5)),
                back=some(r, 0, 0, r.randint(1, 5)), ahead=some(r, 0, 0, r.randint(1, 5)),
                stride=some(r, 0, 0, 0, r.randint(1, 4)), **{"global": some(r, 0, 0, 0, r.randint(1, 3))})


def check_window(s):
    assert not s["global"] or s["back"] or s["ahead"] or s["stride"]


WINDOW = ("causal", "align", "offset", "back", "ahead", "stride", "global")


class sdpa:
    @staticmethod
    def draw(r):
        edge = r.random() < 0.08
        Hk, T = r.randint(1, 2), some(r, 1, 0)
        return base(r, "sdpa", B=r.randint(1, 1 if edge else 3), H=Hk * r.randint(1, 1 if edge else 3), Hk=Hk,
                    Tq=some(r, 63, 65, 130) if edge else r.randint(1, 9), Tk=some(r, 64, 65, 129) if edge else
                    r.randint(T, 9), D=size(r), Dv=size(r), causal=some(r, True, False), **draw_window(r),
                    starts=some(r, 0, 0, 0, 1), key_lengths=some(r, 0, 0, 1), documents=some(r, 0, 0, 0, 1),
                    block_size=some(r, 0, 0, 0, r.randint(1, 3)), allowed=some(r, 0, 0, 0, 1, 2, 3),
                    scale=some(r, 0, 0.3, 2.0), soft_cap=some(r, 0, 0, 1.5), bias=some(r, 0, 0, 1, 2, 3),
                    reach=some(r, 0, 0, 0, r.randint(1, 4)), shared=some(r, 0, 1), view=view_of(r),
                    other_view=view_of(r))

    @staticmethod
    def case(s):
        c = Case(s)
        B, H, Hk, Tq, Tk, D = s["B"], s["H"], s["Hk"], s["Tq"], s["Tk"], s["D"]
        assert Hk > 0 and H % Hk == 0 and D > 0 and s["Dv"] > 0 and B * H * Tq > 0
        check_window(s)
        split = s["view"] == 1  # heads beside each other in memory, as layers have them
        c.real("q", [B, H, Tq, D], s["view"])
        c.real("k", [B, Hk, Tk, D], s["other_view"])
        c.real("v", [B, Hk, Tk, s["Dv"]], 1 if split else 0)
        if s["starts"]:
            c.ints("starts", 3, [B])
        if s["key_lengths"]:
            c.ints("key_lengths", Tk + 1, [B])
        if s["documents"]:
            c.ints("query_documents", 2, [B, Tq])
            c.ints("key_documents", 2, [B, Tk])
        if s["block_size"]:
            c.ints("blocks", 2, [[], [H], [B, H]][s["allowed"] % 3] + [r // s["block_size"] + 1 for r in (Tq, Tk)])
        if s["allowed"]:
            c.ints("allowed", 2, [[Tq, Tk], [B, 1, Tq, Tk], [B, H, Tq, Tk]][s["allowed"] - 1])
        if s["bias"]:
            c.real("bias", [[Tq, Tk], [H, 1, Tk], [B, H, Tq, Tk]][s["bias"] - 1])
        if s["reach"]:
            c.real("relative", [1 if s["shared"] else H, 2 * s["reach"] + 1])
        c.number(*WINDOW, "block_size", "scale", "soft_cap")
        return c

    @staticmethod
    def reference(f, s, p):
        B, H, Tq, D = p["q"].shape
        bias = p.get("bias")
        if s["reach"]:
            bias = ref.add(bias, ref.distance_bias(f, p["relative"], s, B, Tq, s["Tk"], p))
        return ref.sdpa(f, p["q"], p["k"], p["v"], s, p, bias)


class rope:
    @staticmethod
    def draw(r):
        D = 2 * r.randint(1, 5)
        return base(r, "rope", B=r.randint(1, 3), H=r.randint(1, 3), T=r.randint(1, 9), D=D,
                    size=some(r, 0, 2 * r.randint(1, D // 2)), theta=some(r, 0, 50.0), pairing=some(r, 0, 1),
                    at=some(r, 0, 1), rows=12, view=view_of(r))

    @staticmethod
    def case(s):
        c = Case(s)
        assert s["D"] >= 2 and s["size"] <= s["D"] and s["size"] % 2 == 0 and (s["size"] or s["D"] % 2 == 0)
        assert s["rows"] >= max(1, s["T"]) and (s["theta"] == 0 or s["theta"] > 1) and s["B"] * s["H"] > 0
        c.real("x", [s["B"], s["H"], s["T"], s["D"]], s["view"])
        if s["at"]:
            c.ints("positions", s["rows"], [s["B"], s["T"]])
        c.number("D", "size", "theta", "pairing", "rows")
        return c

    @staticmethod
    def reference(f, s, p):
        B, _, T, D = p["x"].shape
        at = p["positions"] if "positions" in p else torch.arange(T).expand(B, T)
        return ref.rope(f, p["x"], s, at, D)


def draw_attention(r):
    kv, group, D = r.randint(1, 2), r.randint(1, 2), 2 * r.randint(1, 3)
    position = some(r, "", "", "rotary", "alibi", "reach")
    window = {k: v for k, v in draw_window(r).items() if k not in ("align", "offset")} if r.random() < 0.5 else {}
    return dict(heads=kv * group, kv_heads=some(r, 0, kv), head_size=D, emb=r.randint(1, 7), scale=some(r, 0, 0.4),
                soft_cap=some(r, 0, 0, 1.5), qk_norm=some(r, 0, 0, 1), no_bias=some(r, 0, 1),
                non_causal=some(r, 0, 1), rotary=position == "rotary", pairing=some(r, 0, 1), size=some(r, 0, 2),
                alibi=position == "alibi", reach=r.randint(1, 3) if position == "reach" else 0, **window)


ATTENTION = (*WINDOW[1:], "kv_heads", "scale", "soft_cap", "qk_norm", "rotary", "pairing", "size", "alibi", "reach",
             "no_bias", "non_causal", "heads", "head_size", "emb", "value_head_size")


def check_attention(s):
    check_window(s)
    assert s["heads"] > 0 and s["emb"] > 0 and s["head_size"] > 0
    assert s["kv_heads"] == 0 or s["heads"] % s["kv_heads"] == 0
    assert not s["rotary"] or (s["head_size"] % 2 == 0 and s["size"] % 2 == 0 and s["size"] <= s["head_size"])
    assert not (s["alibi"] and s["reach"])


class layer:
    deep = True   # its bounds are typical errors, see bounds.py
    share = 0.2   # of another kind's cases, since one takes as long as twenty

    @staticmethod
    def draw(r):
        call = r.choice(["linear_layer", "feed_forward", "head_attention", "mha", "mha", "mha", "block", "block"])
        s = base(r, call, B=r.randint(1, 3), T=r.randint(1, 7), view=view_of(r), lengths=some(r, 0, 0, 1))
        s.update(draw_attention(r), ff=r.randint(1, 7), activation=r.randint(0, 3), gated=some(r, 0, 1), out=size(r),
                 norm=some(r, 0, 1), eps=some(r, 0, 0.1), post_norm=some(r, 0, 1), no_attn_bias=some(r, 0, 0, 1),
                 no_ff_bias=some(r, 0, 0, 1), cross=call == "block" and r.random() < 0.3,
                 S=some(r, 0, 0, 0, r.randint(1, 7)), memory_size=r.randint(1, 5), memory_lengths=some(r, 0, 1),
                 bias=some(r, 0, 0, 0, 1), at=some(r, 0, 0, 1))
        if call == "head_attention":
            s.update(heads=1, kv_heads=0, qk_norm=0, reach=0)
        if call == "mha" and r.random() < 0.2:
            s["value_head_size"] = r.randint(1, 5)
        return s

    @staticmethod
    def case(s):
        c = Case(s)
        B, T, S, emb = s["B"], s["T"], s["S"], s["emb"]
        attends = s["call"] in ("mha", "head_attention")
        assert B * T > 0
        if attends or s["call"] == "block":
            check_attention(s)
        c.real("x", [B, T, emb], s["view"])
        if s["lengths"] and (attends or s["call"] == "block"):
            c.ints("key_lengths", (S if attends and S else T) + 1, [B])
        if attends and S:
            assert not s["rotary"] and s["memory_size"] > 0
            c.real("memory", [B, S, s["memory_size"] if s["call"] == "mha" else emb])
        if s["call"] == "block" and s["cross"]:
            assert S > 0 and s["memory_size"] > 0
            c.real("memory", [B, S, s["memory_size"]])
            if s["memory_lengths"]:
                c.ints("memory_lengths", S + 1, [B])
        if s["call"] == "mha" and s["bias"]:
            c.real("bias", [s["heads"], T, S or T])
        if s["call"] == "mha" and s["rotary"] and s["at"]:
            c.ints("positions", 9, [B, T])
        c.number(*ATTENTION, "ff", "activation", "gated", "out", "norm", "eps", "post_norm", "no_attn_bias",
                 "no_ff_bias", "cross")
        c.numbers["memory_size"] = s["memory_size"] if any(i[0] == "memory" for i in c.inputs) else 0
        c.numbers["in"] = emb
        assert s["ff"] > 0 and s["out"] > 0
        return c

    @staticmethod
    def reference(f, s, p):
        x = p["x"]
        if s["call"] == "linear_layer":
            return f.linear(x, p["weight"], p.get("bias"))
        if s["call"] == "feed_forward":
            return ref.feed_forward(f, "", x, s, p)
        s = s | {"causal": not s["non_causal"], "one_head": s["call"] == "head_attention"}
        if s["call"] == "block":
            return ref.block(f, "", x, s, p, p.get("memory"))
        return ref.attention(f, "", x, s, p, p.get("memory"))


# ---- Models ----

class model:
    deep = True   # its bounds are typical errors, see bounds.py
    share = 0.2   # of another kind's cases, since one takes as long as twenty

    @staticmethod
    def draw(r):
        s = base(r, some(r, "gpt", "gpt", "encoder", "pooled", "encoder_decoder"), B=r.randint(1, 2), T=r.randint(1, 5))
        s.update(draw_attention(r))
        s.update(V=r.randint(1, 9), layers=r.randint(1, 2), ff=r.randint(1, 6), activation=r.randint(0, 3),
                 gated=some(r, 0, 1), norm=some(r, 0, 1), eps=some(r, 0, 0.1), post_norm=some(r, 0, 1),
                 emb_norm=some(r, 0, 0, 1), no_attn_bias=some(r, 0, 0, 1), no_ff_bias=some(r, 0, 0, 1),
                 untied_head=some(r, 0, 1), position_kind=r.randint(0, 2), types=some(r, 0, 0, 2), given=some(r, 0, 1),
                 pooler=some(r, 0, 1), pooling=some(r, 0, 1), lengths=some(r, 0, 1), S=r.randint(1, 5),
                 shared=some(r, 0, 1), recompute=some(r, 0, 0, 1), emb=2 * r.randint(1, 4))
        return s

    @staticmethod
    def case(s):
        c = Case(s)
        B, T, S = s["B"], s["T"], s["S"]
        check_attention(s)
        assert B * T * S * s["V"] * s["layers"] * s["ff"] > 0 and (s["position_kind"] != 1 or s["emb"] % 2 == 0)
        encodes = s["call"] in ("encoder", "pooled")
        assert not s["types"] or encodes
        c.ints("tokens", s["V"], [B, T])
        if s["call"] == "encoder_decoder":
            assert not s["untied_head"]
            c.ints("source", s["V"], [B, S])
        if s["lengths"] and s["call"] != "gpt":
            c.ints("key_lengths", (T if encodes else S) + 1, [B])
        if s["types"] and s["given"]:
            c.ints("token_types", s["types"], [B, T])
        assert encodes or not s["pooler"]
        assert not (encodes and s["untied_head"])
        c.number(*ATTENTION, "V", "layers", "ff", "activation", "gated", "norm", "eps", "post_norm", "emb_norm",
                 "no_attn_bias", "no_ff_bias", "untied_head", "position_kind", "types", "pooler", "pooling", "shared",
                 "recompute")
        c.numbers["max_seq_len"] = 6
        return c

    @staticmethod
    def reference(f, s, p):
        return getattr(ref, s["call"])(f, s, p)


# ---- Optimizers, clipping, schedules ----

class optimizer:
    @staticmethod
    def draw(r):
        call = some(r, "sgd", "adamw")
        momentum = some(r, 0, 0.9)
        return base(r, call, out=r.randint(1, 5), steps=r.randint(1, 6), lr=some(r, 0.1, 1e-3), min_lr=some(r, 0, 1e-4),
                    schedule=r.randint(0, 2), warmup=r.randint(0, 3), total=r.randint(1, 8), momentum=momentum,
                    dampening=some(r, 0, 0.3), weight_decay=some(r, 0, 0.1), nesterov=some(r, 0, 1),
                    beta1=some(r, 0, 0.8), beta2=some(r, 0, 0.99), eps=some(r, 0, 1e-3), decay_all=some(r, 0, 1),
                    size=some(r, 1.0, 1e-3, 1e3), max_norm=some(r, 0, 0, 0.5, 10.0), skipped=some(r, -1, -1, 0, 1),
                    **{"in": r.randint(1, 6)})

    @staticmethod
    def case(s):
        c = Case(s)
        assert s["in"] * s["out"] * s["steps"] > 0 and s["lr"] > 0 and s["size"] > 0
        assert s["total"] > s["warmup"] or s["schedule"] == 0
        assert not s["nesterov"] or (s["momentum"] > 0 and s["dampening"] == 0) or s["call"] == "adamw"
        c.number("in", "out", "steps", "lr", "min_lr", "schedule", "warmup", "total", "momentum", "dampening",
                 "weight_decay", "nesterov", "beta1", "beta2", "eps", "decay_all", "size", "max_norm", "skipped")
        return c


KINDS = {"elementwise": elementwise, "broadcast": broadcast, "reduce": reduce, "shape": shape, "product": product,
         "row": row, "sdpa": sdpa, "rope": rope, "layer": layer, "model": model, "optimizer": optimizer}
