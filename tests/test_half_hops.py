"""Sends and receives: half a hop each, matched by pair, channel and order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy import ToyPlanner, full, switched, text
from tspsim import memory
from tspsim.engine.checks.dryrun import check
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.explain.path import walk
from tspsim.files.errors import ProgramError, ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.axis import Axis
from tspsim.program.kinds.pointwise import Add
from tspsim.program.partners import Partners
from tspsim.program.recorder import Recorder
from tspsim.program.types import Operand, Programs, Work
from tspsim.program.varying import Varying
from tspsim.values.play import Player


@dataclass(frozen=True)
class Wait:
    """A computation of some seconds on the toy device, which touches what it is given."""

    seconds: int
    name: str = "wait"

    def work(self, inputs: object, outputs: object) -> Work:  # noqa: ARG002
        """Return so many flops: the toy device does one per second."""
        return Work(self.seconds, 0, "matmul")

    def values(self, where: object, *arrays: object) -> tuple[object, ...]:  # noqa: ARG002
        """Return what came in."""
        return arrays

    def text(self) -> str:
        """Return the name."""
        return self.name


Stage = Callable[[Recorder, Axis], None]


def stages(*written: Stage, axes: tuple[tuple[str, int], ...] | None = None) -> tuple:
    """Return the programs of some stages along ``pp``, and their mesh."""
    mesh = Mesh(axes or (("pp", len(written)),))
    roles = tuple(mesh.coordinate(rank, "pp") for rank in range(mesh.ranks))
    programs = []
    for stage in written:
        rank = Recorder(mesh)
        stage(rank, Axis(rank, "pp", mesh.degree("pp")))
        programs.append(rank.program())
    return Programs(tuple(programs), roles), mesh


def shared(written: Stage, degree: int) -> tuple[Programs, Mesh]:
    """Return one program that all ranks of an axis play."""
    mesh = Mesh((("pp", degree),))
    rank = Recorder(mesh)
    written(rank, Axis(rank, "pp", degree))
    return Programs((rank.program(),), (0,) * degree), mesh


def played(programs: Programs, mesh: Mesh) -> Timeline:
    """Play programs on a full mesh of toy links: one byte per second."""
    topology = full(mesh.ranks)
    check(programs, mesh)
    return simulate(Setup(programs, mesh, topology, "bf16"), ToyPlanner(topology))


def x(rank: Recorder, size: int = 4, name: str = "x") -> Operand:
    """Return a buffer of some bytes that is there from the start."""
    return rank.given(name, (size,), 1)


def sends(*sizes: int, before: int = 0) -> Stage:
    """Compute for some seconds, then send buffers of some sizes to the next stage."""

    def stage(rank: Recorder, pp: Axis) -> None:
        if before:
            mine = x(rank, 1, "mine")
            rank.compute(Wait(before), (mine,), (mine,), "work")
        for number, size in enumerate(sizes):
            pp.send(x(rank, size), lane="a", label=f"send{number}")

    return stage


def receives(*sizes: int, before: int = 0, offset: int = -1) -> Stage:
    """Compute for some seconds, then receive; every buffer is read when it is there."""

    def stage(rank: Recorder, pp: Axis) -> None:
        if before:
            mine = x(rank, 1, "mine")
            rank.compute(Wait(before), (mine,), (mine,), "work")
        for number, size in enumerate(sizes):
            y = rank.buffer(f"y{number}", (size,), 1)
            pp.receive(y, lane="a", label=f"receive{number}", offset=offset)
            rank.compute(Wait(1), (y,), (y,), f"use{number}")

    return stage


def test_a_hop_begins_when_both_halves_are_issued_and_ends_for_both_at_once() -> None:
    """A late sender and an early receiver, and the other way round."""
    late_sender = played(*stages(sends(4, before=3), receives(4)))
    assert text(late_sender) == "0: work 0-3, send0 3-7\n1: receive0 3-7, use0 7-8"
    late_receiver = played(*stages(sends(4), receives(4, before=2)))
    assert text(late_receiver) == "0: send0 2-6\n1: work 0-2, receive0 2-6, use0 6-7"


def test_sends_to_one_rank_follow_each_other_in_order() -> None:
    """The k-th send meets the k-th receive: sizes come in the order of both programs."""
    timeline = played(*stages(sends(2, 5), receives(2, 5)))
    assert (
        text(timeline)
        == "0: send0 0-2, send1 3-8\n1: receive0 0-2, use0 2-3, receive1 3-8, use1 8-9"
    )


def test_the_two_directions_of_a_stage_are_streams_of_their_own() -> None:
    """A stage in the middle receives the next one while it still sends the one before."""

    def middle(rank: Recorder, pp: Axis) -> None:
        for number in range(2):
            y = rank.buffer(f"y{number}", (4,), 1)
            pp.receive(y, lane="a", label=f"in{number}")
            pp.send(y, lane="a", label=f"out{number}")

    timeline = played(*stages(sends(4, 4), middle, receives(4, 4)))
    spans = {s.op.label: (s.start, s.end) for s in timeline.spans(1)}
    assert spans["in1"] == (4.0, 8.0)
    assert spans["out0"] == (4.0, 8.0)


def test_values_arrive_as_they_were_when_they_were_sent() -> None:
    """What the sender does to its buffer afterwards is not seen by the receiver."""

    def sender(rank: Recorder, pp: Axis) -> None:
        a, b = x(rank, 2, "a"), x(rank, 2, "b")
        rank.bind(a, "a", None, "moved")
        pp.send(a, lane="a", label="send")
        rank.compute(Add(), (b, a), (a,))

    programs, mesh = stages(sender, receives(2))
    player = Player(programs, mesh, {})
    player.states[0].buffers[:2] = [np.array([1.0, 2.0]), np.array([10.0, 10.0])]
    player.run()
    assert player.states[0].buffers[0].tolist() == [11.0, 12.0]
    assert player.states[1].buffers[0].tolist() == [1.0, 2.0]


def test_a_buffer_is_held_until_it_has_left() -> None:
    """The sender's buffer is alive to the end of the hop, the receiver's from its issue."""
    timeline = played(*stages(sends(4, before=3), receives(4)))
    first, second = memory.trace(timeline).ranks
    assert dict(zip(first.times.tolist(), first.total.tolist(), strict=True)) == {0: 5, 3: 4, 7: 0}
    assert dict(zip(second.times.tolist(), second.total.tolist(), strict=True)) == {0: 4, 8: 0}


def test_received_bytes_are_counted_where_they_arrive() -> None:
    """Who sends receives nothing by that."""
    from tspsim.analysis.summary import received_by

    timeline = played(*stages(sends(4, 6), receives(4, 6)))
    assert received_by(timeline, 0).by_op == {"send": 0.0}
    assert received_by(timeline, 1).by_op == {"receive": 10.0}


def test_a_ring_of_half_hops_is_a_shift() -> None:
    """All ranks send to the next and receive from the one before: what a shift does."""

    def round_and_round(rank: Recorder, pp: Axis) -> None:
        mine = x(rank, 8)
        for number in range(3):
            arrived = rank.buffer(f"y{number}", (8,), 1)
            pp.send(mine, lane="a", label=f"to{number}")
            pp.receive(arrived, lane="a", label=f"from{number}")
            mine = arrived

    def shifts(rank: Recorder, pp: Axis) -> None:
        from tspsim.program.ledger import Slots

        mine, slots = x(rank, 8), Slots(2)
        for number in range(3):
            (mine,) = pp.shift(mine, lane="a", label=f"hop{number}", into=slots)

    halves, hops = played(*shared(round_and_round, 4)), played(*shared(shifts, 4))
    assert halves.step_time == hops.step_time == 24.0
    assert halves.played == hops.played == (0,)  # both fold


def test_other_axes_fold_around_stages() -> None:
    """Replicas of a pipeline are alike: one of each stage is played, with the same times."""
    programs, mesh = stages(sends(4, before=3), receives(4), axes=(("dp", 4), ("pp", 2)))
    topology = switched(8)
    check(programs, mesh)
    folded, whole = (
        simulate(Setup(programs, mesh, topology, "bf16", folds=folds), ToyPlanner(topology))
        for folds in (True, False)
    )
    assert folded.played == (0, 1)
    for rank in range(8):
        assert folded.end[rank].tolist() == whole.end[rank].tolist()
    assert sorted(t.ranks for t in folded.transfers) == [(0, 1), (2, 3), (4, 5), (6, 7)]


# ---- where they run, and whom they meet, are two things ---------------------------------------


def work(rank: Recorder, seconds: int, label: str = "work") -> None:
    """Compute for some seconds on a buffer that nothing else touches."""
    mine = x(rank, 1, "mine")
    rank.compute(Wait(seconds), (mine,), (mine,), label)


def two_channels(stream: str | None) -> tuple[Programs, Mesh]:
    """Return a rank that sends `late`, then `early`; the other one receives them as it can."""

    def sender(rank: Recorder, pp: Axis) -> None:
        pp.send(x(rank), lane="late", label="late", stream=stream)
        pp.send(x(rank), lane="early", label="early", stream=stream)

    def receiver(rank: Recorder, pp: Axis) -> None:
        pp.receive(rank.buffer("y", (4,), 1), lane="early", label="early")
        work(rank, 6)
        pp.receive(rank.buffer("z", (4,), 1), lane="late", label="late")

    return stages(sender, receiver)


def test_on_one_stream_a_send_is_held_up_by_the_one_before_it() -> None:
    """Behind one whose receiver computes for 6 s, a send of 4 s ends after 14, not after 4."""
    free, one = played(*two_channels(None)), played(*two_channels("p2p"))
    assert text(free) == "0: early 0-4, late 6-10\n1: early 0-4, work 0-6, late 6-10"
    assert text(one) == "0: late 6-10, early 10-14\n1: work 0-6, late 6-10, early 10-14"


def in_the_middle(streams: dict[str, str] | None, size: int = 4) -> tuple[Programs, Mesh]:
    """Return three stages; the middle one awaits the first before it sends to the last.

    Parameters
    ----------
    streams : dict, optional
        By partner of the middle stage.
    size : int
        Bytes of each message.
    """
    names = streams or {}

    def first(rank: Recorder, pp: Axis) -> None:
        work(rank, 5)
        pp.send(x(rank, size), lane="a", label="send")

    def middle(rank: Recorder, pp: Axis) -> None:
        y = rank.buffer("y", (size,), 1)
        pp.receive(y, lane="a", label="in", stream=names.get("first"))
        pp.send(x(rank, size), lane="a", label="out", stream=names.get("last"))

    return stages(first, middle, receives(size))


def test_a_stream_per_rank_costs_what_the_first_of_its_ops_waits_for() -> None:
    """What could leave at once waits 5 s for the first stage's work and 4 s for its bytes."""
    one = played(*in_the_middle({"first": "p2p", "last": "p2p"}))
    assert text(one) == "0: work 0-5, send 5-9\n1: in 5-9, out 9-13\n2: receive0 9-13, use0 13-14"


