"""Counts of a fuzz run by class: for the terminal, and as the table of a document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.fuzzing.inputs import CLASSES, Outcome

_TABLE = re.compile(r"(<!-- fuzz -->\n).*?(<!-- end of fuzz -->)", re.DOTALL)
_HEAD = ("class", "inputs", "exit 0", "exit 2", "exit 3", "faults")


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table with a row per class and one of sums."""
    rows = [_row(kind, [o for o in outcomes if o.kind == kind]) for kind in CLASSES]
    rows.append(_row("all", outcomes))
    lines = [_HEAD, ("---", *["---:"] * (len(_HEAD) - 1)), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _row(kind: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    codes = Counter(outcome.code for outcome in outcomes)
    faults = sum(bool(outcome.faults) for outcome in outcomes)
    counts = (len(outcomes), codes[0], codes[2], codes[3], faults)
    return kind, *(f"{count:,}" for count in counts)


def renew(path: Path, outcomes: Sequence[Outcome], seed: int) -> None:
    """Write the table into a document, between its two markers.

    Raises
    ------
    ValueError
        When the document has no such markers.
    """
    text = path.read_text(encoding="utf-8")
    told = f"`python -m tests.fuzz --inputs {len(outcomes)} --seed {seed}`:\n\n{table(outcomes)}"
    changed, count = _TABLE.subn(lambda match: f"{match[1]}{told}{match[2]}", text)
    if not count:
        raise ValueError(f"{path}: has no '<!-- fuzz -->' and '<!-- end of fuzz -->'")
    path.write_text(changed, encoding="utf-8")


def findings(outcomes: Iterable[Outcome]) -> str:
    """Return the faults, those alike under one line with their numbers, the most frequent first."""
    alike: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        for fault in outcome.faults:
            alike.setdefault(_kind(fault), []).append(outcome)
    ordered = sorted(alike.items(), key=lambda pair: -len(pair[1]))
    return "".join(_finding(fault, found) for fault, found in ordered)


def _kind(fault: str) -> str:
    """Return a fault without what differs from input to input."""
    return re.sub(r"(?<![:\d])[-+\d.e]*\d{3,}[-+\d.e]*|\[.*\]", "…", fault)[:160]


def _finding(fault: str, found: Sequence[Outcome]) -> str:
    numbers = " ".join(str(outcome.number) for outcome in found[:12])
    kinds = ", ".join(sorted({outcome.kind for outcome in found}))
    example = f"tspsim {' '.join(found[0].words)}"
    lines = (f"{len(found):>5} x {_shown(fault)}", f"{kinds}; {numbers}", _shown(example))
    return "\n        ".join(lines) + "\n"


def _shown(text: str) -> str:
    """Return a text that no terminal minds, whatever an input holds."""
    return ascii(text)[1:-1][:300]
