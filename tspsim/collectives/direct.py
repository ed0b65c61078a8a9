"""Every member sends to every other at once, so all links of a fully connected node carry data.

One step for all-gather, reduce-scatter and all-to-all, two for an all-reduce. A broadcast scatters
the message over the members, who forward their part to all the rest; a reduce is its mirror image.
"""

from __future__ import annotations

from itertools import permutations

from tspsim.collectives.algorithm import Anywhere, Reach
from tspsim.collectives.schedule import HOP, NOTHING, Hops, Schedule, Send, Step, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology

#: Members beyond which ``auto`` does not consider it, but for all-to-all.
MOST = 128


class Direct(Anywhere):
    """The algorithm; its many sends are counted without writing them down."""

    name = "direct"

    def traffic(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],
        topology: Topology,  # noqa: ARG002
        root: int,
    ) -> Traffic | None:
        """Return who sends how much to whom: everybody one chunk to everybody, in every step."""
        n = len(ranks)
        members = [(root + i) % n for i in range(n)]
        if kind not in ("broadcast", "reduce"):
            step = Hops(tuple((a, b, 1) for a, b in permutations(members, 2)))
            return Traffic((step, step) if kind == "all_reduce" else (step,), n)
        others = members[1:]
        among = tuple((a, b, 1) for a, b in permutations(others, 2))
        if kind == "broadcast":
            stages = tuple((root, member, 1) for member in others), among
        else:
            stages = among, tuple((member, root, 1) for member in others)
        some = (sends for sends in stages if sends)
        hops = tuple(Hops(sends, 1, stage) for stage, sends in enumerate(some))
        return Traffic(hops, n - 1, pipelined=True)

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:
        """Return whether ``auto`` considers it.

        Libraries send to everybody at once between nodes only where everybody must get something
        else; and nobody starts thousands of messages to gather something.
        """
        return kind in ("all_to_all", "shift") or (reach != "nodes" and n <= MOST)


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
            return Schedule((_gather(n),), pieces=n)
        case "reduce_scatter":
            return Schedule((_scatter(n),), pieces=n)
        case "all_reduce":
            return Schedule((_scatter(n), _gather(n)), pieces=n)
        case "all_to_all":
            pairs = permutations(range(n), 2)
            return Schedule((tuple(Send(i, j, _one(i * n + (j - i) % n)) for i, j in pairs),), n)
        case "broadcast":
            return Schedule(_broadcast(n, root), pieces=n - 1, pipelined=True)
        case "reduce":
            return Schedule(_reduce(n, root), pieces=n - 1, pipelined=True)


plan = Direct(sends)


def _gather(n: int) -> Step:
    return tuple(Send(i, j, _one(i)) for i, j in permutations(range(n), 2))


def _scatter(n: int) -> Step:
    return tuple(Send(i, j, _one(j), reduce=True) for i, j in permutations(range(n), 2))


def _broadcast(n: int, root: int) -> tuple[Step, ...]:
    """Give every member a piece of its own, which it forwards to all but the root."""
    others = [(root + 1 + i) % n for i in range(n - 1)]
    pieces = enumerate(others)
    first = tuple(Send(root, member, _one(piece)) for piece, member in pieces)
    second = tuple(
        Send(others[piece], others[other], _one(piece))
        for piece, other in permutations(range(n - 1), 2)
    )
    return (first, second) if second else (first,)


def _reduce(n: int, root: int) -> tuple[Step, ...]:
    """Run the broadcast backwards: a piece is summed at its member, then goes to the root."""
    return tuple(
        tuple(Send(send.target, send.source, send.chunks, reduce=True) for send in step)
        for step in reversed(_broadcast(n, root))
    )


def _one(chunk: int) -> range:
    return range(chunk, chunk + 1)
