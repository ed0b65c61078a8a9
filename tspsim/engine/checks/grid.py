"""Draws the calls on one communicator as a step x rank grid."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.files.units import format_bytes
from tspsim.program.types import Message

#: Steps shown before and after the bad one.
_AROUND = 2

#: Ranks shown side by side.
_COLUMNS = 8


def cell(message: Message | None) -> str:
    """Return a call as text: ``"broadcast(root 2) 32.0 MiB"``, ``"—"`` where there is none."""
    if message is None:
        return "—"
    argument = f"(root {message.root})" if message.root is not None else ""
    if message.hop:
        argument = f"({message.offset:+d})"
    return f"{message.collective}{argument} {format_bytes(message.bytes)}"


def draw(ranks: Sequence[int], calls: Sequence[Sequence[Message | None]], bad: int) -> str:
    """Return the steps around a bad one, one column per rank.

    Parameters
    ----------
    ranks : sequence of int
        Members of the communicator.
    calls : sequence of sequences of Message
        What every member issues on it, in order.
    bad : int
        The step that does not meet; its row is marked.
    """
    shown = _shown(calls, bad)
    head = ["step", *(f"rank {ranks[i]}" for i in shown)]
    last = min(bad + _AROUND + 1, max(len(column) for column in calls))
    steps = range(max(0, bad - _AROUND), last)
    rows = [[str(step + 1), *(cell(_at(calls[i], step)) for i in shown)] for step in steps]
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows]
    marked = [
        f"{line}  <-- here" if step == bad else line.rstrip()
        for step, line in zip(steps, lines, strict=True)
    ]
    title = "  ".join(c.ljust(w) for c, w in zip(head, widths, strict=True)).rstrip()
    hidden = len(ranks) - len(shown)
    note = [f"({hidden} more ranks are not shown)"] if hidden else []
    return "\n".join([title, *marked, *note])


def _at(column: Sequence[Message | None], step: int) -> Message | None:
    return column[step] if step < len(column) else None


def _shown(calls: Sequence[Sequence[Message | None]], bad: int) -> list[int]:
    """Return the members to show: one of each that differs at the bad step, then the first."""
    different: dict[Message | None, int] = {}
    for member, column in enumerate(calls):
        different.setdefault(_at(column, bad), member)
    rest = [member for member in range(len(calls)) if member not in different.values()]
    return sorted([*different.values(), *rest][:_COLUMNS])
