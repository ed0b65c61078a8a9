"""The static dry run: what does not meet is told in one sentence and drawn."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.toy import Toy, roles, shared
from tspsim.engine.checks.dryrun import check
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh

MIB = 2**20


def message(*toys: Toy) -> str:
    """Return what the dry run says about one program per rank."""
    with pytest.raises(ScheduleError) as error:
        check(roles(*toys), Mesh((("tsp", len(toys)),)))
    return str(error.value)


def broadcasts(change: Callable[[Toy], object] | None = None) -> Toy:
    """Return a program of four broadcasts; `change` writes the third one."""
    toy = Toy()
    for root in range(4):
        if root == 2 and change is not None:
            change(toy)
        else:
            toy.communicate("broadcast", 32 * MIB, "weights", root=root)
    return toy


def test_different_kind_is_drawn_with_the_bad_row_marked() -> None:
    """The grid shows two steps before and after, a column per rank."""
    odd = broadcasts(lambda toy: toy.communicate("all_gather", 32 * MIB, "weights"))
    assert message(broadcasts(), odd, broadcasts()) == (
        "tsp/weights: step 3 does not meet: 'forward all_gather2' of rank 1 and "
        "'forward broadcast2' of rank 0 differ in collective (all_gather and broadcast), "
        "root (None and 2)\n"
        "step  rank 0                      rank 1                      rank 2\n"
        "1     broadcast(root 0) 32.0 MiB  broadcast(root 0) 32.0 MiB  broadcast(root 0) 32.0 MiB\n"
        "2     broadcast(root 1) 32.0 MiB  broadcast(root 1) 32.0 MiB  broadcast(root 1) 32.0 MiB\n"
        "3     broadcast(root 2) 32.0 MiB  all_gather 32.0 MiB         broadcast(root 2) 32.0 MiB"
        "  <-- here\n"
        "4     broadcast(root 3) 32.0 MiB  broadcast(root 3) 32.0 MiB  broadcast(root 3) 32.0 MiB"
    )


def test_different_root_is_found() -> None:
    """A root that depends on the rank by mistake."""
    odd = broadcasts(lambda toy: toy.communicate("broadcast", 32 * MIB, "weights", root=1))
    text = message(broadcasts(), broadcasts(), odd)
    assert "of rank 2 and 'forward broadcast2' of rank 0 differ in root (1 and 2)" in text


def test_different_size_is_found_to_the_byte() -> None:
    """Sizes that look the same in MiB are told in bytes."""
    odd = broadcasts(lambda toy: toy.communicate("broadcast", 32 * MIB + 2, "weights", root=2))
    assert "differ in bytes (33554434 and 33554432)" in message(broadcasts(), broadcasts(), odd)


def test_different_offset_of_a_shift_is_found() -> None:
    """One rank that sends to the left where others send to the right."""
    right, left = Toy(), Toy()
    right.shift(8)
    left.shift(8, offset=-1)
    text = message(right, right, left)
    assert "differ in offset (-1 and 1)" in text
    assert "shift(+1) 8 B  shift(+1) 8 B  shift(-1) 8 B  <-- here" in text


def test_missing_collective_is_drawn_as_a_dash() -> None:
    """A rank that runs out early."""
    toys = [broadcasts(), broadcasts(lambda _: None), broadcasts()]
    toys[1].ops[2:], toys[1].waits[2:] = [], []
    text = message(*toys)
    assert text.startswith(
        "tsp/weights: step 3 does not meet: rank 1 stops after 2 calls, rank 0 goes on with "
        "'forward broadcast2'\n"
    )
    assert "3     broadcast(root 2) 32.0 MiB  —                           broadcast(root 2)" in text


def test_collective_that_only_one_rank_has_is_found() -> None:
    """A lane that other ranks do not have at all."""
    alone, other = Toy(), Toy()
    alone.communicate("all_reduce", 4, "extra")
    other.compute(1)
    text = message(alone, other)
    assert text.startswith("tsp/extra: step 1 does not meet: rank 1 stops after 0 calls")


def test_crossing_order_deadlock_is_told_as_a_circle() -> None:
    """Two ranks that issue two collectives in opposite orders, each waiting for its first."""
    one, two = Toy(), Toy()
    for toy, order in ((one, "ab"), (two, "ba")):
        first = toy.communicate("all_reduce", 8, order[0])
        toy.communicate("all_reduce", 8, order[1], after=[first])
    text = message(one, two)
    assert text.startswith("deadlock: 4 ops wait for each other in a circle\n")
    assert (
        "  rank 0: 'forward all_reduce0' on tsp/a\n"
        "    waits for rank 1: 'forward all_reduce1' on tsp/a\n" in text
    )
    assert text.endswith(
        "step  rank 0          rank 1\n1     all_reduce 8 B  all_reduce 8 B  <-- here"
    )


def test_crossing_hops_deadlock_only_where_hops_need_each_other() -> None:
    """The circle of a shift names the neighbours that it waits for, not just any member."""
    toys = [Toy() for _ in range(4)]
    for rank, toy in enumerate(toys):
        order = "ba" if rank == 2 else "ab"
        first = toy.shift(8, order[0])
        toy.shift(8, order[1], after=[first])
    text = message(*toys)
    assert "rank 2: 'forward shift0' on tsp/b\n    waits for rank 3: 'forward shift1'" in text
    assert "rank 3: 'forward shift0' on tsp/a\n    waits for rank 2: 'forward shift1'" in text
    assert "waits for rank 0" not in text  # it stands still too, but rank 2 does not meet it


def test_program_that_waits_for_itself_is_found_without_playing_all_ranks() -> None:
    """A circle in the waits of a shared program stops all ranks alike."""
    toy = Toy()
    toy.communicate("all_reduce", 8, after=[1])
    toy.compute(1, after=[0])
    with pytest.raises(ScheduleError, match="deadlock: 2 ops wait for each other in a circle"):
        check(shared(toy, 4), Mesh((("tsp", 4),)))


def test_root_outside_the_communicator_is_found() -> None:
    """Also where all ranks share one program and so cannot differ."""
    toy = Toy()
    toy.communicate("broadcast", 8, root=4)
    with pytest.raises(ScheduleError, match="has root 4; the communicator has members 0 to 3"):
        check(shared(toy, 4), Mesh((("tsp", 4),)))


def test_blocks_that_do_not_divide_the_axis_are_found() -> None:
    """Blocks of three neighbours on an axis of four leave one rank over."""
    toy = Toy()
    toy.communicate("all_reduce", 8, group=3)
    with pytest.raises(ScheduleError, match="blocks of 3 do not divide the axis 'tsp' of degree 4"):
        check(shared(toy, 4), Mesh((("tsp", 4),)))


def test_wide_communicator_shows_the_ranks_that_differ() -> None:
    """Of 64 ranks eight are shown, the odd one among them."""
    odd = broadcasts(lambda toy: toy.communicate("broadcast", 8, "weights", root=0))
    text = message(*[broadcasts()] * 50, odd, *[broadcasts()] * 13)
    assert "rank 50" in text.splitlines()[1]
    assert text.splitlines()[-1] == "(56 more ranks are not shown)"


def test_programs_that_meet_pass() -> None:
    """Different roles are fine as long as their communicators agree."""
    one, two = Toy(), Toy()
    for toy in (one, two):
        toy.communicate("all_reduce", 8, "a")
        toy.shift(4, "b")
        if toy is one:
            toy.compute(1)
        toy.communicate("broadcast", 8, "a", root=1)
    check(roles(one, two), Mesh((("tsp", 2),)))
    check(shared(one, 8), Mesh((("tsp", 8),)))


def test_number_of_programs_must_match_the_mesh() -> None:
    """One program per rank."""
    with pytest.raises(ScheduleError, match="programs for 2 ranks on a mesh of 4"):
        check(shared(Toy(), 2), Mesh((("tsp", 4),)))
