"""Networks between nodes: the switches that NICs are joined to, and the way from NIC to NIC."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from tspsim.topology.fabric import Wire, both_ways
from tspsim.topology.routes import Path


@dataclass(frozen=True, slots=True)
class Network(ABC):
    """What joins the NICs; NIC k of node n is number ``n * nics + k``.

    Parameters
    ----------
    nodes, nics : int
        Nodes, and NICs of each.
    bandwidth, latency : float
        Of a NIC per direction, and from device to device through one switch.
    hop : float
        Seconds between two switches.
    oversubscription : float
        How many times the NICs below could fill the links above.
    part : int
        Nodes that share a leaf switch (fat tree) or form a group (dragonfly).
    """

    nodes: int
    nics: int
    bandwidth: float
    latency: float
    hop: float
    oversubscription: float
    part: int

    @abstractmethod
    def switch(self, nic: int) -> str:
        """Return the switch that a NIC is joined to."""

    @abstractmethod
    def trunks(self) -> Iterator[Wire]:
        """Yield the links between switches."""

    @abstractmethod
    def switches(self, source: int, target: int) -> Path:
        """Return the switches between two NICs; empty where they are not joined."""

    def wires(self) -> Iterator[Wire]:
        """Yield the links of NICs to switches, then those between switches."""
        for nic in range(self.nodes * self.nics):
            yield from both_ways(f"nic{nic}", self.switch(nic), self.bandwidth, self.latency / 2)
        yield from self.trunks()


class Rails(Network):
    """NIC k of every node on rail switch k; rails are not joined."""

    def switch(self, nic: int) -> str:
        """Return the rail of the NIC's place in its node."""
        return f"rail{nic % self.nics}"

    def trunks(self) -> Iterator[Wire]:
        """Yield nothing."""
        yield from ()

    def switches(self, source: int, target: int) -> Path:
        """Return the rail that both are on."""
        a, b = self.switch(source), self.switch(target)
        return (a,) if a == b else ()


class RailOptimised(Rails):
    """Rails whose switches are joined by a spine, so that every NIC reaches every other."""

    def trunks(self) -> Iterator[Wire]:
        """Yield the uplink of every rail."""
        uplink = self.nodes * self.bandwidth / self.oversubscription
        for rail in range(self.nics):
            yield from both_ways(f"rail{rail}", "spine", uplink, self.hop)

    def switches(self, source: int, target: int) -> Path:
        """Return the rail that both are on, or the way over the spine."""
        a, b = self.switch(source), self.switch(target)
        return (a,) if a == b else (a, "spine", b)


class FatTree(Network):
    """The NICs of one or several nodes on a leaf switch; an uplink of every leaf to a spine."""

    def switch(self, nic: int) -> str:
        """Return the leaf of the NIC's node."""
        return f"leaf{nic // (self.nics * self.part)}"

    def trunks(self) -> Iterator[Wire]:
        """Yield the uplink of every leaf."""
        uplink = self.part * self.nics * self.bandwidth / self.oversubscription
        for leaf in range(self.nodes // self.part):
            yield from both_ways(f"leaf{leaf}", "spine", uplink, self.hop)

    def switches(self, source: int, target: int) -> Path:
        """Return the leaf that both are on, or the way over the spine."""
        a, b = self.switch(source), self.switch(target)
        return (a,) if a == b else (a, "spine", b)


class Dragonfly(Network):
    """A router per node, groups of routers all joined, and one link between any two groups.

    Bandwidths are those of a balanced dragonfly (Kim, Dally, Scott, Abts 2008,
    doi:10.1109/ISCA.2008.19: a router has twice as many local links as NICs, and half as many
    global ones as local ones): the local links of a router together have twice the bandwidth of
    its NICs, and the global links of a group that of its NICs, divided by `oversubscription`.

    Which router of group G holds the link to group H depends on H - G alone, as in the relative
    arrangement (Hastings et al. 2015, doi:10.1109/CLUSTER.2015.57): groups are all alike.
    """

    def switch(self, nic: int) -> str:
        """Return the router of the NIC's node."""
        return f"router{nic // self.nics}"

    def _gate(self, group: int, other: int) -> int:
        """Return the router of a group that holds the link to another group."""
        away = (other - group) % (self.nodes // self.part)
        return group * self.part + (away - 1) % self.part

    def trunks(self) -> Iterator[Wire]:
        """Yield the links inside groups, then those between them."""
        groups, injected = self.nodes // self.part, self.nics * self.bandwidth
        local = 2 * injected / max(self.part - 1, 1)
        for group in range(groups):
            members = range(group * self.part, (group + 1) * self.part)
            for a, b in combinations(members, 2):
                yield from both_ways(f"router{a}", f"router{b}", local, self.hop)
        between = self.part * injected / ((groups - 1) * self.oversubscription)
        for a, b in combinations(range(groups), 2):
            ends = f"router{self._gate(a, b)}", f"router{self._gate(b, a)}"
            yield from both_ways(*ends, between, self.hop)

    def switches(self, source: int, target: int) -> Path:
        """Return the routers of the minimal way: one global link at most."""
        a, b = source // self.nics, target // self.nics
        here, there = a // self.part, b // self.part
        gates = (self._gate(here, there), self._gate(there, here)) if here != there else ()
        return tuple(f"router{i}" for i in dict.fromkeys((a, *gates, b)))


#: By the name that is written under ``fabric:``.
NETWORKS: dict[str, type[Network]] = {
    "rails": Rails, "rail_optimised": RailOptimised, "fat_tree": FatTree, "dragonfly": Dragonfly,
}  # fmt: skip
