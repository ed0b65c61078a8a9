"""The forms of devices, profiles and links in YAML files, and how they become frozen values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)  # fmt: skip
from pydantic_core import CoreSchema, core_schema

from tspsim.files.errors import UserError
from tspsim.files.names import Name
from tspsim.files.shipped import Kind, locate, shipped
from tspsim.files.units import LEAST_SHARE, Bytes, BytesPerSecond, FlopRate, Price, Seconds
from tspsim.kernels import Attention
from tspsim.program.types import CollectiveKind
from tspsim.topology.evidence_forms import EvidenceForm, StepEvidenceForm
from tspsim.topology.extends import read_whole, resolved
from tspsim.topology.form import Form, problem
from tspsim.topology.hardware import Curve, Device, Profile, Protocol
from tspsim.topology.table_files import digest, read_tables
from tspsim.topology.tables import Table, TableKind

#: By kind of table, that of the kernel that runs behind it in backward.
BACKWARDS: dict[str, TableKind] = {"attention": "attention_backward", "mla": "mla_backward"}

#: Of attention's kernels on H100 (FlashAttention-3, arXiv 2407.08608): see docs/profiles.md.
BACKWARD = 0.88

Dtype = Literal["fp8", "bf16", "fp16", "fp32", "fp64"]


class LinkForm(Form):
    """Bandwidth and latency of a connection, per direction."""

    bandwidth: BytesPerSecond
    latency: Seconds


@dataclass(frozen=True, slots=True)
class FromFile:
    """Lets a field hold the name of a file in place of the mapping that stands in it.

    Parameters
    ----------
    what : str
        What it is called in messages.
    kind : Kind
        The folder of shipped files that a bare name is looked for in.
    """

    what: str
    kind: Kind

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read the file before the mapping is checked."""
        return core_schema.with_info_before_validator_function(self._read, handler(source))

    def _read(self, value: Any, info: core_schema.ValidationInfo) -> Any:
        folder = (info.context or {}).get("folder")
        near = Path(folder) if folder else None
        try:
            if isinstance(value, str):
                return read_whole(locate(self.what, value, self.kind, near), self.kind)
            return resolved(value, self.kind, near) if isinstance(value, dict) else value
        except UserError as error:
            raise problem(str(error)) from None

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Tell editors that a name will do."""
        name = {"type": "string", "description": f"A shipped {self.what}, or a path"}
        return {"anyOf": [name, handler(schema)]}


class ProtocolForm(Form):
    """One way in which collectives travel: latency per call, achieved bandwidth.

    Parameters
    ----------
    latency : Seconds
        Of a call, on top of the latency of the links.
    efficiency : float
        Achieved / stated bandwidth of a link.
    collective : str, optional
        The kind that it is for; not given: every kind that no other protocol names.
    algorithm : str, optional
        The algorithm that it is for; not given: every one that no other protocol names.
    network : bool
        It is for what leaves the node, otherwise for what stays inside.
    first : Bytes
        The smallest message that it is for; where it may be used the library uses it, however fast
        others are.
    fewest : int
        The fewest members that it is for.
    per_member : Seconds
        Of a call, for every member but one.
    own_part : float
        What a member's own part costs, over what a link takes for a part as stated.
    last : Bytes, optional
        The largest message that it is for.
    most : int
        The most members that it is for; 0: any number.
    """

    latency: Seconds = 0.0
    efficiency: float = Field(default=1.0, ge=LEAST_SHARE, le=1)
    collective: CollectiveKind | None = None
    algorithm: str | None = None
    network: bool = False
    first: Bytes = 0.0
    fewest: int = Field(default=0, ge=0)
    per_member: Seconds = 0.0
    own_part: float = Field(default=0.0, ge=0, le=1 / LEAST_SHARE)
    last: Bytes | None = None
    most: int = Field(default=0, ge=0)

    def value(self) -> Protocol:
        """Return the protocol that this form describes."""
        return Protocol(
            self.latency, self.efficiency, self.collective, self.algorithm, self.network,
            self.first, self.fewest, self.per_member, self.own_part,
            math.inf if self.last is None else self.last, self.most,
        )  # fmt: skip


class FitForm(Form):
    """How well a part of a profile meets the figures that it comes from; for the reader alone.

    Parameters
    ----------
    rows, held_out : int
        Figures that were fitted to, and figures that were kept from the fit.
    residual, error : float, optional
        Mean absolute relative error on the one and on the other.
    """

    rows: int = Field(ge=0)
    residual: float | None = Field(default=None, ge=0)
    held_out: int = Field(default=0, ge=0)
    error: float | None = Field(default=None, ge=0)


class TablesForm(Form):
    """Measured kernels, in place of the curves of the same work.

    Parameters
    ----------
    file : str
        A shipped file of tables, or the path of one that ``tspsim calibrate import`` made.
    backward : float
        Efficiency of attention's backward / forward, where the file has no table of backward.
    digest : str, optional
        Of the file: the first digits of its SHA-256. Results state it, and another file of the
        same name is refused.
    """

    file: str
    backward: float = Field(default=BACKWARD, gt=0, le=2)
    digest: str = Field(default="", validate_default=True)

    @field_validator("file")
    @classmethod
    def _can_be_read(cls, name: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder")
        try:
            place = locate("table", name, "topologies/tables", Path(folder) if folder else None)
            read_tables(place)
        except UserError as error:
            raise problem(str(error)) from None
        return name if place.is_relative_to(shipped("topologies/tables")) else str(place)

    @field_validator("digest")
    @classmethod
    def _is_that_of_the_file(cls, stated: str, info: ValidationInfo) -> str:
        if "file" not in info.data:
            return stated  # what is wrong with it is said already
        found = digest(locate("table", info.data["file"], "topologies/tables"))
        if stated not in ("", found):
            told = f"'{info.data['file']}' is another file by now: {found}"
            raise problem(f"found '{stated}'; {told}; leave it out to use what it holds")
        return found

    def value(self) -> tuple[Table, ...]:
        """Return the tables; backward from forward where there is no other."""
        tables = read_tables(locate("table", self.file, "topologies/tables")).tables
        known = {(table.kind, table.dtype) for table in tables}
        made = tuple(
            replace(table, kind=behind, factor=self.backward)
            for table in tables
            if (behind := BACKWARDS.get(table.kind)) and (behind, table.dtype) not in known
        )
        return tables + made


class ProfileForm(Form):
    """Efficiencies and overheads: what turns peak rates into achieved ones.

    Parameters
    ----------
    name : str
    curves : dict of str to list of [size, efficiency]
        By work: ``matmul``, ``grouped``, ``attention``, ``attention_backward`` (sizes in flops),
        ``elementwise`` (in bytes). What is missing runs at its peak, but ``grouped`` as ``matmul``.
    launch : Seconds, optional
        Added to every compute op; the device's own when not given.
    sustained : float
        Fraction of the rate of kernels timed alone that products keep in long runs.
    interference : float
        Fraction of its speed that compute keeps while a collective is active.
    error : float, optional
        Mean absolute relative error on runs that it was not fitted to; not given: unknown.
    protocols : list of ProtocolForm
        How collectives travel inside a node: the fastest for the size; none: as the links state.
    collectives : dict of str to str
        By kind, the algorithm that the library was seen to use; what is missing is chosen.
    attention : dict of str to float
        By flash kernel (``flash-2``), its efficiency as a part of what table or curve say.
    tables : TablesForm, optional
        Measured kernels, in place of the curves of the same work.
    fits : dict of str to FitForm
        By curve or collective: how well the fit meets its figures.
    evidence : list of EvidenceForm
        How far collective calls that it was not fitted to were off, by kind and span.
    steps : list of StepEvidenceForm
        How far whole steps that it was not fitted to were off, by framework and span.
    """

    name: Name
    curves: dict[
        Literal["matmul", "grouped", "attention", "attention_backward", "elementwise"],
        list[Annotated[list[float], Field(min_length=2, max_length=2)]],
    ] = Field(default_factory=dict)
    launch: Seconds | None = None
    sustained: float = Field(default=1.0, ge=LEAST_SHARE, le=1)
    interference: float = Field(default=1.0, ge=LEAST_SHARE, le=1)
    error: float | None = Field(default=None, ge=0)
    protocols: list[ProtocolForm] = Field(default_factory=list)
    collectives: dict[CollectiveKind, str] = Field(default_factory=dict)
    attention: dict[Attention, Annotated[float, Field(ge=LEAST_SHARE, le=2)]] = Field(
        default_factory=dict
    )
    tables: TablesForm | None = None
    fits: dict[str, FitForm] = Field(default_factory=dict)
    evidence: list[EvidenceForm] = Field(default_factory=list)
    steps: list[StepEvidenceForm] = Field(default_factory=list)

    @field_validator("curves")
    @classmethod
    def _curves_are_curves(cls, curves: dict[str, list[list[float]]]) -> Any:
        for name, points in curves.items():
            if not points:
                raise problem(f"{name}: at least one [size, efficiency] is needed")
            if any(a[0] >= b[0] for a, b in pairwise(points)) or points[0][0] <= 0:
                raise problem(f"{name}: sizes must be positive and increase from point to point")
            if any(not 0 < efficiency <= 1 for _, efficiency in points):
                raise problem(f"{name}: an efficiency lies above 0 and is at most 1")
        return curves

    def value(self) -> Profile:
        """Return the profile that this form describes."""
        curves = tuple(
            (name, Curve(tuple((size, efficiency) for size, efficiency in points)))
            for name, points in self.curves.items()
        )
        source = self.source if isinstance(self.source, str) else "; ".join(self.source.values())
        protocols = tuple(form.value() for form in self.protocols)
        return Profile(
            self.name, curves, self.launch, self.interference, self.error, source, protocols,
            tuple(self.collectives.items()), self.tables.value() if self.tables else (),
            evidence=tuple(form.value() for form in self.evidence), sustained=self.sustained,
            attention=tuple(self.attention.items()),
            steps=tuple(form.value() for form in self.steps),
        )  # fmt: skip


ProfileField = Annotated[ProfileForm, FromFile("profile", "topologies/profiles")]


class DeviceForm(Form):
    """What one device can do, as its vendor states it.

    Parameters
    ----------
    name : str
    flop_rate : dict of dtype to FlopRate
        Peak dense rate; never a figure that assumes sparsity.
    memory_bandwidth : BytesPerSecond
    memory : Bytes
        Capacity.
    reserved : Bytes
        What the runtime keeps for itself.
    blas : Bytes
        Workspace of a BLAS handle, in the libraries that frameworks use on it.
    communicator : Bytes
        Buffers that a communicator of the collective library keeps there.
    launch : Seconds
        Overhead of every compute op, where the profile states none.
    host_link, host_memory : BytesPerSecond, optional
        One way between the device and its host, and of the device's share of the host's memory.
    price : Price, optional
        Dollars per device hour.
    profile : str or ProfileForm
        Used where the scenario names none.
    """

    name: Name
    flop_rate: Annotated[dict[Dtype, FlopRate], Field(min_length=1)]
    memory_bandwidth: BytesPerSecond
    memory: Annotated[Bytes, Field(gt=0)]
    reserved: Bytes = 0.0
    blas: Bytes = 0.0
    communicator: Bytes = 0.0
    launch: Seconds = 0.0
    host_link: BytesPerSecond | None = None
    host_memory: BytesPerSecond | None = None
    price: Price | None = None
    profile: ProfileField = Field(default="datasheet", validate_default=True)

    @model_validator(mode="after")
    def _leaves_room(self) -> DeviceForm:
        if self.reserved >= self.memory:  # of the libraries a scenario may say that there are none
            raise problem("reserved: as large as the memory itself; nothing is left")
        return self

    def value(self) -> Device:
        """Return the device that this form describes."""
        return Device(
            self.name, tuple(self.flop_rate.items()), self.memory_bandwidth, self.memory,
            self.reserved, self.price, self.launch, self.blas, self.communicator, self.host_link,
            self.host_memory,
        )  # fmt: skip


DeviceField = Annotated[DeviceForm, FromFile("device", "topologies/devices")]


def explain(error: ValidationError) -> str:
    """Return all problems of a validation in one text: ``link.bandwidth: ...; ranks: ...``."""
    lines = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    return "; ".join(line.removeprefix(": ") for line in lines)
