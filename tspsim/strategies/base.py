"""What every strategy provides: its options, its axes, its checks and what one rank does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tspsim.files.errors import Problem
from tspsim.files.units import Bytes
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.rank import Rank
from tspsim.program.recorder import Recorder
from tspsim.program.replicas import Replication
from tspsim.program.types import Programs
from tspsim.strategies.parts.placement import Axes, arrange


class StrategyOptions(BaseModel):
    """Options of one strategy, as written under ``strategy:`` in a scenario.

    A strategy is one file in this folder: a subclass with ``kind: Literal["name"]``, its options
    with their defaults, and the methods below; the module names the subclass ``STRATEGY``. Data
    parallelism and placement are the same for all and need nothing of it.

    Parameters
    ----------
    kind : str
    dp : int
        Replicas of the model, each with sequences of its own.
    zero : {0, 1}
        Replicas update all weights alike (0), or share optimizer states and update (1).
    bucket : float
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer.
    placement : tuple of str, optional
        All axes, innermost first; the strategy's own inside of ``dp`` when not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    dp: int = Field(1, ge=1, description="replicas of the model (data parallelism)")
    zero: int = Field(0, ge=0, le=1, description="1: replicas share optimizer states (ZeRO-1)")
    bucket: Bytes = Field("25 MiB", validate_default=True)
    placement: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        None, description="all axes, innermost (neighbouring devices) first"
    )

    @abstractmethod
    def axes(self) -> Axes:
        """Return names and degrees of the strategy's own axes, outermost first."""

    @abstractmethod
    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what makes these options impossible for this model and workload.

        Paths are from the root of the scenario: ``("strategy", "degree")``.
        """

    @abstractmethod
    def step(self, rank: Rank) -> None:
        """Record what one rank does in a step; called only when `problems` yields nothing."""

    def mesh(self) -> Mesh:
        """Return the mesh of ranks: the strategy's own axes and the replicas, as placed."""
        return arrange(self.axes(), self.dp, self.placement)

    def rank(self, model: ModelShape, workload: Workload, optimizer: Optimizer) -> Rank:
        """Return a rank of the mesh, to record a program on."""
        replication = Replication(self.zero, self.bucket)
        return Rank(self.mesh(), model, workload, optimizer, replication)

    def record(self, model: ModelShape, workload: Workload, optimizer: Optimizer) -> Programs:
        """Return the programs of one step: one that all ranks play, unless overridden."""
        rank = self.rank(model, workload, optimizer)
        self.step(rank)
        return one_role(rank)


def one_role(rank: Recorder) -> Programs:
    """Return the recorded program as the one that all ranks play."""
    return Programs((rank.program(),), (0,) * rank.mesh.ranks)
