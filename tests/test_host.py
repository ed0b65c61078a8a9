"""The host: it issues every layer's passes ahead of the device, which waits where it is late."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import tspsim
from tests.schedules import VARIANTS, record, title
from tspsim.engine.checks.bounds import bounds
from tspsim.engine.jitter import factors
from tspsim.engine.timeline import Timeline
from tspsim.explain.explanation import explain
from tspsim.files.errors import ScenarioError
from tspsim.kernels import PRESETS, Kernels
from tspsim.memory import trace
from tspsim.model import ModelShape, Workload
from tspsim.output import trace as chrome
from tspsim.output.plots.bars import chart
from tspsim.output.plots.style import HELD, ISSUE, WAIT
from tspsim.output.plots.window import Window
from tspsim.program.recorder import HOST
from tspsim.program.types import Op
from tspsim.reports.explanation import render
from tspsim.runner import simulate_scenario
from tspsim.scenario.loader import from_document
from tspsim.topology.disturbances import Jitter
from tspsim.values import compare

LAYERS, BATCHES = 3, 2
MODEL = {"hidden": 2048, "layers": LAYERS, "heads": 16, "kv_heads": 8, "ffn": 4096, "vocab": 0}
GQA = ModelShape(hidden=32, layers=2, heads=16, kv_heads=8, ffn=24, vocab=24, head_dim=4)
#: Seconds: every pass of the model above takes the device less than the one, and more than the
#: other.
LATE, EARLY = 0.5, 1e-6


def run(host: float, *, ranks: int = 1, strategy: Any = None, **keys: Any) -> tspsim.Run:
    """Run a small step with a host that takes so many seconds a layer."""
    workload = {"sequence": 1024, "micro_batches": BATCHES} | keys.pop("workload", {})
    return tspsim.run(
        {
            "model": MODEL,
            "workload": workload,
            "kernels": {"preset": "ideal", "host": f"{host!r} s"},
            "topology": {
                "kind": "full",
                "ranks": ranks,
                "device": "a100-sxm-80gb",
                "link": {"bandwidth": "100 GB/s", "latency": "1 us"},
            },
            "strategy": strategy or {"kind": "tp", "degree": ranks},
            **keys,
        }
    )


def issues(timeline: Timeline, rank: int = 0) -> list[Op]:
    """Return what the host of a rank does."""
    return [op for op in timeline.programs.of(rank).ops if op.kind.name == "issue"]


def times(result: tspsim.Run, rank: int = 0) -> list[tuple[float, float]]:
    """Return start and end of all ops of a rank but those of its host."""
    return [(s.start, s.end) for s in result.timeline.spans(rank) if s.lane != "host"]


def passes(result: tspsim.Run) -> list[float]:
    """Return the seconds of every pass through a layer, and of the optimizer, one after another."""
    found: list[tuple[object, float]] = []
    for span in result.timeline.spans(0):
        place = span.op.micro_batch, span.op.layer, span.op.phase
        if span.lane != "compute" or (span.op.layer is None and span.op.phase != "optimizer"):
            continue
        last = found[-1] if found and found[-1][0] == place else None
        seconds = span.end - span.start + (last[1] if last else 0.0)
        found[len(found) - bool(last) :] = [(place, seconds)]
    return [seconds for _, seconds in found]


# ---- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(("recompute", "forwards"), [("none", 3), ("selective", 3), ("full", 4)])
def test_a_host_bound_step_takes_what_the_host_takes_and_the_optimizer(recompute, forwards) -> None:
    """Three forwards a layer, four where it runs again; then the update, which nobody issues."""
    result = run(LATE, workload={"recompute": recompute})
    (update,) = [s for s in result.timeline.spans(0) if s.op.phase == "optimizer"]
    host = LAYERS * BATCHES * forwards * LATE
    assert update.start == pytest.approx(host, rel=1e-14)
    assert result.timeline.step_time == update.end


def test_a_step_is_the_race_of_host_and_device() -> None:
    """A pass begins when both the pass before it is done and its issue: for any host, in between.

    What stands between passes (the loss) goes with the one before it.
    """
    plain = run(0.0, model=MODEL | {"layers": 4}, workload={"sequence": 2048})
    *layers, update = passes(plain)
    outside = plain.timeline.step_time - sum(layers) - update
    kinds = ([1] * 4 + [2] * 4) * BATCHES
    assert len(layers) == len(kinds)
    for host in (0.9 * max(layers), 0.7 * max(layers), 0.55 * max(layers)):
        device = issued = 0.0
        for number, (seconds, forwards) in enumerate(zip(layers, kinds, strict=True)):
            device = max(device, issued) + seconds
            issued += forwards * host
            if number % 8 == 3:
                device = max(device, issued) + outside / BATCHES
        expected = max(device, issued) + update
        found = run(host, model=MODEL | {"layers": 4}, workload={"sequence": 2048})
        assert found.timeline.step_time == pytest.approx(expected, rel=1e-12)
        assert found.timeline.step_time > plain.timeline.step_time


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_host_that_is_ahead_changes_nothing(ranks: int) -> None:
    """Where the device is the slower one, all of its times and its memory stay, to the bit."""
    plain, hosted = run(0.0, ranks=ranks), run(EARLY, ranks=ranks)
    assert issues(hosted.timeline)
    assert times(hosted) == times(plain)
    assert hosted.summary.memory == plain.summary.memory
    assert hosted.summary.time.host == 0


def test_a_step_is_never_shorter_than_its_hosts_work() -> None:
    """Nor where only forward is asked for, and no op is left to wait for the last issue."""
    result = run(LATE, workload={"phase": "forward"})
    assert result.timeline.step_time == pytest.approx(LAYERS * BATCHES * LATE, rel=1e-14)
    assert result.summary.time.idle == 0


# ---- programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_every_strategy_has_a_host_and_computes_the_same_values(variant, recompute: str) -> None:
    """One issue a pass; the reading by values goes over them, and finds the dense model's."""
    workload = Workload(16, 2, 2, dtype="fp64", recompute=recompute, kernels=Kernels(host=1.0))
    programs, mesh = record(variant, GQA, workload)
    (program,) = programs.roles
    seconds = sum(op.work.seconds for op in program.ops if op.kind.name == "issue")
    assert seconds == GQA.layers * workload.micro_batches * (4 if recompute == "full" else 3)
    proof = compare(programs, mesh, GQA, workload)
    assert not [(c.tensor, c.error) for c in proof.comparisons if not c.passed]


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_without_host_time_there_is_no_host(variant) -> None:
    """And but for the host's ops and the waits for them, programs are the same."""
    plain, hosted = (
        record(variant, GQA, Workload(16, 2, 2, kernels=Kernels(host=h)))[0].roles[0]
        for h in (0.0, 1.0)
    )
    assert HOST not in plain.lanes

    def text(op: Op) -> str:
        return op.text().partition(" ")[2]

    said = [text(op) for op in hosted.ops if op.kind.name != "issue"]
    assert said == [text(op) for op in plain.ops]


