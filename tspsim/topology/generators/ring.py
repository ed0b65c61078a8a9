"""Devices in a circle, each joined to its two neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tspsim.topology.fabric import Ranks, UniformFabric, Wire
from tspsim.topology.generators.mesh import DimByDim
from tspsim.topology.routes import Router


class Spec(UniformFabric):
    """A ring; two devices have one connection, not two."""

    kind: Literal["ring"]
    ranks: Ranks

    def count(self) -> int:
        """Return the number of devices."""
        return self.ranks

    def wires(self) -> Iterator[Wire]:
        """Yield the connections of neighbours."""
        for i in range(self.ranks if self.ranks > 2 else self.ranks - 1):
            yield from self.joined(i, (i + 1) % self.ranks)

    def router(self) -> Router:
        """Return the routes: the shorter way round."""
        return DimByDim((self.ranks,), wrapped=True)
