"""What every strategy provides: its options, its mesh, its checks and its programs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from tspsim.errors import Problem
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.recorder import Recorder
from tspsim.program.types import Programs


class StrategyOptions(BaseModel):
    """Options of one strategy, as written under ``strategy:`` in a scenario.

    A strategy is one file in this folder: a subclass with ``kind: Literal["name"]``, its options
    with their defaults, and the methods below; the module names the subclass ``STRATEGY``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str

    @abstractmethod
    def mesh(self) -> Mesh:
        """Return the mesh of ranks."""

    @abstractmethod
    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what makes these options impossible for this model and workload.

        Paths are from the root of the scenario: ``("strategy", "degree")``.
        """

    @abstractmethod
    def record(self, model: ModelShape, workload: Workload, optimizer: Optimizer) -> Programs:
        """Return the programs of one step; called only when `problems` yields nothing."""


def one_role(rank: Recorder) -> Programs:
    """Return the recorded program as the one that all ranks play."""
    return Programs((rank.program(),), (0,) * rank.mesh.ranks)
