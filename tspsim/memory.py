"""Memory from lifetimes: what is alive on every rank at every moment of a timeline.

Nobody writes "free": a buffer lives from the start of the first op that writes it to the end of the
last op that reads or writes it. Communication holds what it reads and writes for longer: from when
it is issued, which is when the compute before it ends, until the first op that waits for it starts
(torch's asynchronous collectives do that until ``wait``). A buffer that ops only read is an input
and lives from the beginning; resident buffers live all the time; buffers that no op touches, or
without bytes, do not count. What ends and what begins at the same moment can have the same place in
memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.allocator import Life, taken
from tspsim.engine.timeline import Timeline
from tspsim.program.by_rank import axes_of
from tspsim.program.columns import (
    Columns,
    Numbers,
    Pairs,
    buffers_of,
    columns_of,
    once,
    waits_of,
)
from tspsim.program.remembered import remembered
from tspsim.program.types import BUFFER_KINDS, Buffer, BufferKind, Program
from tspsim.program.varying import of_rank, varies
from tspsim.topology.hardware import Device

Times = NDArray[np.float64]
#: Exact: a buffer takes its own bytes. Otherwise those of the segments that this one takes.
Allocator = Literal["exact", "torch"]


class Libraries(NamedTuple):
    """What of the libraries beside it a rank's program makes use of.

    Attributes
    ----------
    handles : int
        BLAS handles: torch has one for every thread that multiplies, and backward runs in a
        thread of its own (pytorch.org/docs, "Autograd mechanics").
    communicators : int
        One for every lane; the lanes of sends and receives of one name share theirs.
    """

    handles: int = 0
    communicators: int = 0


#: Of a program that calls none.
NO_LIBRARIES = Libraries()


@dataclass(frozen=True, eq=False)
class RankMemory:
    """Bytes alive on one rank, as a step function of time.

    Parameters
    ----------
    times : ndarray of float64, shape (n,)
        Moments at which something changes, increasing; the first is 0.
    by_kind : ndarray of int64, shape (len(BUFFER_KINDS), n)
        Bytes of every buffer kind from ``times[i]`` until ``times[i + 1]``.
    libraries : Libraries
    lives : tuple of Life or None
        The buffers, for torch's allocator to place; None: each takes its own bytes.
    """

    times: NDArray[np.float64]
    by_kind: NDArray[np.int64]
    libraries: Libraries = NO_LIBRARIES
    lives: tuple[Life, ...] | None = None

    @property
    def total(self) -> NDArray[np.int64]:
        """Bytes of all kinds, shape (n,)."""
        return np.asarray(self.by_kind.sum(axis=0), dtype=np.int64)

    @cached_property
    def peak(self) -> int:
        """Largest total in bytes."""
        return int(self.total.max(initial=0))

    @property
    def peak_time(self) -> float:
        """First moment of the largest total, in seconds."""
        return float(self.times[int(self.total.argmax())])

    @property
    def at_peak(self) -> dict[BufferKind, int]:
        """Bytes by buffer kind at the first moment of the largest total."""
        column = self.by_kind[:, int(self.total.argmax())].tolist()
        return dict(zip(BUFFER_KINDS, column, strict=True))

    def beside(self, device: Device) -> dict[str, float]:
        """Return the bytes that a device holds at the peak beside the buffers, by what for.

        ``reserved`` by the runtime; ``blas``, the workspaces of its handles; ``communicators``,
        their buffers; and ``allocator``, where torch's is played: what its segments hold at most
        beyond workspaces and buffers, by rounding and in pieces that nothing fits into.
        """
        handles, communicators = self.libraries
        found = {"reserved": device.reserved, "blas": handles * device.blas}
        found["communicators"] = communicators * device.communicator
        if self.lives is not None:
            workspaces = [Life(0.0, np.inf, round(device.blas))] * handles if device.blas else []
            limit = device.memory - found["reserved"] - found["communicators"]
            segments = taken([*workspaces, *self.lives], limit)
            found["allocator"] = segments - found["blas"] - self.peak
        return found


@dataclass(frozen=True, slots=True, eq=False)
class MemoryTrace:
    """Memory of every rank over a step."""

    ranks: tuple[RankMemory, ...]

    @property
    def peak(self) -> int:
        """Largest total of any rank, in bytes."""
        return max(rank.peak for rank in self.ranks)

    @property
    def peak_rank(self) -> int:
        """The rank with the largest total; the lowest of equals."""
        peaks = [rank.peak for rank in self.ranks]
        return peaks.index(max(peaks))

    @property
    def peak_time(self) -> float:
        """First moment of the largest total of that rank, in seconds."""
        return self.ranks[self.peak_rank].peak_time

    @property
    def at_peak(self) -> dict[BufferKind, int]:
        """Bytes by buffer kind on that rank at that moment."""
        return self.ranks[self.peak_rank].at_peak


class Lifetimes(NamedTuple):
    """When every buffer of one rank is alive.

    Attributes
    ----------
    birth, death : ndarray of float64, shape (buffers,)
        Alive from `birth` up to, not including, `death` (seconds); both are NaN for buffers that
        do not count, and death is infinite for resident ones.
    """

    birth: NDArray[np.float64]
    death: NDArray[np.float64]


class Sorted(NamedTuple):
    """Into which of so many heaps the buffers of a program are put: a place by buffer."""

    places: Numbers
    heaps: int


class _Accesses(NamedTuple):
    """Which ops of a program touch which buffer, sorted by buffer, and the buffers' bytes.

    `issued` and `awaited` name, by op of communication, the compute op whose end issues it (or -1)
    and the first op that waits for it (or itself); both name a compute op itself.
    """

    written: Numbers
    writers: Numbers
    touched: Numbers
    touching: Numbers
    resident: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    kinds: Numbers
    issued: Numbers
    awaited: Numbers

    def holds(self, timeline: Timeline, rank: int) -> tuple[Times, Times]:
        """Return from when, and until when, every op of a rank holds what it touches."""
        start, end = timeline.start[rank], timeline.end[rank]
        before = np.where(self.issued >= 0, end[self.issued], 0.0)
        compute = self.issued == np.arange(len(start))
        return np.where(compute, start, before), np.maximum(end, start[self.awaited])


def trace(timeline: Timeline, allocator: Allocator = "exact") -> MemoryTrace:
    """Return what is alive on every rank over time.

    Parameters
    ----------
    timeline : Timeline
    allocator : {"exact", "torch"}
        Who gives the buffers their places.
    """
    known: dict[tuple[object, bytes, bytes], RankMemory] = {}
    played: dict[int, RankMemory] = {}
    for rank in timeline.played:
        program, mesh = timeline.programs.of(rank), timeline.mesh
        place = tuple(mesh.coordinate(rank, axis) for axis in axes_of(program))
        # Symmetric ranks have the same times to the last bit, so they share one answer.
        key = ((id(program), place), timeline.start[rank].tobytes(), timeline.end[rank].tobytes())
        if key not in known:
            accesses = _accesses_of(timeline, rank)
            lives = _lifetimes(timeline, rank, accesses)
            placed = _lives(lives, accesses.sizes) if allocator == "torch" else None
            kinds = Sorted(accesses.kinds, len(BUFFER_KINDS))
            times, by_kind = _steps(lives, accesses.sizes, kinds)
            known[key] = RankMemory(times, by_kind, _libraries(program), placed)
        played[rank] = known[key]
    by_rank = timeline.fold.stand_ins if timeline.fold else None
    return MemoryTrace(tuple(played[rank] for rank in by_rank or timeline.played))


@remembered
def _libraries(program: Program) -> Libraries:
    handles = 1 + any(op.phase == "backward" for op in once(program.ops))
    lanes = (lane for lane in program.lanes if lane.axis is not None)
    # Both directions of sends and receives are one communicator: what stands before the space.
    return Libraries(handles, len({(lane.name.partition(" ")[0], lane.size) for lane in lanes}))


def _lives(lives: Lifetimes, sizes: NDArray[np.int64]) -> tuple[Life, ...]:
    counted = np.flatnonzero(~np.isnan(lives.birth))
    columns = (lives.birth[counted], lives.death[counted], sizes[counted])
    return tuple(Life(*row) for row in zip(*(c.tolist() for c in columns), strict=True))


def lifetimes(timeline: Timeline, rank: int) -> Lifetimes:
    """Return when every buffer of a rank is alive."""
    return _lifetimes(timeline, rank, _accesses_of(timeline, rank))


def over_time(timeline: Timeline, rank: int, into: Sorted) -> tuple[Times, NDArray[np.int64]]:
    """Return when something changes on a rank, and the bytes alive from then on in every heap."""
    accesses = _accesses_of(timeline, rank)
    return _steps(_lifetimes(timeline, rank, accesses), accesses.sizes, into)


def alive(timeline: Timeline, rank: int, moment: float) -> tuple[Buffer, ...]:
    """Return the buffers alive on a rank at a moment, largest first.

    Parameters
    ----------
    timeline : Timeline
    rank : int
    moment : float
        Seconds.
    """
    lives = lifetimes(timeline, rank)
    there = np.flatnonzero((lives.birth <= moment) & (moment < lives.death)).tolist()
    buffers, sizes = timeline.programs.of(rank).buffers, _accesses_of(timeline, rank).sizes
    return tuple(buffers[i] for i in sorted(there, key=lambda i: (-sizes[i], i)))


def _accesses_of(timeline: Timeline, rank: int) -> _Accesses:
    """Return the accesses of a rank's program, with the sizes that its buffers have there."""
    program = timeline.programs.of(rank)
    shared = _accesses(program)
    if not any(varies(buffer.shape) for buffer in once(program.buffers)):
        return shared
    sizes = [of_rank(buffer.bytes, timeline.mesh, rank) for buffer in program.buffers]
    return shared._replace(sizes=np.array(sizes, dtype=np.int64))


