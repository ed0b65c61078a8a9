"""What one rank issues on a communicator, or to one other rank on a channel."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.program.types import Message, Op


class Member(NamedTuple):
    """A rank, and what it issues, in order."""

    rank: int
    ops: tuple[Op, ...]
    calls: tuple[Message, ...]

    def call(self, step: int) -> Message | None:
        """Return the call at a step; None when there are no more."""
        return self.calls[step] if step < len(self.calls) else None
