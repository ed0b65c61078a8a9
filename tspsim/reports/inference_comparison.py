"""Inference in a comparison: what a user of the model sees, in place of one step's figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tspsim.files.numbers import plain
from tspsim.output.units import size, time
from tspsim.sweeps.candidates import Candidate
from tspsim.sweeps.speed import speed

#: Times that candidates may have, by what stands over them.
_TIMES = {"first token": "time_to_first_token", "a token": "time_per_token"}


def all_infer(found: Sequence[Candidate]) -> bool:
    """Return whether all candidates that can run do inference."""
    ran = [each.figures for each in found if each.result is not None]
    return bool(ran) and all("inference" in figures for figures in ran)


def times_of(found: Sequence[Candidate]) -> tuple[str, ...]:
    """Return over which columns of times somebody has one."""
    ran = [each.figures["inference"] for each in found if each.result is not None]
    return tuple(title for title, name in _TIMES.items() if any(one[name] for one in ran))


def titles(found: Sequence[Candidate]) -> tuple[str, ...]:
    """Return what stands over the columns of `row_of`."""
    return (*times_of(found), "tok/s", "exposed", "cache", "peak", "fits")


def row_of(each: Candidate, times: Sequence[str]) -> tuple[str, ...]:
    """Return the texts of a candidate's row, its name left out, with some columns of times."""
    figures = each.figures
    found, memory = figures["inference"], figures["memory"]
    return (
        *(_time(found, _TIMES[title]) for title in times),
        f"{speed(figures):,.0f}" if speed(figures) >= 10 else plain(speed(figures), 2),
        time(figures["time"]["exposed_communication"]),
        size(found["cache"]["bytes"]),
        size(memory["peak"]),
        "yes" if memory["fits"] else "NO",
    )


def _time(found: dict[str, Any], name: str) -> str:
    return "-" if found[name] is None else time(found[name])


def sooner(found: Sequence[Candidate], best: Candidate) -> Iterator[str]:
    """Yield which other candidate that fits is first to give a token, where one is."""
    fitting = [each for each in found if each.result is not None and each.result.fits]
    firsts = {c.name: _first(c) for c in fitting}
    mine, name = _first(best), min(firsts, key=lambda name: firsts[name] or 0.0)
    its = firsts[name]
    if mine is not None and its is not None and its < mine:
        yield f"the first token comes sooner with {name}: after {time(its)}, not {time(mine)}"


def _first(each: Candidate) -> float | None:
    """Return the time to the first token where more come behind it."""
    found = each.figures.get("inference")
    return float(found["time_to_first_token"]) if found and found["phase"] == "generate" else None
