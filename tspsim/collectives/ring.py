"""Every member sends to the next one only, in communicator order.

All-gather and reduce-scatter take n-1 steps of 1/n of the message; an all-reduce is the one after
the other, which moves no more bytes per rank than it must (Patarasuk and Yuan 2009,
doi:10.1016/j.jpdc.2008.09.002). Broadcast and reduce are pipelined chains.
"""

from __future__ import annotations

import numpy as np

from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.schedule import HOP, NOTHING, Hops, Schedule, Send, Step, Traffic
from tspsim.collectives.waves import Wave, Waves
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


class Ring(Anywhere):
    """The algorithm; its many sends are counted without writing them down."""

    name = "ring"

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom: every step has the same hops."""
        n = len(ranks)
        chunks = {
            "all_gather": n - 1,
            "reduce_scatter": n - 1,
            "all_reduce": 2 * (n - 1),
            "all_to_all": n * (n - 1) // 2,
        }
        if kind not in chunks:
            return super().traffic(kind, ranks, topology, root)
        steps = 2 * (n - 1) if kind == "all_reduce" else n - 1
        hops = tuple((i, (i + 1) % n, chunks[kind]) for i in range(n))
        return Traffic((Hops(hops, steps),), n)

    def waves(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Waves | None:
        """Return what the members send: one chunk each in every step, but in an all-to-all."""
        n = len(ranks)
        steps = {"all_gather": n - 1, "reduce_scatter": n - 1, "all_reduce": 2 * (n - 1)}
        if n == 1 or kind not in steps:
            return super().waves(kind, ranks, topology, root)
        members = np.arange(n)
        wave = Wave(members, (members + 1) % n, np.ones_like(members), steps[kind])
        return Waves((wave,), pieces=n)


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
        case "all_gather":
            return Schedule(_gather(n), pieces=n)
        case "reduce_scatter":
            return Schedule(_scatter(n), pieces=n)
        case "all_reduce":
            return Schedule(_scatter(n) + _gather(n), pieces=n)
        case "all_to_all":
            return Schedule(_exchange(n), pieces=n)
        case "broadcast":
            return Schedule(_chain(n, root, reduce=False), pipelined=True)
        case "reduce":
            return Schedule(_chain(n, root + 1, reduce=True), pipelined=True)


plan = Ring(sends)


def _gather(n: int) -> tuple[Step, ...]:
    """Pass on the chunk that arrived last, beginning with one's own."""
    return tuple(
        tuple(Send(i, (i + 1) % n, _one((i - s) % n)) for i in range(n)) for s in range(n - 1)
    )


def _scatter(n: int) -> tuple[Step, ...]:
    """Add one's own part to the chunk that arrived last; chunk i ends at member i."""
    return tuple(
        tuple(Send(i, (i + 1) % n, _one((i - s - 1) % n), reduce=True) for i in range(n))
        for s in range(n - 1)
    )


def _exchange(n: int) -> tuple[Step, ...]:
    """Pass on everything that has further to go: what started s places back and is not for me."""

    def chunks(i: int, s: int) -> range:
        origin = (i - s) % n
        return range(origin * n + s + 1, origin * n + n)

    return tuple(tuple(Send(i, (i + 1) % n, chunks(i, s)) for i in range(n)) for s in range(n - 1))


def _chain(n: int, first: int, reduce: bool) -> tuple[Step, ...]:
    """Pass the whole message along all members, from `first` on."""
    links = (((first + s) % n, (first + s + 1) % n) for s in range(n - 1))
    return tuple((Send(source, target, range(1), reduce),) for source, target in links)


def _one(chunk: int) -> range:
    return range(chunk, chunk + 1)
