"""The static dry run: finds collectives that do not meet, before anything is simulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tspsim.engine.checks import deadlock, grid
from tspsim.engine.checks.halves import check_halves
from tspsim.engine.checks.member import Issued, Member, issued
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.by_rank import axes_of
from tspsim.program.types import Message, Program, Programs

#: What helps where a send or a receive stands behind another one on its stream.
_HELD_UP = (
    "A stream is in order: give these sends and receives streams of their own, or issue them in an "
    "order in which each meets its other half"
)


class Membership(NamedTuple):
    """A lane that some ranks share, with what each of them issues on it."""

    name: str
    members: tuple[Member, ...]

    def draw(self, step: int) -> str:
        """Return the step x rank grid around a step that does not meet."""
        return grid.draw([m.rank for m in self.members], [m.calls for m in self.members], step)


def check(programs: Programs, mesh: Mesh) -> None:
    """Check that all collectives meet, and that no ranks wait for each other for ever.

    The k-th call of every member of a communicator must have the same collective, root, size and
    offset, and no member may run out early; the k-th send from one rank to another on a channel
    must find the k-th receive. Ranks that differ only along axes that no program tells apart do the
    same at every step, so one of them stands for all. Where all ranks share one program without
    sends, op i meets op i by construction, and only its own waits are followed.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh

    Raises
    ------
    ScheduleError
        Says what does not meet, and draws the steps on that communicator by rank.
    """
    if len(programs.role_of_rank) != mesh.ranks:
        count = len(programs.role_of_rank)
        raise ScheduleError(f"programs for {count} ranks on a mesh of {mesh.ranks}")
    _check_blocks(programs, mesh)
    stand_ins = _stand_ins(programs, mesh)
    played = sorted(set(stand_ins))
    for communicator in _communicators(programs, mesh, played):
        _check_calls(communicator)
        _check_roots(communicator)
    check_halves(programs, mesh, played)
    only = programs.roles[0]
    if len(programs.roles) == 1 and not _sends(only) and deadlock.can_end(only):
        return
    stuck = deadlock.find(programs, mesh, stand_ins)
    if stuck is not None:
        raise ScheduleError(_stuck(programs, mesh, stuck))


def _sends(program: Program) -> bool:
    return any(half for half, _ in issued(program))


def _stand_ins(programs: Programs, mesh: Mesh) -> tuple[int, ...]:
    """Return, by rank, the one at the first coordinates of all axes that nothing tells apart."""
    told_apart = {axis for program in programs.roles for axis in axes_of(program)}
    ranks = list(range(mesh.ranks))
    role = programs.role_of_rank
    for axis, _ in mesh.axes:
        stride = mesh.stride(axis)
        first = [rank - mesh.coordinate(rank, axis) * stride for rank in range(mesh.ranks)]
        if axis not in told_apart and all(role[r] == role[first[r]] for r in range(mesh.ranks)):
            ranks = [first[rank] for rank in ranks]
    return tuple(ranks)


def _check_blocks(programs: Programs, mesh: Mesh) -> None:
    for program in programs.roles:
        for lane in program.lanes:
            degree = 1 if lane.axis is None else mesh.degree(lane.axis)
            if lane.size is not None and degree % lane.size:
                raise ScheduleError(
                    f"{lane.name}: blocks of {lane.size} do not divide the axis '{lane.axis}' "
                    f"of degree {degree}"
                )


def _communicators(programs: Programs, mesh: Mesh, ranks: Sequence[int]) -> Iterator[Membership]:
    """Yield the communicators of some ranks, each once; not those of sends and receives."""
    seen = set()
    for rank in ranks:
        for lane in programs.of(rank).lanes:
            group = lane.members(mesh, rank)
            if lane.axis is None or (lane.name, group) in seen:
                continue
            seen.add((lane.name, group))
            members = tuple(_member(programs.of(other), lane.name, other) for other in group)
            if any(member.calls for member in members):
                yield Membership(lane.name, members)


def _member(program: Program, lane: str, rank: int) -> Member:
    here = issued(program).get(("", lane), Issued(program))
    return Member(rank, here, here.calls)


def _check_calls(communicator: Membership) -> None:
    if len({id(member.calls): member.calls for member in communicator.members}) == 1:
        return  # all play one program
    first, *others = communicator.members
    if all(member.calls == first.calls for member in others):
        return
    for step in range(max(len(member.calls) for member in communicator.members)):
        calls = [member.call(step) for member in communicator.members]
        if any(call != calls[0] for call in calls):
            sentence = _difference(communicator, calls, step)
            raise ScheduleError(f"{sentence}\n{communicator.draw(step)}")


def _difference(communicator: Membership, calls: list[Message | None], step: int) -> str:
    """Return one sentence: which two ranks do not meet at a step, and in what they differ."""
    common = Counter(calls).most_common(1)[0][0]
    odd = next(place for place, call in enumerate(calls) if call != common)
    this, that = communicator.members[odd], communicator.members[calls.index(common)]
    where = f"{communicator.name}: step {step + 1} does not meet"
    a, b = this.call(step), that.call(step)
    if a is None or b is None:
        short, long = (this, that) if a is None else (that, this)
        return (
            f"{where}: rank {short.rank} stops after {len(short.calls)} calls, rank {long.rank} "
            f"goes on with '{long.op(step).name}'"
        )
    fields = zip(a._fields, a, b, strict=True)
    differing = ", ".join(f"{field} ({x} and {y})" for field, x, y in fields if x != y)
    return (
        f"{where}: '{this.op(step).name}' of rank {this.rank} and '{that.op(step).name}' of "
        f"rank {that.rank} differ in {differing}"
    )


def _check_roots(communicator: Membership) -> None:
    degree = len(communicator.members)
    for step, call in enumerate(communicator.members[0].calls):
        if call.root is not None and not 0 <= call.root < degree:
            name = communicator.members[0].op(step).name
            raise ScheduleError(
                f"{communicator.name}: step {step + 1}, '{name}', has root {call.root}; the "
                f"communicator has members 0 to {degree - 1}\n{communicator.draw(step)}"
            )


def _stuck(programs: Programs, mesh: Mesh, stuck: deadlock.Circle) -> str:
    """Return the circle in words, and the grid of the first communicator in it."""
    links = zip(stuck.names, stuck.behind, (*stuck.names[1:], stuck.names[0]), strict=True)
    lines = [
        f"  {waiting}\n    {'stands behind' if behind else 'waits for'} {awaited}"
        for waiting, behind, awaited in links
    ]
    text = "\n".join([f"deadlock: {len(lines)} ops wait for each other in a circle", *lines])
    if stuck.held_up:
        text += f"\n{_HELD_UP}"
    for communicator in _communicators(programs, mesh, range(mesh.ranks)):
        ranks = tuple(member.rank for member in communicator.members)
        if (communicator.name, ranks) == (stuck.lane, stuck.ranks):
            return f"{text}\n{communicator.name}:\n{communicator.draw(stuck.step)}"
    return text
