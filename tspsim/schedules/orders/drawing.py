"""Draws a played order in text: a line per rank, to scale."""

from __future__ import annotations

from tspsim.schedules.orders.play import Play

#: What a column shows in which a rank waits.
IDLE = "."


def drawn(play: Play, width: int) -> tuple[tuple[str, ...], float]:
    """Return a line for each rank, and the time that a column stands for.

    A column shows the kind of action that its middle lies in. Where all times are multiples of one
    that fits into the width, it stands for that one, and every action is seen.

    Parameters
    ----------
    play : Play
    width : int
        The most columns.
    """
    start = min(row[0].start for row in play.rows)
    unit = _unit(play, width)
    columns = max(1, round(play.span / unit))
    lines = []
    for row in play.rows:
        line = [IDLE] * columns
        for action, first, end in row:
            for column in range(_column(first - start, unit), _column(end - start, unit)):
                line[column] = action.kind
        lines.append("".join(line))
    return tuple(lines), unit


def _column(time: float, unit: float) -> int:
    """Return the first column whose middle does not lie before a time."""
    return round(time / unit)


def _unit(play: Play, width: int) -> float:
    """Return the shortest time of an action if all others fit it, else what fills the width."""
    times = [played.end - played.start for row in play.rows for played in row]
    shortest = min(time for time in times if time)
    even = all(abs(time / shortest - round(time / shortest)) < 1e-6 for time in times)
    return shortest if even and play.span / shortest <= width else play.span / width
