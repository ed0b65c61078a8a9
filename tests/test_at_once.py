"""Two passes at once: what one micro-batch says travels while another one is computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

import tspsim
from tests.experts import EMPTY, SIGMOID, SKEWED, SOFTMAX, mixture
from tests.test_experts_mutations import ONE_LAYER, unnoticed
from tests.test_pipeline_stamps import equal
from tests.toy import full, run
from tspsim.explain.exposed import causes
from tspsim.explain.remedies import of_experts, possible
from tspsim.mesh import Mesh
from tspsim.program.axis import Axis
from tspsim.program.interleaving import Interleaving
from tspsim.program.ledger import Ledger
from tspsim.program.stages import whole
from tspsim.program.types import BUFFER_KINDS, Operand, Program, Programs, Work
from tspsim.schedules.orders.actions import Action
from tspsim.testing import Case, forgettable
from tspsim.testing.checks import check_calls, check_values

OVERLAPS = ("two_batches", "forward_backward")
FOUR = replace(SKEWED, micro_batches=4, batch=1)
SHORT = replace(SOFTMAX, layers=2)


# ---- what is computed ----------------------------------------------------------------------------


def raced(program: Program) -> Iterator[tuple[str, str]]:
    """Yield ops that use what another op on another lane wrote or read, and do not wait for it."""
    ledger, ops = Ledger(), program.ops
    for _ in program.buffers:
        ledger.declare()
    for op in ops:
        waits = {ops[before].lane: before for before in program.waits[op.index]}
        for needed in ledger.enter(op.lane, op.inputs, op.outputs, -1):
            if waits.get(ops[needed].lane, -1) < needed:
                yield op.name, ops[needed].name


def prove(made: Case) -> None:
    """Require the dense loop's values, calls that meet, and waits for all data."""
    check_calls(made)
    check_values(made)
    assert not [race for program in made.programs.roles for race in raced(program)]


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize(
    ("strategy", "layout", "options"),
    [
        ("tsp", "tokens", {}),
        ("tsp", "ring", {}),
        ("tp", "tokens", {}),
        ("sp", "tensor", {}),
        ("tsp", "tokens", {"degree": 2, "dp": 2, "zero": 2}),
        ("tsp", "tokens", {"degree": 2, "dp": 2, "zero": 3}),
        ("tsp", "ring", {"degree": 2, "dp": 2, "zero": 3, "reshard": False, "sync": "last"}),
    ],
)
def test_two_micro_batches_at_once_compute_the_dense_loops_numbers(
    strategy: str, layout: str, options: dict[str, Any], overlap: str
) -> None:
    """Skewed routing, weights that stay, go round or are gathered: every gradient is right."""
    prove(mixture(strategy, layout, SHORT, FOUR, {"overlap": overlap}, **options))


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_experts_without_tokens_and_layers_that_run_again_are_right_at_once(overlap: str) -> None:
    """Half of the experts get nothing; a rank's backward has its forward in it."""
    prove(mixture("tsp", "tokens", SIGMOID, replace(EMPTY, micro_batches=4), {"overlap": overlap}))


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("dualpipe", {}),
        ("dualpipe", {"pp": {"interleave": False}}),
        ("dualpipe_v", {"dp": 2, "zero": 3}),
    ],
)
def test_pairs_of_a_pipeline_compute_the_dense_loops_numbers(
    schedule: str, options: dict[str, Any]
) -> None:
    """A forward and a backward in turn, in stages of dense layers and of experts."""
    own = {"overlap": schedule == "dualpipe_v", **options.get("pp", {})}
    pipeline = {"pp": {"stages": 2, "schedule": schedule, **own}}
    more = {"degree": 2, "dp": 1, **options, **pipeline}
    prove(mixture("tsp", "tokens", replace(SOFTMAX, layers=4), FOUR, **more))


def test_a_dispatch_or_a_combine_that_is_left_out_is_found() -> None:
    """Forward and backward, where two micro-batches are under way."""
    workload = replace(EMPTY, batch=1, micro_batches=2, recompute="none")
    made = mixture("tsp", "tokens", ONE_LAYER, workload, {"overlap": "two_batches"}, degree=2)
    victims = [v for v in forgettable(made.programs) if v.label in ("dispatch", "combine")]
    assert {(v.label, v.phase) for v in victims} == {
        (label, phase) for label in ("dispatch", "combine") for phase in ("forward", "backward")
    }
    assert not unnoticed(made, victims)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_passes_at_once_are_stamped_as_they_are_recorded(overlap: str) -> None:
    """Slots of weights that go round are filled alike, whoever wrote the ops down."""
    equal(mixture("tsp", "ring", SHORT, replace(FOUR, micro_batches=6), {"overlap": overlap}))


