"""How far a profile was off on collective calls that it was not fitted to, by their kind and span.

One question, asked by whatever prints an error: `evidence`. Calls inside a node say nothing about
calls over several, nor those over two nodes anything about those over four.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tspsim.program.types import CollectiveKind

if TYPE_CHECKING:
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


def evidence(
    profile: Profile, collective: CollectiveKind, algorithm: str, ranks_in_node: int, nodes: int
) -> Residuals | None:
    """Return the residuals of calls like one, to which the profile was not fitted; None: unknown.

    Those of as many members, or else those of fewer and of more taken together: three of a node
    are judged by two and four, nine by none.

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
    exact = [known.residuals for known in alike if known.ranks == ranks_in_node]
    counts = [known.ranks for known in alike]
    if exact or not counts or not min(counts) < ranks_in_node < max(counts):
        return _pooled(exact)
    return _pooled([known.residuals for known in alike])


def _pooled(found: Iterable[Residuals]) -> Residuals | None:
    """Return residuals as one: the mean of all rows, and the widest quantiles."""
    some = tuple(found)
    if not some:
        return None
    rows = sum(each.rows for each in some)
    bias = sum(each.bias * each.rows for each in some) / rows
    return Residuals(rows, bias, min(e.low for e in some), max(e.high for e in some))
