"""Ops that were recorded once and are stamped again: for other layers, and other micro-batches.

Layers repeat each other, and so do micro-batches. What is recorded of one is the same for all: the
kinds, labels, shapes, work and messages of its ops, and how they wait for each other. Only the
buffers are others, and what was used before they began. A stamped program equals the recorded one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tspsim.program.ledger import Ledger, Written
from tspsim.program.types import Buffer, Op, Operand

#: By index in the template: the buffer that takes its place.
Moved = dict[int, Buffer]


class Mark(NamedTuple):
    """Where a template begins: the first op and the first buffer that belong to it."""

    op: int
    buffer: int


class _Line(NamedTuple):
    """One op of a template.

    Attributes
    ----------
    op : Op
    inputs, outputs : tuple of int
        Positions in `Template.operands`.
    waits : tuple of int
        Of the ops that it waits for, those of the template, counted from its first op.
    lanes : frozenset of int
        The lanes that these run on: whatever is earlier on them need not be awaited.
    reads, writes : tuple of int
        Buffers from before the template that no earlier line has written.
    fills : tuple of int
        The template's own buffers, in slots, of which it is the first writer.
    starts : bool
        No line before it has computed anything.
    """

    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    waits: tuple[int, ...]
    lanes: frozenset[int]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    fills: tuple[int, ...]
    starts: bool

    @property
    def alone(self) -> bool:
        """Whether it waits for nothing from before the template."""
        return not (self.reads or self.writes or self.fills or self.starts)


class _Use(NamedTuple):
    """How a buffer stands after the last line, ops counted from the first."""

    buffer: int
    writer: int
    readers: dict[int, int]


class Template:
    """What was recorded since a mark.

    Parameters
    ----------
    written : Written
    ledger : Ledger
    mark : Mark
    """

    def __init__(self, written: Written, ledger: Ledger, mark: Mark) -> None:
        self._first, self._pools = mark, written.pools[mark.buffer :]
        self._buffers = written.buffers[mark.buffer :]
        self._operands: dict[Operand, int] = {}
        ops, waits = written.ops[mark.op :], written.waits[mark.op :]
        self._lines = tuple(self._read(ops, waits, ledger))
        self._lanes = [op.lane for op in ops]
        self._uses = tuple(self._used(ops, ledger))
        self._computed = ledger.computed - mark.op
        self._awaited = [op - mark.op for op in ledger.awaited if op >= mark.op]

    # ---- what was recorded -------------------------------------------------------------------

    def _read(
        self, ops: Sequence[Op], waits: Sequence[Sequence[int]], ledger: Ledger
    ) -> Iterator[_Line]:
        first, written, computed = self._first, set[int](), False
        for op, awaited in zip(ops, waits, strict=True):
            inside = tuple(before - first.op for before in awaited if before >= first.op)
            lanes = frozenset(ledger.lanes[before + first.op] for before in inside)
            ins, outs = ([o.buffer.index for o in side] for side in (op.inputs, op.outputs))
            starts = not computed and (op.lane == 0 or op.message is not None)
            yield _Line(
                op,
                tuple(map(self._operand, op.inputs)),
                tuple(map(self._operand, op.outputs)),
                inside,
                lanes,
                self._outside(ins, written),
                self._outside(outs, written),
                tuple(i for i in outs if i not in written and self._pooled(i)),
                starts,
            )
            written.update(outs)
            computed |= op.lane == 0

    def _outside(self, buffers: Sequence[int], written: set[int]) -> tuple[int, ...]:
        return tuple(i for i in buffers if i < self._first.buffer and i not in written)

    def _pooled(self, buffer: int) -> bool:
        own = buffer - self._first.buffer
        return own >= 0 and self._pools[own] is not None

    def _operand(self, operand: Operand) -> int:
        return self._operands.setdefault(operand, len(self._operands))

    def _used(self, ops: Sequence[Op], ledger: Ledger) -> Iterator[_Use]:
        first = self._first.op
        for index in {o.buffer.index: None for op in ops for o in (*op.inputs, *op.outputs)}:
            readers = {lane: op - first for lane, op in ledger.readers[index].items()}
            yield _Use(
                index,
                ledger.writer[index] - first,
                {lane: op for lane, op in readers.items() if op >= 0},
            )

    def own(self) -> Moved:
        """Return the template's own buffers, each in its own place."""
        return {buffer.index: buffer for buffer in self._buffers}

    # ---- recorded again ----------------------------------------------------------------------

    def stamp(
        self,
        written: Written,
        ledger: Ledger,
        moved: Mapping[int, Buffer],
        place: tuple[int | None, int],
    ) -> Moved:
        """Record it again.

        Parameters
        ----------
        written : Written
        ledger : Ledger
        moved : Mapping of int to Buffer
            The buffers that take the place of those that were there before the template; one that
            is not named stays.
        place : (int or None, int)
            Layer and micro-batch.

        Returns
        -------
        dict of int to Buffer
            All that take another's place, the new ones included.
        """
        first = len(written.ops)
        now = {**moved, **self._declare(written, ledger, place[0])}
        operands = [
            Operand(now.get(o.buffer.index, o.buffer), o.offset, o.shape) for o in self._operands
        ]
        index = first
        for line in self._lines:
            waits = tuple([first + before for before in line.waits])
            if not line.alone:
                found = self._earlier(line, ledger, now, first)
                waits = tuple(sorted((*waits, *found))) if found else waits
            written.waits.append(waits)
            op = line.op
            inputs = tuple([operands[i] for i in line.inputs])
            outputs = tuple([operands[i] for i in line.outputs])
            names = (index, op.kind, op.label, op.phase, *place, op.lane)
            written.ops.append(Op(*names, inputs, outputs, op.work, op.message))
            index += 1
        self._settle(ledger, now, first)
        return now

    def _declare(self, written: Written, ledger: Ledger, layer: int | None) -> Moved:
        """Declare the template's buffers once more."""
        made, first = Moved(), len(written.buffers)
        for buffer, pool in zip(self._buffers, self._pools, strict=True):
            index = len(written.buffers)
            _, name, shape, itemsize, kind, _, resident = buffer
            new = Buffer(index, name, shape, itemsize, kind, layer, resident)
            written.buffers.append(new)
            written.pools.append(pool)
            displaced = pool.put(index) if pool else None
            ledger.declare(displaced)
            if displaced is not None and displaced >= first:
                del ledger.vacated[index]  # the ops that used it are among the lines
            made[buffer.index] = new
        return made

    def _earlier(self, line: _Line, ledger: Ledger, now: Moved, first: int) -> list[int]:
        """Return the ops from before the template that a line waits for, the latest by lane."""
        before = [ledger.writer[_place(i, now)] for i in (*line.reads, *line.writes)]
        for buffer in line.writes:
            before.extend(ledger.readers[_place(buffer, now)].values())
        for buffer in line.fills:
            before.extend(ledger.vacated.pop(_place(buffer, now), ()))
        if line.starts and line.op.lane == 0:
            before.extend(ledger.awaited)
            ledger.awaited.clear()
        elif line.starts:
            before.append(ledger.computed)
        latest: dict[int, int] = {}
        for op in before:
            if 0 <= op < first:
                lane = ledger.lanes[op]
                if lane != line.op.lane and lane not in line.lanes and latest.get(lane, -1) < op:
                    latest[lane] = op
        return list(latest.values())

    def _settle(self, ledger: Ledger, now: Moved, first: int) -> None:
        """Bring the ledger to where it is after the last line."""
        ledger.lanes.extend(self._lanes)
        for buffer, writer, readers in self._uses:
            place = _place(buffer, now)
            since = {lane: first + op for lane, op in readers.items()}
            if writer >= 0:
                ledger.writer[place], ledger.readers[place] = first + writer, since
            else:
                ledger.readers[place].update(since)
        if self._computed >= 0:
            ledger.computed = first + self._computed
        ledger.awaited.extend(first + op for op in self._awaited)


def _place(buffer: int, now: Moved) -> int:
    moved = now.get(buffer)
    return buffer if moved is None else moved.index
