"""Whole layers and micro-batches that others timed, beside what a profile predicts for them.

No profile is fitted to these, so they say how far off its predictions of a step are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import tspsim
from tspsim.topology.files import read


@dataclass(frozen=True, slots=True)
class Step:
    """One published time.

    Parameters
    ----------
    name, source, device : str
    scenario : dict
        What was run; it names no profile.
    quantity : str
        ``forward`` or ``backward`` of a micro-batch, or ``micro_batch``: both.
    seconds : float
    """

    name: str
    source: str
    device: str
    scenario: dict[str, Any]
    quantity: str
    seconds: float


@dataclass(frozen=True, slots=True)
class StepError:
    """How far a profile's predictions of whole steps are off.

    Parameters
    ----------
    error : float
        Mean absolute relative error.
    count : int
        Of the steps.
    sources : tuple of str
    """

    error: float
    count: int
    sources: tuple[str, ...]


def load(folder: Path) -> tuple[Step, ...]:
    """Return the steps of ``steps.yaml``."""
    entries = read(folder / "steps.yaml").items()
    return tuple(_step(source, entry, row) for source, entry in entries for row in entry["steps"])


def _step(source: str, entry: Mapping[str, Any], row: Mapping[str, Any]) -> Step:
    own = {key: row[key] for key in ("batch", "recompute") if key in row}
    workload = {**entry["workload"], **own, "phase": "train"}
    degree = row["strategy"]["degree"]
    scenario = {
        "name": "published",
        "model": entry["model"],
        "workload": workload,
        "topology": {**entry["topology"], "ranks": degree},
        "strategy": row["strategy"],
        "kernels": entry["kernels"],
    }
    tokens = workload["sequence"] * workload.get("batch", 1)
    seconds = row["seconds"] if "seconds" in row else tokens / (row["rate"] * degree)
    return Step(row["name"], source, entry["device"], scenario, row["quantity"], seconds)


def predict(step: Step, profile: str | Mapping[str, Any]) -> float:
    """Return the seconds that the simulator gives with a profile, by name or as its keys."""

    def run(**workload: Any) -> float:
        changed = {**step.scenario["workload"], **workload}
        document = {**step.scenario, "workload": changed, "timing": {"profile": profile}}
        return tspsim.run(document).timeline.step_time

    # What a second micro-batch adds is forward and backward, without the optimizer step.
    both = 0.0 if step.quantity == "forward" else run(micro_batches=2) - run(micro_batches=1)
    forward = 0.0 if step.quantity == "micro_batch" else run(phase="forward")
    return {"forward": forward, "backward": both - forward, "micro_batch": both}[step.quantity]


def error(steps: Sequence[Step], profile: str | Mapping[str, Any]) -> StepError | None:
    """Return how far a profile is off on some steps; None where there are none."""
    if not steps:
        return None
    found = mean(abs(predict(step, profile) / step.seconds - 1) for step in steps)
    return StepError(found, len(steps), tuple(dict.fromkeys(step.source for step in steps)))


def table(steps: Sequence[Step], profiles: Mapping[str, str]) -> str:
    """Return measured and predicted times as text, by the datasheet and by a device's profile."""
    lines = [f"{'':31} {'measured':>10} {'datasheet':>20} {'published':>20}"]
    for device in dict.fromkeys(step.device for step in steps):
        chosen = [step for step in steps if step.device == device]
        names = ("datasheet", profiles[device])
        times = [[predict(step, name) for name in names] for step in chosen]
        lines.append(profiles[device])
        for step, row in zip(chosen, times, strict=True):
            cells = (f"{t * 1e3:.2f} ms ({t / step.seconds - 1:+.1%})" for t in row)
            lines.append(_line(step.name, f"{step.seconds * 1e3:.2f} ms", *cells))
        errors = (
            mean(abs(row[i] / step.seconds - 1) for step, row in zip(chosen, times, strict=True))
            for i in range(len(names))
        )
        lines.append(_line("mean absolute error", "", *(f"({e:.1%})" for e in errors)))
    return "\n".join(lines) + "\n"


def _line(name: str, measured: str, stated: str, published: str) -> str:
    return f"  {name:29} {measured:>10} {stated:>20} {published:>20}"
