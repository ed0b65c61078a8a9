"""Slow devices, changed and lost links, jitter: what each does to a step, in closed form."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner, Result

import tspsim
from tests import toy
from tspsim.analysis.spread import spread, student
from tspsim.cli.app import app
from tspsim.engine.jitter import factors
from tspsim.files.errors import TopologyError, UserError
from tspsim.program.types import Work
from tspsim.runs.seeds import repeat
from tspsim.scenario import Scenario, from_document
from tspsim.topology.disturbances import ChangedLink, Exponential, Jitter, Lognormal, Uniform
from tspsim.topology.disturbed import pieces, ranges, relinked, slowed
from tspsim.topology.hardware import Device, Pace, Profile, Roofline

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"hidden": 256, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 512, "vocab": 0},
    "workload": {"sequence": 512, "phase": "forward"},
    "topology": {
        "kind": "full",
        "ranks": 4,
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
        "device": "h100-sxm",
    },
    "strategy": {"kind": "tp", "degree": 4},
}
TSP = "strategy={kind: tsp, degree: 4}"


def scenario(*overrides: str, **disturbances: Any) -> Scenario:
    """Return the small scenario with disturbances."""
    return from_document({**SMALL, "disturbances": disturbances}, overrides)


def step(*overrides: str, **disturbances: Any) -> float:
    """Return the step time of the small scenario with disturbances."""
    return tspsim.run(scenario(*overrides, **disturbances)).summary.step_time


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return the small scenario as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL))
    return str(path)


# Slow devices


@given(
    speed=st.floats(0.01, 1),
    flops=st.integers(0, 10**15),
    moved=st.integers(0, 10**12),
    launch=st.floats(0, 1e-3),
)
def test_a_slow_device_takes_the_inverse_of_its_speed(speed, flops, moved, launch) -> None:
    """Whatever bounds an op, launch included: its time is divided by the speed."""
    device = Device("d", (("bf16", 1e14),), 1e12, 1e9, launch=launch)
    slow = replace(device, pace=Pace(speed, speed, speed))
    work = Work(flops, moved, "matmul")
    told = Roofline(device, Profile("p"), "bf16").seconds(work)
    found = Roofline(slow, Profile("p"), "bf16").seconds(work)
    assert found == pytest.approx(told / speed, rel=1e-12)


def test_compute_and_memory_can_be_slow_alone() -> None:
    """A matmul feels the compute rates, an element-wise op the memory, neither the other."""
    device = Device("d", (("bf16", 1e12),), 1e12, 1e9)
    matmul, copy = Work(10**12, 1, "matmul"), Work(0, 10**12, "elementwise")
    for pace, expected in ((Pace(compute=0.5), (2.0, 1.0)), (Pace(memory=0.25), (1.0, 4.0))):
        roofline = Roofline(replace(device, pace=pace), Profile("p"), "bf16")
        assert (roofline.seconds(matmul), roofline.seconds(copy)) == expected


@pytest.mark.parametrize("speed", [0.9, 0.5, 0.1])
def test_one_slow_device_slows_tp_by_all_of_its_lost_time(speed: float) -> None:
    """TP's forward waits for every all-reduce: a step is compute / speed + communication."""
    plain = tspsim.run(scenario()).summary
    assert plain.time.idle == 0
    expected = plain.time.compute / speed + plain.time.exposed_communication
    assert step(slow_devices=[{"device": 2, "speed": speed}]) == pytest.approx(expected, rel=1e-9)


def test_a_slow_device_reaches_its_ring_neighbours_one_hop_per_round() -> None:
    """In round i a rank at distance d lags by the i - d + 1 slow rounds that could reach it.

    Everyone computes for 1 s and then shifts for 1 s; rank 0 computes for 2 s.
    """
    ranks, rounds = 9, 6
    program, waits = toy.Toy(), ()
    shifts = []
    for _ in range(rounds):
        computed = program.compute(1, after=waits)
        shifts.append(program.shift(1, after=[computed]))
        waits = (shifts[-1],)
    topology = slowed(toy.full(ranks), {0: Pace(0.5, 0.5, 0.5)})
    timeline = toy.run(toy.shared(program, ranks), topology)
    for rank in range(ranks):
        distance = min(rank, ranks - rank)
        ends = [
            2 * i + (i if distance == 0 else max(0, i - distance + 1)) for i in range(1, rounds + 1)
        ]
        assert timeline.end[rank][shifts].tolist() == ends


