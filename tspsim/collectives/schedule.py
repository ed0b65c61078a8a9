"""What a collective algorithm sends, step by step, and the plan that follows from it.

The sends are the one description of an algorithm: link loads and latency are summed from them,
and replaying them with real values shows that the collective does what its name says.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from tspsim.collectives.plan import Plan
from tspsim.topology.graph import Topology


class Send(NamedTuple):
    """Some chunks going from one member to another.

    Attributes
    ----------
    source, target : int
        Positions in the communicator.
    chunks : range
        Which chunks of the message. In an all_to_all, chunk ``i * n + d`` is what member i holds
        for the member d places after it; otherwise a chunk has the same number on all members.
    reduce : bool
        The receiver adds what arrives to what it holds, instead of storing it.
    """

    source: int
    target: int
    chunks: range
    reduce: bool = False


Step = tuple[Send, ...]


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
    """

    steps: tuple[Step, ...] = ()
    pieces: int = 1
    pipelined: bool = False
    serial: bool = False


#: A communicator of one: nothing to send.
NOTHING = Schedule()


def planned(algorithm: str, schedule: Schedule, ranks: tuple[int, ...], topology: Topology) -> Plan:
    """Return the link loads and latency of a schedule on a topology.

    Parameters
    ----------
    algorithm : str
        Its name, for reports.
    schedule : Schedule
    ranks : tuple of int
        Members in communicator order; member i runs on device ``ranks[i]``.
    topology : Topology
    """
    chunks: Counter[int] = Counter()
    latencies = []
    one_by_one = 0.0
    for step in schedule.steps:
        slowest = 0.0
        here: Counter[int] = Counter()
        for send in step:
            source, target = ranks[send.source], ranks[send.target]
            for link in topology.route(source, target):
                here[link] += len(send.chunks)
            slowest = max(slowest, topology.latency(source, target))
        latencies.append(slowest)
        chunks.update(here)
        one_by_one += _transfer(here, topology)
    loads = tuple((link, count / schedule.pieces) for link, count in sorted(chunks.items()))
    if not schedule.pipelined:
        efficiency = _transfer(chunks, topology) / one_by_one if schedule.serial else 1.0
        return Plan(algorithm, loads, sum(latencies), efficiency=efficiency, sends=schedule)
    stages = max(len(schedule.steps) - 1, 0)
    longest = max(latencies, default=0.0)
    return Plan(algorithm, loads, sum(latencies), stages, longest, sends=schedule)


def _transfer(chunks: Counter[int], topology: Topology) -> float:
    """Return the time of the slowest link, in chunks per byte/s."""
    links = topology.links
    return max((count / links[link].bandwidth for link, count in chunks.items()), default=0.0)
