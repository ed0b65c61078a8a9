"""Plans: nothing that could be best is left out, and what is answered was simulated."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

import tspsim
from tspsim.cli.app import app
from tspsim.files.errors import UnknownNameError, UserError
from tspsim.plan.longest import families, longest, step_of
from tspsim.plan.objectives import objective
from tspsim.plan.pipelines import SCHEDULED
from tspsim.plan.placements import Placements
from tspsim.plan.question import Candidate, Question, ask
from tspsim.plan.search import Answer, plan
from tspsim.plan.sketch import sketch
from tspsim.plan.space import enumerate_space
from tspsim.plan.work import Worker, simulated
from tspsim.program.types import BUFFER_KINDS, Op, Programs
from tspsim.registry import STRATEGIES
from tspsim.runner import checked_programs, simulate_scenario
from tspsim.scenario.loader import Opened
from tspsim.strategies.parts.placement import arrange

SWITCH: dict[str, Any] = {
    "kind": "switch", "ranks": 4, "device": "h100-sxm", "reducing": True,
    "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
}  # fmt: skip
NODES: dict[str, Any] = {
    "kind": "nodes", "nodes": 2, "fabric": "rails",
    "node": {**SWITCH, "ranks": 2}, "nic": {"bandwidth": "10 GB/s", "latency": "4 us"},
}  # fmt: skip
RING = {**{k: v for k, v in SWITCH.items() if k != "reducing"}, "kind": "ring"}
FABRICS = {"switch": SWITCH, "nodes": NODES, "ring": RING}


def data(fabric: str = "switch", **changes: Any) -> dict[str, Any]:
    """Return a small scenario without a strategy; ``model={...}`` adds keys to a section."""
    whole: dict[str, Any] = {
        "name": "small",
        "model": {"hidden": 64, "layers": 3, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256},
        "workload": {"sequence": 64},
        "topology": FABRICS[fabric],
        "memory": {"blas": "0 B", "communicator": "0 B"},  # more than all else of so small a model
    }
    for section, keys in changes.items():
        whole[section] = {**whole.get(section, {}), **keys}
    return whole


def question(
    whole: dict[str, Any], batch: int | None = 4, fixed: dict[str, Any] | None = None, **more: Any
) -> Question:
    """Return what a small scenario asks, with named devices read in as the command does.

    Without a pipeline, unless `fixed` says something of one; ``{}`` leaves all of it open.
    """
    stated = {"pp": None, **(fixed or {})}
    return ask(Opened.document(whole).data(), stated, batch, **more)


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, [*arguments])


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return the file of a scenario that plans in a second."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(data()))
    return str(path)


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan in this process: starting others takes longer than all else."""
    monkeypatch.setattr("tspsim.cli.plan._cores", lambda: None)


#: A fixture that patches the command is no matter to examples that do not call it.
FIXTURES = HealthCheck.function_scoped_fixture

# ---- the bounds ------------------------------------------------------------------------------

SMALL_MODELS = st.fixed_dictionaries(
    {
        "layers": st.integers(1, 4),
        "kv_heads": st.sampled_from([2, 4, 8]),
        "vocab": st.sampled_from([0, 256]),
        "mlp": st.sampled_from(["gated", "plain"]),
        "tied": st.booleans(),
    }
)
SMALL_WORK = st.fixed_dictionaries(
    {
        "sequence": st.sampled_from([32, 64]),
        "phase": st.sampled_from(["train", "train", "forward"]),
        "causal": st.sampled_from(["zigzag", "contiguous", "off"]),
    }
)


