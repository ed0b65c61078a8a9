"""The tasks of all ranks as flat lists: what follows what, and how long compute takes.

Task ``t`` of rank ``r`` is op ``t - first[r]`` of the rank's program. Everything that ranks of a
role share is worked out once and repeated by reference, so a hundred thousand tasks are laid out in
milliseconds. Successors are stored as distances ``s - t``: these are the same for every rank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tspsim.mesh import Mesh
from tspsim.program.by_rank import axes_of, works_of
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
        Position of an op on its lane, by op; of a send or a receive, on its channel.
    """

    successors: tuple[tuple[int, ...], ...]
    pending: tuple[int, ...]
    ordinals: tuple[int, ...]


def predecessors(program: Program) -> list[set[int]]:
    """Return, by op, the ops of the same rank that must have ended before it starts."""
    before = [set(waits) for waits in program.waits]
    last: dict[int, int] = {}
    for op in program.ops:
        if op.lane in last:
            before[op.index].add(last[op.lane])
        last[op.lane] = op.index
    return before


@remembered
def shape_of(program: Program) -> Shape:
    """Return the dependencies inside a program; one is often played under many conditions."""
    before = predecessors(program)
    after: list[list[int]] = [[] for _ in program.ops]
    for index, earlier in enumerate(before):
        for other in sorted(earlier):
            after[other].append(index - other)
    counts: dict[object, int] = defaultdict(int)
    ordinals = []
    for op in program.ops:
        counted_with = op.half or op.lane
        ordinals.append(counts[counted_with])
        counts[counted_with] += 1
    return Shape(tuple(map(tuple, after)), tuple(map(len, before)), tuple(ordinals))


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
        works = works_of(self._programs.of(rank))
        seconds = [
            0.0 if work is None else roofline.seconds(work)
            for work in works.of_rank(self._mesh, rank)
        ]
        return [seconds[place] for place in works.of_op]


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
    messages = [[op.message for op in program.ops] for program in programs.roles]
    lanes = [[op.lane for op in program.ops] for program in programs.roles]
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


def split(values: Sequence[float], first: Sequence[int]) -> list[Sequence[float]]:
    """Return the values of all tasks cut into those of each rank."""
    return [values[a:b] for a, b in pairwise(first)]
