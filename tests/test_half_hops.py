"""Sends and receives: half a hop each, matched by pair, channel and order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.toy import ToyPlanner, full, switched, text
from tspsim import memory
from tspsim.engine.checks.dryrun import check
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
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
        from tspsim.program.recorder import Slots

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
