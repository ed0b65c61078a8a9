"""Orders of pipelines that tests share, their sizes, and the tables that they are held against."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tspsim.registry import SCHEDULES
from tspsim.scenario import load
from tspsim.schedules.orders.order import Order
from tspsim.schedules.parts.base import Size

DATA = Path(__file__).parent / "data" / "schedules"

#: What torch calls them.
TORCH = {
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "interleaved": "Interleaved1F1B",
    "looped_bfs": "LoopedBFS",
    "interleaved_zb": "InterleavedZeroBubble",
    "zb_v": "ZBVZeroBubble",
    "dualpipe_v": "DualPipeV",
}


def table(name: str) -> list[dict[str, str]]:
    """Return the rows of a table of the tests' data."""
    lines = (DATA / name).read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def order(
    name: str, ranks: int, microbatches: int, chunks: int | None = None, **options: Any
) -> Order:
    """Return the order of a schedule."""
    return SCHEDULES.get(name)(**options).order(ranks, microbatches, chunks)


def sizes(name: str) -> Iterator[Size]:
    """Yield sizes that a schedule can have: few and many micro-batches, ranks and chunks."""
    schedule = SCHEDULES.get(name)()
    least, most = schedule.chunks
    for ranks in (1, 2, 3, 4, 8):
        for microbatches in (1, 2, 3, 6, 8, 12, 16):
            for chunks in range(least, (most or 3) + 1):
                size = Size(ranks, microbatches, chunks)
                if not list(schedule.problems(size)):
                    yield size


def in_small(path: Path) -> list[str]:
    """Return what makes a shipped scenario with a pipeline quick: a layer per stage, one node."""
    pipeline = load(path).strategy.pp
    if pipeline is None:
        return []
    degree = 8 // pipeline.stages
    layers = f"model.layers={pipeline.least.layers}"
    return [layers, "model.heads=8", "topology.nodes=1", f"strategy.degree={degree}"]
