"""Any graph: devices and links written out one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

from tspsim.files.names import Name
from tspsim.topology.fabric import MOST_DEVICES, Fabric, Wire
from tspsim.topology.form import problem
from tspsim.topology.forms import DeviceField, DeviceForm, LinkForm


class LinkLine(LinkForm):
    """One connection.

    Parameters
    ----------
    from_, to : str
        Vertices (``from:`` and ``to:`` in YAML): ``d0``, ``d1``... are the devices in the order
        of `devices`; any other name is a switch.
    both : bool
        Both directions (the default), or only this one.
    """

    from_: Name = Field(alias="from", min_length=1)
    to: Name = Field(min_length=1)
    both: bool = True

    def wires(self) -> Iterator[Wire]:
        """Yield one direction, or both."""
        yield Wire(self.from_, self.to, self.bandwidth, self.latency)
        if self.both:
            yield Wire(self.to, self.from_, self.bandwidth, self.latency)


class Spec(Fabric):
    """Devices and links, listed.

    Parameters
    ----------
    devices : list of str or DeviceForm
        One entry per rank.
    links : list of LinkLine
        At most one per pair of vertices and direction.
    """

    kind: Literal["custom"]
    devices: Annotated[list[DeviceField], Field(min_length=1, max_length=MOST_DEVICES)]
    links: list[LinkLine]

    @model_validator(mode="after")
    def _links_make_sense(self) -> Spec:
        if self.device:
            raise problem("device: a custom topology lists its 'devices', one per rank")
        seen: set[tuple[str, str]] = set()
        for wire in self.wires():
            pair = (wire.source, wire.target)
            if pair[0] == pair[1]:
                raise problem(f"links: '{pair[0]}' is joined to itself")
            if pair in seen:
                raise problem(
                    f"links: '{pair[0]}' to '{pair[1]}' is there twice; add up their bandwidths"
                )
            seen.add(pair)
        for name in sorted({name for pair in seen for name in pair}):
            if re.fullmatch(r"d\d+", name) and int(name[1:]) >= len(self.devices):
                last = len(self.devices) - 1
                raise problem(f"links: there is no device '{name}'; they are d0 to d{last}")
        return self

    def count(self) -> int:
        """Return the number of devices."""
        return len(self.devices)

    def device_forms(self) -> tuple[DeviceForm, ...]:
        """Return the device of every rank."""
        return tuple(self.devices)

    def wires(self) -> Iterator[Wire]:
        """Yield the links as listed."""
        for line in self.links:
            yield from line.wires()
