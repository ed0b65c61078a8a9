"""Whole numbers that Python states where the command line has options with bounds."""

from __future__ import annotations

from numbers import Integral

from tspsim.files.errors import UserError


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
