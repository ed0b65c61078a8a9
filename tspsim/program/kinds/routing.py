"""What a router does with tokens: weights of experts, rows in their order, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.experts import Router
from tspsim.program.kinds.base import Array, Where, elementwise
from tspsim.program.kinds.pointwise import Pointwise, sigmoid
from tspsim.program.rows import Copies, Meant
from tspsim.program.types import Operand, Work
from tspsim.routing import Dealing, dealt


def softmax(z: Array) -> Array:
    """Return shares along the last dim."""
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


@dataclass(frozen=True, slots=True)
class Gate(Pointwise):
    """``logits [batch, tokens, count] -> weights [batch, tokens, active]``.

    Parameters
    ----------
    router : Router
    dealing : Dealing
        Which experts every token goes to.
    place : ActivationShard
        Which tokens these are, for the reading by values.
    """

    router: Router
    dealing: Dealing
    place: object = None
    name = "gate"

    def values(self, where: Where, logits: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return what the scores of the chosen experts say."""
        chosen = np.take_along_axis(self._scores(logits), self._experts(logits), -1)
        total = chosen.sum(-1, keepdims=True) if self.router.normalise else 1.0
        return (self.router.scale * chosen / total,)

    def _scores(self, logits: Array) -> Array:
        return softmax(logits) if self.router.score == "softmax" else sigmoid(logits)

    def _experts(self, logits: Array) -> Array:
        return dealt(self.dealing).experts.reshape(*logits.shape[:-1], -1)

    def text(self) -> str:
        """Return the name and the score."""
        return f"gate({self.router.score}, {self.dealing.active} of {len(self.dealing.dealt)})"


@dataclass(frozen=True, slots=True)
class GateBackward(Gate):
    """``(dweights, logits) -> dlogits``, with the gradients of the router's own losses.

    Parameters
    ----------
    tokens : int
        Over which these losses are means: those of all replicas and micro-batches.
    """

    tokens: int = 1
    name = "gate_backward"

    def values(self, where: Where, dweights: Array, logits: Array) -> tuple[Array, ...]:  # type: ignore[override]  # noqa: ARG002
        """Return the gradient of the products."""
        scores, experts = self._scores(logits), self._experts(logits)
        chosen = np.take_along_axis(scores, experts, -1)
        d = self.router.scale * dweights
        if self.router.normalise:
            total = chosen.sum(-1, keepdims=True)
            d = (d - (d * chosen).sum(-1, keepdims=True) / total) / total
        dscores = np.zeros_like(scores)
        np.put_along_axis(dscores, experts, d, -1)
        return (self._through(dscores, scores) + self._losses(scores, logits),)

    def _through(self, dscores: Array, scores: Array) -> Array:
        if self.router.score == "softmax":
            return np.asarray(scores * (dscores - (dscores * scores).sum(-1, keepdims=True)))
        return np.asarray(dscores * scores * (1 - scores))

    def _losses(self, scores: Array, logits: Array) -> Array:
        """Return the gradients of what rewards balance, and small products."""
        router, out = self.router, np.zeros_like(scores)
        if router.balance_loss:
            slope = np.asarray(self.dealing.shares) * len(self.dealing.dealt) * router.balance_loss
            total = scores.sum(-1, keepdims=True)  # 1 of a softmax
            mean = (slope * scores).sum(-1, keepdims=True) / total
            out = out + self._through((slope - mean) / total, scores)
        if router.z_loss:
            top = logits.max(-1, keepdims=True)
            size = top + np.log(np.exp(logits - top).sum(-1, keepdims=True))
            out = out + 2 * router.z_loss * size * softmax(logits)
        return out / self.tokens


