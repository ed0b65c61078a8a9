"""Published steps of mixtures of experts: what is foreseen of them, and the memory of experts."""

from __future__ import annotations

from dataclasses import replace
from statistics import mean

import pytest

import mixtures_table
from tspsim.calibrate.published import mixtures, steps
from tspsim.calibrate.published.mixtures import Foreseen, Row
from tspsim.files.shipped import shipped
from tspsim.runner import simulate_scenario
from tspsim.scenario import from_document


@pytest.fixture(scope="module")
def rows() -> tuple[Row, ...]:
    """Return the published rows."""
    return mixtures.load(shipped("published"))


@pytest.fixture(scope="module")
def foreseen() -> tuple[Foreseen, ...]:
    """Return what the committed table says of each."""
    return mixtures.written(mixtures_table.RESULTS)


def test_the_table_has_every_row_as_published(rows, foreseen) -> None:
    """Models, methods and MFUs, in order; two of the rows are runs that did not fit."""
    assert [(r.model, r.method, r.mfu) for r in rows] == [
        (f.model, f.method, pytest.approx(f.measured) if f.measured else None) for f in foreseen
    ]
    assert sum(r.mfu is None for r in rows) == 2


@pytest.mark.parametrize("number", [0, 6, 9])
def test_a_row_played_again_is_what_the_table_says(rows, foreseen, number) -> None:
    """Three that are played in seconds: weights shared, experts cut or dealt; and a pipeline."""
    found = mixtures.foresee(replace(rows[number], otherwise=None))
    assert found.predicted == pytest.approx(foreseen[number].predicted, rel=2e-3)
    assert found.memory == pytest.approx(foreseen[number].memory, rel=2e-3)
    assert found.fits == foreseen[number].fits


def test_ranks_replicas_and_batch_are_those_that_were_printed(rows) -> None:
    """As many devices as nodes have, and 256 sequences a step."""
    for row in rows:
        scenario = from_document(row.scenario)
        mesh = scenario.strategy.mesh()
        assert mesh.ranks == 8 * row.scenario["topology"]["nodes"]
        assert mesh.replicas * scenario.workload.batch * scenario.workload.micro_batches == 256


def test_pipelines_with_experts_are_foreseen_folded_or_not(foreseen) -> None:
    """Every MFU of MCore and of MCore with folding, within 15 %; none was fitted to."""
    found = [row for row in foreseen if row.method.startswith("MCore")]
    assert len(found) == 8
    assert all(row.near for row in found)


def test_the_gain_of_folding_is_foreseen(foreseen) -> None:
    """Folding is faster for each of the four models, and most so where experts are many."""
    of = {(row.model, row.method): row for row in foreseen}
    gains = {}
    for model in dict.fromkeys(row.model for row in foreseen):
        plain, folded = of[model, "MCore"], of[model, "MCore with folding"]
        assert plain.measured and folded.measured
        gains[model] = (folded.measured / plain.measured, folded.predicted / plain.predicted)
        assert gains[model][1] > 1
    for number in (0, 1):
        assert max(gains, key=lambda model: gains[model][number]) == "Mixtral-8x22B-G8T8"


def test_methods_are_foreseen_in_the_measured_order_but_for_one_pair(foreseen) -> None:
    """Of 33 pairs of methods of one model; docs/mixtures.md names the one."""
    assert mixtures.pairs(foreseen) == (33, 32)


@pytest.mark.parametrize("number", [1, 7, 11, 16])
def test_missed_steps_with_experts_are_met_over_slower_adapters(rows, foreseen, number) -> None:
    """At the stated rate they are missed, at 85 % of it met: what docs/mixtures.md says of them."""
    row = rows[number]
    slower = {**row.scenario["topology"], "nic": {"bandwidth": "340 Gbit/s", "latency": "4 us"}}
    found = mixtures.foresee(replace(row, scenario={**row.scenario, "topology": slower}))
    assert found.error is not None
    assert not foreseen[number].near
    assert abs(found.error) < 0.13


def test_documents_say_what_the_table_says(foreseen) -> None:
    """The line of docs/accuracy.md, and that two thirds and a tenth of two gains are foreseen."""
    page = (mixtures_table.PAGE.parent / "accuracy.md").read_text(encoding="utf-8")
    timed = [row for row in foreseen if row.error is not None]
    near = sum(row.near for row in timed)
    off = 100 * mean(abs(row.error or 0.0) for row in timed)
    count, ordered = mixtures.pairs(foreseen)
    line = f"{near} within 15 %, {off:.1f} % off on average; {ordered} of {count} pairs"
    assert line in page
    of = {(row.model, row.method): row for row in foreseen}
    for model, share in (("Qwen2-57B-A14B", 2 / 3), ("Llama3-8x70B", 1 / 10)):
        plain, folded = of[model, "MCore"], of[model, "MCore with folding"]
        assert plain.measured and folded.measured
        gained = folded.predicted / plain.predicted - 1
        assert gained / (folded.measured / plain.measured - 1) == pytest.approx(share, abs=0.06)


def test_a_pipeline_is_played_with_all_its_micro_batches() -> None:
    """What the second one adds is not what a further one does while the stages fill."""
    scenario = {
        "name": "pipeline",
        "model": {"hidden": 256, "layers": 4, "heads": 4, "ffn": 512, "vocab": 0},
        "workload": {"sequence": 256, "micro_batches": 6, "phase": "train"},
        "topology": {"file": "h100-node.yaml", "ranks": 4},
        "strategy": {"kind": "tp", "degree": 1, "pp": {"stages": 4}},
    }
    whole = simulate_scenario(from_document(scenario)).timeline.step_time
    assert steps.played(scenario).seconds == whole


# ---- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experts", "ep", "etp"),
    [
        ({"over": ["dp"], "degree": 2, "cut": ["tp"]}, 2, 2),
        ({"over": ["tp", "dp"], "degree": 4}, 4, 1),
        ({"over": ["tp", "dp"], "degree": 8}, 8, 1),
    ],
)
def test_resident_bytes_are_megatrons_buckets(experts, ep, etp) -> None:
    """Dense parts over TP, router and norms whole, experts over ETP x EP; states over replicas.

    Those of experts are shared by the ranks that hold the same: world / (ETP EP).
    """
    h, f, count, vocab, tp, dp = 64, 96, 8, 128, 2, 4
    scenario = {
        "name": "buckets",
        "model": {
            "hidden": h, "layers": 1, "heads": 4, "ffn": f, "vocab": vocab,
            "experts": {"count": count, "active": 2},
        },
        "workload": {"sequence": 64, "phase": "train"},
        "topology": {"file": "h100-node.yaml"},
        "kernels": "megatron-core",
        "strategy": {
            "kind": "tp", "degree": tp, "sequence_parallel": True, "dp": dp, "zero": 1,
            "experts": experts,
        },
    }  # fmt: skip
    at_peak = simulate_scenario(from_document(scenario)).summary.memory.at_peak
    dense = (4 * h * h + 2 * vocab * h) // tp
    replicated = h * count + 3 * h
    mine = 3 * h * f * count // (ep * etp)
    sharers = tp * dp // (ep * etp)
    assert at_peak["weight"] == 2 * (dense + replicated + mine)
    assert at_peak["gradient"] == 4 * (dense + replicated + mine)
    assert at_peak["optimizer"] == 12 * ((dense + replicated) // dp + mine // sharers)