@pytest.mark.parametrize("streams", [None, {"first": "with 0", "last": "with 2"}])
def test_a_stream_per_pair_or_per_direction_does_not(streams: dict[str, str] | None) -> None:
    """The last stage has its message after the 4 s that it travels."""
    free = played(*in_the_middle(streams))
    assert text(free) == "0: work 0-5, send 5-9\n1: out 0-4, in 5-9\n2: receive0 0-4, use0 4-5"


def test_one_stream_costs_time_even_where_nothing_travels() -> None:
    """Messages without bytes take no time, and are still held up by the 5 s of the first stage."""
    assert played(*in_the_middle({"first": "p2p", "last": "p2p"}, size=0)).step_time == 6
    assert played(*in_the_middle(None, size=0)).step_time == 5


def path_of(programs: Programs, mesh: Mesh) -> list[tuple[int, str, str]]:
    """Return rank, label and edge of every piece of the critical path."""
    topology = full(mesh.ranks)
    path = walk(played(programs, mesh), topology, "bf16", ToyPlanner(topology))
    return [(piece.rank, piece.op.label, piece.edge) for piece in path.pieces]


def test_the_critical_path_names_head_of_line_blocking() -> None:
    """What the middle stage sends waits for nothing but a receive that it has no business with."""
    path = path_of(*in_the_middle({"first": "p2p", "last": "p2p"}))
    assert path[-3:] == [
        (1, "out", "head of line"), (2, "receive0", "rendezvous"), (2, "use0", "data"),
    ]  # fmt: skip


