"""Orders of pipelines that tests share, their sizes, and the tables that they are held against."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tspsim.model import ModelShape
from tspsim.registry import SCHEDULES
from tspsim.scenario import load
from tspsim.schedules.orders.order import Order
from tspsim.schedules.parts.base import Size
from tspsim.testing import MODEL, WORKLOAD, Case, case

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


#: Every schedule of two ranks or more, with the stages that it has on each; and a user's own.
SCHEDULED = {name: SCHEDULES.get(name).chunks[0] for name in SCHEDULES.names()} | {"rows": 1}

#: Every strategy at its smallest, with each way of its own to exchange or cut.
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "tsp": ("tsp", {"degree": 2}),
    "tp": ("tp", {"degree": 2}),
    "tp-sequence": ("tp", {"degree": 2, "sequence_parallel": True}),
    "sp-all_gather": ("sp", {"degree": 2}),
    "sp-ring": ("sp", {"degree": 2, "kv": "ring"}),
    "sp-ulysses": ("sp", {"degree": 2, "kv": "ulysses"}),
    "sp-usp": ("sp", {"degree": 4, "kv": "usp", "ulysses_degree": 2}),
    "tp_sp": ("tp_sp", {"tp": 2, "sp": 2}),
}


def rows(ranks: int, microbatches: int, *, in_turn: bool = False) -> list[str]:
    """Return a user's own order: all forwards, whole and split backwards in turn, weights last.

    The weight gradients come in the order of the input gradients, or in the reverse one.
    """
    split = [b for b in range(microbatches) if b % 2]
    late = split if in_turn else split[::-1]
    found = []
    for rank in range(ranks):
        words = [f"F{b}" for b in range(microbatches)]
        words += [f"{'I' if b % 2 else 'B'}{b}" for b in range(microbatches)]
        words += [f"W{b}" for b in late]
        found.append(" ".join(f"{rank}{word}" for word in words))
    return found


def piped(
    strategy: str,
    schedule: str,
    ranks: int = 2,
    model: ModelShape = MODEL,
    pp: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **workload: Any,
) -> Case:
    """Return a pipeline under a strategy: a layer in every stage, two micro-batches per rank.

    Parameters
    ----------
    strategy : str
        Of `SMALL`.
    schedule : str
        Of `SCHEDULED`.
    ranks : int
    model : ModelShape
        Its layers are raised to one per stage.
    pp, options : Mapping, optional
        More options of the pipeline, and of the strategy.
    **workload
        Of the workload.
    """
    kind, values = SMALL[strategy]
    own: Any = {"rows": rows(ranks, 2 * ranks)} if schedule == "rows" else schedule
    stages = {"stages": ranks, "schedule": own, "chunks": SCHEDULED[schedule], **(pp or {})}
    work = {"micro_batches": 2 * ranks, "recompute": "selective", **workload}
    chosen = {**values, "pp": stages, **(options or {})}
    return case(kind, chosen, model, replace(WORKLOAD, **work))


def in_small(path: Path) -> list[str]:
    """Return what makes a shipped scenario with a pipeline quick: a layer per stage, one node."""
    pipeline = load(path).strategy.pp
    if pipeline is None:
        return []
    degree = 8 // pipeline.stages
    layers = f"model.layers={pipeline.least.layers}"
    return [layers, "model.heads=8", "topology.nodes=1", f"strategy.degree={degree}"]
