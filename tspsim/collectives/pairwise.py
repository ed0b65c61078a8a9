"""All-to-all in n-1 steps: in step s every member sends to the one s places after it.

A step is a permutation, so no port is shared: what a switch, or a full mesh one link at a time,
carries best when many members would otherwise send at once (Thakur, Rabenseifner and Gropp 2005,
doi:10.1177/1094342005051521).
"""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.schedule import Hops, Schedule, Send, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


class Pairwise(Anywhere):
    """The algorithm; libraries of accelerators start all of these sends at once (`direct`)."""

    name = "pairwise"
    automatic = ("fabric", "nodes")

    def traffic(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],
        topology: Topology,  # noqa: ARG002
        root: int,  # noqa: ARG002
    ) -> Traffic | None:
        """Return who sends how much to whom, without a million sends of a thousand members."""
        if kind != "all_to_all":
            return None
        n = len(ranks)
        steps = (tuple((i, (i + s) % n, 1) for i in range(n)) for s in range(1, n))
        hops = tuple(Hops(step, 1, stage) for stage, step in enumerate(steps))
        return Traffic(hops, n, serial=True)


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:  # noqa: ARG001
    """Return what the members of a communicator send."""
    if kind != "all_to_all":
        return None
    steps = (
        tuple(Send(i, (i + s) % n, range(i * n + s, i * n + s + 1)) for i in range(n))
        for s in range(1, n)
    )
    return Schedule(tuple(steps), pieces=n, serial=True)


plan = Pairwise(sends)
