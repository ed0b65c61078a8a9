"""From a parsed YAML mapping to a `Topology`: the door that scenarios come through."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import InitErrorDetails

from tspsim.files.errors import TopologyError
from tspsim.files.shipped import locate
from tspsim.topology.extends import read_whole
from tspsim.topology.fabric import Fabric, parse
from tspsim.topology.forms import ProfileField, ProfileForm, explain
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Profile

__all__ = ["build", "document", "load", "load_file", "parse", "parse_profile"]


def load(
    document: Mapping[str, Any], folder: Path | None = None, profile: ProfileForm | None = None
) -> Topology:
    """Return the topology that a mapping describes.

    Parameters
    ----------
    document : mapping
        As written under ``topology:``: ``kind:`` and its keys, or ``file:`` with keys that
        replace what stands in the file.
    folder : Path, optional
        Where relative file names start; then the working directory and the shipped files.
    profile : ProfileForm, optional
        Replaces the device's own profile; see `parse_profile`.

    Raises
    ------
    pydantic.ValidationError
        Everything wrong with `document`; ``loc`` starts at its root.
    TopologyError
        When the devices are not connected.
    """
    return build(parse(document, folder), profile)


def build(form: Fabric, profile: ProfileForm | None = None) -> Topology:
    """Return the topology of a form, with `profile` or else that of its first device.

    Raises
    ------
    pydantic.ValidationError
        When the form names no device.
    TopologyError
        When the devices are not connected.
    """
    forms = form.device_forms()
    if not forms:
        missing = InitErrorDetails(type="missing", loc=("device",), input={"kind": form.kind})
        raise ValidationError.from_exception_data("topology", [missing])
    values = {id(form): form.value() for form in {id(form): form for form in forms}.values()}
    devices = tuple(values[id(form)] for form in forms)
    used: Profile = (profile or forms[0].profile).value()
    return form.build(devices, used, form.name or f"{form.kind}-{len(devices)}")


def load_file(name: str | Path, profile: ProfileForm | None = None) -> Topology:
    """Return the topology of a file, given by path or by the name of a shipped one.

    Raises
    ------
    UserError
        When there is no such file, or with everything that is wrong in it.
    """
    path = locate("topology", str(name), "topologies")
    try:
        return load(read_whole(path, "topologies"), path.parent, profile)
    except ValidationError as error:
        raise TopologyError(f"{path}: {explain(error)}") from None


def parse_profile(document: str | Mapping[str, Any], folder: Path | None = None) -> ProfileForm:
    """Return a profile from its mapping, or from the name or path of its file.

    Raises
    ------
    pydantic.ValidationError
        Everything wrong with it.
    """
    adapter: TypeAdapter[ProfileForm] = TypeAdapter(ProfileField)
    return adapter.validate_python(document, context={"folder": folder})


def document(form: Fabric | ProfileForm) -> dict[str, Any]:
    """Return a form as plain JSON data that `parse` or `parse_profile` reads back as equal.

    Files that it named are written out, so the result stands alone.
    """
    return form.model_dump(mode="json", by_alias=True, exclude_none=True)
