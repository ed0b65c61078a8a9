"""All that the engine returns: when every task started and ended, and what the links carried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.folding.fold import Fold
from tspsim.mesh import Mesh
from tspsim.program.types import Op, Programs

#: Of more ranks than this, only those that were played are shown.
MOST_SHOWN = 64


class Span(NamedTuple):
    """A task on a resource: `rank`, `lane` (name of the stream), `op`, `start` and `end` (s)."""

    rank: int
    lane: str
    op: Op
    start: float
    end: float


class Transfer(NamedTuple):
    """One flow or coflow on the fabric.

    Attributes
    ----------
    op : int
        Index of the op in the program of the first member.
    ranks : tuple of int
        The members of the collective; ``(sender, receiver)`` of a hop, or of a single send.
    collective : str
        ``"send"`` of a send and its receive.
    bytes : int
        The message, as in `Message.bytes`.
    algorithm : str
        The collective algorithm that carried it.
    loads : tuple of (int, float)
        Links and their bytes per byte of message.
    start, end : float
        Seconds; from the end of the latency to the last byte.
    send : bool
        It is one send of its collective (``network.detail: steps``), not the whole of it.
    """

    op: int
    ranks: tuple[int, ...]
    collective: str
    bytes: int
    algorithm: str
    loads: tuple[tuple[int, float], ...]
    start: float
    end: float
    send: bool = False

    @property
    def hop(self) -> bool:
        """Whether it goes from one member to one other: of a shift, or from a send to a receive."""
        return self.collective in ("shift", "send")


@dataclass(frozen=True, eq=False)
class Timeline:
    """Start and end of every task of every rank.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    start, end : tuple of ndarray
        ``start[rank][op]`` in seconds, float64, shape (ops,). A collective starts when its last
        member has arrived (for a shift: when the two partners of a hop have).
    recorded : tuple of Transfer
        Of the ranks that were played, in order of their start; those that start together in order
        of their ranks.
    fold : Fold, optional
        Which ranks stand for which; not given: every rank was played.
    """

    programs: Programs
    mesh: Mesh
    start: tuple[NDArray[np.float64], ...]
    end: tuple[NDArray[np.float64], ...]
    recorded: tuple[Transfer, ...]
    fold: Fold | None = None

    @property
    def played(self) -> tuple[int, ...]:
        """The ranks that were played; every other one behaves as one of them does."""
        return self.fold.representatives if self.fold else tuple(range(self.mesh.ranks))

    @property
    def shown(self) -> tuple[int, ...]:
        """The ranks to show: all, unless these are many and some stand for others."""
        return self.played if self.mesh.ranks > MOST_SHOWN else tuple(range(self.mesh.ranks))

    @cached_property
    def transfers(self) -> tuple[Transfer, ...]:
        """The transfers of the ranks that are shown, in the same order."""
        if self.fold is None or len(self.shown) == len(self.played):
            return self.recorded
        everywhere = (
            transfer._replace(ranks=ranks, loads=loads)
            for transfer in self.recorded
            for ranks, loads in self.fold.everywhere(
                transfer.ranks, transfer.loads, hop=transfer.hop
            )
        )
        return tuple(sorted(everywhere, key=lambda t: (t.start, t.ranks, t.op)))

    @property
    def step_time(self) -> float:
        """Seconds from the start to the end of the last task."""
        return max(float(self.end[rank].max(initial=0.0)) for rank in self.played)

    @property
    def slowest_rank(self) -> int:
        """The rank whose last task ends last; the lowest of equals."""
        lasts = [float(self.end[rank].max(initial=0.0)) for rank in self.played]
        return self.played[lasts.index(max(lasts))]

    @property
    def tasks(self) -> int:
        """Number of tasks played, all ranks together."""
        return sum(len(self.start[rank]) for rank in self.played)

    def spans(self, rank: int) -> Iterator[Span]:
        """Yield a rank's tasks in issue order."""
        program = self.programs.of(rank)
        names = [lane.name for lane in program.lanes]
        times = zip(program.ops, self.start[rank].tolist(), self.end[rank].tolist(), strict=True)
        for op, start, end in times:
            yield Span(rank, names[op.lane], op, start, end)
