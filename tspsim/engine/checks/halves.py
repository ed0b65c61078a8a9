"""Checks that every send has its receive: as many, in the same order, of as many bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tspsim.engine.checks import grid
from tspsim.engine.checks.member import Member
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.types import Message, Op, Program, Programs

_OTHER = {"send": "receive", "receive": "send"}

#: What one program sends, and what it receives, on each channel; in order.
_Sides = dict[tuple[str, str], tuple[Op, ...]]


def check_halves(programs: Programs, mesh: Mesh, ranks: Sequence[int]) -> None:
    """Check what some ranks send and receive against what their partners do.

    Raises
    ------
    ScheduleError
        Says which send or receive finds no other half like it, and draws both sides.
    """
    sides = [_sides(program) for program in programs.roles]
    role = programs.role_of_rank
    for rank in ranks:
        for (collective, channel), ops in sides[role[rank]].items():
            partner = _partner(programs.of(rank), mesh, rank, ops[0])
            back = sides[role[partner]].get((_OTHER[collective], channel), ())
            pair = _member(mesh, rank, ops), _member(mesh, partner, back)
            _compare(channel, *(pair if collective == "send" else pair[::-1]))


def _sides(program: Program) -> _Sides:
    found: dict[tuple[str, str], list[Op]] = defaultdict(list)
    for op in program.ops:
        if op.half is not None:
            found[op.half].append(op)
    return {half: tuple(ops) for half, ops in found.items()}


def _partner(program: Program, mesh: Mesh, rank: int, op: Op) -> int:
    """Return the rank that a send goes to, or that a receive comes from."""
    assert op.message is not None
    members = program.lanes[op.lane].members(mesh, rank)
    return members[(members.index(rank) + op.message.offset) % len(members)]


def _member(mesh: Mesh, rank: int, ops: tuple[Op, ...]) -> Member:
    """Return what a rank sends or receives on a channel, sizes as it has them."""
    calls = (op.message.of_rank(mesh, rank) for op in ops if op.message is not None)
    return Member(rank, ops, tuple(calls))


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
