"""The values of an axis: lists, ranges, spans to sample from; and what they mean as numbers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from tspsim.files.errors import ScenarioError, UserError
from tspsim.files.source import parse
from tspsim.files.units import quantity, to_text

#: Units that a quantity may have, as `tspsim.files.units.quantity` names them.
UNITS = ("B", "B/s", "s", "FLOP/s", "FLOP", "W", "$/hour")
#: The unit of a relative value, ``"x0.5"``.
TIMES = "x"

_CALL = re.compile(r"\s*(range|log|between)\((.*)\)\s*", re.DOTALL)
_RELATIVE = re.compile(r"x((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
#: A range longer than this is a slip of the finger.
MOST_VALUES = 100_000


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of values to draw samples from.

    Parameters
    ----------
    low, high : float
        In SI units; both belong to it.
    log : bool
        Whether samples are even in the logarithm.
    unit : str
        As in `UNITS`, `TIMES`, or empty for plain numbers.
    whole : bool
        Whether values are integers.
    """

    low: float
    high: float
    log: bool
    unit: str
    whole: bool

    def at(self, fraction: float) -> Any:
        """Return the value at a fraction between 0 and 1, with six significant digits."""
        if self.log:
            value = self.low * (self.high / self.low) ** fraction
        else:
            value = self.low + (self.high - self.low) * fraction
        return written(round(value) if self.whole else float(f"{value:.6g}"), self.unit)

    def text(self) -> str:
        """Return it as it is written in a study."""
        ends = ", ".join(str(written(v, self.unit)) for v in self._ends())
        return f"{'log' if self.log else 'between'}({ends})"

    def _ends(self) -> tuple[float, float]:
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


def read(text: str) -> tuple[Any, ...] | Span:
    """Return the values that a text lists: ``1,2``, ``range(a, b, step)``, ``log(a, b, n)``...

    ``a,...,b`` doubles from a to b. ``log(a, b)`` and ``between(a, b)`` are spans for samples.

    Raises
    ------
    ValueError
        When it cannot be read.
    """
    call = _CALL.fullmatch(text)
    if call:
        return _called(call[1], [_number_of(piece) for piece in pieces(call[2])])
    found = [piece.strip() for piece in pieces(text)]
    if "..." in found:
        return _doubled(found)
    if not all(found):
        raise ValueError("a value between two commas is missing")
    return tuple(_plain(piece) for piece in found)


def of(value: Any) -> tuple[Any, ...] | Span:
    """Return the values that a study file's entry means: a list, a text as `read`, or one value."""
    if isinstance(value, str) and _CALL.fullmatch(value):
        return read(value)
    if isinstance(value, list):
        if not value:
            raise ValueError("the list is empty")
        return tuple(value)
    return (value,)


def pieces(text: str) -> list[str]:
    """Return a text cut at the commas that stand in no bracket and no quotes."""
    found, start, closing, quote = [], 0, "", ""
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'" and not text[start:index].strip():
            quote = letter
        elif letter in _CLOSING:
            closing = _CLOSING[letter] + closing
        elif closing and letter == closing[0]:
            closing = closing[1:]
        elif letter == "," and not closing:
            found.append(text[start:index])
            start = index + 1
    return [*found, text[start:]]


def _plain(text: str) -> Any:
    try:
        return parse(text, "").data
    except ScenarioError:
        raise ValueError(f"'{text}' is no value") from None


def _number_of(text: str) -> tuple[float, str]:
    found = number(_plain(text.strip()) if text.strip() else "")
    if found is None:
        raise ValueError(f"'{text.strip()}' is no number or quantity")
    return found


def _called(name: str, arguments: list[tuple[float, str]]) -> tuple[Any, ...] | Span:
    """Return what ``name(arguments)`` stands for."""
    forms = {"range": (3,), "log": (2, 3), "between": (2,)}
    if len(arguments) not in forms[name]:
        shown = "range(a, b, step), log(a, b, n), or log(a, b) and between(a, b) for samples"
        raise ValueError(f"{name} with {len(arguments)} values; write {shown}")
    ends = arguments[:2]
    units = {unit for _, unit in (arguments if name == "range" else ends)}
    if len(units) > 1:
        raise ValueError(f"{name} mixes units: {', '.join(sorted(map(repr, units)))}")
    (low, unit), (high, _) = ends
    whole = all(isinstance(value, int) for value, _ in arguments) and not unit
    if name == "range":
        return _range(low, high, arguments[2][0], unit)
    if name == "log" and min(low, high) <= 0:
        raise ValueError("log needs two ends above 0")
    if len(arguments) == 2:
        if not low < high:
            raise ValueError("the first end must be the smaller one")
        return Span(low, high, name == "log", unit, whole)
    return _log(low, high, arguments[2], unit)


