"""Checks that every send has its receive: as many, in the same order, of as many bytes."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.engine.checks import grid
from tspsim.engine.checks.member import Issued, Member, issued
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.types import Message, Programs

_OTHER = {"send": "receive", "receive": "send"}


def check_halves(programs: Programs, mesh: Mesh, ranks: Sequence[int]) -> None:
    """Check what some ranks send and receive against what their partners do.

    Raises
    ------
    ScheduleError
        Says which send or receive finds no other half like it, and draws both sides.
    """
    for rank in ranks:
        for (collective, channel), here in issued(programs.of(rank)).items():
            if collective:
                partner = _partner(mesh, rank, here)
                there = programs.of(partner)
                back = issued(there).get((_OTHER[collective], channel), Issued(there))
                pair = _member(mesh, rank, here), _member(mesh, partner, back)
                _compare(channel, *(pair if collective == "send" else pair[::-1]))


def _partner(mesh: Mesh, rank: int, here: Issued) -> int:
    """Return the rank that a send goes to, or that a receive comes from."""
    lane = here.program.lanes[here.program.ops[here.ops[0]].lane]
    members = lane.members(mesh, rank)
    return members[(members.index(rank) + here.calls[0].offset) % len(members)]


def _member(mesh: Mesh, rank: int, here: Issued) -> Member:
    """Return what a rank sends or receives on a channel, sizes as it has them."""
    return Member(rank, here, tuple(call.of_rank(mesh, rank) for call in here.calls))


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
        name, count = receiver.op(step).name, len(sender.calls)
        return (
            f"rank {sender.rank} stops after {count} sends to rank {receiver.rank}, which goes on "
            f"with '{name}'"
        )
    if received is None:
        name, count = sender.op(step).name, len(receiver.calls)
        return (
            f"rank {receiver.rank} stops after {count} receives from rank {sender.rank}, which "
            f"goes on with '{name}'"
        )
    return (
        f"'{sender.op(step).name}' of rank {sender.rank} and '{receiver.op(step).name}' of rank "
        f"{receiver.rank} differ in bytes ({sent.bytes} and {received.bytes})"
    )
