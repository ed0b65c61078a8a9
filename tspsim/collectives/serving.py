"""All-reduces that serving libraries have for small messages, each one kernel on every device."""

from __future__ import annotations

from tspsim.collectives.algorithm import Anywhere, Reach
from tspsim.program.types import CollectiveKind


class Serving(Anywhere):
    """An all-reduce in which the devices of one node read each other's memory."""

    automatic: tuple[Reach, ...] = ("flat",)
    serving = True

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it; it is an all-reduce and nothing else."""
        return kind == "all_reduce"
