"""The fabric as a value: devices, directed links and deterministic routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx

from tspsim.errors import TopologyError
from tspsim.hardware import Device, Profile


@dataclass(frozen=True, slots=True)
class Link:
    """One direction of one physical connection.

    Parameters
    ----------
    index : int
        Position in `Topology.links`.
    source, target : str
        Vertex names: ``"d0"``, ``"d1"``... are devices, anything else is a switch or a NIC.
    bandwidth : float
        Bytes/s.
    latency : float
        Seconds.
    """

    index: int
    source: str
    target: str
    bandwidth: float
    latency: float

    @property
    def name(self) -> str:
        """``"d0→d1"``."""
        return f"{self.source}→{self.target}"


@dataclass(frozen=True)
class Topology:
    """Devices joined by links.

    Parameters
    ----------
    name : str
    devices : tuple of Device
        ``devices[i]`` sits at vertex ``f"d{i}"``.
    links : tuple of Link
    profile : Profile
    kind : str
        The generator that made it, for messages.
    """

    name: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    profile: Profile
    kind: str = "custom"
    _routes: dict[tuple[int, int], tuple[int, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @cached_property
    def graph(self) -> nx.DiGraph:
        """The fabric as a networkx graph; every edge carries its `Link` under ``"link"``."""
        graph = nx.DiGraph()
        graph.add_nodes_from(f"d{i}" for i in range(len(self.devices)))
        for link in self.links:
            graph.add_edge(link.source, link.target, link=link)
        return graph

    def route(self, source: int, target: int) -> tuple[int, ...]:
        """Return the indices of the links from one device to another.

        The shortest path in hops; among equals the one whose links were declared first, so the
        same topology gives the same routes in every run.

        Raises
        ------
        TopologyError
            When there is no path.
        """
        if (source, target) not in self._routes:
            self._routes[source, target] = self._find_route(source, target)
        return self._routes[source, target]

    def _find_route(self, source: int, target: int) -> tuple[int, ...]:
        try:
            path = nx.shortest_path(self.graph, f"d{source}", f"d{target}")
        except nx.NetworkXNoPath:
            raise TopologyError(
                f"topology '{self.name}': no path from device {source} to device {target}"
            ) from None
        hops = zip(path, path[1:], strict=False)
        return tuple(self.graph.edges[a, b]["link"].index for a, b in hops)
