"""What pipelines cost where sending is free: peaks are the closed forms', spans the player's."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.pipelines import SCHEDULED, piped
from tests.toy import ToyPlanner
from tspsim import memory
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.explain.path import walk
from tspsim.explain.pieces import CriticalPath
from tspsim.program.types import BUFFER_KINDS, Program
from tspsim.schedules.closed_forms import FORMS
from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.play import Costs, Lanes, play
from tspsim.schedules.parts.base import Size
from tspsim.testing import MODEL, Case
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Device, Profile

RANKS, BATCHES = 4, 8
#: Products alone take time; links and memory are too fast to count.
DEVICE = Device("toy", (("bf16", 1e6),), memory_bandwidth=1e30, memory=1e15)
#: Bytes of the loss, which is resident and counts as an activation.
LOSS = 4


def free(ranks: int) -> Topology:
    """Return a link between any two devices on which nothing takes time."""
    pairs = [(f"d{a}", f"d{b}") for a in range(ranks) for b in range(ranks) if a != b]
    links = tuple(Link(i, a, b, 1e30, 0.0) for i, (a, b) in enumerate(pairs))
    return Topology("free", (DEVICE,) * ranks, links, Profile("toy"))


def bare(schedule: str, ranks: int = RANKS, batches: int = BATCHES, /, **pp: Any) -> Case:
    """Return a pipeline of one device per stage, two layers in each, and no ends."""
    each = 2 * SCHEDULED[schedule] if schedule != "dualpipe" else 2
    made = piped("tp", schedule, ranks, pp=pp, options={"degree": 1}, recompute="none")
    shape = replace(MODEL, layers=ranks * each, vocab=0)
    return Case(made.strategy, shape, replace(made.workload, micro_batches=batches))


def order(made: Case) -> Order:
    """Return what the ranks of a case run."""
    assert made.strategy.pp is not None
    return made.strategy.pp.order(made.workload.micro_batches)


def played(made: Case) -> Timeline:
    """Return the timeline of a case where communication is free."""
    topology = free(made.mesh.ranks)
    setup = Setup(made.programs, made.mesh, topology, "bf16", folds=False)
    return simulate(setup, ToyPlanner(topology))


# ---- peaks --------------------------------------------------------------------------------------


def own(timeline: Timeline, rank: int) -> int:
    """Return the most bytes of activations that a rank holds, of those that do not travel.

    Left out are what it is given, sends and receives: the activations between stages.
    """
    program, lives = timeline.programs.of(rank), memory.lifetimes(timeline, rank)
    counted = _counted(program)
    sizes = np.array([b.bytes if b.index in counted else 0 for b in program.buffers])
    moments = np.unique(lives.birth[~np.isnan(lives.birth)])
    return max(int(sizes[(lives.birth <= t) & (t < lives.death)].sum()) for t in moments)


def _counted(program: Program) -> set[int]:
    halves = [op for op in program.ops if op.kind.name in ("send", "receive")]
    away = {o.buffer.index for op in halves for o in (*op.inputs, *op.outputs)}
    written = {o.buffer.index for op in program.ops for o in op.outputs}
    kinds = {b.index for b in program.buffers if b.kind == "activation" and not b.resident}
    return (written & kinds) - away


@cache
def tapes() -> tuple[int, int]:
    """Return the bytes of a micro-batch's tapes in a stage, and of what its W reads of them.

    From the middle of three ranks: of one micro-batch; and of a second one whose first waits for W.
    """
    one = own(played(bare("gpipe", 3, 1)), 1)
    words = ["F0", "I0", "F1", "I1", "W0", "W1"]
    waiting = {"rows": [" ".join(f"{rank}{word}" for word in words) for rank in range(3)]}
    two = own(played(bare("rows", 3, 2, schedule=waiting)), 1)
    return one, two - one


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "interleaved", "looped_bfs", "dualpipe"])
def test_peaks_are_the_micro_batches_in_flight_to_the_byte(schedule: str) -> None:
    """As many tapes as the closed form says, and nothing else."""
    made = bare(schedule)
    timeline, (tape, _) = played(made), tapes()
    size = Size(RANKS, BATCHES, SCHEDULED[schedule])
    for rank in passing(order(made)):
        assert own(timeline, rank) == FORMS[schedule].held(size, rank) * tape


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "looped_bfs"])
def test_the_traced_peak_is_tapes_and_one_activation_under_way(schedule: str) -> None:
    """Of ranks that hold neither end: a tape begins with what was received; one more is sent."""
    made = bare(schedule)
    timeline, (tape, _) = played(made), tapes()
    size, row = Size(RANKS, BATCHES, SCHEDULED[schedule]), BUFFER_KINDS.index("activation")
    tokens = made.workload.batch * made.workload.sequence
    between = tokens * made.model.hidden * made.workload.itemsize
    for rank in range(1, RANKS - 1):
        peak = int(memory.trace(timeline).ranks[rank].by_kind[row].max())
        held = FORMS[schedule].held(size, rank)
        assert peak == held * (between + tape) + between + LOSS


@pytest.mark.parametrize("schedule", ["zb_h1", "zb_h2", "zb_v", "interleaved_zb", "dualpipe_v"])
def test_what_weight_gradients_read_lives_until_they_have_run(schedule: str) -> None:
    """Whole tapes until I, and of those whose W is to come what W reads, to the byte."""
    made = bare(schedule, interleave=False)
    timeline, (tape, kept) = played(made), tapes()
    assert 0 < kept < tape
    found = order(made)
    for rank in passing(found):
        assert own(timeline, rank) == most(found.rows[rank], tape, kept)


def passing(found: Order) -> list[int]:
    """Return the ranks that send on all that their stages give.

    Not the last stage's, which keeps its output, nor the one at the fold of a V.
    """
    ranks = [
        rank
        for rank in range(found.ranks)
        if all(found.target(Action("F", stage, 0)) is not None for stage in found.on(rank))
    ]
    assert len(ranks) >= found.ranks // 2
    return ranks


def most(row: tuple[Action, ...], tape: int, kept: int) -> int:
    """Return what a rank holds at most, when a tape shrinks to what is kept between I and W."""
    change = {"F": tape, "B": -tape, "I": kept - tape, "W": -kept}
    return int(np.cumsum([change[action.kind] for action in row]).max())


def test_zero_bubble_holds_as_many_micro_batches_as_ranks_everywhere() -> None:
    """ZB-H1 evens out what 1F1B holds: p on each rank, later ones as what W reads alone."""
    timeline, (tape, kept) = played(bare("zb_h1")), tapes()
    for rank in passing(order(bare("zb_h1"))):
        whole = RANKS - rank  # as 1F1B has
        assert own(timeline, rank) == whole * tape + (RANKS - whole) * kept


# ---- times --------------------------------------------------------------------------------------


def costs(made: Case, timeline: Timeline) -> Costs:
    """Return how long the passes of every stage took, from the ops of its layers."""
    assert made.strategy.pp is not None
    stages = made.strategy.pp.roles(made.model, made.workload)
    times = np.zeros((3, stages[0].order.stages))
    for rank, role in enumerate(stages):
        for stage in role.mine:
            batches = {a.microbatch for a in role.order.rows[rank] if a.stage == stage}
            for span in timeline.spans(rank):
                op = span.op
                mine = op.layer in role.of(stage) and op.micro_batch in batches
                if mine and not op.lane and op.phase in ("forward", "backward"):
                    which = 2 if getattr(op.kind, "transpose_a", False) else op.phase != "forward"
                    times[int(which), stage] += (span.end - span.start) / len(batches)
    return Costs(*(tuple(row) for row in times.tolist()))


def span(timeline: Timeline) -> float:
    """Return the time from the first to the end of the last op of a layer."""
    spans = [
        s
        for rank in range(timeline.mesh.ranks)
        for s in timeline.spans(rank)
        if not s.op.lane and s.op.phase != "optimizer"
    ]
    return max(s.end for s in spans) - min(s.start for s in spans)


@pytest.mark.parametrize("streams", ["pair", "rank", "direction"])
@pytest.mark.parametrize("schedule", [s for s in SCHEDULED if not s.startswith("dualpipe")])
def test_steps_take_what_an_independent_player_says(schedule: str, streams: str) -> None:
    """Of devices whose sends are free: the span of the order with the stages' own times."""
    made = bare(schedule, streams=streams)
    timeline = played(made)
    lanes: Lanes = "unordered" if streams == "direction" else streams  # type: ignore[assignment]
    expected = play(order(made), costs(made, timeline), lanes).span
    assert span(timeline) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("streams", ["pair", "rank"])
