"""Symmetries of a fabric: what a permutation of its devices does to its links, if anything.

A permutation of devices is a symmetry when switches and NICs can be permuted along with them so
that every link lands on a link that is just like it, every node on a node, and every switch that
adds up on one that does. Then whatever happens on some devices happens in the same way on their
images.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tspsim.topology.graph import Topology

Indices = NDArray[np.intp]

#: A link as one of its ends sees it: whether it leaves, who is there, and the link's figures.
_End = tuple[bool, str, float, float, bool]


def image_of_links(topology: Topology, devices: Sequence[int]) -> Indices | None:
    """Return where every link goes when device i goes to ``devices[i]``; None: it is no symmetry.

    Parameters
    ----------
    topology : Topology
    devices : sequence of int
        A permutation; devices are taken to be alike.

    Returns
    -------
    ndarray of int, shape (links,), or None
    """
    if not _keeps_nodes(topology, devices):
        return None
    vertices = {f"d{i}": f"d{j}" for i, j in enumerate(devices)}
    ends = _ends(topology)
    frontier = _around(vertices, ends)
    while frontier:
        found = _matched(frontier, vertices, ends)
        if found is None:
            return None
        vertices.update(found)
        frontier = _around(found, ends) - vertices.keys()
    if {vertices[switch] for switch in topology.reducing} != topology.reducing:
        return None
    return _links(topology, vertices)


def _keeps_nodes(topology: Topology, devices: Sequence[int]) -> bool:
    """Whether the devices of a node all go to one node."""
    if not topology.node_of:
        return True
    moves = {(topology.node(i), topology.node(j)) for i, j in enumerate(devices)}
    return len(moves) == len(set(topology.node_of))


def _ends(topology: Topology) -> dict[str, list[_End]]:
    """Return the links of every vertex, seen from there."""
    ends: dict[str, list[_End]] = defaultdict(list)
    for link in topology.links:
        figures = (link.bandwidth, link.latency, link.network)
        ends[link.source].append((True, link.target, *figures))
        ends[link.target].append((False, link.source, *figures))
    return ends


def _around(vertices: dict[str, str], ends: dict[str, list[_End]]) -> set[str]:
    """Return the neighbours of some vertices that are none of them."""
    near = {end[1] for vertex in vertices for end in ends[vertex]}
    return near - vertices.keys()


def _matched(
    frontier: set[str], known: dict[str, str], ends: dict[str, list[_End]]
) -> dict[str, str] | None:
    """Match the vertices of a frontier by their links to known ones; those alike in their order."""
    candidates: dict[tuple[_End, ...], list[str]] = defaultdict(list)
    order = sorted(frontier)
    for vertex in order:
        candidates[tuple(sorted(end for end in ends[vertex] if end[1] in known))].append(vertex)
    matched = {}
    for vertex in order:
        seen = (
            (out, known[there], *figures) for out, there, *figures in ends[vertex] if there in known
        )
        alike = candidates.get(tuple(sorted(seen)))  # type: ignore[arg-type]  # figures are three
        if not alike:
            return None
        matched[vertex] = alike.pop(0)
    return matched


def _links(topology: Topology, vertices: dict[str, str]) -> Indices | None:
    between = topology.between
    ends = ((vertices[link.source], vertices[link.target]) for link in topology.links)
    images = np.array([between.get(end, -1) for end in ends], dtype=np.intp)
    kinds = _kinds(topology)
    return images if (images >= 0).all() and (kinds[images] == kinds).all() else None


def _kinds(topology: Topology) -> Indices:
    """Return one number by link, the same for links that are alike."""
    known: dict[tuple[float, float, bool], int] = {}
    figures = ((link.bandwidth, link.latency, link.network) for link in topology.links)
    return np.array([known.setdefault(each, len(known)) for each in figures], dtype=np.intp)


def orbits(count: int, permutations: Sequence[tuple[Indices, int]]) -> Indices:
    """Return, by place, the lowest place that commuting permutations bring it to.

    Parameters
    ----------
    count : int
        Indices.
    permutations : sequence of (ndarray of int, int)
        Each with its order: how often it has to be applied to change nothing.
    """
    lowest = np.arange(count, dtype=np.intp)
    for permutation, order in permutations:
        jump, reach = permutation, 1
        while reach < order:  # after k rounds, the lowest of 2^k places along the way
            lowest = np.minimum(lowest, lowest[jump])
            jump, reach = jump[jump], 2 * reach
    return lowest


def powers(permutation: Indices, order: int) -> Iterator[Indices]:
    """Yield a permutation applied once, twice, ..., up to `order` - 1 times."""
    image = permutation
    for _ in range(order - 1):
        yield image
        image = permutation[image]
