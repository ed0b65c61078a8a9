"""What every strategy provides: its options, its axes, its checks and what one rank does."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tspsim.files.errors import Problem
from tspsim.files.units import Bytes
from tspsim.mesh import DP, NOWHERE, PP, SHARD, Mesh
from tspsim.mesh import Axes as Names
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.activations import ActivationShard
from tspsim.program.rank import Rank
from tspsim.program.replicas import Replication
from tspsim.program.stages import Stages, whole
from tspsim.program.types import Programs
from tspsim.strategies.experts.base import ExpertLayer
from tspsim.strategies.parts.inferring import inference_problems
from tspsim.strategies.parts.placement import Axes, arrange
from tspsim.strategies.parts.sharing import Blocks, sharing_problems
from tspsim.strategies.parts.spread import (
    Spread,
    apart,
    axes_of,
    make_experts,
    searched,
    spread_problems,
)
from tspsim.strategies.parts.stages import Least, Pipeline


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
    zero : {0, 1, 2, 3}
        Replicas update all weights alike (0), or share optimizer states and update (1), gradients
        too (2), or weights too (3); with those of the strategy's own ranks that hold the same.
    shard : Blocks, optional
        They share in blocks of neighbouring replicas, and every block holds the same: ``{degree:
        8}`` (hybrid sharding, HSDP).
    reshard : bool or int, optional
        With ``zero: 3``: gathered weights go behind forward and come again in backward; a number:
        so many neighbours keep a part each, and gather among them. When not given, as torchtitan
        does: they go, but stay in a pipeline.
    reduce : {"fp32", "bf16"}, optional
        With ``zero: 2`` and 3: in what gradients are added up and travel (FSDP2's
        ``reduce_dtype``); as the resident gradients are when not given.
    sync : {"every", "last"}, optional
        With ``zero: 2`` and 3: reduce gradients behind every micro-batch, or add them up whole and
        reduce them behind the last (FSDP2's ``set_requires_gradient_sync``). When not given,
        ``every``; in a pipeline ``last``.
    offload : {"optimizer"}, optional
        Optimizer states are in the host's memory. At the end of the step gradients go down, the
        host updates, and weights come up, one after another (ZeRO-Offload, arXiv 2101.06840).
    bucket : float
        Bytes of gradients in a message between replicas; ``0 B``: a message per buffer. With
        ``zero: 2`` of weights: gradients travel layer by layer, and with ``zero: 3`` both do.
    overlap_gradients : bool, optional
        Reduce gradients while backward goes on. When not given, as the libraries do: with
        ``zero: 0`` they do (torch's DistributedDataParallel), with ``zero: 1`` not (Megatron-Core's
        distributed optimizer, ``overlap_grad_reduce``).
    overlap_weights : bool
        With ``zero: 1`` and 2: gather updated weights during the next step's forward
        (Megatron-Core's ``overlap_param_gather``, off by default there too), not at the end.
    pp : Pipeline, optional
        Stages, their schedule, and the layers of each.
    experts : Spread, optional
        Where the experts of a mixture lie, and what travels: ``{layout: tokens, over: [tsp]}``.
    placement : tuple of str, optional
        All axes, innermost first; the strategy's own inside of ``dp``, that inside of ``pp``, when
        not given.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    kind: str
    dp: int = Field(1, ge=1, description="replicas of the model (data parallelism)")
    zero: int = Field(
        0,
        ge=0,
        le=3,
        description="what replicas share: 1: optimizer states, 2: gradients too, 3: weights too",
    )
    shard: Blocks | None = Field(
        None, description="share in blocks of neighbouring replicas only: {degree: 8}"
    )
    reshard: bool | int | None = Field(
        None, description="zero: 3: let weights go behind forward; a number: to so many neighbours"
    )
    reduce: Literal["fp32", "bf16"] | None = Field(
        None, description="zero: 2 and 3: type in which gradients travel; null: their own"
    )
    sync: Literal["every", "last"] | None = Field(
        None, description="zero: 2 and 3: micro-batches behind which gradients are reduced"
    )
    offload: Literal["optimizer"] | None = Field(
        None, description="optimizer: states in the host's memory, and the step made there"
    )
    bucket: Bytes = Field("25 MiB", validate_default=True)
    overlap_gradients: bool | None = Field(
        None, description="reduce gradients during backward; null: with zero: 0"
    )
    overlap_weights: bool = Field(
        False, description="zero: 1 and 2: gather updated weights during the next forward"
    )
    pp: Pipeline | None = Field(None, description="stages of a pipeline: {stages: 4, ...}")
    experts: Spread | None = Field(
        None, description="of a mixture of experts: where they lie, and what travels"
    )
    placement: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        None, description="all axes, innermost (neighbouring devices) first"
    )

    @classmethod
    def degrees(cls) -> tuple[str, ...]:
        """Return the options that are degrees: the whole numbers that have to be stated."""
        stated = {n: f for n, f in cls.model_fields.items() if n != "kind" and f.is_required()}
        return tuple(name for name, field in stated.items() if field.annotation is int)

    @classmethod
    def replica(cls, degrees: Mapping[str, int]) -> int:
        """Return how many ranks some degrees make of one replica, axes of its own included."""
        stated: dict[str, Any] = dict(degrees)
        return cls.model_construct(**stated).mesh().ranks

    @classmethod
    def choices(
        cls,
        model: ModelShape,
        degrees: Mapping[str, int],
    ) -> dict[str, tuple[Any, ...]]:
        """Return the options that a search varies, each with the values that it tries.

        Parameters
        ----------
        model : ModelShape
        degrees : Mapping of str to int
            Those of the strategy, and ``dp``.
        """
        stated: dict[str, Any] = dict(degrees)
        found = cls.model_construct(**stated)
        varied: dict[str, tuple[Any, ...]] = {"zero": (0, 1, 2, 3) if found.sharers > 1 else (0,)}
        if model.experts:
            varied["experts"] = tuple(searched(found.axes(), found.dp, model.experts))
        return varied

    @abstractmethod
    def axes(self) -> Axes:
        """Return names and degrees of the strategy's own axes, outermost first."""

    def equal(self) -> tuple[str, ...]:
        """Return those of the strategy's own axes over which weights are equal: none."""
        return ()

    def cuts_tokens(self, workload: Workload) -> tuple[str, ...]:  # noqa: ARG002
        """Return those of the strategy's own axes over which tokens are cut between blocks."""
        return self.equal()

    @abstractmethod
    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what makes these options impossible for this model and workload.

        Paths are from the root of the scenario: ``("strategy", "degree")``.
        """

    @abstractmethod
    def step(self, rank: Rank) -> None:
        """Record what one rank does in a step; called only when `problems` yields nothing."""

    def replica_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the options of data parallelism."""
        yield from sharing_problems(self)

    @property
    def sharers(self) -> int:
        """How many ranks share what goes with the same weights, if they do."""
        return self.mesh().degree((*self._sharing, *self.equal()))

    @property
    def _sharing(self) -> tuple[str, ...]:
        """The axes of replicas that share: those of a block, or all."""
        return (SHARD,) if self.shard else (DP, SHARD)

    @property
    def spread(self) -> Spread:
        """How experts are spread, if there are any."""
        return self.experts or Spread()

    @property
    def expert_block(self) -> int:
        """How many neighbouring replicas hold all experts together."""
        over = self.spread.over or ()
        own = math.prod(degree for name, degree in self.axes() if name in over)
        return self.spread.block(own, self.dp)

    def mesh(self) -> Mesh:
        """Return the mesh of ranks: the strategy's own axes and the replicas, as placed.

        Replicas that share in blocks, or hold all experts in blocks, are two axes.
        """
        stages = self.pp.stages if self.pp else 1
        # All replicas are the axis of replicas itself.
        block = self.shard.degree if self.shard else self.expert_block % self.dp or 1
        return arrange(self.axes(), self.dp, self.placement, stages, block)

    def all_problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what makes a strategy, or its pipeline, impossible for this model and workload."""
        yield from self.problems(model, workload)
        if workload.requests:
            yield from inference_problems(self, model, workload)
        yield from spread_problems(self, model, workload)
        if self.pp:
            yield from self.pp.problems(model, workload)

    def role(self, mesh: Mesh, rank: int) -> int:
        """Return which program a rank of the mesh plays: its place in the pipeline.

        Roles are numbered from 0, without gaps; ``rank.role`` says which one `step` records.
        """
        return mesh.coordinate(rank, PP)

    def stages(self, model: ModelShape, workload: Workload) -> tuple[Stages, ...]:
        """Return what the stages of a pipeline do, by role, or the one stage of all ranks.

        Nothing: forward and backward of every micro-batch, one after the other.
        """
        if self.pp:
            return self.pp.roles(model, workload)
        overlap = self.spread.overlap
        return (whole(model.layers, workload.micro_batches, overlap),) if overlap else ()

    def infer(self, rank: Rank) -> None:
        """Record what one rank does in a step of inference."""
        raise NotImplementedError

    @classmethod
    def infers(cls) -> bool:
        """Whether the strategy has steps of inference."""
        return cls.infer is not StrategyOptions.infer

    @property
    def least(self) -> Least:
        """The fewest layers and micro-batches in which everything that the schedule does happens.

        So many are played with values to prove it.
        """
        if self.pp:
            return self.pp.least
        return Least(micro_batches=4) if self.spread.overlap else Least()

    def rank(
        self,
        model: ModelShape,
        workload: Workload,
        optimizer: Optimizer,
        role: int = 0,
        stages: Stages | None = None,
    ) -> Rank:
        """Return a rank of the mesh, to record a program on."""
        mesh = self.mesh()
        own = self._replication(mesh)
        experts = self._expert_replication(own, mesh) if model.experts else None
        return Rank(mesh, model, workload, optimizer, own, role, stages, experts)

    def _replication(self, mesh: Mesh) -> Replication:
        """Return how the ranks of a mesh keep equal weights equal."""
        early = self.overlap_gradients
        blocks = self.shard is not None and mesh.degree(DP) > 1
        return Replication(
            self.zero,
            self.bucket,
            overlap_gradients=self.zero == 0 if early is None else early,
            overlap_weights=self.overlap_weights,
            inside=self.weight_replicas(mesh),
            outside=DP if blocks else None,
            reshard=self.pp is None if self.reshard is None else self.reshard,
            reduce=self.reduce,
            sync=self.sync or ("last" if self.pp else "every"),
            offload=self.offload,
        )

    def make_experts(self, rank: Rank, place: ActivationShard) -> ExpertLayer | None:
        """Return the layout of a rank's experts, if there are any."""
        return make_experts(self, rank, place) if rank.model.experts else None

    def _expert_replication(self, own: Replication, mesh: Mesh) -> Replication:
        """Return how those that hold the same experts keep these equal.

        Where a block of replicas holds all experts together, other blocks hold the same.
        """
        inside = self.expert_replicas(mesh)
        blocks = own.outside is not None and SHARD in axes_of(self)
        return replace(own, inside=DP, outside=None) if blocks else replace(own, inside=inside)

    def weight_replicas(self, mesh: Mesh) -> Names:
        """Return the axes over which ranks share what goes with the same weights."""
        return mesh.there((*self._sharing, *(self.equal() if self.zero else ())))

    def expert_replicas(self, mesh: Mesh) -> Names:
        """Return those over which they share what goes with the same experts."""
        over = apart(self)
        names = (*self._sharing, *(self.equal() if self.zero else ()))
        return mesh.there(tuple(n for n in names if n not in over) or NOWHERE)

    def record(self, model: ModelShape, workload: Workload, optimizer: Optimizer) -> Programs:
        """Return the programs of one step, one per role."""
        mesh = self.mesh()
        roles = tuple(self.role(mesh, rank) for rank in range(mesh.ranks))
        stages = self.stages(model, workload) or (None,) * (max(roles) + 1)
        recorded = []
        for role, does in enumerate(stages):
            rank = self.rank(model, workload, optimizer, role, does)
            (self.infer if workload.requests else self.step)(rank)
            recorded.append(rank.program())
        return Programs(tuple(recorded), roles)
