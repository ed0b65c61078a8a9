"""Folding: ranks that provably behave alike are simulated once.

Along an axis of the mesh, coordinates are alike when their ranks play the same program on the same
devices. Moving each such coordinate to the next one is a permutation of ranks. Where it is a
symmetry of the fabric, of every communicator and of every message, all that happens to a rank
happens to its images at the same time: one of them stands for all. What a flow of a representative
leaves to others on a link is what is left when its images have taken their share too, so it is
given the load of all its images (`Fold.shared`): folded and unfolded runs give the same times.

Where moving by one place is no symmetry, moving by more may be: of ring neighbours that lie in
nodes of eight, those eight places apart. And a broadcast loads its links unevenly, but it begins
and ends at once for all its members: where these stay the same, and whatever shares links with it
is not told apart by that (`Fold.apart`), its root makes no difference to anybody.

Nobody has to ask for it: every condition is checked, those that depend on routes when a message is
planned (`tspsim.engine.folding.symmetric`), and a fold that fails a check is not taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tspsim.mesh import Mesh
from tspsim.program.by_rank import differing
from tspsim.program.columns import once
from tspsim.program.types import Programs
from tspsim.topology.graph import Topology
from tspsim.topology.symmetry import Indices, image_of_links, orbits

Ranks = tuple[int, ...]
Loads = tuple[tuple[int, float], ...]


class Asymmetric(Exception):  # noqa: N818  # a finding that the caller acts on, not a mistake
    """Something does not look the same from all coordinates of folded axes.

    Parameters
    ----------
    axes : frozenset of str
        The axes that must not be folded.
    """

    def __init__(self, axes: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(axes)))
        self.axes = axes


class Footprint(NamedTuple):
    """What a flow and its images put on the links.

    Attributes
    ----------
    loads : tuple of (int, float)
        On the links that stand for others, as `tspsim.collectives.plan.Plan.loads`.
    uneven : frozenset of str
        Folded axes along which the flow's own links are not loaded alike: who shares one with it
        must have the same speed from all coordinates, or these axes cannot be folded.
    moving : tuple of int
        Positions in `Fold.rotations` of those that make another flow of it.
    """

    loads: Loads
    uneven: frozenset[str] = frozenset()
    moving: tuple[int, ...] = ()


class Rotation(NamedTuple):
    """Moves every coordinate of a class to a later one of its class.

    Attributes
    ----------
    axis : str
    ranks, links : ndarray of int
        Where every rank and every link goes.
    order : int
        How often it has to be applied until all are back.
    step : int
        How many places of its class a coordinate moves.
    """

    axis: str
    ranks: Indices
    links: Indices
    order: int
    step: int

    def moves(self, ranks: tuple[int, ...], *, hop: bool) -> bool:
        """Whether the members of a collective, or the two ends of a hop, become others."""
        if hop:
            return int(self.ranks[ranks[0]]) != ranks[0]
        return set(self.ranks[list(ranks)].tolist()) != set(ranks)

    def turned(self, links: Indices) -> Iterator[Indices]:
        """Yield all that it makes of some links, one time after another; themselves first."""
        for _ in range(self.order):
            yield links
            links = self.links[links]


@dataclass(frozen=True, eq=False)
class Fold:
    """Which ranks stand for which.

    Parameters
    ----------
    rotations : tuple of Rotation
        They commute, and everything looks the same after each.
    representatives : tuple of int
        The ranks that are played, ascending.
    position : ndarray of int, shape (ranks,)
        Where in `representatives` the one stands that stands for a rank.
    link : ndarray of int, shape (links,)
        The link that stands for a link.

    See Also
    --------
    fold : Makes the largest one.
    """

    rotations: tuple[Rotation, ...]
    representatives: tuple[int, ...]
    position: Indices
    _weight: Indices = field(repr=False)  # how many ranks a representative stands for
    link: Indices = field(repr=False)  # the link that stands for a link
    _alike: Indices = field(repr=False)  # how many links it stands for, by link
    _parts: dict[frozenset[str], Fold] = field(default_factory=dict, init=False, repr=False)

    @property
    def axes(self) -> dict[str, int]:
        """By folded axis: how many of its coordinates are represented by others."""
        folded: dict[str, int] = defaultdict(int)
        for rotation in self.rotations:
            folded[rotation.axis] += rotation.step * (rotation.order - 1)
        return dict(folded)

    @property
    def stand_ins(self) -> tuple[int, ...] | None:
        """By rank, the one that is played in its place; None: every rank is played."""
        if not self.rotations:
            return None
        return tuple(self.representatives[place] for place in self.position.tolist())

    def _images(self, ranks: Sequence[int]) -> int:
        """Return how many communicators look like this one, itself among them."""
        mine = self.position[ranks[0]]
        inside = np.count_nonzero(self.position[list(ranks)] == mine)
        return int(self._weight[mine]) // int(inside)

    def shared(self, ranks: Ranks, loads: Loads, *, hop: bool) -> Loads:
        """Return the loads of a flow and all its images, on the links that stand for others.

        Parameters
        ----------
        ranks : tuple of int
            The members of the collective, or sender and receiver of a hop.
        loads : tuple of (int, float)
        hop : bool
            It is one hop of a shift: a flow of its sender's.
        """
        if not self.rotations:
            return loads
        return self._on_links(loads, self._images(ranks[:1] if hop else ranks))

    def _on_links(self, loads: Loads, images: int) -> Loads:
        """Return the loads of so many flows alike on the links that stand for others."""
        total: dict[int, float] = defaultdict(float)
        for link, load in loads:
            total[int(self.link[link])] += load
        shares = ((link, load * images / int(self._alike[link])) for link, load in total.items())
        return tuple(sorted(shares))

    def apart(self, loads: Loads, moving: tuple[int, ...], axes: frozenset[str]) -> list[Loads]:
        """Return the loads of a flow and of each of its images along some axes.

        On links that stand for others along all axes but these.

        Parameters
        ----------
        loads : tuple of (int, float)
        moving : tuple of int
            As `Footprint.moving`.
        axes : frozenset of str
        """
        images, found = 1, [np.array([link for link, _ in loads], dtype=np.intp)]
        for rotation in (self.rotations[place] for place in moving):
            if rotation.axis in axes:
                found = [image for links in found for image in rotation.turned(links)]
            else:
                images *= rotation.order
        rest, weights = self._without(axes), [load for _, load in loads]
        each = (tuple(zip(links.tolist(), weights, strict=True)) for links in found)
        return [rest._on_links(one, images) for one in each]

    def _without(self, axes: frozenset[str]) -> Fold:
        """Return what is left of it where some axes are not folded."""
        if axes not in self._parts:
            rotations = tuple(r for r in self.rotations if r.axis not in axes)
            self._parts[axes] = _fold(rotations, len(self.position), len(self.link))
        return self._parts[axes]

    def everywhere(self, ranks: Ranks, loads: Loads, *, hop: bool) -> Iterator[tuple[Ranks, Loads]]:
        """Yield the members and loads of a flow, or of a hop of a shift, and of all its images."""
        links = np.array([link for link, _ in loads], dtype=np.intp)
        found = [(np.array(ranks), links)]
        for rotation in self.rotations:
            if rotation.moves(ranks, hop=hop):
                found = [image for one in found for image in _round(rotation, *one)]
        for members, where in found:
            shares = zip(where.tolist(), (load for _, load in loads), strict=True)
            yield tuple(members.tolist()), tuple(sorted(shares))


def _round(rotation: Rotation, ranks: Indices, links: Indices) -> Iterator[tuple[Indices, Indices]]:
    """Yield what a rotation makes of members and their links, itself included."""
    for _ in range(rotation.order):
        yield ranks, links
        ranks, links = rotation.ranks[ranks], rotation.links[links]


def _fold(rotations: tuple[Rotation, ...], ranks: int, links: int) -> Fold:
    lowest = orbits(ranks, [(rotation.ranks, rotation.order) for rotation in rotations])
    representatives, position, weight = np.unique(lowest, return_inverse=True, return_counts=True)
    link = orbits(links, [(rotation.links, rotation.order) for rotation in rotations])
    alike = np.bincount(link, minlength=links)[link]
    return Fold(rotations, tuple(representatives.tolist()), position, weight, link, alike)


def fold(
    programs: Programs, mesh: Mesh, topology: Topology, without: frozenset[str] = frozenset()
) -> Fold:
    """Return the largest fold that programs, devices and fabric allow; at least none.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    topology : Topology
    without : frozenset of str
        Axes that must not be folded.
    """
    rotations = [
        rotation
        for axis, degree in mesh.axes
        if degree > 1 and axis not in without
        for rotation in _rotations(programs, mesh, topology, axis)
    ]
    return _fold(tuple(rotations), mesh.ranks, len(topology.links))


def _steps(programs: Programs, axis: str, degree: int) -> list[int]:
    """Return how far coordinates can move so that no op tells them apart, the least first.

    What differs along the axis has to repeat itself, and blocks of neighbours go to blocks. Of
    several axes that a communicator sees as one, the next of the last coordinate is another one on
    the axes before: a hop round them is not the same from all coordinates of one.
    """
    lanes = [lane for program in programs.roles for lane in program.lanes if axis in lane.axes]
    told = [differing(program, axis) for program in programs.roles]
    if any(part is None for part in told) or _bound_to_several(programs, axis):
        return []
    blocks = {lane.size for lane in lanes if lane.size}
    return [
        step
        for step in range(1, degree)
        if degree % step == 0
        and not any(step % size for size in blocks)
        and all(by[step:] == by[:-step] for part in told for by in part or ())
    ]


def _bound_to_several(programs: Programs, axis: str) -> bool:
    """Whether there are hops, or blocks, round an axis and others as one."""
    return any(
        op.message is not None
        and len(lane.axes) > 1
        and axis in lane.axes
        and (op.message.hop or lane.size is not None)
        for program in programs.roles
        for op in once(program.ops)
        for lane in (program.lanes[op.lane],)
    )


def _rotations(programs: Programs, mesh: Mesh, topology: Topology, axis: str) -> Iterator[Rotation]:
    """Yield the rotation of every class of coordinates, where the fabric has that symmetry."""
    steps = _steps(programs, axis, mesh.degree(axis))
    coordinates = np.array([mesh.coordinate(rank, axis) for rank in range(mesh.ranks)])
    classes = _classes(programs, mesh, topology, axis, coordinates) if steps else []
    if len(classes) > 1:
        steps = steps[:1] if steps[0] == 1 and not _shifts_along(programs, axis) else []
    for members in classes:
        for step in steps:  # what is shifted goes to the next one on the whole axis
            following = np.arange(mesh.degree(axis))
            following[members] = np.roll(members, -step)
            moved = (following[coordinates] - coordinates) * mesh.stride(axis)
            ranks = np.arange(mesh.ranks) + moved
            links = image_of_links(topology, ranks.tolist()) if len(members) > 1 else None
            if links is not None:
                yield Rotation(axis, ranks, links, len(members) // step, step)
                break


def _classes(
    programs: Programs, mesh: Mesh, topology: Topology, axis: str, coordinates: Indices
) -> list[Indices]:
    """Return the coordinates whose ranks have the same roles and devices, class by class."""
    kinds: dict[object, int] = {}
    pairs = zip(topology.devices[: mesh.ranks], programs.role_of_rank, strict=True)
    kind = np.array([kinds.setdefault((id(device), role), len(kinds)) for device, role in pairs])
    alike: dict[bytes, list[int]] = defaultdict(list)
    for coordinate in range(mesh.degree(axis)):
        alike[kind[coordinates == coordinate].tobytes()].append(coordinate)
    return [np.array(members, dtype=np.intp) for members in alike.values()]


def _shifts_along(programs: Programs, axis: str) -> bool:
    return any(
        op.message is not None and op.message.hop and axis in program.lanes[op.lane].axes
        for program in programs.roles
        for op in once(program.ops)
    )
