"""The JSON that nccl-tests writes with ``-J FILE``: version 2 of its form.

Booleans are the texts ``"true"`` and ``"false"``, what is no number is ``"nan"``, and where nothing
was measured out of place ``out_of_place`` is null. Of ``config.devices`` there is one a process.
"""

from __future__ import annotations

from typing import Any

from tspsim.calibrate.imports.nccl_runs import Found, Row, kind, members, row
from tspsim.files.errors import UserError
from tspsim.files.reading import UnreadableError, parse_json

#: The one version of the form that is known; `_LAST` is the key that a whole run ends with.
VERSION, _LAST = 2, "average_bus_bandwidth"


def read(text: str, name: str) -> Found:
    """Return what a file says.

    Raises
    ------
    UserError
        With the key of what nccl-tests does not write, of another version, and of a cut.
    """
    try:
        data = parse_json(text, name)
    except UnreadableError as error:
        raise UserError(f"{error}; was the file cut? run nccl-tests to its end") from None
    _check(data, name)
    try:
        program = str(data["args"][0]) if data.get("args") else ""
        rows = [_row(found, f"{name}: results.{i}", i) for i, found in enumerate(data["results"])]
        ranks = _ranks(data.get("config", {}), f"{name}: config.devices")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        told = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: not the JSON that nccl-tests writes with -J ({told})") from None
    return Found(kind(program, f"{name}: args") if program else None, ranks, rows)


def _check(data: dict[str, Any], name: str) -> None:
    """Raise unless it is a whole run without errors, in the version that is known."""
    found = data.get("version")
    if found != VERSION:
        told = f"found {found!r}" if "version" in data else "there is none"
        raise UserError(
            f"{name}: version: {told}; {VERSION} is known here, which nccl-tests 2.17 writes: "
            "give what it prints instead"
        )
    if "results" in data and _LAST not in data:
        told = f"there is no '{_LAST}', so the run was cut"
        raise UserError(f"{name}: {told}; run nccl-tests to its end")
    bounds = data.get("out_of_bounds")
    if isinstance(bounds, dict) and bounds.get("okay") == "false":
        told = f"{bounds.get('count')} wrong values: what is timed does not work"
        raise UserError(f"{name}: out_of_bounds.count: {told}")


def _row(result: dict[str, Any], place: str, index: int) -> Row:
    """Return a row: what was measured out of place, if it was."""
    blocks = {key: result[key] for key in ("out_of_place", "in_place") if result.get(key)}
    which = next(iter(blocks), "in_place")
    block = result[which]
    if "time" not in block and "cpu_time" in block:
        raise UserError(f"{place}.{which}.cpu_time: is the host's time; run it without '-C 1'")
    wrong = sum(_number(each.get("nwrong")) for each in blocks.values())
    return row(f"{place}.{which}.time", f"result {index}", result["size"], block["time"], wrong)


def _number(value: Any) -> float:
    """Return a number; 0 of what was not counted."""
    return 0.0 if value in (None, "nan") else float(value)


def _ranks(config: dict[str, Any], place: str) -> int:
    """Return how many ranks a collective has; 0: the file does not say it.

    Every process has so many threads with so many devices each, and is listed once, by its first.
    """
    devices = config.get("devices", [])
    local = int(config.get("nthreads", 1)) * int(config.get("ngpus", 1))
    numbers = [int(device["rank"]) for device in devices]
    if numbers == list(range(len(numbers))) and len(numbers) > 1:
        local = 1  # every one is listed
    elif numbers != list(range(0, local * len(numbers), local)):
        told = f"ranks {', '.join(map(str, numbers))} with {local} a process"
        raise UserError(f"{place}: mixed numbers of ranks ({told}); was the file put together?")
    return local * members([int(device.get("group", 0)) for device in devices], place)
