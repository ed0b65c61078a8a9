"""The CSV tables: what the columns hold, and that nothing is lost in them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import small_result
from tspsim.output import memory_table, spans
from tspsim.program.types import BUFFER_KINDS, Program, Programs


def rows(text: str) -> list[dict[str, str]]:
    """Return the lines of a table as mappings."""
    return list(csv.DictReader(io.StringIO(text)))


def test_every_task_of_every_rank_is_a_line_with_its_exact_times() -> None:
    """Ranks ascend, tasks stand in issue order, and times read back to the same double."""
    timeline = small_result.real().timeline
    found = rows("".join(spans.blocks(timeline)))
    expected = [span for rank in range(4) for span in timeline.spans(rank)]
    assert list(found[0]) == list(spans.COLUMNS)
    assert [(int(r["rank"]), r["lane"], int(r["op"])) for r in found] == [
        (s.rank, s.lane, s.op.index) for s in expected
    ]
    assert [(float(r["start"]), float(r["end"])) for r in found] == [
        (s.start, s.end) for s in expected
    ]


def test_sizes_of_compute_and_communication_stand_in_columns_of_their_own() -> None:
    """Their sums are the figures of the summary; layers are empty outside the layers."""
    result = small_result.real()
    found = [r for r in rows("".join(spans.blocks(result.timeline))) if r["rank"] == "0"]
    figures = result.summary.to_dict()
    received = figures["communication"]["received_bytes_per_rank"]
    assert sum(int(r["flops"]) for r in found) == figures["flops_per_rank"]
    assert sum(float(r["received"]) for r in found) == pytest.approx(received)
    assert all((r["message"] == "0") == (r["lane"] == "compute") for r in found)
    assert {r["layer"] for r in found} == {"", "0", "1"}


def test_work_that_differs_by_rank_is_written_for_each() -> None:
    """Contiguous causal shards share a program, but not their flops."""
    result = small_result.real(causal="contiguous")
    found = rows("".join(spans.blocks(result.timeline)))
    flops = {
        rank: sum(int(r["flops"]) for r in found if r["rank"] == str(rank) and "att" in r["kind"])
        for rank in range(4)
    }
    assert flops[0] < flops[1] < flops[2] < flops[3]


def test_a_label_with_a_comma_stays_one_field() -> None:
    """Strategies from outside may name their ops as they like."""
    timeline = small_result.timeline(2, 1)
    program = timeline.programs.of(0)
    odd = (program.ops[0]._replace(label='a, "b"'), *program.ops[1:])
    named = Program(odd, program.buffers, program.lanes, program.waits)
    timeline = replace(timeline, programs=Programs((named,), (0, 0)))
    assert rows("".join(spans.blocks(timeline)))[0]["label"] == 'a, "b"'


def test_memory_table_holds_every_change_of_every_rank() -> None:
    """Reading the table back gives the memory trace."""
    memory = small_result.real().memory
    found = rows("".join(memory_table.blocks(memory, range(len(memory.ranks)))))
    assert list(found[0]) == ["rank", "time", *BUFFER_KINDS]
    for rank, trace in enumerate(memory.ranks):
        mine = [r for r in found if r["rank"] == str(rank)]
        assert [float(r["time"]) for r in mine] == trace.times.tolist()
        amounts = np.array([[int(r[kind]) for r in mine] for kind in BUFFER_KINDS])
        assert np.array_equal(amounts, trace.by_kind)


def test_tables_of_equal_results_have_equal_bytes(tmp_path: Path) -> None:
    """No time of writing stands in the gzip header."""
    result = small_result.real()
    for name in ("a", "b"):
        spans.write(result.timeline, tmp_path / f"{name}.spans")
        memory_table.write(result, tmp_path / f"{name}.memory")
    for table in ("spans", "memory"):
        first, second = (tmp_path / f"{name}.{table}" for name in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()
