"""A tree in which everybody who has the message gives it to one more in every step.

``ceil(log2 n)`` steps of the whole message: the fewest steps in which a broadcast can be done, for
messages so short that steps are all that counts (Thakur, Rabenseifner and Gropp 2005,
doi:10.1177/1094342005051521). A reduce runs it backwards, an all-reduce is the one after the other.
"""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere, Reach
from tspsim.collectives.bidirectional_ring import mirrored
from tspsim.collectives.schedule import Schedule, Send, Step
from tspsim.program.types import CollectiveKind


class BinomialTree(Anywhere):
    """The algorithm; inside a node libraries have something better."""

    name = "binomial_tree"
    automatic = ("nodes",)

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it: over nodes an all-reduce goes by `tree`."""
        return kind in ("broadcast", "reduce")


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:
    """Return what the members of a communicator send."""
    match kind:
        case "broadcast":
            return Schedule(_tree(n, root), serial=True)
        case "reduce":
            return Schedule(mirrored(_tree(n, root)), serial=True)
        case "all_reduce":
            tree = _tree(n, 0)
            return Schedule(mirrored(tree) + tree, serial=True)
        case _:
            return None


plan = BinomialTree(sends)


def _tree(n: int, root: int) -> tuple[Step, ...]:
    """Return the steps; the furthest first, so that a step stays among neighbours at the end."""
    steps = []
    for bit in reversed(range((n - 1).bit_length())):
        far = 1 << bit
        here = range(0, n, 2 * far)  # places behind the root that have the message
        step = (
            Send((at + root) % n, (at + far + root) % n, range(1)) for at in here if at + far < n
        )
        steps.append(tuple(step))
    return tuple(steps)