@remembered
def _accesses(program: Program) -> _Accesses:
    columns, buffers = columns_of(program), buffers_of(program)
    touches = Pairs(*map(np.concatenate, zip(columns.reads, columns.writes, strict=True)))
    return _Accesses(
        *_sorted(columns.writes),
        *_sorted(touches),
        buffers.resident,
        buffers.sizes,
        buffers.kinds,
        _issued(program),
        _awaited(program),
    )


def _sorted(accesses: Pairs) -> Pairs:
    """Return the buffers of some accesses, sorted, and the op of each."""
    order = np.argsort(accesses.numbers, kind="stable")
    return Pairs(accesses.numbers[order], accesses.ops[order])


def _issued(program: Program) -> Numbers:
    """Return, by op, the compute op whose end issues it; -1 where there is none."""
    columns, waits = columns_of(program), waits_of(program)
    compute = columns.lanes[waits.numbers] == 0
    issued = np.full(len(columns.lanes), -1, dtype=np.int32)
    np.maximum.at(issued, waits.ops[compute], waits.numbers[compute])
    return np.where(columns.talks, issued, np.arange(len(issued), dtype=np.int32))


def _awaited(program: Program) -> Numbers:
    """Return, by op of communication, the first op that waits for it, or for a later one.

    An op of its own lane follows it without a wait, unless it touches what it wrote. What nobody
    reads is not waited for; neither is it for a compute op: these stand for themselves.
    """
    columns, waits = columns_of(program), waits_of(program)
    awaited = np.arange(len(columns.lanes), dtype=np.int32)
    again = _own_lane(columns)
    ops, before = map(np.concatenate, zip(waits, again, strict=True))
    travelling = _read_later(columns, len(program.buffers))
    lane = columns.lanes[before]
    for number in range(len(program.lanes)):
        order = np.argsort(before[lane == number], kind="stable")
        known = before[lane == number][order]
        # The first of all that wait for an op or for a later one of its lane.
        first = np.minimum.accumulate(ops[lane == number][order][::-1])[::-1]
        sent = travelling[columns.lanes[travelling] == number]
        place = np.searchsorted(known, sent)
        found = place < len(known)
        awaited[sent[found]] = first[place[found]]
    return awaited


