"""The engine on programs small enough to work out by hand: links carry 1 byte/s."""

from __future__ import annotations

import numpy as np
import pytest

from tests import toy
from tests.toy import Toy, full, roles, shared
from tspsim.collectives.choose import Chooser
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.types import Message


def ends(timeline: Timeline, op: int) -> list[float]:
    """Return when an op ends, by rank."""
    return [float(times[op]) for times in timeline.end]


def starts(timeline: Timeline, op: int) -> list[float]:
    """Return when an op starts, by rank."""
    return [float(times[op]) for times in timeline.start]


def test_compute_runs_in_issue_order_on_one_lane() -> None:
    """Ops of the compute lane follow each other even where no data ties them together."""
    program = Toy()
    for seconds in (2, 1, 3):
        program.compute(seconds)
    assert toy.text(toy.run(shared(program, 1), full(1))) == (
        "0: compute0 0-2, compute1 2-3, compute2 3-6"
    )


def test_lanes_overlap_until_one_waits_for_the_other() -> None:
    """Communication runs beside compute, and the op that reads its result waits."""
    program = Toy()
    gather = program.communicate("all_gather", 10)  # 10 bytes / 2 ranks on each link: 5 s
    program.compute(2)
    program.compute(1, after=[gather])
    expected = "all_gather0 0-5, compute1 0-2, compute2 5-6"
    assert toy.text(toy.run(shared(program, 2), full(2))) == f"0: {expected}\n1: {expected}"


def test_communicators_of_one_axis_do_not_hold_each_other_up() -> None:
    """A prefetched broadcast on its own lane does not delay a gather on another one."""
    program = Toy()
    program.communicate("broadcast", 100, "weights", root=0)
    program.communicate("all_gather", 2, "kv")
    timeline = toy.run(shared(program, 2), toy.switched(2))
    assert ends(timeline, 1) < ends(timeline, 0)
    in_order = Toy()
    in_order.communicate("broadcast", 100, "weights", root=0)
    in_order.communicate("all_gather", 2, "weights")
    timeline = toy.run(shared(in_order, 2), toy.switched(2))
    assert starts(timeline, 1) == ends(timeline, 0)


def test_collective_starts_when_the_last_member_arrives() -> None:
    """All members start and end together; the early ones have waited outside the span."""
    program = Toy()
    early = program.compute([1, 4, 2])
    program.communicate("all_reduce", 6, after=[early])
    timeline = toy.run(shared(program, 3), full(3))
    assert starts(timeline, 1) == [4, 4, 4]
    assert ends(timeline, 1) == [6, 6, 6]


def test_hop_waits_only_for_its_own_two_ranks() -> None:
    """In a shift with a straggler, ranks that are not its neighbours go on in time."""
    program = Toy()
    late = program.compute([0, 10, 0, 0, 0])
    shift = program.shift(2, after=[late])
    program.compute(1, after=[shift])
    timeline = toy.run(shared(program, 5), full(5))
    # hops 0->1 and 1->2 wait for rank 1, the others start at once
    assert starts(timeline, shift) == [0, 10, 0, 0, 0]
    assert ends(timeline, shift) == [12, 12, 12, 2, 2]
    assert ends(timeline, 2) == [13, 13, 13, 3, 3]


def test_straggler_delays_neighbours_one_hop_at_a_time() -> None:
    """Ranks further down the ring feel a late rank only after as many shifts."""
    program = Toy()
    late = program.compute([0, 10, 0, 0, 0, 0])
    first = program.shift(1, after=[late])
    second = program.shift(1)
    timeline = toy.run(shared(program, 6), full(6))
    assert ends(timeline, first) == [11, 11, 11, 1, 1, 1]
    assert ends(timeline, second) == [12, 12, 12, 12, 2, 12]


def test_two_ranks_swap_in_one_shift() -> None:
    """On a ring of two, both hops of a shift run at once over the two directions."""
    program = Toy()
    program.shift(3)
    timeline = toy.run(shared(program, 2), full(2))
    assert ends(timeline, 0) == [3, 3]
    assert [t.ranks for t in timeline.transfers] == [(0, 1), (1, 0)]


