"""Devices in a row, each joined to its neighbours; the two ends have one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tspsim.topology.fabric import Ranks, UniformFabric, Wire


class Spec(UniformFabric):
    """A line."""

    kind: Literal["line"]
    ranks: Ranks

    def count(self) -> int:
        """Return the number of devices."""
        return self.ranks

    def wires(self) -> Iterator[Wire]:
        """Yield the connections of neighbours."""
        for i in range(self.ranks - 1):
            yield from self.joined(i, i + 1)
