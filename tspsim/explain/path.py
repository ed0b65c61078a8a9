"""The critical path: walked backwards from the task that ends last, over what each waited for.

A task starts at the moment in which the last of all that it waits for ends: lanes, data, slots,
partners. So among these there is one that ends exactly when the task starts, and the chain of
them reaches from the end of the step to its start without a gap. The timeline is read as it is;
nothing is simulated, and nothing is built for tasks that are not on the path.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

from tspsim.collectives.choose import Chooser
from tspsim.engine.network.calls import Planner
from tspsim.engine.tasks import Durations, predecessors
from tspsim.engine.timeline import Timeline
from tspsim.explain.calls import PlayedCall, PlayedCalls, Task
from tspsim.explain.pieces import CriticalPath, Edge, Limit, Piece
from tspsim.program.by_rank import work_of
from tspsim.program.types import Op, Program
from tspsim.scenario.types import Scenario
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Roofline

#: Differences below this share of the moment at which they occur are float rounding.
_DUST = 1e-12


def critical_path(timeline: Timeline, scenario: Scenario) -> CriticalPath:
    """Return the critical path of a run.

    Parameters
    ----------
    timeline : Timeline
    scenario : Scenario
        The one that was run.
    """
    planner = Chooser(scenario.topology, scenario.algorithm)
    return walk(timeline, scenario.topology, scenario.workload.dtype, planner)


def walk(timeline: Timeline, topology: Topology, dtype: str, planner: Planner) -> CriticalPath:
    """Do what `critical_path` does, with a planner of one's own."""
    walker = _Walker(timeline, topology, dtype, planner)
    pieces = list(walker.backwards())
    pieces.reverse()
    return CriticalPath(tuple(pieces))


class _Walker:
    """Knows of any task what it consists of, and what it waited for."""

    def __init__(
        self, timeline: Timeline, topology: Topology, dtype: str, planner: Planner
    ) -> None:
        self._timeline, self._topology, self._dtype = timeline, topology, dtype
        self._calls = PlayedCalls(timeline, topology, planner)
        self._durations = Durations(timeline.programs, timeline.mesh, topology, dtype)
        self._before = [predecessors(program) for program in timeline.programs.roles]
        self._end: dict[int, list[float]] = {}
        self._rooflines: dict[int, Roofline] = {}

    def backwards(self) -> Iterator[Piece]:
        """Yield the pieces of the path, the last one first."""
        rank = self._timeline.slowest_rank
        ends = self._ends(rank)
        if not ends:
            return
        task: Task | None = (rank, max(range(len(ends)), key=lambda op: (ends[op], op)))
        while task is not None:
            arrived, pieces = self._task(*task)
            edge, before = self._awaited(*arrived)
            if arrived == task:
                pieces[0] = pieces[0]._replace(edge=edge)
            else:
                pieces.insert(0, self._arrival(arrived, pieces[0].start, edge))
            yield from reversed(pieces)
            task = before

    def _ends(self, rank: int) -> list[float]:
        if rank not in self._end:
            self._end[rank] = self._timeline.end[rank].tolist()
        return self._end[rank]

    # ---- what a task waited for --------------------------------------------------------------

    def _awaited(self, rank: int, op: int) -> tuple[Edge, Task | None]:
        """Return the task whose end a task waited for last on its own rank, and why.

        Of several that end at one moment it is the one that was issued last.
        """
        ends, before = self._ends(rank), self._before[self._timeline.programs.role_of_rank[rank]]
        if not before[op]:
            return "start", None
        last = max(before[op], key=lambda other: (ends[other], other))
        return _edge(self._timeline.programs.of(rank), last, op), (rank, last)

    def _ready(self, task: Task) -> float:
        """Return when all that a task waits for on its own rank had ended."""
        _, before = self._awaited(*task)
        return self._ends(before[0])[before[1]] if before else 0.0

    def _arrival(self, task: Task, moment: float, edge: Edge) -> Piece:
        op = self._timeline.programs.of(task[0]).ops[task[1]]
        return Piece(task[0], op, "arrival", moment, moment, edge)

    # ---- what a task consists of -------------------------------------------------------------

    def _task(self, rank: int, index: int) -> tuple[Task, list[Piece]]:
        """Return the pieces of a task, and the task that let it begin: itself or a partner."""
        op = self._timeline.programs.of(rank).ops[index]
        start, end = float(self._timeline.start[rank][index]), self._ends(rank)[index]
        call = self._calls.of(rank, index) if op.message is not None else None
        if call is None:
            marks = self._computed(rank, op, start, end)
            return (rank, index), _pieces(rank, op, marks, None, "same task")
        arrived, met = (rank, index), self._ready((rank, index))
        # A collective's start is the meeting. A shift's is that of the earlier of its two hops.
        last = math.inf if len(call.members) == 2 else start
        for member in call.members:
            if met >= last:
                break
            ready = self._ready(member)
            if ready > met:
                arrived, met = member, ready
        edge: Edge = "same task" if arrived == (rank, index) else "rendezvous"
        marks = _played(call, met, end)
        return arrived, _pieces(rank, op, marks, call.link, edge)

    def _computed(self, rank: int, op: Op, start: float, end: float) -> list[tuple[Limit, float]]:
        """Return the moments at which the limits of a compute task change, its start first."""
        work = work_of(op, self._timeline.mesh, rank)
        if work is None or end == start:
            return [("compute", start), ("compute", end)]
        if work.seconds:
            return [("host", start), ("host", end)]
        roofline, whole = self._roofline(rank), self._durations.of(rank)[op.index]
        by_flops = work.flops and roofline.seconds(work._replace(bytes=0)) >= whole
        bound: Limit = "compute" if by_flops else "memory"
        over = end if end - (start + whole) <= _DUST * end else start + whole
        busy = min(over, start + (whole - roofline.launch))
        return [(bound, start), (bound, busy), ("launch", over), ("interference", end)]

    def _roofline(self, rank: int) -> Roofline:
        if rank not in self._rooflines:
            device, profile = self._topology.devices[rank], self._topology.profile
            self._rooflines[rank] = Roofline(device, profile, self._dtype)
        return self._rooflines[rank]


