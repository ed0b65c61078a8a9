"""What holds for every program: bounds, order, conservation, determinism, symmetry."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import toy
from tests.toy import Toy, full, shared, switched
from tspsim.engine.checks.bounds import Bounds, bounds_with
from tspsim.engine.checks.dryrun import check
from tspsim.engine.tasks import predecessors
from tspsim.engine.timeline import Timeline
from tspsim.memory import trace
from tspsim.mesh import Mesh
from tspsim.program.types import Programs
from tspsim.topology.graph import Topology

RANKS = 4
MESH = Mesh((("tsp", RANKS),))


@st.composite
def programs(draw: st.DrawFn, *, symmetric: bool = False) -> Programs:
    """Draw a program of compute, collectives and shifts on three lanes, with random waits.

    A symmetric one asks the same of every rank.
    """
    kinds = ["compute", "compute", "all_gather", "shift"] + ["broadcast"] * (not symmetric)
    program = Toy()
    for index in range(draw(st.integers(1, 14))):
        earlier = st.integers(0, index - 1) if index else st.nothing()
        after = draw(st.lists(earlier, max_size=2)) if index else []
        kind = draw(st.sampled_from(kinds))
        label, size = draw(st.sampled_from("ab")), draw(st.sampled_from([0, 1, 3, 8]))
        if kind == "compute":
            same = symmetric or draw(st.booleans())
            seconds = [draw(st.sampled_from([0.0, 0.3, 1.0, 2.5])) for _ in range(RANKS)]
            program.compute(seconds[0] if same else seconds, after=after)
        elif kind == "shift":
            program.shift(size, label, after, offset=draw(st.integers(-1, 2)))
        elif kind == "broadcast":
            root = draw(st.integers(0, RANKS - 1))
            program.communicate("broadcast", size, label, after, root=root)
        else:
            program.communicate("all_gather", size, label, after)
    return shared(program, RANKS)


fabrics = st.sampled_from(
    [full(RANKS), full(RANKS, latency=0.1), switched(RANKS), full(RANKS, interference=0.6)]
)


def limits(found: Programs, topology: Topology) -> Bounds:
    """Return the bounds of a toy program."""
    return bounds_with(found, MESH, topology, "bf16", toy.ToyPlanner(topology))


@settings(max_examples=150, deadline=None)
@given(programs(), fabrics)
def test_step_time_lies_between_its_bounds(found: Programs, topology: Topology) -> None:
    """max(critical path, busiest resource) <= step time <= all durations one after another."""
    check(found, MESH)
    step = toy.run(found, topology).step_time
    within = limits(found, topology)
    slack = 1e-9 * (1 + step)
    assert within.lower <= step + slack
    slowdown = topology.profile.interference
    assert step <= within.sum / slowdown + slack


@settings(max_examples=100, deadline=None)
@given(programs())
def test_without_contention_the_step_time_is_the_critical_path(found: Programs) -> None:
    """With links so fast that only latency counts, nothing waits for a shared resource."""
    topology = full(RANKS, bandwidth=1e15, latency=0.25)
    step = toy.run(found, topology).step_time
    assert step == pytest.approx(limits(found, topology).critical_path, rel=1e-9, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(programs(), fabrics)
def test_no_task_starts_before_what_it_waits_for_has_ended(
    found: Programs, topology: Topology
) -> None:
    """Waits and the order of lanes hold, and every task ends after it starts."""
    timeline = toy.run(found, topology)
    before = predecessors(found.of(0))
    for start, end in zip(timeline.start, timeline.end, strict=True):
        assert (end >= start).all()
        for op, earlier in enumerate(before):
            assert all(start[op] >= end[other] for other in earlier)


@settings(max_examples=50, deadline=None)
@given(programs(), fabrics)
def test_same_input_gives_the_same_bytes(found: Programs, topology: Topology) -> None:
    """Nothing depends on hashing, addresses or an earlier run."""
    one, two = toy.run(found, topology), toy.run(found, topology)
    for a, b in zip(one.start + one.end, two.start + two.end, strict=True):
        assert a.tobytes() == b.tobytes()
    assert one.transfers == two.transfers


@settings(max_examples=50, deadline=None)
@given(programs(symmetric=True))
def test_ranks_that_are_asked_the_same_behave_alike(found: Programs) -> None:
    """On a symmetric fabric, equal work and no root mean equal times on all ranks."""
    timeline = toy.run(found, full(RANKS))
    for end in timeline.end:
        assert end == pytest.approx(timeline.end[0], rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(programs(), fabrics)
def test_links_never_carry_more_than_they_can(found: Programs, topology: Topology) -> None:
    """All bytes of a link between two moments fit into the time between them."""
    timeline = toy.run(found, topology)
    for link in topology.links:
        on = [
            (t.start, t.end, t.bytes * dict(t.loads).get(link.index, 0)) for t in timeline.transfers
        ]
        for start in {s for s, _, _ in on}:
            for end in {e for _, e, _ in on}:
                inside = sum(b for s, e, b in on if start <= s and e <= end)
                assert inside <= link.bandwidth * max(end - start, 0) + 1e-9


@settings(max_examples=50, deadline=None)
@given(programs())
def test_bytes_moved_are_those_of_the_messages(found: Programs) -> None:
    """Transfers carry what the messages say, whatever shares the links."""
    timeline = toy.run(found, full(RANKS))
    moved = sum(t.bytes * sum(load for _, load in t.loads) for t in timeline.transfers)
    expected = 0.0
    for op in found.of(0).ops:
        if op.message is None:
            continue
        if op.message.collective == "shift" and op.message.offset % RANKS == 0:
            continue  # to itself
        whole = op.message.collective == "broadcast"  # the toy sends it whole to every member
        share = (RANKS - 1) * op.message.bytes if whole else RANKS * op.message.received(RANKS)
        expected += share
    assert moved == pytest.approx(expected)


def longest_path(timeline: Timeline) -> float:
    """Return the longest chain of spans by networkx, collectives as one vertex."""
    graph = nx.DiGraph()
    program = timeline.programs.of(0)
    for rank in range(timeline.mesh.ranks):
        for op, earlier in enumerate(predecessors(program)):
            vertex = op if program.ops[op].message is not None else (rank, op)
            duration = timeline.end[rank][op] - timeline.start[rank][op]
            graph.add_node(vertex)
            for other in earlier:
                before = other if program.ops[other].message is not None else (rank, other)
                graph.add_edge(before, vertex)
            graph.add_edge(vertex, ("end", vertex), weight=duration)
    line = nx.DiGraph()
    for a, b in graph.edges:
        if isinstance(b, tuple) and b[0] == "end":
            line.add_edge(a, b, weight=graph.edges[a, b]["weight"])
        else:
            line.add_edge(("end", a), b, weight=0.0)
    return float(nx.dag_longest_path_length(line))


@settings(max_examples=60, deadline=None)
@given(programs())
def test_step_time_is_the_longest_path_through_the_spans(found: Programs) -> None:
    """Nothing waits without a reason: a chain of spans without gaps explains the step time."""
    ops = tuple(
        op._replace(message=op.message._replace(collective="all_reduce", offset=0))
        if op.message is not None and op.message.collective == "shift"
        else op
        for op in found.of(0).ops
    )
    collective = replace(found, roles=(replace(found.of(0), ops=ops),))
    timeline = toy.run(collective, full(RANKS))
    assert timeline.step_time == pytest.approx(longest_path(timeline), rel=1e-9, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(programs(), st.integers(1, 1000))
def test_memory_starts_and_ends_with_the_resident_bytes(found: Programs, size: int) -> None:
    """Everything that is born dies; in between there is never less than what is resident."""
    program = Toy()
    program.buffer(size, "weight", resident=True)
    base = found.of(0)
    written = program.buffer(3)
    ops = tuple(
        op._replace(outputs=(toy.Operand(written, 0, written.shape),)) if i % 2 else op
        for i, op in enumerate(base.ops)
    )
    role = replace(base, ops=ops, buffers=tuple(program.buffers))
    memory = trace(toy.run(replace(found, roles=(role,)), full(RANKS)))
    for rank in memory.ranks:
        assert rank.total.min() == rank.total[-1] == size
        assert (np.diff(rank.times) > 0).all()
