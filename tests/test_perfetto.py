"""The trace in Perfetto itself: its SQL gives the sums, sizes and partners of our own tables."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

import tspsim
from tests.perfetto import Perfetto, missing, opened
from tspsim.analysis.summary import time_of
from tspsim.output import exporting
from tspsim.output.passes import passes
from tspsim.program.types import BUFFER_KINDS

pytestmark = pytest.mark.skipif(
    missing() is not None, reason=f"needs {missing()}, which is not installed"
)

#: A pipeline of TSP: passes, hops, broadcasts, rings, memory of all kinds, links that two share.
OVERRIDES = (
    "workload.phase=train", "model.layers=4", "workload.micro_batches=2", "workload.sequence=8192",
    "strategy={kind: tsp, degree: 2, pp: {stages: 2, schedule: 1f1b}}",
)  # fmt: skip

#: Slices with the process and the track that they stand on.
SLICES = """from slice join thread_track on slice.track_id = thread_track.id
    join thread using (utid) join process using (upid)"""


@pytest.fixture(scope="module")
def run() -> tspsim.Run:
    """Return the run whose trace is looked at."""
    return tspsim.run("tsp-layer", *OVERRIDES)


@pytest.fixture(scope="module")
def perfetto(run: tspsim.Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Perfetto]:
    """Return its trace, opened in Perfetto."""
    folder = tmp_path_factory.mktemp("perfetto")
    exporting.write("trace", run, folder / "trace.json.gz")
    with opened(folder / "trace.json.gz", folder / "profile") as found:
        yield found


def title(run: tspsim.Run, rank: int) -> str:
    """Return the name of a rank's process."""
    return f"rank {rank} (stage {run.timeline.programs.role_of_rank[rank]})"


def test_perfetto_complains_of_nothing_and_loses_nothing(perfetto: Perfetto) -> None:
    """No error and no data loss in its statistics; no slice lies on or overlaps another."""
    bad = "select name from stats where severity in ('error', 'data_loss') and value > 0"
    assert perfetto.query(bad) == []
    late = """select count(*) from (select ts, depth,
        max(ts + dur) over (partition by track_id order by ts rows between unbounded preceding
        and 1 preceding) as before from slice) where depth > 0 or before > ts"""
    assert perfetto.query(late) == [[0]]


def test_ranks_and_links_have_their_tracks_in_order(perfetto: Perfetto, run: tspsim.Run) -> None:
    """A process per rank with a track per stream and one of passes; one process of links."""
    found: dict[str, list[str]] = defaultdict(list)
    for process, track in perfetto.query(
        "select process.name, thread.name from thread join process using (upid) "
        "where thread.name is not null order by process.pid, thread.tid"
    ):
        found[process].append(track)
    ours = {}
    for rank in range(4):
        lanes = [lane.name for lane in run.timeline.programs.of(rank).lanes]
        ours[title(run, rank)] = [*lanes, "passes"]
    links = found.pop("links")
    assert found == ours
    assert list(found) == list(ours)
    used = {link for t in run.timeline.transfers for link, load in t.loads if load}
    names = [run.scenario.topology.links[link].name for link in sorted(used)]
    assert [name for name in links if "#" not in name] == names


def test_numbers_and_sums_of_slices_are_those_of_the_spans(
    perfetto: Perfetto, run: tspsim.Run
) -> None:
    """By rank, stream, kind and name; to a nanosecond a slice."""
    ours: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for rank in range(4):
        for span in run.timeline.spans(rank):
            if span.end > span.start:
                name = f"{span.op.name}, micro-batch {span.op.micro_batch}"
                key = title(run, rank), span.lane, span.op.kind.name, name
                ours[key].append(span.end - span.start)
        for each in passes(run.timeline, rank):
            name = f"{each.stage}{each.kind}{each.micro_batch}"
            ours[title(run, rank), "passes", "pass", name].append(each.end - each.start)
    sums = perfetto.query(
        f"select process.name, thread.name, category, slice.name, count(*), sum(dur) {SLICES} "
        "where process.name != 'links' group by 1, 2, 3, 4"
    )
    assert {tuple(row[:4]): row[4] for row in sums} == {k: len(v) for k, v in ours.items()}
    for *key, count, total in sums:
        assert total * 1e-9 == pytest.approx(sum(ours[tuple(key)]), rel=0, abs=2e-9 * count)


