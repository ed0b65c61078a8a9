"""Fully connected devices: one connection per pair (MI300X nodes are wired like this)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field

from tspsim.topology.fabric import UniformFabric, Wire
from tspsim.topology.routes import Direct, Router


class Spec(UniformFabric):
    """A full mesh; its links grow with the square of the devices, so these are limited."""

    kind: Literal["full"]
    ranks: Annotated[int, Field(ge=1, le=512)]

    def count(self) -> int:
        """Return the number of devices."""
        return self.ranks

    def wires(self) -> Iterator[Wire]:
        """Yield a connection for every pair."""
        for a, b in combinations(range(self.ranks), 2):
            yield from self.joined(a, b)

    def router(self) -> Router:
        """Return the routes: one link each."""
        return Direct()
