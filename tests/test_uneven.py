"""Sizes that differ by coordinate, communicators over several axes, and gathers into slots."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tests.toy import ToyPlanner, full
from tspsim import memory
from tspsim.engine.checks.dryrun import check
from tspsim.engine.simulate import Setup, simulate
from tspsim.files.errors import ProgramError
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.axis import Axis
from tspsim.program.bindings import Shard
from tspsim.program.by_rank import axes_of, work_of
from tspsim.program.kinds.matmul import Matmul
from tspsim.program.ledger import Slots
from tspsim.program.packed import Packed, Part, elements
from tspsim.program.rank import Rank
from tspsim.program.recorder import Recorder, view
from tspsim.program.replicas import Replication
from tspsim.program.types import PerCoordinate, Programs
from tspsim.program.varying import Varying, at, combined, product, total
from tspsim.values.play import Player

UNEVEN = Varying("ep", (3, 5, 0, 2))


def rank_of(*axes: tuple[str, int]) -> Rank:
    """Return a rank of a mesh, with a model that nobody looks at."""
    model = ModelShape(hidden=8, layers=1, heads=2, kv_heads=2, ffn=8)
    return Rank(Mesh(axes), model, Workload(sequence=8), Optimizer(), Replication())


# ---- varying sizes ---------------------------------------------------------------------------


def test_a_varying_size_is_its_largest_as_a_number_and_equal_only_to_its_like() -> None:
    """Whoever does not ask sees an upper bound; equal sizes of other coordinates are no equals."""
    assert UNEVEN + 0 == 5
    assert Varying("ep", (3, 5, 0, 2)) == UNEVEN
    assert Varying("ep", (5, 5, 0, 2)) != UNEVEN != 5
    assert len({UNEVEN, Varying("ep", (3, 5, 0, 2)), Varying("tp", (3, 5, 0, 2))}) == 2
    assert str(UNEVEN) == "0..5"


def test_it_survives_copies_and_the_way_to_another_process() -> None:
    """Programs are sent to worker processes."""
    for twin in (copy.deepcopy(UNEVEN), pickle.loads(pickle.dumps(UNEVEN))):  # noqa: S301  # ours
        assert twin == UNEVEN
        assert twin.sizes == (3, 5, 0, 2)


def test_products_and_sums_vary_where_a_factor_does() -> None:
    """Plain numbers stay numbers; two sizes along one axis go together."""
    assert product((2, UNEVEN, 4)) == Varying("ep", (24, 40, 0, 16))
    assert total((1, UNEVEN, UNEVEN)) == Varying("ep", (7, 11, 1, 5))
    assert type(product((2, 3))) is int
    assert [at(7, 2), at(UNEVEN, 2)] == [7, 0]


def test_sizes_along_different_axes_are_not_mixed() -> None:
    """There is no coordinate that such a size could be asked at."""
    with pytest.raises(ProgramError, match="vary along different axes: ep, tp"):
        combined(max, UNEVEN, Varying("tp", (1, 2)))


def test_the_work_of_a_matmul_follows_its_uneven_rows() -> None:
    """Every coordinate has the flops of its own tokens, an idle expert none."""
    rank = rank_of(("ep", 4))
    rank.matmul(rank.given("x", (UNEVEN, 8), 2), rank.resident("w", (8, 16), 2, "weight"), "up")
    (op,) = rank.program().ops
    assert isinstance(op.work, PerCoordinate)
    assert [work.flops for work in op.work.works] == [2 * n * 8 * 16 for n in (3, 5, 0, 2)]
    assert [work.shape[0] for work in op.work.works] == [3, 5, 0, 2]
    assert work_of(op, rank.mesh, 1) == op.work.works[1]
    assert axes_of(rank.program()) == ("ep",)


def test_two_uneven_axes_in_one_op_are_refused() -> None:
    """The message names the kind."""
    rank = rank_of(("ep", 4), ("tp", 2))
    x = rank.given("x", (UNEVEN, Varying("tp", (1, 2))), 2)
    with pytest.raises(ProgramError, match="vary along different axes"):
        rank.compute(Matmul(), (x, x), (x,))


def test_uneven_packs_are_cut_where_they_are() -> None:
    """The second tensor of a pack begins behind the first one's own size on every rank."""
    rank = rank_of(("ep", 4))
    parts = (Part("a", (UNEVEN, 2), "a", Shard()), Part("b", (4,), "b", Shard()))
    assert elements(parts) == Varying("ep", (10, 14, 4, 8))
    pack = Packed(rank.resident("pack", (elements(parts),), 2, "weight"), parts)
    assert pack["b"].of_rank(rank.mesh, 1) == (10, (4,))
    assert pack["b"].of_rank(rank.mesh, 2) == (0, (4,))
    with pytest.raises(ProgramError, match="exceeds 'pack'"):
        view(pack.flat, 5, (4,))  # not on the rank that holds 4 elements


