"""What the lines of a calibration must hold: read from files that anyone could have changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tspsim.files import faults
from tspsim.files.source import dotted
from tspsim.program.types import CollectiveKind
from tspsim.scenario.section import Count, Section

Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: Lane, name, start and end; JSON has lists alone.
Entry = Annotated[tuple[str, str, float, float], Field(strict=False)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class MachineForm(Section):
    """``machine.json``, its version taken off."""

    device: str
    cores: Count
    memory: Count
    system: str
    versions: dict[str, str]
    backend: str
    link: Literal["namespaces", "loopback", "device"]
    rate: Seconds | None
    dtype: str = "fp32"


class RowForm(Section):
    """A line of ``rows.jsonl``."""

    kind: str
    case: dict[str, Any]
    use: str
    seconds: list[Seconds] = Field(min_length=1)
    load: Amount = 0.0
    clock: Amount | None = None
    at: float = 0.0
    timeline: list[list[Entry]] = Field(default_factory=list)
    notes: dict[str, Any] = Field(default_factory=dict)


class _Case(BaseModel):
    """What is known of a case; how it was measured may say more."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)


class OpCase(_Case):
    """A compute op on one rank."""

    op: str
    flops: Amount
    bytes: Count


class CollectiveCase(_Case):
    """Calls of one collective."""

    ranks: int = Field(ge=2)
    collective: CollectiveKind
    bytes: Count
    root: int = Field(0, ge=0)


class OverlapCase(_Case):
    """Matrix products beside a collective."""

    ranks: Count


class ModelCase(_Case):
    """The model of a block."""

    hidden: Count


class StrategyCase(_Case):
    """The strategy of a block."""

    kind: str


class BlockCase(_Case):
    """A training step of one layer."""

    ranks: Count
    strategy: StrategyCase
    model: ModelCase
    sequence: Count


CASES: dict[str, type[BaseModel]] = {
    "op": OpCase, "collective": CollectiveCase, "overlap": OverlapCase, "block": BlockCase,
}  # fmt: skip


def wrong(form: type[BaseModel], data: Any, prefix: tuple[str, ...] = ()) -> str:
    """Return what is wrong with data that should be of a form: the first problem, or nothing."""
    try:
        form.model_validate(data)
    except ValidationError as error:
        return dotted(faults.problems(error, form, data, prefix)[0])
    return ""
