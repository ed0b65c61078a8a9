"""Ops that were recorded once and are stamped again: for other layers, and other micro-batches.

Layers repeat each other, and so do micro-batches. What is recorded of one is the same for all: the
kinds, labels, shapes, work and messages of its ops, and how they wait for each other. Only the
buffers are others, and what was used before they began. A stamped program equals the recorded one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tspsim.program.ledger import Ledger, Written
from tspsim.program.types import Buffer, Op, Operand

#: By index in the template: the buffer that takes its place.
Moved = dict[int, Buffer]


class Mark(NamedTuple):
    """Where a template begins.

    Attributes
    ----------
    op, buffer : int
        The first ones that belong to it.
    """

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
        Of the ops that it waits for, those of the template, from its first op.
    lanes : frozenset of int
        The lanes that these run on: whatever is earlier on them need not be awaited.
    outside : bool
        It touches what was there before the template, or waits for it.
    """

    op: Op
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    waits: tuple[int, ...]
    lanes: frozenset[int]
    outside: bool


class Template:
    """What was recorded since a mark.

    Parameters
    ----------
    written : Written
    ledger : Ledger
    mark : Mark
    """

    def __init__(self, written: Written, ledger: Ledger, mark: Mark) -> None:
        self._first = mark
        self._buffers = written.buffers[mark.buffer :]
        self._pools = written.pools[mark.buffer :]
        self._operands: dict[Operand, int] = {}
        ops, waits = written.ops[mark.op :], written.waits[mark.op :]
        self._lines = [self._line(op, w, ledger) for op, w in zip(ops, waits, strict=True)]
        self._lanes = [op.lane for op in ops]
        self._uses = [
            (ledger.writer[b.index], dict(ledger.readers[b.index])) for b in self._buffers
        ]
        self._computed = ledger.computed - mark.op
        self._awaited = [op - mark.op for op in ledger.awaited if op >= mark.op]

    def _line(self, op: Op, waits: Sequence[int], ledger: Ledger) -> _Line:
        first = self._first
        inside = tuple(before - first.op for before in waits if before >= first.op)
        lanes = frozenset(ledger.lanes[before + first.op] for before in inside)
        ins, outs = (tuple(map(self._operand, side)) for side in (op.inputs, op.outputs))
        touched = (operand.buffer.index for operand in (*op.inputs, *op.outputs))
        outside = len(inside) < len(waits) or any(
            index < first.buffer or self._pools[index - first.buffer] for index in touched
        )
        starts = 0 not in lanes and (op.lane == 0 or op.message is not None)
        return _Line(op, ins, outs, inside, lanes, outside or starts)

    def _operand(self, operand: Operand) -> int:
        return self._operands.setdefault(operand, len(self._operands))

    def own(self) -> Moved:
        """Return the template's own buffers, each in its own place."""
        return {buffer.index: buffer for buffer in self._buffers}

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
        mark = Mark(len(written.ops), len(written.buffers))
        moved = {**moved, **self._declare(written, ledger, place[0])}
        operands = [
            Operand(moved.get(o.buffer.index, o.buffer), o.offset, o.shape) for o in self._operands
        ]
        for line in self._lines:
            self._record(line, operands, written, ledger, mark.op, place)
        self._settle(ledger, mark)
        return moved

    def _declare(self, written: Written, ledger: Ledger, layer: int | None) -> Moved:
        """Declare the template's buffers once more."""
        made, first = Moved(), len(written.buffers)
        for buffer, pool in zip(self._buffers, self._pools, strict=True):
            index = len(written.buffers)
            new = buffer._replace(index=index, layer=layer)
            written.buffers.append(new)
            written.pools.append(pool)
            displaced = pool.put(index) if pool else None
            ledger.declare(displaced)
            if displaced is not None and displaced >= first:
                del ledger.vacated[index]  # the ops that used it are among the lines
            made[buffer.index] = new
        return made

    def _record(
        self,
        line: _Line,
        operands: Sequence[Operand],
        written: Written,
        ledger: Ledger,
        first: int,
        place: tuple[int | None, int],
    ) -> None:
        op, index = line.op, len(written.ops)
        inputs = tuple([operands[i] for i in line.inputs])
        outputs = tuple([operands[i] for i in line.outputs])
        waits = tuple([first + before for before in line.waits])
        if line.outside:
            behind = op.message is not None
            earlier = ledger.enter(op.lane, inputs, outputs, behind_compute=behind)
            lanes = line.lanes
            found = [w for w in earlier if w < first and ledger.lanes[w] not in lanes]
            waits = tuple(sorted((*waits, *found)))
        else:
            ledger.lanes.append(op.lane)
        written.waits.append(waits)
        written.ops.append(
            Op(
                index,
                op.kind,
                op.label,
                op.phase,
                place[0],
                place[1],
                op.lane,
                inputs,
                outputs,
                op.work,
                op.message,
            )
        )

    def _settle(self, ledger: Ledger, mark: Mark) -> None:
        """Bring the ledger to where it is after the last op."""
        by = mark.op - self._first.op
        for number, (writer, readers) in enumerate(self._uses, mark.buffer):
            ledger.writer[number] = writer + by if writer >= 0 else -1
            ledger.readers[number] = {lane: op + by for lane, op in readers.items()}
        if self._computed >= 0:
            ledger.computed = mark.op + self._computed
        ledger.awaited.extend(mark.op + op for op in self._awaited)
