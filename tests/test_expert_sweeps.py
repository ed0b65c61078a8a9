"""Comparisons and sweeps over routing, layouts of experts and their number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tspsim
from tests.mixtures import mixture
from tspsim.cli.app import app

KIND, LAYOUT = "workload.routing.kind", "strategy.experts.layout"


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return the file of a small mixture."""
    path = tmp_path / "mixture.yaml"
    path.write_text(json.dumps(mixture(model={"layers": 1}, workload={"sequence": 64})))
    return str(path)


def compared(*arguments: str) -> dict[str, Any]:
    """Return what a comparison finds, by candidate."""
    result = CliRunner().invoke(app, ["compare", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    return {each["candidate"]: each for each in json.loads(result.stdout)["candidates"]}


def test_candidates_have_short_names(small: str) -> None:
    """The last word of a key, or the one before it where that says more."""
    assert set(compared(small, "workload.routing.exponent=0,0.5", "model.experts.active=1,2")) == {
        "exponent 0, active 1", "exponent 0, active 2",
        "exponent 0.5, active 1", "exponent 0.5, active 2",
    }  # fmt: skip
    assert set(compared(small, "strategy.experts.layout=tokens,ring,tensor")) == {
        "experts tokens", "experts ring", "experts tensor",
    }  # fmt: skip
    assert set(compared(small, "workload.routing=balanced,power_law")) == {
        "routing balanced", "routing power_law",
    }  # fmt: skip


def test_a_layout_is_compared_under_several_strategies(small: str) -> None:
    """What a strategy cannot have is told with its reason, and the others run."""
    found = compared(small, "strategy=tsp,tp", "strategy.experts.layout=tokens,ring")
    assert set(found) == {
        "tsp 4, experts tokens", "tsp 4, experts ring", "tp 4, experts tokens", "tp, experts ring",
    }  # fmt: skip
    reason = found["tp, experts ring"]["reason"]
    assert "ranks along tp hold the same tokens; allowed: tokens, tensor" in reason


def test_axes_of_experts_belong_to_their_strategy(tmp_path: Path) -> None:
    """Other strategies have the same layout over axes of their own."""
    path = tmp_path / "mixture.yaml"
    experts = {"layout": "tensor", "over": ["tsp"]}
    path.write_text(json.dumps(mixture(strategy={"experts": experts}, workload={"sequence": 64})))
    assert set(compared(str(path), "strategy=tsp,sp")) == {"tsp 4", "sp 4"}


def test_a_sweep_has_columns_of_experts(small: str, tmp_path: Path) -> None:
    """Imbalance, what is dropped, and the memory of experts' states, beside the axes."""
    folder = tmp_path / "sweep"
    axes = (f"{KIND}=balanced,power_law", f"{LAYOUT}=tokens,ring")
    runner = CliRunner()
    made = runner.invoke(app, ["sweep", small, *axes, "-o", str(folder), "--jobs", "1"])
    assert made.exit_code == 0, made.output
    rows = tspsim.Store.open(folder).rows()
    found = {(r.axes[KIND], r.axes[LAYOUT]): r.figures for r in rows}
    assert found["power_law", "tokens"]["experts.imbalance"] > 1.5
    assert found["balanced", "tokens"]["experts.imbalance"] == 1
    assert found["power_law", "ring"]["experts.imbalance"] == pytest.approx(1)
    assert {figures["experts.memory"] for figures in found.values()} == {3 * 64 * 128 * 18}


def test_a_winner_that_loads_ranks_more_evenly_is_said_to(small: str) -> None:
    """Ranks wait for the busiest one: the sentence says how much busier it is."""
    work = ("model.experts.width=4096", "workload.sequence=16384")
    arguments = ("compare", small, *work, "workload.routing=balanced,power_law")
    told = " ".join(CliRunner().invoke(app, [*arguments]).output.split())
    assert "the busiest rank has 1.00 times the mean of experts' work, not 1.92" in told
