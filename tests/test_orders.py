"""Orders of a pipeline: text forms, a user's own from a file, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines import TORCH, order, sizes
from tspsim.files.errors import ScenarioError
from tspsim.registry import SCHEDULES
from tspsim.schedules.orders.actions import Action, Pair, parse
from tspsim.schedules.orders.check import OrderError, check
from tspsim.schedules.orders.order import Order, order_of
from tspsim.schedules.orders.reading import read, text_of, written
from tspsim.schedules.orders.transfers import with_transfers

#: 1F1B of two ranks and two micro-batches.
GOOD = "0F0 0F1 0B0 0B1\n1F0 1B0 1F1 1B1"


@pytest.mark.parametrize("text", ["3F0", "12I7", "0W4", "1B10", "(0F7;7B3)OVERLAP_F_B"])
def test_text_forms_are_read_back(text: str) -> None:
    """What is printed is read as what it was."""
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "F0", "3F", "3X0", "3F-1", "3f0", "1SEND_F0", "(0F7)", "3F0x"]
)
def test_other_texts_are_no_actions(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="3F0"):
        parse(text)


@pytest.mark.parametrize("text", ["(0B7;7B3)OVERLAP_F_B", "(0F7;7W3)OVERLAP_F_B"])
def test_a_pair_is_a_forward_and_a_backward(text: str) -> None:
    """Other two actions are not run as one."""
    with pytest.raises(ValueError, match="a forward and a backward"):
        parse(text)


@pytest.mark.parametrize("name", sorted({*SCHEDULES.names()} - {"dualpipe"}))
def test_an_order_is_read_from_its_own_text(name: str, tmp_path: Path) -> None:
    """As text or CSV, with idle slots and comments: the same order, pairs and placement too."""
    for size in list(sizes(name))[::7]:
        want = order(name, *size)
        file = tmp_path / "order.csv"
        lines = [",".join((",", *line.split(), "")) for line in str(want).splitlines()]
        file.write_text("\n".join(["# rank by rank", *lines, ""]), encoding="utf-8")
        assert read(file).order(*size) == written(text_of(want), "text").order(*size) == want
        assert written(text_of(want, ","), "csv").order(*size) == want


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0F0 0F1 0B0 0B1", "own: 1 lines with actions; a schedule has one per rank, here 2"),
        (GOOD.replace("1F1", "1G1"), "own:2:9: rank 1, step 2: '1G1': an action is a stage, one"),
        (GOOD.replace("0F1", "2F1"), "own:1:5: rank 0, step 1: 2F1: stage 2; there are 2, 0 to 1"),
        (GOOD.replace("0F1", "0F2"), "own:1:5: rank 0, step 1: 0F2: micro-batch 2; there are 2"),
        (GOOD.replace("0F1", "1F1"), "own:1:5: rank 0, step 1: 1F1: stage 1 lies on rank 1"),
        (GOOD.replace(" 1B1", ""), "own:2:1: rank 1: stage 1, micro-batch 1: 0 times I, 0 W an"),
        (GOOD.replace("0F0", "0F0 0F0"), "own:1:5: rank 0, step 1: stage 0, micro-batch 0: 2 t"),
        (GOOD.replace("1B0", "1B0 1W0"), "own:2:9: rank 1, step 2: stage 1, micro-batch 0: 0 "),
        (GOOD.replace("1F0 1B0", "1B0 1F0"), "own:2:1: rank 1, step 0: 1B0 comes before 1F0"),
        (GOOD.replace("1B0", "1W0 1I0"), "own:2:5: rank 1, step 1: 1W0 comes before 1I0"),
    ],
)  # fmt: skip
def test_a_file_that_is_wrong_is_refused(text: str, message: str) -> None:
    """Place, what was found, and what is allowed."""
    with pytest.raises((ScenarioError, OrderError)) as error:
        written(text, "own").order(2, 2, 1)
    assert str(error.value).startswith(message)
    assert error.value.exit_code == 2


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """As any file that a user names."""
    with pytest.raises(ScenarioError, match="no such file"):
        read(tmp_path / "none.csv")


def test_many_mistakes_are_counted() -> None:
    """A file for another number of micro-batches is not answered with a page."""
    with pytest.raises(OrderError) as error:
        check(Order(((), ()), (0, 1), 100))
    assert len(str(error.value).splitlines()) == 9
    assert str(error.value).endswith("and 392 more")
    with pytest.raises(OrderError) as unread:
        written("x " * 20 + "\n0F0", "own").order(2, 1, 1)
    assert len(str(unread.value).splitlines()) == 9


def test_a_deadlock_is_drawn_as_a_circle() -> None:
    """Two ranks that wait for each other: who waits for what, and what stands before that."""
    with pytest.raises(OrderError) as error:
        written("0F0 0B0 0F1 0B1\n1F1 1B1 1F0 1B0", "own").order(2, 2, 1)
    assert str(error.value).splitlines() == [
        "own: deadlock: 2 ranks wait for each other in a circle",
        "  rank 0, step 1: 0B0",
        "    waits for 1B0, step 3 of rank 1, behind 1F1",
        "  rank 1, step 0: 1F1",
        "    waits for 0F1, step 2 of rank 0, behind 0B0",
    ]


def test_an_overlapped_pair_begins_when_both_can() -> None:
    """One after the other runs; as a pair it waits for what comes of its own forward."""
    apart = "0F0 0F1 0B0 0B1\n1F0 1F1 1B0 1B1"
    written(apart, "own").order(2, 2, 1)
    with pytest.raises(OrderError, match="deadlock"):
        written(apart.replace("0F1 0B0", "(0F1;0B0)OVERLAP_F_B"), "own").order(2, 2, 1)


# ---- torch --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch_schedules() -> Any:
    """Return torch's own schedules; they are private, so torch is the version that was read."""
    torch = pytest.importorskip("torch", minversion="2.13")
    if not torch.distributed.is_available():
        pytest.skip("torch without torch.distributed")
    return pytest.importorskip("torch.distributed.pipelining.schedules")


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.usefixtures("torch_schedules")
def test_orders_of_eight_ranks_are_torch_s(name: str) -> None:
    """Larger pipelines than those of the table, asked of torch itself."""
    from torch.distributed.pipelining._schedule_visualizer import get_schedule_ops

    for microbatches in (16, 24):
        chunks = SCHEDULES.get(name).chunks[0]
        asked = get_schedule_ops(TORCH[name], 8, microbatches, num_stages_per_rank=chunks)
        theirs = [[str(a) for a in row if a and a.is_compute_op] for row in asked]
        if name == "1f1b":  # torch numbers the last rank's forwards from 1
            last = [f"7F{b}" for b in range(microbatches)]
            theirs[-1] = [last.pop(0) if "F" in text else text for text in theirs[-1]]
        ours = str(order(name, 8, microbatches, chunks)).splitlines()
        assert [" ".join(row) for row in theirs] == ours


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("interleaved", (4, 8, 2)),
        ("interleaved", (3, 12, 3)),
        ("looped_bfs", (4, 8, 2)),
        ("interleaved_zb", (4, 12, 2)),
        ("zb_v", (4, 8, 2)),
        ("dualpipe_v", (4, 9, 2)),
    ],
)
@pytest.mark.usefixtures("torch_schedules")
def test_sends_and_receives_stand_where_torch_puts_them(
    name: str, size: tuple[int, int, int]
) -> None:
    """Every rank's row, but for what torch's runtime does beside computing and sending."""
    from torch.distributed.pipelining._schedule_visualizer import get_schedule_ops

    ranks, microbatches, chunks = size
    asked = get_schedule_ops(TORCH[name], ranks, microbatches, chunks, with_comms=True)
    beside = ("UNSHARD", "RESHARD", "REDUCE_GRAD")
    theirs = [[str(a) for a in row if a.computation_type not in beside] for row in asked]
    ours = with_transfers(order(name, *size))
    assert [[str(action) for action in row] for row in ours] == theirs


