"""The fabric as a value: devices, directed links and deterministic routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

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
    network : bool
        It leaves the node; the protocols of a profile are those inside one.
    """

    index: int
    source: str
    target: str
    bandwidth: float
    latency: float
    network: bool = False

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
    node_of : tuple of int
        Number of the node that every device sits in; empty: all in one.
    reducing : frozenset of str
        Switches that add up what passes through them (NVLS, SHARP).
    """

    name: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    profile: Profile
    kind: str = "custom"
    node_of: tuple[int, ...] = ()
    reducing: frozenset[str] = frozenset()
    _routes: dict[tuple[int, int], tuple[int, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The fabric as a networkx graph; every edge carries its `Link` under ``"link"``."""
        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(f"d{i}" for i in range(len(self.devices)))
        for link in self.links:
            graph.add_edge(link.source, link.target, link=link)
        return graph

    def route(self, source: int, target: int) -> tuple[int, ...]:
        """Return the indices of the links from one device to another.

        The shortest path in hops; among equals the one that a breadth-first search from the
        source finds first when it follows links in the order of `links`. The same topology gives
        the same routes in every run.

        Raises
        ------
        TopologyError
            When there is no path.
        """
        if (source, target) not in self._routes:
            direct = self.graph.get_edge_data(f"d{source}", f"d{target}")
            if direct is not None:  # one hop: no search finds a shorter one
                self._routes[source, target] = (direct["link"].index,)
                return self._routes[source, target]
            self._find_routes(source)
        if (source, target) not in self._routes:
            raise TopologyError(
                f"topology '{self.name}': no path from device {source} to device {target}"
            )
        return self._routes[source, target]

    def _find_routes(self, source: int) -> None:
        """Keep the routes from one device to every other: one search finds them all."""
        edges = self.graph.edges
        paths = nx.single_source_shortest_path(self.graph, f"d{source}")
        for target in range(len(self.devices)):
            if path := paths.get(f"d{target}"):
                hops = pairwise(path)
                self._routes[source, target] = tuple(edges[hop]["link"].index for hop in hops)

    def node(self, device: int) -> int:
        """Return the number of the node that a device sits in."""
        return self.node_of[device] if self.node_of else 0

    def latency(self, source: int, target: int) -> float:
        """Return the seconds that the first byte needs from one device to another."""
        return sum(self.links[link].latency for link in self.route(source, target))

    def check_connected(self) -> None:
        """Raise unless every device reaches every other.

        Raises
        ------
        TopologyError
            It names two devices that lost each other.
        """
        first = nx.single_source_shortest_path_length(self.graph, "d0")
        back = nx.single_source_shortest_path_length(self.graph.reverse(copy=False), "d0")
        for i in range(len(self.devices)):
            if f"d{i}" not in first or f"d{i}" not in back:
                a, b = (0, i) if f"d{i}" not in first else (i, 0)
                raise TopologyError(
                    f"topology '{self.name}' is not connected: no path from device {a} to "
                    f"device {b}; join them with links"
                )
