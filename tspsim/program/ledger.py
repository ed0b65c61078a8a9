"""What has been recorded, and who wrote and read every buffer last: what an op has to wait for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from tspsim.files.errors import ProgramError
from tspsim.program.types import Buffer, Op, Operand


class Slots:
    """A fixed number of places for travelling buffers: the back-pressure of a prefetch.

    A buffer put into a slot takes the place of the one that came `count` before it, and waits
    until that one has been used for the last time. Of two passes at once each has its own places.
    """

    def __init__(self, count: int) -> None:
        self._sides = [deque[int | None]([None] * count) for _ in range(2)]

    def put(self, buffer: int, side: int) -> int | None:
        """Take the next slot of a side for a buffer; return the buffer that it displaces."""
        places = self._sides[side]
        places.append(buffer)
        return places.popleft()


#: Nobody has read it.
UNREAD: tuple[int, Mapping[int, int]] = (0, {})


class Ledger:
    """The uses of buffers so far, and what the next op waits for beside its data.

    Attributes
    ----------
    lanes : list of int
        Lane of every op.
    writer : list of int
        Per buffer: the op that wrote it last, or -1.
    readers : list of (int, Mapping)
        Per buffer: lane -> last reader since then, counted from an op; see `read`.
    closed : set of int
        Buffers whose slot has been filled again.
    vacated : dict
        Per buffer: the ops that its first writer must await, for they used what it displaces.
    given : set of int
        Buffers that start filled.
    computed : int
        The op issued last on the compute lane, or -1.
    awaited : list of int
        What the next compute op waits for, whatever it reads.
    side : int
        Which places in slots are taken: 1 in the second of two passes that are played at once.
    """

    def __init__(self) -> None:
        self.lanes: list[int] = []
        self.writer: list[int] = []
        self.readers: list[tuple[int, Mapping[int, int]]] = []
        self.closed: set[int] = set()
        self.vacated: dict[int, list[int]] = {}
        self.given: set[int] = set()
        self.computed = -1
        self.awaited: list[int] = []
        self.side = 0

    def declare(self, displaced: int | None = None) -> None:
        """Add a buffer; it may take the place of another one."""
        self.writer.append(-1)
        self.readers.append(UNREAD)
        if displaced is not None:
            self.displace(displaced, len(self.writer) - 1)

    def displace(self, old: int, new: int) -> None:
        """Give a buffer's slot to another one."""
        self.closed.add(old)
        self.vacated[new] = [self.writer[old], *self.read_by(old)]

    def read_by(self, buffer: int) -> list[int]:
        """Return the last reader of a buffer on every lane, since it was written."""
        first, readers = self.readers[buffer]
        return [first + op for op in readers.values()]

    def read(self, buffer: int, readers: Mapping[int, int], first: int = 0) -> None:
        """Add last readers by lane, counted from an op: what is stamped shares them."""
        since, known = self.readers[buffer]
        if known:
            readers = {lane: first + op for lane, op in readers.items()}
            readers = {lane: since + op for lane, op in known.items()} | readers
            first = 0
        self.readers[buffer] = first, readers

    def enter(
        self,
        lane: int,
        inputs: Sequence[Operand],
        outputs: Sequence[Operand],
        behind: int,
    ) -> tuple[int, ...]:
        """Add an op; return the ops on other lanes that it waits for.

        Communication waits for the compute op that it stands `behind`, if there is one.

        Lanes are in order, so only the latest on each is kept, and none on its own.
        """
        index, latest = len(self.lanes), dict[int, int]()
        if lane == 0:
            self.computed = index
            for awaited in self.awaited:
                other = self.lanes[awaited]
                latest[other] = max(awaited, latest.get(other, -1))
            self.awaited.clear()
        elif behind >= 0:
            latest[0] = behind
        for before in self._uses(inputs, outputs):
            if before >= 0:
                other = self.lanes[before]
                if other != lane and latest.get(other, -1) < before:
                    latest[other] = before
        self.lanes.append(lane)
        for operand in inputs:
            self.read(operand.buffer.index, {lane: index})
        for operand in outputs:
            self.writer[operand.buffer.index] = index
            self.readers[operand.buffer.index] = UNREAD
        return tuple(sorted(latest.values()))

    def settle(self, first: int, ops: Sequence[Op], places: Mapping[int, int]) -> None:
        """Take the last ops, from `first` on, to be issued in another order.

        Parameters
        ----------
        first : int
        ops : sequence of Op
            In that order.
        places : mapping of int to int
            Where each is issued now.
        """
        self.lanes[first:] = [op.lane for op in ops]
        for buffer, (writer, readers) in uses_of(ops).items():
            if writer >= 0:
                self.writer[buffer], self.readers[buffer] = writer, (0, readers)
            else:
                self.read(buffer, readers)
        self.computed = max((op.index for op in ops if op.lane == 0), default=self.computed)
        self.awaited = [places.get(op, op) for op in self.awaited]
        for buffer, used in self.vacated.items():
            self.vacated[buffer] = [places.get(op, op) for op in used]

    def check(self, inputs: Sequence[Operand]) -> None:
        """Raise when something is read that is not there.

        Raises
        ------
        ProgramError
            When nothing has written it, or its slot was filled again.
        """
        for operand in inputs:
            buffer = operand.buffer
            if buffer.index in self.closed:
                raise ProgramError(f"'{buffer.name}' is read after its slot was filled again")
            if self.writer[buffer.index] < 0 and not self._starts_filled(buffer):
                raise ProgramError(f"'{buffer.name}' is read before anything wrote it")

    def _uses(self, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> Iterator[int]:
        for operand in inputs:
            yield self.writer[operand.buffer.index]
        for operand in outputs:
            index = operand.buffer.index
            yield self.writer[index]
            yield from self.read_by(index)
            yield from self.vacated.pop(index, ())

    def _starts_filled(self, buffer: Buffer) -> bool:
        return buffer.resident or buffer.index in self.given


def uses_of(ops: Sequence[Op]) -> dict[int, tuple[int, dict[int, int]]]:
    """Return how ops leave the buffers that they touch.

    That is the last writer, -1 where they only read it, and the last readers since then by lane.
    """
    uses: dict[int, tuple[int, dict[int, int]]] = {}
    for op in ops:
        for operand in op.inputs:
            uses.setdefault(operand.buffer.index, (-1, {}))[1][op.lane] = op.index
        for operand in op.outputs:
            uses[operand.buffer.index] = op.index, {}
    return uses
