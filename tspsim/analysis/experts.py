"""The figures of a mixture of experts: how tokens load them and their ranks, and their memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.mesh import Axes
from tspsim.program.by_expert import expert_layers, expert_states, part_of
from tspsim.program.types import BufferKind, Op, PerCoordinate
from tspsim.scenario.types import Scenario


@dataclass(frozen=True, slots=True)
class RankLoad:
    """What the products of experts ask of the busiest rank, over what they ask of all on average.

    Parameters
    ----------
    mean : float
        Over all layers: every layer waits for a rank of its own.
    most : float
        Of the layer in which it is most.
    rank, layer : int
        The busiest rank there; the lowest of equals.
    """

    mean: float
    most: float
    rank: int
    layer: int


@dataclass(frozen=True, slots=True)
class ExpertLoad:
    """The expert that takes most tokens of a source, of all layers.

    Parameters
    ----------
    most : float
        Its rows over the mean of its layer's experts.
    expert, layer : int
        The lowest of equals.
    rows : int
        Of one source: a rank's tokens, or those that several ranks hold alike.
    """

    most: float
    expert: int
    layer: int
    rows: int


@dataclass(frozen=True, slots=True)
class ExpertFigures:
    """The figures of a mixture of experts.

    Parameters
    ----------
    count, active : int
        Experts of a layer, and those of a token.
    layout : str
        Where they lie: ``strategy.experts.layout``.
    ranks : RankLoad
    experts : ExpertLoad
    dropped : float
        Share of all choices that no expert takes, for lack of capacity.
    memory : dict of str to int
        Bytes that the fullest rank always has of experts: weights, gradients, optimizer states.
    """

    count: int
    active: int
    layout: str
    ranks: RankLoad
    experts: ExpertLoad
    dropped: float
    memory: dict[BufferKind, int]


def experts_of(scenario: Scenario, timeline: Timeline, fullest: int) -> ExpertFigures | None:
    """Return the figures of a run's experts; None where there are none.

    Parameters
    ----------
    scenario : Scenario
    timeline : Timeline
    fullest : int
        The rank whose memory is told.
    """
    experts, loads = scenario.model.experts, list(_rank_loads(timeline))
    if experts is None or not loads:
        return None
    most, rank, layer = max(loads, key=lambda load: (load[0], -load[2]))
    program = timeline.programs.of(fullest)
    busiest, dropped = _dealt(timeline)
    return ExpertFigures(
        experts.count,
        experts.active,
        scenario.strategy.spread.layout,
        RankLoad(fsum(load[0] for load in loads) / len(loads), most, rank, layer),
        busiest,
        dropped,
        expert_states(program, timeline.mesh, fullest),
    )


# ---- ranks ---------------------------------------------------------------------------------------


class Asked(NamedTuple):
    """What some ops ask of ranks, by coordinate of some axes; of all alike where there are none."""

    axes: Axes | None
    flops: NDArray[np.float64]


def asked(ops: Sequence[Op]) -> Asked:
    """Return the flops of the products of experts among some ops."""
    works = [op.work for op in ops if part_of(op) == "products"]
    axes = next((work.axis for work in works if isinstance(work, PerCoordinate)), None)
    parts: list[Any] = [
        [each.flops for each in work.works] if isinstance(work, PerCoordinate) else [work.flops]
        for work in works
        if work is not None
    ]
    return Asked(axes, np.sum(np.broadcast_arrays(*parts), axis=0, dtype=np.float64))


def _rank_loads(timeline: Timeline) -> Iterator[tuple[float, int, int]]:
    """Yield for every layer how much more the busiest rank has than all on average, and which."""
    for role, program in enumerate(timeline.programs.roles):
        for layer, ops in expert_layers(program).items():
            axes, flops = asked(ops)
            most = int(flops.argmax())
            ratio = float(flops[most] / flops.mean()) if flops.any() else 1.0
            yield ratio, _first(timeline, role, axes, most), layer


def _first(timeline: Timeline, role: int, axes: Axes | None, coordinate: int) -> int:
    """Return the first rank of a role at a coordinate."""
    mesh, roles = timeline.mesh, timeline.programs.role_of_rank
    ranks = (rank for rank in range(mesh.ranks) if roles[rank] == role)
    return next(r for r in ranks if axes is None or mesh.coordinate(r, axes) == coordinate)


# ---- experts -------------------------------------------------------------------------------------


def _dealt(timeline: Timeline) -> tuple[ExpertLoad, float]:
    """Return the busiest expert, and the share of choices that are dropped."""
    found, kept, chosen = [], 0, 0
    for program in timeline.programs.roles:
        for layer, ops in expert_layers(program).items():
            kind: Any = next(op.kind for op in ops if op.kind.name == "gate")
            rows = np.array(kind.dealing.kept)
            kept, chosen = kept + int(rows.sum()), chosen + sum(kind.dealing.dealt)
            most = int(rows.argmax())
            ratio = float(rows[most] / rows.mean()) if rows.any() else 1.0
            found.append(ExpertLoad(ratio, most, layer, int(rows[most])))
    busiest = max(found, key=lambda load: (load.most, -load.layer))
    return busiest, 1 - kept / chosen