@settings(max_examples=25, deadline=None, suppress_health_check=[FIXTURES])
@given(
    model=SMALL_MODELS,
    workload=SMALL_WORK,
    fabric=st.sampled_from(list(FABRICS)),
    batch=st.sampled_from([1, 2, 4, 6]),
    bucket=st.sampled_from([None, "0 B", "40 KiB", "25 MiB"]),
    slow=st.booleans(),
    host=st.sampled_from(["0 s", "0 s", "5 us", "1 ms"]),
    seed=st.integers(0, 2**16),
)
def test_no_candidate_is_better_than_its_bounds(
    model: dict[str, Any], workload: dict[str, Any], fabric: str, batch: int, bucket: str | None,
    slow: bool, host: str, seed: int,
) -> None:  # fmt: skip
    """Whatever is simulated takes at least as long, and as much memory, as its bounds say."""
    changes: dict[str, Any] = {"model": model, "workload": workload, "kernels": {"host": host}}
    if slow:
        changes["disturbances"] = {"slow_devices": [{"device": 1, "speed": 0.5}]}
    asked = question(data(fabric, **changes), batch, {"bucket": bucket} if bucket else {})
    space = enumerate_space(asked).candidates
    for candidate in random.Random(seed).sample(space, min(6, len(space))):  # noqa: S311
        (rough,), (bound,) = Worker(asked).rough([candidate]), Worker(asked).bounds([candidate])
        figures = simulated(asked, candidate).figures
        assert figures is not None
        peak = sum(figures["memory"]["at_peak"][kind] for kind in BUFFER_KINDS)
        assert max(rough.seconds, bound.seconds) <= figures["step_time"]
        assert max(rough.memory, bound.memory) <= peak
        # Bounds that are far below would prove nothing and prune nothing.
        assert bound.seconds > 0.05 * figures["step_time"]
        # Gradients on their way between replicas are not in it: with zero 2 there are many.
        assert bound.memory > (0.5 if candidate.strategy.zero < 2 else 0.4) * peak


@pytest.mark.parametrize("fixed", [{}, {"pp": {"schedule": "1f1b,zb_h1"}}])
def test_bounds_hold_of_layers_that_differ(fixed: dict[str, Any]) -> None:
    """Local layers in front of global ones and the other way round, with norms behind blocks."""
    for window in ([4, None], [None, 4, 8]):
        variant = {"layers": 4, "window": window, "norm_at": "both", "qk_norm": "head"}
        asked = question(data(model=variant, workload={"sequence": 512}), 4, fixed)
        space = enumerate_space(asked).candidates
        for candidate in random.Random(len(window)).sample(space, 8):  # noqa: S311
            (bound,) = Worker(asked).bounds([candidate])
            result = simulate_scenario(candidate.scenario(asked))
            assert 0 < bound.seconds <= result.summary.step_time
            assert 0 < bound.memory <= result.memory.peak


#: Schedules with whole backwards, halves, several chunks, a fold, and two pipelines.
PIPELINES = ("gpipe,1f1b,interleaved,looped_bfs", "zb_h1,zb_h2,zb_v", "dualpipe_v,dualpipe")


@settings(max_examples=12, deadline=None, suppress_health_check=[FIXTURES])
@given(
    model=SMALL_MODELS,
    workload=SMALL_WORK,
    layers=st.sampled_from([4, 6, 8]),
    fabric=st.sampled_from(list(FABRICS)),
    batch=st.sampled_from([4, 8]),
    schedules=st.sampled_from(PIPELINES),
    streams=st.sampled_from(["rank", "pair"]),
    slow=st.booleans(),
    seed=st.integers(0, 2**16),
)
@example(  # what backward adds to activations does not grow with the micro-batch as they do
    model={"layers": 1, "kv_heads": 4, "vocab": 0, "mlp": "gated", "tied": False},
    workload={"sequence": 32, "phase": "train", "causal": "zigzag"},
    layers=4, fabric="switch", batch=8, schedules=PIPELINES[0], streams="rank", slow=False,
    seed=149,
)  # fmt: skip
def test_no_pipeline_is_better_than_its_bounds(
    model: dict[str, Any], workload: dict[str, Any], layers: int, fabric: str, batch: int,
    schedules: str, streams: str, slow: bool, seed: int,
) -> None:  # fmt: skip
    """Whatever schedule is simulated takes at least the time, and the memory, of its bounds."""
    changes: dict[str, Any] = {"model": {**model, "layers": layers}, "workload": workload}
    if slow:
        changes["disturbances"] = {"slow_devices": [{"device": 1, "speed": 0.5}]}
    pipeline = {"schedule": schedules, "streams": streams}
    asked = question(data(fabric, **changes), batch, {"pp": pipeline})
    space = enumerate_space(asked).candidates
    for candidate in random.Random(seed).sample(space, min(4, len(space))):  # noqa: S311
        (bound,) = Worker(asked).bounds([candidate])
        result = simulate_scenario(candidate.scenario(asked))
        assert 0.2 * result.summary.step_time < bound.seconds <= result.summary.step_time
        assert 0.1 * result.memory.peak < bound.memory <= result.memory.peak


