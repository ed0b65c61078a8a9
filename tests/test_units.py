"""Quantities: what is read, what is refused and why, and what is printed."""

from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tspsim.files import units


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("900 GB/s", "B/s", 900e9),
        ("900GB/s", "B/s", 900e9),
        ("400 Gbit/s", "B/s", 50e9),
        ("1.5 TB/s", "B/s", 1.5e12),
        ("80 GB", "B", 80e9),
        ("80 GiB", "B", 80 * 2**30),
        ("64 KiB", "B", 65536),
        ("64 kB", "B", 64e3),
        ("12 B", "B", 12),
        ("5 us", "s", 5e-6),
        ("5 µs", "s", 5e-6),
        ("5 μs", "s", 5e-6),
        ("500 ns", "s", 500e-9),
        ("1e-6 s", "s", 1e-6),
        ("2 min", "s", 120),
        ("989.4 TFLOP/s", "FLOP/s", 989.4e12),
        ("1.3 PFLOP/s", "FLOP/s", 1.3e15),
        ("700 W", "W", 700),
        ("1.99 $/hour", "$/hour", 1.99),
        ("1.99 $/h", "$/hour", 1.99),
    ],
)
def test_quantity_is_read_exactly(text: str, unit: str, value: float) -> None:
    """Parsing is decimal: the float is the one that Python writes for the number."""
    assert units.quantity(text, unit) == value


@pytest.mark.parametrize(
    ("text", "unit", "reason"),
    [
        ("900 GB", "B/s", "found a size; write for example '900 GB/s'"),
        ("900 GB/s", "B", "found a data rate; write for example '900 GiB'"),
        ("5 FLOP", "FLOP/s", "found an amount of operations; write for example '5 TFLOP/s'"),
        ("900", "B/s", "it has no unit; write for example '900 GB/s'"),
        (900, "B/s", "it has no unit; write for example '900 GB/s'"),
        (5e-6, "s", "it has no unit; write for example '5e-06 us'"),
        (True, "s", "write for example '1 us'"),
        (None, "s", "write for example '1 us'"),
        ("400 Gb/s", "B/s", "write Gbit/s for bits, GB/s for bytes"),
        ("400 Gbps", "B/s", "write Gbit/s for bits, GB/s for bytes"),
        ("80 gb", "B", "write Gbit for bits, GB for bytes"),
        ("80 KB", "B", "write k for 1000 or Ki for 1024"),
        ("900 GBps", "B/s", "write GB/s"),
        ("989 TFLOPS", "FLOP/s", "write TFLOP/s"),
        ("3 parsecs", "s", "unknown unit 'parsecs'"),
        ("fast", "B/s", "it is no number with a unit"),
        ("nan B", "B", "it is no number with a unit"),
        ("3 GB/s/s", "B/s", "'GB/s/s' is no unit"),
        ("2 ** 9 B", "B", "is no unit"),
        ("1e400 B", "B", "it is too large"),
        ("1e999999 GB", "B", "it is too large"),
        ("1e99999999999999999999 GB", "B", "it is too large"),
        ("9" * 500, "B", "it has no unit"),
    ],
)
def test_refusal_says_what_was_found_and_what_to_write(text: Any, unit: str, reason: str) -> None:
    """A wrong quantity is refused with a message that names the unit and helps."""
    with pytest.raises(ValueError, match="is not a quantity in") as error:
        units.quantity(text, unit)
    assert reason in str(error.value)
    assert f"a quantity in {unit} (" in str(error.value)


@settings(deadline=None)
@given(
    st.floats(min_value=1e-15, max_value=1e18) | st.integers(0, 10**15).map(float),
    st.sampled_from(["B", "B/s", "s", "FLOP/s", "W", "$/hour"]),
)
def test_printed_quantity_reads_back_as_the_same_float(value: float, unit: str) -> None:
    """`to_text` loses nothing, whatever prefix it chooses."""
    assert units.quantity(units.to_text(value, unit), unit) == value


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (450e9, "B/s", "450 GB/s"),
        (80 * 2**30, "B", "80 GiB"),
        (81559 * 2**20, "B", "81559 MiB"),
        (80e9, "B", "80 GB"),
        (1.9e-6, "s", "1.9 us"),
        (0.0, "s", "0 s"),
        (989.4e12, "FLOP/s", "989.4 TFLOP/s"),
        (1.99, "$/hour", "1.99 $/hour"),
    ],
)
def test_quantity_is_printed_as_people_write_it(value: float, unit: str, text: str) -> None:
    """The prefix leaves at least one digit before the point."""
    assert units.to_text(value, unit) == text


def test_sizes_for_people_are_binary_with_three_digits() -> None:
    """GiB, KiB, or plain bytes."""
    assert units.format_bytes(31 * 2**30) == "31.0 GiB"
    assert units.format_bytes(1536) == "1.50 KiB"
    assert units.format_bytes(12) == "12 B"


def test_field_reads_text_and_writes_it_as_json() -> None:
    """A pydantic field takes a quantity, refuses a bare number, and dumps what it can read."""
    field: TypeAdapter[float] = TypeAdapter(units.BytesPerSecond)
    assert field.validate_python("450 GB/s") == 450e9
    assert field.dump_python(450e9) == 450e9
    assert field.dump_json(450e9) == b'"450 GB/s"'
    assert field.json_schema()["type"] == "string"
    with pytest.raises(ValidationError, match="'450' is not a quantity in B/s"):
        field.validate_python(450)


def test_field_refuses_what_cannot_be() -> None:
    """A link without bandwidth and a negative latency are refused."""
    with pytest.raises(ValidationError, match="greater than 0"):
        TypeAdapter(units.BytesPerSecond).validate_python("0 GB/s")
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        TypeAdapter(units.Seconds).validate_python("-1 us")


@given(
    st.sampled_from(sorted(units._common())),
    st.decimals(allow_nan=False, allow_infinity=False, min_value=-1e20, max_value=1e20).map(str),
)
def test_the_short_way_for_common_units_gives_what_pint_gives(
    units_: tuple[str, str], number: str
) -> None:
    """The same float for every prefix and unit that files mostly say, to the last bit."""
    found, unit = units_
    exact = units._by_pint("", number, found, unit)
    assume(not exact or 1 / units.LARGEST <= abs(exact) <= units.LARGEST)
    assert units.quantity(f"{number} {found}", unit) == float(exact)
