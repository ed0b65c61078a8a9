"""The Perfetto trace: tracks without overlaps, arrows that bind, counters that agree."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import small_result
from tspsim.engine.timeline import Transfer
from tspsim.output import trace
from tspsim.output.trace_links import choose, pack
from tspsim.output.trace_times import microseconds
from tspsim.output.trace_tracks import tid

Event = dict[str, Any]
KINDS = ["tsp", "tp", "sp", "tp_sp"]


def read(result: Any) -> dict[str, Any]:
    """Return the trace of a result as a reader sees it."""
    found: dict[str, Any] = json.loads("".join(trace.blocks(result)))
    return found


def events(result: Any, phase: str) -> list[Event]:
    """Return the events of one phase: X slices, C counters, M names, s and f arrows."""
    return [event for event in read(result)["traceEvents"] if event["ph"] == phase]


def tracks(slices: list[Event]) -> dict[tuple[int, int], list[Event]]:
    """Return the slices by process and track, in order of their start."""
    found: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in sorted(slices, key=lambda e: e["ts"]):
        found[event["pid"], event["tid"]].append(event)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_slices_of_a_track_never_overlap(kind: str) -> None:
    """Perfetto draws overlapping slices of one track wrongly, so there must be none."""
    for found in tracks(events(small_result.real(kind), "X")).values():
        ends = [event["ts"] + event["dur"] for event in found]
        assert all(end <= after["ts"] for end, after in zip(ends, found[1:], strict=False))


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1e3), st.floats(0, 1e2)), min_size=1))
def test_tasks_that_follow_each_other_do_not_overlap_in_microseconds(
    steps: list[tuple[float, float]],
) -> None:
    """Whatever rounding does: neither as doubles nor cut or rounded to whole nanoseconds."""
    edges = np.cumsum([part * 1e-6 for step in steps for part in step])
    start, end = edges[::2], edges[1::2]
    times = microseconds(start, end)
    first, duration = np.array(times.start), np.array(times.duration)
    assert (first[:-1] + duration[:-1] <= first[1:]).all()
    for whole in (np.floor, np.rint):
        ends = whole(first * 1e3) + whole(duration * 1e3)
        assert (ends[:-1] <= whole(first[1:] * 1e3)).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 10))))
def test_flows_at_the_same_time_get_tracks_of_their_own(flows: list[tuple[int, int]]) -> None:
    """No two intervals of a track overlap, and there are no more tracks than needed."""
    intervals = sorted((float(start), float(start + length)) for start, length in flows)
    chosen = pack(intervals)
    for track in set(chosen):
        mine = [i for i, t in zip(intervals, chosen, strict=True) if t == track]
        assert all(a[1] <= b[0] for a, b in pairwise(mine))
    crowd = [sum(a <= start < b for a, b in intervals) for start, _ in intervals]
    assert len(set(chosen)) == max(crowd, default=0)


def test_every_task_that_takes_time_is_a_slice_at_its_time() -> None:
    """Tasks without a duration have no slice; the others start and end as in the timeline."""
    result = small_result.real()
    found = tracks(events(result, "X"))
    for rank in range(4):
        spans = [s for s in result.timeline.spans(rank) if s.end > s.start]
        for lane, name in enumerate(lane.name for lane in result.timeline.programs.of(rank).lanes):
            mine = sorted((s for s in spans if s.lane == name), key=lambda s: s.start)
            slices = found.get((rank, tid(rank, lane)), [])
            assert [e["name"] for e in slices] == [s.op.name for s in mine]
            assert [e["ts"] for e in slices] == pytest.approx([s.start * 1e6 for s in mine])
            assert [e["ts"] + e["dur"] for e in slices] == pytest.approx(
                [s.end * 1e6 for s in mine], rel=0, abs=2e-3
            )


def test_ranks_streams_and_links_are_named() -> None:
    """A viewer shows names instead of numbers: ranks, streams, and links by their two ends."""
    result = small_result.real()
    named = [event for event in events(result, "M") if event["name"].endswith("_name")]
    names = {(e["pid"], e.get("tid")): e["args"]["name"] for e in named}
    assert [names[pid, None] for pid in range(5)] == [*(f"rank {r}" for r in range(4)), "links"]
    lanes = enumerate(result.timeline.programs.of(3).lanes)
    assert all(names[3, tid(3, i)] == lane.name for i, lane in lanes)
    assert {names[key] for key in names if key[0] == 4} >= {"links", "d0→d1", "d3→d0"}


def test_two_flows_on_one_link_at_once_stand_on_two_tracks() -> None:
    """The second track of a link is numbered."""
    base = small_result.result()
    two = tuple(
        Transfer(0, (0, 1), "shift", 8, "direct", ((0, 1.0),), start, start + 2.0)
        for start in (0.0, 1.0, 2.0)
    )
    links = choose(two, base.scenario.topology)
    found = [json.loads(line) for lines in links.events(pid=9) for line in lines]
    names = {e["tid"]: e["args"]["name"] for e in found if e["name"] == "thread_name"}
    assert names == {tid(9, 0): "d0→d1", tid(9, 1): "d0→d1 #2"}
    assert [names[e["tid"]] for e in found if e["ph"] == "X"] == ["d0→d1", "d0→d1 #2", "d0→d1"]


def test_no_two_tracks_have_the_same_number() -> None:
    """Perfetto mixes up tracks of different processes whose tid is 0, or is that of a process."""
    found = events(small_result.real(), "X")
    numbers = Counter(number for _, number in {(event["pid"], event["tid"]) for event in found})
    assert set(numbers.values()) == {1}
    assert not numbers.keys() & {0, *(event["pid"] for event in found)}


def test_links_beyond_the_limit_are_left_out_and_it_is_said() -> None:
    """A trace says which links it shows, rather than growing without bound."""
    base = small_result.result()
    few = choose(base.timeline.transfers, base.scenario.topology, limit=60)
    assert 0 < len(few.links) < 12
    assert few.note == f"{len(few.links)} of 12 used links: the others are left out, to stay " + (
        "below 60 slices"
    )
    assert read(base)["otherData"]["links"] == "12 of 12 used links"


@pytest.mark.parametrize("kind", KINDS)
def test_arrows_bind_inside_a_slice_at_both_ends(kind: str) -> None:
    """An arrow whose end lies on the edge of a slice would bind to a neighbour, or to nothing."""
    result = small_result.real(kind)
    found = tracks(events(result, "X"))
    starts = {event["id"]: event for event in events(result, "s")}
    finishes = {event["id"]: event for event in events(result, "f")}
    assert starts.keys() == finishes.keys()
    for arrow in [*starts.values(), *finishes.values()]:
        around = [
            e
            for e in found[arrow["pid"], arrow["tid"]]
            if e["ts"] < arrow["ts"] < e["ts"] + e["dur"]
        ]
        assert [e["cat"] for e in around] == [arrow["name"]]
    assert all(starts[i]["ts"] < finishes[i]["ts"] for i in starts)


def test_arrows_lead_to_the_right_hand_neighbour_and_from_the_root() -> None:
    """A hop has one arrow; a broadcast one for every member but its root."""
    result = small_result.result(degree=3, layers=1)
    ends = {event["id"]: event["pid"] for event in events(result, "f")}
    arrows = Counter((e["name"], e["pid"], ends[e["id"]]) for e in events(result, "s"))
    hops = {("shift", r, (r + 1) % 3): 2 for r in range(3)}
    spread = {("broadcast", a, b): 1 for a in range(3) for b in range(3) if a != b}
    assert arrows == Counter(hops | spread)


def test_memory_counters_follow_the_trace_of_memory() -> None:
    """Every kind's counter has the values of the memory trace where they change."""
    result = small_result.real()
    counters = defaultdict(list)
    for event in events(result, "C"):
        if event["pid"] == 2:
            counters[event["name"]].append((event["ts"], event["args"]["bytes"]))
    memory = result.memory.ranks[2]
    assert max(b for _, b in counters["memory total"]) == memory.peak
    for moment in (0.0, memory.peak_time, memory.times[-1]):
        at = int(np.flatnonzero(memory.times == moment)[0])
        seen = [b for ts, b in counters["memory activation"] if ts <= moment * 1e6][-1]
        assert seen == memory.by_kind[3, at]


def test_equal_results_give_equal_bytes(tmp_path: Path) -> None:
    """The file depends on the result alone: no time of writing, no order of a hash."""
    for name in ("a.gz", "b.gz"):
        trace.write(small_result.real(), tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    with gzip.open(tmp_path / "a.gz", "rt", encoding="utf-8") as file:
        assert json.load(file) == read(small_result.real())


def test_a_timeline_without_communication_is_still_a_trace() -> None:
    """One rank alone has no links: the trace is valid JSON and has its compute."""
    base = small_result.result(degree=4, layers=1)
    quiet = replace(base.timeline, recorded=())
    found = read(type(base)(**{**vars(base), "timeline": quiet}))["traceEvents"]
    assert {event["pid"] for event in found} == {0, 1, 2, 3}
