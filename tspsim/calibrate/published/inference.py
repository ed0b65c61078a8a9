"""Steps of inference that others timed: ``published/inference/``, beside what is predicted of them.

Of rows marked ``use: fit`` a constant of their file was taken; those that are ``left out`` were not
what they seem to be, as their file says. All others check.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import Any, Literal

from tspsim.calibrate.published.inference_files import Row, rows_of
from tspsim.model import ITEMSIZE
from tspsim.runner import run
from tspsim.scenario import from_document
from tspsim.topology.files import read

#: Times that lie no further apart have no order.
APART = 0.05

Use = Literal["fit", "check", "left out"]


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A published time and what is predicted of it.

    Parameters
    ----------
    source, table, name : str
    use : {"fit", "check", "left out"}
    peers : str
        Rows of the same are of one piece of work, laid out in different ways.
    measured, predicted : float
        Seconds; 0 predicted: it was left out.
    filled : float
        Share of a device's memory that weights and cache take, where it decides.
    """

    source: str
    table: str
    name: str
    use: Use
    peers: str
    measured: float
    predicted: float
    filled: float

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted / self.measured - 1


def load(folder: Path) -> tuple[Row, ...]:
    """Return the rows of every file in ``inference/``, in the order of their names."""
    files = sorted((folder / "inference").glob("*.yaml"))
    return tuple(row for path in files for row in rows_of(path.stem, read(path)))


def foresee(row: Row) -> Foreseen:
    """Return a row beside what the simulator gives for it; fuller ones than wanted are not run."""
    filled = filled_by(row.scenario) if row.fullest else 0.0
    use: Use = "left out" if row.fullest and filled > row.fullest else row.use
    predicted = 0.0 if use == "left out" else seconds(row)
    names = row.source, row.table, row.name, use, row.peers
    return Foreseen(*names, row.measured, predicted, filled)


def seconds(row: Row) -> float:
    """Return what the simulator gives for what was timed of a row."""
    found = run(row.scenario).summary.inference
    assert found is not None
    times = {
        "first token": found.time_to_first_token,
        "token": found.time_per_token,
        "latency": found.latency,
    }
    return float(times[row.quantity] or 0.0)


def filled_by(document: Mapping[str, Any]) -> float:
    """Return the share of a device's memory that weights and the cache behind all steps take.

    Of heads and weights that are cut evenly over all ranks, as the rows' are.
    """
    scenario = from_document(document)
    model, work = scenario.model, scenario.workload
    assert work.series is not None
    tokens = sum(request.length for request in work.series.last.each)
    per_token = 2 * model.layers * model.kv_heads * model.head_dim * ITEMSIZE[work.dtype]
    weights = scenario.optimizer.weight * model.parameters
    ranks = scenario.strategy.mesh().ranks
    device = scenario.topology.devices[0]
    return (weights + tokens * per_token) / ranks / device.memory


def pairs(rows: Iterable[Foreseen]) -> tuple[int, int]:
    """Return how many pairs of layouts of one piece of work there are, and those in their order."""
    by_peers: dict[tuple[str, str], list[Foreseen]] = {}
    for row in rows:
        if row.peers and row.use != "left out":
            by_peers.setdefault((row.source, row.peers), []).append(row)
    found = [pair for some in by_peers.values() for pair in combinations(some, 2) if _apart(*pair)]
    return len(found), sum(_ordered(*pair) for pair in found)


def _apart(a: Foreseen, b: Foreseen) -> bool:
    return abs(a.measured / b.measured - 1) > APART


def _ordered(a: Foreseen, b: Foreseen) -> bool:
    return (a.measured < b.measured) == (a.predicted < b.predicted)


@dataclass(frozen=True, slots=True)
class Quality:
    """How well some rows are predicted: mean absolute and mean error, and those off by 10, 15 %."""

    rows: int
    error: float
    bias: float
    beyond_10: int
    beyond_15: int


def quality(rows: Sequence[Foreseen]) -> Quality:
    """Return how well rows are predicted that check; at least one has to."""
    errors = [row.error for row in rows if row.use == "check"]
    off = [abs(error) for error in errors]
    beyond = (sum(each > most for each in off) for most in (0.10, 0.15))
    return Quality(len(errors), mean(off), mean(errors), *beyond)


def crossing(rows: Sequence[Foreseen], *, predicted: bool) -> tuple[float, float]:
    """Return the shares of new tokens between which passing keys becomes faster than queries.

    The last share of a table's rows ``pass-KV, N new`` and ``pass-Q, N new`` at which passing
    queries is faster, and the next.
    """
    times: dict[str, dict[int, float]] = {"pass-KV": {}, "pass-Q": {}}
    for row in rows:
        way, new = row.name.split(", ")
        times[way][int(new.split()[0].replace(",", ""))] = (
            row.predicted if predicted else row.measured
        )
    keys, queries = times["pass-KV"], times["pass-Q"]
    shares = sorted(keys)
    last = max((n for n in shares if queries[n] < keys[n]), default=0)
    following = min((n for n in shares if n > last), default=shares[-1])
    return last / shares[-1], following / shares[-1]


def write(rows: Sequence[Foreseen], path: Path) -> None:
    """Write rows to a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([each.name for each in fields(Foreseen)])
        for r in rows:
            figures = (f"{r.measured:.6g}", f"{r.predicted:.5g}", f"{r.filled:.3f}")
            out.writerow((r.source, r.table, r.name, r.use, r.peers, *figures))


def written(path: Path) -> tuple[Foreseen, ...]:
    """Return the rows of a table that `write` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_of_table(row) for row in csv.DictReader(file))


def _of_table(row: Mapping[str, Any]) -> Foreseen:
    figures = (float(row[key]) for key in ("measured", "predicted", "filled"))
    return Foreseen(
        row["source"], row["table"], row["name"], row["use"], row["peers"], *figures
    )  # fmt: skip


def checked(rows: Iterable[Foreseen]) -> Iterator[Foreseen]:
    """Yield the rows that check."""
    return (row for row in rows if row.use == "check")
