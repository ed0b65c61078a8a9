"""Several nodes alike, joined by NICs over rails, a fat tree or a dragonfly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)  # fmt: skip

from tspsim.files.units import Seconds
from tspsim.topology.fabric import MOST_DEVICES, Fabric, Wire, both_ways, parse
from tspsim.topology.form import problem
from tspsim.topology.forms import DeviceForm, LinkForm
from tspsim.topology.networks import NETWORKS, Network
from tspsim.topology.routes import Path, Router


def _node(value: Any, info: ValidationInfo) -> Fabric:
    if isinstance(value, Fabric):
        return value
    if not isinstance(value, Mapping):
        raise problem("a node is a mapping: 'kind:' and its keys, or 'file:'")
    return parse(value, (info.context or {}).get("folder"))


Node = Annotated[SerializeAsAny[Fabric], PlainValidator(_node), WithJsonSchema({"type": "object"})]


class Spec(Fabric):
    """Nodes with a NIC per device, or with fewer that neighbours share.

    Parameters
    ----------
    nodes : int
        How many.
    node : mapping
        One of them: another topology, or ``file:``. Its device holds where none is stated here.
    nic : LinkForm
        Bandwidth per direction, and latency from device to device through one switch.
    nics : int, optional
        Per node; one per device when not given. It divides the devices, which share them by turns.
    fabric : {"rails", "rail_optimised", "fat_tree", "dragonfly"}
        ``rails``: NIC k of every node is on rail switch k, and rails are not joined, so traffic
        between different positions crosses the sender's node. ``rail_optimised``: a spine joins
        the rails. ``fat_tree``: nodes share leaf switches, and one uplink per leaf leads to a
        spine. ``dragonfly``: a router per node, in groups; see `tspsim.topology.networks`.
    hop : Seconds
        Latency of a link between two switches.
    oversubscription : float
        What the switches below could send up, over what the links upwards carry: uplinks of rails
        and leaves, global links of groups.
    nodes_per_leaf : int
        Nodes that share a leaf switch of a fat tree.
    groups : int, optional
        Groups of a dragonfly.
    """

    kind: Literal["nodes"]
    node: Node
    nodes: Annotated[int, Field(ge=1, le=MOST_DEVICES)]
    nic: LinkForm
    nics: Annotated[int, Field(ge=1)] | None = Field(default=None)
    fabric: Literal["rails", "rail_optimised", "fat_tree", "dragonfly"] = "rails"
    hop: Seconds = 0.0
    oversubscription: float = Field(default=1.0, ge=1)
    nodes_per_leaf: int = Field(default=1, ge=1)
    groups: Annotated[int, Field(ge=2)] | None = Field(default=None, validate_default=True)

    @field_validator("nodes")
    @classmethod
    def _not_too_many(cls, nodes: int, info: ValidationInfo) -> int:
        if (node := info.data.get("node")) and nodes * node.count() > MOST_DEVICES:
            devices = nodes * node.count()
            raise problem(f"makes {devices} devices; at most {MOST_DEVICES} are possible")
        return nodes

    @field_validator("nics")
    @classmethod
    def _nics_are_shared_evenly(cls, nics: int | None, info: ValidationInfo) -> int | None:
        node = info.data.get("node")
        if nics and node and node.count() % nics:
            raise problem(f"found {nics}; must divide the {node.count()} devices of a node")
        return nics

    @field_validator("oversubscription")
    @classmethod
    def _has_uplinks(cls, factor: float, info: ValidationInfo) -> float:
        if info.data.get("fabric") == "rails" and factor != 1:
            raise problem(
                f"found {factor:g}; rails have no uplinks: it is for 'fabric: rail_optimised', "
                "'fat_tree' and 'dragonfly'"
            )
        return factor

    @field_validator("nodes_per_leaf")
    @classmethod
    def _leaves_are_alike(cls, size: int, info: ValidationInfo) -> int:
        fabric, nodes = info.data.get("fabric", "fat_tree"), info.data.get("nodes", size)
        if size > 1 and fabric != "fat_tree":
            raise problem(f"is for 'fabric: fat_tree'; this is '{fabric}'")
        if nodes % size:
            raise problem(f"found {size}; must divide the {nodes} nodes")
        return size

    @field_validator("groups")
    @classmethod
    def _groups_are_alike(cls, groups: int | None, info: ValidationInfo) -> int | None:
        fabric, nodes = info.data.get("fabric"), info.data.get("nodes")
        if groups and fabric and fabric != "dragonfly":
            raise problem(f"is for 'fabric: dragonfly'; this is '{fabric}'")
        if fabric == "dragonfly" and not groups:
            raise problem("is missing: a dragonfly needs the number of its groups")
        if groups and nodes and nodes % groups:
            raise problem(f"found {groups}; must divide the {nodes} nodes")
        return groups

    def count(self) -> int:
        """Return the number of devices of all nodes."""
        return self.nodes * self.node.count()

    def device_forms(self) -> tuple[DeviceForm, ...]:
        """Return the device of every rank: the stated one, else that of the node."""
        return super().device_forms() or self.node.device_forms() * self.nodes

    def node_numbers(self) -> tuple[int, ...]:
        """Return ``device // devices of a node``."""
        size = self.node.count()
        return tuple(i // size for i in range(self.nodes * size))

    def reducing(self) -> frozenset[str]:
        """Return the reducing switches of every node."""
        size, inside = self.node.count(), sorted(self.node.reducing())
        return frozenset(_vertex(name, i, size) for i in range(self.nodes) for name in inside)

    def network(self) -> Network:
        """Return what joins the NICs."""
        part = self.nodes // self.groups if self.groups else self.nodes_per_leaf
        return NETWORKS[self.fabric](
            self.nodes, self.nics or self.node.count(), self.nic.bandwidth, self.nic.latency,
            self.hop, self.oversubscription, part,
        )  # fmt: skip

    def wires(self) -> Iterator[Wire]:
        """Yield the wires inside the nodes, then those of the network."""
        size, inside = self.node.count(), tuple(self.node.wires())
        for node in range(self.nodes):
            for source, target, bandwidth, latency, outside in inside:
                ends = _vertex(source, node, size), _vertex(target, node, size)
                yield Wire(*ends, bandwidth, latency, outside)
        if self.nodes > 1:
            network = self.network()
            share = size // network.nics
            for i in range(self.nodes * size):
                for wire in both_ways(f"d{i}", f"nic{i // share}", self.nic.bandwidth, 0.0):
                    yield wire._replace(network=True)
            for wire in network.wires():
                yield wire._replace(network=True)

    def router(self) -> Router:
        """Return the routes: inside a node its own, between nodes from NIC to NIC."""
        return Between(self.node.count(), self.node.router(), self.network())


@dataclass(frozen=True, slots=True)
class Between:
    """Routes of nodes that are all alike; the same way whichever two nodes they join.

    Parameters
    ----------
    size : int
        Devices of a node.
    inside : Router
        Routes of one node.
    network : Network
    """

    size: int
    inside: Router
    network: Network

    def __call__(self, source: int, target: int) -> Path:
        """Return the vertices from one device to another.

        Traffic leaves by the sender's NIC where the network joins it to the receiver's. Where it
        does not (rails without a spine) the sender's node is crossed first, to the device in the
        receiver's position, as NCCL does with PXN.
        """
        (here, i), (there, j) = divmod(source, self.size), divmod(target, self.size)
        if here == there:
            return self._within(here, i, j)
        share = self.size // self.network.nics
        switches = self.network.switches(source // share, target // share)
        start: Path = (f"d{source}",)
        if not switches:
            start, source = self._within(here, i, j), here * self.size + j
            switches = self.network.switches(source // share, target // share)
        if not start:  # a node whose devices are joined by the network alone
            return ()
        ends = f"nic{source // share}", f"nic{target // share}", f"d{target}"
        return (*start, ends[0], *switches, *ends[1:])

    def _within(self, node: int, i: int, j: int) -> Path:
        return tuple(_vertex(name, node, self.size) for name in self.inside(i, j))


def _vertex(name: str, node: int, size: int) -> str:
    """Return what a vertex of one node is called among all nodes."""
    if name[0] == "d" and name[1:].isdigit():
        return f"d{node * size + int(name[1:])}"
    return f"node{node}.{name}"
