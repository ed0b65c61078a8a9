"""Passes through a layer: each is recorded once, and stamped for other layers and micro-batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from tspsim.program.pieces import Stamp
from tspsim.program.postponing import Postponed
from tspsim.program.rank import Rank
from tspsim.program.template import Template
from tspsim.program.types import Buffer, Operand


class Moved(NamedTuple):
    """Which buffers take the place of those that a pass was recorded with.

    Attributes
    ----------
    given : dict of int to Buffer
        By the recorded pass's: what this one was given.
    stamp : Stamp or None
        What it declares; None while it is not stamped.
    before, left : Moved or None
        What the forward left for the recorded pass, and what it left for this one.
    """

    given: dict[int, Buffer]
    stamp: Stamp | None = None
    before: Moved | None = None
    left: Moved | None = None

    def get(self, index: int) -> Buffer | None:
        """Return what takes the place of a buffer; None where it stays."""
        own = self._own(index)
        if own is not None:
            assert self.stamp is not None
            return self.stamp.template.buffer_of(self.stamp, own)
        if index in self.given:
            return self.given[index]
        place = self.before.place(index) if self.before is not None else None
        return None if place is None or self.left is None else self.left.get(place)

    def number(self, index: int) -> int:
        """Return the number of what takes the place of a buffer; its own where it stays."""
        own = self._own(index)
        if own is not None:
            assert self.stamp is not None
            return self.stamp.buffer + own
        if index in self.given:
            return self.given[index].index
        place = self.before.place(index) if self.before is not None else None
        return index if place is None or self.left is None else self.left.number(place)

    def _own(self, index: int) -> int | None:
        if self.stamp is None:
            return None
        own = index - self.stamp.template.first.buffer
        return own if 0 <= own < len(self.stamp.template.buffers) else None

    def place(self, index: int) -> int | None:
        """Return the buffer of the recorded pass whose place a buffer takes: `get` backwards."""
        if self.stamp is not None:
            own = index - self.stamp.buffer
            if 0 <= own < len(self.stamp.template.buffers):
                return self.stamp.template.first.buffer + own
        return next((old for old, new in self.given.items() if new.index == index), None)


@dataclass(frozen=True, slots=True)
class Left:
    """What a forward leaves for the backward over the same layer.

    Parameters
    ----------
    value : Any
        As the pass that was recorded left it.
    now : Moved
        The buffers of the pass that left it.
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
    left: Moved | None
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
            now = Moved({buffer.index: buffer for buffer in buffers}, known.template.stamped())
        else:
            # Without a head, the output that a forward left is what backward is given.
            pairs = zip(known.given, buffers, strict=True)
            places = {old.index: new for old, new in pairs}
            now = Moved(places, None, known.left, left.now if left else None)
            now = now._replace(stamp=self._rank.stamp(known.template, now.number))
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
        return _Recorded(rank.template(mark), given, left.now if left else None, *result, weights)

    def _weigh(self, weights: _Weights, now: Moved) -> None:
        """Record or stamp the second half of a backward; the pass that was recorded comes first."""
        if weights.template is not None:
            self._rank.stamp(weights.template, now.number)
            return
        mark = self._rank.mark()
        self._rank.record_postponed(weights.postponed)
        weights.template = self._rank.template(mark)


def moved(value: Any, to: Moved) -> Any:
    """Return a value with other buffers in its operands, however deep they stand in it."""
    if isinstance(value, Operand):
        return value._replace(buffer=to.get(value.buffer.index) or value.buffer)
    if isinstance(value, (list, tuple)):
        return type(value)(moved(part, to) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: moved(getattr(value, f.name), to) for f in fields(value) if f.init}
        return replace(value, **parts)
    return value
