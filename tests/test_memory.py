"""Memory follows from the timeline: nobody frees anything."""

from __future__ import annotations

import numpy as np

import tspsim
from tests import toy
from tests.toy import Toy, full, shared
from tspsim.memory import MemoryTrace, alive, lifetimes, trace
from tspsim.program.types import BUFFER_KINDS, Lane


def steps(memory: MemoryTrace, rank: int = 0) -> list[tuple[float, int]]:
    """Return the moments and totals of one rank."""
    found = memory.ranks[rank]
    return list(zip(found.times.tolist(), found.total.tolist(), strict=True))


def test_buffer_lives_from_its_writer_to_its_last_reader() -> None:
    """Written from 1 s to 3 s, read last until 6 s."""
    program = Toy()
    buffer = program.buffer(10)
    program.compute(1)
    program.compute(2, writes=[buffer])
    program.compute(2)
    program.compute(1, reads=[buffer])
    program.compute(1)
    timeline = toy.run(shared(program, 1), full(1))
    assert steps(trace(timeline)) == [(0, 0), (1, 10), (6, 0)]
    assert [alive(timeline, 0, t) for t in (0.5, 1, 5.9, 6)] == [(), (buffer,), (buffer,), ()]


def test_accumulating_keeps_one_buffer_alive_from_its_first_writer() -> None:
    """An op that adds to a buffer is neither its birth nor its end."""
    program = Toy()
    total = program.buffer(4)
    program.compute(1, writes=[total])
    program.compute(1, reads=[total], writes=[total])
    program.compute(1)
    program.compute(1, reads=[total])
    assert steps(trace(toy.run(shared(program, 1), full(1)))) == [(0, 4), (4, 0)]


def test_buffer_that_nobody_reads_lives_until_its_writer_ends() -> None:
    """A result that is thrown away has needed its place all the same."""
    program = Toy()
    program.compute(1)
    program.compute(2, writes=[program.buffer(4)])
    assert steps(trace(toy.run(shared(program, 1), full(1)))) == [(0, 0), (1, 4), (3, 0)]


def test_input_lives_from_the_beginning() -> None:
    """What ops read and none writes was there before the step."""
    program = Toy()
    given = program.buffer(7)
    program.compute(1)
    program.compute(2, reads=[given])
    assert steps(trace(toy.run(shared(program, 1), full(1)))) == [(0, 7), (3, 0)]


def test_resident_buffers_live_all_the_time() -> None:
    """Weights and optimizer states stay, touched or not."""
    program = Toy()
    weight = program.buffer(100, "weight", resident=True)
    program.buffer(50, "optimizer", resident=True)
    program.compute(1, writes=[program.buffer(8)])
    program.compute(1, reads=[weight])
    timeline = toy.run(shared(program, 1), full(1))
    assert steps(trace(timeline)) == [(0, 158), (1, 150)]
    assert [buffer.bytes for buffer in alive(timeline, 0, 99.0)] == [100, 50]


def test_unused_and_empty_buffers_do_not_count() -> None:
    """Neither a buffer that no op touches nor one without bytes appears anywhere."""
    program = Toy()
    program.buffer(1000)
    empty = program.buffer(0)
    program.compute(1, writes=[empty])
    timeline = toy.run(shared(program, 1), full(1))
    assert steps(trace(timeline)) == [(0, 0)]
    assert alive(timeline, 0, 0.5) == ()


def test_place_is_freed_before_it_is_taken_at_the_same_moment() -> None:
    """What ends when another begins does not add to the peak; equal sizes leave no step."""
    program = Toy()
    one, two, three = (program.buffer(size) for size in (10, 10, 4))
    program.compute(1, writes=[one])
    program.compute(1, writes=[two])
    program.compute(1, writes=[three])
    memory = trace(toy.run(shared(program, 1), full(1)))
    assert steps(memory) == [(0, 10), (2, 4), (3, 0)]
    assert memory.peak == 10


def test_communication_allocates_when_it_is_issued() -> None:
    """What a collective writes is there from the end of the compute before it, early ranks too."""
    program = Toy()
    gathered = program.buffer(8)
    late = program.compute([1, 3])
    gather = program.communicate("all_gather", 8, after=[late], writes=[gathered])
    program.compute(1, after=[gather], reads=[gathered])
    memory = trace(toy.run(shared(program, 2), full(2)))
    assert steps(memory) == [(0, 0), (1, 8), (8, 0)]
    assert steps(memory, rank=1) == [(0, 0), (3, 8), (8, 0)]


def test_communication_holds_what_it_sends_until_somebody_waits_for_it() -> None:
    """A message that is through keeps its source until the op that needs its result starts."""
    program = Toy()
    sent, arrived = program.buffer(4), program.buffer(8)
    program.compute(1, writes=[sent])
    gather = program.communicate("all_gather", 8, after=[0], reads=[sent], writes=[arrived])
    program.compute(10)
    program.compute(1, after=[gather], reads=[arrived])
    memory = trace(toy.run(shared(program, 2), full(2)))
    # sent 0-11 though it is through at 5; arrived 1-12
    assert steps(memory) == [(0, 4), (1, 12), (11, 8), (12, 0)]


