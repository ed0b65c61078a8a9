"""Pipeline schedules: their orders are those of torch, Megatron and the papers, for any size."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tests.pipelines import TORCH, order, sizes, table
from tspsim.files.errors import UserError
from tspsim.registry import SCHEDULES
from tspsim.schedules.orders.check import check
from tspsim.schedules.parts.base import Size


def test_every_schedule_has_its_name() -> None:
    """Names are what people call them, also where no module can be called so."""
    assert SCHEDULES.names() == (
        "1f1b", "dualpipe", "dualpipe_v", "gpipe", "interleaved", "interleaved_zb", "looped_bfs",
        "zb_h1", "zb_h2", "zb_v",
    )  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_orders_are_torch_s(name: str) -> None:
    """Every rank does what torch 2.13's schedule of that name does, action by action."""
    rows = [row for row in table("torch213_orders.csv") if row["schedule"] == TORCH[name]]
    assert len(rows) >= 12
    for row in rows:
        found = order(name, int(row["p"]), int(row["m"]), int(row["v"]))
        assert str(found).splitlines()[int(row["rank"])] == row["actions"], row


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_order_can_run(name: str) -> None:
    """Orders of all sizes pass the check that a user's own has to pass."""
    tried = list(sizes(name))
    assert len(tried) >= 6
    for size in tried:
        check(order(name, *size), f"{name} {size}")


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_a_schedule_says_whether_backward_is_split(name: str) -> None:
    """`split` is true exactly where some order has input gradients apart from weight gradients."""
    kinds = {a.kind for size in sizes(name) for row in order(name, *size).rows for a in row}
    assert SCHEDULES.get(name).split == ("I" in kinds) == ("W" in kinds)


def test_groups_of_micro_batches_are_megatron_s() -> None:
    """A group of 6 on 4 ranks: a chunk takes six in a row, the last group what is left."""
    found = order("interleaved", 4, 16, 2, group_size=6)
    forwards = [str(action) for action in found.rows[3] if action.kind == "F"]
    assert forwards[:12] == [*(f"3F{b}" for b in range(6)), *(f"7F{b}" for b in range(6))]
    assert forwards[-8:] == [*(f"3F{b}" for b in range(12, 16)), *(f"7F{b}" for b in range(12, 16))]
    ahead = next(step for step, action in enumerate(found.rows[0]) if action.backward)
    assert ahead == 2 * 3 + 1 * 6 + 1  # warm-up 2 (p - r - 1) + (v - 1) N, and the steady forward
    check(found)


def test_dualpipe_is_two_pipelines_of_which_each_takes_one_half() -> None:
    """Rank r and its mirror image do alike, and hold two parts of the layers, each one twice."""
    found = order("dualpipe", 4, 8)
    assert (found.stages, found.depth, found.pipelines) == (8, 4, 2)
    assert [list(found.route(b)) for b in (0, 3, 4, 7)] == [[0, 1, 2, 3]] * 2 + [[4, 5, 6, 7]] * 2
    assert [[found.part(s) for s in found.on(r)] for r in range(4)] == [
        [0, 3],
        [1, 2],
        [2, 1],
        [3, 0],
    ]
    for rank in range(4):
        mirrored = [
            a._replace(stage=(a.stage + 4) % 8, microbatch=(a.microbatch + 4) % 8)
            for a in found.rows[rank]
        ]
        assert tuple(mirrored) == found.rows[3 - rank]


@pytest.mark.parametrize(
    ("name", "size", "options", "message"),
    [
        ("dualpipe_v", (4, 7, 2), {}, "micro_batches: 7; dualpipe_v needs at least 8, two for"),
        ("dualpipe", (4, 9, 2), {}, "micro_batches: 9; dualpipe needs an even number, at least 8"),
        ("dualpipe", (3, 8, 2), {}, "stages: 3; dualpipe needs an even number: 2 or 4"),
        ("interleaved", (4, 9, 2), {}, "micro_batches: 9 micro-batches do not make 2 equal groups"),
        ("interleaved", (4, 8, 1), {}, "chunks: 1 per rank; this schedule has 2 or more"),
        ("interleaved", (4, 8, 2), {"group_size": 3}, "group_size: 3; a group has from the 4 stag"),
        ("interleaved", (4, 14, 2), {"group_size": 6}, "group_size: groups of 6 leave 2 of 14"),
        ("zb_v", (4, 8, 3), {}, "chunks: 3 per rank; this schedule has 2"),
        ("1f1b", (4, 0, 1), {}, "micro_batches: 0; a pipeline has 1 or more"),
        ("gpipe", (0, 4, 1), {}, "stages: 0; a pipeline has 1 or more"),
    ],
)  # fmt: skip
def test_a_size_that_a_schedule_cannot_have_is_refused(
    name: str, size: tuple[int, int, int], options: dict[str, Any], message: str
) -> None:
    """The message says what was found and what is allowed; the problem has its place."""
    with pytest.raises(UserError, match=f"^{message}"):
        order(name, *size, **options)
    found = list(SCHEDULES.get(name)(**options).problems(Size(*size)))
    assert found
    assert all(problem.path[0] in ("strategy", "workload") for problem in found)


def test_an_unknown_option_is_refused() -> None:
    """Options are those of the schedule; a group has at least one micro-batch."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        SCHEDULES.get("1f1b")(group_size=4)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        SCHEDULES.get("interleaved")(group_size=0)