def _range(low: float, high: float, step: float, unit: str) -> tuple[Any, ...]:
    """Return low, low + step... up to and including high."""
    if step <= 0 or high < low:
        raise ValueError("range goes up: a <= b, and a step above 0")
    count = math.floor((high - low) / step * (1 + 1e-12) + 1e-9) + 1
    if count > MOST_VALUES:
        raise ValueError(f"range has {count:,} values; at most {MOST_VALUES:,}")
    whole = all(isinstance(value, int) for value in (low, high, step))
    values = (low + i * step for i in range(count))
    return tuple(written(v if whole else float(f"{v:.12g}"), unit) for v in values)


def _log(low: float, high: float, count: tuple[float, str], unit: str) -> tuple[Any, ...]:
    """Return n values from low to high, every one the same times larger than the one before."""
    n, of_what = count
    if not isinstance(n, int) or of_what or not 2 <= n <= MOST_VALUES:
        raise ValueError("log(a, b, n): n is how many values, 2 or more")
    whole = isinstance(low, int) and isinstance(high, int) and not unit
    values = [low * (high / low) ** (i / (n - 1)) for i in range(n - 1)] + [high]
    return tuple(written(round(v) if whole else float(f"{v:.6g}"), unit) for v in values)


def _doubled(found: Sequence[str]) -> tuple[Any, ...]:
    """Return a, 2a, 4a... b for ``a,...,b``."""
    if len(found) != 3 or found[1] != "...":
        raise ValueError("write a,...,b for doubling from a to b, or log(a, b, n)")
    (low, unit), (high, other) = _number_of(found[0]), _number_of(found[2])
    if unit != other or not 0 < low <= high:
        raise ValueError(f"{','.join(found)}: two positive ends of one unit, smaller first")
    steps = round(math.log2(high / low))
    if low * 2**steps != high:
        raise ValueError(f"doubling {found[0]} does not lead to {found[2]}")
    return tuple(written(low * 2**i, unit) for i in range(steps + 1))


def written(value: float, unit: str) -> Any:
    """Return a number as a scenario has it: plain, or a text with its unit."""
    if unit == TIMES:
        return f"x{value:.12g}"
    return to_text(value, unit) if unit else value


@cache
def _measured(text: str) -> tuple[float, str] | None:
    relative = _RELATIVE.fullmatch(text)
    if relative:
        return float(relative[1]), TIMES
    if not re.match(r"\s*[+-]?\.?\d", text):
        return None
    for unit in UNITS:
        try:
            return quantity(text, unit), unit
        except ValueError:
            continue
    return None


def number(value: Any) -> tuple[float, str] | None:
    """Return a value as a number in SI units, and its unit; None when it is no number.

    Examples
    --------
    >>> number("64 GB/s")
    (64000000000.0, 'B/s')
    >>> number("x0.5"), number(8192), number("tsp")
    ((0.5, 'x'), (8192, ''), None)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value, ""
    return _measured(value) if isinstance(value, str) else None


def text_of(value: Any) -> str:
    """Return a value as the right-hand side of an override, which YAML reads back as equal."""
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=10_000)
def _quoted(text: str) -> str:
    """Return a text as it is where YAML reads it as itself, and in quotes elsewhere."""
    try:
        plain = parse(text, "").data == text
    except ScenarioError:
        plain = False
    return text if plain and text.strip() == text else json.dumps(text)


def label(value: Any) -> str:
    """Return a value as people read it in a table."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key}: {label(v)}" for key, v in value.items())
        return f"{{{inner}}}"
    return value if isinstance(value, str) else json.dumps(value)


def checked(key: str, shown: str, reader: Callable[[], Any]) -> Any:
    """Return what a reader gives; its ValueError becomes a message that names the axis."""
    try:
        return reader()
    except ValueError as error:
        raise UserError(f"axis '{key}={shown}': {error}") from None
