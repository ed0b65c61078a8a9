"""The tasks of all ranks as flat lists: what follows what, and how long compute takes.

Task ``t`` of rank ``r`` is op ``t - first[r]`` of the rank's program. Everything that ranks of a
role share is worked out once and repeated by reference, so a hundred thousand tasks are laid out in
milliseconds. Successors are stored as distances ``s - t``: these are the same for every rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import Mesh
from tspsim.program.by_rank import axes_of, works_of
from tspsim.program.columns import Columns, Pairs, columns_of, waits_of
from tspsim.program.remembered import remembered
from tspsim.program.types import Message, Program, Programs
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Device, Roofline


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What all ranks of a role share.

    Parameters
    ----------
    successors : tuple of tuple of int
        Distance to every op that waits for this one, by op.
    pending : tuple of int
        Number of ops that an op waits for, its predecessor on its lane included, by op.
    ordinals : tuple of int
        Position of an op on its lane, by op; of a send or a receive, on its channel. Nobody asks
        for that of what is computed: 0.
    """

    successors: tuple[tuple[int, ...], ...]
    pending: tuple[int, ...]
    ordinals: tuple[int, ...]


def predecessors(program: Program) -> list[set[int]]:
    """Return, by op, the ops of the same rank that must have ended before it starts."""
    before: list[set[int]] = [set() for _ in program.ops]
    for op, awaited in zip(*(side.tolist() for side in _awaited(program)), strict=True):
        before[op].add(awaited)
    return before


def _awaited(program: Program) -> Pairs:
    """Return what ops wait for, the one before them on their lane included."""
    waits, lanes = waits_of(program), columns_of(program).lanes
    order = np.argsort(lanes, kind="stable").astype(np.int32)
    same = lanes[order[1:]] == lanes[order[:-1]]
    ops = np.concatenate([waits.ops, order[1:][same]])
    return Pairs(ops, np.concatenate([waits.numbers, order[:-1][same]]))


@remembered
def shape_of(program: Program) -> Shape:
    """Return the dependencies inside a program; one is often played under many conditions."""
    count, (after, before) = len(program.ops), _awaited(program)
    links = np.unique(before.astype(np.int64) * count + after) if count else np.zeros(0, np.int64)
    before, after = np.divmod(links, max(1, count))
    pending = np.bincount(after, minlength=count)
    number = np.bincount(before, minlength=count)
    return Shape(_grouped(after - before, number), tuple(pending.tolist()), _ordinals(program))


def _grouped(distances: NDArray[np.int64], number: NDArray[np.intp]) -> tuple[tuple[int, ...], ...]:
    """Return numbers in groups of so many each; those that are alike are one tuple."""
    known: dict[tuple[int, ...], tuple[int, ...]] = {}
    numbers, found, at = distances.tolist(), [], 0
    for many in number.tolist():
        group = tuple(numbers[at : at + many])
        found.append(known.setdefault(group, group))
        at += many
    return tuple(found)


def _ordinals(program: Program) -> tuple[int, ...]:
    columns = columns_of(program)
    halves = [message and message.half for message in columns.messages]
    channels = {half: n for n, half in enumerate(dict.fromkeys(filter(None, halves)), 1)}
    channel = np.array([channels[half] if half else 0 for half in halves], dtype=np.intp)
    key = np.where(channel[columns.message] > 0, -channel[columns.message], columns.lanes)
    order = np.argsort(key, kind="stable")
    begins = np.flatnonzero(np.diff(key[order], prepend=key.min(initial=0) - 1))
    ordinals = np.zeros(len(order), dtype=np.intp)
    lengths = np.diff(begins, append=len(order))
    ordinals[order] = np.arange(len(order)) - np.repeat(begins, lengths)
    ordinals[key == 0] = 0
    return tuple(ordinals.tolist())


class Durations:
    """Seconds of every compute op, shared by ranks with the same program, device and coordinates.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    topology : Topology
    dtype : str
    """

    def __init__(self, programs: Programs, mesh: Mesh, topology: Topology, dtype: str) -> None:
        self._programs, self._mesh, self._topology, self._dtype = programs, mesh, topology, dtype
        self._axes = tuple(axes_of(program) for program in programs.roles)
        self._known: dict[tuple[int, Device, tuple[int, ...]], list[float]] = {}

    def of(self, rank: int) -> list[float]:
        """Return the seconds of a rank's ops on a device; 0 for communication."""
        role = self._programs.role_of_rank[rank]
        device = self._topology.devices[rank]
        place = tuple(self._mesh.coordinate(rank, axis) for axis in self._axes[role])
        key = (role, device, place)
        if key not in self._known:
            self._known[key] = self._compute(rank, device)
        return self._known[key]

    def _compute(self, rank: int, device: Device) -> list[float]:
        roofline = Roofline(device, self._topology.profile, self._dtype)
        program = self._programs.of(rank)
        works = works_of(program, self._mesh, rank)
        seconds = [0.0 if work is None else roofline.seconds(work) for work in works]
        return [seconds[place] for place in columns_of(program).work.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Tasks:
    """All tasks of all ranks, one after another.

    Parameters
    ----------
    ranks : tuple of int
        The ranks whose tasks these are, ascending.
    first : list of int
        Index of the first task of each of them, and the number of tasks at the end.
    place : list of int
        Position of its rank in `ranks`, by task.
    successors : list of tuple of int
        Distances to the tasks of the same rank that wait for this one, by task.
    pending : list of int
        Number of tasks still awaited, by task: the engine counts them down.
    message : list of Message or None
        None for compute.
    lane : list of int
        Stream.
    ordinal : list of int
        As in `Shape.ordinals`.
    """

    ranks: tuple[int, ...]
    first: list[int]
    place: list[int]
    successors: list[tuple[int, ...]]
    pending: list[int]
    message: list[Message | None]
    lane: list[int]
    ordinal: list[int]


def lay_out(programs: Programs, ranks: Sequence[int] | None = None) -> Tasks:
    """Return the tasks of some ranks, or of all."""
    ranks = range(len(programs.role_of_rank)) if ranks is None else ranks
    shapes = [shape_of(program) for program in programs.roles]
    messages = [_messages(columns_of(program)) for program in programs.roles]
    lanes = [columns_of(program).lanes.tolist() for program in programs.roles]
    tasks = Tasks(tuple(ranks), [0], [], [], [], [], [], [])
    for place, rank in enumerate(ranks):
        role = programs.role_of_rank[rank]
        shape = shapes[role]
        tasks.successors.extend(shape.successors)
        tasks.pending.extend(shape.pending)
        tasks.ordinal.extend(shape.ordinals)
        tasks.message.extend(messages[role])
        tasks.lane.extend(lanes[role])
        tasks.place.extend([place] * len(lanes[role]))
        tasks.first.append(len(tasks.lane))
    return tasks


def _messages(columns: Columns) -> list[Message | None]:
    return [columns.messages[place] for place in columns.message.tolist()]


def split(values: Sequence[float], first: Sequence[int]) -> list[Sequence[float]]:
    """Return the values of all tasks cut into those of each rank."""
    return [values[a:b] for a, b in pairwise(first)]
