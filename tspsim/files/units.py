"""Quantities with units: text outside, plain SI floats inside.

A quantity is a number and a unit, ``"900 GB/s"``. The unit is mandatory wherever a number means
something physical, because a factor of 8 (bits) or of 1.07 (GB against GiB) is the commonest
error in such files. ``GB`` is 1e9 bytes, ``GiB`` is 2**30. Parsing is decimal, so ``"5 us"`` is
exactly the float 5e-06 and what `to_text` prints reads back as the same float.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    import pint

# pint's own registry reads "Gb" as gilbert (magnetics) and a bare "3" as bits, so tspsim defines
# the few units of the field itself and refuses everything else.
_DEFINITIONS = (
    "peta- = 1e15 = P-",
    "tera- = 1e12 = T-",
    "giga- = 1e9 = G-",
    "mega- = 1e6 = M-",
    "kilo- = 1e3 = k-",
    "milli- = 1e-3 = m-",
    "micro- = 1e-6 = µ- = μ- = u-",
    "nano- = 1e-9 = n-",
    "pico- = 1e-12 = p-",
    "tebi- = 1099511627776 = Ti-",
    "gibi- = 1073741824 = Gi-",
    "mebi- = 1048576 = Mi-",
    "kibi- = 1024 = Ki-",
    "byte = [information] = B",
    "bit = byte / 8",
    "second = [time] = s",
    "minute = 60 * second = min",
    "hour = 3600 * second = h",
    "day = 86400 * second = d",
    "flop = [operation] = FLOP",
    "watt = [power] = W",
    "dollar = [currency] = USD",
)

#: What to write for every unit that tspsim uses, and the unit of the example.
_EXAMPLES = {
    "B": "GiB", "B/s": "GB/s", "s": "us", "FLOP": "TFLOP", "FLOP/s": "TFLOP/s", "W": "W",
    "$/hour": "$/hour",
}  # fmt: skip

#: No quantity of the field is larger in its unit, nor smaller than one over it: what is would
#: make infinite times, or none.
LARGEST = Decimal("1e24")
#: The least fraction of a speed that still is one: times stay finite.
LEAST_SHARE = 1e-9

_MEANINGS = {
    "[information]": "a size",
    "[information] / [time]": "a data rate",
    "[time]": "a time",
    "[operation]": "an amount of operations",
    "[operation] / [time]": "a compute rate",
    "[power]": "a power",
    "[currency] / [time]": "a price per time",
    "[currency]": "a price",
}

_QUANTITY = re.compile(
    r"\s*(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>[^\s\d.+-].*?)?\s*"
)
_UNIT = re.compile(r"[A-Za-zµμ$]+(/[A-Za-z]+)?")
_BITS = re.compile(r"([kKmMgGtTpP]?)i?b(/s|ps)?")
_PER_SECOND = re.compile(r"([kKmMgGtTpP]?)(i?B|FLOP|FLOPS|flop|flops)(ps|S|s)?")


@cache
def _common() -> dict[tuple[str, str], Decimal]:
    """Return how much of a unit is one of what files mostly say; for the rest pint is asked."""
    defined = [line.split(" = ") for line in _DEFINITIONS if "- = " in line]
    prefixes = {name[:-1]: Decimal(size) for _, size, *names in defined for name in names}
    plain = (("B", "B", 1), ("bit", "B", 8), ("s", "s", 1), ("FLOP", "FLOP", 1))
    return {
        (f"{prefix}{found}{per}", f"{unit}{per}"): size / parts
        for prefix, size in ({"": Decimal(1)} | prefixes).items()
        for found, unit, parts in plain
        for per in ("", "/s")
    }


@cache
def _registry() -> pint.UnitRegistry[Any]:
    import pint  # a quarter of a second: only when a file with quantities is read

    registry: pint.UnitRegistry[Any] = pint.UnitRegistry(None, non_int_type=Decimal)
    for line in _DEFINITIONS:
        registry.define(line)
    return registry


def quantity(text: object, unit: str) -> float:
    """Return a quantity as a float in `unit`.

    Parameters
    ----------
    text : str
        A number and a unit: ``"900 GB/s"``, ``"80 GiB"``, ``"400 Gbit/s"``, ``"5 us"``.
    unit : str
        What it must measure, in SI: ``"B"``, ``"B/s"``, ``"s"``, ``"FLOP/s"``, ``"W"`` or
        ``"$/hour"``.

    Raises
    ------
    ValueError
        When it is not a text, has no unit, an unknown one, or one that measures something else.

    Examples
    --------
    >>> quantity("400 Gbit/s", "B/s")
    50000000000.0
    """
    example = _EXAMPLES.get(unit, unit)
    if not isinstance(text, str):
        if isinstance(text, int | float) and not isinstance(text, bool):
            text = f"{text:g}" if isinstance(text, float) else str(text)
        else:
            raise _refused(repr(text), unit, f"write for example '1 {example}'")
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise _refused(text, unit, f"it is no number with a unit; write for example '1 {example}'")
    number, found = match["number"], match["unit"]
    if not found:
        raise _refused(text, unit, f"it has no unit; write for example '{number} {example}'")
    return _convert(text, number, found, unit)


def _convert(text: str, number: str, found: str, unit: str) -> float:
    factor = _common().get((found, unit))
    try:
        exact = Decimal(number) * factor if factor else _by_pint(text, number, found, unit)
    except ArithmeticError:  # beyond what even a decimal holds
        raise _refused(text, unit, "it is too large") from None
    if abs(exact) > LARGEST:
        raise _refused(text, unit, "it is too large")
    if 0 < abs(exact) < 1 / LARGEST:
        raise _refused(text, unit, "it is too small")
    return float(exact)


def _by_pint(text: str, number: str, found: str, unit: str) -> Decimal:
    import pint

    registry, example = _registry(), f"'{number} {_EXAMPLES.get(unit, unit)}'"
    if not _UNIT.fullmatch(found):
        raise _refused(text, unit, f"'{found}' is no unit; write for example {example}")
    try:
        value = registry.Quantity(Decimal(number), found.replace("$", "dollar"))
        exact: Decimal = value.to(unit.replace("$", "dollar")).magnitude
    except pint.UndefinedUnitError:
        raise _refused(text, unit, _hint(found, example)) from None
    except pint.DimensionalityError:
        meaning = _MEANINGS.get(str(value.dimensionality), "something else")
        raise _refused(text, unit, f"found {meaning}; write for example {example}") from None
    return exact


def _refused(text: str, unit: str, why: str) -> ValueError:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    return ValueError(f"'{shown}' is not a quantity in {unit} ({why})")


def _hint(found: str, example: str) -> str:
    """Say what an unknown unit was probably meant to be."""
    if bits := _BITS.fullmatch(found):
        prefix, per = _upper(bits[1]), "/s" if bits[2] else ""
        return f"'{found}' is unclear: write {prefix}bit{per} for bits, {prefix}B{per} for bytes"
    if found[:1] == "K" and found[1:2] != "i":
        return f"unknown unit '{found}': write k for 1000 or Ki for 1024"
    if rate := _PER_SECOND.fullmatch(found):
        noun = rate[2] if "B" in rate[2] else "FLOP"
        return f"unknown unit '{found}': write {_upper(rate[1])}{noun}/s"
    return f"unknown unit '{found}'; write for example {example}"


def _upper(prefix: str) -> str:
    return "k" if prefix in ("k", "K") else prefix.upper()


def to_text(value: float, unit: str) -> str:
    """Return a quantity as text that `quantity` reads back as exactly the same float.

    Examples
    --------
    >>> to_text(450e9, "B/s")
    '450 GB/s'
    >>> to_text(80 * 2**30, "B")
    '80 GiB'
    """
    if unit == "B" and value and value % 2**20 == 0:
        power = 30 if value % 2**30 == 0 else 20
        return f"{int(value) >> power} {'GiB' if power == 30 else 'MiB'}"
    exact = Decimal(repr(float(value)))
    if unit in ("$/hour", "W") or not exact:
        return f"{_plain(exact)} {unit}"
    choices = _prefixes(unit)
    fitting = (choice for choice in choices if abs(exact.scaleb(-choice[1])) >= 1)
    prefix, power = next(fitting, choices[-1])
    return f"{_plain(exact.scaleb(-power))} {prefix}{unit}"


def _prefixes(unit: str) -> tuple[tuple[str, int], ...]:
    if unit == "s":
        return (("", 0), ("m", -3), ("u", -6), ("n", -9))
    return (("P", 15), ("T", 12), ("G", 9), ("M", 6), ("k", 3), ("", 0))


def _plain(number: Decimal) -> str:
    text = f"{number.normalize():f}"
    return text if len(text) <= 25 else f"{number.normalize():e}"


def format_bytes(size: float) -> str:
    """Return a size for people, in GiB, MiB, KiB or B: ``"31.0 GiB"``."""
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(size) >= scale:
            return f"{_three(size / scale)} {unit}"
    return f"{size:.0f} B"


def _three(value: float) -> str:
    """Return a number with three significant digits, without an exponent."""
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{min(digits, 2)}f}"


@dataclass(frozen=True, slots=True)
class Physical:
    """Makes a pydantic float field read a quantity with a unit, and write one as JSON.

    Parameters
    ----------
    unit : str
        As in `quantity`.
    """

    unit: str

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Read text before the float is checked; write text that reads back exactly."""
        write = core_schema.plain_serializer_function_ser_schema(
            lambda value: to_text(value, self.unit),
            return_schema=core_schema.str_schema(),
            when_used="json",
        )
        return core_schema.no_info_before_validator_function(
            self._read, handler(source), serialization=write
        )

    def _read(self, value: Any) -> float:
        try:
            return quantity(value, self.unit)
        except ValueError as error:
            text = {"problem": str(error)}
            raise PydanticCustomError("quantity", "{problem}", text) from None

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Describe the field to editors as text with an example."""
        example = f"1 {_EXAMPLES.get(self.unit, self.unit)}"
        text = f"A number and a unit, for example '{example}'"
        return {"type": "string", "description": text, "examples": [example]}


Bytes = Annotated[float, Field(ge=0), Physical("B")]
BytesPerSecond = Annotated[float, Field(gt=0), Physical("B/s")]
Seconds = Annotated[float, Field(ge=0), Physical("s")]
FlopRate = Annotated[float, Field(gt=0), Physical("FLOP/s")]
Price = Annotated[float, Field(ge=0), Physical("$/hour")]