def test_what_is_gathered_from_uneven_parts_is_whole_everywhere() -> None:
    """Values are concatenated; memory counts every rank's own part; the whole is even again."""
    rank = rank_of(("ep", 4))
    mine = rank.resident("mine", (UNEVEN,), 1, "weight")
    (whole,) = rank.axis("ep").all_gather(mine, dim=0, lane="w", label="gather")
    rank.compute(Matmul(), (rank.given("x", (1, 10), 1), view(whole, 0, (10, 1))),
                 (rank.tensor("y", (1, 1)),))  # fmt: skip
    programs = Programs((rank.program(),), (0,) * 4)
    check(programs, rank.mesh)
    player = Player(programs, rank.mesh, {})
    for place, state in enumerate(player.states):
        state.buffers[0] = np.full(UNEVEN.sizes[place], float(place))
        state.buffers[2] = np.ones(10)
    player.run()
    assert all(s.buffers[1].tolist() == [0] * 3 + [1] * 5 + [3] * 2 for s in player.states)
    topology = full(4)
    timeline = simulate(Setup(programs, rank.mesh, topology, "bf16"), ToyPlanner(topology))
    resident = [m.by_kind[0].max() for m in memory.trace(timeline).ranks]
    assert resident == [3, 5, 0, 2]


# ---- communicators over several axes ---------------------------------------------------------


def test_several_axes_are_one_with_the_last_varying_fastest() -> None:
    """Coordinates and members follow the order in which the axes are named."""
    mesh = Mesh((("dp", 2), ("pp", 2), ("tsp", 2)))
    assert mesh.degree(("dp", "tsp")) == 4
    assert mesh.group(3, ("dp", "tsp")) == (2, 3, 6, 7)
    assert mesh.group(3, ("tsp", "dp")) == (2, 6, 3, 7)
    assert [mesh.coordinate(rank, ("tsp", "dp")) for rank in (2, 6, 3, 7)] == [0, 1, 2, 3]
    assert mesh.group(3, ("dp", "tsp"), 2) == (2, 3)
    assert mesh.group(3, ("dp", "nowhere")) == mesh.group(3, "dp") == (3, 7)


def test_an_expert_exchange_over_two_axes_moves_values_between_all_of_them() -> None:
    """An all_to_all over dp x tsp: block j of member i becomes block i of member j."""
    rank = rank_of(("dp", 2), ("tsp", 2))
    both = rank.axis(("dp", "tsp"))
    x = rank.given("x", (4, 1), 1)
    (y,) = both.all_to_all(x, split=0, concat=0, lane="experts", label="dispatch")
    rank.compute(Matmul(), (rank.given("one", (1, 4), 1), y), (rank.tensor("z", (1, 1)),))
    program = rank.program()
    assert (both.name, both.degree) == ("dp+tsp", 4)
    assert program.lanes[1].name == "dp+tsp/experts"
    programs = Programs((program,), (0,) * 4)
    check(programs, rank.mesh)
    player = Player(programs, rank.mesh, {})
    for place, state in enumerate(player.states):
        state.buffers[0] = 10.0 * place + np.arange(4)
        state.buffers[2] = np.ones(4)
    player.run()
    assert [s.buffers[1].tolist() for s in player.states] == [
        [10.0 * i + j for i in range(4)] for j in range(4)
    ]


def test_a_communicator_over_two_axes_folds_both_and_gives_the_same_times() -> None:
    """On an even fabric nothing tells the ranks apart; a hop round both axes does."""
    mesh = Mesh((("dp", 2), ("tsp", 2)))

    def timeline(folds: bool, hop: bool) -> object:
        rank = Recorder(mesh)
        axis, x = Axis(rank, ("dp", "tsp"), 4), rank.given("x", (8,), 1)
        if hop:
            axis.shift(x, lane="a", label="hop", into=Slots(1))
        else:
            axis.all_reduce(x, lane="a", label="sum")
        programs, topology = Programs((rank.program(),), (0,) * 4), full(4)
        check(programs, mesh)
        return simulate(Setup(programs, mesh, topology, "bf16", folds=folds), ToyPlanner(topology))

    assert timeline(True, False).played == (0,)
    assert timeline(True, False).step_time == timeline(False, False).step_time
    assert timeline(True, True).played == (0, 1, 2, 3)


# ---- gathers into slots ----------------------------------------------------------------------


def test_a_gather_into_slots_waits_for_the_last_use_of_what_it_displaces() -> None:
    """With two slots the third layer's weights wait until the first layer's have been read."""
    rank = rank_of(("dp", 2))
    dp, slots = rank.axis("dp"), rank.slots(2)
    x = rank.given("x", (4, 8), 2)
    shards = [rank.resident(f"w{i}", (4, 8), 2, "weight") for i in range(3)]
    gathered = [
        dp.all_gather(w, dim=0, lane="weights", label=f"gather{i}", into=slots)[0]
        for i, w in enumerate(shards[:2])
    ]
    rank.matmul(x, gathered[0], "layer0")
    with rank.hooked():  # waits for its data and its slot alone
        dp.all_gather(shards[2], dim=0, lane="weights", label="gather2", into=slots)
    program = rank.program()
    assert program.ops[2].label == "layer0"
    assert program.waits[3] == (2,)
    with pytest.raises(ProgramError, match="is read after its slot was filled again"):
        rank.matmul(x, gathered[0], "again")