def test_hop_waits_for_a_free_slot() -> None:
    """With two slots a hop waits for the last read of the shard whose slot it fills."""
    program = Toy()
    first = program.shift(1)  # fills the second slot; the first holds the rank's own shard
    own = program.compute(5)
    second = program.shift(1, after=[own])  # into the first slot, once the own shard is read
    other = program.compute(5, after=[first])
    program.shift(1, after=[other])
    timeline = toy.run(shared(program, 3), full(3))
    assert starts(timeline, second) == [5, 5, 5]
    assert starts(timeline, 4) == [10, 10, 10]


def test_axis_of_degree_one_costs_nothing() -> None:
    """A communicator of one member ends at once and moves nothing."""
    program = Toy()
    program.compute(1)
    program.communicate("all_reduce", 100, after=[0])
    program.shift(100)
    timeline = toy.run(shared(program, 1), full(1))
    assert timeline.step_time == 1
    assert timeline.transfers == ()


def test_latency_passes_before_the_first_byte() -> None:
    """The span covers latency and transfer, the transfer only the bytes; 0 bytes cost latency."""
    program = Toy()
    program.communicate("all_gather", 4)
    program.communicate("all_gather", 0)
    timeline = toy.run(shared(program, 2), full(2, latency=0.5))
    assert toy.text(timeline).startswith("0: all_gather0 0-2.5, all_gather1 2.5-3")
    assert [(t.start, t.end) for t in timeline.transfers] == [(0.5, 2.5), (3.0, 3.0)]


def test_communicators_of_neighbours_are_separate() -> None:
    """Blocks of two on an axis of four do not wait for each other."""
    program = Toy()
    late = program.compute([0, 0, 7, 0])
    program.communicate("all_reduce", 2, after=[late], group=2)
    timeline = toy.run(shared(program, 4), full(4))
    assert ends(timeline, 1) == [1, 1, 8, 8]


def test_ranks_of_other_roles_play_other_programs() -> None:
    """Roles may have different lengths; what they share meets by order on the lane."""
    short, long = Toy(), Toy()
    short.communicate("all_reduce", 2)
    before = long.compute(3)
    long.communicate("all_reduce", 2, after=[before])
    long.compute(2)
    assert toy.text(toy.run(roles(short, long), full(2))) == (
        "0: all_reduce0 3-4\n1: compute0 0-3, all_reduce1 3-4, compute2 3-5"
    )


def test_contention_slows_both_collectives_to_half() -> None:
    """Two equal collectives on the same links take twice as long; the second half is free again."""
    program = Toy()
    program.communicate("all_gather", 8, "a")  # 4 s alone
    program.communicate("all_gather", 4, "b")  # 2 s alone
    timeline = toy.run(shared(program, 2), full(2))
    assert ends(timeline, 1) == [4, 4]
    assert ends(timeline, 0) == [6, 6]


def test_transfer_names_op_ranks_links_and_bytes() -> None:
    """A transfer tells what moved between whom, over which links, and by which algorithm."""
    program = Toy()
    wait = program.compute(1)
    shift = program.shift(5, after=[wait])
    timeline = toy.run(shared(program, 2), full(2))
    transfer = timeline.transfers[0]
    assert (transfer.op, transfer.ranks, transfer.collective) == (shift, (0, 1), "shift")
    assert (transfer.bytes, transfer.algorithm, transfer.loads) == (5, "direct", ((0, 1.0),))
    assert (transfer.start, transfer.end) == (1, 6)


def test_interference_slows_compute_while_communication_is_active() -> None:
    """Compute at half speed during 4 s of communication has done 2 s of its work by then."""
    program = Toy()
    program.compute(5)
    program.communicate("all_gather", 8)  # 0 s to 4 s
    timeline = toy.run(shared(program, 2), full(2, interference=0.5))
    assert ends(timeline, 1) == [4, 4]
    assert ends(timeline, 0) == [7, 7]  # 2 s of work until 4 s, the remaining 3 s at full speed


