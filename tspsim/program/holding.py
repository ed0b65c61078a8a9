"""What a rank holds during a whole step, and who else holds the same."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.files.errors import ProgramError
from tspsim.mesh import DP, Mesh
from tspsim.model import Optimizer
from tspsim.program.packed import Part, Weights
from tspsim.program.postponing import Postponing
from tspsim.program.replicas import Replication
from tspsim.program.residents import declare
from tspsim.program.types import BufferKind, Operand


class Holding(Postponing):
    """A rank's weights, gradients and optimizer states.

    Parameters
    ----------
    mesh : Mesh
    optimizer : Optimizer
    trains : bool
        There are gradients and states, too.
    """

    def __init__(self, mesh: Mesh, optimizer: Optimizer, *, trains: bool) -> None:
        super().__init__(mesh)
        self.optimizer, self.trains = optimizer, trains
        self.replicas = mesh.replicas
        self._replicated: dict[int, Replication] = {}

    def shares(self, replication: Replication | None, experts: Replication | None) -> None:
        """Say how equal weights are kept equal, and experts if that differs.

        Raises
        ------
        ProgramError
            When there are replicas, and nothing is said.
        """
        if self.replicas > 1 and replication is None:
            raise ProgramError(f"a rank on a mesh with an axis '{DP}' needs a Replication")
        self.replication = replication or Replication()
        self.experts_replication = experts or self.replication
        self.members = self.mesh.degree(self.replication.inside)
        #: What the members of the group share, if it has more than one: see `Replication`.
        self.zero = self.zero_of(self.replication)

    def zero_of(self, replication: Replication) -> int:
        """Return what ranks that hold the same weights share: nothing where there is but one."""
        return replication.zero if self.mesh.degree(replication.inside) > 1 else 0

    @property
    def replications(self) -> tuple[Replication, ...]:
        """How weights are kept equal: most, and experts where that differs."""
        return tuple(dict.fromkeys((self.replication, self.experts_replication)))

    def kept_in(self, name: str) -> int:  # noqa: ARG002
        """Return the bytes of an element of some weights."""
        return self.optimizer.weight

    def weights(
        self, name: str, parts: Sequence[Part], replication: Replication | None = None
    ) -> Weights:
        """Declare resident weights in one pack; when training, gradient and states too.

        Parameters
        ----------
        name : str
        parts : sequence of Part
        replication : Replication, optional
            How they are kept equal, if not as the others.
        """
        first = len(self._residents)
        weights = declare(self, name, parts, replication or self.replication)
        for operand in self._residents[first:]:
            self.replicated(operand, replication or self.replication)
        return weights

    def replicated(self, operand: Operand, replication: Replication) -> None:
        """Say of a resident buffer how it is kept equal."""
        self._replicated[operand.buffer.index] = replication

    def residents(self, kind: BufferKind, of: Replication | None = None) -> list[Operand]:
        """Return what the end of the step finds of a kind, in the order of declaration.

        Parameters
        ----------
        kind : BufferKind
        of : Replication, optional
            Those that are kept equal in this way.
        """
        found = (o for o in self._residents if o.buffer.kind == kind)
        return [o for o in found if of is None or self._replicated.get(o.buffer.index) == of]

    def gradients(self, of: Replication | None = None) -> list[Operand]:
        """Return the resident gradients in the order in which they were written last."""
        residents = self.residents("gradient", of)
        return sorted(residents, key=lambda o: self.ledger.writer[o.buffer.index])
