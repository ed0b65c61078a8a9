"""Which keys a scenario may have: an axis that names none is told before anything runs."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from tspsim.files.errors import UserError, did_you_mean
from tspsim.registry import SCHEDULES, STRATEGIES, TOPOLOGIES
from tspsim.scenario.schema import ScenarioKeys
from tspsim.topology.forms import DeviceForm, LinkForm, ProfileForm

#: Keys below which any word may stand.
OPEN = ("optimizer.bytes_per_parameter.", "topology.links.", "topology.devices.", "topology.shape.")


def check(keys: Iterable[str]) -> None:
    """Refuse keys that no scenario has.

    Raises
    ------
    UserError
        With a line for each, and the nearest key.
    """
    lines = [
        f"axis '{key}': names no key of a scenario{_near(key)}"
        for key in keys
        if not _is_known(key)
    ]
    if lines:
        raise UserError("\n".join(lines))


def _near(key: str) -> str:
    """Name the keys that end as this one does, else one that looks like it."""
    whole = [each for each in known() if each.count(".") == 1 and each.endswith(f".{key}")]
    named = " or ".join(map(repr, whole[:3]))
    return f" (did you mean {named}?)" if whole else did_you_mean(key, known())


#: What holds keys that no form names: dtypes, work, kinds of collectives, kernels, lists.
_NAMED_FREELY = (
    ".flop_rate", ".curves", ".collectives", ".protocols", ".attention", ".evidence", ".steps",
)  # fmt: skip


def _is_known(key: str) -> bool:
    inner = key
    while inner.startswith("topology.node."):  # nodes may hold nodes
        inner = f"topology.{inner.removeprefix('topology.node.')}"
    if inner in known() or any(inner.startswith(prefix) for prefix in OPEN):
        return True
    if ".profile.fits." in inner:
        return True
    parent, _, _ = inner.rpartition(".")
    return parent.endswith(_NAMED_FREELY)


@cache
def known() -> tuple[str, ...]:
    """Return the keys of scenarios, dotted and sorted."""
    found = {
        "strategy.pp.schedule.kind",
        "model.hf",
        "topology.file",
        "topology.device.file",
        "device.file",
    }
    found.update(_keys(ScenarioKeys, ""))
    for name in STRATEGIES.names():
        found.update(_keys(STRATEGIES.get(name), "strategy."))
    for name in SCHEDULES.names():
        found.update(_keys(SCHEDULES.get(name), "strategy.pp.schedule."))
    for name in TOPOLOGIES.names():
        found.update(_keys(TOPOLOGIES.get(name), "topology."))
    for prefix in ("topology.device.", "device."):
        found.update(_keys(DeviceForm, prefix))
        found.update(_keys(ProfileForm, f"{prefix}profile."))
    found.update(_keys(ProfileForm, "timing.profile."))
    for prefix in ("topology.link.", "topology.nic.", "link.", "nic."):
        found.update(_keys(LinkForm, prefix))
    return tuple(sorted(found))


def _keys(form: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in form.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        yield key
        inner = _form(field.annotation)
        if inner is not None and not key.endswith((".device", ".node", ".profile")):
            yield from _keys(inner, f"{key}.")


def _form(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_form(argument) for argument in typing.get_args(annotation))
    return next((found for found in inner if found), None)