def test_interference_slows_what_starts_in_the_middle_of_communication() -> None:
    """The second op starts at half speed, and the third at full speed after the end."""
    program = Toy()
    program.communicate("all_gather", 8)  # 0 s to 4 s
    program.compute(1)
    program.compute(1)
    program.compute(1)
    timeline = toy.run(shared(program, 2), full(2, interference=0.5))
    assert [ends(timeline, op)[0] for op in (1, 2, 3)] == [2, 4, 5]


def test_interference_counts_from_the_rendezvous_and_on_its_own_device() -> None:
    """A rank that waits for its partner computes at full speed; outsiders are not slowed."""
    program = Toy()
    late = program.compute([1, 3, 1, 1])
    program.communicate("all_gather", 4, after=[late], group=2)  # ranks 0, 1: 3 s to 5 s
    program.compute(4)
    timeline = toy.run(shared(program, 4), full(4, interference=0.5))
    # rank 0: 1-3 full, 3-5 half, 1 s left; rank 1: 3-5 half, 3 s left; ranks 2, 3: 1-3 half
    assert ends(timeline, 2) == [6, 8, 6, 6]


def test_transfers_come_in_order_of_their_start() -> None:
    """Outputs rely on the order."""
    program = Toy()
    for size in (3, 1, 2):
        program.communicate("all_gather", size, f"lane{size}")
        program.shift(size, "ring")
    begun = [t.start for t in toy.run(shared(program, 4), full(4, latency=0.1)).transfers]
    assert begun == sorted(begun)
    assert len(begun) == 3 + 3 * 4


def test_two_runs_are_equal_to_the_last_bit() -> None:
    """Same programs, same fabric, same bytes; also under contention and interference."""
    program = Toy()
    for i in range(30):
        program.compute([0.1 * i + 0.01 * r for r in range(4)])
        program.shift(1 + i % 3, "ring", after=[2 * i] if i % 2 else ())
    one, two = (toy.run(shared(program, 4), full(4, interference=0.7)) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.start, two.start, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(one.end, two.end, strict=True))
    assert one.transfers == two.transfers


def test_standstill_names_what_every_rank_waits_for() -> None:
    """Programs that skipped the dry run do not end silently."""
    one, two = Toy(), Toy()
    one.communicate("all_reduce", 1)
    two.compute(1)
    with pytest.raises(ScheduleError, match=r"1 of 2 tasks never ended.*\n  rank 0: forward all"):
        toy.run(roles(one, two), full(2))


def test_progress_rises_to_one() -> None:
    """The callback hears fractions that grow and end at 1, far fewer than there are tasks."""
    program = Toy()
    for _ in range(1000):
        program.compute(1)
    heard: list[float] = []
    topology = full(1)
    planner = toy.ToyPlanner(topology)
    simulate(
        Setup(shared(program, 1), Mesh((("tsp", 1),)), topology, "bf16"), planner, heard.append
    )
    assert heard == sorted(heard)
    assert heard[-1] == 1
    assert len(heard) <= 202


def test_named_algorithm_carries_the_collectives() -> None:
    """`simulate` plans with the algorithm that it is told to use."""
    program = Toy()
    program.communicate("all_gather", 8)
    topology = full(4)
    found = {
        name: simulate(
            Setup(shared(program, 4), Mesh((("tsp", 4),)), topology, "bf16"),
            Chooser(topology, name),
        )
        for name in ("ring", "direct")
    }
    assert [t.algorithm for t in found["ring"].transfers] == ["ring"]
    # direct uses all three links of a device, a ring one of them: 8/4 bytes, three times as many
    assert (found["direct"].step_time, found["ring"].step_time) == pytest.approx((2, 6))


def test_bytes_on_a_link_are_the_sum_over_transfers() -> None:
    """Transfers account for every byte that the messages move."""
    program = Toy()
    program.communicate("all_gather", 12, "a")
    program.communicate("reduce_scatter", 12, "b")
    program.shift(3, "ring")
    timeline = toy.run(shared(program, 4), full(4))
    moved = sum(t.bytes * sum(load for _, load in t.loads) for t in timeline.transfers)
    messages = [op.message for op in timeline.programs.of(0).ops]
    received = sum(m.received(4) for m in messages if isinstance(m, Message))
    assert moved == pytest.approx(4 * received)
