"""What gloo sends, torch's library for CPUs: as its sources say and links of known rate confirm.

A reduce_scatter is a whole all_reduce. A broadcast is a binomial tree of whole messages: the root
sends to several members at once, and nobody passes on what has not arrived whole. Two ranks that
send each other one message over their one connection do it one after the other. Never chosen by
``auto``, which takes the fastest: a profile names it for the calls that were measured to behave so.
"""

from __future__ import annotations

from dataclasses import replace

from tspsim.collectives import ring
from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import HOP, NOTHING, Schedule, Send, Step
from tspsim.program.types import CollectiveKind, PlanKind
from tspsim.topology.graph import Topology


class Gloo(Anywhere):
    """The algorithm; ``auto`` must never take it by itself."""

    name = "gloo"
    automatic = ()

    def __call__(
        self, kind: PlanKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Plan | None:
        """Return link loads and latency: see `Algorithm`."""
        made = super().__call__(kind, ranks, topology, root)
        if made is not None and kind == "swap":
            return _one_way_at_a_time(made)
        return made


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule:
    """Return what the members of a communicator send.

    Parameters
    ----------
    kind : CollectiveKind
    n : int
        Members; 2 for a shift, the sender and the receiver.
    root : int
        Position of a broadcast's or reduce's root.
    """
    if n == 1:
        return NOTHING
    match kind:
        case "shift":
            return HOP
        case "broadcast":
            return Schedule(_tree(n, root), serial=True)
        case "reduce":
            last = tuple(Send(i, root, _one(i)) for i in range(n) if i != root)
            return Schedule((*_scatter(n), last), pieces=n, serial=True)
        case "reduce_scatter" | "all_reduce":
            return Schedule((*_scatter(n), *ring.sends("all_gather", n).steps), pieces=n)
        case "all_gather":
            return _pair_gather() if n == 2 else ring.sends(kind, n)
        case "all_to_all":
            return Schedule(tuple(_exchange(n)), pieces=n, serial=True)


plan = Gloo(sends)


def _scatter(n: int) -> tuple[Step, ...]:
    return ring.sends("reduce_scatter", n).steps


def _tree(n: int, root: int) -> tuple[Step, ...]:
    """Return the binomial tree; what a member sends, it sends at once to all of its children."""
    steps: list[list[Send]] = []
    depth = {0: 0}  # by place behind the root: the step before which the message is there
    for bit in range((n - 1).bit_length()):
        for place in range(min(1 << bit, n - (1 << bit))):
            child = place + (1 << bit)
            at = depth[place]
            depth[child] = at + 1
            steps.extend([] for _ in range(at + 1 - len(steps)))
            source, target = (place + root) % n, (child + root) % n
            steps[at].append(Send(source, target, range(1)))
    return tuple(map(tuple, steps))


def _pair_gather() -> Schedule:
    """Two halves each way: only one half of either travels while one of the other does."""
    a, b = (Send(0, 1, _one(0)), Send(0, 1, _one(1))), (Send(1, 0, _one(2)), Send(1, 0, _one(3)))
    return Schedule(((a[0],), (a[1], b[0]), (b[1],)), pieces=4, serial=True)


def _exchange(n: int) -> list[Step]:
    """Return all_to_all: one distance after another, the middle one there and then back."""
    steps: list[Step] = []
    for distance in range(1, n):
        hops = [Send(i, (i + distance) % n, _one(i * n + distance)) for i in range(n)]
        if 2 * distance == n:
            steps += [tuple(hops[: n // 2]), tuple(hops[n // 2 :])]
        else:
            steps.append(tuple(hops))
    return steps


def _one_way_at_a_time(made: Plan) -> Plan:
    """Halve the pace, for the other's hop over the same connection; the links stay half free."""
    return replace(made, efficiency=0.5, held=0.5)


def _one(chunk: int) -> range:
    return range(chunk, chunk + 1)
