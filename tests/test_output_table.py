"""The table on stdout."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from tests import small_result
from tspsim.output import units
from tspsim.output.table import render


def printed(result: Any, width: int = 80, **options: Any) -> str:
    """Return what a terminal of a width shows."""
    file = io.StringIO()
    Console(file=file, width=width, **options).print(render(result))
    return file.getvalue()


def line(text: str, start: str) -> str:
    """Return the one line that starts with some words, its blanks reduced to one."""
    (found,) = (each for each in text.splitlines() if each.startswith(start))
    return " ".join(found.split())


def changed(**memory: Any) -> Any:
    """Return the real tiny result with other figures of memory in its summary."""
    base = small_result.real()
    figures = base.summary.to_dict()
    figures["memory"] |= memory
    return SimpleNamespace(
        scenario=base.scenario, timeline=base.timeline, memory=base.memory,
        summary=SimpleNamespace(to_dict=lambda: figures),
    )  # fmt: skip


def test_the_table_says_where_the_time_goes() -> None:
    """The parts of the step stand under it with their shares."""
    text = printed(small_result.result())
    assert line(text, "step time") == "step time 15.80 ms error unknown"
    assert line(text, "  compute").startswith("compute 12.64 ms 80.0 %")
    assert line(text, "  exposed communication").startswith("exposed communication 2.370 ms 15.0 %")
    assert line(text, "MFU / HFU") == "MFU / HFU 43.1 % / 52.0 %"


@pytest.mark.parametrize("kind", ["tsp", "tp", "sp", "tp_sp"])
def test_the_table_fits_80_columns_and_cuts_nothing(kind: str) -> None:
    """No line is wider than a terminal, and none ends in an ellipsis."""
    lines = printed(small_result.real(kind)).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in each for each in lines)


def test_a_pipe_gets_no_colours() -> None:
    """Escape sequences are for terminals; and NO_COLOR keeps colours from those too."""
    assert "\x1b" not in printed(small_result.real())
    plain = printed(small_result.real(), force_terminal=True, no_color=True)
    assert "\x1b[32m" not in plain
    assert "\x1b[32m" in printed(small_result.real(), force_terminal=True, color_system="standard")


def test_memory_that_fits_says_how_much_is_left() -> None:
    """Headroom stands beside the peak."""
    text = printed(changed(peak=100 * 2**30, capacity=192 * 2**30, fits=True))
    assert line(text, "peak memory") == "peak memory 100.0 GiB 52.1 % of 192.0 GiB capacity"
    assert "fits, 92.0 GiB to spare" in text


def test_memory_that_does_not_fit_says_by_how_much_and_what_fills_it() -> None:
    """The largest buffers at the peak are named, those of one name added up."""
    peak = small_result.real().summary.to_dict()["memory"]["peak"]
    text = printed(changed(capacity=peak - 2**20, fits=False))
    assert "DOES NOT FIT: 1.00 MiB too much" in text
    listed = text.split("largest at the peak:\n")[1].splitlines()[0]
    assert " x " in listed
    assert listed.strip().split()[-1] == "optimizer"


def test_what_a_time_rests_on_is_said_even_if_unknown() -> None:
    """Whoever reads a time sees what it rests on."""
    base = small_result.result()
    assert "times from profile datasheet: error unknown" in printed(base)
    base.summary.to_dict()["interval"] = {
        "low": 0.0141, "high": 0.0189, "coverage": 0.8, "rows": 16, "sources": 3, "borrowed": False,
        "experts": False,
    }  # fmt: skip
    text = printed(base)
    assert "times from profile datasheet: interval by 16 published steps of 3 sources" in text
    assert line(text, "step time") == "step time 15.80 ms 80 %: 14.1 to 18.9 ms"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"), (2e-7, "0.200 µs"), (5e-5, "50.00 µs"), (1.5e-3, "1.500 ms"),
        (1.2345, "1,234.5 ms"), (75.0, "75.00 s"),
    ],
)  # fmt: skip
def test_times_get_a_unit_that_suits_them(seconds: float, text: str) -> None:
    """From fractions of a microsecond to minutes."""
    assert units.time(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0 B"), (100, "100 B"), (2048, "2.00 KiB"), (38.8 * 2**30, "38.8 GiB")],
)
def test_sizes_get_a_binary_unit(amount: float, text: str) -> None:
    """Memory is counted in powers of two."""
    assert units.size(amount) == text


@pytest.mark.parametrize(
    ("rate", "text"),
    [(3.35e12, "3.35 TB/s"), (1e11, "0.1 TB/s"), (9.9e10, "99 GB/s"), (4.92e8, "0.492 GB/s")],
)
def test_rates_of_bytes_have_the_unit_that_suits_them(rate: float, text: str) -> None:
    """From a tenth of a terabyte a second on it is TB/s, below it GB/s."""
    assert units.byte_rate(rate) == text
