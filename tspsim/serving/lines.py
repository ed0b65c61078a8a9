"""Functions of whole numbers that are costly to ask: played at few places, straight in between.

What is asked depends on where the function is needed, never on what was needed before: the same
question has the same answer in any order of questions.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

#: A chord is straight enough when its middle is off by no more than this part.
STRAIGHT = 0.02
#: Halvings of one cell of the grid: a kink is found to 1/32 of the cell.
DEEPEST = 5


def grid(first: int, ratio: int, most: int) -> tuple[int, ...]:
    """Return ``first``, ``first * ratio``, ``first * ratio**2`` ... and `most` as the last one."""
    points = []
    while first < most:
        points.append(first)
        first *= ratio
    return (*points, most)


class Line:
    """A function that is taken as straight between the points of a grid.

    Parameters
    ----------
    points : sequence of int
        One or more, ascending. Outside of them the nearest piece goes on.
    play : callable
        The function; asked at points of the grid, once.
    """

    def __init__(self, points: Sequence[int], play: Callable[[int], float]) -> None:
        self._points, self._play = points, play
        self._known: dict[int, float] = {}

    def __call__(self, x: int) -> float:
        """Return the function's value, asking it where that has to be known."""
        return self._straight(self._points, x)

    def _straight(self, points: Sequence[int], x: int) -> float:
        below, above = around(points, x)
        if below == above:
            return self._at(below)
        return between(x, below, self._at(below), above, self._at(above))

    def _at(self, x: int) -> float:
        if x not in self._known:
            self._known[x] = self._play(x)
        return self._known[x]


class Bent(Line):
    """A line whose cells are halved until they are straight: kinks are found.

    A cell of the grid is looked into as a whole, when something inside it is first asked for.
    """

    def __init__(self, points: Sequence[int], play: Callable[[int], float]) -> None:
        super().__init__(points, play)
        self._cells: dict[int, tuple[int, ...]] = {}

    def __call__(self, x: int) -> float:
        """Return the function's value."""
        below, above = around(self._points, x)
        if below != above and below not in self._cells:
            self._cells[below] = (*self._halved(below, above, DEEPEST), above)
        return self._straight(self._cells.get(below, (below,)) if below != above else (below,), x)

    def _halved(self, below: int, above: int, deepest: int) -> tuple[int, ...]:
        """Return where the pieces of a cell begin."""
        middle = (below + above) // 2
        if middle == below or not deepest:
            return (below,)
        chord = between(middle, below, self._at(below), above, self._at(above))
        if abs(self._at(middle) - chord) <= STRAIGHT * self._at(middle):
            return (below, middle)
        first = self._halved(below, middle, deepest - 1)
        return (*first, *self._halved(middle, above, deepest - 1))


class Sheet:
    """A function of several numbers, straight in the first one between functions of the others.

    Parameters
    ----------
    points : sequence of int
        Of the first number.
    at : callable
        Makes the function of the others at one point: a `Line`, or a `Sheet`.
    """

    def __init__(self, points: Sequence[int], at: Callable[[int], Line | Sheet]) -> None:
        self._points, self._make = points, at
        self._made: dict[int, Line | Sheet] = {}

    def __call__(self, x: int, *others: int) -> float:
        """Return the function's value."""
        below, above = around(self._points, x)
        if below == above:
            return self._at(below)(*others)
        return between(x, below, self._at(below)(*others), above, self._at(above)(*others))

    def _at(self, x: int) -> Line | Sheet:
        if x not in self._made:
            self._made[x] = self._make(x)
        return self._made[x]


def around(points: Sequence[int], x: int) -> tuple[int, int]:
    """Return the points beside a number: itself twice where it is one, or where there is but one.

    Outside of them, the two that are nearest.
    """
    place = bisect_left(points, x)
    if place < len(points) and points[place] == x:
        return x, x
    if len(points) == 1:
        return points[0], points[0]
    place = min(max(place, 1), len(points) - 1)
    return points[place - 1], points[place]


def between(x: int, below: int, first: float, above: int, second: float) -> float:
    """Return the value at `x` of the straight line through two points."""
    return first + (x - below) / (above - below) * (second - first)