@pytest.mark.parametrize("schedule", ["dualpipe", "dualpipe_v"])
def test_pairs_take_no_longer_than_their_two_actions(schedule: str, streams: Lanes) -> None:
    """What a forward needs of its pair's backward is less than the player's pair waits for."""
    made = bare(schedule, streams=streams)
    timeline, found = played(made), order(made)
    times = costs(made, timeline)
    apart = play(replace(found, overlapped=frozenset()), times).span
    assert apart * (1 - 1e-9) <= span(timeline)
    assert span(timeline) <= play(found, times, streams).span * (1 + 1e-9)


@pytest.mark.parametrize("streams", ["pair", "rank"])
@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_sends_that_are_waited_for_cost_nothing_where_sending_is_free(
    schedule: str, streams: str
) -> None:
    """Megatron posts a receive right before its reader: nothing else is held up by it."""
    waits = span(played(bare(schedule, streams=streams, overlap=False)))
    assert waits == pytest.approx(span(played(bare(schedule, streams=streams))), rel=1e-9)


def path(made: Case, timeline: Timeline) -> CriticalPath:
    """Return the critical path of a run of `played`."""
    topology = free(made.mesh.ranks)
    return walk(timeline, topology, "bf16", ToyPlanner(topology))


def test_one_stream_per_rank_costs_an_interleaved_pipeline_a_fifth() -> None:
    """Though sending is free; and the critical path names what is waited for: the head of a line.

    Where all passes take equal times it is 70 against 57.
    """
    cases = {s: bare("interleaved", streams=s) for s in ("pair", "rank")}
    timelines = {s: played(made) for s, made in cases.items()}
    longer = span(timelines["rank"]) / span(timelines["pair"])
    assert longer == pytest.approx(70 / 57, rel=0.01)
    edges = {s: {p.edge for p in path(cases[s], timelines[s]).pieces} for s in cases}
    assert "head of line" in edges["rank"]
    assert "head of line" not in edges["pair"]
