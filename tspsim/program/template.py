"""Ops that were recorded once and are stamped again: for other layers, and other micro-batches.

Layers repeat each other, and so do micro-batches. What is recorded of one is the same for all: the
kinds, labels, shapes, work and messages of its ops, and how they wait for each other. Only the
buffers are others, and what was used before they began: a stamp says which. A stamped program
equals the recorded one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tspsim.program.ledger import UNREAD, Ledger
from tspsim.program.pieces import Pieces, Stamp
from tspsim.program.types import Buffer, Op, Operand
from tspsim.program.written import Written


class Mark(NamedTuple):
    """Where a template begins: the first op and the first buffer that belong to it."""

    op: int
    buffer: int


class _Line(NamedTuple):
    """An op of a template that may wait for what was there before.

    Attributes
    ----------
    place : int
        Of the op, counted from the first.
    lane : int
    lanes : frozenset of int
        The lanes of the ops inside that it waits for: what is earlier on them need not be awaited.
    touches, writes : tuple of int
        Buffers from before the template that no earlier line has written: places in
        `Template.outside`.
    fills : tuple of int
        The template's own buffers, in slots, of which it is the first writer.
    starts : bool
        No line before it has computed anything.
    """

    place: int
    lane: int
    lanes: frozenset[int]
    touches: tuple[int, ...]
    writes: tuple[int, ...]
    fills: tuple[int, ...]
    starts: bool


class _Use(NamedTuple):
    """How a buffer stands after the last op: ops counted from the first."""

    writer: int
    readers: dict[int, int]


class Template:
    """What was recorded since a mark.

    Parameters
    ----------
    written : Written
    ledger : Ledger
    mark : Mark

    Attributes
    ----------
    first : Mark
    ops : list of Op
    buffers : list of Buffer
        Its own: those that it declares.
    pools : list of Slots or None
        By own buffer, where it takes a slot.
    outside : tuple of int
        The buffers from before it that its ops touch.
    inside : list of tuple of int
        By op: those of the template that it waits for, counted from the first.
    """

    def __init__(self, written: Written, ledger: Ledger, mark: Mark) -> None:
        self.first = mark
        self.ops, self.buffers = list(written.ops[mark.op :]), list(written.buffers[mark.buffer :])
        self.pools = written.pools[mark.buffer :]
        touched = (o.buffer.index for op in self.ops for o in (*op.inputs, *op.outputs))
        self.outside = tuple(dict.fromkeys(i for i in touched if i < mark.buffer))
        waits = written.waits[mark.op :]
        self.inside = [tuple(w - mark.op for w in some if w >= mark.op) for some in waits]
        self._lines = [line for line in self._read() if line is not None]
        self._lanes = [op.lane for op in self.ops]
        uses = [self._use(ledger, index) for index in self.outside]
        self._outside = list(zip(range(len(uses)), uses, strict=True))
        own = [self._use(ledger, buffer.index) for buffer in self.buffers]
        self._writers = [use.writer for use in own]
        self._readers = [use.readers for use in own]
        self._pooled = [(i, pool) for i, pool in enumerate(self.pools) if pool is not None]
        self._computed = ledger.computed - mark.op
        self._awaited = [op - mark.op for op in ledger.awaited if op >= mark.op]

    # ---- what was recorded -------------------------------------------------------------------

    def _read(self) -> Iterator[_Line | None]:
        places = {index: place for place, index in enumerate(self.outside)}
        written, computed = set[int](), False
        for place, (op, inside) in enumerate(zip(self.ops, self.inside, strict=True)):
            ins, outs = (
                [o.buffer.index for o in side if o.buffer.index not in written]
                for side in (op.inputs, op.outputs)
            )
            writes = tuple(places[i] for i in outs if i in places)
            touches = (*(places[i] for i in ins if i in places), *writes)
            fills = tuple(i for i in (i - self.first.buffer for i in outs) if self._slotted(i))
            starts = not computed and (op.lane == 0 or op.message is not None)
            lanes = frozenset(self.ops[before].lane for before in inside)
            waits = touches or fills or starts
            yield _Line(place, op.lane, lanes, touches, writes, fills, starts) if waits else None
            written.update(outs)
            computed |= op.lane == 0

    def _slotted(self, own: int) -> bool:
        return own >= 0 and self.pools[own] is not None

    def _use(self, ledger: Ledger, index: int) -> _Use:
        first, known = ledger.readers[index]
        readers = {lane: first + op - self.first.op for lane, op in known.items()}
        readers = {lane: op for lane, op in readers.items() if op >= 0}
        return _Use(ledger.writer[index] - self.first.op, readers)

    # ---- recorded again ----------------------------------------------------------------------

    def stamp(
        self,
        written: Written,
        ledger: Ledger,
        moved: Callable[[int], int],
        place: tuple[int | None, int],
    ) -> Stamp:
        """Record it again.

        Parameters
        ----------
        written : Written
        ledger : Ledger
        moved : callable
            Returns the buffer that takes the place of one that was there before the template.
        place : (int or None, int)
            Layer and micro-batch.
        """
        first, buffer = len(written.ops), len(written.buffers)
        outside = tuple(map(moved, self.outside))
        self._declare(ledger, first, buffer)
        waits = self._waits(ledger, outside, buffer)
        stamp = Stamp(self, first, buffer, outside, waits, *place)
        written.stamp(stamp)
        self._settle(ledger, outside, first)
        return stamp

    def stamped(self) -> Stamp:
        """Return the stamp that it was recorded as."""
        first = self.ops[0] if self.ops else None
        place = (first.layer, first.micro_batch) if first else (None, 0)
        return Stamp(self, *self.first, self.outside, (), *place)

    def _declare(self, ledger: Ledger, first: int, buffer: int) -> None:
        """Declare the template's buffers once more, used as they are after the last line."""
        ledger.writer.extend([first + op if op >= 0 else -1 for op in self._writers])
        ledger.readers.extend([(first, some) if some else UNREAD for some in self._readers])
        for own, pool in self._pooled:
            displaced = pool.put(buffer + own, ledger.side)
            if displaced is not None and displaced < buffer:
                ledger.displace(displaced, buffer + own)
            elif displaced is not None:
                ledger.closed.add(displaced)  # the ops that used it are among the lines

    def _waits(
        self, ledger: Ledger, outside: tuple[int, ...], buffer: int
    ) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """Return, by op, those from before the template that it waits for, the latest by lane."""
        writers, found = [ledger.writer[place] for place in outside], []
        for line in self._lines:
            before = [writers[i] for i in line.touches]
            for i in line.writes:
                before += ledger.read_by(outside[i])
            for own in line.fills:
                before += ledger.vacated.pop(buffer + own, ())
            if line.starts and line.lane == 0:
                before += ledger.awaited
                ledger.awaited.clear()
            elif line.starts:
                before.append(ledger.computed)
            latest = _latest(line, before, ledger.lanes)
            if latest:
                found.append((line.place, latest))
        return tuple(found)

    def _settle(self, ledger: Ledger, outside: tuple[int, ...], first: int) -> None:
        """Bring the ledger to where it is after the last line."""
        ledger.lanes.extend(self._lanes)
        for place, (writer, readers) in self._outside:
            if writer >= 0:
                ledger.writer[outside[place]] = first + writer
                ledger.readers[outside[place]] = first, readers
            elif readers:
                ledger.read(outside[place], readers, first)
        if self._computed >= 0:
            ledger.computed = first + self._computed
        ledger.awaited.extend(first + op for op in self._awaited)

    # ---- what a stamp stands for -------------------------------------------------------------

    def buffer_of(self, stamp: Stamp, own: int) -> Buffer:
        """Return one of the buffers that a stamp declares."""
        _, name, shape, itemsize, kind, _, resident = self.buffers[own]
        return Buffer(stamp.buffer + own, name, shape, itemsize, kind, stamp.layer, resident)

    def buffers_of(self, stamp: Stamp) -> list[Buffer]:
        """Return the buffers that a stamp declares."""
        return [self.buffer_of(stamp, own) for own in range(len(self.buffers))]

    def waits_of(self, stamp: Stamp) -> list[tuple[int, ...]]:
        """Return, by op of a stamp, what it waits for."""
        waits = [tuple([stamp.op + before for before in some]) for some in self.inside]
        for place, before in stamp.waits:
            waits[place] = tuple(sorted((*waits[place], *before)))
        return waits

    def ops_of(self, stamp: Stamp, buffers: Pieces[Buffer]) -> list[Op]:
        """Return the ops of a stamp.

        Parameters
        ----------
        stamp : Stamp
        buffers : Pieces of Buffer
            Of the program.
        """
        pairs = zip(self.outside, stamp.outside, strict=True)
        now = {old: buffers[new] for old, new in pairs}
        now |= {self.first.buffer + at: new for at, new in enumerate(self.buffers_of(stamp))}

        def moved(operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
            return tuple([Operand(now[o.buffer.index], o.offset, o.shape) for o in operands])

        place = stamp.layer, stamp.micro_batch
        return [
            Op(stamp.op + at, op.kind, op.label, op.phase, *place, op.lane, moved(op.inputs),
               moved(op.outputs), op.work, op.message)
            for at, op in enumerate(self.ops)
        ]  # fmt: skip


def _latest(line: _Line, before: Sequence[int], lanes: Sequence[int]) -> tuple[int, ...]:
    """Return of some ops the latest on every lane that has to be awaited."""
    latest: dict[int, int] = {}
    for op in before:
        if op >= 0:
            lane = lanes[op]
            if lane != line.lane and lane not in line.lanes and latest.get(lane, -1) < op:
                latest[lane] = op
    return tuple(sorted(latest.values())) if latest else ()
