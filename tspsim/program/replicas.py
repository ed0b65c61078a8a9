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
    overlap_gradients : bool
        Gradients are reduced as backward completes them; else after the last backward.
    overlap_weights : bool
        What ZeRO-1 gathers at the end of a step travels during the next one's forward.
    """

    zero: int = 0
    bucket: float = 25 * 2.0**20
    overlap_gradients: bool = True
    overlap_weights: bool = False

    def shards(self, replicas: int) -> bool:
        """Whether so many replicas share the optimizer's states."""
        return self.zero == 1 and replicas > 1

    def gathers_ahead(self, replicas: int) -> bool:
        """Whether a step begins with the gathering of what the step before has updated."""
        return self.overlap_weights and self.shards(replicas)

    def states(self, elements: int, replicas: int) -> int:
        """Return the elements of an optimizer state that a replica holds of so many weights."""
        return part(elements, replicas) if self.zero == 1 else elements
