"""The device that measured rows are of."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from tspsim.files.errors import UserError
from tspsim.topology.forms import DeviceField, DeviceForm, explain
from tspsim.topology.hardware import Device


def device(name: str) -> Device:
    """Return a device by the name or the path of its file.

    Raises
    ------
    UserError
        When there is none, or with what is wrong in it.
    """
    try:
        form: DeviceForm = TypeAdapter(DeviceField).validate_python(name)
    except ValidationError as error:
        raise UserError(explain(error)) from None
    return form.value()
