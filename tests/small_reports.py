"""Small runs, a small sweep, and a report of each: what the tests of reports look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from tspsim.cli.app import app

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"hidden": 64, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256},
    "workload": {"sequence": 64},
    "topology": {
        "kind": "ring", "ranks": 4, "device": "h100-sxm",
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
    },
    "strategy": {"kind": "tsp", "degree": 4},
}  # fmt: skip


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


def make(folder: Path) -> Path:
    """Fill a folder with two runs, a sweep, and a report of each."""
    scenario = folder / "small.yaml"
    scenario.write_text(json.dumps(SMALL))
    sweep = ("workload.sequence=64,128,256", "link.bandwidth=x1,x2", "strategy.kind=tsp,tp")
    for arguments in (
        ("run", str(scenario), "-o", str(folder / "tsp")),
        ("run", str(scenario), "strategy={kind: tp, degree: 4}", "-o", str(folder / "tp")),
        ("sweep", str(scenario), *sweep, "-o", str(folder / "sweep"), "--jobs", "1"),
        ("report", str(folder / "tsp")),
        ("report", str(folder / "sweep")),
        ("report", str(folder / "tsp"), str(folder / "tp"), "-o", str(folder / "both.html")),
    ):
        done = call(*arguments)
        assert done.exit_code == 0, done.output
    return folder


def make_more(folder: Path) -> dict[str, Path]:
    """Fill a folder with a run of training, of a pipeline, of experts and of decoding; report each.

    Returns
    -------
    dict
        The pages, by what was run.
    """
    staged = {"kind": "tp", "degree": 2, "pp": {"stages": 2}}
    experts = {"count": 4, "active": 2, "width": 128}
    train = {"sequence": 64, "micro_batches": 4, "phase": "train"}
    runs: dict[str, dict[str, Any]] = {
        "training": {"workload": train},
        "pipeline": {"workload": train, "strategy": staged},
        "experts": {"model": {**SMALL["model"], "experts": experts}},
        "decode": {"workload": {"phase": "decode", "cached": 4096, "batch": 8}},
    }
    for name, changes in runs.items():
        (folder / f"{name}.yaml").write_text(json.dumps({**SMALL, "name": name, **changes}))
        for arguments in (
            ("run", str(folder / f"{name}.yaml"), "-o", str(folder / name)),
            ("report", str(folder / name)),
        ):
            done = call(*arguments)
            assert done.exit_code == 0, done.output
    return {name: folder / name / "report.html" for name in runs}


def reports(folder: Path) -> dict[str, Path]:
    """Return the pages that `make` wrote."""
    return {
        "run": folder / "tsp" / "report.html",
        "sweep": folder / "sweep" / "report.html",
        "comparison": folder / "both.html",
    }
