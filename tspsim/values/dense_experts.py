"""A mixture of experts on one rank, token by token: what every layout has to compute.

Written from the definition, without the programs' op kinds: the two must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tspsim.experts import Experts, Router
from tspsim.values.routes import Route
from tspsim.values.tensors import Float

#: Adds a gradient to a weight's, by name; the weight's own value, by name.
Add = Callable[[str, Float], None]
Weight = Callable[[str], Float]
#: The MLP of one expert: its output, and from the output's gradient that of the input.
Backward = Callable[[Float], Float]
Expert = Callable[[Float, int], tuple[Float, Backward]]


@dataclass
class DenseExperts:
    """Forward and backward of the experts of one layer.

    Parameters
    ----------
    experts : Experts
    route : Route
    tokens : int
        Over which the router's own losses are means.
    weight, add : callable
        Give a weight of the layer, and add to its gradient.
    expert : callable
        One expert's MLP of some rows.
    """

    experts: Experts
    route: Route
    tokens: int
    weight: Weight
    add: Add
    expert: Expert
    #: The router's own losses.
    losses: float = 0.0

    def run(self, x: Float) -> tuple[Float, Backward]:
        """Return what the experts make of x [batch, sequence, hidden], and its backward."""
        logits = x @ self.weight("router")
        logits = logits + (self.weight("router_bias") if self.experts.biases else 0.0)
        scores = self._scores(logits)
        weights, weigh_back = self._weights(scores)
        out, parts = np.zeros_like(x), []
        for number in range(self.experts.count):
            chosen = np.argwhere((self.route.experts == number) & self.route.kept)
            b, s, slot = chosen.T
            y, back = self.expert(x[b, s], number)
            np.add.at(out, (b, s), weights[b, s, slot][:, None] * y)
            parts.append((b, s, slot, y, back))
        dlosses = self._losses(scores, logits)

        def backward(dout: Float) -> Float:
            dx, dweights = np.zeros_like(x), np.zeros_like(weights)
            for b, s, slot, y, back in parts:
                mine = dout[b, s]
                dweights[b, s, slot] = (mine * y).sum(-1)
                np.add.at(dx, (b, s), back(weights[b, s, slot][:, None] * mine))
            dlogits = self._through(weigh_back(dweights), scores) + dlosses
            self.add("router", np.einsum("bsh,bse->he", x, dlogits))
            if self.experts.biases:
                self.add("router_bias", dlogits.sum((0, 1)))
            return np.asarray(dx + dlogits @ self.weight("router").T)

        return out, backward

    @property
    def _router(self) -> Router:
        return self.experts.router

    def _scores(self, logits: Float) -> Float:
        if self._router.score == "sigmoid":
            return np.asarray(1 / (1 + np.exp(-logits)))
        e = np.exp(logits - logits.max(-1, keepdims=True))
        return np.asarray(e / e.sum(-1, keepdims=True))

    def _through(self, dscores: Float, scores: Float) -> Float:
        """Return the gradient of the products from that of the scores."""
        if self._router.score == "sigmoid":
            return dscores * scores * (1 - scores)
        return np.asarray(scores * (dscores - (dscores * scores).sum(-1, keepdims=True)))

    def _weights(self, scores: Float) -> tuple[Float, Backward]:
        """Return the weights of every token's experts, and the gradient of scores from theirs."""
        b, s, _ = self.route.experts.shape
        at = np.arange(b)[:, None, None], np.arange(s)[None, :, None], self.route.experts
        chosen, scale = scores[at], self._router.scale
        total = chosen.sum(-1, keepdims=True) if self._router.normalise else np.ones((b, s, 1))

        def back(dweights: Float) -> Float:
            d = scale * dweights / total
            if self._router.normalise:
                d = d - (scale * dweights * chosen).sum(-1, keepdims=True) / total**2
            dscores = np.zeros_like(scores)
            np.add.at(dscores, at, d)
            return dscores

        return scale * chosen / total, back

    def _losses(self, scores: Float, logits: Float) -> Float:
        """Add up the router's own losses; return the gradient of its products by them."""
        router, out = self._router, np.zeros_like(logits)
        if router.balance_loss:
            share = scores / scores.sum(-1, keepdims=True)
            slope = router.balance_loss * self.experts.count * self.route.shares / self.tokens
            self.losses += float((share * slope).sum())
            total = scores.sum(-1, keepdims=True)
            dscores = (slope - (share * slope).sum(-1, keepdims=True)) / total
            out += self._through(dscores, scores)
        if router.z_loss:
            size = np.log(np.exp(logits).sum(-1, keepdims=True))
            self.losses += router.z_loss * float((size**2).sum()) / self.tokens
            shares = np.exp(logits - size)
            out += 2 * router.z_loss * size * shares / self.tokens
        return out