# ---- in which order ------------------------------------------------------------------------------


def test_passes_of_one_stage_are_paired_as_the_option_says() -> None:
    """Two forwards, then their backwards; or each forward with the backward before it."""
    assert str(whole(1, 4, "forward_backward").order) == (
        "0F0 (0F1;0B0)OVERLAP_F_B (0F2;0B1)OVERLAP_F_B (0F3;0B2)OVERLAP_F_B 0B3"
    )
    two = [tuple(map(str, turn)) for turn in whole(1, 4, "two_batches").turns()]
    assert two == [("0F0", "0F1"), ("0B0", "0B1"), ("0F2", "0F3"), ("0B2", "0B3")]


def test_every_pass_keeps_its_own_order_and_they_take_turns_where_one_waits() -> None:
    """DeepSeek's figure: backward's dispatch travels under attention, forward's under its MLP."""
    made = mixture("tsp", "tokens", SHORT, FOUR, {"overlap": "forward_backward"})
    (alone,) = mixture("tsp", "tokens", SHORT, FOUR).programs.roles
    (program,) = made.programs.roles

    def of(found: Program, number: int, forward: bool) -> list[str]:
        own = (op for op in found.ops if found.between(op) and op.micro_batch == number)
        return [op.name for op in own if (op.phase == "forward") == forward]

    for number in range(4):
        for forward in (True, False):
            assert of(program, number, forward) == of(alone, number, forward)
    told = [(kind, number) for (kind, _, number), *_ in program.actions]
    second = told.index(("B", 0))
    assert told[second : second + 6] == [("B", 0), ("F", 1)] * 3


# ---- how long it takes ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Seconds:
    """An op that computes for some seconds on the toy device."""

    seconds: float
    name: str = "compute"

    def work(self, *_: object) -> Work:
        """Return so many flops."""
        return Work(self.seconds, 0, "matmul")  # type: ignore[arg-type]

    def text(self) -> str:
        """Return the name."""
        return self.name


def chain(rank: Interleaving, parts: int, computes: float, travels: int) -> None:
    """Record a pass: so many computations, and a message between any two."""
    x: Operand = rank.buffer("x", (2 * travels,), 1)
    for part in range(parts):
        rank.compute(Seconds(computes), (x,) if part else (), (x,))  # type: ignore[arg-type]
        if part + 1 < parts:
            Axis(rank, "tsp", 2).all_reduce(x, lane="a", label="message")


def pair(parts: int, computes: float, travels: int) -> float:
    """Return what two equal passes take at once on two devices without latencies."""
    rank = Interleaving(Mesh((("tsp", 2),)))
    rank.at_once(
        lambda _: chain(rank, parts, computes, travels), Action("F", 0, 0), Action("F", 0, 1)
    )
    return run(Programs((rank.program(),), (0, 0)), full(2)).step_time


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize(("computes", "travels"), [(3, 1), (3, 3), (2, 5)])
def test_two_equal_passes_take_the_longer_of_computing_and_travelling(
    parts: int, computes: int, travels: int
) -> None:
    """2 n c where messages hide; else the first and the last computation and all 2 (n - 1) t."""
    expected = max(2 * parts * computes, 2 * computes + 2 * (parts - 1) * travels)
    assert pair(parts, computes, travels) == pytest.approx(expected, rel=1e-12)


SCENARIO: dict[str, Any] = {
    "name": "mixture",
    "model": {
        "hidden": 2048, "layers": 4, "heads": 16, "kv_heads": 8, "ffn": 4096, "vocab": 0,
        "experts": {"count": 8, "active": 2, "width": 4096},
    },
    "workload": {
        "sequence": 8192, "micro_batches": 4,
        "routing": {"kind": "power_law", "exponent": 0.5},
    },
    "topology": {
        "kind": "full", "ranks": 4, "device": "h100-sxm",
        "link": {"bandwidth": "100 GB/s", "latency": "2 us"},
    },
    "strategy": {"kind": "tsp", "degree": 4},
}  # fmt: skip


