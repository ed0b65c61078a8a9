"""A pipeline of two stages from outside of tspsim, in one file: all forwards, then all backwards.

Half of the layers lie on either stage, so ranks play two roles: one program per stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.base import Least, StrategyOptions
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.parts.decoder import Decoder
from tspsim.strategies.parts.sharded import ShardedDecoder
from tspsim.strategies.parts.tokens import chunk_problems, whole_sequence
from tspsim.strategies.parts.weights import Cut


class TwoStages(StrategyOptions):
    """Options of ``strategy: {kind: two_stages}``.

    Parameters
    ----------
    degree : int
        Ranks of a stage: tensor parallelism inside it.
    """

    kind: Literal["two_stages"] = "two_stages"
    degree: int = Field(ge=1)

    def axes(self) -> tuple[tuple[str, int], ...]:
        """Return the axis of the stages, and that of tensor parallelism."""
        return (("pp", 2), ("tp", self.degree))

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from Cut(model, "tp", self.degree).problems("degree", False)
        yield from chunk_problems(model, workload, 1)
        if model.layers < 2:
            yield Problem(("model", "layers"), "two stages need two layers")
        if model.vocab:
            yield Problem(("model", "vocab"), "must be 0: these stages have layers alone")

    def role(self, mesh: Mesh, rank: int) -> int:
        """Return a rank's stage."""
        return mesh.coordinate(rank, "pp")

    def layers(self, model: ModelShape, role: int) -> range:
        """Return one half of the layers; the first stage has the odd one."""
        half = (model.layers + 1) // 2
        return range(half, model.layers) if role else range(half)

    @property
    def least(self) -> Least:
        """Three layers make uneven stages."""
        return Least(layers=3, micro_batches=3)

    def step(self, rank: Rank) -> None:
        """Record what one rank of a stage does."""
        tokens = whole_sequence(rank.workload)
        cut = Cut(rank.model, "tp", self.degree)
        exchange = AllGatherExchange(rank, tokens, "sp", keep=False)
        stage = ShardedDecoder(rank, cut, tokens, exchange)
        (first if rank.role == 0 else last)(rank, stage)
        stage.finish()


STRATEGY = TwoStages


def first(rank: Rank, stage: Decoder) -> None:
    """Record the stage that has the input and sends what it makes of it."""
    outputs = []
    for _ in micro_batches(rank):
        y, tapes = stage.forward(stage.input())
        rank.axis("pp").send(y, lane="activations", label="stage.output")
        outputs.append((y, tapes))
    for batch in micro_batches(rank) if rank.trains else ():
        y, tapes = outputs[batch]
        dy = arriving(rank, y.shape, "gradients", "stage.doutput")
        end = batch + 1 == len(outputs)
        stage.input_gradient(stage.backward(dy, tapes, last=end), last=end)


def last(rank: Rank, stage: Decoder) -> None:
    """Record the stage that has the loss and sends the gradient of what it was sent."""
    shape = stage.place.shape(rank.workload.batch, rank.model.hidden)
    gradients = []
    for _ in micro_batches(rank):
        y, tapes = stage.forward(arriving(rank, shape, "activations", "stage.input"))
        gradients.append((stage.output_gradient(y), tapes))
    for batch in micro_batches(rank) if rank.trains else ():
        dy, tapes = gradients[batch]
        assert dy is not None
        dx = stage.backward(dy, tapes, last=batch + 1 == len(gradients))
        rank.axis("pp").send(dx, lane="gradients", label="stage.dinput")


def micro_batches(rank: Rank) -> Iterator[int]:
    """Yield the micro-batches of a step; what is recorded meanwhile belongs to each."""
    for number in range(rank.workload.micro_batches):
        rank.micro_batch = number
        yield number


def arriving(rank: Rank, shape: tuple[int, ...], lane: str, label: str) -> Operand:
    """Return what the other stage sends."""
    phase = "backward" if lane == "gradients" else "forward"
    with rank.at(phase=phase):
        x = rank.tensor(label, shape)
        rank.axis("pp").receive(x, lane=lane, label=label)
    return x
