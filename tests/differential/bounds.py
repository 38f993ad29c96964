# SPDX-License-Identifier: MIT
"""bounds.py - two sets of the same functions for references.py: Torch, which is PyTorch in float64, and Bounds, which
carries a bound on the error of each element (a running error analysis, Wilkinson 1963).

A Bounded has values v and bounds e, in units of u, half of the type's eps: |computed - v| <= e u to first order in u
(and to second in products, for squares of what should be 0).
Each operation adds the bound of its own roundings, which is that of docs/numerics.md ("Every kernel"), to what the
errors of its operands make of its result. Backward runs in the same arithmetic, so gradients have bounds too.

Through many layers such bounds grow beyond all measure, since errors of one origin count as if they were several. There
each operation moves its result at random within the bound of its own roundings instead, in several runs, and their
spread is the typical error (Monte Carlo arithmetic, Parker 1997).
"""
import math

import torch
import torch.nn.functional as F

DOUBLE = torch.float64
STEP = 2.0 ** -36  # for u in float64, whose own roundings it must exceed


def plain(x):
    return torch.as_tensor(x, dtype=DOUBLE)


def sum_to(x, shape):
    """Sums of broadcast dims."""
    while x.dim() > len(shape):
        x = x.sum(0)
    for i, n in enumerate(shape):
        if n == 1 and x.shape[i] != 1:
            x = x.sum(i, keepdim=True)
    return x


def additions(count):
    """The largest number of additions of one term: 16 lanes and the pairs after them, or 256 rows down a column."""
    return min(count, 256) + 4


