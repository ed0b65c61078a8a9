"""``memory.csv.gz``: the bytes alive on every rank, one line whenever something changes.

Columns, in this order: ``rank``, ``time`` (seconds from the start of the step), then the bytes of
every buffer kind: ``weight``, ``gradient``, ``optimizer``, ``activation``, ``workspace``,
``kv_cache``. A line holds until the next one of its rank. What runtime, libraries and allocator
hold beside the buffers is not in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from tspsim.memory import MemoryTrace, RankMemory
from tspsim.output import gzipped
from tspsim.program.types import BUFFER_KINDS
from tspsim.result import Result

COLUMNS = ("rank", "time", *BUFFER_KINDS)


def write(result: Result, path: Path) -> None:
    """Write the memory of all ranks that are shown."""
    gzipped.write(path, blocks(result.memory, result.timeline.shown))


def blocks(memory: MemoryTrace, ranks: Sequence[int]) -> Iterator[str]:
    """Yield the header, then the lines of one rank after another."""
    yield ",".join(COLUMNS) + "\n"
    texts: dict[int, str] = {}
    for rank in ranks:
        trace = memory.ranks[rank]
        # Ranks that behave alike may share one trace: its lines are made once.
        if id(trace) not in texts:
            texts[id(trace)] = _lines(trace)
        yield texts[id(trace)].replace("@", f"{rank}")


def _lines(trace: RankMemory) -> str:
    columns = [column.tolist() for column in trace.by_kind]
    row = "@,%r" + ",%d" * len(columns) + "\n"
    rows = zip(trace.times.tolist(), *columns, strict=True)
    return "".join([row % values for values in rows])