def test_a_slow_device_lowers_mfu_not_the_peak() -> None:
    """MFU is held against what the devices state, so a straggler shows in it."""
    plain, slow = scenario(), scenario(slow_devices=[{"device": 0, "speed": 0.5}])
    before, after = tspsim.run(plain).summary, tspsim.run(slow).summary
    assert after.mfu == pytest.approx(before.mfu * before.step_time / after.step_time)


# Links


def test_a_slower_link_holds_up_what_crosses_it() -> None:
    """A hop over a link of half the bandwidth takes twice as long, the other way does not."""
    change = ChangedLink("d0", "d1", speed=0.5, one_way=True)
    topology = relinked(toy.full(3), [change])
    program = toy.Toy()
    program.shift(6)
    timeline = toy.run(toy.shared(program, 3), topology)
    taken = {t.ranks: t.end - t.start for t in timeline.transfers}
    assert taken == {(0, 1): 12.0, (1, 2): 6.0, (2, 0): 6.0}


def test_bandwidth_and_latency_of_a_link_can_be_stated() -> None:
    """Quantities replace what the topology states, in both directions."""
    links = [{"link": [0, 1], "bandwidth": "10 GB/s", "latency": "7 us"}]
    found = {(x.source, x.target): x for x in scenario(links=links).topology.links}
    for ends in (("d0", "d1"), ("d1", "d0")):
        assert (found[ends].bandwidth, found[ends].latency) == (10e9, 7e-6)
    assert (found["d1", "d2"].bandwidth, found["d1", "d2"].latency) == (50e9, 1e-6)


def test_a_lost_link_is_gone_round() -> None:
    """On a ring the long way; a message that did not need the link is not slower."""
    links = [{"link": [0, 1], "lost": True}]
    topology = scenario("topology.kind=ring", links=links).topology
    route = [topology.links[i].name for i in topology.route(0, 1)]
    assert route == ["d0→d3", "d3→d2", "d2→d1"]
    assert len(topology.route(1, 2)) == 1


def test_a_lost_link_makes_a_full_node_slower_but_not_wrong() -> None:
    """Both directions are gone; traffic of the two goes through a third and shares its links."""
    links = [{"link": [0, 1], "lost": True}]
    assert len(scenario(links=links).topology.links) == 4 * 3 - 2
    assert step(TSP, links=links) > step(TSP)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lost_links_leave_pieces_within_which_every_route_exists(data) -> None:
    """Routes exist within a piece both ways, and never both ways between two pieces."""
    ranks = data.draw(st.integers(2, 5))
    whole = toy.full(ranks)
    ends = [(link.source, link.target) for link in whole.links]
    lost = data.draw(st.lists(st.sampled_from(ends), unique=True))
    topology = relinked(whole, [ChangedLink(a, b, lost=True, one_way=True) for a, b in lost])
    assert [link.index for link in topology.links] == list(range(len(ends) - len(lost)))
    parts = pieces(topology)
    assert sorted(i for part in parts for i in part) == list(range(ranks))
    piece = {i: part for part in parts for i in part}
    for a, b in permutations(range(ranks), 2):
        both = _has_route(topology, a, b) and _has_route(topology, b, a)
        assert both == (piece[a] == piece[b])


def _has_route(topology, a: int, b: int) -> bool:
    try:
        return [topology.links[i].target for i in topology.route(a, b)][-1] == f"d{b}"
    except TopologyError:
        return False


def test_numbers_are_told_as_ranges() -> None:
    """Runs of neighbours are written once."""
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"


# Jitter


def test_jitter_without_width_is_the_undisturbed_run_to_the_last_bit() -> None:
    """Sigma 0 and mean 0 draw ones."""
    plain = tspsim.run(scenario(TSP)).timeline
    for how in ({"kind": "lognormal", "sigma": 0}, {"kind": "exponential", "mean": 0}):
        found = tspsim.run(scenario(TSP, jitter={"compute": how, "links": how})).timeline
        for rank in range(4):
            assert found.end[rank].tobytes() == plain.end[rank].tobytes()


def test_a_step_converges_to_the_undisturbed_one_as_jitter_narrows() -> None:
    """The difference falls with sigma, and is of its order."""
    plain = step(TSP)
    off = [
        abs(step(TSP, jitter={"compute": {"kind": "lognormal", "sigma": sigma}}) / plain - 1)
        for sigma in (1e-1, 1e-3, 1e-5)
    ]
    assert off[0] > off[1] > off[2] > 0
    assert off[1] < 1e-3
    assert off[2] < 1e-5


