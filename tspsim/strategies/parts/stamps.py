"""Passes through a layer: each is recorded once, and stamped for other layers and micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from tspsim.program.postponing import Postponed
from tspsim.program.rank import Rank
from tspsim.program.template import Moved, Template
from tspsim.program.types import Buffer, Operand


@dataclass(frozen=True, slots=True)
class Left:
    """What a forward leaves for the backward over the same layer.

    Parameters
    ----------
    value : Any
        As the pass that was recorded left it.
    now : dict of int to Buffer
        By that one's buffers: those of the pass that left it.
    """

    value: Any
    now: Moved

    def real(self) -> Any:
        """Return it with its own buffers."""
        return moved(self.value, self.now)


@dataclass(slots=True)
class _Weights:
    """The second half of a backward: what was put off, and its template once it was recorded."""

    postponed: list[Postponed]
    template: Template | None = None


class _Recorded(NamedTuple):
    """A pass that was recorded: what it was given, where what was left for it stood, its result."""

    template: Template
    given: tuple[Buffer, ...]
    left: Moved
    output: Operand
    leaves: Any
    weights: _Weights | None


class Stamps:
    """The passes of a rank.

    Parameters
    ----------
    rank : Rank
    """

    def __init__(self, rank: Rank) -> None:
        self._rank, self._in_turn = rank, rank.stages.in_turn
        self._known: dict[Hashable, _Recorded] = {}

    def run(
        self,
        key: Hashable,
        given: Iterable[Operand],
        left: Left | None,
        record: Callable[[Any], tuple[Operand, Any]],
    ) -> tuple[Operand, Left]:
        """Record a pass, or stamp one that was recorded under the same key.

        Parameters
        ----------
        key : Hashable
            Passes with the same key differ in nothing but buffers, layer and micro-batch.
        given : iterable of Operand
            What the pass works on: its input, and the weights of its layer.
        left : Left or None
            What the forward over this layer left, for a backward.
        record : callable
            Records the pass, from what was left; returns its output, and what it leaves.
        """
        buffers = tuple(operand.buffer for operand in given)
        if left is not None:
            key = key, buffers[0].name  # what is gathered of a gradient has its name
        known = self._known.get(key) if self._in_turn else None
        if known is None:
            known = self._known[key] = self._record(buffers, left, record)
            now = _identity(buffers) | known.template.own()
        else:
            now = {}
            if left is not None:
                now = {old.index: left.now[place] for place, old in known.left.items()}
            # Without a head, the output that a forward left is what backward is given.
            now |= {old.index: new for old, new in zip(known.given, buffers, strict=True)}
            now = self._rank.stamp(known.template, now)
        if known.weights is not None:
            self._rank.weighs(partial(self._weigh, known.weights, now))
        return moved(known.output, now), Left(known.leaves, now)

    def _record(
        self,
        given: tuple[Buffer, ...],
        left: Left | None,
        record: Callable[[Any], tuple[Operand, Any]],
    ) -> _Recorded:
        rank, mark = self._rank, self._rank.mark()
        tape, weights = left.real() if left else None, None
        if rank.postpones:
            with rank.postponing() as postponed:
                result = record(tape)
            weights = _Weights(postponed)
        else:
            result = record(tape)
        return _Recorded(rank.template(mark), given, left.now if left else {}, *result, weights)

    def _weigh(self, weights: _Weights, now: Moved) -> None:
        """Record or stamp the second half of a backward; the pass that was recorded comes first."""
        if weights.template is not None:
            self._rank.stamp(weights.template, now)
            return
        mark = self._rank.mark()
        self._rank.record_postponed(weights.postponed)
        weights.template = self._rank.template(mark)


def _identity(buffers: Iterable[Buffer]) -> Moved:
    return {buffer.index: buffer for buffer in buffers}


def moved(value: Any, to: Mapping[int, Buffer]) -> Any:
    """Return a value with other buffers in its operands, however deep they stand in it."""
    if isinstance(value, Operand):
        return value._replace(buffer=to.get(value.buffer.index, value.buffer))
    if isinstance(value, (list, tuple)):
        return type(value)(moved(part, to) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: moved(getattr(value, f.name), to) for f in fields(value) if f.init}
        return replace(value, **parts)
    return value
