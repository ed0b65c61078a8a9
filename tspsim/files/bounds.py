"""Numbers within the bounds of options, wherever no parser of a command line has seen to it."""

from __future__ import annotations

from numbers import Integral

from tspsim.files.errors import UserError
from tspsim.files.units import quantity


def check_whole(name: str, value: object, least: int = 1, most: int | None = None) -> None:
    """Raise unless something is a whole number within bounds, or None: not stated.

    Raises
    ------
    UserError
        With the name of the option, what was found and what is allowed.
    """
    highest = float("inf") if most is None else most
    if value is None or (isinstance(value, Integral) and least <= int(value) <= highest):
        return
    allowed = f"of at least {least}" if most is None else f"from {least} to {most:,}"
    raise UserError(f"{name}: found {value!r}; must be a whole number {allowed}")


def read_positive(name: str, text: str, unit: str) -> float:
    """Return a quantity of which there must be some, in `unit`: a limit, a rate.

    Raises
    ------
    UserError
        With the name of the option, what was found and what is allowed.
    """
    try:
        read = quantity(text, unit)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from None
    if read <= 0:
        raise UserError(f"{name}: found '{text}'; must be more than 0 {unit}")
    return read
