"""What a picture shows, as text on the command line: a window, layers, ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tspsim.files.errors import UserError


def plot_options(given: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the keyword arguments of a plot.

    Parameters
    ----------
    given : mapping of str to str or None
        ``window``: ``"400 ms:430 ms"`` or ``"all"``; ``layers``: ``"3:4"`` or ``"3"``;
        ``ranks``: ``"0,4"``; ``rank``: ``"2"``. What is None is left to the plot.

    Raises
    ------
    UserError
        When a text cannot be read.
    """
    readers = {"window": _window, "layers": _layers, "ranks": _ranks, "rank": _whole}
    found = {}
    for name, text in given.items():
        if text is not None:
            try:
                found[name] = readers[name](text)
            except ValueError as error:
                raise UserError(f"--{name}: {error}") from None
    return found


def _window(text: str) -> tuple[float, float]:
    from tspsim.files.units import quantity

    if text.strip() == "all":
        return 0.0, math.inf
    start, colon, end = text.partition(":")
    if not colon:
        raise ValueError(f"'{text}' is not a window; write for example '400 ms:430 ms', or 'all'")
    return quantity(start.strip(), "s"), quantity(end.strip(), "s")


def _layers(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    return _whole(first), _whole(last if colon else first)


def _ranks(text: str) -> tuple[int, ...]:
    return tuple(_whole(part) for part in text.split(","))


def _whole(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(f"'{text}' is not a whole number (layers: 3:4, ranks: 0,4)")
    return int(text)
