"""The switch adds up what passes through it, and hands copies to many: NVLink SHARP, SHARP.

Inside a node (NVLS): every member owns 1/n of the message. It reads its part through the switch,
which fetches it from all n members and returns the sum, then writes the sum to the switch, which
hands it to all. A port carries the message once and 1/n more each way, where a ring carries it
``2 (n-1)/n`` times. Over a network (SHARP) the members send all, and the switches hand the sum to
all: once each way (Graham et al. 2016, doi:10.1109/COMHPC.2016.006). Switches that add up are named
by `Topology.reducing`; where they form a tree each passes on one sum of what is below it.
"""

from __future__ import annotations

from typing import NamedTuple

from tspsim.collectives.algorithm import Algorithm, Reach
from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import planned, trivial
from tspsim.program.types import CollectiveKind, PlanKind
from tspsim.topology.graph import Topology


class Sum(NamedTuple):
    """What the switch does with some chunks: add up those of the sources, hand it to the targets.

    Attributes
    ----------
    sources, targets : tuple of int
        Positions in the communicator. One source: the switch only makes copies.
    chunks : range
        As in `tspsim.collectives.schedule.Send`.
    """

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    chunks: range


class Reductions(NamedTuple):
    """The sums of one call, step by step; `pieces` chunks make up one message."""

    steps: tuple[tuple[Sum, ...], ...]
    pieces: int


class InSwitch(Algorithm):
    """The algorithm; `automatic` says where ``auto`` considers it."""

    name = "in_switch"
    automatic: tuple[Reach, ...] = ("flat", "nodes")

    def __call__(
        self, kind: PlanKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Plan | None:
        """Return link loads and latency: see `Algorithm`."""
        if kind == "shift" or kind == "swap" or len(ranks) == 1:
            return planned(self.name, trivial(ranks), ranks, topology)
        tree = _tree(ranks, topology)
        if tree is None:
            return None
        up, down, network = tree
        made = sums(kind, len(ranks), root or 0, network)
        return None if made is None else _summed(made, up, down, topology)

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it; a hop is no matter of the switch."""
        return kind != "shift"

    def refusal(self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology) -> str:
        """Return why there is no plan."""
        if not topology.reducing:
            return f"no switch of '{topology.name}' adds up"
        if _tree(ranks, topology) is None:
            return "no tree of switches that add up joins them"
        return super().refusal(kind, ranks, topology)


plan = InSwitch()


def sums(kind: CollectiveKind, n: int, root: int = 0, network: bool = False) -> Reductions | None:
    """Return what the switch adds up and hands on for n members.

    Parameters
    ----------
    kind : CollectiveKind
    n : int
    root : int
        Position of a broadcast's or reduce's root.
    network : bool
        An all-reduce hands the sum to all at once, as SHARP does, not to its owner first.
    """
    everybody, whole = tuple(range(n)), range(n)
    others = tuple(i for i in everybody if i != root)
    to_owner = tuple(Sum(everybody, (i,), range(i, i + 1)) for i in everybody)
    from_owner = tuple(Sum((i,), everybody, range(i, i + 1)) for i in everybody)
    match kind:
        case "all_reduce" if network:
            return Reductions(((Sum(everybody, everybody, whole),),), n)
        case "all_reduce":
            return Reductions((to_owner, from_owner), n)
        case "reduce_scatter":
            return Reductions((to_owner,), n)
        case "all_gather":
            return Reductions((from_owner,), n)
        case "broadcast":
            return Reductions(((Sum((root,), others, whole),),), n)
        case "reduce":
            return Reductions(((Sum(everybody, (root,), whole),),), n)
        case _:
            return None


#: The links from a member up to the top switch, or down from it.
_Ways = list[tuple[int, ...]]


def _tree(ranks: tuple[int, ...], topology: Topology) -> tuple[_Ways, _Ways, bool] | None:
    """Return the ways up and down of every member, and whether they leave a node; None: no tree.

    Its top is a switch on the way from the first to the last member, and on that of all others.
    """
    first, last = ranks[0], ranks[-1]
    between = [topology.links[link].target for link in topology.route(first, last)]
    for top in [vertex for vertex in between if vertex in topology.reducing]:
        others = [(rank, first if rank != first else last) for rank in ranks]
        up = [_part(topology.route(rank, other), top, topology) for rank, other in others]
        down = [
            _part(topology.route(other, rank), top, topology, up=False) for rank, other in others
        ]
        if all(up) and all(down) and _merges(up, topology):
            network = any(topology.links[link].network for way in up for link in way)
            return up, down, network
    return None


def _part(route: tuple[int, ...], top: str, topology: Topology, up: bool = True) -> tuple[int, ...]:
    """Return the part of a route before a vertex, or the part behind it; nothing: not on it."""
    for place, link in enumerate(route):
        if topology.links[link].target == top:
            return route[: place + 1] if up else route[place + 1 :]
    return ()


def _merges(ways: _Ways, topology: Topology) -> bool:
    """Return whether ways to a top only meet in switches that add up."""
    over: dict[str, set[int]] = {}
    for way in ways:
        for link in way:
            over.setdefault(topology.links[link].target, set()).add(link)
    return all(len(links) == 1 or vertex in topology.reducing for vertex, links in over.items())


def _summed(made: Reductions, up: _Ways, down: _Ways, topology: Topology) -> Plan:
    """Return loads and latency: a link carries one sum or one copy, whatever is behind it."""
    chunks: dict[int, int] = {}
    latency = 0.0
    for step in made.steps:
        slowest = 0.0
        for part in step:
            rise, fall = [up[i] for i in part.sources], [down[i] for i in part.targets]
            for link in {link for way in (*rise, *fall) for link in way}:
                chunks[link] = chunks.get(link, 0) + len(part.chunks)
            high, low = (max(_latency(way, topology) for way in ways) for ways in (rise, fall))
            slowest = max(slowest, high + low)
        latency += slowest
    loads = tuple((link, count / made.pieces) for link, count in sorted(chunks.items()))
    return Plan(plan.name, loads, latency)


def _latency(way: tuple[int, ...], topology: Topology) -> float:
    return sum(topology.links[link].latency for link in way)
