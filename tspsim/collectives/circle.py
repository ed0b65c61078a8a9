"""What members send round one ring, or round several, each with its part of the message.

All-gather and reduce-scatter take n-1 steps of 1/n of the message; an all-reduce is the one after
the other, which moves no more bytes per rank than it must (Patarasuk and Yuan 2009,
doi:10.1016/j.jpdc.2008.09.002). Broadcast and reduce are pipelined chains.
"""

from __future__ import annotations

from tspsim.collectives.rings import Ring
from tspsim.collectives.schedule import HOP, NOTHING, Hops, Schedule, Send, Step, Traffic
from tspsim.program.types import CollectiveKind


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


def traffic(kind: CollectiveKind, n: int) -> Traffic | None:
    """Return who sends how much to whom round one ring; None: its steps differ."""
    chunks = {
        "all_gather": n - 1,
        "reduce_scatter": n - 1,
        "all_reduce": 2 * (n - 1),
        "all_to_all": n * (n - 1) // 2,
    }
    if kind not in chunks:
        return None
    steps = 2 * (n - 1) if kind == "all_reduce" else n - 1
    return Traffic((Hops(tuple((i, (i + 1) % n, chunks[kind]) for i in range(n)), steps),), n)


def traffic_over(kind: CollectiveKind, rings: tuple[Ring, ...]) -> Traffic | None:
    """Return who sends how much to whom on some rings; None: the steps differ."""
    if kind not in ("all_gather", "reduce_scatter", "all_reduce"):
        return None
    n = len(rings[0])
    steps = 2 * (n - 1) if kind == "all_reduce" else n - 1
    hops = tuple(
        (a, b, steps) for order in rings for a, b in zip(order, order[1:] + order[:1], strict=True)
    )
    return Traffic((Hops(hops, steps),), n * len(rings))


def over(kind: CollectiveKind, rings: tuple[Ring, ...], root: int) -> Schedule:
    """Return what members send on some rings; part r of every chunk travels on ring r."""
    parts = len(rings)
    plans = [sends(kind, len(order), order.index(root)) for order in rings]
    steps = [
        tuple(
            _on(send, rings[r], r, parts, plans[r].pieces)
            for r, step in enumerate(together)
            for send in step
        )
        for together in zip(*(plan.steps for plan in plans), strict=True)
    ]
    return Schedule(tuple(steps), plans[0].pieces * parts, plans[0].pipelined)


def _on(send: Send, order: Ring, part: int, parts: int, pieces: int) -> Send:
    """Return a send of a plain ring as one of part `part` among members in some order."""
    first = send.chunks.start if pieces == 1 else order[send.chunks.start]
    chunk = first * parts + part
    return Send(order[send.source], order[send.target], range(chunk, chunk + 1), send.reduce)