@cache
def ran(strategy: str, *changes: str) -> tspsim.Run:
    """Return a run of the scenario under a strategy."""
    return tspsim.run(SCENARIO, f"strategy={{{strategy}}}", *changes)


KINDS = {
    "tsp": "kind: tsp, degree: 4",
    "tp": "kind: tp, degree: 4, sequence_parallel: true",
    "fsdp": "kind: fsdp, dp: 4, zero: 3, experts: {over: [dp]}",
}


def beside(kind: str, overlap: str | None) -> str:
    """Return a strategy of which passes of micro-batches are played at once, or are not."""
    said = KINDS[kind].removesuffix("}")
    now = f"{said}, " if said != KINDS[kind] else f"{said}, experts: {{"
    return f"{now}overlap: {overlap or 'null'}}}"


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("kind", KINDS)
def test_communication_is_hidden_where_there_is_something_to_compute(
    kind: str, overlap: str
) -> None:
    """As much is computed and said; less of it is exposed, and the step is shorter by it."""
    alone, both = ran(beside(kind, None)).summary, ran(beside(kind, overlap)).summary
    assert both.time.exposed_communication < 0.8 * alone.time.exposed_communication
    assert both.step_time < alone.step_time
    assert both.communication == alone.communication


def test_pairs_of_dualpipe_hide_what_torchs_runtime_leaves_exposed() -> None:
    """The same passes in the same order: one after the other, and in turn."""
    pipeline = "kind: tsp, degree: 2, pp: {{stages: 2, schedule: dualpipe_v, interleave: {}}}"
    apart, woven = (ran(pipeline.format(way)).summary for way in ("false", "true"))
    assert woven.time.exposed_communication < apart.time.exposed_communication
    assert woven.step_time < apart.step_time


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_ranks_that_are_folded_take_what_all_ranks_take(overlap: str) -> None:
    """To the last bit, and hold as much."""
    found = [
        ran(beside("fsdp", overlap), "workload.routing=balanced", f"engine.fold={fold}")
        for fold in ("auto", "off")
    ]
    folded, every = found
    assert len(folded.timeline.played) < len(every.timeline.played)
    assert folded.summary.step_time == every.summary.step_time
    assert folded.memory.peak == every.memory.peak


def test_the_activations_of_both_micro_batches_are_there() -> None:
    """Two forwards keep twice as much; a backward frees what the forward beside it keeps."""

    def kept(overlap: str | None) -> float:
        row, ranks = BUFFER_KINDS.index("activation"), ran(beside("tsp", overlap)).memory.ranks
        return max(float(rank.by_kind[row].max()) for rank in ranks)

    alone = kept(None)
    assert 1.8 * alone < kept("two_batches") < 2.2 * alone
    assert alone <= kept("forward_backward") < 1.3 * alone


def test_what_stays_exposed_is_named() -> None:
    """By collective and phase; a dispatch that another forward hides is not among it any more."""

    def named(overlap: str | None) -> dict[tuple[str, str], float]:
        found = ran(beside("tsp", overlap))
        told = causes(found.timeline, found.timeline.slowest_rank)
        exposed = found.summary.time.exposed_communication
        assert sum(cause.seconds for cause in told) == pytest.approx(exposed, rel=1e-9)
        return {(cause.label, cause.phase): cause.seconds for cause in told}

    alone, both = named(None), named("two_batches")
    assert alone["dispatch", "forward"] > 0
    assert both.get(("dispatch", "forward"), 0.0) < 0.1 * alone["dispatch", "forward"]
    assert 0 < both["combine", "forward"] < alone["combine", "forward"]


def test_an_explanation_tries_passes_at_once() -> None:
    """Where there are micro-batches to pair, and none are paired yet."""

    def tried(scenario: tspsim.Scenario) -> set[str]:
        said = (way for ways, _ in possible(scenario, of_experts) for way in ways)
        return {way for way in said if "overlap" in way}

    assert tried(ran("kind: tsp, degree: 4").scenario) == {
        f"strategy.experts={{overlap: {overlap}}}" for overlap in OVERLAPS
    }
    assert tried(ran(beside("tsp", "two_batches")).scenario) == {
        "strategy.experts.overlap=forward_backward"
    }