@dataclass(frozen=True, slots=True)
class Permute:
    """``x [batch, tokens, width] -> rows [n, width]``, in the order of experts."""

    picked: Copies
    name = "permute"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return that every row is read and written."""
        return Work(0, 2 * sum(o.bytes for o in outputs), "elementwise")

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:
        """Return the rows."""
        return (x.reshape(-1, x.shape[-1])[self.picked.order(where).token],)

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class PermuteBackward:
    """``rows -> dx``: what came of a token's rows adds up.

    Parameters
    ----------
    picked : Copies
    shape : tuple of int, optional
        Of tokens as they lie; rows as they have come when not given.
    """

    picked: Copies
    shape: tuple[int, ...] | None = None
    name = "permute_backward"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that every row is read, and the sums are written."""
        return elementwise(inputs, outputs)

    def values(self, where: Where, rows: Array, *earlier: Array) -> tuple[Array, ...]:
        """Return the sums, added to earlier ones if there are any."""
        out = np.zeros((self.picked.targets(where), rows.shape[-1]))
        np.add.at(out, self.picked.order(where).token, rows)
        out = out if self.shape is None else out.reshape(self.shape)
        return (sum(earlier, out),)

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class Combine:
    """``(rows, weights) -> y [batch, tokens, width]``: a token's rows, weighted, add up."""

    picked: Copies
    name = "combine"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that everything is moved once."""
        return elementwise(inputs, outputs)

    def values(
        self, where: Where, rows: Array, weights: Array, *earlier: Array
    ) -> tuple[Array, ...]:
        """Return the sums, added to earlier ones if there are any."""
        order, flat = self.picked.order(where), weights.reshape(-1, weights.shape[-1])
        out = np.zeros((len(flat), rows.shape[-1]))
        np.add.at(out, order.token, flat[order.token, order.slot][:, None] * rows)
        return (sum(earlier, out.reshape(*weights.shape[:-1], rows.shape[-1])),)

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class CombineBackward:
    """``(dy, rows, weights) -> (drows, dweights)``."""

    picked: Copies
    name = "combine_backward"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that a token's gradient is read once per row, and the rest moved once."""
        drows = outputs[0].bytes
        return Work(0, elementwise(inputs[1:], outputs).bytes + drows, "elementwise")

    def values(
        self, where: Where, dy: Array, rows: Array, weights: Array, *earlier: Array
    ) -> tuple[Array, ...]:
        """Return both gradients, the second added to an earlier one if there is any.

        Of a choice that was dropped the weight has none.
        """
        order, flat = self.picked.order(where), weights.reshape(-1, weights.shape[-1])
        mine = dy.reshape(-1, dy.shape[-1])[order.token]
        dweights = np.zeros_like(flat)
        dweights[order.token, order.slot] = (mine * rows).sum(-1)
        return (
            flat[order.token, order.slot][:, None] * mine,
            sum(earlier, dweights.reshape(weights.shape)),
        )

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class WeighRows(Pointwise):
    """``weights [..., active] -> [rows, active]``: those of choices that go with a row.

    Parameters
    ----------
    sent : Meant
    """

    sent: Meant
    name = "weigh_rows"

    def values(self, where: Where, weights: Array) -> tuple[Array, ...]:
        """Return them; 0 where a choice goes elsewhere."""
        flat = weights.reshape(-1, weights.shape[-1])
        return (flat[self.sent.order(where).token] * self.sent.meant(where),)


@dataclass(frozen=True, slots=True)
class WeighRowsBackward(Pointwise):
    """``dweights [rows, active] -> [..., active]``.

    Parameters
    ----------
    sent : Meant
    shape : tuple of int, optional
        Of weights as they lie; by row when not given.
    """

    sent: Meant
    shape: tuple[int, ...] | None = None
    name = "weigh_rows_backward"

    def values(self, where: Where, drows: Array) -> tuple[Array, ...]:
        """Return the gradients by token and choice."""
        out = np.zeros((self.sent.targets(where), drows.shape[-1]))
        np.add.at(out, self.sent.order(where).token, drows * self.sent.meant(where))
        return (out if self.shape is None else out.reshape(self.shape),)


@dataclass(frozen=True, slots=True)
class Scale(Pointwise):
    """``(y, gate [..., 1]) -> y * sigmoid(gate)``: what the shared experts give."""

    name = "scale"

    def values(self, where: Where, y: Array, gate: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the product."""
        return (y * sigmoid(gate),)


@dataclass(frozen=True, slots=True)
class ScaleBackward(Pointwise):
    """``(dout, y, gate) -> (dy, dgate)``."""

    name = "scale_backward"

    def values(self, where: Where, dout: Array, y: Array, gate: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return both gradients."""
        s = sigmoid(gate)
        return dout * s, (dout * y).sum(-1, keepdims=True) * s * (1 - s)
