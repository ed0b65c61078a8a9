"""What a collective algorithm sends, step by step, and the plan that follows from it.

The sends are the one description of an algorithm: link loads and latency are summed from them,
and replaying them with real values shows that the collective does what its name says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tspsim.collectives.plan import Plan
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


class Send(NamedTuple):
    """Some chunks going from one member to another.

    Attributes
    ----------
    source, target : int
        Positions in the communicator.
    chunks : range
        Which chunks of the message. Every member of n has the same number of them, one or more, one
        member's after the other's: with one each, chunk i is that of member i. In an all_to_all the
        message is cut n times finer, and with one each chunk ``i * n + d`` is what member i holds
        for the member d places after it. In a broadcast, reduce or shift they are just pieces.
    reduce : bool
        The receiver adds what arrives to what it holds, instead of storing it.
    """

    source: int
    target: int
    chunks: range
    reduce: bool = False


Step = tuple[Send, ...]


class Hops(NamedTuple):
    """One step, or several in which the same members send to the same others.

    Attributes
    ----------
    sends : tuple of (int, int, int)
        Source, target, and how many chunks go between them in all of these steps.
    steps : int
        How many steps there are.
    stage : int
        The stage of the pipeline that they belong to, where there is one.
    """

    sends: tuple[tuple[int, int, int], ...]
    steps: int = 1
    stage: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Who sends how much to whom: what a plan is summed from, and all of a schedule that it needs.

    A schedule of a ring over a thousand members has two million sends, its traffic a thousand.

    Parameters
    ----------
    hops : tuple of Hops
    pieces, pipelined, serial
        As in `Schedule`.
    """

    hops: tuple[Hops, ...] = ()
    pieces: int = 1
    pipelined: bool = False
    serial: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """The sends of one collective call.

    Parameters
    ----------
    steps : tuple of tuple of Send
        The sends of a step read what was there before the step.
    pieces : int
        Chunks that make up one message (as `Message.bytes` counts it), all of one size.
    pipelined : bool
        The message passes through the steps in many small parts at once; otherwise a step begins
        when the one before has ended.
    serial : bool
        Steps load different links: each takes as long as its own slowest link, one after another.
    stages : tuple of int
        Where it is pipelined: how many steps each stage of the pipeline has, which a part takes one
        after the other before the next part follows; empty: every step is a stage.
    """

    steps: tuple[Step, ...] = ()
    pieces: int = 1
    pipelined: bool = False
    serial: bool = False
    stages: tuple[int, ...] = ()

    def traffic(self) -> Traffic:
        """Return who sends how much to whom."""
        sizes = self.stages or (1,) * len(self.steps)
        stages = [stage for stage, size in enumerate(sizes) for _ in range(size)]
        hops = tuple(
            Hops(tuple((s.source, s.target, len(s.chunks)) for s in step), 1, stage)
            for step, stage in zip(self.steps, stages, strict=True)
        )
        return Traffic(hops, self.pieces, self.pipelined, self.serial)


#: Up to so many pairs of members routes are walked along one by one.
_FEW = 256

#: A communicator of one: nothing to send.
NOTHING = Schedule()

#: A shift is one message on its route, whatever the algorithm.
HOP = Schedule(((Send(0, 1, range(1)),),))


def trivial(ranks: tuple[int, ...]) -> Schedule:
    """Return what is sent in a shift, or in a communicator of one, whatever the algorithm."""
    return HOP if len(ranks) > 1 and ranks[0] != ranks[1] else NOTHING


#: ``sends(kind, n, root)`` -> the schedule of n members wherever they are; None: cannot do it.
Sends = Callable[[CollectiveKind, int, int], Schedule | None]


@lru_cache(maxsize=2048)
def counted(sends: Sends, kind: CollectiveKind, n: int, root: int) -> Traffic | None:
    """Return the traffic of some sends; it is the same wherever the members are."""
    schedule = sends(kind, n, root)
    return None if schedule is None else schedule.traffic()


def planned(
    algorithm: str, what: Schedule | Traffic, ranks: tuple[int, ...], topology: Topology
) -> Plan:
    """Return the link loads and latency of a schedule on a topology.

    Parameters
    ----------
    algorithm : str
        Its name, for reports.
    what : Schedule or Traffic
    ranks : tuple of int
        Members in communicator order; member i runs on device ``ranks[i]``.
    topology : Topology
    """
    traffic = what.traffic() if isinstance(what, Schedule) else what
    many = 2 * sum(len(hops.sends) for hops in traffic.hops) > len(ranks) ** 2 > _FEW
    table = topology.table(ranks) if many else None  # most members send to most others
    chunks: dict[int, int] = {}
    stages: dict[int, float] = {}  # latency of a part in every stage
    one_by_one = 0.0
    for hops in traffic.hops:
        here, slowest = table.loads(hops.sends) if table else _loads(hops, ranks, topology)
        stages[hops.stage] = stages.get(hops.stage, 0.0) + slowest * hops.steps
        for link, count in here.items():
            chunks[link] = chunks.get(link, 0) + count
        if traffic.serial:
            one_by_one += _transfer(here, topology)
    loads = tuple((link, count / traffic.pieces) for link, count in sorted(chunks.items()))
    latency = sum(stages.values())
    if traffic.pipelined:
        behind = max(len(stages) - 1, 0)
        return Plan(algorithm, loads, latency, behind, max(stages.values(), default=0.0))
    efficiency = _transfer(chunks, topology) / one_by_one if one_by_one else 1.0
    return Plan(algorithm, loads, latency, efficiency=efficiency)


def transfers(traffic: Traffic, ranks: tuple[int, ...], topology: Topology) -> tuple[float, ...]:
    """Return the seconds per byte of message that every stage takes on its slowest link."""
    stages: dict[int, float] = {}
    for hops in traffic.hops:
        here = _transfer(_loads(hops, ranks, topology)[0], topology) / traffic.pieces
        stages[hops.stage] = stages.get(hops.stage, 0.0) + here
    return tuple(stages.values())


def _loads(hops: Hops, ranks: tuple[int, ...], topology: Topology) -> tuple[dict[int, int], float]:
    """Return the chunks by link, and the latency of the route that has most."""
    here: dict[int, int] = {}
    slowest = 0.0
    links, find = topology.links, topology.route
    for source, target, count in hops.sends:
        latency = 0.0
        for link in find(ranks[source], ranks[target]):
            here[link] = here.get(link, 0) + count
            latency += links[link].latency
        slowest = max(slowest, latency)
    return here, slowest


def _transfer(chunks: dict[int, int], topology: Topology) -> float:
    """Return the time of the slowest link, in chunks per byte/s."""
    links = topology.links
    return max((count / links[link].bandwidth for link, count in chunks.items()), default=0.0)