def test_what_is_passed_on_or_follows_on_its_channel_is_not_blocked() -> None:
    """On one stream: a send of what has just come, and a second one to the same rank."""

    def relay(rank: Recorder, pp: Axis) -> None:
        y = rank.buffer("y", (4,), 1)
        pp.receive(y, lane="a", label="in", stream="p2p")
        pp.send(y, lane="a", label="out", stream="p2p")
        pp.send(x(rank), lane="a", label="next", stream="p2p")

    def last(rank: Recorder, pp: Axis) -> None:
        for number in range(2):
            pp.receive(rank.buffer("y", (4,), 1), lane="a", label=f"in{number}", stream="p2p")

    path = path_of(*stages(sends(4), relay, last))
    assert path == [(1, "in", "start"), (1, "out", "data"), (1, "next", "program order")]


def test_the_kth_send_of_a_channel_meets_its_kth_receive_on_whatever_stream() -> None:
    """Two channels on one stream of the sender, on one each of the receiver: values stay apart."""

    def sender(rank: Recorder, pp: Axis) -> None:
        for lane, number in (("a", 0), ("b", 1), ("b", 2), ("a", 3)):
            mine = x(rank, number + 1, f"x{number}")
            pp.send(mine, lane=lane, label=f"x{number}", stream="p2p")

    def receiver(rank: Recorder, pp: Axis) -> None:
        for lane, number in (("b", 1), ("b", 2), ("a", 0), ("a", 3)):
            y = rank.buffer(f"y{number}", (number + 1,), 1)
            pp.receive(y, lane=lane, label=f"x{number}")

    programs, mesh = stages(sender, receiver)
    timeline = played(programs, mesh)
    assert (
        text(timeline) == "0: x0 0-1, x1 1-3, x2 3-6, x3 6-10\n1: x0 0-1, x1 1-3, x2 3-6, x3 6-10"
    )
    player = Player(programs, mesh, {})
    player.states[0].buffers[:] = [np.full(number + 1, number) for number in range(4)]
    player.run()
    arrived = [player.states[1].read(op.outputs[0])[0] for op in programs.roles[1].ops]
    assert arrived == [1, 2, 0, 3]
    first, second = programs.roles
    pairs = [Partners().find(first, op.index, second) for op in first.ops]
    assert [second.ops[index].label for index in pairs] == ["x0", "x1", "x2", "x3"]


