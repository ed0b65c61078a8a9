"""The bubble of a simulated pipeline: what it is, and what explains it."""

from __future__ import annotations

import pytest

from tests.staged import staged
from tspsim.engine.bubble import Bubbles
from tspsim.explain.explanation import explain
from tspsim.explain.report import to_dict
from tspsim.runner import Run
from tspsim.schedules.closed_forms import FORMS, Times
from tspsim.schedules.parts.base import Size

#: Theirs hold where input gradients and forward take the same: in no model with attention.
FORMED = sorted(set(FORMS) - {"dualpipe", "dualpipe_v"})
CHUNKED = ("interleaved", "interleaved_zb", "looped_bfs", "zb_v")


def times(result: Run) -> Times:
    """Return how long the passes of a stage take."""
    timeline = result.timeline
    program, start, end = timeline.programs.of(0), timeline.start[0], timeline.end[0]
    taken: dict[str, float] = {}
    for action, first, stop in program.actions:
        ops = [op.index for op in program.ops[first:stop] if op.lane == 0]
        taken[action.kind] = float(sum(end[op] - start[op] for op in ops))
    if "W" in taken:
        return Times(taken["F"], taken["I"], taken["W"])
    return Times(taken["F"], taken["B"], 0.0)


@pytest.mark.parametrize("schedule", FORMED)
@pytest.mark.parametrize(("ranks", "many"), [(2, 8), (4, 8), (4, 12)])
def test_bubbles_are_the_closed_forms_where_nothing_else_takes_time(
    schedule: str, ranks: int, many: int
) -> None:
    """Of the rank that waits longest; of zb_h2, whose steps overlap, within a rank's own window."""
    form, size = FORMS[schedule], Size(ranks, many, 2 if schedule in CHUNKED else 1)
    result = staged(schedule, size)
    t = times(result)
    assert form.sizes(size)
    assert form.times(t)
    bubbles = Bubbles(result.timeline)
    found = [bubbles.of(rank) for rank in range(ranks)]
    longest = max(b.between if form.window else b.seconds for b in found)
    step = result.summary.step_time
    assert longest == pytest.approx(form.bubble(size, t), rel=1e-9, abs=1e-9 * step)


def test_a_rank_is_in_the_bubble_or_computes_where_nothing_is_sent() -> None:
    """Then bubble and compute add up to the step, on every rank."""
    result = staged("1f1b", Size(4, 8))
    bubbles, step = Bubbles(result.timeline), result.summary.step_time
    for rank, program in enumerate(result.timeline.programs.roles):
        start, end = result.timeline.start[rank], result.timeline.end[rank]
        busy = sum(float(end[op.index] - start[op.index]) for op in program.ops if op.lane == 0)
        assert bubbles.of(rank).seconds + busy == pytest.approx(step, rel=1e-9)


def test_the_parts_of_a_bubble_lie_where_a_schedule_has_them() -> None:
    """In 1F1B the first rank waits between its actions only, the last one before and behind."""
    result = staged("1f1b", Size(4, 8))
    bubbles, t = Bubbles(result.timeline), times(result)
    first, last = bubbles.of(0), bubbles.of(3)
    assert (first.fill, first.drain) == (0, pytest.approx(0, abs=1e-9))
    assert last.fill == pytest.approx(3 * t.f)
    assert last.drain == pytest.approx(3 * (t.i + t.w))
    assert last.between == pytest.approx(0, abs=1e-9)


def test_communication_inside_of_a_stage_is_no_bubble() -> None:
    """On slow links TP exposes its all-reduces; what travels between stages alone is awaited."""
    size, slow = Size(2, 6), "topology.link.bandwidth=1 MB/s"
    alone = staged("1f1b", Size(1, 6), slow, degree=2)
    assert alone.summary.time.exposed_communication > 0.05 * alone.summary.step_time
    assert alone.summary.pipeline is not None
    assert alone.summary.pipeline.bubble.most == 0
    result = staged("1f1b", size, slow, degree=2)
    each = 2 * 512 * 512 / 1e6  # seconds of a message
    transfers = 2 * size.microbatches - 2  # but for the first one, in the fill, and the last one
    assert 0 < Bubbles(result.timeline).of(3).between <= transfers * each * (1 + 1e-9)


def test_the_figures_of_a_run_are_those_of_its_ranks() -> None:
    """The mean is of all ranks, folded or not; stages stand in order."""
    size = Size(4, 8, 2)
    folded, whole = (
        staged("zb_v", size, f"engine.fold={fold}", degree=2).summary.pipeline
        for fold in ("auto", "off")
    )
    assert folded is not None
    assert whole is not None
    assert folded.bubble.mean == pytest.approx(whole.bubble.mean)
    result = staged("zb_v", size, "engine.fold=off", degree=2)
    bubbles = Bubbles(result.timeline)
    seconds = [bubbles.of(rank).seconds for rank in range(8)]
    assert whole.bubble.mean == pytest.approx(sum(seconds) / 8)
    assert whole.bubble.most == max(seconds) == pytest.approx(seconds[whole.bubble.most_rank])
    assert whole.bubble.share == pytest.approx(whole.bubble.mean / result.summary.step_time)
    assert [stage.rank // 2 for stage in whole.bubble.per_stage] == [0, 1, 2, 3]


def test_one_stream_of_all_sends_blocks_the_head_of_its_line() -> None:
    """Interleaved, nothing takes time to send: what a step takes longer, it waits behind others."""
    size = Size(4, 8, 2)
    one, pairs = (staged("interleaved", size, streams=streams) for streams in ("rank", "pair"))
    causes = [explain(result, what_if=False).bubble for result in (one, pairs)]
    assert all(causes)
    blocked, free = (found.head_of_line if found else -1 for found in causes)
    assert one.summary.step_time > 1.02 * pairs.summary.step_time
    assert blocked > 0.5 * (one.summary.step_time - pairs.summary.step_time)
    assert free == pytest.approx(0, abs=1e-9)


def test_an_explanation_says_what_the_bubble_consists_of() -> None:
    """In ``--json`` under ``bubble``, where there is a pipeline."""
    result = staged("1f1b", Size(4, 8))
    found = to_dict(explain(result, what_if=False))["bubble"]
    assert list(found) == [
        "rank",
        "total",
        "fill",
        "between",
        "drain",
        "head_of_line",
        "blocked_rank",
    ]
    assert found["total"] == pytest.approx(found["fill"] + found["between"] + found["drain"])
    assert result.summary.pipeline is not None
    assert found["total"] == pytest.approx(result.summary.pipeline.bubble.most)
