"""Devices around one non-blocking switch (NVSwitch nodes)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tspsim.topology.fabric import Ranks, UniformFabric, Wire, both_ways
from tspsim.topology.routes import Direct, Router


class Spec(UniformFabric):
    """A switch; `link` is a port, and its latency is that from device to device.

    Parameters
    ----------
    ranks : int
    reducing : bool
        It adds up what devices send to it and copies what they are all to get (NVLink SHARP).
    """

    kind: Literal["switch"]
    ranks: Ranks
    adds_up: bool = Field(default=False, alias="reducing")

    def count(self) -> int:
        """Return the number of devices."""
        return self.ranks

    def wires(self) -> Iterator[Wire]:
        """Yield one port per device; half the latency lies on either side of the switch."""
        for i in range(self.ranks):
            yield from both_ways(f"d{i}", "switch", self.link.bandwidth, self.link.latency / 2)

    def reducing(self) -> frozenset[str]:
        """Return the switch, where it adds up."""
        return frozenset(("switch",) if self.adds_up else ())

    def router(self) -> Router:
        """Return the routes: in through one port and out through another."""
        return Direct("switch")
