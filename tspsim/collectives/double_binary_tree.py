"""Two binary trees with half of the message each; who is inside one of them is a leaf of the other.

So every member sends and receives as much as in a ring, in ``2 log2 n`` stages instead of
``2 (n-1)`` (Sanders, Speck and Träff 2009, doi:10.1016/j.parco.2009.09.001). The trees are those
of NCCL: members in order, the second tree the mirror image of the first, or turned by one where n
is odd. In a broadcast or reduce the trees span all but the root, which deals with both tops.
"""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere, Reach
from tspsim.collectives.bidirectional_ring import mirrored
from tspsim.collectives.schedule import Schedule, Send, Step
from tspsim.program.types import CollectiveKind


class DoubleBinaryTree(Anywhere):
    """The algorithm; inside a node libraries have something better."""

    name = "double_binary_tree"
    automatic = ("nodes",)

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it: over nodes an all-reduce goes by `tree`."""
        return kind in ("broadcast", "reduce")


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:
    """Return what the members of a communicator send, half of the message in either tree."""
    match kind:
        case "broadcast":
            return Schedule(_rooted(n, root), pieces=2, pipelined=True)
        case "reduce":
            return Schedule(mirrored(_rooted(n, root)), pieces=2, pipelined=True)
        case "all_reduce":
            down = descent(list(range(n)))
            return Schedule(mirrored(down) + down, pieces=2, pipelined=True)
        case _:
            return None


plan = DoubleBinaryTree(sends)


def parent(place: int, n: int) -> int | None:
    """Return the parent of a place in the binary tree of n places in order; None: the top, 0.

    The lowest bit of a place says how far it is above the leaves: odd places are leaves, and the
    parent has that bit cleared and the next one set. Where that is beyond the last place the
    parent is the place with the bit cleared.
    """
    if place == 0:
        return None
    bit = place & -place
    up = (place ^ bit) | (bit << 1)
    return up if up < n else place ^ bit


def _parents(n: int) -> tuple[list[int | None], list[int | None]]:
    """Return the parent of every place in the first and in the second tree."""
    first = [parent(place, n) for place in range(n)]
    second: list[int | None] = [None] * n
    for place, above in enumerate(first):
        image = (place + 1) % n if n % 2 else n - 1 - place
        if above is not None:
            second[image] = (above + 1) % n if n % 2 else n - 1 - above
    return first, second


def descent(members: list[int]) -> tuple[Step, ...]:
    """Return the steps of a broadcast from the top of either tree, level by level.

    Parameters
    ----------
    members : list of int
        Positions in the communicator, in the order of the first tree.
    """
    steps: list[list[Send]] = []
    for half, parents in enumerate(_parents(len(members))):
        for place, above in enumerate(parents):
            if above is None:
                continue
            level = _depth(place, parents) - 1
            steps.extend([] for _ in range(level + 1 - len(steps)))
            steps[level].append(Send(members[above], members[place], range(half, half + 1)))
    return tuple(map(tuple, steps))


def _depth(place: int, parents: list[int | None]) -> int:
    depth = 0
    above = parents[place]
    while above is not None:
        depth, above = depth + 1, parents[above]
    return depth


def _rooted(n: int, root: int) -> tuple[Step, ...]:
    """Return a broadcast: half to the top of either tree over the others, then down."""
    others = [(root + i) % n for i in range(1, n)]
    tops = (parents.index(None) for parents in _parents(n - 1))
    first = tuple(Send(root, others[top], range(half, half + 1)) for half, top in enumerate(tops))
    return (first, *descent(others))
