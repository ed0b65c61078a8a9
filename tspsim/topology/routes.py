"""How routes are found: what a fabric states itself, and the shortest paths where it does not."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

#: The vertices that traffic passes, from the first device to the last; empty: there is no way.
Path: TypeAlias = tuple[str, ...]

#: ``router(source, target)`` -> the vertices between two devices, given by number.
Router: TypeAlias = Callable[[int, int], Path]


@dataclass(frozen=True, slots=True)
class Direct:
    """Every two devices have a link of their own, or share one switch.

    Parameters
    ----------
    switch : str, optional
        The vertex between them.
    """

    switch: str | None = None

    def __call__(self, source: int, target: int) -> Path:
        """Return the two devices, with the switch between them if there is one."""
        ends = (f"d{source}", f"d{target}")
        return (ends[0], self.switch, ends[1]) if self.switch else ends


class Search:
    """Shortest paths in hops over any graph.

    Among paths of equal length it is the one that a breadth-first search from the source finds
    first when it follows edges in the order in which they were given. The same edges give the
    same paths in every run.

    Parameters
    ----------
    edges : iterable of (str, str)
        Directed; devices are the vertices ``"d0"``, ``"d1"``...
    """

    def __init__(self, edges: Iterable[tuple[str, str]]) -> None:
        self._next: dict[str, list[str]] = defaultdict(list)
        self._before: dict[str, list[str]] = defaultdict(list)
        for source, target in edges:
            self._next[source].append(target)
            self._before[target].append(source)
        self._trees: dict[str, dict[str, str]] = {}

    def __call__(self, source: int, target: int) -> Path:
        """Return the path from one device to another; empty where there is none."""
        start, end = f"d{source}", f"d{target}"
        if start not in self._trees:
            self._trees[start] = _tree(start, self._next)
        parent = self._trees[start]
        if end not in parent:
            return ()
        path = [end]
        while path[-1] != start:
            path.append(parent[path[-1]])
        return tuple(reversed(path))

    def lost(self, devices: int) -> tuple[int, int] | None:
        """Return two devices of which the first does not reach the second; None: all do."""
        for edges, forward in ((self._next, True), (self._before, False)):
            found = _tree("d0", edges)
            for i in range(devices):
                if f"d{i}" not in found:
                    return (0, i) if forward else (i, 0)
        return None


def _tree(start: str, edges: dict[str, list[str]]) -> dict[str, str]:
    """Return for every vertex that is reached the one before it."""
    parent = {start: start}
    queue = deque((start,))
    while queue:
        here = queue.popleft()
        for vertex in edges.get(here, ()):
            if vertex not in parent:
                parent[vertex] = here
                queue.append(vertex)
    return parent
