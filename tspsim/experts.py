"""Mixtures of experts: which layers have them, how a router weighs them, and their exact counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Score = Literal["softmax", "sigmoid"]


@dataclass(frozen=True, slots=True)
class Router:
    """How much a token's experts count: from one product with a matrix [hidden, count].

    Which experts a token goes to is an input (`tspsim.routing.Routing`), so that time, memory and
    values see the same ones; the router's values say with which weight.

    Parameters
    ----------
    score : {"softmax", "sigmoid"}
        What becomes of the products: shares of all experts (Mixtral), or each by itself
        (DeepSeek-V3, arXiv 2412.19437, equation 15).
    normalise : bool
        The weights of a token's experts are divided by their sum.
    scale : float
        And multiplied by this.
    groups, top_groups : int
        Experts lie in so many groups, and a token goes to those of so few of them (DeepSeek-V2,
        arXiv 2405.04434, section 2.2.2).
    correction : bool
        A number per expert is added where experts are chosen, and nowhere else: it is a parameter
        without a gradient (DeepSeek-V3, equation 16).
    balance_loss : float
        Coefficient of the loss ``count * sum(f P)`` that rewards balance, f the share of choices
        that an expert has and P its mean score (arXiv 2101.03961, equation 4).
    z_loss : float
        Coefficient of the mean square of the products' log-sum-exp (arXiv 2202.08906, equation 5).
    """

    score: Score = "softmax"
    normalise: bool = True
    scale: float = 1.0
    groups: int = 1
    top_groups: int = 1
    correction: bool = False
    balance_loss: float = 0.0
    z_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts of a model's layers.

    Parameters
    ----------
    count : int
        Experts of a layer.
    active : int
        Experts that a token goes to.
    width : int
        Of one expert's MLP.
    shared : int
        Width, in all, of the experts that every token goes to; 0: none.
    shared_gate : bool
        What these give is multiplied by a sigmoid of one more product (Qwen2-MoE).
    first_dense : int
        Layers in front that have a dense MLP instead.
    every : int
        Of the others every so-manieth has experts: those with ``(layer + 1) % every == 0``.
    biases : bool
        Router and experts add biases (gpt-oss).
    router : Router
    """

    count: int
    active: int
    width: int
    shared: int = 0
    shared_gate: bool = False
    first_dense: int = 0
    every: int = 1
    biases: bool = False
    router: Router = Router()

    def in_layer(self, layer: int) -> bool:
        """Whether a layer has experts."""
        return layer >= self.first_dense and (layer + 1) % self.every == 0

    def matrices(self, hidden: int, each: int) -> int:
        """Return the elements of all matrices of a layer, of an MLP with so many matrices.

        Parameters
        ----------
        hidden : int
        each : int
            Matrices of an MLP: 3 gated, 2 plain.
        """
        return self.count * each * hidden * self.width + self.everywhere(hidden, each)

    def vectors(self, hidden: int, each: int, *, active: bool = False) -> int:
        """Return the parameters of a layer that are no matrices, or those that a token meets.

        A router's correction, a number per expert, is one too (DeepSeek-V3).
        """
        experts = self.active if active else self.count
        biases = self.count + experts * ((each - 1) * self.width + hidden)
        return self.count * self.router.correction + biases * self.biases

    def active_matrices(self, hidden: int, each: int) -> int:
        """Return the elements of the matrices that a token meets."""
        return self.active * each * hidden * self.width + self.everywhere(hidden, each)

    def everywhere(self, hidden: int, each: int) -> int:
        """Return the elements of the matrices that all tokens meet: router and shared experts."""
        return hidden * (self.count + self.shared_gate) + each * hidden * self.shared
