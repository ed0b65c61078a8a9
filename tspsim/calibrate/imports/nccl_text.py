"""The text that nccl-tests prints: comments, one line a size, a footer.

A line has a block for what is measured out of place and one for in place; a collective that only
works in place leaves the first one blank. Which columns a block has is in the comment above the
lines: per iteration (``i_min`` to ``i_cv%``) and ``#bitdiff`` add some; up to 2.11 there was a
largest ``error`` in place of ``#wrong``, and a root, or a reduction, only where there is one.

Launchers put their mark in front of lines, and they and libraries say things in between: what
begins with no size is none of nccl-tests' business.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from tspsim.calibrate.imports.nccl_runs import Found, Row, kind, members, row
from tspsim.files.errors import UserError
from tspsim.program.types import CollectiveKind

_STARTS = re.compile(r"#\s*Collective test starting:\s*(\S+)")
_SETUP = re.compile(r"#\s*nThread\s")
_RANK = re.compile(r"#\s*Rank\s+(\d+)\b(?:\s+Group\s+(\d+)\b)?")
_COLUMNS = re.compile(r"#\s*size\s+count\s+type\b(.*)")
_WRONG = re.compile(r"#\s*Out of bounds values\s*:\s*(\d+)\s+FAILED")
_ENDS = re.compile(r"#\s*Avg bus bandwidth\s*:")

#: What ``mpirun --tag-output``, ``srun --label`` and Ray put in front of what a rank prints.
_MARK = re.compile(
    r"(?:\([^()]*\bpid=\d+[^()]*\) )?(?:\[[^][\s]*\d,\d+\]<std(?:out|err)>: ?|\s*\d+: )?"
)

#: A line of a size, or what is left of one.
_SIZE = re.compile(r"\s*\d+(?:\s+\d+\b|\s*$)")

_NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"
_STAMP = r"(?:\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)?"

#: Columns of a block, and those that an option adds to each.
_BLOCK = ("time", "algbw", "busbw", "#wrong", "error")
_ADDED = {"#bitdiff", "i_min", "i_max", "i_p99", "i_cv%"}

#: A blank block is as wide as a full one; between a root and a time there are at most nine blanks.
_BLANK = 20


def read(text: str, name: str) -> list[Found]:
    """Return what a text says, of one collective after another.

    Raises
    ------
    UserError
        With the line of what nccl-tests does not print, of a second run of a collective, and of a
        cut.
    """
    runs = [_Reading(name)]
    for number, marked in enumerate(text.splitlines(), start=1):
        line = marked[_MARK.match(marked).end() :]  # type: ignore[union-attr]
        if (started := _STARTS.match(line)) and runs[-1].ended:
            known = {run.collective for run in runs}
            if kind(started[1], f"{name}:{number}") not in known:
                runs.append(_Reading(name))
        runs[-1].take(number, line)
    return [run.whole() for run in runs]


@dataclass(slots=True)
class _Reading:
    """What the lines so far have said; lines are numbered from 1."""

    name: str
    collective: CollectiveKind | None = None
    groups: dict[int, int] = field(default_factory=dict)
    added: int = 0
    counted: bool = True
    rows: list[Row] = field(default_factory=list)
    line: int = 0
    begun: int = 0
    ended: bool = False

    def take(self, number: int, line: str) -> None:
        self.line = number
        if line.lstrip().startswith("#"):
            self._comment(line.strip())
        elif _SIZE.match(line):
            self._row(line)

    def _comment(self, line: str) -> None:
        if started := _STARTS.match(line):
            self._begins()
            self.collective = kind(started[1], self._place)
        elif _SETUP.match(line):
            if not self.begun or self.groups or self.rows:  # newer versions say a line before it
                self._begins()
        elif rank := _RANK.match(line):
            self._rank(int(rank[1]), int(rank[2] or 0))
        elif columns := _COLUMNS.match(line):
            self.added = _added(columns[1].split(), self._place)
            self.counted = "error" not in columns[1].split()
        elif wrong := _WRONG.match(line):
            raise UserError(f"{self._place}: {wrong[1]} wrong values: what is timed does not work")
        elif _ENDS.match(line):
            self.ended = True

    def _begins(self) -> None:
        if self.begun:
            told = f"a second run begins; the first one is at line {self.begun}"
            raise UserError(f"{self._place}: {told}: split the log, one file a run")
        self.begun = self.line

    def _rank(self, rank: int, group: int) -> None:
        if rank in self.groups:
            raise UserError(
                f"{self._place}: rank {rank} a second time, of {len(self.groups)} ranks so far: "
                "mixed numbers of ranks; split the log, one file a run"
            )
        self.groups[rank] = group

    def _row(self, line: str) -> None:
        match = _pattern(self.added).fullmatch(line)
        if match is None:
            shown = " ".join(line.split())[:60]
            told = "must be a line that nccl-tests prints, whole"
            raise UserError(f"{self._place}: found '{shown}'; {told}: was the log cut here?")
        blocks = [match[each].split() for each in ("out", "in") if match[each]]
        wrong = sum(float(block[3]) for block in blocks if self.counted and block[3] != "N/A")
        short = f"line {self.line}"
        self.rows.append(row(self._place, short, match["size"], blocks[0][0], wrong))

    @property
    def _place(self) -> str:
        return f"{self.name}:{self.line}"

    def whole(self) -> Found:
        """Return what was said, if the end is there."""
        missing = set(range(len(self.groups))) - set(self.groups)
        if missing:
            told = f"rank {min(missing)} is not listed among {len(self.groups)} ranks"
            raise UserError(f"{self.name}: {told}: was the log cut?")
        if self.begun and not self.ended:
            told = "ends before '# Avg bus bandwidth', so the log was cut"
            raise UserError(
                f"{self._place}: {told}; run it to its end, or give the lines of sizes alone, "
                "with --ranks and --collective"
            )
        return Found(self.collective, members(list(self.groups.values()), self.name), self.rows)


def _added(columns: list[str], place: str) -> int:
    """Return how many columns each block has beside the four that are always there."""
    if "cputime" in columns:
        raise UserError(f"{place}: 'cputime' is the host's time; run it without '-C 1'")
    known = {"redop", "root", "timestamp", *_BLOCK, *_ADDED}
    for column in columns:
        if column not in known:
            raise UserError(f"{place}: unknown column '{column}'; run it without what adds it")
    return sum(column in _ADDED for column in columns) // max(columns.count("time"), 1)


@lru_cache
def _pattern(added: int) -> re.Pattern[str]:
    """Return what a line looks like: two blocks, or a blank one and one in place."""
    block = rf"{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}\s+(?:{_NUMBER}|N/A)"
    block += rf"(?:\s+(?:{_NUMBER}|N/A)){{{added}}}"
    head = r"\s*(?P<size>\d+)\s+\d+\s+\w+(?:\s+[a-z]\w*)?(?:\s+-?\d+)?"
    first = rf"(?:\s{{1,{_BLANK - 1}}}(?P<out>{block})\s+|\s{{{_BLANK},}})"
    return re.compile(rf"{head}{first}(?P<in>{block}){_STAMP}\s*")
