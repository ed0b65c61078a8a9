"""A mixture of experts folded on TSP's ranks: tokens travel to experts, or experts to tokens.

Every rank owns a block of whole experts, and all of a router, whose gradient is summed with the
norms'. Where tokens travel, one all-to-all takes a row for every choice to the rank of its expert,
and another one takes back what came of it (GShard, arXiv 2006.16668); backward does the same with
gradients. Where weights travel, they go round the ring as TSP's MLP does, and rows stay.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tspsim.calibrate.reference import experts, ops
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Normed
from tspsim.calibrate.reference.experts import Gate, Routes
from tspsim.calibrate.reference.mesh import Mesh, Pending
from tspsim.calibrate.reference.tsp import TspLayer


@dataclass(slots=True)
class MixtureTape:
    """What forward leaves: of the router, what came of the rows, and what the layout left."""

    gate: Gate
    made: Tensor
    inside: Any


class MixtureLayer(TspLayer):
    """One layer with experts under TSP; a layout subclasses it.

    Parameters
    ----------
    job : Job
    mesh : Mesh
    device : str
    """

    def __init__(self, job: Job, mesh: Mesh, device: str) -> None:
        super().__init__(job, mesh, device)
        self.routes = Routes(job, mesh.spread.coordinate, device)
        self.each = job.shape.experts // self.axis.degree

    @abstractmethod
    def experts(self, rows: Tensor) -> tuple[Tensor, Any]:
        """Return what experts make of rows in their order, and a tape."""

    @abstractmethod
    def experts_backward(self, drows: Tensor, rows: Tensor, tape: Any) -> Tensor:
        """Return the gradient of the rows."""

    def partial_gradients(self) -> list[Tensor]:
        """Return those of norms and router, in one message."""
        return [self.weights.first_gradients(2)]

    def block(self, owner: int) -> slice:
        """Return the experts of a rank."""
        return slice(owner * self.each, (owner + 1) * self.each)

    def mlp(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Weigh, make rows, have them multiplied, and add up."""
        x = normed()
        gate = Gate.of(x, self.weights.value("router")["router"], self.routes, self.job.statistics)
        made, inside = self.experts(ops.rows(x)[self.routes.token])
        out = experts.combine(made, gate, self.routes, ops.rows(x)).view_as(x)
        return out, MixtureTape(gate, made, inside) if keep else None

    def mlp_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Mirror `mlp`, which runs again where nothing was kept."""
        x = normed()
        kept: MixtureTape = tape or self.mlp(normed, keep=True)[1]
        drows, dweights = experts.combine_backward(ops.rows(dy), kept.made, kept.gate, self.routes)
        dlogits = kept.gate.backward(dweights, self.routes).to(x.dtype)
        dmade = self.experts_backward(drows, ops.rows(x)[self.routes.token], kept.inside)
        dx = torch.zeros_like(ops.rows(x)).index_add_(0, self.routes.token, dmade)
        ops.matmul(dlogits, self.weights.value("router")["router"].t(), dx, add=True)
        ops.weight_gradient(x, dlogits, self.weights.grad("router")["router"])
        return dx.view_as(x)


@dataclass(slots=True)
class Arrived:
    """Rows at their experts, all of an expert together, and what these left."""

    rows: Tensor
    experts: list[list[Tensor]]


class TokensTravel(MixtureLayer):
    """Rows go to the ranks of their experts, and back."""

    def __init__(self, job: Job, mesh: Mesh, device: str) -> None:
        super().__init__(job, mesh, device)
        counts, mine = self.routes.counts, self.block(self.axis.coordinate)
        ranks = range(self.axis.degree)
        self.give = [sum(counts[self.axis.coordinate][self.block(rank)]) for rank in ranks]
        here = [their[mine] for their in counts]
        self.take = [sum(their) for their in here]
        self.counts = [sum(column) for column in zip(*here, strict=True)]
        self.order = experts.arrangement(here).to(device)

    def _to_experts(self, rows: Tensor) -> Tensor:
        arriving = self.axis.all_to_all(rows, self.give, self.take, "activations")
        return arriving.wait()[self.order]

    def _from_experts(self, rows: Tensor) -> Tensor:
        by_sender = torch.empty_like(rows)
        by_sender[self.order] = rows
        return self.axis.all_to_all(by_sender, self.take, self.give, "activations").wait()

    def experts(self, rows: Tensor) -> tuple[Tensor, Arrived]:
        """Dispatch, multiply, combine."""
        here = self._to_experts(rows)
        made = torch.empty_like(here)
        tape = experts.forward(here, self.counts, self.weights.value("experts"), made)
        return self._from_experts(made), Arrived(here, tape)

    def experts_backward(self, drows: Tensor, rows: Tensor, tape: Arrived) -> Tensor:  # noqa: ARG002
        """Do the same with gradients."""
        w, dw = self.weights.value("experts"), self.weights.grad("experts")
        here = self._to_experts(drows)
        return self._from_experts(
            experts.backward(here, tape.rows, self.counts, tape.experts, w, dw)
        )


class WeightsTravel(MixtureLayer):
    """At step s rank p multiplies the rows that go to the experts of rank p - s, which are here."""

    def __init__(self, job: Job, mesh: Mesh, device: str) -> None:
        super().__init__(job, mesh, device)
        mine = self.routes.counts[self.axis.coordinate]
        ends = experts.starts(mine)
        owners = [
            (self.axis.coordinate - step) % self.axis.degree for step in range(self.axis.degree)
        ]
        self.turns = [self.block(owner) for owner in owners]
        self.counts = [mine[turn] for turn in self.turns]
        self.at = [slice(ends[turn.start], ends[turn.stop]) for turn in self.turns]

    def experts(self, rows: Tensor) -> tuple[Tensor, list[list[list[Tensor]]]]:
        """D steps, D - 1 hops."""
        flat, degree = self.weights.flat("experts"), self.axis.degree
        made, tapes = torch.empty_like(rows), []
        for step, (at, counts) in enumerate(zip(self.at, self.counts, strict=True)):
            arriving = self.axis.shift(flat, "ring") if step + 1 < degree else None
            w = self.weights.value("experts", flat)
            tapes.append(experts.forward(rows[at], counts, w, made[at]))
            flat = arriving.wait() if arriving else flat
        return made, tapes

    def experts_backward(
        self, drows: Tensor, rows: Tensor, tape: list[list[list[Tensor]]]
    ) -> Tensor:
        """Weights go round again; their gradients, one hop behind, reach their owners last."""
        own, dx = self.weights.flat("experts"), torch.empty_like(rows)
        home: Pending | None = None
        arriving = self.axis.shift(own, "ring")
        for step in range(1, self.axis.degree):
            flat = arriving.wait()
            if step + 1 < self.axis.degree:
                arriving = self.axis.shift(flat, "ring")
            into = home.wait() if home else torch.zeros_like(own)
            self._turn(step, drows, rows, tape, flat, into, dx)
            home = self.axis.shift(into, "gradients")
        mine = self.weights.flat_gradient("experts")
        self._turn(0, drows, rows, tape, own, mine, dx)
        if home:
            mine.add_(home.wait())
        return dx

    def _turn(
        self, step: int, drows: Tensor, rows: Tensor, tape: list[list[list[Tensor]]],
        flat: Tensor, into: Tensor, dx: Tensor,
    ) -> None:  # fmt: skip
        """Write the gradient of one turn's rows; add that of the weights at hand."""
        at, counts = self.at[step], self.counts[step]
        w, dw = self.weights.value("experts", flat), self.weights.value("experts", into)
        dx[at] = experts.backward(drows[at], rows[at], counts, tape[step], w, dw)
