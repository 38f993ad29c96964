# SPDX-License-Identifier: MIT
"""optimizers.py - training by torch.optim, clip_grad_norm_ and the schedules of nn/training.h, with bounds of what
float32 or float64 make of the same formulas.
"""
import math

import torch

from bounds import Bounded, Bounds


def schedule_lr(s, step):
    W, N = s["warmup"], s["total"]
    if step < W:
        return s["lr"] * (step + 1) / W
    if s["schedule"] == 0:
        return s["lr"]
    if step >= N - 1:
        return s["min_lr"]
    p = (step - W) / (N - 1 - W)
    if s["schedule"] == 1:
        return s["lr"] + p * (s["min_lr"] - s["lr"])
    return s["min_lr"] + (s["lr"] - s["min_lr"]) * (1 + math.cos(math.pi * p)) / 2


def constant(x, roundings=1):
    x = torch.as_tensor(x, dtype=torch.float64)
    return Bounded(x, roundings * x.abs())


def sgd_bound(s, p, g, state, lr):
    if s["weight_decay"]:
        g = g + p * constant(s["weight_decay"])
    if s["momentum"]:
        v = state.get("v")
        v = g if v is None else v * constant(s["momentum"]) + g * constant(1 - s["dampening"], 3)
        state["v"] = v
        g = g + v * constant(s["momentum"]) if s["nesterov"] else v
    return p - g * constant(lr)


def adamw_bound(s, p, g, state, lr):
    beta1, beta2, eps = s["beta1"] or 0.9, s["beta2"] or 0.999, s["eps"] or 1e-8
    state["t"] = t = state.get("t", 0) + 1
    if decays(s, p.v):
        p = p - p * constant(lr * s["weight_decay"], 2)
    zero = Bounded(0 * p.v, 0 * p.v)
    state["m"] = m = state.get("m", zero) * constant(beta1) + g * constant(1 - beta1, 3)
    state["v"] = v = state.get("v", zero) * constant(beta2) + g * g * constant(1 - beta2, 3)
    root = Bounds.unary("sqrt", v / constant(1 - beta2 ** t, 2)) if bool((v.v > 0).all()) else v
    return p - m / constant(1 - beta1 ** t, 2) / (root + constant(eps)) * constant(lr)


def decays(s, p):
    return s["weight_decay"] > 0 and (s["decay_all"] or p.dim() >= 2)


def torch_optimizer(s, params):
    if s["call"] == "sgd":
        return torch.optim.SGD(params, s["lr"], s["momentum"], s["dampening"], s["weight_decay"],
                               bool(s["nesterov"] and s["momentum"]))
    groups = [{"params": [p], "weight_decay": s["weight_decay"] if decays(s, p) else 0.0} for p in params]
    return torch.optim.AdamW(groups, s["lr"], (s["beta1"] or 0.9, s["beta2"] or 0.999), s["eps"] or 1e-8)


def expected(s, got):
    """Name, value and bound in u of all that the run should answer."""
    params = {k: got[k].clone().requires_grad_(True) for k in ("weight", "bias")}
    bounds = {k: Bounded(got[k], 0 * got[k]) for k in params}
    state = {k: {} for k in params}
    torch_own = torch_optimizer(s, list(params.values()))
    result = {}
    for step in range(s["steps"]):
        lr = schedule_lr(s, step)
        result[f"lr{step}"] = (torch.tensor(lr, dtype=torch.float64), 8 * max(lr, s["lr"]) * 2.0 ** -53 / Bounded.unit)
        grads = {k: Bounded(g, 0 * g) for k in params if (g := got.get(f"g{step}.{k}")) is not None}
        for k, p in params.items():
            p.grad = grads[k].v.clone() if k in grads else None
        if s["max_norm"]:
            norm = torch.nn.utils.clip_grad_norm_(params.values(), s["max_norm"])
            result[f"norm{step}"] = (norm, 330 * norm * 2.0 ** -53 / Bounded.unit)
            if norm > s["max_norm"]:
                grads = {k: g * constant(s["max_norm"] / (norm + 1e-6)) for k, g in grads.items()}
        for group in torch_own.param_groups:
            group["lr"] = lr
        torch_own.step()
        for k, g in grads.items():
            bounds[k] = (sgd_bound if s["call"] == "sgd" else adamw_bound)(s, bounds[k], g, state[k], lr)
        for k, p in params.items():
            result[f"p{step}.{k}"] = (p.detach().clone(), bounds[k].e)
    return result
