"""What a mixture of experts takes of the critical path, and what of it is due to uneven loads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import fsum
from typing import NamedTuple

from tspsim.engine.tasks import Durations
from tspsim.engine.timeline import Timeline
from tspsim.explain.pieces import ON_LINKS, CriticalPath, Piece
from tspsim.program.by_expert import part_of, uneven
from tspsim.program.types import Op, PerCoordinate
from tspsim.program.varying import Varying
from tspsim.scenario.types import Scenario


class Excess(NamedTuple):
    """What the path has beyond the mean of ranks, because more tokens go to some than to others.

    Attributes
    ----------
    compute : float
        Seconds; less than 0 where the path goes over ranks with fewer tokens.
    links : float
        Of all-to-alls: all wait for what travels from and to the rank with most.
    rank, layer : int
        Where most of what is computed is.
    """

    compute: float
    links: float
    rank: int
    layer: int

    @property
    def seconds(self) -> float:
        """Seconds of both."""
        return self.compute + self.links


class ExpertCauses(NamedTuple):
    """What of the critical path is due to experts.

    Attributes
    ----------
    products, rows, communication : float
        Seconds in their matrix products; in weighing, sorting and adding up rows; and in
        what travels for them: tokens, or weights and their gradients.
    by_label : dict of str to float
        The communication by collective and label.
    imbalance : Excess or None
        Part of these; None where all ranks have as much.
    """

    products: float
    rows: float
    communication: float
    by_label: Mapping[str, float]
    imbalance: Excess | None

    @property
    def total(self) -> float:
        """Seconds of all three parts."""
        return fsum((self.products, self.rows, self.communication))


def expert_causes(path: CriticalPath, timeline: Timeline, scenario: Scenario) -> ExpertCauses:
    """Return what of a critical path is due to experts."""
    parts = path.by(lambda piece: part_of(piece.op))
    said = path.by(
        lambda piece: (
            f"{piece.op.kind.name} {piece.op.label}, {piece.op.phase}"
            if part_of(piece.op) == "communication"
            else None
        )
    )
    return ExpertCauses(
        parts.get("products", 0.0),
        parts.get("rows", 0.0),
        parts.get("communication", 0.0),
        {name: seconds for name, seconds in said.items() if name is not None},
        _imbalance(path, timeline, scenario),
    )


def _imbalance(path: CriticalPath, timeline: Timeline, scenario: Scenario) -> Excess | None:
    durations = Durations(
        timeline.programs, timeline.mesh, scenario.topology, scenario.workload.dtype
    )
    tasks = {(p.rank, p.op.index): p.op for p in path.pieces if uneven(p.op)}
    by_place: dict[tuple[int, int], list[float]] = defaultdict(list)
    for (rank, index), op in tasks.items():
        assert op.layer is not None
        mean = _mean(op, rank, timeline, durations)
        by_place[rank, op.layer].append(durations.of(rank)[index] - mean)
    sums = {place: fsum(found) for place, found in by_place.items()}
    if not sums:
        return None
    most = max(sums, key=lambda place: sums[place])
    links = fsum(_share_of_links(piece) for piece in path.pieces)
    return Excess(fsum(sums.values()), links, *most)


def _share_of_links(piece: Piece) -> float:
    """Return what a transfer takes beyond one of as many bytes as ranks have on average."""
    size = piece.op.message.bytes if piece.op.message is not None else 0
    if piece.limit not in ON_LINKS or not isinstance(size, Varying):
        return 0.0
    return (piece.end - piece.start) * (1 - fsum(size.sizes) / len(size.sizes) / int(size))


def _mean(op: Op, rank: int, timeline: Timeline, durations: Durations) -> float:
    """Return what ranks take for an op on average, of those that its work tells apart."""
    assert isinstance(op.work, PerCoordinate)
    ranks = timeline.mesh.group(rank, op.work.axis)
    return fsum(durations.of(member)[op.index] for member in ranks) / len(ranks)
