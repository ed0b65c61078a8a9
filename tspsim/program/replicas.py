"""How replicas of the model keep their weights equal: what of it a recorded rank has to know."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kinds.in_place import part


@dataclass(frozen=True, slots=True)
class Replication:
    """How replicas keep their weights equal.

    Parameters
    ----------
    zero : {0, 1}
        0: gradients are all-reduced, and every replica updates all its weights. 1 (ZeRO-1, arXiv
        1910.02054): gradients are reduce-scattered, every replica holds the optimizer states of
        its own parts and updates these, and the updated weights are all-gathered.
    bucket : float
        Bytes of gradients that make up a message; a buffer is never cut, so a message may be
        larger, and the last one smaller.
    """

    zero: int = 0
    bucket: float = 25 * 2.0**20

    def shards(self, replicas: int) -> bool:
        """Whether so many replicas share the optimizer's states."""
        return self.zero == 1 and replicas > 1

    def states(self, elements: int, replicas: int) -> int:
        """Return the elements of an optimizer state that a replica holds of so many weights."""
        return part(elements, replicas) if self.zero == 1 else elements
