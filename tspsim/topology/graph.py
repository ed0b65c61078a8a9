"""The fabric as a value: devices, directed links and deterministic routes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from tspsim.files.errors import TopologyError
from tspsim.topology.hardware import Device, Profile
from tspsim.topology.routes import Router, Search
from tspsim.topology.table import RouteTable

if TYPE_CHECKING:
    import networkx as nx


#: How many tables of routes are kept.
_TABLES = 4


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
    router : Router, optional
        The routes that the fabric states itself; where it has none, or one of its links is not
        there, the shortest path is searched.
    grid : tuple of int
        Sizes of the grid that the devices stand on, the last dim fastest; empty: on none.
    """

    name: str
    devices: tuple[Device, ...]
    links: tuple[Link, ...]
    profile: Profile
    kind: str = "custom"
    node_of: tuple[int, ...] = ()
    reducing: frozenset[str] = frozenset()
    router: Router | None = field(default=None, compare=False, repr=False)
    grid: tuple[int, ...] = ()
    _routes: dict[tuple[int, int], tuple[int, ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    _tables: dict[tuple[int, ...], RouteTable] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )

    @cached_property
    def graph(self) -> nx.DiGraph[str]:
        """The fabric as a networkx graph; every edge carries its `Link` under ``"link"``."""
        import networkx as nx  # a twentieth of a second: only for who draws it

        graph: nx.DiGraph[str] = nx.DiGraph()
        graph.add_nodes_from(f"d{i}" for i in range(len(self.devices)))
        for link in self.links:
            graph.add_edge(link.source, link.target, link=link)
        return graph

    @cached_property
    def between(self) -> dict[tuple[str, str], int]:
        """The index of the link from one vertex to another."""
        return {(link.source, link.target): link.index for link in self.links}

    @cached_property
    def _search(self) -> Search:
        return Search(self.between)

    def route(self, source: int, target: int) -> tuple[int, ...]:
        """Return the indices of the links from one device to another.

        What the fabric states: the shorter way round every ring of a torus, dim by dim; between
        nodes from NIC to NIC, the same way whichever two nodes they are. Where it states nothing
        or a link is missing: the shortest path in hops, of equals the first that `Search` finds.
        The same topology gives the same routes in every run.

        Raises
        ------
        TopologyError
            When there is no path.
        """
        if (source, target) not in self._routes:
            self._routes[source, target] = self._find(source, target)
        return self._routes[source, target]

    def _find(self, source: int, target: int) -> tuple[int, ...]:
        if source == target:
            return ()
        for router in (self.router, self._search):
            path = router(source, target) if router else ()
            route = tuple(self.between.get(hop, -1) for hop in pairwise(path))
            if path and -1 not in route:
                return route
        raise TopologyError(
            f"topology '{self.name}': no path from device {source} to device {target}"
        )

    def table(self, ranks: tuple[int, ...]) -> RouteTable:
        """Return all routes among some devices; those of the last few are kept."""
        if ranks not in self._tables:
            while len(self._tables) >= _TABLES:
                del self._tables[next(iter(self._tables))]
            latencies = [link.latency for link in self.links]
            self._tables[ranks] = RouteTable(ranks, self.route, latencies)
        return self._tables[ranks]

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
        if lost := self._search.lost(len(self.devices)):
            a, b = lost
            raise TopologyError(
                f"topology '{self.name}' is not connected: no path from device {a} to "
                f"device {b}; join them with links"
            )
