"""What is counted of a rank's step, and the table of record."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Call(NamedTuple):
    """A message of a rank: on which communicator, of what kind, and its bytes."""

    communicator: str
    kind: str
    bytes: int


class Record(NamedTuple):
    """One rank's step: flops, bytes of the cache behind it, and messages in the order of issue."""

    flops: int
    cache: int
    calls: tuple[Call, ...]


HEADER = ("config", "rank", "flops", "cache", *Call._fields)


def table(records: Iterable[tuple[str, int, Record]]) -> str:
    """Return records by config and rank as CSV, a line for every message."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for name, rank, record in records:
        for call in record.calls:
            writer.writerow((name, rank, record.flops, record.cache, *call))
    return text.getvalue()


def read(path: Path) -> dict[tuple[str, int], Record]:
    """Return the records of a table."""
    found: dict[tuple[str, int], Record] = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = row["config"], int(row["rank"])
            calls = found[key].calls if key in found else ()
            call = Call(row["communicator"], row["kind"], int(row["bytes"]))
            found[key] = Record(int(row["flops"]), int(row["cache"]), (*calls, call))
    return found
