"""Rows of nccl-tests: what it prints, and the JSON that ``-J`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.calibrate.imports import nccl_json, nccl_text
from tspsim.calibrate.imports.nccl_runs import Found
from tspsim.calibrate.published.rows import Call
from tspsim.files.errors import UserError
from tspsim.files.reading import STORED, read_text
from tspsim.program.types import CollectiveKind

#: Fewer calls than this do not show a latency beside a bandwidth.
FEWEST = 8

#: Times of one size further apart than this factor contradict each other.
_APART = 2.0


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
        Place in the file, bytes and seconds of each call: out of place where that was measured.
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
            what = option.removeprefix("--")
            raise UserError(f"{self.name}: does not say the {what}; give {option}")
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


def read(path: Path) -> list[Log]:
    """Return what a log holds: one collective, or several that were run one after another.

    Raises
    ------
    UserError
        With the line, or the key, of what nccl-tests does not write.
    """
    text, name = read_text(path, most=STORED), str(path)
    json = text.lstrip().startswith("{")
    found = [nccl_json.read(text, name)] if json else nccl_text.read(text, name)
    return [_log(name, each) for each in found]


def _log(name: str, found: Found) -> Log:
    return Log(name, found.collective, found.ranks, tuple(row for row in found.rows if row[1]))