def _read_later(columns: Columns, buffers: int) -> Numbers:
    """Return the ops of communication that write what some later op reads."""
    last = np.full(buffers, -1, dtype=np.int32)
    np.maximum.at(last, columns.reads.numbers, columns.reads.ops)
    ops, written = columns.writes
    return np.unique(ops[columns.talks[ops] & (last[written] > ops)])


def _own_lane(columns: Columns) -> Pairs:
    """Return the ops of communication that wrote last what others of their lane touch."""
    talks, many = columns.talks, len(columns.lanes)
    ops, written = (side[talks[columns.writes.ops]] for side in columns.writes)
    writers = np.unique(written.astype(np.int64) * many + ops)
    ops, touched = map(np.concatenate, zip(columns.reads, columns.writes, strict=True))
    ops, touched = ops[talks[ops]], touched[talks[ops]]
    place = np.searchsorted(writers, touched.astype(np.int64) * many + ops) - 1
    ops, touched, found = ops[place >= 0], touched[place >= 0], writers[place[place >= 0]]
    buffer, before = np.divmod(found, max(1, many))
    same = (buffer == touched) & (columns.lanes[before] == columns.lanes[ops])
    return Pairs(ops[same], before[same].astype(np.int32))


def _lifetimes(timeline: Timeline, rank: int, accesses: _Accesses) -> Lifetimes:
    count = len(accesses.sizes)
    start, end = accesses.holds(timeline, rank)
    birth, death = np.full(count, np.nan), np.full(count, np.nan)
    used, firsts = np.unique(accesses.touched, return_index=True)
    if used.size:
        birth[used] = 0.0  # an input, unless some op writes it
        death[used] = np.maximum.reduceat(end[accesses.touching], firsts)
    written, firsts = np.unique(accesses.written, return_index=True)
    if written.size:
        birth[written] = np.minimum.reduceat(start[accesses.writers], firsts)
    birth[accesses.resident], death[accesses.resident] = 0.0, np.inf
    birth[accesses.sizes == 0] = death[accesses.sizes == 0] = np.nan
    return Lifetimes(birth, death)


def _steps(
    lives: Lifetimes, sizes: NDArray[np.int64], into: Sorted
) -> tuple[Times, NDArray[np.int64]]:
    counted = np.flatnonzero(~np.isnan(lives.birth))
    freed = counted[np.isfinite(lives.death[counted])]
    moments = np.concatenate([[0.0], lives.birth[counted], lives.death[freed]])
    times, where = np.unique(moments, return_inverse=True)
    change = np.zeros((into.heaps, len(times)), dtype=np.int64)
    born, died = np.split(where[1:], [len(counted)])
    np.add.at(change, (into.places[counted], born), sizes[counted])
    np.add.at(change, (into.places[freed], died), -sizes[freed])
    kept = np.asarray(change.any(axis=0), dtype=np.bool_)
    kept[0] = True
    return times[kept], change.cumsum(axis=1)[:, kept]
