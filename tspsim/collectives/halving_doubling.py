"""Recursive halving, then doubling: the sum of half of the rest with a partner in every step.

Reduce-scatter in ``log2 n`` steps that send a half, a quarter, an eighth... of the message; an
all-reduce gathers afterwards in as many. It moves no more bytes than a ring and takes far fewer
steps (Rabenseifner 2004, doi:10.1007/978-3-540-24685-5_1). Where n is no power of two, the members
beyond the largest one below n give their part to a partner first, and get the result from it last.
"""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.recursive_doubling import block, extras, power_below, returned
from tspsim.collectives.schedule import Schedule, Send, Step
from tspsim.program.types import CollectiveKind


class HalvingDoubling(Anywhere):
    """The algorithm of MPI libraries; those of devices have none like it."""

    name = "halving_doubling"
    automatic = ()


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:  # noqa: ARG001
    """Return what the members of a communicator send."""
    match kind:
        case "reduce_scatter":
            steps = (extras(n, range(n), reduce=True), *_halving(n, n), _given_back(n))
            return Schedule(tuple(step for step in steps if step), pieces=n, serial=True)
        case "all_reduce":
            p = power_below(n)
            steps = (extras(n, range(p), reduce=True), *_halving(p, p), *_doubling(p))
            steps += (returned(n, range(p)),)
            return Schedule(tuple(step for step in steps if step), pieces=p, serial=True)
        case _:
            return None


plan = HalvingDoubling(sends)


def _halving(n: int, pieces: int) -> tuple[Step, ...]:
    """Send the half that is the partner's, add what comes: chunk i ends at member i.

    Among the powers of two below n; a member stands for the one that it has the part of, too.
    """
    size = power_below(n) // 2
    steps: list[Step] = []
    while size:
        steps.append(
            tuple(
                Send(i, i ^ size, chunks, reduce=True)
                for i in range(power_below(n))
                for chunks in block((i ^ size) // size * size, size, pieces)
            )
        )
        size //= 2
    return tuple(steps)


def _doubling(p: int) -> tuple[Step, ...]:
    """Undo the halving: every member of a power of two gets all the sums."""
    sizes = [1 << bit for bit in range(p.bit_length() - 1)]
    return tuple(
        tuple(Send(i, i ^ size, range(i // size * size, i // size * size + size)) for i in range(p))
        for size in sizes
    )


def _given_back(n: int) -> Step:
    """Give the members beyond the power of two their own chunk."""
    p = power_below(n)
    return tuple(Send(i - p, i, range(i, i + 1)) for i in range(p, n))
