"""The bubble of a simulated pipeline: what it is when nothing takes time but compute."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tspsim import runner
from tspsim.engine.bubble import Bubbles
from tspsim.schedules.closed_forms import FORMS, Times
from tspsim.schedules.parts.base import Size

#: Nothing but matrix products takes time: memory and links are as good as endless.
FREE: dict[str, Any] = {
    "name": "free",
    "kind": "full",
    "device": {
        "name": "d", "flop_rate": {"bf16": "1 GFLOP/s"}, "memory_bandwidth": "1e5 TB/s",
        "memory": "80 GiB",
    },
    "link": {"bandwidth": "1e5 TB/s", "latency": "0 s"},
}  # fmt: skip
#: Input gradients and forward of one duration would take a model without attention.
FORMED = sorted(set(FORMS) - {"dualpipe", "dualpipe_v"})


@cache
def run(schedule: str, size: Size, kind: str = "tp", **more: Any) -> runner.Run:
    """Return a run of equal stages."""
    degree = 1
    document = {
        "name": "bubbles",
        "model": {"hidden": 512, "layers": size.ranks * size.chunks, "heads": 4, "kv_heads": 4,
                  "ffn": 2048, "vocab": 0},
        "workload": {"sequence": 512, "batch": 1, "micro_batches": size.microbatches,
                     "phase": "train", "dtype": "bf16", "recompute": "none", **more},
        "topology": {**FREE, "ranks": size.ranks * degree},
        "strategy": {"kind": kind, "degree": degree,
                     "pp": {"stages": size.ranks, "schedule": schedule, "chunks": size.chunks}},
        "kernels": "ideal",
        "timing": {"profile": "datasheet"},
    }  # fmt: skip
    return runner.run(document)


def times(result: runner.Run) -> Times:
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
    form = FORMS[schedule]
    chunks = 2 if schedule in ("interleaved", "interleaved_zb", "looped_bfs", "zb_v") else 1
    size = Size(ranks, many, chunks)
    result = run(schedule, size)
    t = times(result)
    assert form.sizes(size)
    assert form.times(t)
    bubbles = Bubbles(result.timeline)
    found = [bubbles.of(rank) for rank in range(ranks)]
    longest = max(b.between if form.window else b.seconds for b in found)
    step = result.summary.step_time
    assert longest == pytest.approx(form.bubble(size, t), rel=1e-9, abs=1e-9 * step)