@pytest.mark.parametrize("recompute", ["none", "full"])
@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zb_h1"])
def test_the_bound_of_a_pipeline_is_near(schedule: str, recompute: Any) -> None:
    """Of long stages on one switch it is within a tenth of the step, and mostly of the peak."""
    model, pipeline = {"layers": 16, "vocab": 0}, {"stages": 4, "schedule": schedule}
    whole = data(model=model, workload={"sequence": 1024})
    asked = question(whole, 8, {"kind": "dp", "pp": pipeline}, recompute=recompute)
    candidate = next(c for c in enumerate_space(asked).candidates if c.micro_batches == 8)
    (bound,) = Worker(asked).bounds([candidate])
    result = simulate_scenario(candidate.scenario(asked))
    assert 0.9 * result.summary.step_time < bound.seconds <= result.summary.step_time
    # What is computed again, and held from one half of backward to the other, is not counted.
    least = 0.1 if (schedule, recompute) == ("zb_h1", "full") else 0.9
    assert least * result.memory.peak < bound.memory <= result.memory.peak


@pytest.mark.parametrize("detail", ["steps", "coflow"])
def test_bounds_hold_however_collectives_are_played(detail: str) -> None:
    """Sends that are played one by one, or served in order, are never faster than the bound."""
    network = {"detail": detail, "sharing": "fifo"}
    asked = question(data("nodes", network=network))
    for candidate in enumerate_space(asked).candidates[::19]:
        (bound,) = Worker(asked).bounds([candidate])
        figures = simulated(asked, candidate).figures
        assert figures is not None
        assert 0 < bound.seconds <= figures["step_time"]


@pytest.mark.parametrize("kind", ["tsp", "tp", "sp", "tp_sp"])
@pytest.mark.parametrize("micro_batches", [1, 2, 5])
def test_a_sketch_holds_exactly_what_the_whole_program_holds(kind: str, micro_batches: int) -> None:
    """Repeated layers and micro-batches, and the end of the step, are the ops of the whole step."""
    fixed, replicas = ({"kind": kind}, 1) if kind == "tp_sp" else ({"kind": kind, "dp": 2}, 2)
    asked = question(data(model={"layers": 5}), replicas * micro_batches, fixed)
    for candidate in _first_of_each_option(asked, micro_batches):
        base, workload = asked.base, candidate.workload(asked)
        made = sketch(candidate.strategy, base.model, workload, base.optimizer)
        whole = checked_programs(candidate.strategy, base.model, workload, base.optimizer)
        assert made.end is not None
        found: Counter[Any] = Counter()
        for op in made.programs.of(0).ops:
            if not _at_the_end(op, made.programs):
                found[_same(op)] += made.times(op)
        ends = [_same(op) for op in made.end.of(0).ops]
        inner = [_same(op) for op in whole.of(0).ops if not _at_the_end(op, whole)]
        outer = [_same(op) for op in whole.of(0).ops if _at_the_end(op, whole)]
        assert found == Counter(inner)
        assert [key for key in outer if key[0] != "loss"] == ends


def _first_of_each_option(asked: Question, micro_batches: int) -> list[Candidate]:
    space = [c for c in enumerate_space(asked).candidates if c.micro_batches == micro_batches]
    return list({(c.recompute, c.strategy.zero): c for c in space}.values())


def _at_the_end(op: Op, programs: Programs) -> bool:
    return not programs.of(0).between(op)


def _same(op: Op) -> Any:
    """Return what an op does, whichever layer it is in; labels of buckets say nothing."""
    return op.label, op.kind.text(), op.work, op.message


def test_the_memory_bound_is_the_peak_where_nothing_is_prefetched() -> None:
    """Of a step without communication the bound is the peak of its buffers, to the byte."""
    whole = data(workload={"recompute": "full"}, model={"layers": 6})
    asked = question(whole, 4, {"kind": "dp", "zero": 0})
    for candidate in enumerate_space(asked).candidates:
        (bound,) = Worker(asked).bounds([candidate])
        figures = simulated(asked, candidate).figures
        assert figures is not None
        assert bound.memory == figures["memory"]["peak"]


# ---- the search ------------------------------------------------------------------------------


