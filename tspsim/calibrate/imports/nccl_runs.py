"""What both forms of nccl-tests' output say of a run: its collective, its ranks, its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tspsim.files.errors import UserError, did_you_mean
from tspsim.program.types import CollectiveKind

#: What its programs measure.
PROGRAMS: dict[str, CollectiveKind] = {
    "all_reduce_perf": "all_reduce", "all_gather_perf": "all_gather",
    "reduce_scatter_perf": "reduce_scatter", "alltoall_perf": "all_to_all",
    "broadcast_perf": "broadcast", "reduce_perf": "reduce", "sendrecv_perf": "shift",
}  # fmt: skip

#: Place in the file, bytes and seconds of a call.
Row = tuple[str, int, float]


class Found(NamedTuple):
    """What was read: None and 0 stand for what is not said."""

    collective: CollectiveKind | None
    ranks: int
    rows: Sequence[Row]


def kind(program: str, place: str) -> CollectiveKind:
    """Return the collective of a program of nccl-tests.

    Raises
    ------
    UserError
        When it is none that is known here.
    """
    name = Path(program).name.removesuffix("_mpi")  # built with MPI=1 and a suffix of its own
    if name not in PROGRAMS:
        guess = did_you_mean(name, PROGRAMS)
        known = ", ".join(PROGRAMS)
        raise UserError(f"{place}: '{name}' is no collective known here{guess}: {known}")
    return PROGRAMS[name]


def row(place: str, short: str, size: Any, time: Any, wrong: float) -> Row:
    """Return a row.

    Raises
    ------
    UserError
        When its values were wrong, or its time is none.
    """
    seconds = float(time) * 1e-6
    if wrong:
        raise UserError(f"{place}: {wrong:g} wrong values: what is timed does not work")
    if int(size) and not 0 < seconds < float("inf"):
        raise UserError(f"{place}: a time is above 0, found {time}; run it again")
    return short, int(size), seconds


def members(groups: Sequence[int], place: str) -> int:
    """Return how many ranks a collective has: those of a group, where the ranks are split.

    Parameters
    ----------
    groups : sequence of int
        The group of every rank.
    place : str

    Raises
    ------
    UserError
        When the groups differ in size.
    """
    sizes = Counter(groups)
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{count} of group {group}" for group, count in sorted(sizes.items()))
        raise UserError(
            f"{place}: mixed numbers of ranks ({told}); run groups of one size, or one group alone"
        )
    return next(iter(sizes.values()), 0)
