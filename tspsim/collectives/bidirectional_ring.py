"""Every member sends to both of its neighbours: half of the way round each way, at once.

In all-gather a chunk travels both ways at once and stops where the two halves of the ring meet:
half the steps of a ring, and half the load on every link. Where n is even the member opposite gets
half a chunk from either side. Reduce-scatter is its mirror image, all-reduce the one after the
other. Broadcast and reduce are two chains, each with one half of the message. Torus machines gather
like this (Jain and Sabharwal 2010, Optimal bucket algorithms on torus interconnects).
"""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.schedule import Hops, Schedule, Send, Step, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


class BidirectionalRing(Anywhere):
    """The algorithm; where all are joined to all, nobody goes round a ring in two directions."""

    name = "bidirectional_ring"
    automatic = ("fabric",)

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom: every step has the same hops."""
        n = len(ranks)
        most = n // 2  # steps, and the furthest that a chunk travels
        chunks = {
            "all_gather": n - 1,
            "reduce_scatter": n - 1,
            "all_reduce": 2 * (n - 1),
            "all_to_all": most * (most + n % 2),
        }
        if kind not in chunks:
            return super().traffic(kind, ranks, topology, root)
        ways = ((i, (i + side) % n, chunks[kind]) for i in range(n) for side in (1, -1))
        return Traffic((Hops(tuple(ways), 2 * most if kind == "all_reduce" else most),), 2 * n)


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:
    """Return what the members of a communicator send; chunks are cut in two."""
    match kind:
        case "all_gather":
            return Schedule(_gather(n), pieces=2 * n)
        case "reduce_scatter":
            return Schedule(_scatter(n), pieces=2 * n)
        case "all_reduce":
            return Schedule(_scatter(n) + _gather(n), pieces=2 * n)
        case "all_to_all":
            return Schedule(_exchange(n), pieces=2 * n)
        case "broadcast":
            return Schedule(_chains(n, root), pieces=2, pipelined=True)
        case "reduce":
            return Schedule(mirrored(_chains(n, root)), pieces=2, pipelined=True)
        case "shift":
            return None  # a hop is no matter of the algorithm


plan = BidirectionalRing(sends)


def mirrored(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return a gather or broadcast run backwards: everything is added on its way to its source."""
    return tuple(
        tuple(Send(send.target, send.source, send.chunks, reduce=True) for send in step)
        for step in reversed(steps)
    )


def _gather(n: int) -> tuple[Step, ...]:
    """Pass on what arrived last from either side, until all have it."""
    steps: list[Step] = []
    for s in range(1, n // 2 + 1):
        right, left = _halves(n, s)
        step = []
        for i in range(n):
            a, b = (i - s + 1) % n, (i + s - 1) % n
            step.append(Send(i, (i + 1) % n, range(2 * a + right.start, 2 * a + right.stop)))
            step.append(Send(i, (i - 1) % n, range(2 * b + left.start, 2 * b + left.stop)))
        steps.append(tuple(step))
    return tuple(steps)


def _halves(n: int, distance: int) -> tuple[range, range]:
    """Return which halves of a chunk go to the right and to the left over a distance."""
    if 2 * distance == n:  # the member opposite: one half from either side
        return range(1), range(1, 2)
    return range(2), range(2)


def _scatter(n: int) -> tuple[Step, ...]:
    return mirrored(_gather(n))


def _exchange(n: int) -> tuple[Step, ...]:
    """Pass on everything that has further to go, the shorter way round."""
    most = n // 2
    steps: list[Step] = []
    for s in range(most):
        step = []
        for i in range(n):
            step += [
                Send(i, (i + 1) % n, _onward((i - s) % n, n, range(s + 1, most + 1), 0)),
                Send(i, (i - 1) % n, _onward((i + s) % n, n, range(n - most, n - s), 1)),
            ]
        steps.append(tuple(send for send in step if send.chunks))
    return tuple(steps)


def _onward(origin: int, n: int, distances: range, half: int) -> range:
    """Return the halves of an origin's chunks for members at some distances, the last one shared.

    Of the member opposite (n even) only one half goes this way.
    """
    first, last = 2 * distances.start, 2 * distances.stop
    if n % 2 == 0 and half == 0:
        last -= 1  # of n/2 places to the right, the first half
    if n % 2 == 0 and half == 1:
        first += 1  # of n/2 places to the left, the second half
    return range(2 * origin * n + first, 2 * origin * n + last)


def _chains(n: int, root: int) -> tuple[Step, ...]:
    """Pass one half of the message along all members to the right, the other to the left."""
    return tuple(
        (
            Send((root + s) % n, (root + s + 1) % n, range(1)),
            Send((root - s) % n, (root - s - 1) % n, range(1, 2)),
        )
        for s in range(n - 1)
    )