def exhaustive(asked: Question, name: str, played: list[Any] | None = None) -> list[Any]:
    """Return the keys of everything that fits with its number, best first; simulate what is not."""
    keys = []
    for number, figures in enumerate(played or every(asked)):
        if figures is not None:
            memory = figures["memory"]
            peak = memory["peak"] - memory["at_peak"]["reserved"]
            if peak <= asked.free:
                keys.append((objective(name).key(figures["step_time"], peak), number))
    return sorted(keys)


def every(asked: Question) -> list[Any]:
    """Return the figures of every candidate."""
    return [simulated(asked, candidate).figures for candidate in enumerate_space(asked).candidates]


@cache
def roomy(fabric: str, batch: int, *, accumulate: bool) -> list[Any]:
    """Return the figures of every candidate where all fit: what fits elsewhere is among them."""
    return every(question(data(fabric), batch, accumulate=accumulate))


def numbers(asked: Question, answer: Answer) -> list[int]:
    """Return the numbers of an answer's best among all candidates."""
    space = enumerate_space(asked).candidates
    return [space.index(ranked.candidate) for ranked in answer.best]


@settings(max_examples=5, deadline=None, suppress_health_check=[FIXTURES])
@given(
    fabric=st.sampled_from(list(FABRICS)),
    memory=st.sampled_from(["700 KiB", "1200 KiB", "80 GiB"]),
    name=st.sampled_from(["throughput", "memory", "latency"]),
    batch=st.sampled_from([1, 2]),
    top=st.integers(1, 6),
)
def test_pruning_never_loses_the_best(
    fabric: str, memory: str, name: str, batch: int, top: int
) -> None:
    """The best of a plan are those of simulating everything, in the same order."""
    whole = data(fabric)
    whole["topology"] = _with_device(whole["topology"], {"file": "h100-sxm", "memory": memory})
    asked = question(whole, batch, accumulate=objective(name).accumulate)
    answer = plan(asked, name, top)
    played = roomy(fabric, batch, accumulate=objective(name).accumulate)
    found = exhaustive(asked, name, played)
    assert numbers(asked, answer) == [number for _, number in found[:top]]
    counts = answer.counts
    assert counts.unfit + counts.beaten + counts.simulated == counts.candidates
    assert counts.candidates == len(enumerate_space(asked).candidates)