def test_in_order_streams_that_wait_for_each_other_are_refused() -> None:
    """Either rank's receive, for which the other's send waits, stands behind its own send."""

    def stage(rank: Recorder, pp: Axis) -> None:
        pp.send(x(rank), lane="a", label="out", stream="p2p")
        pp.receive(rank.buffer("y", (4,), 1), lane="a", label="in", stream="p2p")

    with pytest.raises(ScheduleError) as found:
        check(*stages(stage, stage))
    assert str(found.value) == (
        "deadlock: 4 ops wait for each other in a circle\n"
        "  rank 0: 'forward out' on pp/p2p\n"
        "    waits for rank 1: 'forward in' on pp/p2p\n"
        "  rank 1: 'forward in' on pp/p2p\n"
        "    stands behind rank 1: 'forward out' on pp/p2p\n"
        "  rank 1: 'forward out' on pp/p2p\n"
        "    waits for rank 0: 'forward in' on pp/p2p\n"
        "  rank 0: 'forward in' on pp/p2p\n"
        "    stands behind rank 0: 'forward out' on pp/p2p\n"
        "A stream is in order: give these sends and receives streams of their own, or issue them "
        "in an order in which each meets its other half"
    )
    with pytest.raises(ScheduleError, match="stands behind rank 0"):
        check(*shared(stage, 4))  # round a ring, which folds to one rank


