"""Rows of nccl-tests: what it prints, and the JSON that ``-J`` writes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.calibrate.published.rows import Call
from tspsim.files.errors import UserError, did_you_mean
from tspsim.files.reading import STORED, parse_json, read_text
from tspsim.program.types import CollectiveKind

#: Fewer calls than this do not show a latency beside a bandwidth.
FEWEST = 8

#: Times of one size further apart than this factor contradict each other.
_APART = 2.0

#: What its programs measure.
PROGRAMS: dict[str, CollectiveKind] = {
    "all_reduce_perf": "all_reduce", "all_gather_perf": "all_gather",
    "reduce_scatter_perf": "reduce_scatter", "alltoall_perf": "all_to_all",
    "broadcast_perf": "broadcast", "reduce_perf": "reduce", "sendrecv_perf": "shift",
}  # fmt: skip

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_LINE = re.compile(
    rf"\s*(?P<size>\d+)\s+\d+\s+\w+\s+(?:\w+\s+-?\d+\s+)?"
    rf"(?P<time>{_NUMBER})\s+{_NUMBER}\s+{_NUMBER}\s+(?P<wrong>{_NUMBER}|N/A)\b.*"
)
_STARTS = re.compile(r"#\s*Collective test starting:\s*(\S+)")
_RANK = re.compile(r"#\s*Rank\s+(\d+)\b")

#: What the library says of itself stands between the lines.
_LOG = re.compile(r"NCCL (?:INFO|WARN|version)")


@dataclass(frozen=True, slots=True)
class Log:
    """What a log holds.

    Parameters
    ----------
    name : str
        Of the file.
    collective : CollectiveKind or None
        None: the log does not say.
    ranks : int
        0: the log does not say.
    rows : tuple of (str, int, float)
        Place in the file, bytes and seconds of each call, out of place.
    """

    name: str
    collective: CollectiveKind | None
    ranks: int
    rows: tuple[tuple[str, int, float], ...]

    def calls(self, device: str, collective: CollectiveKind | None, ranks: int) -> list[Call]:
        """Return the calls; what the log does not say must be told, and may not contradict it.

        Raises
        ------
        UserError
            When it does, when nothing tells, or when the rows are too few or contradict.
        """
        kind = self._agreed("--collective", self.collective, collective)
        count = self._agreed("--ranks", self.ranks, ranks)
        if len({size for _, size, _ in self.rows}) < FEWEST:
            told = f"at least {FEWEST} sizes are needed, found {len(self.rows)} rows"
            raise UserError(f"{self.name}: {told}; run it with '-b 1K -e 8G -f 2'")
        self._check_agreement()
        return [Call(device, self.name, kind, "", count, size, s) for _, size, s in self.rows]

    def _agreed(self, option: str, found: Any, told: Any) -> Any:
        if not found and not told:
            raise UserError(f"{self.name}: does not say it; give {option}")
        if found and told and found != told:
            raise UserError(f"{self.name}: is of {found}, not of {told} ({option})")
        return found or told

    def _check_agreement(self) -> None:
        known: dict[int, tuple[str, float]] = {}
        for place, size, seconds in self.rows:
            other, before = known.setdefault(size, (place, seconds))
            if max(seconds, before) > _APART * min(seconds, before):
                raise UserError(
                    f"{self.name}: {size} bytes take {before * 1e6:.4g} us ({other}) and "
                    f"{seconds * 1e6:.4g} us ({place}); at most {_APART:g} times is allowed"
                )


def read(path: Path) -> Log:
    """Return what a log holds.

    Raises
    ------
    UserError
        With the line of what is no line of nccl-tests.
    """
    text = read_text(path, most=STORED)
    if text.lstrip().startswith("{"):
        return _of_json(parse_json(text, str(path)), str(path))
    return _of_text(text, str(path))


def _of_text(text: str, name: str) -> Log:
    collective, ranks, rows = None, set[int](), []
    for number, line in enumerate(text.splitlines(), start=1):
        place = f"{name}:{number}"
        if started := _STARTS.match(line):
            collective = _kind(started[1], place)
        elif rank := _RANK.match(line):
            ranks.add(int(rank[1]))
        elif not line.strip() or line.lstrip().startswith("#") or _LOG.search(line):
            continue
        elif row := _LINE.fullmatch(line):
            wrong = 0.0 if row["wrong"] == "N/A" else float(row["wrong"])
            rows.append(_row(place, f"line {number}", row["size"], row["time"], wrong))
        else:
            shown = line.strip()[:60]
            raise UserError(f"{place}: found '{shown}'; must be a line that nccl-tests prints")
    return Log(name, collective, len(ranks), tuple(row for row in rows if row[1]))


def _of_json(data: Any, name: str) -> Log:
    try:
        program = Path(data["args"][0]).name if data.get("args") else ""
        config = data.get("config", {})
        local = int(config.get("nthreads", 0)) * int(config.get("ngpus", 0))
        ranks = max(len(config.get("devices", [])), local)
        rows = []
        for index, result in enumerate(data["results"], start=1):
            found = result.get("out_of_place") or result["in_place"]
            place = f"{name}: result {index}"
            wrong = float(found.get("nwrong") or 0)
            rows.append(_row(place, f"result {index}", result["size"], found["time"], wrong))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: not the JSON that nccl-tests writes with -J ({told})") from None
    kind = _kind(program, name) if program else None
    return Log(name, kind, ranks, tuple(row for row in rows if row[1]))


def _kind(program: str, place: str) -> CollectiveKind:
    name = Path(program).name
    if name not in PROGRAMS:
        guess = did_you_mean(name, PROGRAMS)
        known = ", ".join(PROGRAMS)
        raise UserError(f"{place}: '{name}' is no collective known here{guess}: {known}")
    return PROGRAMS[name]


def _row(place: str, short: str, size: Any, time: Any, wrong: float) -> tuple[str, int, float]:
    seconds = float(time) * 1e-6
    if wrong:
        raise UserError(f"{place}: {wrong:g} wrong values: what is timed does not work")
    if int(size) and not 0 < seconds < float("inf"):
        raise UserError(f"{place}: a time is above 0, found {time}")
    return short, int(size), seconds
