"""A program as columns: what there is to count and to follow of its ops, without making them.

Of a stamp only places differ from the template, so the columns of millions of ops are put together
from those of a few templates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from tspsim.program.pieces import Pieces, Stamp
from tspsim.program.remembered import remembered
from tspsim.program.template import Template
from tspsim.program.types import (
    BUFFER_KINDS,
    Buffer,
    Message,
    Op,
    Operand,
    PerCoordinate,
    Program,
    Work,
)

#: Narrow: there are millions of ops.
Numbers = NDArray[np.int32]
Thing = TypeVar("Thing")
AnyWork = Work | PerCoordinate | None


class Pairs(NamedTuple):
    """Ops, and one number beside each; in no order, and an op may come several times."""

    ops: Numbers
    numbers: Numbers


class Columns(NamedTuple):
    """The ops of a program.

    Attributes
    ----------
    lanes : ndarray of int, shape (ops,)
    works : tuple of Work or PerCoordinate or None
        All that there are; told apart by identity, which the recorder shares.
    work : ndarray of int, shape (ops,)
        Places in `works`.
    messages : tuple of Message or None
        All that there are.
    message : ndarray of int, shape (ops,)
        Places in `messages`.
    reads, writes : Pairs
        The buffers that ops read and write.
    """

    lanes: Numbers
    works: tuple[AnyWork, ...]
    work: Numbers
    messages: tuple[Message | None, ...]
    message: Numbers
    reads: Pairs
    writes: Pairs

    @property
    def talks(self) -> NDArray[np.bool_]:
        """By op: whether it is communication."""
        said = [message is not None for message in self.messages]
        return np.array(said, dtype=np.bool_)[self.message]

    @property
    def halves(self) -> NDArray[np.bool_]:
        """By op: whether it is a send or a receive."""
        said = [message is not None and message.channel != "" for message in self.messages]
        return np.array(said, dtype=np.bool_)[self.message]


class BufferColumns(NamedTuple):
    """The buffers of a program: arrays of shape (buffers,); of kinds, places in `BUFFER_KINDS`."""

    sizes: NDArray[np.int64]
    kinds: Numbers
    resident: NDArray[np.bool_]


def once(things: Sequence[Thing]) -> Iterator[Thing]:
    """Yield what was recorded; what it was stamped as differs in places alone."""
    if not isinstance(things, Pieces):
        yield from things
        return
    for _, part in things.parts():
        if not isinstance(part, Stamp):
            yield from part


@remembered
def columns_of(program: Program) -> Columns:
    """Return the columns of a program's ops."""
    filling = _Filling(len(program.ops))
    filling.add_recorded(list(_singles(program.ops)))
    for template, stamps in _stamps(program.ops):
        filling.add_stamps(template, stamps)
    return filling.columns()


@remembered
def waits_of(program: Program) -> Pairs:
    """Return what the ops of a program wait for, of `Program.waits`."""
    found = [_flat(_singles(program.waits))]
    for template, stamps in _stamps(program.waits):
        firsts = _numbers([stamp.op for stamp in stamps])[:, np.newaxis]
        inside = _flat(enumerate(template.inside))
        found.append(Pairs((firsts + inside.ops).ravel(), (firsts + inside.numbers).ravel()))
        found.append(_flat((s.op + at, some) for s in stamps for at, some in s.waits))
    return _joined(found)


@remembered
def buffers_of(program: Program) -> BufferColumns:
    """Return the columns of a program's buffers; a size that varies is the largest."""
    count = len(program.buffers)
    sizes, kinds = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int32)
    resident = np.zeros(count, dtype=np.bool_)

    def put(places: Numbers, buffers: Sequence[Buffer]) -> None:
        sizes[places] = [buffer.bytes for buffer in buffers]
        kinds[places] = [BUFFER_KINDS.index(buffer.kind) for buffer in buffers]
        resident[places] = [buffer.resident for buffer in buffers]

    singles = list(_singles(program.buffers))
    put(_numbers([at for at, _ in singles]), [buffer for _, buffer in singles])
    for template, stamps in _stamps(program.buffers):
        put(_rows([stamp.buffer for stamp in stamps], len(template.buffers)), template.buffers)
    return BufferColumns(sizes, kinds, resident)


