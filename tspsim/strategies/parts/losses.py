"""The loss from a piece of logits, and their gradient, as a framework's kernels compute them."""

from __future__ import annotations

from tspsim.program.axis import Axis
from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.cross_entropy import (
    Convert,
    LikelihoodGradient,
    LogSoftmax,
    LogSoftmaxBackward,
)
from tspsim.program.kinds.soft_cap import soft_cap
from tspsim.program.kinds.vocabulary import LogitStatistics, Loss, LossGradient
from tspsim.program.rank import Rank
from tspsim.program.types import Operand


class CrossEntropy:
    """The cross-entropy of one piece of the tokens over a vocabulary that may be cut.

    Parameters
    ----------
    rank : Rank
    axis : Axis or None
        Cuts the vocabulary.
    targets : Operand
        Of the piece's tokens.
    """

    def __init__(self, rank: Rank, axis: Axis | None, targets: Operand) -> None:
        self.rank, self.axis, self.targets = rank, axis, targets
        self.over = axis.name if axis else None
        self._kept: Operand | None = None  # what backward reads of the logits
        self._capped: Operand | None = None  # the logits behind a soft cap of its own kernel
        cap, fused = rank.model.logit_cap, rank.kernels.loss == "fused"
        self._inside, self._apart = cap if fused else None, None if fused else cap
        self._statistics: Operand | None = None

    def forward(self, logits: Operand, loss: Operand) -> None:
        """Add the loss of these logits, [tokens, rows of the vocabulary]."""
        rank = self.rank
        if self._apart:
            self._capped = logits
            rank.compute(self._cap(), (logits,), (logits,), "logits.cap")
        wide = logits if rank.kernels.loss == "fused" else self._widened(logits)
        statistics = rank.statistics("statistics", (1, logits.shape[0], 2))
        kind = LogitStatistics(self.over, self._inside)
        rank.compute(kind, (wide, self.targets), (statistics,), "statistics")
        if self.axis:
            (statistics,) = self.axis.all_gather(
                statistics, dim=0, lane="tokens", label="loss.statistics"
            )
        self._statistics, self._kept = statistics, wide
        if rank.kernels.loss in ("fp32", "chunked"):
            self._kept = rank.statistics("log_softmax", logits.shape)
            rank.compute(LogSoftmax(), (statistics, wide), (self._kept,))
        rank.compute(Loss(rank.tokens), (statistics, loss), (loss,), "loss")

    def backward(self) -> Operand:
        """Return the gradient of the logits, in the activations' type."""
        gradient = self._gradient()
        if self._capped:
            kind = self._cap(backward=True)
            self.rank.compute(kind, (self._capped, gradient), (gradient,), "dlogits.cap")
        return gradient

    def _cap(self, *, backward: bool = False) -> ComputeKind:
        """Return the soft cap of the logits: in single ops where torch's loss is."""
        assert self._apart is not None
        return soft_cap(self._apart, fused=self.rank.kernels.loss == "in-place", backward=backward)

    def _gradient(self) -> Operand:
        """Return the gradient of the logits behind a cap."""
        assert self._kept is not None and self._statistics is not None
        rank = self.rank
        if rank.kernels.loss in ("fp32", "chunked"):
            return self._narrowed(self._by_log_softmax(self._kept))
        kind = LossGradient(self.over, rank.tokens, self._inside)
        inputs = (self._statistics, self.targets, self._kept)
        rank.compute(kind, inputs, (self._kept,), "dlogits")
        return self._kept if rank.kernels.loss == "fused" else self._narrowed(self._kept)

    def _by_log_softmax(self, logged: Operand) -> Operand:
        rank, rows = self.rank, logged.shape[-1]
        gradient = rank.statistics("dlog_softmax", logged.shape)
        kind = LikelihoodGradient(self.over, rank.tokens, rows)
        rank.compute(kind, (self.targets,), (gradient,))
        wide = rank.statistics("dlogits.fp32", logged.shape)
        rank.compute(LogSoftmaxBackward(rank.tokens), (logged, gradient), (wide,))
        return wide

    def _widened(self, logits: Operand) -> Operand:
        if self.rank.workload.dtype == "fp32":
            return logits
        wide = self.rank.statistics("logits.fp32", logits.shape)
        self.rank.compute(Convert(), (logits,), (wide,), "logits.fp32")
        return wide

    def _narrowed(self, wide: Operand) -> Operand:
        narrow = self.rank.tensor("dlogits", wide.shape)
        self.rank.compute(Convert(), (wide,), (narrow,), "dlogits")
        return narrow