@pytest.mark.parametrize("memory", ["900 KiB", "80 GiB"])
def test_pruning_never_loses_the_best_pipeline(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With stages and schedules in the space too, the best are those of simulating everything."""
    few = ("1f1b", "interleaved", "zb_h1", "zb_v")
    monkeypatch.setattr("tspsim.plan.pipelines.SCHEDULED", few)
    whole = data("nodes", model={"layers": 4})
    whole["topology"] = _with_device(whole["topology"], {"file": "h100-sxm", "memory": memory})
    asked = question(whole, 4, {"kind": "tsp,tp,dp", "pp": {}}, recompute="full")
    answer, found = plan(asked, top=5), exhaustive(asked, "throughput")
    assert numbers(asked, answer) == [number for _, number in found[:5]]
    assert any(c.strategy.pp for c in enumerate_space(asked).candidates)


def _with_device(topology: dict[str, Any], device: dict[str, Any]) -> dict[str, Any]:
    if "node" in topology:
        return {**topology, "node": {**topology["node"], "device": device}}
    return {**topology, "device": device}


def test_most_candidates_are_never_simulated() -> None:
    """Bounds leave little to simulate, and what could not win is counted."""
    answer = plan(question(data("nodes"), 2), top=1)
    assert answer.counts.simulated < answer.counts.candidates / 4
    assert answer.counts.beaten > answer.counts.candidates / 2


def test_processes_do_not_change_the_answer() -> None:
    """Two processes simulate the same candidates and find the same as one."""
    asked = question(data("nodes", model={"layers": 2}), 2, {"kind": "tsp,tp"})
    one, two = plan(asked), plan(asked, jobs=2)
    assert [r.candidate for r in one.best] == [r.candidate for r in two.best]
    assert [r.figures["step_time"] for r in one.best] == [r.figures["step_time"] for r in two.best]
    assert one.counts.simulated == two.counts.simulated


def test_latency_is_asked_of_steps_without_accumulation() -> None:
    """With the objective latency every step is one micro-batch."""
    asked = question(data(), 2, {"kind": "tsp"}, recompute="full")
    answer = plan(asked, "latency", 100)
    assert {ranked.candidate.micro_batches for ranked in answer.best} == {1}
    assert {ranked.candidate.micro_batches for ranked in plan(asked, top=100).best} == {1, 2}


def test_cost_follows_from_the_price_of_an_hour() -> None:
    """Dollars per million tokens: the price of all devices for the time of the tokens."""
    whole = data()
    whole["topology"] = _with_device(SWITCH, {"file": "h100-sxm", "price": "3 $/hour"})
    answer = plan(question(whole, 1), "cost", 1)
    best = answer.best[0]
    rate = best.figures["tokens_per_second"]
    assert answer.dollars(best) == pytest.approx(4 * 3 / 3600 / rate * 1e6)


# ---- the space -------------------------------------------------------------------------------


def test_every_mesh_that_divides_is_there() -> None:
    """Four devices: every pair of replicas and strategy, and every option of each strategy."""
    asked = {"kind": "dp,sp,tp,tp_sp,tsp"}
    space = enumerate_space(question(data(), fixed=asked))
    meshes = {(c.family, tuple(sorted(c.strategy.mesh().axes))) for c in space.candidates}
    pairs = {(n, tuple(sorted([("dp", 2), (n, 2)]))) for n in ("tsp", "tp", "sp")}
    whole = {(n, ((n, 4),)) for n in ("tsp", "tp", "sp")}
    assert meshes == pairs | whole | {
        ("dp", (("dp", 4), ("tp", 1))), ("tp_sp", (("sp", 2), ("tp", 2)))
    }  # fmt: skip
    for family, option, values in (
        ("sp", "kv", {"all_gather", "ring", "ulysses"}),
        ("tsp", "head_buckets", {1, 2}),
        ("tp", "sequence_parallel", {False, True}),
        ("dp", "zero", {0, 1, 2, 3}),
        ("sp", "zero", {0, 1, 2, 3}),
    ):
        mine = [c for c in space.candidates if c.family == family]
        assert {getattr(c.strategy, option) for c in mine} == values
    assert {c.batch * c.micro_batches * c.strategy.dp for c in space.candidates} == {4}
    assert len(set(space.candidates)) == len(space.candidates)


def test_stages_and_all_schedules_are_tried() -> None:
    """Every number of stages that divides devices and layers, of what a schedule accepts."""
    asked = question(data(model={"layers": 8}), 8, {"kind": "tp", "pp": {}})
    piped = [c for c in enumerate_space(asked).candidates if c.strategy.pp]
    assert {c.strategy.pp.kind for c in piped if c.strategy.pp} == set(SCHEDULED)
    assert {(c.strategy.pp.stages, c.strategy.dp) for c in piped if c.strategy.pp} == {(2, 1)}
    alone = question(data(model={"layers": 8}), 8, {"kind": "dp", "pp": {}})
    found = {c.strategy.pp and c.strategy.pp.stages for c in enumerate_space(alone).candidates}
    assert found == {None, 2, 4}


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        (None, {None}),
        ({"stages": 2}, {(name, 2) for name in SCHEDULED}),
        ({"schedule": "gpipe"}, {("gpipe", 2), ("gpipe", 4)}),
        ({"schedule": "interleaved", "chunks": 4}, {("interleaved", 2)}),
        ({"stages": 3}, set()),
    ],
)
def test_what_is_stated_of_a_pipeline_is_not_varied(stated: Any, found: set[Any]) -> None:
    """Null is none; some options leave the others open."""
    asked = question(data(model={"layers": 8}), 8, {"kind": "dp", "pp": stated})
    piped = [c.strategy.pp for c in enumerate_space(asked).candidates]
    assert {pp and (pp.kind, pp.stages) for pp in piped} == found


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("strategy.pp.schedule=zb_w", "did you mean"),
        ("strategy.pp=4", "must be null, or options"),
        ("strategy.pp.stage=4", "strategy.pp.stage"),
        ("strategy.pp.stages=0", "greater than or equal to 1"),
    ],
)
def test_a_pipeline_that_cannot_be_is_told(small: str, word: str, told: str) -> None:
    """A mistake in what is stated of a pipeline has its place, and what is allowed."""
    result = call("plan", small, word)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


def test_eight_ranks_may_exchange_heads_in_blocks() -> None:
    """In the widest that heads allow, within their bounds; on fewer ranks only where stated."""
    eight = data(topology={"ranks": 8})
    asked = question(eight, fixed={"kind": "sp", "kv": "usp"})
    mixed = enumerate_space(asked).candidates
    assert {c.strategy.model_dump()["ulysses_degree"] for c in mixed} == {4}
    assert {c.strategy.mesh().ranks // c.strategy.dp for c in mixed} == {8}
    for candidate in mixed[::3]:
        (bound,) = Worker(asked).bounds([candidate])
        figures = simulated(asked, candidate).figures
        assert figures is not None
        peak = figures["memory"]["peak"] - figures["memory"]["at_peak"]["reserved"]
        assert 0.05 * figures["step_time"] < bound.seconds <= figures["step_time"]
        assert 0.5 * peak < bound.memory <= peak
    every = {c.strategy.model_dump().get("kv") for c in enumerate_space(question(eight)).candidates}
    assert every == {None, "all_gather", "ring", "ulysses", "usp"}
    stated = {"kind": "sp", "degree": 4, "kv": "usp", "ulysses_degree": 2}
    assert enumerate_space(question(data(), fixed=stated)).candidates


def test_every_candidate_is_a_scenario_that_loads_and_runs_as_planned() -> None:
    """A candidate's document, loaded as a scenario, gives the figures that the plan gave."""
    asked = question(data("nodes"))
    for candidate in enumerate_space(asked).candidates[::23]:
        figures = simulated(asked, candidate).figures
        assert figures is not None
        again = tspsim.run(candidate.scenario(asked).document).summary.to_dict()
        assert again["step_time"] == figures["step_time"]
        assert again["memory"] == figures["memory"]


@pytest.mark.parametrize(("fabric", "orders"), [("switch", 1), ("ring", 2), ("nodes", 2)])
def test_only_placements_that_differ_are_tried(fabric: str, orders: int) -> None:
    """On a switch all orders of axes are one; on a ring and on nodes the inner axis matters."""
    asked = question(data(fabric), fixed={"kind": "tp_sp"})
    strategy = enumerate_space(asked).candidates[0].strategy
    assert len(Placements(asked.base.topology).orders(strategy)) == orders


@pytest.mark.parametrize("fabric", ["switch", "nodes"])
def test_placements_that_are_left_out_take_the_same_time(fabric: str) -> None:
    """An order of axes that is not tried gives the step time of one that is."""
    whole = data(fabric)
    whole["topology"] = {**whole["topology"], **({"ranks": 8} if fabric == "switch" else {})}
    if fabric == "nodes":
        whole["topology"] = {**NODES, "node": {**SWITCH, "ranks": 4}}
    asked = question(whole, 2, {"kind": "tp_sp", "dp": 2, "kv": "ring"})
    strategy = enumerate_space(asked).candidates[0].strategy
    kept = Placements(asked.base.topology).orders(strategy)
    tried = set()
    for order in kept:
        tried.add(_step_time(asked, strategy, order))
    for order in itertools.permutations(("dp", "tp", "sp")):
        assert arrange(strategy.axes(), strategy.dp, order).ranks == 8
        assert _step_time(asked, strategy, order) in tried
    assert len(kept) < 6


def _step_time(asked: Question, strategy: Any, order: tuple[str, ...] | None) -> float:
    placed = strategy.model_copy(update={"placement": order})
    figures = simulated(asked, Candidate(placed, 1, 1, "none")).figures
    assert figures is not None
    return float(figures["step_time"])


def test_what_is_stated_of_the_strategy_is_not_varied() -> None:
    """Fixed options narrow the space; options of the scenario's own strategy are kept."""
    whole = data()
    whole["strategy"] = {"kind": "tsp", "degree": 4, "lookahead": 0}
    asked = question(whole, None, {"kind": "tsp,sp", "zero": 1}, recompute="full")
    space = enumerate_space(asked).candidates
    assert asked.batch == 1  # the scenario's own
    assert {c.family for c in space} == {"tsp", "sp"}
    assert {c.recompute for c in space} == {"full"}
    assert {c.strategy.lookahead for c in space if c.family == "tsp"} == {0}  # type: ignore[attr-defined]
    assert question(data("nodes"), None).batch == 2  # without a strategy of its own, one per node


# ---- the longest sequence --------------------------------------------------------------------


def test_the_longest_sequence_fits_and_a_longer_one_does_not() -> None:
    """What is answered fits when it is run, and beyond the bound no candidate does."""
    whole = data(model={"layers": 2}, workload={"recompute": "full"})
    whole["topology"] = _with_device(SWITCH, {"file": "h100-sxm", "memory": "12 MiB"})
    asked = question(whole, 1)
    assert families(asked) == [name for name in STRATEGIES.names() if name != "fsdp"]
    for family in families(asked):
        found = longest(asked, family)
        assert 0 < found.sequence <= found.at_most
        assert found.candidate is not None
        figures = simulated(asked.at(found.sequence), found.candidate).figures
        assert figures is not None and figures["memory"]["fits"]
        beyond = asked.at(found.at_most + step_of(asked))
        for candidate in enumerate_space(beyond).candidates:
            if candidate.family == family:
                more = simulated(beyond, candidate).figures
                assert more is not None and not more["memory"]["fits"]


def test_no_sequence_fits_where_the_weights_alone_do_not() -> None:
    """Memory that weights exceed leaves no length at all."""
    whole = data()
    whole["topology"] = _with_device(SWITCH, {"file": "h100-sxm", "memory": "100 KiB"})
    found = longest(question(whole, 1), "sp")
    assert (found.sequence, found.at_most, found.candidate) == (0, 0, None)


# ---- the command -----------------------------------------------------------------------------


def test_the_command_prints_the_best_and_what_became_of_the_others(small: str) -> None:
    """The table marks the best; the counts add up; strategies that are not there have a reason."""
    result = call("plan", small, "--top", "2", "--batch", "2")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "small: a training step of 2 sequences of 64 tokens on 4 x h100-sxm"
    assert lines[3].startswith("▶ ")
    assert "cannot be among the best 2" in result.stdout
    assert "not among them" in result.stdout
    assert max(map(len, lines)) <= 80


def test_the_best_is_written_as_a_scenario_that_runs(small: str, tmp_path: Path) -> None:
    """``-o FILE.yaml`` is what ``tspsim run`` takes, and it takes the time that was printed."""
    target = tmp_path / "best.yaml"
    told = json.loads(call("plan", small, "--json", "-o", str(target)).stdout)
    assert tspsim.run(target).summary.step_time == told["best"][0]["result"]["step_time"]
    again = tmp_path / "answer.json"
    call("plan", small, "-o", str(again))
    assert json.loads(again.read_text())["best"][0]["mesh"] == told["best"][0]["mesh"]
    assert YAML(typ="safe").load(target)["strategy"] == told["best"][0]["strategy"]


def test_where_nothing_fits_the_nearest_misses_are_told(small: str, tmp_path: Path) -> None:
    """Exit code 3, and what every strategy would need; no scenario is written."""
    target = tmp_path / "best.yaml"
    result = call("plan", small, "device.memory=300 KiB", "-o", str(target))
    assert result.exit_code == 3
    assert "Nothing fits." in result.stdout
    assert "nearest misses" in result.stdout
    for family in ("tsp", "tp", "sp", "tp_sp"):
        line = next(x for x in result.stdout.splitlines() if x.startswith(f"  {family} "))
        assert "needs at least" in line and "more" in line
    assert not target.exists()


def test_a_miss_is_the_smallest_memory_of_the_strategy(small: str) -> None:
    """What a strategy would need more is a lower bound on every candidate of it."""
    told = json.loads(call("plan", small, "device.memory=300 KiB", "--json").stdout)
    asked = question(data(topology={"device": {"file": "h100-sxm", "memory": "300 KiB"}}), 1)
    for miss in told["not_among_them"]:
        if miss["reason"]:
            continue
        mine = [c for c in enumerate_space(asked).candidates if c.family == miss["strategy"]]
        runs = [simulated(asked, c).figures for c in mine]
        peaks = [f["memory"]["peak"] - f["memory"]["capacity"] for f in runs if f]
        assert 0 < miss["needs_more_memory"] <= min(peaks)
        assert miss["needs_more_memory"] > 0.8 * min(peaks)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--model", "llama-3-9b", "--topology", "h100-node", "--sequence", "64"),
            "--model: found no file 'llama-3-9b' (did you mean 'llama-3-8b'?); shipped: "
            "deepseek-v2-lite, deepseek-v3, gemma-2-9b, gemma-3-27b, gpt-oss-120b, gpt-oss-20b, "
            "gpt3-175b, llama-2-7b, llama-3-70b, llama-3-8b, llama-4-scout, mistral-7b, "
            "mixtral-8x7b, olmo-2-7b, olmoe-1b-7b, phi-4-mini, qwen1.5-moe-a2.7b, qwen2.5-7b, "
            "qwen3-30b-a3b, qwen3-8b, tsp-paper-7b",
        ),
        (
            ("--model", "llama-3-8b", "--sequence", "64"),
            "no scenario, and no --topology: name a scenario, or say --model, --topology and "
            "--sequence",
        ),
        (
            ("SMALL", "--objective", "latncy"),
            "unknown objective 'latncy' (did you mean 'latency'?); known: cost, latency, memory, "
            "throughput",
        ),
        (
            ("SMALL", "--objective", "cost"),
            "--objective cost: device 'h100-sxm' states no price; say what it costs per hour, "
            "such as 'device.price=2.5 $/hour'",
        ),
        (
            (
                "SMALL",
                "workload.sequence=63",
                "model={heads: 6, hidden: 60, layers: 1, ffn: 8, vocab: 0}",
                "strategy.kind=dp,sp,tp,tp_sp,tsp",
            ),
            "no mesh of 4 devices divides 1 sequence of 63 tokens\n"
            "  dp: 4 replicas do not divide 1 sequence a step\n"
            "  sp: the sequence of 63 does not divide into 8 (zigzag cuts it into 2 x 4 chunks); "
            "56 would\n"
            "  tp: 4 does not divide the model's 6 heads\n"
            "  tp_sp: the sequence of 63 does not divide into 4 (zigzag cuts it into 2 x 2 "
            "chunks); 60 would\n"
            "  tsp: 4 does not divide the model's 6 heads",
        ),
        (
            ("SMALL", "workload.micro_batches=2"),
            "override 'workload.micro_batches=2': a plan divides a step into micro-batches "
            "itself; --batch says how many sequences the step has",
        ),
        (
            ("SMALL", "disturbances.jitter={compute: {kind: uniform, low: 1, high: 2}}"),
            "disturbances.jitter: a plan compares steps without chance; leave it out",
        ),
        (("SMALL", "-o", "x.png"), "x.png: must end in .yaml (the best as a scenario) or .json"),
        (
            ("SMALL", "strategy.zer=1", "strategy.kind=sp"),
            "strategy.zer: an option of none of sp (did you mean 'zero'?); known: bucket, degree, "
            "dp, experts, gather_latent, keep_gathered_kv, kind, kv, offload, overlap_gradients, "
            "overlap_weights, passes, placement, pp, reduce, reshard, shard, sync, ulysses_degree, "
            "zero",
        ),
        (
            ("SMALL", "strategy=tp", "strategy.degree=3"),
            "no mesh of 4 devices divides 1 sequence of 64 tokens\n  tp: no degrees make 4 ranks",
        ),
        (
            ("SMALL", "strategy=3"),
            "override 'strategy=3': must name strategies, or be options: {kind: tsp}",
        ),
        (
            ("SMALL", "workload.sequnce=3"),
            "override 'workload.sequnce=3': workload.sequnce: unknown key (did you mean "
            "'sequence'?); known: sequence, batch, micro_batches, phase, dtype, linears, "
            "recompute, causal, logits_chunks, routing, prompt, requests, cached, new_tokens, "
            "chunk, cache, weights, overhead",
        ),
        (("SMALL", "tsp-layer"), "one scenario at a time; found SMALL, tsp-layer"),
        (
            ("SMALL", "strategy.kind=tsp,tpp"),
            f"unknown strategy 'tpp' (did you mean 'tp'?); known: {', '.join(STRATEGIES.names())}",
        ),
    ],
)
def test_mistakes_are_told_in_one_message(
    arguments: tuple[str, ...], message: str, small: str
) -> None:
    """What is wrong, what is allowed, and a guess; exit code 2."""
    result = call("plan", *(small if word == "SMALL" else word for word in arguments))
    assert result.exit_code == 2
    assert result.stderr.strip() == message.replace("SMALL", small)


def test_an_unknown_objective_is_an_error_from_python_too() -> None:
    """`plan` refuses a name that it does not know."""
    with pytest.raises(UnknownNameError, match="unknown objective 'speed'"):
        plan(question(data()), "speed")
    with pytest.raises(UserError, match="states no price"):
        plan(question(data()), "cost")
