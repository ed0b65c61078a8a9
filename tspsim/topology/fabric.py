"""What every topology generator provides: the number of devices and the wires between them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from tspsim.files.errors import UnknownNameError, UserError
from tspsim.files.names import Name
from tspsim.files.shipped import locate
from tspsim.registry import TOPOLOGIES
from tspsim.topology.extends import read_whole
from tspsim.topology.factors import NAMING, WrongFactorError, merged
from tspsim.topology.form import Form
from tspsim.topology.forms import DeviceField, DeviceForm, LinkForm
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Device, Profile
from tspsim.topology.routes import Router, Search

#: How many devices a generator makes at most: a guard against a slip of the finger.
MOST_DEVICES = 16384

Ranks = Annotated[int, Field(ge=1, le=MOST_DEVICES)]


class Wire(NamedTuple):
    """One direction of a connection, before it has an index."""

    source: str
    target: str
    bandwidth: float
    latency: float
    network: bool = False


def both_ways(a: str, b: str, bandwidth: float, latency: float) -> Iterator[Wire]:
    """Yield the two directions of a connection."""
    yield Wire(a, b, bandwidth, latency)
    yield Wire(b, a, bandwidth, latency)


class Fabric(Form):
    """A topology as written in YAML; one subclass per kind, named ``Spec`` in its own file.

    Parameters
    ----------
    kind : str
        Name of the generator.
    name : str, optional
        For reports; the kind and the number of devices when not given.
    device : str or DeviceForm, optional
        What every rank runs on; only a node inside a larger topology may go without.
    """

    kind: str
    name: Name | None = None
    device: DeviceField | None = None

    @abstractmethod
    def count(self) -> int:
        """Return the number of devices."""

    @abstractmethod
    def wires(self) -> Iterator[Wire]:
        """Yield the connections; devices are the vertices ``"d0"``, ``"d1"``..."""

    def device_forms(self) -> tuple[DeviceForm, ...]:
        """Return the device of every rank, or nothing when none is stated."""
        return (self.device,) * self.count() if self.device else ()

    def node_numbers(self) -> tuple[int, ...]:
        """Return the number of the node that every device sits in; nothing: all in one."""
        return ()

    def reducing(self) -> frozenset[str]:
        """Return the switches that add up what passes through them."""
        return frozenset()

    def router(self) -> Router:
        """Return what finds routes: shortest paths, unless a fabric knows its own."""
        return Search((wire.source, wire.target) for wire in self.wires())

    def grid(self) -> tuple[int, ...]:
        """Return the sizes of the grid that the devices stand on; nothing: on none."""
        return ()

    def build(self, devices: tuple[Device, ...], profile: Profile, name: str) -> Topology:
        """Return the topology.

        Raises
        ------
        TopologyError
            When two devices cannot reach each other.
        """
        links = tuple(Link(index, *wire) for index, wire in enumerate(self.wires()))
        topology = Topology(
            name, devices, links, profile, self.kind, self.node_numbers(), self.reducing(),
            self.router(), self.grid(),
        )  # fmt: skip
        topology.check_connected()
        return topology


class UniformFabric(Fabric):
    """Devices joined by connections that are all alike.

    Parameters
    ----------
    link : LinkForm
        Per direction.
    """

    link: LinkForm

    def joined(self, a: int, b: int) -> Iterator[Wire]:
        """Yield both directions of a connection of two devices."""
        return both_ways(f"d{a}", f"d{b}", self.link.bandwidth, self.link.latency)


def parse(document: Mapping[str, Any], folder: Path | None = None) -> Fabric:
    """Return the form of a topology, with every file that it names read in.

    Parameters
    ----------
    document : mapping
        As written under ``topology:``: a kind and its keys, or ``file:`` and keys that replace
        what stands in the file.
    folder : Path, optional
        Where relative file names start.

    Raises
    ------
    pydantic.ValidationError
        Everything wrong, with its place in `document`.
    """
    whole, base = expand(document, folder)
    kind = whole.get("kind")
    if not isinstance(kind, str):
        where = "missing" if kind is None else "string_type"
        raise _invalid(InitErrorDetails(type=where, loc=("kind",), input=kind or dict(whole)))
    try:
        spec: type[Fabric] = TOPOLOGIES.get(kind)
    except UnknownNameError as error:
        raise _invalid(_detail("kind", str(error), kind)) from None
    return spec.model_validate(dict(whole), context={"folder": base})


def expand(document: Mapping[str, Any], folder: Path | None) -> tuple[Mapping[str, Any], Any]:
    """Return a document with what its ``file:`` or ``extends:`` names, and that one's folder."""
    naming = next((key for key in NAMING if key in document), None)
    if naming is None:
        return document, folder
    file = document[naming]
    changes = {key: value for key, value in document.items() if key != naming}
    try:
        path = locate("topology", str(file), "topologies", folder)
        base = expand(read_whole(path, "topologies"), path.parent)[0]
        return merged(base, changes), path.parent
    except (UserError, WrongFactorError) as error:
        raise _invalid(_detail(naming, str(error), file)) from None


def _detail(key: str, message: str, found: Any) -> InitErrorDetails:
    error = PydanticCustomError("topology", "{problem}", {"problem": message})
    return InitErrorDetails(type=error, loc=(key,), input=found)


def _invalid(detail: InitErrorDetails) -> ValidationError:
    return ValidationError.from_exception_data("topology", [detail])
