"""Attention without a flash kernel, in the words of a rank: the scores are kept for backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tspsim.files.errors import ProgramError
from tspsim.kernels import Kernels
from tspsim.program.kinds.attention import Core
from tspsim.program.kinds.cross_entropy import Convert
from tspsim.program.kinds.dropout import MASK_ITEMSIZE, Dropout, DropoutBackward
from tspsim.program.kinds.passes import Passes
from tspsim.program.kinds.scores import (
    KeyGradient,
    QueryGradient,
    Scores,
    Softmax,
    SoftmaxBackward,
    Transpose,
    ValueGradient,
    WeightedSum,
    WeightsGradient,
)
from tspsim.program.kinds.soft_cap import soft_cap
from tspsim.program.recorder import Recorder
from tspsim.program.types import Operand

#: Bytes of an element of a softmax in fp32.
WIDE_ITEMSIZE = 4
#: Its kernels in Megatron-LM's `forward_torch_softmax`, without the last conversion: to fp32,
#: scale, mask, softmax; bytes moved per byte of the scores: 2 + 4, 4 + 4, 4 + 4 and 4 + 4 for two.
SOFTMAX_PASSES = (4, 15.0)


@dataclass(frozen=True, slots=True)
class KeptScores:
    """What the core's backward reads in place of a log-sum-exp.

    Parameters
    ----------
    probabilities : Operand
        Softmax's output, [batch, heads, queries, keys].
    dropped : Operand
        What the values were weighted with: in the activations' type, and behind the dropout.
    mask : Operand or None
        Of the dropout.
    capped : Operand or None
        The scores behind a soft cap.
    """

    probabilities: Operand
    dropped: Operand
    mask: Operand | None = None
    capped: Operand | None = None


class UnfusedAttention:
    """Records one core's forward and backward.

    Parameters
    ----------
    rank : Recorder
    core : Core
    itemsize : float
        Bytes of an element of activations and scores.
    widths : (int, int)
        Of one head's keys, and of its values.
    kernels : Kernels
        Say whether there is a dropout, and whether the softmax is fused.
    """

    def __init__(
        self,
        rank: Recorder,
        core: Core,
        itemsize: float,
        widths: tuple[int, int],
        kernels: Kernels,
    ) -> None:
        self.rank, self.core, self.itemsize = rank, core, itemsize
        self.widths, self.kernels = widths, kernels

    def _like(self, name: str, shape: tuple[int, ...]) -> Operand:
        return self.rank.buffer(name, shape, self.itemsize)

    def forward(
        self, q: Operand, k: Operand, v: Operand, *sinks: Operand
    ) -> tuple[Operand, KeptScores]:
        """Return the output [batch, queries, width], and what backward reads."""
        rank, core, (wide, value) = self.rank, self.core, self.widths
        square = (q.shape[0], core.heads, q.shape[1], k.shape[1])
        scores = self._like("scores", square)
        rank.compute(Scores(core, wide), (q, k), (scores,))
        self._cap(scores)
        kept = self._drop(*self._softmax(scores, *sinks))
        kept = replace(kept, capped=scores) if core.cap else kept
        by_heads = self._like("o.heads", (*q.shape[:2], core.heads * value))
        rank.compute(WeightedSum(core, value), (kept.dropped, v), (by_heads,))
        return self._transposed(by_heads, label="transpose.o")[0], kept

    def _transposed(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        outs = tuple(self._like(x.buffer.name.removesuffix(".heads"), x.shape) for x in xs)
        self.rank.compute(Transpose(), xs, outs, label)
        return outs

    def _cap(self, scores: Operand, gradient: Operand | None = None) -> None:
        """Record the soft cap of scores, in place; or with their gradient its backward."""
        if self.core.cap is None:
            return
        fused = self.kernels.softmax == "fused"
        kind = soft_cap(self.core.cap, fused=fused, backward=gradient is not None)
        inputs = (scores, gradient) if gradient else (scores,)
        self.rank.compute(kind, inputs, inputs[-1:])

    def _softmax(self, scores: Operand, *sinks: Operand) -> tuple[Operand, Operand]:
        """Return the probabilities that backward reads, and those in the activations' type."""
        rank, kind = self.rank, Softmax(self.core)
        if self.kernels.softmax == "fused":
            probabilities = self._like("probabilities", scores.shape)
            rank.compute(kind, (scores, *sinks), (probabilities,))
            return probabilities, probabilities
        wide = rank.buffer("probabilities.fp32", scores.shape, WIDE_ITEMSIZE)
        rank.compute(Passes(kind, *SOFTMAX_PASSES), (scores, *sinks), (wide,))
        narrow = self._like("probabilities", scores.shape)
        rank.compute(Convert(), (wide,), (narrow,), "probabilities")
        return wide, narrow

    def _drop(self, probabilities: Operand, weights: Operand) -> KeptScores:
        if not self.kernels.dropout:
            return KeptScores(probabilities, weights)
        dropped = self._like("dropped", weights.shape)
        mask = self.rank.buffer("dropout.mask", weights.shape, MASK_ITEMSIZE)
        self.rank.compute(Dropout(), (weights,), (dropped, mask), "dropout.scores")
        return KeptScores(probabilities, dropped, mask)

    def backward(
        self, inputs: Sequence[Operand], kept: KeptScores
    ) -> tuple[Operand, Operand, Operand]:
        """Return dq, dK and dV from ``(do, q, K, V)``."""
        do, q, k, v = inputs
        rank, core, (wide, value) = self.rank, self.core, self.widths
        dv = self._like("dv.heads", v.shape)
        rank.compute(ValueGradient(core, value), (kept.dropped, do), (dv,))
        ds = self._like("dscores", kept.probabilities.shape)
        rank.compute(WeightsGradient(core, value), (do, v), (ds,))
        if kept.mask:
            rank.compute(DropoutBackward(), (ds, kept.mask), (ds,), "ddropout.scores")
        rank.compute(SoftmaxBackward(core), (kept.probabilities, ds), (ds,))
        if kept.capped:
            self._cap(kept.capped, ds)
        dq, dk = self._like("dq.heads", q.shape), self._like("dk.heads", k.shape)
        rank.compute(QueryGradient(core, wide), (ds, k), (dq,))
        rank.compute(KeyGradient(core, wide), (ds, q), (dk,))
        dq, dk, dv = self._transposed(dq, dk, dv, label="transpose.dqkv")
        return dq, dk, dv


def mergeable(kept: Operand | KeptScores) -> Operand:
    """Return the log-sum-exp that partial outputs are merged by.

    Raises
    ------
    ProgramError
        When the attention kept scores: nothing of them says how partial outputs are weighted.
    """
    if isinstance(kept, KeptScores):
        raise ProgramError("partial attention cannot be merged without a flash kernel")
    return kept
