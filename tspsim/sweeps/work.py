"""What a worker does: it resolves and simulates points, and reports each as an outcome.

Nothing that goes wrong with one point ends a sweep: it is the point's outcome, with the reason.
"""

from __future__ import annotations

import gc
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any, Literal

from tspsim import __version__
from tspsim.files.errors import ScenarioError, TspsimError, UserError
from tspsim.files.units import format_bytes
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.output.fitting import would_fit
from tspsim.program.types import Programs
from tspsim.runner import checked_programs, simulate_scenario
from tspsim.scenario import from_document
from tspsim.scenario.types import Scenario
from tspsim.strategies.base import StrategyOptions
from tspsim.sweeps.columns import figures

#: Of the garbage collector while points run.
_THRESHOLDS = (50_000, 20, 100)

#: ``ok``: it ran and fits. ``unfit``: it ran and does not fit. ``invalid``: the scenario is wrong.
#: ``failed``: tspsim, or the process, broke.
Status = Literal["ok", "unfit", "invalid", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one point.

    Parameters
    ----------
    id : int
        The point's.
    status : {"ok", "unfit", "invalid", "failed"}
    reason : str
        Empty when it is ok.
    hash : str
        See `scenario_hash`; empty when the scenario could not be resolved.
    figures : Mapping
        See `tspsim.sweeps.columns.figures`; empty when nothing ran.
    """

    id: int
    status: Status
    reason: str = ""
    hash: str = ""
    figures: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of a batch, and the seconds of wall time that they took."""

    outcomes: tuple[Outcome, ...]
    seconds: float


def scenario_hash(scenario: Scenario) -> str:
    """Return SHA-256 over the version of tspsim and the resolved scenario in canonical JSON."""
    document = json.dumps(scenario.document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{__version__}\n{document}".encode()).hexdigest()


def play(batch: Sequence[tuple[int, Mapping[str, Any]]], version: str) -> Report:
    """Simulate the points of a batch.

    Parameters
    ----------
    batch : sequence of (int, Mapping)
        The id of a point, and its scenario with every named file read in.
    version : str
        The version of tspsim that asks.

    Raises
    ------
    UserError
        When this process has another version.
    """
    if version != __version__:
        raise UserError(
            f"a worker has tspsim {__version__}, this is {version}: install the same on both"
        )
    begin = perf_counter()
    with _few_collections:
        outcomes = tuple(outcome_of(point, document) for point, document in batch)
    return Report(outcomes, perf_counter() - begin)


class _FewCollections:
    """Collects garbage seldom: a run makes a million values and hardly a cycle among them.

    Python's own thresholds spend a fifth to a third of a run on looking for cycles. Threads may
    be inside at the same time; the last one out restores what was set.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, gc.get_threshold()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = gc.get_threshold()
                gc.set_threshold(*_THRESHOLDS)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                gc.set_threshold(*self._before)


_few_collections = _FewCollections()


def outcome_of(point: int, document: Mapping[str, Any]) -> Outcome:
    """Return what comes of one point, whatever happens."""
    scenario = None
    try:
        scenario = from_document(document)
        return _run(point, scenario)
    except ScenarioError as error:
        return Outcome(point, "invalid", str(error))
    except Exception as error:
        told = str(error) if isinstance(error, TspsimError) else f"{type(error).__name__}: {error}"
        return Outcome(point, "failed", told, scenario_hash(scenario) if scenario else "")


def _run(point: int, scenario: Scenario) -> Outcome:
    programs = _recorded(scenario.strategy, scenario.model, scenario.workload, scenario.optimizer)
    summary = simulate_scenario(scenario, programs=programs).summary.to_dict()
    memory = summary["memory"]
    status: Status = "ok" if memory["fits"] else "unfit"
    reason = "" if memory["fits"] else too_much(memory["peak"], memory["capacity"])
    reason += f"; {told}" if (told := would_fit(summary)) else ""
    return Outcome(point, status, reason, scenario_hash(scenario), figures(summary))


def too_much(peak: float, capacity: float) -> str:
    """Return why a peak does not fit."""
    over = format_bytes(peak - capacity)
    return f"needs {over} more than the {format_bytes(capacity)} of a device"


@lru_cache(maxsize=2)
def _recorded(
    strategy: StrategyOptions, model: ModelShape, workload: Workload, optimizer: Optimizer
) -> Programs:
    """Record programs once for points that differ in their hardware alone."""
    return checked_programs(strategy, model, workload, optimizer)
