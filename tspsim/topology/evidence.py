"""How far a profile was off on collective calls that it was not fitted to, by their kind and span.

One question, asked by whatever prints an error: `evidence`. Calls inside a node say nothing about
calls over several, nor those over two nodes anything about those over four.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tspsim.program.types import CollectiveKind

if TYPE_CHECKING:
    from tspsim.topology.graph import Topology
    from tspsim.topology.hardware import Profile


@dataclass(frozen=True, slots=True)
class Residuals:
    """Deviations of some measured times from what the profile says, as ``log(measured / said)``.

    Parameters
    ----------
    rows : int
        How many times.
    bias : float
        Their mean: above 0 where calls took longer than the profile says.
    low, high : float
        Their quantiles at 10 and 90 %.
    """

    rows: int
    bias: float
    low: float
    high: float

    def interval(self, seconds: float) -> tuple[float, float]:
        """Return the 80 % interval of a call that the profile gives some seconds."""
        return seconds * math.exp(self.low), seconds * math.exp(self.high)


@dataclass(frozen=True, slots=True)
class Evidence:
    """The residuals of one collective over one span.

    Parameters
    ----------
    collective : CollectiveKind
    algorithm : str
        Of the simulator, as a plan names it.
    ranks : int
        Members in a node.
    nodes : int
    residuals : Residuals
    """

    collective: CollectiveKind
    algorithm: str
    ranks: int
    nodes: int
    residuals: Residuals


class Reach(NamedTuple):
    """Where the members of a call are: `ranks` in a node, the most of any, and `nodes`."""

    ranks: int
    nodes: int

    def __str__(self) -> str:
        """Return it in words: ``8 ranks in 1 node``, ``8 ranks in each of 2 nodes``."""
        ranks = f"{self.ranks} {'ranks' if self.ranks > 1 else 'rank'}"
        return f"{ranks} in 1 node" if self.nodes == 1 else f"{ranks} in each of {self.nodes} nodes"


def reach(ranks: Iterable[int], topology: Topology) -> Reach:
    """Return where the members of a call are."""
    inside = Counter(topology.node(rank) for rank in ranks)
    return Reach(max(inside.values()), len(inside))


def evidence(
    profile: Profile, collective: CollectiveKind, algorithm: str, ranks_in_node: int, nodes: int
) -> Residuals | None:
    """Return the residuals of calls like one, to which the profile was not fitted; None: unknown.

    Those of as many members, or else of the next fewer and the next more taken together: three of
    a node are judged by two and four, nine by none where eight are the most.

    Parameters
    ----------
    profile : Profile
    collective : CollectiveKind
    algorithm : str
        As the plan of the call names it.
    ranks_in_node : int
        Members in a node, the most of any.
    nodes : int
        Nodes that the members are in.
    """
    alike = [
        known
        for known in profile.evidence
        if (known.collective, known.algorithm, known.nodes) == (collective, algorithm, nodes)
    ]
    counts = {known.ranks for known in alike}
    fewer = max((count for count in counts if count <= ranks_in_node), default=0)
    more = min((count for count in counts if count >= ranks_in_node), default=0)
    if not (fewer and more):
        return None
    return _pooled(known.residuals for known in alike if known.ranks in (fewer, more))


def _pooled(found: Iterable[Residuals]) -> Residuals:
    """Return residuals as one: the mean of all rows, and the widest quantiles."""
    some = tuple(found)
    if len(some) == 1:
        return some[0]
    rows = sum(each.rows for each in some)
    bias = sum(each.bias * each.rows for each in some) / rows
    return Residuals(rows, bias, min(e.low for e in some), max(e.high for e in some))
