"""The two blocks over one shard of their weights, forward and backward: what stays on a rank.

Strategies put these together; they differ in whose shard it is, and in what they send between.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.attention import join
from tspsim.calibrate.reference.exchange import Exchange, Turn

Shard: TypeAlias = dict[str, Tensor]

# ---- attention: projections around the core ------------------------------------------------------


def project(
    x: Tensor, w: Shard, exchange: Exchange, rotate: Callable[[Tensor], Tensor], *, keep: bool
) -> Turn:
    """Return q, K and V of local tokens; K and V begin to travel as soon as they are there.

    They lie side by side, one message; `keep` says whether they are kept after they have travelled.
    """
    kv = x.new_empty(*x.shape[:2], 2 * w["wk"].shape[1])
    k, v = kv.chunk(2, -1)
    rotate(ops.matmul(x, w["wk"], k))
    ops.matmul(x, w["wv"], v)
    arriving = exchange.begin(kv)
    needed = keep or arriving is None
    return Turn(rotate(ops.matmul(x, w["wq"])), kv if needed else None, arriving)


def output(turn: Turn, w: Shard, add_to: Tensor | None = None) -> Tensor:
    """Return the attention's output times Wo, added to the parts of other heads."""
    assert turn.o is not None
    return ops.matmul(join(turn.o), w["wo"], add_to, add=add_to is not None)


def output_backward(dy: Tensor, turn: Turn, w: Shard, dw: Shard, *, add: bool = True) -> Tensor:
    """Return the gradient of the attention's output; add (or write) that of Wo."""
    assert turn.o is not None
    ops.weight_gradient(join(turn.o), dy, dw["wo"], add=add)
    return ops.matmul(dy, w["wo"].t())


# ---- MLP -----------------------------------------------------------------------------------------


def hidden(x: Tensor, w: Shard) -> list[Tensor]:
    """Return gate, up, and the hidden activations."""
    gate, up = ops.matmul(x, w["gate"]), ops.matmul(x, w["up"])
    return [gate, up, ops.gated(gate, up)]


def down_backward(dy: Tensor, kept: list[Tensor], w: Shard, dw: Shard) -> Shard:
    """Return the gradients of gate and up, over the two; add that of down.

    Empties `kept`: every tensor is let go with its last use.
    """
    ops.weight_gradient(kept.pop(), dy, dw["down"])
    return hidden_backward(dy, kept, w)


def hidden_backward(dy: Tensor, kept: list[Tensor], w: Shard) -> Shard:
    """Return the gradients of gate and up, over the two; takes them from `kept`."""
    dhidden = ops.matmul(dy, w["down"].t())
    up, gate = kept.pop(), kept.pop()
    dgate, dup = ops.gated_backward(dhidden, gate, up)
    return {"gate": dgate, "up": dup}


# ---- both: the matrices that read the block's input ----------------------------------------------


def input_gradient(gradients: Shard, w: Shard, add_to: Tensor | None = None) -> Tensor:
    """Return the input's gradient from those of what its matrices gave, by name."""
    for name, gradient in gradients.items():
        add_to = ops.matmul(gradient, w[name].t(), add_to, add=add_to is not None)
    assert add_to is not None
    return add_to


def weight_gradients(x: Tensor, gradients: Shard, dw: Shard, *, add: bool = True) -> None:
    """Add (or write) the gradients of the matrices that read the block's input."""
    for name, gradient in gradients.items():
        ops.weight_gradient(x, gradient, dw[name], add=add)
