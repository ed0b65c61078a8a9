"""How replicas of the model keep their weights equal: what of it a recorded rank has to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tspsim.mesh import DP, Axes
from tspsim.program.kinds.in_place import part

#: Bytes of gradients in a message when nothing is said (torch's DistributedDataParallel).
BUCKET = 25 * 2.0**20
#: Types in which gradients can be summed, in bytes.
REDUCE_ITEMSIZE = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True, slots=True)
class Replication:
    """How replicas keep their weights equal.

    A group of ranks holds the same weights. Its members can share, each holding a part, what goes
    with them: optimizer states, then gradients, then the weights themselves.

    Parameters
    ----------
    zero : {0, 1, 2, 3}
        0: gradients are all-reduced, and every replica updates all its weights. 1 (ZeRO-1, arXiv
        1910.02054): gradients are reduce-scattered, every member holds the optimizer states of
        its own parts and updates these, and the updated weights are all-gathered. 2: a layer's
        gradients are reduce-scattered behind its backward; a member keeps its own parts alone.
        3 (arXiv 2304.11277): it keeps but its own parts of the weights, too, and a layer's are
        gathered when they are needed.
    bucket : float
        Bytes of gradients that make up a message; a buffer is never cut, so a message may be
        larger, and the last one smaller.
    overlap_gradients : bool
        Gradients are reduced as backward completes them; else after the last backward.
    overlap_weights : bool
        What is gathered at the end of a step travels during the next one's forward.
    inside : str or tuple of str
        The axes over which parts are cut.
    outside : str, optional
        The axis over which equal parts are held several times: their gradients are summed over it.
    reshard : bool or int
        Zero 3: of gathered weights nothing is kept after forward but the own part; or, of so many
        neighbours, a part each, to be gathered among them; or all.
    reduce : {"fp32", "bf16"} or None
        Zero 2 and 3: the type in which gradients are added up and travel; that of the resident
        gradients when None.
    sync : {"every", "last"}
        Zero 2 and 3: micro-batches behind which gradients are reduced.
    offload : {"optimizer"} or None
        Optimizer states are in the host's memory, and the step is made there.
    """

    zero: int = 0
    bucket: float = BUCKET
    overlap_gradients: bool = True
    overlap_weights: bool = False
    inside: Axes = DP
    outside: str | None = None
    reshard: bool | int = True
    reduce: Literal["fp32", "bf16"] | None = None
    sync: Literal["every", "last"] = "every"
    offload: Literal["optimizer"] | None = None

    def shards(self, members: int) -> bool:
        """Whether so many members share the optimizer's states."""
        return self.zero >= 1 and members > 1

    def gathers_ahead(self, members: int) -> bool:
        """Whether a step begins with the gathering of what the step before has updated."""
        return self.overlap_weights and self.shards(members)

    def states(self, elements: int, members: int) -> int:
        """Return the elements of an optimizer state that a member holds of so many weights."""
        return part(elements, members) if self.zero >= 1 else elements
