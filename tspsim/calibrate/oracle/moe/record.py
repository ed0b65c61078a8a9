"""What is counted of a rank's step, and the table of record."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """An all-to-all of a rank: the bytes that it has before, and after."""

    sent: int
    received: int


class Record(NamedTuple):
    """One rank's step: its flops, and its all-to-alls in the order of issue."""

    flops: int
    calls: tuple[Call, ...]


HEADER = ("config", "rank", "flops", "call", "sent", "received")


def table(records: Iterable[tuple[str, int, Record]]) -> str:
    """Return records by config and rank as CSV, a line for every call."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for name, rank, record in records:
        for number, call in enumerate(record.calls):
            writer.writerow((name, rank, record.flops, number, *call))
    return text.getvalue()


def read(path: Path) -> dict[tuple[str, int], Record]:
    """Return the records of a table."""
    found: dict[tuple[str, int], Record] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["config"], int(row["rank"])
            calls = found[key].calls if key in found else ()
            call = Call(int(row["sent"]), int(row["received"]))
            found[key] = Record(int(row["flops"]), (*calls, call))
    return found
