"""The groups of a layer whose experts are held alike by other ranks than its other weights."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.program.packed import Weights
from tspsim.strategies.parts.groups import Group


class Together:
    """Groups that come and go together, each over ranks of its own.

    Parameters
    ----------
    groups : sequence of Group
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)

    def _of(self, w: Weights) -> Group:
        return next(group for group in self.groups if group.holds(w))

    def now(self, w: Weights) -> Weights:
        """Return weights as ops read them."""
        return self._of(w).now(w)

    def adding(self, w: Weights) -> Weights:
        """Return weights as ops read them, and where a micro-batch's gradient is added up."""
        return self._of(w).adding(w)

    def total(self, w: Weights) -> Weights:
        """Return weights, and the gradient of all micro-batches so far."""
        return self._of(w).total(w)

    def gather(self) -> None:
        """Have the weights come, unless they are there or on their way."""
        for group in self.groups:
            group.gather()

    def begin(self) -> None:
        """Have the weights there: what is recorded next reads them."""
        for group in self.groups:
            group.begin()

    def leave(self) -> None:
        """Let the weights go behind forward, if they are to."""
        for group in self.groups:
            group.leave()

    def add_up(self) -> None:
        """Add a micro-batch's gradients to those before it, where they have another type."""
        for group in self.groups:
            group.add_up()

    def finish(self) -> None:
        """Let the weights go behind backward."""
        for group in self.groups:
            group.finish()

    def reduce(self) -> None:
        """Add the rank's parts of the gradients, summed over their groups, to its shards."""
        for group in self.groups:
            group.reduce()
