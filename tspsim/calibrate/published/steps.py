"""Whole steps, layers and micro-batches that others timed, as scenarios: ``published/steps/``.

Of those marked ``use: check`` nothing was taken: they say how far predictions are off. The others
are what `tspsim.calibrate.published.sustained` fits its two constants to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from tspsim.files.units import quantity
from tspsim.kernels import Framework
from tspsim.runner import Run, checked_programs, simulate_scenario
from tspsim.scenario import from_document
from tspsim.topology.files import read

Quantity = Literal["forward", "backward", "micro_batch", "step"]

#: Programs do not depend on the profile. Kept are those of the steps that one is fitted to.
_record = lru_cache(maxsize=16)(checked_programs)


@dataclass(frozen=True, slots=True)
class Step:
    """One published time.

    Parameters
    ----------
    name, source, device : str
    framework : Framework
        Whose kernels were run.
    nodes : int
    use : {"fit", "check"}
        Whether a constant is fitted to it.
    scenario : dict
        What was run; it names no profile.
    quantity : {"forward", "backward", "micro_batch", "step"}
        What was timed: a micro-batch or a part of it in a steady state, without the optimizer;
        or a whole step.
    seconds : float
    memory : float or None
        Peak bytes of a device, where they were printed.
    """

    name: str
    source: str
    device: str
    framework: Framework
    nodes: int
    use: Literal["fit", "check"]
    scenario: dict[str, Any]
    quantity: Quantity
    seconds: float
    memory: float | None = None


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the simulator says of a step: seconds, peak bytes of the fullest device, if it fits.

    Bytes as a framework's own counters have them, which see neither the runtime nor the
    communicators.
    """

    seconds: float
    memory: float
    fits: bool


def load(folder: Path) -> tuple[Step, ...]:
    """Return the steps of every file in ``steps/``, in the order of their names."""
    files = sorted((folder / "steps").glob("*.yaml"))
    entries = [(path.stem, read(path)) for path in files]
    return tuple(_step(source, entry, row) for source, entry in entries for row in entry["steps"])


def _step(source: str, entry: Mapping[str, Any], row: Mapping[str, Any]) -> Step:
    scenario = _scenario(entry, row)
    strategy, workload = scenario["strategy"], scenario["workload"]
    replicas, ranks = strategy.get("dp", 1), strategy["degree"] * strategy.get("dp", 1)
    passes = workload.get("micro_batches", 1) if row["quantity"] == "step" else 1
    tokens = workload["sequence"] * workload.get("batch", 1) * passes * replicas
    seconds = row["seconds"] if "seconds" in row else tokens / (row["rate"] * ranks)
    framework = from_document(scenario).workload.kernels.framework
    memory = quantity(row["memory"], "B") if "memory" in row else None
    return Step(
        row["name"], source, entry["device"], framework, row.get("nodes", 1),
        row.get("use", entry["use"]), scenario, row["quantity"], seconds, memory,
    )  # fmt: skip


def _scenario(entry: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("sequence", "batch", "micro_batches", "recompute", "causal")
    own = {key: row[key] for key in keys if key in row}
    nodes, strategy = row.get("nodes", 1), row["strategy"]
    topology = dict(entry["topology"])
    if nodes > 1:
        topology = {**entry.get("cluster", topology), "nodes": nodes}
    elif "dp" not in strategy:
        topology["ranks"] = strategy["degree"]
    return {
        "name": "published",
        "model": entry["models"][row["model"]] if "model" in row else entry["model"],
        "workload": {**entry["workload"], **own, "phase": "train"},
        "topology": topology,
        "strategy": strategy,
        "kernels": entry["kernels"],
    }


def with_kernels(step: Step, **parts: Any) -> Step:
    """Return a step with some parts of its kernels changed."""
    kernels = step.scenario["kernels"]
    named = {"preset": kernels} if isinstance(kernels, str) else kernels
    return replace(step, scenario={**step.scenario, "kernels": {**named, **parts}})


def predict(step: Step, profile: str | Mapping[str, Any] | None = None) -> Predicted:
    """Return what the simulator gives with a profile, by name or as its keys, or the device's own.

    Of many micro-batches two are played: every further one adds what the second does. In a
    pipeline, which many fill, all are.
    """
    return played(step.scenario, step.quantity, profile)


def played(
    document: Mapping[str, Any],
    quantity: Quantity = "step",
    profile: str | Mapping[str, Any] | None = None,
) -> Predicted:
    """Return what the simulator gives for a scenario: see `predict`."""

    def run(**workload: Any) -> Run:
        changed = {**document["workload"], **workload}
        timing = {"timing": {"profile": profile}} if profile else {}
        scenario = from_document({**document, "workload": changed, **timing})
        parts = scenario.strategy, scenario.model, scenario.workload, scenario.optimizer
        return simulate_scenario(scenario, programs=_record(*parts))

    count = document["workload"].get("micro_batches", 1)
    if quantity == "step" and "pp" in document["strategy"]:
        return _all(run())
    first = run(micro_batches=1)
    if quantity == "step" and count == 1:
        return _all(first)
    second = run(micro_batches=2)
    both = second.timeline.step_time - first.timeline.step_time
    if quantity == "step":
        return _of(first.timeline.step_time + (count - 1) * both, second)
    if quantity == "micro_batch":
        return _of(both, second)
    forward = run(phase="forward", micro_batches=1).timeline.step_time
    return _of(forward if quantity == "forward" else both - forward, second)


def _all(result: Run) -> Predicted:
    return _of(result.timeline.step_time, result)


def _of(seconds: float, result: Run) -> Predicted:
    memory = result.summary.memory
    unseen = memory.at_peak["reserved"] + memory.at_peak["communicators"]
    return Predicted(seconds, memory.peak - unseen, memory.fits)
