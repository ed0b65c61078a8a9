"""Single sends against coflows, closed forms, exact arithmetic and published simulators."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tspsim
from tests.sends import DEVICE, STEPS, TOPOLOGIES, carried, members
from tests.test_collectives import make
from tests.toy import Toy, fabric, shared
from tspsim.collectives import direct, gloo, ring
from tspsim.collectives.algorithm import Sending
from tspsim.collectives.choose import Chooser
from tspsim.collectives.schedule import Schedule, Send
from tspsim.collectives.waves import Wave, unrolled, waves_of
from tspsim.engine.alone import play_alone
from tspsim.engine.network.model import COFLOWS, NetworkModel
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.mesh import Mesh
from tspsim.output import trace_arrows
from tspsim.output.plots.links import uses
from tspsim.program.types import CollectiveKind, Message
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Profile
from tspsim.topology.load import load

ROOT = Path(__file__).resolve().parent.parent


# ---------------- what is sent


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_reduce"])
def test_waves_of_a_ring_are_those_of_its_sends(kind: CollectiveKind) -> None:
    """The ring says in one wave what its schedule says send by send."""
    for n in (*range(2, 10), 16):
        topology = TOPOLOGIES.get(f"ring-{n}") or make("ring", n)
        short = ring.plan.waves(kind, tuple(range(n)), topology, None)
        assert short is not None
        assert len(short.waves) == 1
        long = waves_of(ring.sends(kind, n))
        assert (short.pieces, short.pipelined, short.serial) == (n, False, False)
        assert expanded(short.waves) == expanded(long.waves)


def expanded(waves: Sequence[Wave]) -> list[list[tuple[int, ...]]]:
    """Return every step as a list of (source, target, chunks)."""
    steps = []
    for wave in waves:
        step = sorted(zip(*(part.tolist() for part in wave[:3]), strict=True))
        steps += [step] * wave.times
    return steps


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.sampled_from([ring, direct]), st.data())
def test_slots_hold_every_part_of_every_step(
    parts: int, n: int, algorithm: object, data: st.DataObject
) -> None:
    """Part p passes step s in slot p + s, whatever the numbers of parts and steps."""
    n = max(n, 2)
    root = data.draw(st.integers(0, n - 1))
    schedule: Schedule = algorithm.sends("broadcast", n, root)  # type: ignore[attr-defined]
    slots: list[list[tuple[int, ...]]] = [[] for _ in range(parts + len(schedule.steps) - 1)]
    for part in range(parts):
        for s, step in enumerate(schedule.steps):
            slots[part + s] += [(x.source, x.target, len(x.chunks)) for x in step]
    assert expanded(unrolled(waves_of(schedule), parts)) == [sorted(slot) for slot in slots]


def test_stage_of_several_steps_passes_them_while_the_next_part_is_a_stage_behind() -> None:
    """Stages A and B-C, two parts: A, then A beside B, C, then B, C."""
    a, b, c = (Send(i, i + 1, range(1)) for i in range(3))
    schedule = Schedule(((a,), (b,), (c,)), pipelined=True, stages=(1, 2))
    sends = [[(0, 1, 1)], [(0, 1, 1), (1, 2, 1)], [(2, 3, 1)], [(1, 2, 1)], [(2, 3, 1)]]
    assert expanded(unrolled(waves_of(schedule), 2)) == sends


@pytest.mark.parametrize("algorithm", COLLECTIVES.names())
def test_communicator_of_one_sends_nothing(algorithm: str) -> None:
    """There is nobody to talk to."""
    for traffic in (COFLOWS, STEPS, NetworkModel("steps", "fifo")):
        sent = Message("all_reduce", 100)
        assert play_alone(sent, [1], TOPOLOGIES["switch-4"], algorithm, traffic) == 0.0


def test_algorithms_that_send_are_played_send_by_send() -> None:
    """All but reduction in the switch."""
    silent = [n for n in COLLECTIVES.names() if not isinstance(COLLECTIVES.get(n), Sending)]
    assert silent == ["in_switch"]


# ---------------- what waits for what


def uneven(n: int, on: str, data: st.DataObject) -> Topology:
    """Return a topology whose links have all sorts of bandwidths and latencies."""
    base = make(on, n)
    pace = st.sampled_from([1e9, 3e9, 10e9, 50e9])
    wait = st.sampled_from([0.0, 1e-6, 7e-6])
    links = tuple(
        replace(link, bandwidth=data.draw(pace), latency=data.draw(wait)) for link in base.links
    )
    return Topology("uneven", base.devices, links, base.profile)


SCHEDULES = {"ring": ring.sends, "direct": direct.sends, "gloo": gloo.sends}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SCHEDULES)),
    st.sampled_from(["all_gather", "reduce_scatter", "all_reduce", "all_to_all"]),
    st.integers(2, 5), st.sampled_from(["ring", "full", "switch"]), st.data(),
)  # fmt: skip
def test_no_send_leaves_before_what_it_forwards_has_arrived_and_the_receiver_is_there(
    algorithm: str, kind: CollectiveKind, n: int, on: str, data: st.DataObject
) -> None:
    """On links of all speeds, every chunk is where it is sent from; and links are not overfull."""
    topology, ranks = uneven(n, on, data), tuple(range(n))
    schedule = SCHEDULES[algorithm](kind, n)
    sends = carried(Message(kind, 10**6), ranks, topology, algorithm)
    played = iter(sends)
    arrived: dict[tuple[int, int], float] = {}  # member and chunk -> when it was there
    through = [0.0] * n  # when members had done all of their earlier steps
    for step in schedule.steps:
        new, later = dict(arrived), list(through)
        for send in sorted(step, key=lambda s: (s.source, s.target, len(s.chunks))):
            flow = next(played)
            assert flow.ranks == (send.source, send.target)
            left = flow.start - topology.latency(*flow.ranks)
            for chunk in send.chunks:
                assert arrived.get((send.source, chunk), 0.0) <= left + 1e-15
                place = send.target, chunk
                new[place] = max(new.get(place, 0.0), flow.end)
            began = max(through[member] for member in flow.ranks)
            assert left == pytest.approx(began, rel=1e-9, abs=1e-15)
            for member in flow.ranks:
                later[member] = max(later[member], flow.end)
        arrived, through = new, later
    assert next(played, None) is None
    for link in topology.links:
        busy = sum(dict(f.loads).get(link.index, 0.0) for f in sends) * 1e6 / link.bandwidth
        assert busy <= max(f.end for f in sends) * (1 + 1e-9)


def test_delay_travels_with_the_chunks_and_stops_nobody_else() -> None:
    """Of a ring of 8 with one slow link, those far behind it are four steps on meanwhile."""
    base = make("ring", 8)
    slow = tuple(
        replace(k, bandwidth=5e9) if (k.source, k.target) == ("d0", "d1") else k for k in base.links
    )
    topology = Topology("slow", base.devices, slow, Profile("p"))
    sends = carried(Message("all_gather", 8 * 10**6), tuple(range(8)), topology, "ring")
    first = {s.ranks: s for s in sends[:8]}
    assert first[0, 1].end == pytest.approx(201e-6)  # 1 us and 1 MB at 5 GB/s; elsewhere 21 us
    begun = Counter(s.ranks for s in sends if s.start < first[0, 1].end)
    # A send waits for both of its ends, and each of these for the step before: a step further from
    # the slow link, on either side, is a step more.
    assert [begun[k, (k + 1) % 8] for k in range(8)] == [1, 1, 2, 3, 4, 3, 2, 1]


# ---------------- where they rightly differ


def waves_on_a_ring(network: NetworkModel) -> Timeline:
    """Play an all_gather of 4 bytes over 4 ranks, and two hops of 1 byte from others meanwhile.

    One hop loads the link 0→1 from the start, the other the link 2→3 from 2 s on.
    """
    program = Toy()
    program.communicate("all_gather", 4, "a")
    late = program.compute([0, 0, 2, 2])
    program.communicate("broadcast", 1, "b", after=[late], root=0, group=2)
    topology = fabric([(f"d{i}", f"d{(i + 1) % 4}") for i in range(4)], 4)
    mesh = Mesh((("tsp", 4),))
    return simulate(
        Setup(shared(program, 4), mesh, topology, "bf16", network), Chooser(topology, "ring")
    )


def test_sends_differ_from_the_coflow_where_a_delay_leaves_a_gap() -> None:
    """A coflow has one speed, a delayed send frees the links behind it.

    Coflow: at half speed while either hop is under way, 0-2 s and 2-4 s: two of its three seconds
    are left to do then but one, and it ends at 5 s. Sends: the first hop delays the first send over
    0→1 by 1 s. That delay reaches member 2 as a chunk that comes at 3 s and not at 2 s; until then
    it has nothing to send, and the second hop has 2→3 for itself. The all_gather ends at 4 s and
    the hop at 3 s.
    """
    coflow, sends = waves_on_a_ring(COFLOWS), waves_on_a_ring(STEPS)
    assert [float(end[0]) for end in coflow.end] == [5.0] * 4
    assert [float(end[2]) for end in coflow.end] == [2.0, 2.0, 4.0, 4.0]
    assert [float(end[0]) for end in sends.end] == [4.0] * 4
    assert [float(end[2]) for end in sends.end] == [2.0, 2.0, 3.0, 3.0]


@pytest.mark.parametrize("on", ["rail-4x1", "rails-2x2", "rails-2x4", "tree-3x2"])
@pytest.mark.parametrize("size", [1, 10**5, 10**8])
def test_slowest_pair_of_a_ring_sets_the_pace_of_both_forms(on: str, size: int) -> None:
    """Over nodes the sends of a step differ, and the same pair needs longest in every step.

    It sends one chunk after another, and the others never come later than it does.
    """
    topology = TOPOLOGIES[on]
    sent, ranks = Message("all_reduce", size), members("all_reduce", topology)
    one, many = (play_alone(sent, ranks, topology, "ring", t) for t in (COFLOWS, STEPS))
    assert many == pytest.approx(one, rel=1e-9)


def test_short_routes_do_not_wait_for_long_ones() -> None:
    """Direct over a ring of 4: two-hop routes need 2 us, and a chunk to the neighbour but 1 us.

    The busiest link carries the neighbour's chunk and two that go on: 3 chunks of 1 us each. The
    coflow begins after the longest latency and ends at 2 + 3 us. Sends to the neighbour leave after
    1 us and have the link to themselves until 2 us: it is through with all three at 4 us.
    """
    topology, sent = TOPOLOGIES["ring-4"], Message("all_gather", 4 * 50_000)
    one, many = (play_alone(sent, range(4), topology, "direct", t) for t in (COFLOWS, STEPS))
    assert (one, many) == (pytest.approx(5e-6), pytest.approx(4e-6))


# ---------------- whole runs


def run(scenario: str, *overrides: str) -> tspsim.Result:
    """Return the result of a shipped scenario."""
    return tspsim.run(ROOT / "scenarios" / f"{scenario}.yaml", *overrides)


def test_timeline_has_every_send() -> None:
    """A transfer per send, and on every link the bytes of the coflow form."""
    one, many = (run("tsp-layer", f"network.detail={d}").timeline for d in ("coflow", "steps"))
    assert len(many.transfers) > 5 * len(one.transfers)
    assert {t.send for t in many.transfers} == {True}
    assert {t.send for t in one.transfers} == {False}
    loads = []
    for timeline in (one, many):
        bytes_: Counter[int] = Counter()
        for transfer in timeline.transfers:
            for link, share in transfer.loads:
                bytes_[link] += transfer.bytes * share  # type: ignore[assignment]
        loads.append(bytes_)
    assert loads[1] == pytest.approx(loads[0])
    for transfer in many.transfers:
        op = many.programs.of(transfer.ranks[0]).ops[transfer.op]
        assert op.message is not None
        assert (op.message.collective, op.message.bytes) == (transfer.collective, transfer.bytes)
        start, end = (x[transfer.ranks[0]][transfer.op] for x in (many.start, many.end))
        assert start <= transfer.start <= transfer.end <= end * (1 + 1e-12)


def test_step_of_tensor_parallelism_is_the_same_send_by_send() -> None:
    """One communicator at a time: nothing contends, so no task starts or ends elsewhere."""
    overrides = (
        "strategy={kind: tp, degree: 4}", "workload.phase=train", "network.algorithm=ring",
        "topology={kind: switch, ranks: 4, link: {bandwidth: 450 GB/s, latency: 1 us}, "
        "device: h100-sxm}",
    )  # fmt: skip
    one, many = (run("tsp-layer", *overrides, f"network.detail={d}") for d in ("coflow", "steps"))
    assert one.summary.communication.by_op["all_reduce"] > 0
    for a, b in zip(one.timeline.end, many.timeline.end, strict=True):
        assert b == pytest.approx(a, rel=1e-9)


@pytest.mark.parametrize("sharing", ["fair", "fifo"])
@pytest.mark.parametrize(
    "strategy",
    [
        "{kind: tsp, degree: 4}", "{kind: sp, degree: 4, kv: ulysses}",
        "{kind: tp_sp, tp: 2, sp: 2, kv: ring}",
    ],
)  # fmt: skip
def test_training_step_moves_the_same_bytes_whatever_the_detail(
    strategy: str, sharing: str
) -> None:
    """Every task ends, compute takes as long, and every link carries what the coflows put on it."""
    same = (f"strategy={strategy}", "workload.phase=train", f"network.sharing={sharing}")
    one, many = (run("tsp-layer", *same, f"network.detail={d}") for d in ("coflow", "steps"))
    topology = one.scenario.topology
    carried = [[use.bytes for use in uses(r.timeline, topology.links)] for r in (one, many)]
    assert carried[1] == pytest.approx(carried[0])
    assert many.summary.time.compute == pytest.approx(one.summary.time.compute)
    assert all((end >= 0).all() for end in many.timeline.end)
    busiest = max(b / k.bandwidth for b, k in zip(carried[0], topology.links, strict=True))
    assert busiest <= many.summary.step_time * (1 + 1e-9)


def test_arrows_of_sends_go_from_sender_to_receiver() -> None:
    """Once per pair that sent something of a call, however many parts it sent."""
    timeline = run("tsp-layer", "network.detail=steps").timeline
    for transfer in timeline.transfers:
        if transfer.collective == "broadcast":
            assert list(trace_arrows._pairs(timeline, transfer)) == [transfer.ranks]
    drawn = Counter((t.op, t.ranks) for t in trace_arrows._once(timeline.transfers))
    assert set(drawn.values()) == {1}
    assert set(drawn) == {(t.op, t.ranks) for t in timeline.transfers}


def test_results_of_single_sends_are_written(tmp_path: Path) -> None:
    """All files are there, and result.json keeps the detail, so that it runs again alike."""
    result = run("tsp-layer", "network.detail=steps", "network.sharing=fifo")
    folder = result.save(tmp_path / "out")
    assert {"trace.json.gz", "gantt.png", "result.json"} <= {p.name for p in folder.iterdir()}
    again = tspsim.load(folder / "result.json")
    assert (again.detail, again.sharing) == ("steps", "fifo")
    assert result.plot.links().get_title(loc="left").endswith("every link")


# ---------------- published simulators


def simulators() -> list[dict[str, str]]:
    """Return the published rows: a ring all-reduce of 1 GiB, seconds by simulator."""
    lines = (ROOT / "published" / "ring_simulators.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.mark.parametrize("row", simulators(), ids=lambda row: row["ranks"])
def test_ring_all_reduce_equals_closed_form_and_other_simulators(row: dict[str, str]) -> None:
    """Send by send: the closed form to 1e-6, two independent simulators to 0.05 %."""
    n = int(row["ranks"])
    link = Link(0, "", "", 53.6870912e9, 500e-9)
    topology = load(
        {
            "kind": "ring",
            "ranks": n,
            "device": DEVICE,
            "link": {"bandwidth": f"{link.bandwidth} B/s", "latency": "500 ns"},
        }
    )
    seconds = play_alone(Message("all_reduce", 2**30), range(n), topology, "ring", STEPS)
    assert seconds == pytest.approx(float(row["closed_form_ns"]) * 1e-9, rel=1e-6)
    for column in ("simgrid_ns", "astra_1chunk_ns"):
        assert seconds == pytest.approx(float(row[column]) * 1e-9, rel=5e-4)