STEPS = "network={detail: steps}"


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        (TSP,),
        (TSP, "workload.phase=train"),
        (STEPS,),
        (TSP, STEPS),
        (TSP, "network={sharing: fifo}"),
    ],
)
def test_all_factors_alike_stretch_the_whole_step(overrides: tuple[str, ...]) -> None:
    """Twice the time for each computation and each transfer is twice the step."""
    twice = {"kind": "uniform", "low": 2, "high": 2}
    found = step(*overrides, jitter={"compute": twice, "links": twice})
    assert found == pytest.approx(2 * step(*overrides), rel=1e-12)


def test_factors_of_links_stretch_communication_alone() -> None:
    """In TP's forward, nothing hides: compute + 3 times the communication."""
    plain = tspsim.run(scenario()).summary.time
    thrice = {"kind": "uniform", "low": 3, "high": 3}
    expected = plain.compute + 3 * plain.exposed_communication
    assert step(jitter={"links": thrice}) == pytest.approx(expected, rel=1e-9)


def test_tp_with_jitter_waits_for_the_slowest_of_every_turn() -> None:
    """Between two all-reduces everyone waits for the rank whose factors added up to most."""
    loaded = scenario(seed=5, jitter={"compute": {"kind": "exponential", "mean": 0.3}})
    jittered, plain = tspsim.run(loaded).timeline, tspsim.run(scenario()).timeline
    ops = plain.programs.of(0).ops
    drawn = np.reshape(factors(loaded.disturbances.jitter, plain.programs), (4, len(ops)))
    expected, turn = 0.0, np.zeros(4)
    for op in ops:
        took = float(plain.end[0][op.index] - plain.start[0][op.index])
        if op.message is None:
            turn += took * drawn[:, op.index]
        else:
            expected, turn = expected + turn.max() + took, np.zeros(4)
    assert jittered.step_time == pytest.approx(expected + turn.max(), rel=1e-9)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not() -> None:
    """Two runs agree to the last bit; the seed is all that tells runs apart."""
    jitter = {
        "compute": {"kind": "lognormal", "sigma": 0.1},
        "links": {"kind": "exponential", "mean": 0.1},
    }
    ends = [
        b"".join(
            rank.tobytes() for rank in tspsim.run(scenario(TSP, seed=s, jitter=jitter)).timeline.end
        )
        for s in (7, 7, 8)
    ]
    assert ends[0] == ends[1] != ends[2]


def test_what_is_drawn_for_a_task_depends_on_its_rank_and_op_alone() -> None:
    """Not on the number of ranks, and not on what else is drawn."""
    program = toy.Toy()
    for _ in range(5):
        program.compute(1)
        program.shift(1)
    compute = Jitter(3, Lognormal(0.2))
    both = replace(compute, links=Exponential(0.5))
    few, many = (factors(compute, toy.shared(program, n)) for n in (2, 5))
    assert many[: len(few)] == few
    assert len(set(many[::2])) == 25
    assert set(many[1::2]) == {1.0}
    assert factors(both, toy.shared(program, 5))[::2] == many[::2]
    assert len(set(factors(both, toy.shared(program, 5))[1::2])) == 25


@pytest.mark.parametrize(
    ("how", "mean", "deviation", "least"),
    [
        (Lognormal(0.3), 1.0, math.sqrt(math.expm1(0.3**2)), 0.0),
        (Exponential(0.2), 1.2, 0.2, 1.0),
        (Uniform(0.9, 1.5), 1.2, 0.6 / math.sqrt(12), 0.9),
    ],
)
def test_distributions_have_the_mean_and_the_width_they_state(how, mean, deviation, least) -> None:
    """Over 100,000 draws, within five standard errors."""
    drawn = how.draw(np.random.default_rng(1), 100_000)
    assert abs(drawn.mean() - mean) < 5 * deviation / math.sqrt(drawn.size)
    assert drawn.std() == pytest.approx(deviation, rel=0.03)
    assert drawn.min() >= least


# Several runs

JITTER = {"compute": {"kind": "lognormal", "sigma": 0.1}}


def test_runs_are_those_of_the_seeds_that_follow() -> None:
    """N runs from seed s are the runs of s, s + 1... one by one."""
    result = repeat(scenario(seed=3, jitter=JITTER), 4)
    alone = [step(seed=seed, jitter=JITTER) for seed in (3, 4, 5, 6)]
    assert result.summary.step_times == spread(alone)
    assert result.summary.step_time == alone[0]


def test_several_runs_of_what_is_not_drawn_are_refused() -> None:
    """A distribution of one value would look like certainty."""
    with pytest.raises(UserError, match="--runs 3: every run of 'small' is the same"):
        repeat(scenario(slow_devices=[{"device": 0, "speed": 0.5}]), 3)


