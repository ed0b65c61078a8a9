"""Groups of micro-batches that go through one chunk after the other: interleaving is made of it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.schedules.parts.alternate import Passes
from tspsim.schedules.parts.base import MICROBATCHES, Schedule, Size

_PLACE = ("strategy", "pp", "schedule", "group_size")


class Grouped(Schedule):
    """A schedule whose micro-batches go through the chunks of a rank in groups.

    Parameters
    ----------
    group_size : int, optional
        Micro-batches that go through a chunk before they go through the next one: Megatron-Core's
        ``microbatch_group_size_per_vp_stage``. When not given, as torch does: as many as there are
        ranks, or some more (fewer, where there are not so many) that divide the micro-batches.
    """

    chunks = (2, None)

    group_size: int | None = Field(
        None, ge=1, description="micro-batches in a row through one chunk; null: as torch does"
    )

    def group(self, size: Size) -> int:
        """Return how many micro-batches a group has."""
        return self.group_size or size.microbatches // max(1, size.microbatches // size.ranks)

    def problems(self, size: Size) -> Iterator[Problem]:
        """Yield why a pipeline of this size cannot have this schedule."""
        wrong = list(super().problems(size))
        yield from wrong
        if wrong:
            return
        group, m = self.group(size), size.microbatches
        left = m % group
        if self.group_size is None and left:
            low, high = m - m % size.ranks, m + -m % size.ranks
            message = (
                f"{m} micro-batches do not make {m // size.ranks} equal groups of {size.ranks} or "
                f"more; take {low} or {high}, or set group_size"
            )
            yield Problem(MICROBATCHES, message)
        elif self.group_size is not None and not size.ranks <= group <= m:
            allowed = f"from the {size.ranks} stages to the {m} micro-batches"
            yield Problem(_PLACE, f"{group}; a group has {allowed}")
        elif self.group_size is not None and 0 < left < size.ranks:
            message = (
                f"groups of {group} leave {left} of {m} micro-batches; none may be left, or as many"
                f" as there are stages ({size.ranks}) or more"
            )
            yield Problem(_PLACE, message)

    def passes(self, size: Size, rank: int) -> tuple[Passes, Passes]:
        """Return a rank's forward and backward passes: backward takes the chunks in reverse."""
        groups = self._groups(size)
        stages = range(rank, size.ranks * size.chunks, size.ranks)
        forwards = [(s, b) for group in groups for s in stages for b in group]
        backwards = [(s, b) for group in groups for s in reversed(stages) for b in group]
        return forwards, backwards

    def _groups(self, size: Size) -> list[range]:
        group, m = self.group(size), size.microbatches
        return [range(first, min(first + group, m)) for first in range(0, m, group)]
