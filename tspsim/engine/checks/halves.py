"""Checks that every send has its receive: as many, in the same order, of as many bytes."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.engine.checks import grid
from tspsim.engine.checks.member import Member
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.types import Message, Program, Programs

_OTHER = {"send": "receive", "receive": "send"}


def check_halves(programs: Programs, mesh: Mesh, ranks: Sequence[int]) -> None:
    """Check what some ranks send and receive against what their partners do.

    Raises
    ------
    ScheduleError
        Says which send or receive finds no other half like it, and draws both sides.
    """
    for rank in ranks:
        program = programs.of(rank)
        for number, lane in enumerate(program.lanes):
            if lane.channel:
                _check_lane(programs, mesh, rank, number)


def _check_lane(programs: Programs, mesh: Mesh, rank: int, number: int) -> None:
    program = programs.of(rank)
    lane = program.lanes[number]
    mine = _side(program, mesh, rank, number)
    kind, offset = mine.calls[0].collective, mine.calls[0].offset
    members = lane.members(mesh, rank)
    partner = members[(members.index(rank) + offset) % len(members)]
    other = programs.of(partner)
    theirs = _side(other, mesh, partner, _lane_back(other, lane.channel, kind))
    sides = (mine, theirs) if kind == "send" else (theirs, mine)
    _compare(lane.channel, *sides)


def _side(program: Program, mesh: Mesh, rank: int, number: int | None) -> Member:
    """Return a rank's calls on a lane, sizes as it has them; none where it has no such lane."""
    ops = tuple(op for op in program.ops if op.lane == number)
    calls = (op.message.of_rank(mesh, rank) for op in ops if op.message is not None)
    return Member(rank, ops, tuple(calls))


def _lane_back(program: Program, channel: str, kind: str) -> int | None:
    """Return the lane of the other halves on a channel."""
    wanted = _OTHER[kind]
    for op in program.ops:
        said = op.message.collective if op.message is not None else None
        if said == wanted and program.lanes[op.lane].channel == channel:
            return op.lane
    return None


def _compare(channel: str, sender: Member, receiver: Member) -> None:
    """Raise at the first step at which a send and a receive are not two halves of one hop."""
    for step in range(max(len(sender.calls), len(receiver.calls))):
        sent, received = sender.call(step), receiver.call(step)
        if sent is not None and received is not None and sent.bytes == received.bytes:
            continue
        told = _difference(sender, receiver, sent, received, step)
        drawn = grid.draw([sender.rank, receiver.rank], [sender.calls, receiver.calls], step)
        raise ScheduleError(f"{channel}: step {step + 1} does not meet: {told}\n{drawn}")


def _difference(
    sender: Member, receiver: Member, sent: Message | None, received: Message | None, step: int
) -> str:
    if sent is None:
        name, count = receiver.ops[step].name, len(sender.calls)
        return (
            f"rank {sender.rank} stops after {count} sends to rank {receiver.rank}, which goes on "
            f"with '{name}'"
        )
    if received is None:
        name, count = sender.ops[step].name, len(receiver.calls)
        return (
            f"rank {receiver.rank} stops after {count} receives from rank {sender.rank}, which "
            f"goes on with '{name}'"
        )
    return (
        f"'{sender.ops[step].name}' of rank {sender.rank} and '{receiver.ops[step].name}' of rank "
        f"{receiver.rank} differ in bytes ({sent.bytes} and {received.bytes})"
    )