def test_the_command_prints_how_the_step_time_spreads(small: str) -> None:
    """As rows of the table, and under ``runs`` in --json."""
    override = "disturbances.jitter.compute={kind: exponential, mean: 0.1}"
    shown = call("run", small, override, "--runs", "5")
    assert shown.exit_code == 0, shown.stderr
    assert "disturbed: jitter of compute (exponential, mean 0.1), seed 0" in shown.stdout
    assert "5 runs, mean" in shown.stdout
    found = json.loads(call("run", small, override, "--runs", "5", "--json").stdout)
    times = [
        json.loads(call("run", small, override, f"disturbances.seed={s}", "--json").stdout)
        for s in range(5)
    ]
    values = np.array([each["step_time"] for each in times])
    assert found["runs"]["count"] == 5
    spreads = found["runs"]["step_time"]
    assert spreads["mean"] == pytest.approx(values.mean())
    assert spreads["standard_deviation"] == pytest.approx(values.std(ddof=1))
    assert spreads["p95"] == pytest.approx(np.quantile(values, 0.95))
    interval = stats.t.interval(0.95, 4, values.mean(), values.std(ddof=1) / math.sqrt(5))
    assert spreads["confidence_95"] == pytest.approx(interval)
    assert call("run", small, "--runs", "2").exit_code == 2


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 9, 10, 99, 100, 1000])
def test_students_t_is_that_of_scipy(degrees: int) -> None:
    """The closed form, inverted, against an independent one."""
    for probability in (0.5, 0.95, 0.999):
        expected = stats.t.ppf((1 + probability) / 2, degrees)
        assert student(probability, degrees) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_a_spread_is_that_of_numpy(values: list[float]) -> None:
    """Mean, quantiles and extremes."""
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert (found.minimum, found.maximum) == (min(values), max(values))
    assert found.median == pytest.approx(np.median(values), abs=1e-6)
    assert found.p95 == pytest.approx(np.quantile(values, 0.95), abs=1e-6)
    assert (found.low is None) == (len(values) == 1)


# In a scenario


@pytest.mark.parametrize("axes", ["kind: tsp, degree: 2, dp: 4", "kind: tp, degree: 4, dp: 2"])
@pytest.mark.parametrize(
    "disturbance",
    [
        {"slow_devices": [{"device": 5, "speed": 0.6}]},
        {"slow_devices": [{"device": i, "memory": 0.5} for i in range(8)]},
        {"links": [{"link": [2, 3], "speed": 0.3}]},
        {"links": [{"link": [2, 3], "lost": True}, {"link": [4, 5], "latency": "9 us"}]},
    ],
)
def test_what_is_disturbed_is_never_folded_away(axes: str, disturbance: dict[str, Any]) -> None:
    """Folded or not, a disturbed step takes as long."""
    overrides = (
        f"strategy={{{axes}}}",
        "topology.ranks=8",
        "workload.batch=4",
        "workload.phase=train",
    )
    found = step(*overrides, **disturbance)
    assert found == pytest.approx(step(*overrides, "engine={fold: off}", **disturbance), rel=1e-9)
    assert found > step(*overrides) * (1 + 1e-6)


def test_a_resolved_scenario_keeps_its_disturbances() -> None:
    """Its document is read back as equal: the same disturbances, and each applied once."""
    loaded = scenario(
        seed=2,
        slow_devices=[{"device": 1, "speed": 0.5}],
        links=[{"link": [0, 1], "speed": 0.5}, {"link": ["d2", 3], "lost": True}],
        jitter=JITTER,
    )
    again = from_document(loaded.document)
    assert again == loaded
    assert tspsim.run(again).summary.step_time == tspsim.run(loaded).summary.step_time


def test_reserved_memory_leaves_a_slow_device_slow() -> None:
    """Both change the device, whichever comes first."""
    slow = scenario(
        "memory.reserved=2 GiB", "kernels=ideal", slow_devices=[{"device": 1, "speed": 0.5}]
    )
    device = slow.topology.devices[1]
    assert (device.pace, device.reserved) == (Pace(0.5, 0.5, 0.5), 2 * 2**30)


def test_show_and_run_say_what_is_disturbed(small: str) -> None:
    """In one line each; an undisturbed scenario has no such line."""
    overrides = (
        "disturbances.slow_devices=[{device: 1, memory: 0.5}]",
        "disturbances.links=[{link: [0, 1], latency: 9 us}, {link: [2, 3], lost: true}]",
    )
    said = (
        "device 1 at 0.5 of its memory bandwidth, link d0–d1 at a latency of 9 us, link d2–d3 lost"
    )
    for command in ("run", "show"):
        shown = call(command, small, *overrides)
        assert said in " ".join(shown.stdout.split()), shown.stdout + shown.stderr
        assert "disturbed" not in call(command, small).stdout
