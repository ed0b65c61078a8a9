"""Collectives and the optimizer step of ZeRO-1: every rank owns a part of each tensor, in place.

A flat tensor of n elements is cut over N members into parts of ``ceil(n / N)``; member i owns part
i. A message carries the parts with their padding, which no buffer holds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.mesh import Axes
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.communication import Members, summed
from tspsim.program.kinds.vocabulary import OptimizerStep
from tspsim.program.types import CollectiveKind, Operand, Work


def part(elements: int, members: int) -> int:
    """Return the elements of one member's part, the padding included."""
    return -(-elements // members)


def owned(elements: int, members: int, index: int) -> slice:
    """Return the elements that member `index` owns; fewer, or none, where padding begins."""
    size = part(elements, members)
    return slice(min(index * size, elements), min((index + 1) * size, elements))


@dataclass(frozen=True, slots=True)
class ReduceScatterInPlace:
    """Every member's own part becomes the sum; the rest of its tensor stays what it was."""

    name: CollectiveKind = "reduce_scatter"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return every member's tensors."""
        totals = summed(members)
        return [
            tuple(_with_own(x, t, len(members), i) for x, t in zip(mine, totals, strict=True))
            for i, mine in enumerate(members)
        ]

    def text(self) -> str:
        """Return the name."""
        return f"{self.name}(own part)"


@dataclass(frozen=True, slots=True)
class AllGatherInPlace:
    """Every member gets every other's own part."""

    name: CollectiveKind = "all_gather"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return the whole tensors, once per member."""
        count = len(members)
        whole = tuple(
            np.concatenate([x[owned(x.size, count, i)] for i, x in enumerate(theirs)])
            for theirs in zip(*members, strict=True)
        )
        return [whole for _ in members]

    def text(self) -> str:
        """Return the name."""
        return f"{self.name}(own part)"


@dataclass(frozen=True, slots=True)
class ShardedOptimizerStep(OptimizerStep):
    """``(gradients, weights, states) -> (weights, states)``: each rank updates its own parts.

    Gradients are whole, and their own parts are read, or they are these.

    Parameters
    ----------
    axis : str or tuple of str
        Over which the parts are cut; states hold nothing but the rank's own.
    degree : int
    tensors : int
        How many gradients there are, and as many weights.
    """

    axis: Axes
    degree: int
    tensors: int

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return the memory traffic: own parts of gradients and weights, states whole."""
        n = self.tensors
        gradients, weights = inputs[:n], inputs[n : 2 * n]
        are_whole = sum(g.elements for g in gradients) == sum(w.elements for w in weights)
        read = sum(self._own_bytes(g) if are_whole else g.bytes for g in gradients)
        cut = sum(map(self._own_bytes, (*weights, *outputs[:n])))
        states = sum(o.bytes for o in (*inputs[2 * n :], *outputs[n:]))
        return Work(0, read + cut + states, "elementwise")

    def _own_bytes(self, operand: Operand) -> int:
        return round(part(operand.elements, self.degree) * operand.buffer.itemsize)

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return the weights after a step of gradient descent of rate 1 on the rank's own parts.

        It stands for any optimizer that works element by element. How far the weights moved, the
        others' parts included, is compared with the dense gradient.
        """
        n, index = self.tensors, where.coordinate(self.axis)
        pairs = zip(arrays[:n], arrays[n : 2 * n], strict=True)
        return tuple(self._updated(w, g, index) for g, w in pairs)

    def _updated(self, w: Array, gradient: Array, index: int) -> Array:
        if gradient.size == w.size:
            return _with_own(w, w - gradient, self.degree, index)
        out, mine = w.copy(), owned(w.size, self.degree, index)
        out[mine] -= gradient[: mine.stop - mine.start]
        return out


def _with_own(x: Array, new: Array, members: int, index: int) -> Array:
    """Return x with the part that a member owns taken from another array."""
    out, mine = x.copy(), owned(x.size, members, index)
    out[mine] = new[mine]
    return out