def _played(call: PlayedCall, met: float, end: float) -> list[tuple[Limit, float]]:
    """Return the moments at which the limits of a call change, the meeting first."""
    latency = min(end, met + call.latency)
    begin = min(end, latency + call.fill)
    alone = begin + call.alone
    return [
        ("latency", met),
        ("latency", latency),
        ("fill", begin),
        ("transfer", end if end - alone <= _DUST * end else alone),
        ("contention", end),
    ]


def _pieces(
    rank: int, op: Op, marks: list[tuple[Limit, float]], link: int | None, edge: Edge
) -> list[Piece]:
    """Return a piece for every stretch between two marks that takes time; at least one."""
    found: list[Piece] = []
    for (_, start), (limit, end) in pairwise(marks):
        if end > start:
            found.append(Piece(rank, op, limit, start, end, "same task", link))
    first, last = marks[0], marks[-1]
    found = found or [Piece(rank, op, first[0], last[1], last[1], "same task", link)]
    found[0] = found[0]._replace(edge=edge)
    return found


def _edge(program: Program, before: int, after: int) -> Edge:
    """Return why an op of a rank waits for another one."""
    first, second = program.ops[before], program.ops[after]
    if first.lane == second.lane and first.half == second.half:
        return "program order"
    if first.kind.name == "issue":
        return "host"
    written = {operand.buffer.index for operand in first.outputs}
    if any(operand.buffer.index in written for operand in second.inputs):
        return "data"
    touched = written | {operand.buffer.index for operand in first.inputs}
    if any(operand.buffer.index in touched for operand in second.outputs):
        return "slot"
    if first.lane == second.lane:
        return "head of line"
    between = program.ops[before + 1 : after]
    if second.lane and first.lane == 0 and all(op.lane for op in between):
        return "issue order"
    return "slot"
