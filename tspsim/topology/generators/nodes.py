"""Several nodes alike, joined by one NIC per device over rails or a fat tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)  # fmt: skip

from tspsim.topology.fabric import MOST_DEVICES, Fabric, Wire, both_ways, parse
from tspsim.topology.forms import DeviceForm, LinkForm, problem


def _node(value: Any, info: ValidationInfo) -> Fabric:
    if isinstance(value, Fabric):
        return value
    if not isinstance(value, Mapping):
        raise problem("a node is a mapping: 'kind:' and its keys, or 'file:'")
    return parse(value, (info.context or {}).get("folder"))


Node = Annotated[SerializeAsAny[Fabric], PlainValidator(_node), WithJsonSchema({"type": "object"})]


class Spec(Fabric):
    """Nodes with one NIC per device.

    Parameters
    ----------
    nodes : int
        How many.
    node : mapping
        One of them: another topology, or ``file:``. Its device holds where none is stated here.
    nic : LinkForm
        Bandwidth per direction, and latency from device to device over the network.
    fabric : {"rails", "fat_tree"}
        ``rails``: NIC i of every node is on rail switch i, and rails are not joined, so traffic
        between different positions crosses a node. ``fat_tree``: the NICs of a node share a leaf
        switch, and one uplink per leaf leads to a spine.
    oversubscription : float
        A leaf's uplink has the bandwidth of its NICs divided by this.
    """

    kind: Literal["nodes"]
    nodes: Annotated[int, Field(ge=1, le=MOST_DEVICES)]
    node: Node
    nic: LinkForm
    fabric: Literal["rails", "fat_tree"] = "rails"
    oversubscription: float = Field(default=1.0, ge=1)

    @model_validator(mode="after")
    def _parts_go_together(self) -> Spec:
        if self.count() > MOST_DEVICES:
            raise problem(f"{self.count()} devices; at most {MOST_DEVICES} are possible")
        if self.fabric == "rails" and self.oversubscription != 1:
            raise problem("oversubscription is for 'fabric: fat_tree'; rails have no uplinks")
        return self

    def count(self) -> int:
        """Return the number of devices of all nodes."""
        return self.nodes * self.node.count()

    def device_forms(self) -> tuple[DeviceForm, ...]:
        """Return the device of every rank: the stated one, else that of the node."""
        return super().device_forms() or self.node.device_forms() * self.nodes

    def node_numbers(self) -> tuple[int, ...]:
        """Return ``device // devices of a node``."""
        return tuple(i // self.node.count() for i in range(self.count()))

    def reducing(self) -> frozenset[str]:
        """Return the reducing switches of every node."""
        inside = sorted(self.node.reducing())
        return frozenset(self._vertex(name, i) for i in range(self.nodes) for name in inside)

    def wires(self) -> Iterator[Wire]:
        """Yield the wires inside the nodes, then those of the network."""
        for node in range(self.nodes):
            for wire in self.node.wires():
                source, target = self._vertex(wire.source, node), self._vertex(wire.target, node)
                yield wire._replace(source=source, target=target)
        if self.nodes > 1:
            network = self._rails() if self.fabric == "rails" else self._tree()
            yield from (wire._replace(network=True) for wire in network)

    def _vertex(self, name: str, node: int) -> str:
        """Return what a vertex of one node is called among all nodes."""
        size = self.node.count()
        if name.startswith("d") and name[1:].isdigit():
            return f"d{node * size + int(name[1:])}"
        return f"node{node}.{name}"

    def _rails(self) -> Iterator[Wire]:
        size = self.node.count()
        for i in range(self.count()):
            yield from both_ways(f"d{i}", f"nic{i}", self.nic.bandwidth, 0.0)
            latency = self.nic.latency / 2
            yield from both_ways(f"nic{i}", f"rail{i % size}", self.nic.bandwidth, latency)

    def _tree(self) -> Iterator[Wire]:
        # four links with latency lie between two NICs: up to the leaf, to the spine, and down
        size, latency = self.node.count(), self.nic.latency / 4
        uplink = size * self.nic.bandwidth / self.oversubscription
        for i in range(self.count()):
            yield from both_ways(f"d{i}", f"nic{i}", self.nic.bandwidth, 0.0)
            yield from both_ways(f"nic{i}", f"leaf{i // size}", self.nic.bandwidth, latency)
        for node in range(self.nodes):
            yield from both_ways(f"leaf{node}", "spine", uplink, latency)
