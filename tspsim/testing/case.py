"""A strategy with its options, on a model and a workload small enough to play by values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.types import Programs
from tspsim.registry import STRATEGIES
from tspsim.strategies.base import StrategyOptions

#: More key/value heads than ranks, fewer than query heads; both ends of the model.
MODEL = ModelShape(hidden=32, layers=1, heads=16, kv_heads=8, ffn=24, vocab=24, head_dim=4)
WORKLOAD = Workload(sequence=16, dtype="fp64", recompute="full")


@dataclass(frozen=True)
class Case:
    """What is checked.

    Parameters
    ----------
    strategy : StrategyOptions
    model : ModelShape
    workload : Workload
    optimizer : Optimizer
    """

    strategy: StrategyOptions
    model: ModelShape = MODEL
    workload: Workload = WORKLOAD
    optimizer: Optimizer = field(default_factory=Optimizer)

    @property
    def mesh(self) -> Mesh:
        """The strategy's ranks."""
        return self.strategy.mesh()

    @cached_property
    def programs(self) -> Programs:
        """What they play.

        Raises
        ------
        AssertionError
            When the strategy says that it cannot split the model so.
        """
        problems = list(self.strategy.all_problems(self.model, self.workload))
        told = "; ".join(f"{'.'.join(map(str, p.path))}: {p.message}" for p in problems)
        assert not problems, f"the case is none: {told}"
        return self.strategy.record(self.model, self.workload, self.optimizer)

    def but(self, **workload: Any) -> Case:
        """Return the case with another workload in some respects."""
        return Case(self.strategy, self.model, replace(self.workload, **workload), self.optimizer)

    def replicated(self, **options: Any) -> Case:
        """Return the case with replicas, or other options that every strategy has."""
        strategy = self.strategy.model_copy(update=options)
        return Case(strategy, self.model, self.workload, self.optimizer)


def case(
    kind: str | type[StrategyOptions],
    options: Mapping[str, Any] | None = None,
    model: ModelShape = MODEL,
    workload: Workload = WORKLOAD,
) -> Case:
    """Return a case of a strategy, with enough layers for what it does.

    Parameters
    ----------
    kind : str or type
        The class of its options; or its name, found as ``strategy.kind`` of a scenario is.
    options : Mapping, optional
        As under ``strategy:``, without the kind.
    model : ModelShape
        Its layers, and the workload's micro-batches, are raised to `StrategyOptions.least`.
    workload : Workload
    """
    form = STRATEGIES.get(kind) if isinstance(kind, str) else kind
    strategy: StrategyOptions = form.model_validate(dict(options or {}))
    least = strategy.least
    enough = replace(model, layers=max(model.layers, least.layers))
    batches = max(workload.micro_batches, least.micro_batches)
    return Case(strategy, enough, replace(workload, micro_batches=batches))