class _Filling:
    """Puts columns together."""

    def __init__(self, count: int) -> None:
        self._lanes = np.zeros(count, dtype=np.int32)
        self._work, self._message = np.zeros_like(self._lanes), np.zeros_like(self._lanes)
        self._works: dict[int, int] = {}  # by identity
        self._distinct: list[AnyWork] = []
        self._messages: dict[Message | None, int] = {}
        self._reads: list[Pairs] = []
        self._writes: list[Pairs] = []

    def add_recorded(self, ops: Sequence[tuple[int, Op]]) -> None:
        self._put(_numbers([at for at, _ in ops]), [op for _, op in ops])
        self._reads.append(_flat((at, _touched(op.inputs)) for at, op in ops))
        self._writes.append(_flat((at, _touched(op.outputs)) for at, op in ops))

    def add_stamps(self, template: Template, stamps: Sequence[Stamp]) -> None:
        firsts = [stamp.op for stamp in stamps]
        self._put(_rows(firsts, len(template.ops)), template.ops)
        own = _rows([stamp.buffer for stamp in stamps], len(template.buffers))
        places = np.concatenate([_numbers([stamp.outside for stamp in stamps]), own], axis=1)
        first, number = template.first.buffer, len(template.outside)
        at = {index: place for place, index in enumerate(template.outside)}
        for side, found in (("inputs", self._reads), ("outputs", self._writes)):
            touched = _flat(
                (n, [at[i] if i < first else i - first + number for i in _touched(operands)])
                for n, operands in enumerate(getattr(op, side) for op in template.ops)
            )
            ops = np.add.outer(_numbers(firsts), touched.ops)
            found.append(Pairs(ops.ravel(), places[:, touched.numbers].ravel()))

    def _put(self, places: Numbers, ops: Sequence[Op]) -> None:
        self._lanes[places] = [op.lane for op in ops]
        self._work[places] = [self._work_place(op.work) for op in ops]
        known = self._messages
        self._message[places] = [known.setdefault(op.message, len(known)) for op in ops]

    def _work_place(self, work: AnyWork) -> int:
        place = self._works.setdefault(id(work), len(self._distinct))
        if place == len(self._distinct):
            self._distinct.append(work)
        return place

    def columns(self) -> Columns:
        works, messages = tuple(self._distinct), tuple(self._messages)
        sides = _joined(self._reads), _joined(self._writes)
        return Columns(self._lanes, works, self._work, messages, self._message, *sides)


def _numbers(some: Sequence[Any]) -> Numbers:
    return np.asarray(some, dtype=np.int32)


def _rows(firsts: Sequence[int], count: int) -> Numbers:
    """Return, by stamp, the places from its first one on."""
    rows: Numbers = np.add.outer(_numbers(firsts), np.arange(count, dtype=np.int32))
    return rows


def _touched(operands: Iterable[Operand]) -> list[int]:
    return [operand.buffer.index for operand in operands]


def _singles(things: Sequence[Thing]) -> Iterator[tuple[int, Thing]]:
    """Yield what is no part of a stamp, with its place."""
    if not isinstance(things, Pieces):
        yield from enumerate(things)
        return
    for first, part in things.parts():
        if not isinstance(part, Stamp):
            yield from enumerate(part, first)


def _stamps(things: Sequence[Thing]) -> Iterator[tuple[Template, list[Stamp]]]:
    """Yield the stamps of every template."""
    found: dict[int, list[Stamp]] = defaultdict(list)
    for _, part in things.parts() if isinstance(things, Pieces) else ():
        if isinstance(part, Stamp):
            found[id(part.template)].append(part)
    for stamps in found.values():
        yield stamps[0].template, stamps


def _flat(rows: Iterable[tuple[int, Sequence[int]]]) -> Pairs:
    """Return the numbers of some ops as pairs."""
    ops, numbers = list[int](), list[int]()
    for op, some in rows:
        if some:
            ops.extend([op] * len(some))
            numbers.extend(some)
    return Pairs(_numbers(ops), _numbers(numbers))


def _joined(parts: Sequence[Pairs]) -> Pairs:
    ops, numbers = zip(*parts, strict=True)
    return Pairs(np.concatenate(ops), np.concatenate(numbers))
