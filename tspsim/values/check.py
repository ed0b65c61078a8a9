"""Proves a schedule: its programs, played with values, against the dense model."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Workload
from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Programs
from tspsim.values.dense import Dense, initial
from tspsim.values.play import Player, piece
from tspsim.values.routes import routes

#: Largest relative error that float64 rounding explains.
TOLERANCE = 1e-10


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tensor of the dense model against what the ranks hold of it.

    Parameters
    ----------
    tensor : str
        For example ``"L0.wq gradient"``.
    error : float
        Largest difference over all ranks and elements, relative to the tensor's largest element.
    ranks : int
        How many ranks were compared.
    """

    tensor: str
    error: float
    ranks: int

    @property
    def passed(self) -> bool:
        """Whether the error is within rounding; a NaN is not."""
        return self.error <= TOLERANCE


@dataclass(frozen=True, slots=True)
class Proof:
    """All comparisons of one schedule.

    Parameters
    ----------
    model : ModelShape
        The shape that was played.
    workload : Workload
    comparisons : tuple of Comparison
    """

    model: ModelShape
    workload: Workload
    comparisons: tuple[Comparison, ...]

    @property
    def passed(self) -> bool:
        """Whether everything agrees."""
        return all(c.passed for c in self.comparisons)

    @property
    def worst(self) -> Comparison:
        """The comparison with the largest error."""
        return max(self.comparisons, key=lambda c: np.nan_to_num(c.error, nan=np.inf))


def compare(programs: Programs, mesh: Mesh, model: ModelShape, workload: Workload) -> Proof:
    """Play programs recorded for a (small) model and compare everything with the dense model.

    Compared are the loss, the output of the last layer, the gradient of the first layer's input,
    and every weight gradient, on every rank. `workload` is that of one replica; the dense model
    takes the sequences of all.
    """
    whole = replace(workload, batch=workload.batch * mesh.replicas)
    tensors = initial(model, whole)
    dense = Dense(model, whole, tensors, routes(programs, mesh, whole)).run()
    player = Player(programs, mesh, tensors)
    player.run()
    errors: dict[str, list[float]] = {}
    for rank in range(mesh.ranks):
        where = Where(mesh, rank)
        for probe, value in player.probes(rank):
            _note(errors, probe.tensor, value, dense.activations[probe.tensor], probe.place, where)
        for bound, value in player.gradients(rank):
            want = dense.gradients[bound.tensor]
            _note(errors, f"{bound.tensor} gradient", value, want, bound.place, where)
        if model.vocab or workload.phase == "train":
            for loss in player.losses(rank):
                errors.setdefault("loss", []).append(abs(loss - dense.loss) / abs(dense.loss))
    for tensor in dense.gradients:  # what no rank holds is as wrong as can be
        errors.setdefault(f"{tensor} gradient", [np.inf] if workload.phase == "train" else [])
    errors = {name: found for name, found in errors.items() if found}
    rows = (Comparison(name, max(found), len(found)) for name, found in errors.items())
    return Proof(model, workload, tuple(rows))


def _note(
    errors: dict[str, list[float]],
    name: str,
    value: Array,
    dense: Array,
    place: object,
    where: Where,
) -> None:
    difference = np.abs(value - piece(dense, place, where)).max()
    errors.setdefault(name, []).append(float(difference / np.abs(dense).max()))