class Bounded:
    tape = []    # in the order of creation; None: backward runs
    unit = 2.0 ** -53
    noise = None  # random numbers: v is moved at random within e, in units of max(u, STEP), and e is then 0

    def __init__(self, v, e=None, parents=()):
        self.v = v
        self.e = torch.zeros_like(v) if e is None else e
        if Bounded.noise is not None:
            step = max(Bounded.unit, STEP)
            self.v = v + step * self.e * (2 * torch.rand(v.shape, generator=Bounded.noise, dtype=DOUBLE) - 1)
            self.e = torch.zeros_like(v)
        self.parents = parents  # (operand, function of the result's gradient)
        self.grad = None
        if Bounded.tape is not None and (parents or e is None):
            Bounded.tape.append(self)

    @property
    def shape(self):
        return self.v.shape

    def reduced(self, shape):
        """The gradient of an operand that was broadcast."""
        if tuple(self.v.shape) == tuple(shape):
            return self
        count = additions(max(1, self.v.numel() // max(1, math.prod(shape))))
        v = sum_to(self.v, shape)
        return Bounded(v, sum_to(self.e, shape) + count * sum_to(self.v.abs(), shape) + v.abs())

    def __add__(self, other):
        other = as_bounded(other)
        v = self.v + other.v
        return Bounded(v, self.e + other.e + v.abs(), ((self, lambda g: g.reduced(self.shape)),
                                                       (other, lambda g: g.reduced(other.shape))))

    def __neg__(self):
        return Bounded(-self.v, self.e, ((self, lambda g: -g),))

    def __sub__(self, other):
        return self + -as_bounded(other)

    def __mul__(self, other):
        other = as_bounded(other)
        v = self.v * other.v
        e = self.v.abs() * other.e + self.e * other.v.abs() + self.e * other.e * Bounded.unit + v.abs()
        return Bounded(v, e, ((self, lambda g: (g * other).reduced(self.shape)),
                              (other, lambda g: (g * self).reduced(other.shape))))

    def __truediv__(self, other):
        other = as_bounded(other)
        v = self.v / other.v
        e = (self.e + v.abs() * other.e) / other.v.abs() + v.abs()
        y = Bounded(v, e, ((self, lambda g: (g / other).reduced(self.shape)),
                           (other, lambda g: (-(g / other) * y).reduced(other.shape))))
        return y

    __radd__ = __add__
    __rmul__ = __mul__

    def __matmul__(self, other):
        k = self.shape[-1]
        c = min(k, 512)
        v, size = self.v @ other.v, self.v.abs() @ other.v.abs()
        e = self.v.abs() @ other.e + self.e @ other.v.abs() + (c + k / max(1, c) + 1) * size + v.abs()
        if self.v.dim() < 2 or other.v.dim() < 2:
            raise ValueError("vectors are matrices here")
        return Bounded(v, e, ((self, lambda g: (g @ swapped(other)).reduced(self.shape)),
                              (other, lambda g: (swapped(self) @ g).reduced(other.shape))))


def as_bounded(x):
    return x if isinstance(x, Bounded) else Bounds.const(x)


def swapped(x):
    return Bounds.move(x, lambda t: t.transpose(-1, -2))


def backward(y, cotangent):
    """The gradients of everything on the tape, in .grad."""
    tape, Bounded.tape = Bounded.tape, None
    y.grad = Bounded(cotangent, torch.zeros_like(cotangent))
    for node in reversed(tape):
        for operand, vjp in node.parents:
            if node.grad is not None:
                g = vjp(node.grad)
                operand.grad = g if operand.grad is None else operand.grad + g
    Bounded.tape = tape


# ---- Elementwise functions: value, and bounds of the roundings of value and slope, both in u ----

def phi(a):
    return torch.exp(-a * a / 2) / math.sqrt(2 * math.pi)


def gelu_parts(x):
    a = x.abs()
    tail = torch.special.erfc(a / math.sqrt(2)) / 2
    bell = 1.5 * a * a + 2
    ratio = 0.41 * (1 + 0.36 * a * a) + 10 * (1 / torch.special.erfcx(a / math.sqrt(2)) - 1).abs() + 2
    return a, tail, bell, ratio, (x > 0).double()


def gelu_bound(x, y, d):
    a, tail, bell, ratio, right = gelu_parts(x)
    left = (tail - a * phi(a)).abs()
    return (a * tail * (bell + ratio + 1) + right * y.abs(),
            bell * left + ratio * tail + 3 * a * phi(a) + left + (1 + right) * d.abs())


def gelu_tanh_bound(x, y, d):
    a = x.abs()
    root = 2 * math.sqrt(2 / math.pi)
    v3 = root * 0.044715 * a ** 3
    v = root * a + v3
    A = 3 * v + 4 * v3
    s, right = torch.sigmoid(-v), (x > 0).double()
    T = a * root * (1 + 3 * 0.044715 * a * a) * (1 - s)
    slope = ((A + 2.2) * s * ((1 - s) * (1 - T) + s * T).abs() + 2 * s * (1 - 2 * T).abs() + 3 * s * (1 - T).abs() +
             8 * s * T + (1 + right) * d.abs())
    sx = torch.sigmoid(torch.where(x > 0, v, -v))
    return y.abs() * (3 + (2.2 + A) * (1 - sx)), slope


def silu_bound(x, y, d):
    s = torch.sigmoid(x)
    return (y.abs() * (3 + 2.2 * (1 - s)),
            (2 + 2.2 * (1 - s)) * s * (1 + x * (1 - 2 * s)).abs() + 2 * s * (1 - s) * x.abs() + 3 * d.abs())


def sigmoid_bound(x, y, d):
    own = y * (2 + 2.2 * (1 - y))
    return own, (1 - 2 * y).abs() * own + 3 * d.abs()


def pow_bound(p):
    def bound(x, y, d):
        log = torch.log(x.abs())
        return y.abs() * (2 + (p * log).abs()), d.abs() * (4 + (abs(p) + abs(p - 1)) * log.abs())
    return bound


def jump(x, y, d):
    """A kink at 0: within the error of x the slope is either one. |slopes| <= 1, so they differ by 1 at the most."""
    return 0 * x, 0 * x


def gated(x, own, tail):
    """F.gelu is x/2 (1 + erf) or x/2 (1 + tanh), which cancels; this form does not, and has no slope at 0."""
    return torch.where(x == 0, own(x), torch.relu(x) - x.abs() * tail(x.abs()))


EXACT = (jump, True)
UNARY = {  # name: function, bound, whether it has a kink at 0
    "exp": (torch.exp, lambda x, y, d: (2.2 * y, 2.2 * y)),
    "log": (torch.log, lambda x, y, d: (2.2 * y.abs(), d.abs())),
    "sqrt": (torch.sqrt, lambda x, y, d: (y, 2 * d)),
    "tanh": (torch.tanh, lambda x, y, d: (5.4 * y.abs(), 11.8 * y * y + d.abs())),
    "sigmoid": (torch.sigmoid, sigmoid_bound),
    "relu": (torch.relu, *EXACT),
    "abs": (torch.abs, *EXACT),
    "gelu": (lambda x: gated(x, F.gelu, lambda a: torch.special.erfc(a / math.sqrt(2)) / 2), gelu_bound),
    "gelu_tanh": (lambda x: gated(x, lambda x: F.gelu(x, approximate="tanh"), lambda a: torch.sigmoid(
        -math.sqrt(8 / math.pi) * (a + 0.044715 * a ** 3))), gelu_tanh_bound),
    "silu": (F.silu, silu_bound),
}


def derivatives(function, x):
    x = x.detach().requires_grad_(True)
    y = function(x)
    d, = torch.autograd.grad(y.sum(), x, create_graph=True)
    dd = torch.zeros_like(x)
    if d.requires_grad:
        dd, = torch.autograd.grad(d.sum(), x)
    return y.detach(), d.detach(), dd


def elementwise(x, function, bound, kink=False):
    v, d, dd = derivatives(function, x.v)
    value, slope = bound(x.v, v, d)
    slope = slope + dd.abs() * x.e
    if kink:
        slope = slope + (x.v.abs() <= x.e * Bounded.unit).double() * (x.e > 0) / Bounded.unit
    return Bounded(v, d.abs() * x.e + value, ((x, lambda g: g * Bounded(d, slope)),))


# ---- The functions ----

class Torch:
    """PyTorch's own, in float64."""
    const = staticmethod(plain)
    cat = staticmethod(torch.cat)
    move = staticmethod(lambda x, way: way(x))
    softmax = staticmethod(lambda x, dim: torch.softmax(x, dim))
    log_softmax = staticmethod(lambda x, dim: torch.log_softmax(x, dim))
    linear = staticmethod(F.linear)
    detach = staticmethod(lambda x: x.detach())

    @staticmethod
    def unary(name, x):
        return UNARY[name][0](x)

    @staticmethod
    def pow(x, p):
        return x ** p

    @staticmethod
    def select(mask, a, b):
        return torch.where(mask, a, b)

    @staticmethod
    def maximum(a, b):
        return torch.maximum(a, b)

    @staticmethod
    def sum(x, dims, keepdim):
        return x.sum(dims, keepdim=keepdim)

    @staticmethod
    def mean(x, dims, keepdim):
        return x.mean(dims, keepdim=keepdim)

    @staticmethod
    def max(x, dims, keepdim):
        return torch.amax(x, dims, keepdim=keepdim)

    @staticmethod
    def var(x, dims, correction, keepdim):
        return torch.var(x, dims, correction=correction, keepdim=keepdim)

    @staticmethod
    def logsumexp(x, dim, keepdim):
        return torch.logsumexp(x, dim, keepdim=keepdim)

    @staticmethod
    def layer_norm(x, w, b, eps):
        # Far from 0 PyTorch is less exact than the library; the result is that of x minus any number.
        return F.layer_norm(x - x[..., :1].detach(), x.shape[-1:], w, b, eps)

    @staticmethod
    def rms_norm(x, w, eps):
        return F.rms_norm(x, x.shape[-1:], w, eps)

    @staticmethod
    def embedding(table, index):
        return F.embedding(index, table)

    @staticmethod
    def cross_entropy(x, target, total, smoothing, ignored):
        kept = target if ignored is None else torch.where(target == ignored, -100, target)
        if bool((kept == -100).all()):
            return (x * 0).sum()
        return F.cross_entropy(x.reshape(-1, x.shape[-1]), kept.flatten(), reduction="sum" if total else "mean",
                               label_smoothing=smoothing)

    @staticmethod
    def sdpa(q, k, v, allowed, options):
        """allowed: bool [B,H,Tq,Tk]; options: scale, soft_cap, bias. A query that sees no key has output 0."""
        scale = options.get("scale") or q.shape[-1] ** -0.5
        if not options.get("soft_cap") and bool(allowed.any(-1).all()):
            mask = torch.zeros(allowed.shape, dtype=DOUBLE).masked_fill(~allowed, -math.inf)
            mask = mask if options.get("bias") is None else mask + options["bias"]
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        s = q @ k.transpose(-1, -2) * scale
        if options.get("soft_cap"):
            s = options["soft_cap"] * torch.tanh(s / options["soft_cap"])
        s = s if options.get("bias") is None else s + options["bias"]
        seen = allowed.any(-1, keepdim=True)
        p = torch.softmax(torch.where(allowed, s, -math.inf).masked_fill(~seen, 0), -1)
        return torch.where(allowed, p, 0) @ v


class Bounds:
    @staticmethod
    def const(x):
        """A number that is rounded once."""
        x = plain(x)
        return Bounded(x, x.abs())

    @staticmethod
    def detach(x):
        return Bounded(x.v, x.e)

    @staticmethod
    def move(x, way):
        """Elements of x where `way` takes them, some several times."""
        index = way(torch.arange(x.v.numel()).reshape(x.shape))
        flat, shape = index.flatten(), x.shape

        def back(g):
            zero = torch.zeros(math.prod(shape), dtype=DOUBLE)
            times = zero.index_add(0, flat, torch.ones(flat.numel(), dtype=DOUBLE))
            size = zero.index_add(0, flat, g.v.abs().flatten())
            own = torch.where(times > 1, (times + 1) * size, 0)
            return Bounded(zero.index_add(0, flat, g.v.flatten()).reshape(shape),
                           (zero.index_add(0, flat, g.e.flatten()) + own).reshape(shape))
        return Bounded(x.v.flatten()[flat].reshape(index.shape), x.e.flatten()[flat].reshape(index.shape), ((x, back),))

    @staticmethod
    def cat(list_of, dim=0):
        begins, at = [], 0
        for x in list_of:
            begins.append(at)
            at += x.shape[dim]

        def piece(x, begin):
            return lambda g: Bounds.move(g, lambda t: t.narrow(dim, begin, x.shape[dim]))
        return Bounded(torch.cat([x.v for x in list_of], dim), torch.cat([x.e for x in list_of], dim),
                       tuple((x, piece(x, b)) for x, b in zip(list_of, begins)))

    @staticmethod
    def unary(name, x):
        return elementwise(x, *UNARY[name])

    @staticmethod
    def pow(x, p):
        return elementwise(x, lambda t: t ** p, pow_bound(p))

    @staticmethod
    def select(mask, a, b):
        a, b = as_bounded(a), as_bounded(b)
        return Bounded(torch.where(mask, a.v, b.v), torch.where(mask, a.e, b.e),
                       ((a, lambda g: chosen(g, mask).reduced(a.shape)),
                        (b, lambda g: chosen(g, ~mask).reduced(b.shape))))

    @staticmethod
    def maximum(a, b):
        half = 0.5 * (a.v == b.v).double()
        return Bounded(torch.maximum(a.v, b.v), torch.maximum(a.e, b.e),
                       ((a, lambda g: times(g, (a.v > b.v).double() + half).reduced(a.shape)),
                        (b, lambda g: times(g, (b.v > a.v).double() + half).reduced(b.shape))))

    @staticmethod
    def sum(x, dims, keepdim):
        count = additions(math.prod(x.shape[d] for d in dims))
        v = x.v.sum(dims, keepdim=True)
        e = x.e.sum(dims, keepdim=True) + count * x.v.abs().sum(dims, keepdim=True) + v.abs()
        y = Bounded(v, e, ((x, lambda g: Bounds.move(g, lambda t: t.expand(x.shape))),))
        return y if keepdim else squeezed(y, dims)

    @staticmethod
    def mean(x, dims, keepdim):
        count = math.prod(x.shape[d] for d in dims)
        return Bounds.sum(x, dims, keepdim) * Bounds.const(1 / count if count > 0 else math.inf)  # 0/0 is NaN

    @staticmethod
    def max(x, dims, keepdim):
        v = torch.amax(x.v, dims, keepdim=True)
        tie = (x.v == v).double()
        share = tie / tie.sum(dims, keepdim=True)
        y = Bounded(v, torch.amax(x.e, dims, keepdim=True), ((x, lambda g: g * Bounded(share, share)),))
        return y if keepdim else squeezed(y, dims)

    @staticmethod
    def var(x, dims, correction, keepdim):
        d = x - Bounds.mean(x, dims, True)
        return Bounds.sum(d * d, dims, keepdim) / Bounds.const(math.prod(x.shape[i] for i in dims) - correction)

    @staticmethod
    def shifted(x, dim, allowed=None):
        """x - max, exp of it, sum of that: of the allowed elements."""
        v = x.v if allowed is None else torch.where(allowed, x.v, -math.inf)
        top = torch.amax(v, dim, keepdim=True) if x.shape[dim] > 0 else v.sum(dim, keepdim=True)
        top = torch.where(torch.isfinite(top), top, 0)
        d = x - Bounded(top, 0 * top)
        e = Bounds.unary("exp", d)
        if allowed is not None:
            e = Bounds.select(allowed, e, Bounded(0 * e.v, 0 * e.v))
        return Bounded(top, 0 * top), d, e, Bounds.sum(e, (dim,), True)

    @staticmethod
    def softmax(x, dim):
        top, d, e, total = Bounds.shifted(x, dim)
        return e / total

    @staticmethod
    def log_softmax(x, dim):
        top, d, e, total = Bounds.shifted(x, dim)
        y = d - Bounds.unary("log", total)
        return remade(y, x, lambda g: g - Bounds.unary("exp", y) * Bounds.sum(g, (dim,), True))

    @staticmethod
    def logsumexp(x, dim, keepdim):
        top, d, e, total = Bounds.shifted(x, dim)
        sum_of = top + Bounds.unary("log", total)
        y = remade(sum_of, x, lambda g: g * Bounds.unary("exp", x - sum_of))
        return y if keepdim else squeezed(y, (dim,))

    @staticmethod
    def linear(x, w, b=None):
        y = Bounds.move(Bounds.move(x, lambda t: t.reshape(-1, x.shape[-1])) @ swapped(w),
                        lambda t: t.reshape(*x.shape[:-1], w.shape[0]))
        return y if b is None else y + b

    @staticmethod
    def layer_norm(x, w, b, eps):
        t = x - Bounds.detach(Bounds.move(x, lambda i: i[..., :1]))  # differences with the first element of a row
        d = t - Bounds.mean(t, (-1,), True)
        root = Bounds.unary("sqrt", Bounds.mean(d * d, (-1,), True) + Bounds.const(eps))
        from_mean = Bounded(d.v, d.e + x.v.mean(-1, keepdim=True).abs(), ((d, lambda g: g),))  # as backward has it

        def affine(xhat):
            xhat = xhat if w is None else xhat * w
            return xhat if b is None else xhat + b
        y = affine(from_mean / root)
        return Bounded(y.v, affine(d / root).e, ((y, lambda g: g),))

    @staticmethod
    def rms_norm(x, w, eps):
        y = x * (Bounds.const(1) / Bounds.unary("sqrt", Bounds.mean(x * x, (-1,), True) + Bounds.const(eps)))
        return y if w is None else y * w

    @staticmethod
    def embedding(table, index):
        return Bounds.move(table, lambda t: t[index])

    @staticmethod
    def cross_entropy(x, target, total, smoothing, ignored):
        V = x.shape[-1]
        keep = torch.ones(target.shape, dtype=torch.bool) if ignored is None else target != ignored
        p = Bounds.log_softmax(x, -1)
        index = torch.where(keep, target, 0)[..., None]
        loss = Bounds.move(p, lambda t: t.gather(-1, index)[..., 0]) * Bounds.const(smoothing - 1)
        if smoothing > 0:
            loss = loss - Bounds.sum(p, (-1,), False) * Bounds.const(smoothing / V)
        loss = Bounds.select(keep, loss, Bounded(0 * loss.v, 0 * loss.v))
        loss = Bounds.sum(loss, tuple(range(len(loss.shape))), False)
        return loss if total else loss * Bounds.const(1 / max(1, int(keep.sum())))

    @staticmethod
    def sdpa(q, k, v, allowed, options):
        scale = options.get("scale") or q.shape[-1] ** -0.5
        s = (q * Bounds.const(scale)) @ swapped(k)
        if options.get("soft_cap"):
            cap = Bounds.const(options["soft_cap"])
            s = Bounds.unary("tanh", s / cap) * cap
        s = s if options.get("bias") is None else s + options["bias"]
        s = Bounds.select(allowed, s, Bounded(0 * s.v, 0 * s.v))
        top, d, e, total = Bounds.shifted(s, -1, allowed)
        total = Bounds.select(total.v > 0, total, Bounded(torch.ones_like(total.v), 0 * total.v))
        p = e / total
        lse = top + Bounds.unary("log", total)
        again = torch.where(allowed, Bounds.unary("exp", s - lse).e, 0)  # as backward computes it
        tiles = (k.shape[-2] + 63) // 64  # the running maximum rises at the most once a tile
        p = Bounded(p.v, torch.maximum(p.e, again) + 8.4 * max(0, tiles - 1) * p.v, ((p, lambda g: g),))
        return p @ v


def remade(y, x, vjp):
    """y as a function of x alone, whose gradient is made from y."""
    return Bounded(y.v, y.e, ((x, vjp),))


def chosen(g, mask):
    zero = torch.zeros((), dtype=DOUBLE)
    return Bounded(torch.where(mask, g.v, zero), torch.where(mask, g.e, zero))


def times(g, factor):
    return Bounded(g.v * factor, g.e * factor)


def squeezed(y, dims):
    shape = [n for i, n in enumerate(y.shape) if i not in [d % len(y.shape) for d in dims]]
    return Bounds.move(y, lambda t: t.reshape(shape))