def test_a_result_that_nobody_reads_holds_nothing_up() -> None:
    """Without a reader there is no wait: what was sent is free when the message is through."""
    program = Toy()
    sent, unread = program.buffer(4), program.buffer(8)
    program.compute(1, writes=[sent])
    program.communicate("all_gather", 8, after=[0], reads=[sent], writes=[unread])
    program.compute(10)
    memory = trace(toy.run(shared(program, 2), full(2)))
    assert steps(memory) == [(0, 4), (1, 12), (5, 0)]


def test_peak_tells_rank_moment_and_kinds() -> None:
    """The rank whose buffers overlap most, the first moment, and what is there."""
    program = Toy()
    program.buffer(5, "weight", resident=True)
    sent, kept = program.buffer(2), program.buffer(30, "workspace")
    program.compute([1, 3], writes=[sent])
    program.communicate("shift", 2, offset=1, reads=[sent])
    program.compute(2, writes=[kept])
    memory = trace(toy.run(shared(program, 2), full(2)))
    # the hops begin at once, so `sent` ends with its writer where that is the later of the two
    assert (memory.peak, memory.peak_rank, memory.peak_time) == (37, 0, 1.0)
    assert memory.at_peak == dict(zip(BUFFER_KINDS, (5, 0, 0, 2, 30, 0), strict=True))


def small(*overrides: str) -> dict[str, float]:
    """Return what a small step of tensor parallelism holds at its peak."""
    model = {"hidden": 512, "layers": 2, "heads": 8, "ffn": 1024, "vocab": 1024}
    link = {"bandwidth": "50 GB/s", "latency": "1 us"}
    scenario = {
        "model": model, "workload": {"sequence": 1000}, "strategy": {"kind": "tp", "degree": 2},
        "topology": {"kind": "full", "ranks": 2, "link": link, "device": "h100-sxm"},
    }  # fmt: skip
    return dict(tspsim.run(scenario, *overrides).summary.memory.at_peak)


def test_backward_multiplies_in_a_thread_of_its_own() -> None:
    """Autograd has a handle and a workspace beside forward's."""
    found = [small(f"workload.phase={phase}")["blas"] for phase in ("forward", "train")]
    assert found == [32 * 2**20, 2 * 32 * 2**20]
    assert small("kernels=ideal")["blas"] == 0


def test_every_lane_is_a_communicator() -> None:
    """Those of one axis with different names have buffers of their own."""
    lanes = tspsim.run("tsp-layer", "workload.phase=train", "memory.communicator=1 MiB")
    names = {lane.name for lane in lanes.timeline.programs.roles[0].lanes if lane.axis}
    assert lanes.summary.memory.at_peak["communicators"] == len(names) * 2**20 > 2**20


def test_both_ways_of_a_hop_are_one_communicator() -> None:
    """Sends and receives have lanes of their own, on one communicator."""
    program = Toy()
    for way in ("to +1", "from -1", "from +1"):
        program.lanes.append(Lane(f"tsp/pipe {way}", "tsp"))
    program.compute(1)
    assert trace(toy.run(shared(program, 2), full(2))).ranks[0].libraries == (1, 1)


def test_the_allocator_of_torch_is_a_term_of_the_peak() -> None:
    """It adds to buffers and workspaces what its segments hold beyond them, and nothing else."""
    exact, placed = small(), small("memory.allocator=torch")
    beyond = placed.pop("allocator")
    assert placed == exact
    segments = beyond + sum(size for kind, size in exact.items() if kind != "communicators")
    assert beyond > 0
    assert segments % (2 * 2**20) == 0


def test_ranks_differ_where_their_times_do() -> None:
    """A contiguous shard that computes longer holds its buffers longer."""
    program = Toy()
    buffer = program.buffer(6)
    program.compute([1, 4], writes=[buffer])
    memory = trace(toy.run(shared(program, 2), full(2)))
    assert (steps(memory, 0), steps(memory, 1)) == ([(0, 6), (1, 0)], [(0, 6), (4, 0)])


def test_alive_lists_the_largest_first() -> None:
    """Ties go by declaration."""
    program = Toy()
    buffers = [program.buffer(size) for size in (3, 9, 3, 5)]
    program.compute(1, writes=buffers)
    timeline = toy.run(shared(program, 1), full(1))
    assert [buffer.index for buffer in alive(timeline, 0, 0.0)] == [1, 3, 0, 2]


def test_trace_equals_adding_up_lifetimes_moment_by_moment() -> None:
    """The vectorised step function against a plain loop, on a program with overlap."""
    program = Toy()
    buffers = [program.buffer(1 + 3 * i, BUFFER_KINDS[i % 6]) for i in range(12)]
    for i, buffer in enumerate(buffers):
        program.compute([1 + i % 3, 2], writes=[buffer], reads=buffers[max(0, i - 4) : i : 2])
        program.communicate("shift", 1 + i, offset=1, after=[2 * i], reads=[buffer])
    timeline = toy.run(shared(program, 2), full(2))
    for rank, found in enumerate(trace(timeline).ranks):
        lives = lifetimes(timeline, rank)
        for moment, column in zip(found.times, found.by_kind.T, strict=True):
            there = np.flatnonzero((lives.birth <= moment) & (moment < lives.death))
            by_kind = [0] * len(BUFFER_KINDS)
            for index in there:
                by_kind[BUFFER_KINDS.index(buffers[index].kind)] += buffers[index].bytes
            assert by_kind == column.tolist()
