"""Which experts every token of the whole batch goes to: what the dense model is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import DP, SHARD, Mesh
from tspsim.model import Workload
from tspsim.program.activations import ActivationShard
from tspsim.program.cached import Rows
from tspsim.program.kinds.base import Where
from tspsim.program.kinds.routing import Gate
from tspsim.program.types import Programs
from tspsim.routing import dealt


@dataclass(frozen=True, slots=True)
class Route:
    """Of one layer and micro-batch.

    Parameters
    ----------
    experts : ndarray of int, shape (batch, sequence, active)
        -1 where nobody says.
    kept : ndarray of bool, shape (batch, sequence, active)
        Not dropped.
    shares : ndarray of float, shape (count,)
        Of all choices, those of every expert.
    """

    experts: NDArray[np.int64]
    kept: NDArray[np.bool_]
    shares: NDArray[np.float64]


#: By layer and micro-batch.
Routes: TypeAlias = dict[tuple[int, int], Route]


def routes(programs: Programs, mesh: Mesh, workload: Workload) -> Routes:
    """Return where tokens go in the programs of all ranks; `workload` is that of all replicas."""
    found: Routes = {}
    add_routes(found, programs, mesh, workload)
    return found


def add_routes(found: Routes, programs: Programs, mesh: Mesh, workload: Workload) -> None:
    """Add where tokens go in programs of all ranks: those of one step of inference of several."""
    for rank in range(mesh.ranks):
        for op in programs.of(rank).ops:
            if type(op.kind) is Gate and op.phase == "forward":
                assert op.layer is not None
                _note(found, (op.layer, op.micro_batch), op.kind, Where(mesh, rank), workload)


def _note(found: Routes, of: tuple[int, int], gate: Gate, where: Where, workload: Workload) -> None:
    dealing, spread, place = gate.dealing, dealt(gate.dealing), gate.place
    assert isinstance(place, ActivationShard)
    if of not in found:
        shape = (workload.batch, workload.sequence, dealing.active)
        empty = np.full(shape, -1), np.zeros(shape, bool)
        found[of] = Route(*empty, np.asarray(dealing.shares))
    if isinstance(place.tokens, Rows):
        request, position = place.tokens.entries(where.coordinate(place.tokens.axis))
        real = position >= 0
        for whole, own in ((found[of].experts, spread.experts), (found[of].kept, spread.kept)):
            whole[request[real], position[real]] = own[real]
        return
    each = workload.batch // where.mesh.replicas
    first = where.coordinate((DP, SHARD)) * each
    mine = np.ix_(np.arange(first, first + each), place.positions(where))
    for whole, own in ((found[of].experts, spread.experts), (found[of].kept, spread.kept)):
        whole[mine] = own.reshape(each, -1, dealing.active)
