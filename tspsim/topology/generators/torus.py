"""A grid whose rows and columns are rings (TPU pods)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tspsim.topology.fabric import Wire
from tspsim.topology.generators.mesh import DimByDim, Grid
from tspsim.topology.routes import Router


class Spec(Grid):
    """A torus: a grid with wrap-around wherever a dim has more than two devices."""

    kind: Literal["torus"]

    def wires(self) -> Iterator[Wire]:
        """Yield the connections of neighbours, wrap-around included."""
        for a, b in self.neighbours(wrapped=True):
            yield from self.joined(a, b)

    def router(self) -> Router:
        """Return the routes: the shorter way round every ring, the last dim first."""
        return DimByDim(self.shape, wrapped=True)
