"""What carried the messages of a step, and which of it rests on no measurement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, cast

from tspsim.engine.timeline import Transfer
from tspsim.program.types import CollectiveKind
from tspsim.topology.evidence import Reach, Residuals, evidence, reach
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Profile


class Carried(NamedTuple):
    """Calls of one collective by one algorithm over one span.

    Attributes
    ----------
    collective : CollectiveKind
        ``shift`` of every hop.
    algorithm : str
    reach : Reach
    fitted : bool
        A constant of the profile is in their time; otherwise their links are taken as stated.
    """

    collective: CollectiveKind
    algorithm: str
    reach: Reach
    fitted: bool

    def residuals(self, profile: Profile) -> Residuals | None:
        """Return how far such calls were off that nothing was fitted to; None: unknown."""
        return evidence(profile, self.collective, self.algorithm, *self.reach)

    def __str__(self) -> str:
        """Return it in words: ``all_to_all, 8 ranks in each of 2 nodes``."""
        return f"{self.collective}, {self.reach}"


def carried(transfers: Iterable[Transfer], topology: Topology) -> tuple[Carried, ...]:
    """Return what carried some transfers, each once, in the order of their first one."""
    profile = topology.profile
    found: dict[Carried, None] = {}
    seen: set[tuple[str, str, tuple[int, ...]]] = set()
    for transfer in transfers:
        key = (transfer.collective, transfer.algorithm, transfer.ranks)
        if key in seen:
            continue
        seen.add(key)
        kind = cast("CollectiveKind", "shift" if transfer.hop else transfer.collective)
        outside = any(topology.links[link].network for link, _ in transfer.loads)
        fitted = bool(profile.protocols_of(kind, transfer.algorithm, outside))
        where = reach(transfer.ranks, topology)
        found[Carried(kind, transfer.algorithm, where, fitted)] = None
    return tuple(found)
