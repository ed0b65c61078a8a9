"""Memory snapshots for torch's viewer: what its own functions make of them, and our peak."""

from __future__ import annotations

import bisect
import pickle
import pickletools
import re
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from torch.cuda import _memory_viz as viz

import tspsim
from tests import small_result
from tspsim import memory
from tspsim.allocator import Life, taken
from tspsim.output import exporting
from tspsim.program.types import BUFFER_KINDS

#: All that the viewer's own reader of pickles knows (``MemoryViz.js``), by pickletools' names.
VIEWER_READS = {
    "APPEND", "APPENDS", "BINFLOAT", "BINGET", "BININT", "BININT1", "BININT2", "BINPUT",
    "BINUNICODE", "DICT", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "FRAME", "LIST", "LONG1",
    "LONG_BINGET", "LONG_BINPUT", "MARK", "MEMOIZE", "NEWFALSE", "NEWTRUE", "NONE", "PROTO",
    "SETITEM", "SETITEMS", "SHORT_BINUNICODE", "STOP", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
}  # fmt: skip


#: The fields that it reads, by what has them, and the actions and states that it tells apart.
EVENT = {"action", "addr", "size", "stream", "frames", "category"}
SEGMENT = {"device", "address", "total_size", "stream", "frames", "blocks"}
BLOCK = {"size", "requested_size", "state", "frames"}
ACTIONS = {"alloc", "free_requested", "free_completed", "segment_alloc", "segment_free"}
STATES = {"active_allocated", "inactive"}
#: Frames with these in their name, or their file, are not shown.
HIDDEN = ("unwind::unwind", "CapturedTraceback::gather", "gather_with_cpp", "_start", "PyEval_",
          "PyObject_", "PyFunction_"), (
          "core/boxing", "/Register", "/Redispatch", "pythonrun.c", "Modules/main.c",
          "Objects/call.c", "Objects/methodobject.c", "ceval.c", "cpython/abstract.h")  # fmt: skip


class Written:
    """A run and its snapshots, by rank."""

    def __init__(self, result: tspsim.Result, folder: Path) -> None:
        self.result, self.files = result, exporting.write("memory-snapshot", result, folder)
        self.snapshots: dict[int, Any] = {
            int(path.name.split(".")[1]): pickle.loads(path.read_bytes())  # noqa: S301
            for path in self.files
        }

    def traces(self) -> list[list[dict[str, Any]]]:
        """Return the events of every snapshot."""
        return [found["device_traces"][0] for found in self.snapshots.values()]


