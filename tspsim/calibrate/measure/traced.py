"""Steps of the reference under ``torch.profiler``: a trace a rank, and the scenario beside."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch.profiler import ProfilerActivity, profile, record_function

from tspsim.calibrate.fit.write import yaml
from tspsim.calibrate.rows import Row
from tspsim.calibrate.validate.scenario import scenario, title

#: Steps of a trace: their median is looked at.
STEPS = 3


def trace(
    step: Callable[[], Any],
    barrier: Callable[[], Any],
    case: dict[str, Any],
    place: Path,
    rank: int,
) -> None:
    """Write a rank's trace of some steps to ``PLACE/BLOCK/rankN.json.gz``.

    Parameters
    ----------
    step, barrier : callable
    case : dict
        As `tspsim.calibrate.measure.grid.block` writes it.
    place : Path
    rank : int
        The first one writes ``scenario.yaml`` too: the same block for the simulator.
    """
    row = Row("block", case, "held_out", ())
    folder = place / re.sub(r"\W+", "-", title(row)).strip("-")
    folder.mkdir(parents=True, exist_ok=True)
    with profile(activities=_activities(), record_shapes=True) as seen:
        for number in range(STEPS):
            barrier()  # ranks begin together, and do not wait inside of the step
            with record_function(f"ProfilerStep#{number}"):
                step()
    seen.export_chrome_trace(str(folder / f"rank{rank}.json.gz"))
    if rank == 0:
        topology = {"file": f"profile-{case['ranks']}-ranks.yaml"}
        text = yaml(scenario(row, topology))
        told = "# The topology is what 'tspsim calibrate fit -o profile.yaml' writes.\n"
        (folder / "scenario.yaml").write_text(told + text, encoding="utf-8")


def _activities() -> list[Any]:
    import torch

    gpu = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    return [ProfilerActivity.CPU, *gpu]
