"""Compute ops to be timed: the reference's own code, so that blocks run what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tspsim.calibrate.reference import attention as cores
from tspsim.calibrate.reference import ops

Call = Callable[[], Any]

#: Elements that the reference may hold at a time in single precision.
SCRATCH = 2**20


def op(case: dict[str, Any], device: torch.device) -> Call:
    """Return an op as a function to be called again and again.

    Parameters
    ----------
    case : dict
        ``op`` and its sizes, as `tspsim.calibrate.measure.grid` writes them.
    device : torch.device
    """
    torch.manual_seed(0)
    makers: dict[str, Callable[[dict[str, Any], torch.device], Call]] = {
        "matmul": _matmul, "attention": _attention, "attention_backward": _attention_backward,
    }  # fmt: skip
    return makers.get(case["op"], _pointwise)(case, device)


def _matmul(case: dict[str, Any], device: torch.device) -> Call:
    m, k, n = case["m"], case["k"], case["n"]
    out = torch.empty(m, n, device=device)
    a, b = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
    if case["form"] == "nt":
        b = torch.randn(n, k, device=device).t()
    if case["form"] == "tn":
        a = torch.randn(k, m, device=device).t()
    return lambda: torch.mm(a, b, out=out)


def _heads(case: dict[str, Any], tokens: int, device: torch.device) -> torch.Tensor:
    """Return [batch, heads, tokens, d] as a view of [batch, tokens, width], as in a block."""
    width = case["heads"] * case["d"]
    return cores.split(torch.randn(case["batch"], tokens, width, device=device), case["d"])


def _attention(case: dict[str, Any], device: torch.device) -> Call:
    q = _heads(case, case["queries"], device)
    k, v = (_heads(case, case["keys"], device) for _ in range(2))
    return lambda: cores.forward(q, k, v, case["causal"])


def _attention_backward(case: dict[str, Any], device: torch.device) -> Call:
    q = _heads(case, case["queries"], device)
    k, v = (_heads(case, case["keys"], device) for _ in range(2))
    o, lse = cores.forward(q, k, v, case["causal"])
    saved = cores.Saved(q, o, lse, torch.randn_like(q))
    return lambda: cores.backward(saved, k, v, case["causal"])


def _pointwise(case: dict[str, Any], device: torch.device) -> Call:
    tokens, width = case["tokens"], case["width"]
    x, y, z = (torch.randn(1, tokens, width, device=device) for _ in range(3))
    w, dw = torch.ones(width, device=device), torch.zeros(width, device=device)
    positions = torch.arange(tokens, device=device)
    order = torch.arange(tokens - 1, -1, -1, device=device)
    calls: dict[str, Call] = {
        "norm": lambda: ops.norm(x, w),
        "norm_backward": lambda: ops.norm_backward(x, y, w, dw, z, SCRATCH),
        "gated": lambda: ops.gated(x, y),
        "gated_backward": lambda: ops.gated_backward(x, y, z),
        "add": lambda: y.add_(x),
        "rotary": lambda: ops.rotate(x, positions, 64, SCRATCH),
        "reorder": lambda: x[:, order],
    }
    return calls[case["op"]]
