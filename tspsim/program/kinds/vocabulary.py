"""Embedding lookup, and the loss from logits, over a shard of the vocabulary.

A rank holds rows ``[c * V/n, (c + 1) * V/n)`` of the vocabulary, c its coordinate on `axis`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.kinds.soft_cap import capped, slope
from tspsim.program.types import Operand, Work


def local_rows(where: Where, axis: str | None, ids: Array, rows: int) -> tuple[Array, Array]:
    """Return ids counted from this rank's first row (0 where not here), and which are here."""
    local = ids - where.coordinate(axis) * rows
    here = (local >= 0) & (local < rows)
    return np.where(here, local, 0), here


@dataclass(frozen=True, slots=True)
class Embed(Pointwise):
    """``(ids, table) -> x``: rows of this rank's part of the table, zero for tokens elsewhere."""

    axis: str | None
    name = "embed"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return the rows read and written; the rest of the table is not touched."""
        return Work(0, inputs[0].bytes + 2 * outputs[0].bytes, "elementwise")

    def values(self, where: Where, ids: Array, table: Array) -> tuple[Array, ...]:
        """Return [batch, tokens, h]."""
        rows, here = local_rows(where, self.axis, ids.astype(np.int64), len(table))
        return (table[rows] * here[..., None],)


@dataclass(frozen=True, slots=True)
class EmbedGradient(Pointwise):
    """``(ids, dx, dtable) -> dtable``: adds every token's gradient to its row."""

    axis: str | None
    name = "embed_gradient"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return the rows read, and read and written again in the table."""
        rows = math.prod(inputs[1].shape) * _itemsize(inputs[2])
        return Work(0, inputs[0].bytes + inputs[1].bytes + 2 * rows, "elementwise")

    def values(self, where: Where, ids: Array, dx: Array, dtable: Array) -> tuple[Array, ...]:
        """Return dtable with the tokens of this rank's rows added."""
        rows, here = local_rows(where, self.axis, ids.astype(np.int64), len(dtable))
        out = dtable.copy()
        np.add.at(out, rows, dx * here[..., None])
        return (out,)


def _itemsize(operand: Operand) -> int:
    """Return the bytes of one element of an operand."""
    return int(operand.buffer.itemsize)


@dataclass(frozen=True, slots=True)
class LogitStatistics(Pointwise):
    """``(logits, targets) -> [log-sum-exp, target logit]`` of this rank's rows, [1, tokens, 2].

    Parameters
    ----------
    axis : str or None
    cap : float or None
        A soft cap of the logits, in the same kernel.
    """

    axis: str | None
    cap: float | None = None
    name = "logit_statistics"

    def values(self, where: Where, logits: Array, targets: Array) -> tuple[Array, ...]:
        """Return the statistics; the target logit is 0 where the target is on another rank."""
        logits = capped(logits, self.cap)
        top = logits.max(-1, keepdims=True)
        lse = np.log(np.exp(logits - top).sum(-1)) + top[..., 0]
        rows, here = local_rows(where, self.axis, targets.astype(np.int64), logits.shape[-1])
        target = np.take_along_axis(logits, rows[:, None], axis=-1)[:, 0] * here
        return (np.stack([lse, target], axis=-1)[None],)


@dataclass(frozen=True, slots=True)
class Loss(Pointwise):
    """``(statistics, loss) -> loss``: adds the cross-entropy of these tokens.

    Parameters
    ----------
    tokens : int
        Tokens of the whole step, over which the loss is the mean.
    """

    tokens: int
    name = "loss"

    def values(self, where: Where, statistics: Array, loss: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the loss with these tokens' part added, shape (1,)."""
        lse = np.logaddexp.reduce(statistics[..., 0], axis=0)
        return (loss + (lse - statistics[..., 1].sum(0)).sum() / self.tokens,)


@dataclass(frozen=True, slots=True)
class LossGradient(Pointwise):
    """``(statistics, targets, logits) -> dlogits``, written over the logits; see `LogitStatistics`.

    Parameters
    ----------
    axis : str or None
    tokens : int
        Tokens of the whole step.
    cap : float or None
    """

    axis: str | None
    tokens: int
    cap: float | None = None
    name = "loss_gradient"

    def values(
        self, where: Where, statistics: Array, targets: Array, logits: Array
    ) -> tuple[Array, ...]:
        """Return (softmax - one hot) / tokens."""
        lse = np.logaddexp.reduce(statistics[..., 0], axis=0)
        logits = capped(logits, self.cap)
        out = np.exp(logits - lse[:, None])
        rows, here = local_rows(where, self.axis, targets.astype(np.int64), logits.shape[-1])
        out[np.arange(len(rows)), rows] -= here
        return (out * slope(logits, self.cap) / self.tokens,)


@dataclass(frozen=True, slots=True)
class Objective(Pointwise):
    """``(y, loss) -> (y, loss)``: half the sum of squares, standing in where there is no head.

    Its gradient is y itself, so y's buffer becomes the output gradient.
    """

    name = "objective"

    def values(self, where: Where, y: Array, loss: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dy = y, and the loss with this rank's part added."""
        return y, loss + 0.5 * (y**2).sum()


@dataclass(frozen=True, slots=True)
class OptimizerStep(Pointwise):
    """Reads gradients and states and writes weights and states, all parameters in one op.

    What it would write is not compared by value: the gradients that it reads are.
    """

    kind: str
    name = "optimizer"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return nothing new."""
        return ()

    def text(self) -> str:
        """Return the optimizer's name."""
        return self.kind
