"""The proof can fail: take one thing out of a schedule and the values are wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.schedules import VARIANTS, record, title
from tspsim.program.types import Programs
from tspsim.testing import MODEL, WORKLOAD, forgettable, without
from tspsim.values import compare
from tspsim.values.play import Player

#: A whole forward is run again under ``recompute: full``, as checkpointing does it: its very last
#: sum over ranks feeds nothing, and is the one collective that no value depends on.
UNREAD = {("all_reduce", "mlp.out", "recompute"), ("reduce_scatter", "mlp.out", "recompute")}


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_forgetting_any_one_collective_or_reorder_is_found(variant) -> None:
    """Each collective and each zigzag reorder, one at a time, made to do nothing: values differ."""
    programs, mesh = record(variant, MODEL, WORKLOAD)
    everything = forgettable(programs)
    unnoticed = {
        victim[1:]
        for victim in everything
        if compare(without(programs, victim), mesh, MODEL, WORKLOAD).passed
    }
    assert everything
    assert unnoticed == UNREAD & {victim[1:] for victim in everything}


def test_the_unmutated_schedules_pass() -> None:
    """The same comparison, with nothing taken out, finds nothing."""
    for variant in VARIANTS:
        programs, mesh = record(variant, MODEL, WORKLOAD)
        assert compare(programs, mesh, MODEL, WORKLOAD).passed


def test_a_collective_that_one_rank_leaves_out_stops_the_play() -> None:
    """Ranks that wait for a peer that never comes are told apart from a wrong value."""
    from tspsim.files.errors import ScheduleError

    programs, mesh = record(("tp", {"degree": 4}), MODEL, WORKLOAD)
    (program,) = programs.roles
    last = max(op.index for op in program.ops if op.message)
    shorter = replace(program, ops=tuple(op for op in program.ops if op.index != last))
    uneven = Programs((program, shorter), (0, 0, 0, 1))
    from tspsim.values.dense import initial

    with pytest.raises(ScheduleError, match="do not meet"):
        Player(uneven, mesh, initial(MODEL, WORKLOAD)).run()
