"""Finds rings through all members that share no link: over direct links, or one per NIC of a node.

A square torus has a formula. Which sets of rings a graph holds is a hard question in general, so
other direct links are searched: a path is grown and turned (Pósa 1976,
doi:10.1016/0012-365X(76)90068-6) from several starts, always the same ones, and the best set that
was met holds. Rings are found without a direction and used in both.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from tspsim.topology.graph import Topology

#: Whom a member is joined to, by position.
Neighbours = tuple[tuple[int, ...], ...]
Ring = tuple[int, ...]

#: Starts of the search times members, turns of a path per member, and the most members it is for.
_STARTS, _TURNS, MOST = 3000, 12, 512


def joined(ranks: tuple[int, ...], topology: Topology) -> Neighbours:
    """Return whom every member has a direct link to and from."""
    place = {f"d{rank}": i for i, rank in enumerate(ranks)}
    out: list[set[int]] = [set() for _ in ranks]
    for source, target in topology.between:
        if source in place and target in place:
            out[place[source]].add(place[target])
    return tuple(tuple(sorted(b for b in others if a in out[b])) for a, others in enumerate(out))


@lru_cache(maxsize=256)
def edge_disjoint(neighbours: Neighbours) -> tuple[Ring, ...]:
    """Return as many rings over direct links as are found; each is the members in its order.

    No connection is in two of them. There can be no more than half of the fewest neighbours.
    """
    most = min(map(len, neighbours)) // 2 if 3 <= len(neighbours) <= MOST else 0
    if most == 2 and (both := square(neighbours)):
        return both
    random = np.random.default_rng(0)
    best: list[Ring] = []
    for _ in range(_STARTS // len(neighbours) if most else 0):
        found = _disjoint(neighbours, random)
        best = max(best, found, key=len)
        if len(best) == most:
            break
    return tuple(best)


def square(neighbours: Neighbours) -> tuple[Ring, ...]:
    """Return the two rings of a torus of k x k members in order; nothing where it is none.

    Along every row but one step less than all of it, then one row on; and the same along columns
    (Bae and Bose 2003, Edge disjoint Hamiltonian cycles in k-ary n-cubes and hypercubes).
    """
    k = math.isqrt(len(neighbours))
    places = [(i // k, (i % k - i // k) % k) for i in range(k * k)]
    rings = tuple(a * k + b for a, b in places), tuple(b * k + a for a, b in places)
    edges = {
        frozenset(edge) for ring in rings for edge in zip(ring, ring[1:] + ring[:1], strict=True)
    }
    fits = k * k == len(neighbours) and all(b in neighbours[a] for a, b in map(sorted, edges))
    return rings if fits and len(edges) == 2 * k * k else ()


def _disjoint(neighbours: Neighbours, random: np.random.Generator) -> list[Ring]:
    """Take rings out of a graph, one by one, until no more is found."""
    left = [set(others) for others in neighbours]
    rings: list[Ring] = []
    while ring := _ring(left, random):
        for a, b in zip(ring, (*ring[1:], ring[0]), strict=True):
            left[a].discard(b)
            left[b].discard(a)
        rings.append(ring)
    return rings


def _ring(left: list[set[int]], random: np.random.Generator) -> Ring | None:
    """Return a ring through all members, or None: grow a path, and turn it where it cannot grow."""
    n = len(left)
    if any(len(others) < 2 for others in left):
        return None
    path = [int(random.integers(n))]
    on = {path[0]}
    for _ in range(_TURNS * n):
        end = path[-1]
        fresh = sorted(left[end] - on)
        if fresh:  # first those with few ways out, among them at random
            fewest = min(len(left[v] - on) for v in fresh)
            narrow = [v for v in fresh if len(left[v] - on) == fewest]
            path.append(narrow[int(random.integers(len(narrow)))])
            on.add(path[-1])
        elif len(path) == n and path[0] in left[end]:
            return tuple(path)
        else:
            inside = sorted(left[end] - {path[-2]})
            if not inside:
                return None
            pivot = path.index(inside[int(random.integers(len(inside)))])
            path[pivot + 1 :] = reversed(path[pivot + 1 :])
    return None


def groups(ranks: tuple[int, ...], topology: Topology) -> tuple[tuple[int, ...], ...]:
    """Return the members of every node, by position, nodes in the order of their first member."""
    found: dict[int, list[int]] = {}
    for place, rank in enumerate(ranks):
        found.setdefault(topology.node(rank), []).append(place)
    return tuple(map(tuple, found.values()))


def regular(ranks: tuple[int, ...], topology: Topology) -> tuple[tuple[int, ...], ...] | None:
    """Return the members of every node; None unless several nodes have as many, two or more."""
    found = groups(ranks, topology)
    sizes = set(map(len, found))
    return found if len(found) > 1 and len(sizes) == 1 and sizes != {1} else None


@lru_cache(maxsize=256)
def across(nodes: tuple[tuple[int, ...], ...]) -> tuple[Ring, ...]:
    """Return one ring per member of a node: ring p enters the first node at its member p.

    Inside a node it visits members in the zigzag order p, p+1, p-1, p+2..., and leaves at the one
    opposite, where it enters the next node: NIC to NIC of one rail. With an even number of members
    no two rings use the same ordered pair of them, so on a full mesh no link carries two rings
    (the rows of a row-complete Latin square: Williams 1949, doi:10.1071/CH9490149).
    """
    m = len(nodes[0])
    return tuple(
        tuple(
            member
            for k, members in enumerate(nodes)
            for member in chain(members, p + k * _zigzag(m)[-1])
        )
        for p in range(m)
    )


def chain(members: Ring, first: int) -> Ring:
    """Return the members of a node from a place on, in zigzag order: see `across`."""
    return tuple(members[(first + step) % len(members)] for step in _zigzag(len(members)))


def _zigzag(m: int) -> list[int]:
    """Return the steps 0, 1, -1, 2, ... of m places."""
    return [(s + 1) // 2 if s % 2 else -(s // 2) for s in range(m)]
