"""Recording: dependencies follow data, slots hold back, and broken rules are found at once."""

from __future__ import annotations

import pytest

from tspsim.files.errors import ProgramError
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.kinds.pointwise import Add
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.tokens import Tokens, twice_causal_pairs


@pytest.fixture
def rank() -> Rank:
    """Return a rank of four on one axis, with a model that nobody looks at."""
    model = ModelShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=8)
    return Rank(Mesh((("tsp", 4),)), model, Workload(sequence=8), Optimizer())


def waits(rank: Rank, index: int) -> tuple[int, ...]:
    """Return the ops on other lanes that an op waits for."""
    return rank.program().waits[index]


def test_reading_a_buffer_waits_for_its_writer_on_another_lane(rank) -> None:
    """What a broadcast fills is read after the broadcast."""
    x = rank.given("x", (1, 2, 8), 2)
    shard = rank.resident("w", (8, 8), 2, "weight")
    arrived = rank.axis("tsp").broadcast(shard, 0, lane="w", label="w", into=rank.slots(2))
    rank.matmul(x, arrived, "y")
    assert waits(rank, 1) == (0,)


def test_the_own_lane_is_in_order_and_needs_no_wait(rank) -> None:
    """Two matmuls in a row on the compute lane record nothing to wait for."""
    x, w = rank.given("x", (1, 2, 8), 2), rank.resident("w", (8, 8), 2, "weight")
    rank.matmul(rank.matmul(x, w, "a"), w, "b")
    assert waits(rank, 1) == ()


def test_writing_over_a_buffer_waits_for_its_readers(rank) -> None:
    """An in-place op may not start while a send still reads the buffer."""
    x, y = rank.given("x", (1, 2, 8), 2), rank.given("y", (1, 2, 8), 2)
    rank.axis("tsp").shift(x, lane="x", label="x", into=rank.slots(2))
    rank.compute(Add(), (y, x), (x,))
    assert waits(rank, 1) == (0,)


def test_only_the_latest_wait_per_lane_is_kept(rank) -> None:
    """Lanes are in order: whoever waits for the second broadcast need not wait for the first."""
    axis, slots = rank.axis("tsp"), rank.slots(3)
    w = rank.resident("w", (8, 8), 2, "weight")
    x = rank.given("x", (8, 8), 2)
    first = axis.broadcast(w, 0, lane="w", label="w", into=slots)
    second = axis.broadcast(w, 1, lane="w", label="w", into=slots)
    rank.compute(Add(), (first, second), (second,))
    rank.compute(Add(), (x, second), (second,))
    assert waits(rank, 2) == (1,)


def test_a_hop_waits_for_a_free_slot(rank) -> None:
    """With two slots the third arrival waits for the last use of the first, on any lane."""
    axis, slots = rank.axis("tsp"), rank.slots(2)
    w = rank.resident("w", (8, 8), 2, "weight")
    for step in range(3):
        arrived = axis.broadcast(w, 0, lane="w", label="w", into=slots)
        axis.shift(arrived, lane="other", label="w", into=rank.slots(1))
        assert waits(rank, 2 * step) == (() if step < 2 else (1,))


def test_communication_waits_for_the_compute_issued_before_it(rank) -> None:
    """A stream's call begins when what stands before it is done, whether it needs it or not."""
    axis, w = rank.axis("tsp"), rank.resident("w", (8, 8), 2, "weight")
    x = rank.given("x", (1, 2, 8), 2)
    axis.broadcast(w, 0, lane="w", label="w", into=rank.slots(1))
    rank.matmul(x, w, "y")
    rank.matmul(x, w, "z")
    axis.broadcast(w, 1, lane="w", label="w", into=rank.slots(1))
    assert [waits(rank, i) for i in range(4)] == [(), (), (), (2,)]


def test_reading_after_the_slot_was_filled_again_is_refused(rank) -> None:
    """A strategy that keeps a shard too long finds out when it is recorded."""
    axis, slots = rank.axis("tsp"), rank.slots(1)
    w, x = rank.resident("w", (8, 8), 2, "weight"), rank.given("x", (1, 2, 8), 2)
    first = axis.broadcast(w, 0, lane="w", label="w", into=slots)
    axis.broadcast(w, 1, lane="w", label="w", into=slots)
    with pytest.raises(ProgramError, match="'w' is read after its slot was filled again"):
        rank.matmul(x, first, "y")


def test_reading_what_nothing_wrote_is_refused(rank) -> None:
    """A buffer must be written, given or resident before it is read."""
    x, w = rank.tensor("x", (1, 2, 8)), rank.resident("w", (8, 8), 2, "weight")
    with pytest.raises(ProgramError, match="'x' is read before anything wrote it"):
        rank.matmul(x, w, "y")


def test_a_view_must_lie_inside_its_buffer(rank) -> None:
    """Part of a pack is a part of it."""
    x = rank.given("x", (4,), 2)
    with pytest.raises(ProgramError, match="exceeds 'x'"):
        view(x, 2, (3,))


def test_an_axis_of_degree_one_sends_nothing(rank) -> None:
    """Operands come back as they are, and no op is recorded."""
    x = rank.given("x", (4,), 2)
    axis = rank.axis("nowhere")
    assert axis.all_reduce(x, lane="x", label="x") == (x,)
    assert axis.shift(x, lane="x", label="x", into=rank.slots(2)) == (x,)
    assert not rank.program().ops


@pytest.mark.parametrize("layout", ["contiguous", "zigzag"])
@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_shards_of_a_sequence_partition_it(layout, degree) -> None:
    """Every position is held exactly once."""
    tokens = Tokens(32, "sp", degree, layout)
    assert sorted(tokens.gathered().tolist()) == list(range(32))


@pytest.mark.parametrize("degree", [2, 4, 8])
def test_zigzag_makes_causal_work_equal(degree) -> None:
    """Every rank has the same number of (query, key) pairs; contiguous ranks have not."""
    whole = ((0, 64),)
    zigzag = Tokens(64, "sp", degree, "zigzag")
    contiguous = Tokens(64, "sp", degree, "contiguous")
    assert len({twice_causal_pairs(zigzag.ranges(c), whole) for c in range(degree)}) == 1
    assert len({twice_causal_pairs(contiguous.ranges(c), whole) for c in range(degree)}) == degree


@pytest.mark.parametrize("shift", range(4))
@pytest.mark.parametrize("layout", ["contiguous", "zigzag"])
def test_pairs_are_counted_as_a_mask_would(layout, shift) -> None:
    """The closed form against counting the entries of the mask, the diagonal half."""
    queries = Tokens(32, "sp", 4, layout)
    keys = queries.shifted(-shift)
    for c in range(4):
        distance = queries.positions(c)[:, None] - keys.positions(c)[None, :]
        counted = 2 * (distance > 0).sum() + (distance == 0).sum()
        assert twice_causal_pairs(queries.ranges(c), keys.ranges(c)) == counted