def accepted(order: Order) -> bool:
    """Whether an order passes our check."""
    try:
        check(order)
    except OrderError:
        return False
    return True


def accepted_by_torch(schedules: Any, order: Order) -> bool:
    """Whether torch validates an order and can place its sends and receives."""
    rows = str(order).splitlines()
    read = {r: [schedules._Action.from_str(t) for t in row.split()] for r, row in enumerate(rows)}
    try:
        schedules._validate_schedule(read, order.ranks, order.stages, order.microbatches)
        full = schedules._add_send_recv(read, order.placement.__getitem__, order.stages)
        if not order.overlapped:  # of which torch's dry run knows nothing
            schedules._simulate_comms_compute(full, order.placement.__getitem__, order.stages)
    except AssertionError:
        return False
    return True


def mutated(order: Order, luck: random.Random) -> Order:
    """Return an order with two actions, or pairs, of one rank or of two exchanged."""
    rows: list[list[Action | Pair]] = [
        [Pair(*step) if len(step) > 1 else step[0] for step in order.steps(rank)]
        for rank in range(order.ranks)
    ]
    a = luck.randrange(order.ranks)
    b = a if luck.random() < 0.9 else luck.randrange(order.ranks)
    i = luck.randrange(len(rows[a]))
    near = max(0, min(len(rows[b]) - 1, i + luck.choice((-3, -2, -1, 1, 2, 3))))
    j = near if luck.random() < 0.6 else luck.randrange(len(rows[b]))
    rows[a][i], rows[b][j] = rows[b][j], rows[a][i]
    return order_of(rows, order.placement, order.microbatches)


def test_a_thousand_mutated_orders_are_refused_exactly_when_torch_refuses(
    torch_schedules: Any,
) -> None:
    """Neither more nor less is refused, and both answers are frequent."""
    luck = random.Random(11)  # noqa: S311
    answers = []
    for _ in range(1000):
        name = luck.choice(sorted({*SCHEDULES.names()} - {"dualpipe"}))
        ranks = luck.choice((2, 3, 4))
        chunks = SCHEDULES.get(name).chunks[0]
        found = mutated(order(name, ranks, luck.choice((2, 3)) * ranks, chunks), luck)
        answers.append(accepted(found))
        assert answers[-1] == accepted_by_torch(torch_schedules, found), str(found)
    assert 200 < sum(answers) < 800
