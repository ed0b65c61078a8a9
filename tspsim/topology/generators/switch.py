"""Devices around one non-blocking switch (NVSwitch nodes)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tspsim.topology.fabric import Ranks, UniformFabric, Wire, both_ways


class Spec(UniformFabric):
    """A switch; `link` is a port, and its latency is that from device to device."""

    kind: Literal["switch"]
    ranks: Ranks

    def count(self) -> int:
        """Return the number of devices."""
        return self.ranks

    def wires(self) -> Iterator[Wire]:
        """Yield one port per device; half the latency lies on either side of the switch."""
        for i in range(self.ranks):
            yield from both_ways(f"d{i}", "switch", self.link.bandwidth, self.link.latency / 2)