def test_compute_of_a_rank_is_the_summarys(perfetto: Perfetto, run: tspsim.Run) -> None:
    """What the table prints as compute, and the end of the step."""
    found = perfetto.query(
        f"select process.pid, sum(dur) {SLICES} where thread.name = 'compute' group by 1"
    )
    for rank, total in found:
        assert total * 1e-9 == pytest.approx(time_of(run.timeline, rank).compute, rel=1e-5)
    ((end,),) = perfetto.query("select max(ts + dur) from slice")
    assert end * 1e-9 == pytest.approx(run.summary.step_time, abs=2e-9)


def test_peaks_and_last_values_of_memory_are_those_of_the_tables(
    perfetto: Perfetto, run: tspsim.Run
) -> None:
    """Of every kind and in total, on every rank, in bytes."""
    found = perfetto.query(
        "select process.pid, track.name, max(value), max(value) filter (where ts = last) "
        "from (select *, max(ts) over (partition by track_id) as last from counter) "
        "join process_counter_track as track on track_id = track.id join process using (upid) "
        "group by 1, 2"
    )
    ours: dict[tuple[int, str], Any] = {}
    for rank, memory in enumerate(run.memory.ranks):
        for kind, values in [
            *zip(BUFFER_KINDS, memory.by_kind, strict=True),
            ("total", memory.total),
        ]:
            if values.any():
                ours[rank, f"memory {kind} bytes"] = int(values.max()), int(values[-1])
    assert {(rank, name): (peak, last) for rank, name, peak, last in found} == ours


def test_arrows_lead_from_senders_to_receivers(perfetto: Perfetto, run: tspsim.Run) -> None:
    """One per hop, from its sender to its receiver, and one from a root to every other member."""
    ours: Counter[tuple[str, int, int]] = Counter()
    for transfer in run.timeline.transfers:
        ranks, name = transfer.ranks, transfer.collective
        if transfer.hop:
            ours[name, ranks[0], ranks[1]] += 1
        elif name == "broadcast":
            message = run.timeline.programs.of(ranks[0]).ops[transfer.op].message
            assert message is not None
            assert message.root is not None
            root = ranks[message.root]
            ours.update((name, root, rank) for rank in ranks if rank != root)
    found = perfetto.query("""select start.category, start_process.pid, end_process.pid, count(*)
        from flow
        join slice as start on slice_out = start.id join slice as end on slice_in = end.id
        join thread_track as start_track on start.track_id = start_track.id
        join thread_track as end_track on end.track_id = end_track.id
        join thread as start_thread on start_track.utid = start_thread.utid
        join thread as end_thread on end_track.utid = end_thread.utid
        join process as start_process on start_thread.upid = start_process.upid
        join process as end_process on end_thread.upid = end_process.upid
        group by 1, 2, 3""")
    assert {tuple(row[:3]): row[3] for row in found} == dict(ours)


def test_links_are_busy_as_long_as_their_transfers_last(
    perfetto: Perfetto, run: tspsim.Run
) -> None:
    """Tracks of one link together, in seconds and in bytes."""
    seconds: dict[str, float] = defaultdict(float)
    sizes: dict[str, float] = defaultdict(float)
    for transfer in run.timeline.transfers:
        for link, load in transfer.loads:
            if load and transfer.end > transfer.start:
                name = run.scenario.topology.links[link].name
                seconds[name] += transfer.end - transfer.start
                sizes[name] += load * transfer.bytes
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for track, took, carried in perfetto.query(
        f"select thread.name, sum(dur), sum(extract_arg(slice.arg_set_id, 'args.bytes')) {SLICES} "
        "where process.name = 'links' group by 1"
    ):
        link = found[track.partition(" #")[0]]
        link[0] += took * 1e-9
        link[1] += carried
    assert {name: link[0] for name, link in found.items()} == pytest.approx(seconds, rel=1e-4)
    assert {name: link[1] for name, link in found.items()} == pytest.approx(sizes)