@pytest.fixture(scope="module", params=["folded", "uneven"])
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Training whose ranks are alike, and with a cut in which they are not."""
    uneven = request.param == "uneven"
    result = small_result.real("sp", "contiguous") if uneven else small_result.real("tsp")
    return Written(result, tmp_path_factory.mktemp("memory") / request.param)


def test_every_rank_that_differs_has_a_file(written: Written) -> None:
    """Those whose memory is that of an earlier one do not."""
    ranks = written.result.memory.ranks
    assert len(written.snapshots) == len({id(ranks[r]) for r in written.result.timeline.played})
    assert min(written.snapshots) == 0


def test_the_peak_of_the_events_is_ours_to_the_byte(written: Written) -> None:
    """And so is what is alive at the end of the step."""
    for rank, found in written.snapshots.items():
        now, most = 0, 0
        for event in found["device_traces"][0]:
            sign = {"alloc": 1, "free_completed": -1}.get(event["action"], 0)
            now += sign * event["size"]
            most = max(most, now)
        ours = written.result.memory.ranks[rank]
        assert most == ours.peak
        assert now == ours.total[-1]
        assert now == sum(segment["requested_size"] for segment in found["segments"])


def test_blocks_that_live_never_overlap_and_lie_in_segments(written: Written) -> None:
    """At every moment; what is freed was allocated there, with that size."""
    for events in written.traces():
        alive: dict[int, int] = {}
        segments: dict[int, int] = {}
        places: list[int] = []
        for event in events:
            address, size, action = event["addr"], event["size"], event["action"]
            if action == "segment_alloc":
                segments[address] = size
            elif action == "segment_free":
                assert segments.pop(address) == size
            elif action == "alloc":
                at = bisect.bisect(places, address)
                assert at == 0 or places[at - 1] + alive[places[at - 1]] <= address
                assert at == len(places) or address + size <= places[at]
                assert any(s <= address and address + size <= s + n for s, n in segments.items())
                places.insert(at, address)
                alive[address] = size
            elif action == "free_completed":
                assert alive.pop(address) == size
                places.remove(address)


def test_frees_are_pairs_and_times_never_go_back(written: Written) -> None:
    """The viewer makes one event of a request and its completion where they follow each other."""
    for events in written.traces():
        actions = Counter(event["action"] for event in events)
        assert actions["free_requested"] == actions["free_completed"] > 0
        for event, after in pairwise(events):
            assert event["time_us"] <= after["time_us"]
            if event["action"] == "free_requested":
                assert (after["action"], after["addr"]) == ("free_completed", event["addr"])


def test_segments_are_those_of_the_caching_allocator(written: Written) -> None:
    """Their largest sum is what the allocator takes for the same lives."""
    timeline = written.result.timeline
    for rank, found in written.snapshots.items():
        now, most = 0, 0
        for event in found["device_traces"][0]:
            sign = {"segment_alloc": 1, "segment_free": -1}.get(event["action"], 0)
            now += sign * event["size"]
            most = max(most, now)
        lives, buffers = memory.lifetimes(timeline, rank), timeline.programs.of(rank).buffers
        rows = zip(lives.birth.tolist(), lives.death.tolist(), buffers, strict=True)
        alive = [Life(birth, death, buffer.bytes) for birth, death, buffer in rows if birth < death]
        assert most == taken(alive)
        assert now == sum(segment["total_size"] for segment in found["segments"])


def test_torch_reads_what_is_written(written: Written) -> None:
    """The text of its segments adds up, that of its events has all, and it draws the plots."""
    for found in written.snapshots.values():
        total = sum(segment["total_size"] for segment in found["segments"])
        assert f"total_reserved: {total / 2**20:.1f}MiB" in viz.segsum(found)
        events = found["device_traces"][0]
        text = viz.trace(found)
        assert f"{len(events)} entries" in text
        assert len(re.findall(r"^del ", text, re.M)) == sum(
            event["action"] == "free_requested" for event in events
        )
        assert "action" not in text, "an event that it does not know is printed as it is"
        for plot in (viz.trace_plot, viz.segment_plot):
            assert "MemoryViz.js" in plot(found)


def test_a_flame_graph_has_the_kinds_layers_and_buffers(written: Written) -> None:
    """Bytes at the end of the step by kind, from torch's own fold of the stacks."""
    for rank, found in written.snapshots.items():
        sizes = Counter[str]()
        for line in viz.memory(found, format_flamegraph=str).splitlines():
            stack, _, size = line.rpartition(" ")
            _, state, *frames = stack.split(";")
            if state == "active_allocated" and frames != ["<gaps>"]:
                kind, layer, buffer = frames
                assert layer.startswith("model:0:")
                assert buffer
                sizes[kind.removeprefix("kind:0:")] += int(size)
        ours = written.result.memory.ranks[rank].by_kind[:, -1].tolist()
        assert {k: sizes[k] for k in BUFFER_KINDS} == dict(zip(BUFFER_KINDS, ours, strict=True))


def test_an_allocation_is_told_by_its_buffer_op_layer_and_kind(written: Written) -> None:
    """The op is the first that writes it; colours are kinds, and one more that the viewer needs."""
    (events, *_), program = written.traces(), written.result.timeline.programs.of(0)
    named = [event for event in events if event["action"] == "alloc"]
    for event in named:
        buffer, layer, kind = event["frames"]
        op = program.ops[buffer["line"]]
        assert buffer["filename"] == op.name
        assert buffer["name"] in {o.buffer.name for o in (*op.inputs, *op.outputs)}
        assert kind["name"] == event["category"]
        assert layer["name"].startswith(("layer ", "no layer"))
    kinds = {event["category"] for event in events}
    assert "unknown" in kinds
    assert {"weight", "activation", "unknown"} <= kinds <= {*BUFFER_KINDS, "unknown"}


def test_the_viewer_has_all_fields_that_it_reads(written: Written) -> None:
    """And shows all frames: it hides those of interpreters, by parts of their names."""
    for found in written.snapshots.values():
        (events,), segments = found["device_traces"], found["segments"]
        blocks = [block for segment in segments for block in segment["blocks"]]
        assert all(event.keys() >= EVENT for event in events)
        assert all(segment.keys() >= SEGMENT for segment in segments)
        assert all(block.keys() >= BLOCK for block in blocks)
        assert {event["action"] for event in events} <= ACTIONS
        assert {block["state"] for block in blocks} <= STATES
        for frame in (frame for each in (*events, *blocks) for frame in each["frames"]):
            assert frame.keys() >= {"name", "filename", "line"}
            assert not any(word in frame["name"] for word in HIDDEN[0])
            assert not any(word in frame["filename"] for word in HIDDEN[1])


def test_the_viewers_own_reader_of_pickles_knows_every_word(written: Written) -> None:
    """It is written in JavaScript, for protocols 2 to 4 and for builtins."""
    for path in written.files:
        words = list(pickletools.genops(path.read_bytes()))
        assert {word.name for word, _, _ in words} <= VIEWER_READS
        assert words[0][1] == 4
