"""Members at distance 1, 2, 4... exchange all that they have, so what one has doubles every step.

All-reduce: ``log2 n`` steps of the whole message, the fewest there can be. All-gather: as many, and
no byte is sent twice (Thakur, Rabenseifner and Gropp 2005, doi:10.1177/1094342005051521). Where n
is no power of two, the members beyond the largest one below n give what they have to a partner
first, and get the result from it last.
"""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.schedule import Schedule, Send, Step
from tspsim.program.types import CollectiveKind


class RecursiveDoubling(Anywhere):
    """The algorithm of MPI libraries; those of devices have none like it."""

    name = "recursive_doubling"
    automatic = ()


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:  # noqa: ARG001
    """Return what the members of a communicator send."""
    match kind:
        case "all_reduce":
            return Schedule(_reduce(n), serial=True)
        case "all_gather":
            return Schedule(gather(n), pieces=n, serial=True)
        case _:
            return None


plan = RecursiveDoubling(sends)


def power_below(n: int) -> int:
    """Return the largest power of two that is at most n."""
    return 1 << (n.bit_length() - 1)


def extras(n: int, chunks: range, reduce: bool) -> Step:
    """Return the step in which the members beyond a power of two give some chunks to a partner."""
    p = power_below(n)
    return tuple(Send(i, i - p, chunks, reduce) for i in range(p, n))


def returned(n: int, chunks: range) -> Step:
    """Return the step in which they get chunks from it."""
    p = power_below(n)
    return tuple(Send(i - p, i, chunks) for i in range(p, n))


def block(first: int, size: int, n: int) -> list[range]:
    """Return the chunks of some members, and of those beyond the power of two that they have."""
    p = power_below(n)
    found = [range(first, first + size), range(p + first, min(p + first + size, n))]
    return [chunks for chunks in found if chunks]


def gather(n: int) -> tuple[Step, ...]:
    """Return an all-gather of one chunk per member."""
    p = power_below(n)
    steps: list[Step] = [tuple(Send(i, i - p, range(i, i + 1)) for i in range(p, n))]
    size = 1
    while size < p:
        steps.append(
            tuple(
                Send(i, i ^ size, chunks)
                for i in range(p)
                for chunks in block(i // size * size, size, n)
            )
        )
        size *= 2
    steps.append(_rest(n))
    return tuple(step for step in steps if step)


def _rest(n: int) -> Step:
    """Give everything but their own chunk to the members beyond the power of two."""
    p = power_below(n)
    return tuple(
        Send(i - p, i, chunks)
        for i in range(p, n)
        for chunks in (range(i), range(i + 1, n))
        if chunks
    )


def _reduce(n: int) -> tuple[Step, ...]:
    p, size = power_below(n), 1
    steps = [extras(n, range(1), reduce=True)]
    while size < p:
        steps.append(tuple(Send(i, i ^ size, range(1), reduce=True) for i in range(p)))
        size *= 2
    steps.append(returned(n, range(1)))
    return tuple(step for step in steps if step)
