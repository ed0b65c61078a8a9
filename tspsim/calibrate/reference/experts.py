"""Experts on one rank: which rows go to them, with which weight, and their MLPs row by row."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, chain

import torch
from torch import Tensor

from tspsim.calibrate.reference import blocks, ops
from tspsim.calibrate.reference.blocks import Shard
from tspsim.calibrate.reference.config import Job


class Routes:
    """The rows that a rank makes of its tokens: one for every choice, in the order of experts.

    Parameters
    ----------
    job : Job
    coordinate : int
        On the axis that cuts the sequence.
    device : str

    Attributes
    ----------
    experts : Tensor
        Those of every token, [tokens, active].
    choice, token : Tensor
        Of every row: ``token * active + slot``, and its token.
    counts : list of list of int
        By coordinate: rows of every expert.
    """

    def __init__(self, job: Job, coordinate: int, device: str) -> None:
        self.counts = [_counts(job, c) for c in range(job.spread)]
        table = torch.tensor(job.routes, device=device)
        self.experts = job.local(table, coordinate).flatten(0, 1)
        self.choice = self.experts.flatten().argsort(stable=True)
        self.token = self.choice // job.shape.active


def _counts(job: Job, coordinate: int) -> list[int]:
    """Return how many of a coordinate's tokens go to every expert."""
    found = [0] * job.shape.experts
    for sequence in job.routes:
        for first, last in job.ranges(coordinate):
            for expert in chain.from_iterable(sequence[first:last]):
                found[expert] += 1
    return found


@dataclass(frozen=True, slots=True)
class Gate:
    """What a router says: scores of all experts, [tokens, experts], and every token's weights."""

    scores: Tensor
    weights: Tensor

    @classmethod
    def of(cls, x: Tensor, router: Tensor, routes: Routes, wide: torch.dtype) -> Gate:
        """Return the softmax of ``x router``, and each token's share of its own experts' scores."""
        scores = ops.matmul(ops.rows(x), router).softmax(-1, wide)
        chosen = scores.gather(-1, routes.experts)
        return cls(scores, chosen / chosen.sum(-1, keepdim=True))

    def backward(self, dweights: Tensor, routes: Routes) -> Tensor:
        """Return the gradient of the router's products from that of the weights."""
        total = self.scores.gather(-1, routes.experts).sum(-1, keepdim=True)
        mean = (dweights * self.weights).sum(-1, keepdim=True)
        dscores = torch.zeros_like(self.scores)
        dscores.scatter_(-1, routes.experts, (dweights - mean) / total)
        return self.scores * (dscores - (dscores * self.scores).sum(-1, keepdim=True))


def combine(made: Tensor, gate: Gate, routes: Routes, like: Tensor) -> Tensor:
    """Return the weighted sum of every token's rows."""
    weights = gate.weights.flatten()[routes.choice, None].to(made.dtype)
    return torch.zeros_like(like).index_add_(0, routes.token, weights * made)


def combine_backward(dy: Tensor, made: Tensor, gate: Gate, routes: Routes) -> tuple[Tensor, Tensor]:
    """Return the gradients of the rows, and of the weights, [tokens, active]."""
    mine = dy[routes.token]
    dweights = torch.empty_like(gate.weights)
    dweights.view(-1)[routes.choice] = (mine * made).sum(-1, dtype=gate.weights.dtype)
    return gate.weights.flatten()[routes.choice, None].to(dy.dtype) * mine, dweights


def by_expert(w: Shard, count: int) -> list[Shard]:
    """Return the matrices of each of so many experts, under the names that an MLP has."""
    return [{name.removeprefix("expert_"): x[i] for name, x in w.items()} for i in range(count)]


def forward(rows: Tensor, counts: list[int], w: Shard, out: Tensor) -> list[list[Tensor]]:
    """Write what every expert makes of its rows to `out`; return what backward needs of each."""
    tape = []
    parts = zip(rows.split(counts), out.split(counts), by_expert(w, len(counts)), strict=True)
    for x, y, expert in parts:
        kept = blocks.hidden(x, expert)
        ops.matmul(kept[-1], expert["down"], y)
        tape.append(kept)
    return tape


def backward(
    dy: Tensor, rows: Tensor, counts: list[int], tape: list[list[Tensor]], w: Shard, dw: Shard,
    *, add: bool = True,
) -> Tensor:  # fmt: skip
    """Return the gradient of the rows; add that of every expert's matrices, or write it."""
    dx = torch.empty_like(rows)
    parts = (dy.split(counts), rows.split(counts), dx.split(counts), tape)
    both = by_expert(w, len(counts)), by_expert(dw, len(counts))
    for dout, x, into, kept, expert, gradient in zip(*parts, *both, strict=True):
        ops.weight_gradient(kept.pop(), dout, gradient["down"], add=add)
        ups = blocks.hidden_backward(dout, kept, expert)
        into.copy_(blocks.input_gradient(ups, expert))
        blocks.weight_gradients(x, ups, gradient, add=add)
    return dx


def arrangement(counts: list[list[int]]) -> Tensor:
    """Return where rows lie that came sender by sender, so that every expert's are together.

    Parameters
    ----------
    counts : list of list of int
        By sender: its rows of every expert here.
    """
    experts = [expert for c in counts for expert, rows in enumerate(c) for _ in range(rows)]
    return torch.tensor(sorted(range(len(experts)), key=experts.__getitem__), dtype=torch.int64)


def starts(counts: list[int]) -> list[int]:
    """Return where every expert's rows start, and where the last one's end."""
    return [0, *accumulate(counts)]