def test_ranks_that_share_streams_alike_still_fold() -> None:
    """Round a ring, all sends on one stream and all receives on another: 5 hops of 4 s in turn."""

    def stage(rank: Recorder, pp: Axis) -> None:
        for number, offset in enumerate((1, 3, 1, 2, 3)):
            pp.send(x(rank), lane="a", label=f"to{number}", offset=offset, stream="out")
            y = rank.buffer("y", (4,), 1)
            pp.receive(y, lane="a", label=f"from{number}", offset=-offset, stream="in")

    programs, mesh = shared(stage, 4)
    check(programs, mesh)
    topology = full(4)
    folded, whole = (
        simulate(Setup(programs, mesh, topology, "bf16", folds=folds), ToyPlanner(topology))
        for folds in (True, False)
    )
    assert (folded.played, whole.played) == ((0,), (0, 1, 2, 3))
    assert folded.step_time == 20
    for rank in range(4):
        assert folded.end[rank].tolist() == whole.end[rank].tolist()


def test_a_collective_may_share_the_stream_of_sends() -> None:
    """It counts apart from them: the second of either kind meets the second."""

    def sender(rank: Recorder, pp: Axis) -> None:
        for number in range(2):
            pp.send(x(rank), lane="a", label=f"send{number}", stream="all")
            pp.all_gather(x(rank, 2), dim=0, lane="all", label=f"gather{number}")

    def receiver(rank: Recorder, pp: Axis) -> None:
        for number in range(2):
            pp.receive(rank.buffer("y", (4,), 1), lane="a", label=f"receive{number}")
            pp.all_gather(x(rank, 2), dim=0, lane="all", label=f"gather{number}")

    timeline = played(*stages(sender, receiver))
    assert (
        text(timeline) == "0: send0 0-4, gather0 4-6, send1 6-10, gather1 10-12\n"
        "1: receive0 0-4, gather0 4-6, receive1 6-10, gather1 10-12"
    )


class Hop(NamedTuple):
    """Seconds that the sender computes before it, sender, places further, and bytes."""

    before: int
    sender: int
    offset: int
    size: int


HOPS = st.builds(Hop, st.integers(0, 5), st.integers(0, 3), st.integers(1, 3), st.integers(1, 5))
STREAMS = st.dictionaries(
    st.tuples(*[st.integers(0, 3)] * 3), st.sampled_from(["s", "t"]), max_size=36
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HOPS, max_size=14), STREAMS)
def test_any_streams_of_one_order_give_the_times_of_a_player_by_hand(
    hops: list[Hop], streams: dict[tuple[int, int, int], str]
) -> None:
    """All ranks issue in one order, so nothing hangs: a hop begins when both streams are free.

    A stream is one of (rank, sender, receiver), so that a link carries one hop at a time.
    """
    recorders = [Recorder(Mesh((("pp", 4),))) for _ in range(4)]
    axes = [Axis(rank, "pp", 4) for rank in recorders]
    free: dict[object, int] = defaultdict(int)
    expected: list[dict[str, float]] = [{} for _ in range(4)]
    for number, (before, a, offset, size) in enumerate(hops):
        b, label = (a + offset) % 4, f"hop{number}"
        on, to = streams.get((a, a, b)), streams.get((b, a, b))
        work(recorders[a], before, f"work{number}")
        axes[a].send(x(recorders[a], size), lane="a", label=label, offset=offset, stream=on)
        arriving = recorders[b].buffer("y", (size,), 1)
        axes[b].receive(arriving, lane="a", label=label, offset=-offset, stream=to)
        free[a] += before
        ends = (a, on or (a, b)), (b, to or (a, b))
        end = max(free[key] for key in (a, b, *ends)) + size
        free.update(dict.fromkeys(ends, end))
        expected[a][label] = expected[b][label] = end
    programs = Programs(tuple(rank.program() for rank in recorders), (0, 1, 2, 3))
    timeline = played(programs, recorders[0].mesh)
    for rank in range(4):
        ends_of = {s.op.label: s.end for s in timeline.spans(rank) if s.op.message is not None}
        assert ends_of == expected[rank]


# ---- what does not meet is found before anything is simulated --------------------------------


