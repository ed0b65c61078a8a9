"""Some forwards ahead, then a forward and a backward in turn: what 1F1B and its kin do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from tspsim.schedules.orders.actions import Action

#: Stages and micro-batches, in the order of their passes.
Passes: TypeAlias = Sequence[tuple[int, int]]


def alternate(
    forwards: Passes, backwards: Passes, ahead: int, weights_behind: int | None = None
) -> Iterator[Action]:
    """Yield what a rank runs.

    Parameters
    ----------
    forwards, backwards : sequence of (int, int)
        The same passes, each in its order.
    ahead : int
        Forwards before the first one that a backward follows.
    weights_behind : int, optional
        Where backward is split: by how many input gradients the weight gradients stay behind,
        which then fill the time in which the rank would wait.
    """
    ahead = min(ahead, len(forwards))
    yield from (Action("F", *which) for which in forwards[:ahead])
    for count, which in enumerate(backwards):
        if ahead + count < len(forwards):
            yield Action("F", *forwards[ahead + count])
        yield Action("B" if weights_behind is None else "I", *which)
        if weights_behind is not None and count >= weights_behind:
            yield Action("W", *backwards[count - weights_behind])
    if weights_behind:
        yield from (Action("W", *which) for which in backwards[-weights_behind:])


def one_by_one(stage: int, microbatches: int) -> Passes:
    """Return the passes of a rank with one stage."""
    return [(stage, microbatch) for microbatch in range(microbatches)]
