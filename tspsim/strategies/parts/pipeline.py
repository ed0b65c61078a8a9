"""Plays a schedule: the actions of one rank, in order, with what travels between stages.

A strategy knows nothing of it: it records forward and backward of one micro-batch through some
layers. Without a pipeline there is one stage, and nothing travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from tspsim.mesh import PP
from tspsim.program.postponing import Postponed
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.transfers import Transfer
from tspsim.strategies.parts.ends import HeadTape

if TYPE_CHECKING:
    from tspsim.strategies.parts.decoder import Decoder
    from tspsim.strategies.parts.stamps import Left

#: A stage and a micro-batch.
Pass: TypeAlias = tuple[int, int]


def play(decoder: Decoder, rank: Rank) -> None:
    """Record everything that a rank does with its layers in a step."""
    passes = _Passes(decoder, rank)
    for step in rank.stages.turns():
        if isinstance(step, Transfer):
            passes.transfer(step)
        else:
            passes.run([action for action in step if action.kind == "F" or rank.trains])


class _Passes:
    """What the passes of a rank leave for those that come later.

    Parameters
    ----------
    decoder : Decoder
    rank : Rank
    """

    def __init__(self, decoder: Decoder, rank: Rank) -> None:
        self.decoder, self.rank, self.stages = decoder, rank, rank.stages
        self._last = rank.stages.last
        self._tapes: dict[Pass, list[Left]] = {}
        self._heads: dict[Pass, Operand | HeadTape] = {}
        self._postponed: dict[Pass, list[Postponed]] = {}
        #: Activations and gradients on their way, by what they are the result of.
        self._results: dict[Action, Operand] = {}

    # ---- actions -----------------------------------------------------------------------------

    def run(self, actions: Sequence[Action]) -> None:
        """Record a pass, or two at once."""
        if len(actions) == 2:
            first, second = actions
            places = self.rank.at_once(self.action, first, second)
            for groups in self.decoder.common:
                groups.begun = places.get(groups.begun, groups.begun)
            return
        for action in actions:
            with self.rank.runs(action):
                self.action(action)

    def action(self, action: Action) -> None:
        """Record a micro-batch's pass through a stage."""
        self.rank.micro_batch = action.microbatch
        passes = {"F": self.forward, "W": self.weights, "I": self.backward, "B": self.backward}
        passes[action.kind](action)

    def forward(self, action: Action) -> None:
        """Record a micro-batch's forward through a stage."""
        _, stage, number = action
        first, last = self.stages.ends(stage)
        x = self.decoder.input() if first else self._results.pop(Action("F", stage - 1, number))
        y, self._tapes[stage, number] = self.decoder.forward(x, self.stages.of(stage))
        if last:
            self._heads[stage, number] = self.decoder.output(y)
        else:
            self._results[action] = y
        self.decoder.leave()

    def backward(self, action: Action) -> None:
        """Record a micro-batch's backward through a stage: all of it, or its first half."""
        if action.kind == "B":
            self._backward(action)
            return
        with self.rank.postponing() as postponed:
            self._backward(action)
        self._postponed[action.stage, action.microbatch] = postponed

    def _backward(self, action: Action) -> None:
        _, stage, number = action
        first, last = self.stages.ends(stage)
        if last:
            dy = self.decoder.output_gradient(self._heads.pop((stage, number)))
        else:
            dy = self._results.pop(Action("I", stage + 1, number))
        tapes, layers = self._tapes.pop((stage, number)), self.stages.of(stage)
        final = self._last[stage] == number
        dx = self.decoder.backward(dy, tapes, layers, last=final)
        if first:
            self.decoder.input_gradient(dx)
        else:
            self._results[action.gives] = dx

    def weights(self, action: Action) -> None:
        """Record the second half of a micro-batch's backward: its weight gradients."""
        self.rank.record_postponed(self._postponed.pop((action.stage, action.microbatch)))

    # ---- between stages ----------------------------------------------------------------------

    def transfer(self, step: Transfer) -> None:
        """Record one end of a message between stages."""
        rank, forward = self.rank, step.forward
        rank.micro_batch = step.microbatch
        with rank.at(phase="forward" if forward else "backward"):
            if not step.sends:
                place, batch = self.decoder.place, rank.workload.batch
                name = "x" if forward else "dx"
                self._results[step.of] = rank.tensor(name, place.shape(batch, rank.model.hidden))
            op = self._half_hop(step)
        if step.sends and not self.stages.overlap:
            rank.follows(op)  # a receive holds up its reader alone: Megatron posts it right before

    def _half_hop(self, step: Transfer) -> int:
        """Record a send or a receive on its stream; return its index."""
        axis, place = self.rank.axis(PP), self.stages.place
        peer = step.peer(self.stages.order)
        low, high = sorted((place, peer))
        stream = {"rank": "p2p", "pair": f"p2p.{low}-{high}", "direction": None}
        half = axis.send if step.sends else axis.receive
        return half(
            self._results.pop(step.of) if step.sends else self._results[step.of],
            lane="activations" if step.forward else "gradients",
            label="x" if step.forward else "dx",
            offset=peer - place,
            stream=stream[self.stages.streams],
        )