def test_a_receive_that_nobody_sends_is_found() -> None:
    """The message names both ranks and draws both sides."""
    programs, mesh = stages(sends(4), receives(4, 4))
    with pytest.raises(ScheduleError) as found:
        check(programs, mesh)
    told = str(found.value)
    assert "pp/a +1: step 2 does not meet: rank 0 stops after 1 sends to rank 1" in told
    assert "receive(-1) 4 B  <-- here" in told


def test_a_send_that_nobody_receives_is_found() -> None:
    """The same from the other side, also where the other never receives at all."""
    with pytest.raises(ScheduleError, match="rank 1 stops after 1 receives from rank 0"):
        check(*stages(sends(4, 4), receives(4)))
    with pytest.raises(ScheduleError, match="rank 1 stops after 0 receives from rank 0"):
        check(*stages(sends(4), sends()))


def test_halves_of_different_sizes_are_found() -> None:
    """A receive must have room for exactly what is sent."""
    with pytest.raises(ScheduleError, match=r"differ in bytes \(4 and 3\)"):
        check(*stages(sends(4), receives(3)))


def test_stages_that_both_receive_first_are_a_deadlock() -> None:
    """Each waits for a send that the other issues only behind its own receive."""

    def stage(rank: Recorder, pp: Axis) -> None:
        y = rank.buffer("y", (4,), 1)
        pp.receive(y, lane="a", label="in", offset=1)
        pp.send(y, lane="a", label="out", offset=1)

    with pytest.raises(ScheduleError, match="deadlock: 4 ops wait for each other in a circle"):
        check(*stages(stage, stage))
    programs, mesh = shared(stage, 2)
    with pytest.raises(ScheduleError, match="deadlock"):
        check(programs, mesh)


def test_nobody_sends_to_itself() -> None:
    """An offset that comes back to the rank is a mistake in the strategy."""
    rank = Recorder(Mesh((("pp", 4),)))
    with pytest.raises(ProgramError, match="axis 'pp' of degree 4: a rank cannot meet itself"):
        Axis(rank, "pp", 4).send(x(rank), lane="a", label="send", offset=4)


def test_the_dry_run_plays_one_rank_of_those_that_are_alike(monkeypatch) -> None:
    """With 4 stages of 32 replicas, 4 ranks are looked at."""
    from tspsim.engine.checks import untimed

    seen: list[int] = []
    lay_out = untimed.lay_out
    monkeypatch.setattr(
        untimed, "lay_out", lambda p, ranks: seen.extend(ranks or ()) or lay_out(p, ranks)
    )

    def middle(rank: Recorder, pp: Axis) -> None:
        y = rank.buffer("y", (4,), 1)
        pp.receive(y, lane="a", label="in")
        pp.send(y, lane="a", label="out")

    check(*stages(sends(4), middle, middle, receives(4), axes=(("dp", 32), ("pp", 4))))
    assert seen == [0, 1, 2, 3]


def test_partners_are_found_in_either_direction() -> None:
    """The arrow of a trace, and the critical path, lead from a send to its receive and back."""
    programs, _ = stages(sends(2, 5), receives(2, 5))
    first, second = programs.roles
    labels = {op.label: op.index for op in second.ops}
    assert Partners().find(first, 1, second) == labels["receive1"]
    assert Partners().find(second, labels["receive1"], first) == 1


# ---- sizes that differ by coordinate ---------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_every_hop_of_uneven_messages_takes_its_senders_bytes(sizes: list[int]) -> None:
    """Round a ring of toy links, where nobody shares: a rank's send lasts as its size says."""
    n = len(sizes)

    def ring(rank: Recorder, pp: Axis) -> None:
        pp.send(rank.given("x", (Varying("pp", sizes),), 1), lane="a", label="to")
        arriving = Varying("pp", [sizes[c - 1] for c in range(n)])
        pp.receive(rank.buffer("y", (arriving,), 1), lane="a", label="from")

    timeline = played(*shared(ring, n))
    if len(set(sizes)) == n:
        assert len(timeline.played) == n  # ranks that differ are not folded
    for rank in range(n):
        spans = {span.op.label: span.end - span.start for span in timeline.spans(rank)}
        assert spans == {"to": sizes[rank], "from": sizes[rank - 1]}
        held = memory.trace(timeline).ranks[rank]
        assert held.peak == sizes[rank] + sizes[rank - 1]
