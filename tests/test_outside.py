"""A strategy of another package: found by its entry point, and treated like one of tspsim's own.

``tests/outside`` holds such a package, installed as any other: one module with a pipeline of two
stages, one with a schedule, and the metadata that names them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import warm

OUTSIDE = Path(__file__).parent / "outside"
#: The other package, and this checkout.
PATHS = os.pathsep.join(map(str, (OUTSIDE, OUTSIDE.parent.parent)))
SCENARIO = {
    "name": "two-stages",
    "model": {"hidden": 64, "layers": 5, "heads": 4, "kv_heads": 4, "ffn": 128, "vocab": 0},
    "workload": {"sequence": 256, "micro_batches": 4, "causal": "contiguous"},
    "topology": {
        "kind": "switch",
        "ranks": 16,
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
        "device": "h100-sxm",
    },
    "strategy": {"kind": "two_stages", "degree": 2, "dp": 4},
}


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Return the file of a scenario with the pipeline."""
    path = tmp_path / "two-stages.yaml"
    path.write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
    return path


def tspsim(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line where the other package, or one in `path`, is installed."""
    known = {**os.environ, "PYTHONPATH": str(path or PATHS)}
    start = [sys.executable, "-m", "tspsim"] if path else warm.command(PATHS).split()
    command = [*start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=known)


def done(*arguments: object) -> str:
    """Return what a command prints that ends well."""
    result = tspsim(*arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_it_is_listed_and_proven_by_values(scenario: Path) -> None:
    """Uneven stages and three micro-batches give the dense model's loss and every gradient."""
    assert "two_stages" in done("list", "strategies")
    proof = json.loads(done("check", scenario, "--json"))
    compared = {row["tensor"] for row in proof["comparisons"]}
    assert proof["passed"]
    assert {"loss", "output.2", "dinput.2", "L0.wq gradient", "L2.w_down gradient"} <= compared


def test_it_is_folded_and_gives_the_same_unfolded(scenario: Path) -> None:
    """Of sixteen ranks one per stage is played; nothing differs when all are."""
    folded = json.loads(done("run", scenario, "--json"))
    whole = json.loads(done("run", scenario, "engine.fold=off", "--json"))
    assert folded["engine"]["folded"] == {"dp": 3, "tp": 1}
    assert folded["step_time"] == pytest.approx(whole["step_time"], rel=1e-9)
    assert folded["memory"]["peak"] == whole["memory"]["peak"]
    assert folded["communication"]["by_op"] == whole["communication"]["by_op"]


def test_both_stages_are_shown_drawn_and_explained(scenario: Path, tmp_path: Path) -> None:
    """The overview has both roles; the folder has every file; the path crosses the stages."""
    shown = json.loads(done("show", scenario, "--json"))
    assert [(role["rank"], role["ranks_alike"]) for role in shown["roles"]] == [(0, 8), (2, 8)]
    done("run", scenario, "-o", tmp_path / "out")
    drawn = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"gantt.png", "memory.png", "trace.json.gz", "result.json"} <= drawn
    found = json.loads(done("explain", scenario, "--json"))
    assert "step_time" in found


def test_two_processes_sweep_and_plan_it(scenario: Path, tmp_path: Path) -> None:
    """Worker processes know it too: every point is run, and the search finds its meshes."""
    done("sweep", scenario, "workload.micro_batches=2,4", "--jobs", "2", "-o", tmp_path / "sweep")
    rows = json.loads(done("export", tmp_path / "sweep", "--format", "json"))
    assert [row["status"] for row in rows] == ["ok", "ok"]
    asked = ("strategy.kind=two_stages,tp", "--batch", "8", "--jobs", "2", "--json")
    best = json.loads(done("plan", scenario, *asked))["best"]
    assert {candidate["strategy"]["kind"] for candidate in best} == {"two_stages", "tp"}


def test_a_schedule_of_another_package_is_one_of_all(tmp_path: Path) -> None:
    """It is listed, drawn, in the JSON Schema, and runs in a scenario, in worker processes too."""
    assert "eager" in done("list", "schedules")
    drawn = [
        done("schedule", *which).splitlines()[1:] for which in (("eager", "ahead=1"), ("1f1b",))
    ]
    assert drawn[0] == drawn[1]
    assert "schedule.eager" in json.loads(done("schema"))["$defs"]
    strategy = {"kind": "tp", "degree": 4, "pp": {"stages": 4, "schedule": "eager"}}
    path = tmp_path / "eager.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, "strategy": strategy}), encoding="utf-8")
    swept = ("strategy.pp.schedule=eager,1f1b", "model.layers=4", "--jobs", "2")
    done("sweep", path, *swept, "-o", tmp_path / "sweep")
    rows = json.loads(done("export", tmp_path / "sweep", "--format", "json"))
    assert [row["status"] for row in rows] == ["ok", "ok"]


def entry(folder: Path, name: str, module: str) -> Path:
    """Install a package that names one strategy into a folder."""
    info = folder / "other-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tspsim.strategies]\n{name} = {module}\n")
    return folder


def test_a_name_that_is_taken_is_refused(scenario: Path, tmp_path: Path) -> None:
    """Nobody can put a strategy of their own under the name of one of tspsim's."""
    result = tspsim("run", scenario, path=entry(tmp_path / "site", "tp", "two_stages"))
    assert result.returncode == 2
    assert "package 'other' names a strategy 'tp' that is there already" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("module", "told"),
    [("nowhere", "No module named 'nowhere'"), ("json", "module 'json' has no 'STRATEGY'")],
)
def test_a_broken_entry_is_named_with_its_package(
    scenario: Path, tmp_path: Path, module: str, told: str
) -> None:
    """What cannot be imported, or is no strategy, is refused when it is asked for, not before."""
    site = entry(tmp_path / "site", "two_stages", module)
    result = tspsim("run", scenario, path=site)
    assert result.returncode == 2
    assert "strategy 'two_stages' of package 'other'" in result.stderr
    assert told in result.stderr
    assert tspsim("list", "topologies", path=site).returncode == 0
