"""What every schedule provides: its options, what it asks of sizes, and the row of one rank."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from pydantic import BaseModel, ConfigDict

from tspsim.files.errors import Problem, UserError
from tspsim.schedules.orders.order import Order, Row, loop, order_of

#: Where a scenario says how large a pipeline is.
RANKS, CHUNKS = ("strategy", "pp", "stages"), ("strategy", "pp", "chunks")
MICROBATCHES = ("workload", "micro_batches")


class Size(NamedTuple):
    """How large a pipeline is.

    Attributes
    ----------
    ranks : int
    microbatches : int
    chunks : int
        Stages on each rank.
    """

    ranks: int
    microbatches: int
    chunks: int = 1


class Schedule(BaseModel):
    """Options of one schedule.

    A schedule is one file in ``tspsim/schedules``: a subclass with its options, their defaults and
    `row`; the module names it ``SCHEDULE``. Its name is the module's, or what the module says that
    it is (``NAME``).

    Attributes
    ----------
    split : bool
        Whether input and weight gradients are passes of their own, I and W, for some micro-batch.
    chunks : tuple of (int, int or None)
        The fewest and the most stages on a rank; None: any number.
    pipelines : int
        Pipelines over the same ranks, each of them with all the layers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    split: ClassVar[bool] = False
    chunks: ClassVar[tuple[int, int | None]] = (1, 1)
    pipelines: ClassVar[int] = 1

    def order(self, ranks: int, microbatches: int, chunks: int | None = None) -> Order:
        """Return what every rank runs.

        Parameters
        ----------
        ranks : int
        microbatches : int
        chunks : int, optional
            Stages on each rank; the fewest that the schedule can have when not given.

        Raises
        ------
        UserError
            When the schedule is not made for this size; see `problems`.
        """
        size = Size(ranks, microbatches, chunks or self.chunks[0])
        if wrong := list(self.problems(size)):
            raise UserError("\n".join(f"{p.path[-1]}: {p.message}" for p in wrong))
        return self._order(size)

    def _order(self, size: Size) -> Order:
        rows = [self.row(size, rank) for rank in range(size.ranks)]
        return order_of(rows, self.placement(size), size.microbatches, self.pipelines)

    def placement(self, size: Size) -> tuple[int, ...]:
        """Return the rank that each stage lies on."""
        return loop(size.ranks, size.chunks)

    @abstractmethod
    def row(self, size: Size, rank: int) -> Row:
        """Return what one rank runs."""

    def problems(self, size: Size) -> Iterator[Problem]:
        """Yield why a pipeline of this size cannot have this schedule; paths as in a scenario."""
        for path, value in ((RANKS, size.ranks), (MICROBATCHES, size.microbatches)):
            if value < 1:
                yield Problem(path, f"{value}; a pipeline has 1 or more")
        least, most = self.chunks
        if size.chunks < least or (most is not None and size.chunks > most):
            allowed = f"{least}" if least == most else f"{least} or more"
            yield Problem(CHUNKS, f"{size.chunks} per rank; this schedule has {allowed}")
