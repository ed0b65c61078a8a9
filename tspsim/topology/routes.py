"""Finds one shortest path between two vertices, without looking at the rest of a large fabric."""

from __future__ import annotations

from collections.abc import Mapping

#: By vertex, the links that leave (or reach) it: the vertex at their other end and their index.
Ways = Mapping[str, Mapping[str, int]]


def shortest(out: Ways, into: Ways, source: str, target: str) -> tuple[int, ...] | None:
    """Return the links of the path that a breadth-first search from the source finds first.

    Two searches, one from either end, meet half-way: the one with fewer vertices at its edge goes
    on. Among the vertices where they meet the first in the order of the forward search has the
    first path to it, and from there on the first link that leads closer is taken: that is the path
    which a search from the source alone would find, in a fraction of the vertices.

    Parameters
    ----------
    out, into : mapping
        The links that leave, and that reach, every vertex; their order decides among equals.
    source, target : str

    Returns
    -------
    tuple of int or None
        Indices of links; None: there is no path.
    """
    if source == target:
        return ()
    came: dict[str, tuple[str, int] | None] = {source: None}  # from where, over which link
    left = {target: 0}  # links to go from here
    front, back = [source], [target]
    while front and back:
        if len(front) <= len(back):
            front = _forward(out, front, came)
        else:
            back = _backward(into, back, left)
        meeting = next((vertex for vertex in front if vertex in left), None)
        if meeting is not None:
            return (*_prefix(came, meeting), *_suffix(out, left, meeting))
    return None


def _forward(out: Ways, front: list[str], came: dict[str, tuple[str, int] | None]) -> list[str]:
    found = []
    for vertex in front:
        for other, link in out[vertex].items():
            if other not in came:
                came[other] = vertex, link
                found.append(other)
    return found


def _backward(into: Ways, back: list[str], left: dict[str, int]) -> list[str]:
    found = []
    for vertex in back:
        for other in into[vertex]:
            if other not in left:
                left[other] = left[vertex] + 1
                found.append(other)
    return found


def _prefix(came: Mapping[str, tuple[str, int] | None], vertex: str) -> list[int]:
    links = []
    step = came[vertex]
    while step is not None:
        links.append(step[1])
        step = came[step[0]]
    return links[::-1]


def _suffix(out: Ways, left: Mapping[str, int], vertex: str) -> list[int]:
    links = []
    while left[vertex]:
        closer = left[vertex] - 1
        vertex, link = next(way for way in out[vertex].items() if left.get(way[0]) == closer)
        links.append(link)
    return links