def test_no_preset_has_host_time() -> None:
    """It is stated by those who have measured it."""
    assert {kernels.host for kernels in PRESETS.values()} == {0.0}


# ---- the engine ----------------------------------------------------------------------------------


def test_folded_and_unfolded_runs_are_alike() -> None:
    """Ranks that behave alike have hosts that do."""
    folded, every = (run(1e-3, ranks=4, engine={"fold": fold}) for fold in ("auto", "off"))
    assert len(folded.timeline.played) == 1
    assert len(every.timeline.played) == 4
    for rank in range(4):
        assert np.array_equal(folded.timeline.end[rank], every.timeline.end[rank])


def test_what_slows_compute_down_does_not_slow_its_host() -> None:
    """Interference, chance and a slow device: its host takes as long as it is said to."""
    profile = {"name": "x", "source": "made up", "interference": 0.5}
    slowed = run(1e-4, ranks=2, timing={"profile": profile})
    plain = run(1e-4, ranks=2, timing={"profile": profile | {"interference": 1.0}})
    assert slowed.timeline.step_time > plain.timeline.step_time
    spans = [s for s in slowed.timeline.spans(0) if s.lane == "host"]
    assert [s.end - s.start for s in spans] == pytest.approx([s.op.work.seconds for s in spans])
    jitter = Jitter(seed=1, compute=_Twice(), links=_Twice())
    drawn = factors(jitter, slowed.timeline.programs)
    ops = [op for rank in range(2) for op in slowed.timeline.programs.of(rank).ops]
    pairs = zip(ops, drawn, strict=True)
    assert all(factor == (1 if op.kind.name == "issue" else 2) for op, factor in pairs)
    slow = run(LATE, disturbances={"slow_devices": [{"device": 0, "speed": 0.5}]})
    assert [issue.work.seconds for issue in issues(slow.timeline)] == [
        span.end - span.start for span in slow.timeline.spans(0) if span.lane == "host"
    ]


class _Twice:
    """A distribution of one value."""

    def draw(self, generator: object, count: int) -> Any:  # noqa: ARG002
        """Return it."""
        return np.full(count, 2.0)


@pytest.mark.parametrize("host", [EARLY, 1e-4, LATE])
def test_bounds_hold(host: float) -> None:
    """The host's lane is no compute: lower bounds stay below the step, and come close to it."""
    result = run(host, ranks=4)
    scenario, timeline = result.scenario, result.timeline
    found = bounds(timeline.programs, timeline.mesh, scenario.topology, "bf16")
    assert found.lower <= timeline.step_time * (1 + 1e-12)
    assert timeline.step_time <= found.sum
    assert found.busiest_compute >= (BATCHES * LAYERS * 3 * host) * (1 - 1e-12)


