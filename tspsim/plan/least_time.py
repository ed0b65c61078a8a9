"""A step time that a candidate cannot beat, from its sketch alone.

Whatever else happens, a rank's ops follow each other as its program says, a compute op takes what
the roofline says, a collective takes at least the time that it takes where nothing else uses the
links, and a link carries what it has to carry no faster than it can. So the step is never shorter
than the longest path through one rank's program, than all that is said on one of its communicators
or issued by its host, or than all that its communicators put on one link. These are sums over
pieces that repeat from layer to layer, so a sketch of two layers gives them for any number.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tspsim.collectives.choose import Chooser
from tspsim.engine.tasks import Durations, predecessors
from tspsim.mesh import Mesh
from tspsim.plan.sketch import Sketch
from tspsim.program.types import Lane, Message, Op, PlanKind, Program, Programs
from tspsim.scenario.types import Scenario


@dataclass(frozen=True, slots=True)
class _Segment:
    """The way from one op of the compute lane to another, and how often the step goes it."""

    first: int
    last: int
    times: int


def least_time(made: Sketch, scenario: Scenario, planner: Chooser) -> float:
    """Return seconds that a step of a scenario takes at least.

    Parameters
    ----------
    made : Sketch
        Of the scenario's programs; its placement does not matter.
    scenario : Scenario
    planner : Chooser
        Of the scenario's topology and collective algorithm.
    """
    mesh = scenario.strategy.mesh()
    durations = Durations(made.programs, mesh, scenario.topology, scenario.workload.dtype)
    if made.whole:
        return max(
            _of_role(made, rank, durations, Clock(scenario, mesh, planner, rank))
            for rank in made.programs.first_ranks
        )
    rank = slowest(durations, mesh)
    return _of_rank(made, rank, durations, Clock(scenario, mesh, planner, rank))


def _of_role(made: Sketch, rank: int, durations: Durations, clock: Clock) -> float:
    """Return the longest path through the program of one of several roles, alone."""
    program = made.programs.of(rank)
    seconds = clock.seconds(program, durations.of(rank))
    alone = _alone(program, seconds)
    path = _longest(predecessors(program), alone, 0, len(alone))
    return max(path, *_by_lane(made, program, seconds), clock.busiest_link(made))


def _of_rank(made: Sketch, rank: int, durations: Durations, clock: Clock) -> float:
    """Return what the sketch says of a rank of the one role."""
    program = made.programs.of(rank)
    seconds = clock.seconds(program, durations.of(rank))
    busiest = max(*_by_lane(made, program, seconds), clock.busiest_link(made), 0.0)
    segments = _segments(made, program)
    alone = _alone(program, seconds)
    before = predecessors(program)
    lengths = [s.times * _longest(before, alone, s.first, s.last) for s in segments]
    if made.end is None:
        return max(sum(lengths), busiest)
    reduced, updated, gathered = clock.end(made.end)
    # Gradients are complete no sooner than the last micro-batch has come to its last layer.
    early = sum(lengths[: _complete(made, segments)])
    return max(max(sum(lengths), early + reduced) + updated + gathered, busiest)


def slowest(durations: Durations, mesh: Mesh) -> int:
    """Return the first of the ranks that compute longest."""
    total: dict[int, float] = {}
    for rank in range(mesh.ranks):
        own = durations.of(rank)
        total.setdefault(id(own), sum(own))  # ranks that compute alike share their durations
    return max(range(mesh.ranks), key=lambda r: (total[id(durations.of(r))], -r))


class Clock:
    """How long one rank's ops take at least.

    Where collectives are not played as coflows with fair shares, nothing is said about theirs.
    """

    def __init__(self, scenario: Scenario, mesh: Mesh, planner: Chooser, rank: int) -> None:
        self._scenario, self._mesh, self._planner, self._rank = scenario, mesh, planner, rank
        self._silent = (scenario.detail, scenario.sharing) != ("coflow", "fair")
        self._links = scenario.topology.links
        self._known: dict[tuple[Lane, Message], float] = {}

    def seconds(self, program: Program, compute: Sequence[float]) -> list[float]:
        """Return the seconds of every op."""
        return [
            compute[op.index] if op.message is None else self._call(program, op, op.message)
            for op in program.ops
        ]

    def end(self, programs: Programs) -> tuple[float, float, float]:
        """Return seconds that replicas speak before the optimizer step, of it, and after it.

        Of weights that are replicated in different ways, the first ones' and the last ones'.
        """
        scenario, program = self._scenario, programs.of(self._rank)
        compute = Durations(programs, self._mesh, scenario.topology, scenario.workload.dtype)
        seconds = self.seconds(program, compute.of(self._rank))
        steps = [op.index for op in program.ops if op.message is None]
        updated = sum(seconds[step] for step in steps)
        return sum(seconds[: steps[0]]), updated, sum(seconds[steps[-1] + 1 :])

    def busiest_link(self, made: Sketch) -> float:
        """Return the seconds that the rank's communicators take one link for, at least."""
        total: dict[int, float] = defaultdict(float)
        for key, times in self._said(made).items():
            for kind, ranks in [] if self._silent else self._calls(*key, everyone=True):
                plan = self._planner.choose(kind, key[1].bytes, ranks, key[1].root)
                held = key[1].bytes * times * plan.held / plan.efficiency
                for link, load in plan.loads:
                    total[link] += held * load / self._links[link].bandwidth
        return max(total.values(), default=0.0)

    def _said(self, made: Sketch) -> dict[tuple[Lane, Message], int]:
        """Return all messages of the rank in the whole step, with how often each is sent."""
        said: dict[tuple[Lane, Message], int] = defaultdict(int)
        program = made.programs.of(self._rank)
        for op in program.ops:
            if op.message is not None and (made.whole or program.between(op)):
                said[program.lanes[op.lane], op.message] += made.times(op)
        end = made.end.of(self._rank) if made.end is not None else None
        for op in end.ops if end is not None else ():
            if op.message is not None and end is not None:
                said[end.lanes[op.lane], op.message] += 1
        return said

    def _call(self, program: Program, op: Op, message: Message) -> float:
        """Return the time of a collective, or of the rank's own hop, where nothing else runs."""
        key = program.lanes[op.lane], message
        if key not in self._known:
            ways = [] if self._silent else self._calls(*key, everyone=False)
            size, root = message.bytes, message.root
            plans = (self._planner.choose(kind, size, ranks, root) for kind, ranks in ways)
            times = [plan.time(message.bytes, self._scenario.topology) for plan in plans]
            self._known[key] = max(times, default=0.0)
        return self._known[key]

    def _calls(
        self, lane: Lane, message: Message, *, everyone: bool
    ) -> list[tuple[PlanKind, tuple[int, ...]]]:
        """Return the kind and the members of what a message is: a collective, or hops of a shift.

        Of the hops the rank's own one, or those of everyone.
        """
        ranks = lane.members(self._mesh, self._rank)
        degree, place = len(ranks), ranks.index(self._rank)
        kind = message.carried_as(degree)
        if degree == 1 or (message.hop and message.offset % degree == 0):
            return []
        if not message.hop:
            return [(kind, ranks)]
        if message.collective != "shift":
            hop = (self._rank, ranks[(place + message.offset) % degree])
            return [(kind, hop if message.collective == "send" else hop[::-1])]
        senders = range(degree) if everyone else [place]
        return [(kind, (ranks[at], ranks[(at + message.offset) % degree])) for at in senders]


