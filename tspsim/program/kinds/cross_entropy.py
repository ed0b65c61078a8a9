"""Cross-entropy as torch computes it of fp32 logits: every step a buffer of its own.

``F.cross_entropy(logits.float(), targets)`` is a conversion, a log-softmax and a negative log
likelihood; autograd runs the three backwards in turn (torch's derivatives.yaml). Of a vocabulary
that is cut over ranks, each holds its rows, and only statistics are gathered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.kinds.vocabulary import local_rows


@dataclass(frozen=True, slots=True)
class Convert(Pointwise):
    """``x -> x`` in another type."""

    name = "convert"

    def values(self, where: Where, *xs: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return what there is."""
        return xs


@dataclass(frozen=True, slots=True)
class LogSoftmax(Pointwise):
    """``(statistics, logits) -> log-softmax`` of this rank's rows, the vocabulary as a whole."""

    name = "log_softmax"

    def values(self, where: Where, statistics: Array, logits: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return logits less their log-sum-exp."""
        lse = np.logaddexp.reduce(statistics[..., 0], axis=0)
        return (logits - lse[:, None],)


@dataclass(frozen=True, slots=True)
class LikelihoodGradient(Pointwise):
    """``(targets) -> dlog_softmax``: zeros, and -1 / tokens at every target of this rank's rows.

    Parameters
    ----------
    axis : str or None
    tokens : int
        Tokens of the whole step, over which the loss is the mean.
    rows : int
        Rows of the vocabulary that this rank holds.
    """

    axis: str | None
    tokens: int
    rows: int
    name = "likelihood_gradient"

    def values(self, where: Where, targets: Array) -> tuple[Array, ...]:
        """Return the gradient of the log-softmax."""
        rows, here = local_rows(where, self.axis, targets.astype(np.int64), self.rows)
        out = np.zeros((len(rows), self.rows))
        out[np.arange(len(rows)), rows] -= here / self.tokens
        return (out,)


@dataclass(frozen=True, slots=True)
class LogSoftmaxBackward(Pointwise):
    """``(log-softmax, its gradient) -> dlogits``: d - softmax * (sum of d over the vocabulary).

    That sum is -1 / tokens in every row, whichever rank holds the target.
    """

    tokens: int
    name = "log_softmax_backward"

    def values(self, where: Where, logged: Array, gradient: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient of the logits."""
        return (gradient + np.exp(logged) / self.tokens,)
