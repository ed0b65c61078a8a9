"""The files of a trace: one a rank, as ``torch.profiler`` exports them, plain or gzipped."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tspsim.files.errors import UserError
from tspsim.files.reading import (
    STORED,
    UnreadableError,
    is_file,
    is_folder,
    parse_json,
    read_bytes,
    read_text,
)

#: Bytes of an unpacked trace that are read at most.
MOST = 2**30

#: What names of such files end in.
SUFFIXES = (".json", ".json.gz")

#: How a trace begins, after what may stand before its events.
_KEYS = re.compile(r'"(?:traceEvents|schemaVersion|deviceProperties|distributedInfo|ph)"')
_HEAD = 2**16

#: What PyTorch up to 1.12 called the categories.
_OLD = {
    "Kernel": "kernel", "Runtime": "cuda_runtime", "Operator": "cpu_op",
    "Memcpy": "gpu_memcpy", "Memset": "gpu_memset",
}  # fmt: skip

#: How an event begins.
_EVENT = re.compile(r'"ph"\s*:')

#: Nanoseconds: 30,000 years, and no number that a float cannot hold.
_LATEST = 10**21

_RANK = re.compile(r"rank[-_.]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one rank's file holds.

    Parameters
    ----------
    name : str
        Of the file.
    rank, world : int or None
        Of whom it is, and of how many; None: it does not say.
    backend : str
        What its collectives run on; empty: it does not say.
    host : str
        The machine whose clock it is; empty: it does not say.
    base : float
        Seconds that its times count from; of a run's traces, since those of its first file.
    events : list of dict
        As they stand there, microseconds.
    """

    name: str
    rank: int | None
    world: int | None
    backend: str
    host: str
    base: float
    events: list[dict[str, Any]]


def is_trace(name: str | Path) -> bool:
    """Whether something is a trace, or a folder of traces, going by its name and how it begins."""
    path = Path(name)
    if is_folder(path):
        return not is_file(path / "result.json") and bool(_within(path))
    if path.name.endswith(".json.gz"):
        return True  # nothing else is called so: where there is no such file, reading it says so
    if not path.name.endswith(SUFFIXES) or path.name == "result.json" or not is_file(path):
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD).decode("utf-8", "replace")
    return not head.strip() or _KEYS.search(head) is not None


def read(path: Path) -> Trace:
    """Return what a file holds.

    Raises
    ------
    UserError
        When it is no trace, or was cut.
    """
    name = str(path)
    data = _data(path, name)
    events = data.get("traceEvents") if isinstance(data, dict) else None
    if not isinstance(events, list):
        raise UserError(f"{name}: no trace of torch.profiler: it has no list 'traceEvents'")
    for place, event in enumerate(events, start=1):
        if not isinstance(event, dict):
            raise UserError(f"{name}: event {place}: found {event!r}; an event is an object")
        if isinstance(cat := event.get("cat", ""), str):  # others are told where they are read
            event["cat"] = _OLD.get(cat, cat)
    about = data.get("distributedInfo")
    about = about if isinstance(about, dict) else {}
    base = data.get("baseTimeNanoseconds", 0)
    return Trace(
        name, _number(about, "rank", name), _number(about, "world_size", name),
        str(about.get("backend", "")), str(data.get("host_name", "")),
        base * 1e-9 if isinstance(base, int) and abs(base) < _LATEST else 0.0, events,
    )  # fmt: skip


def _data(path: Path, name: str) -> Any:
    text = _unpacked(path, name) if path.name.endswith(".gz") else read_text(path, most=MOST)
    try:
        return parse_json(text, name)
    except UnreadableError as error:
        if "not valid JSON" not in str(error):
            raise
        event = len(_EVENT.findall(text))
        told = f"in event {event}; was it cut? a trace is whole when export_chrome_trace returns"
        raise UserError(f"{error}, {told}") from None


def _unpacked(path: Path, name: str) -> str:
    packed = io.BytesIO(read_bytes(path, most=STORED))
    try:
        with gzip.open(packed) as file:
            found = file.read(MOST + 1)
    except (EOFError, OSError, zlib.error) as error:
        told = f"cannot be unpacked ({error}): was it cut?"
        raise UserError(f"{name}: {told} export it again") from None
    if len(found) > MOST:
        raise UserError(f"{name}: unpacked it is longer than {MOST >> 20} MiB; record less")
    return found.decode("utf-8", "replace")


def _number(about: dict[str, Any], key: str, name: str) -> int | None:
    found = about.get(key)
    if found is None or (isinstance(found, int) and found >= 0):
        return found
    raise UserError(f"{name}: distributedInfo.{key}: found {found!r}; a number is expected")


def read_all(places: Sequence[str | Path]) -> tuple[Trace, ...]:
    """Return the traces of a run, one a rank, in the order of ranks.

    Parameters
    ----------
    places : sequence of str or Path
        Files, and folders of files.

    Raises
    ------
    UserError
        When there are none, a file says no rank, or files are not of one run.
    """
    paths = [path for place in places for path in _files(Path(place))]
    if not paths:
        raise UserError("no traces: name the files of a run, one a rank, or a folder of them")
    found = [_ranked(read(path), alone=len(paths) == 1) for path in paths]
    known: dict[int, Trace] = {}
    for trace in found:
        assert trace.rank is not None
        other = known.setdefault(trace.rank, trace)
        if other is not trace:
            told = f"is of rank {trace.rank}, and so is {other.name}"
            raise UserError(f"{trace.name}: {told}: give the files of one run, one a rank")
        _check_world(trace, found[0])
    first = found[0].base
    return tuple(replace(known[rank], base=known[rank].base - first) for rank in sorted(known))


def _files(place: Path) -> list[Path]:
    if not is_folder(place):
        return [place]
    found = _within(place)
    if not found:
        raise UserError(f"{place}: no trace in it: files end in {' or '.join(SUFFIXES)}")
    return found


def _within(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.endswith(SUFFIXES) and is_file(p))


def _ranked(trace: Trace, *, alone: bool) -> Trace:
    """Return a trace with its rank: what it says, or its file's name; alone it is rank 0's."""
    named = _RANK.search(Path(trace.name).name)
    told = int(named[1]) if named else 0 if alone else None
    rank = trace.rank if trace.rank is not None else told
    if rank is None:
        raise UserError(
            f"{trace.name}: says no rank (distributedInfo.rank), and there are other files: "
            "name it as rank0.json is"
        )
    if trace.world is not None and rank >= trace.world:
        told_world = f"distributedInfo: rank {rank} of a run of {trace.world} ranks"
        raise UserError(f"{trace.name}: {told_world}; ranks are numbered from 0")
    return replace(trace, rank=rank)


def _check_world(trace: Trace, first: Trace) -> None:
    if trace.world != first.world:
        mine, its = (
            f"{each.world} ranks" if each.world is not None else "a run that it does not describe"
            for each in (trace, first)
        )
        raise UserError(
            f"{trace.name}: distributedInfo: is of {mine}, {first.name} of {its}: mixed runs; give "
            "the files of one run"
        )


def numbered(events: Sequence[dict[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the events that last, with their numbers in the file, from 1."""
    for place, event in enumerate(events, start=1):
        if event.get("ph") == "X":
            yield place, event