def _by_lane(made: Sketch, program: Program, seconds: Sequence[float]) -> list[float]:
    """Return all that is said on each communicator, and all that the host issues.

    What is said once per step is left out.
    """
    total: dict[int, float] = defaultdict(float)
    for op in program.ops:
        if op.lane and program.between(op):
            total[op.lane] += made.times(op) * seconds[op.index]
    return [0.0, *total.values()]


def _alone(program: Program, seconds: Sequence[float]) -> list[float]:
    """Return the seconds of every op, none of messages that are sent once per step."""
    return [
        seconds[op.index] if op.message is None or program.between(op) else 0.0
        for op in program.ops
    ]


def _segments(made: Sketch, program: Program) -> list[_Segment]:
    """Return the way through the step, cut where one layer ends and the next one begins.

    Every layer begins with an op of the compute lane, in forward and in backward, and every path
    can be led through these: compute is done in order. The last layer is like the one before it,
    and like those that are left out.
    """
    anchors = made.anchors
    ends = [op.index for op in program.ops if op.phase == "optimizer" and not op.lane]
    places = [0, *(anchor.op for anchor in anchors), ends[0] if ends else len(program.ops)]
    times = [1]
    for before, after in pairwise(anchors):
        within = before.layer != after.layer and before.micro_batch == after.micro_batch
        last = within and made.layers - 1 in (before.layer, after.layer)
        layers = 1 + made.more_layers if last else 1
        times.append(layers * made.batch_times(before.micro_batch))
    times.append(1)
    return [_Segment(a, b, n) for (a, b), n in zip(pairwise(places), times, strict=True)]


def _complete(made: Sketch, segments: Sequence[_Segment]) -> int:
    """Return how many segments end before the last micro-batch comes to its last layer."""
    last = max(a.op for a in made.anchors if a.forward and a.layer == made.layers - 1)
    return sum(segment.last <= last for segment in segments)


def _longest(before: Sequence[set[int]], seconds: Sequence[float], first: int, last: int) -> float:
    """Return the longest path from the start of one op to the start of another.

    From op 0 every op can be the first one; to the end of the program every op can be the last.
    """
    begin: dict[int, float] = {first: 0.0}
    longest = 0.0
    for op in range(first, last):
        reached = [begin[p] + seconds[p] for p in before[op] if p in begin]
        if first and not reached and op != first:
            continue
        begin[op] = max(reached, default=0.0)
        longest = max(longest, begin[op] + seconds[op])
    if last == len(before):
        return longest
    return max((begin[p] + seconds[p] for p in before[last] if p in begin), default=0.0)