# ---- figures -------------------------------------------------------------------------------------


def test_waiting_for_the_host_is_a_figure_of_its_own() -> None:
    """Neither compute, nor communication, nor idle; compute and flops are those without host."""
    plain, hosted = run(0.0, ranks=4), run(LATE, ranks=4)
    time, step = hosted.summary.time, hosted.summary.step_time
    assert time.compute == pytest.approx(plain.summary.time.compute)
    assert hosted.summary.flops_per_rank == plain.summary.flops_per_rank
    parts = (time.compute, time.exposed_communication, time.host, time.idle)
    assert sum(parts) == pytest.approx(step, rel=1e-12)
    assert time.host > 0.95 * step
    assert time.idle == 0
    assert "host" not in plain.summary.to_dict()["time"]
    assert hosted.summary.to_dict()["time"]["host"] == time.host


def test_what_is_said_while_the_host_is_late_is_not_exposed() -> None:
    """The causes of exposed communication add up to its figure, and the host's wait is not one."""
    for host in (1e-5, 1e-3, LATE):
        result = run(host, ranks=4, strategy={"kind": "tsp", "degree": 4})
        explained = explain(result, what_if=False)
        found = sum(cause.seconds for cause in explained.causes)
        assert found == pytest.approx(result.summary.time.exposed_communication, abs=1e-12)
        assert {cause.collective for cause in explained.causes}.isdisjoint({"issue"})


def test_memory_is_what_the_times_make_of_it() -> None:
    """A late host holds nothing: the peak is no higher than the same buffers without it."""
    plain, late = run(0.0, ranks=4), run(LATE, ranks=4)
    assert trace(late.timeline).peak <= trace(plain.timeline).peak


# ---- explain and pictures ------------------------------------------------------------------------


def test_explain_names_the_host_and_what_relieves_it() -> None:
    """The bottleneck, the seconds, the remedies; and what a faster host would give."""
    explained = explain(run(LATE))
    first = explained.bottlenecks[0]
    assert first.resource == "host"
    assert first.seconds == pytest.approx(3 * LAYERS * BATCHES * LATE, rel=1e-12)
    assert explained.path.total == explained.result.timeline.step_time
    assert all(a.end == b.start for a, b in pairwise(explained.path.pieces))
    assert explained.path.edges()["host"] == 1
    found = explained.what_if.sensitivities[0]
    assert (found.constant.key, found.constant.value) == ("host", LATE)
    assert found.elasticity == pytest.approx(1, rel=1e-2)
    console = Console(width=80, record=True, file=StringIO())
    console.print(render(explained))
    text = " ".join(console.export_text().split())
    for word in ("The bottleneck is host", "larger micro-batches", "CUDA graphs", "torch.compile"):
        assert word in text


def test_the_gantt_chart_has_a_row_of_the_host() -> None:
    """What it issues, and where compute waits for it, are told from communication."""
    timeline = run(1e-3, ranks=2).timeline
    drawn = chart(timeline, Window(0.0, timeline.step_time, (0, 1), ""))
    assert [row.name for row in drawn.rows].count("host") == 2
    assert len(drawn.bars[ISSUE]) == 2 * LAYERS * BATCHES * 2
    held = sum(bar.end - bar.start for bar in drawn.bars[HELD] if bar.row.rank == 0)
    assert held == pytest.approx(run(1e-3, ranks=2).summary.time.host)
    assert WAIT in drawn.bars


def test_all_outputs_of_a_hosted_run_are_written(tmp_path) -> None:
    """Trace, spans and every picture; the trace names the host's track."""
    result = run(1e-3, ranks=2)
    assert '"name":"host"' in "".join(chrome.blocks(result)).replace(" ", "")
    result.save(tmp_path / "out")
    for kind in ("gantt", "links", "memory", "roofline"):
        getattr(result.plot, kind)()


def test_a_resolved_scenario_runs_again() -> None:
    """Its times are written with their units."""
    result = run(1e-3)
    again = simulate_scenario(from_document(result.scenario.document))
    assert again.summary.step_time == result.summary.step_time
    assert replace(again.scenario, path=None) == replace(result.scenario, path=None)


@pytest.mark.parametrize("wrong", ["-1 ms", "fast", 3, "1 GB"])
def test_a_wrong_time_is_refused_with_its_place(wrong: object) -> None:
    """A number without a unit too."""
    with pytest.raises(ScenarioError, match=r"kernels\.host"):
        tspsim.run({"model": MODEL, "workload": {"sequence": 64}, "kernels": {"host": wrong},
                    "topology": {"kind": "full", "ranks": 1, "device": "a100-sxm-80gb"},
                    "strategy": {"kind": "tp", "degree": 1}})  # fmt: skip
