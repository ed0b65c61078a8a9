"""What is asked of a plan: a scenario whose strategy is open, and what counts as good."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tspsim.files.errors import TopologyError, UserError, did_you_mean
from tspsim.layer_kind import LayerKind
from tspsim.model import Recompute, Workload
from tspsim.plan.pipelines import check
from tspsim.registry import STRATEGIES
from tspsim.routing import BALANCED, Routing
from tspsim.scenario.loader import from_document
from tspsim.scenario.types import Scenario
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.load import parse

#: What a mesh of nothing but replicas is called, and how it is written: a strategy of degree 1.
REPLICAS, WHOLE = "dp", "tp"
#: A capacity of which experts are left a row each.
LEAST = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A scenario of which the strategy, the micro-batches and recomputation are open.

    Parameters
    ----------
    base : Scenario
        Its strategy is a placeholder, its batch and micro-batches are 1.
    batch : int
        Sequences of a step, over all replicas and micro-batches.
    options : Mapping
        Options of the scenario's own strategy: those that nothing varies are kept by every
        strategy that has them.
    fixed : Mapping
        What the user states of ``strategy``; it is not varied.
    recompute : tuple of str
        The kinds of recomputation to try.
    accumulate : bool
        Whether a step may be cut into several micro-batches.
    """

    base: Scenario
    batch: int
    options: Mapping[str, Any]
    fixed: Mapping[str, Any]
    recompute: tuple[Recompute, ...]
    accumulate: bool = True

    @property
    def devices(self) -> int:
        """Devices of the topology: every mesh has as many ranks."""
        return len(self.base.topology.devices)

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch * self.base.workload.sequence

    @property
    def free(self) -> float:
        """Bytes that a program may take on the smallest device."""
        return min(device.memory - device.reserved for device in self.base.topology.devices)

    def at(self, sequence: int) -> Question:
        """Return the same question for another sequence length."""
        workload = dataclasses.replace(self.base.workload, sequence=sequence)
        document = {**self.base.document}
        document["workload"] = {**document["workload"], "sequence": sequence}
        base = dataclasses.replace(self.base, workload=workload, document=document)
        return dataclasses.replace(self, base=base)

    def alike(self, kind: LayerKind) -> Question:
        """Return the same question of a model with all layers of one kind, to be bounded alone.

        Tokens spread evenly over experts: of any other spread some rank has more. Where experts
        drop what is too much for them, hardly anything is left.
        """
        base, routing = self.base, self.base.workload.routing
        capacity = None if routing.capacity is None else LEAST
        workload = dataclasses.replace(base.workload, routing=Routing(capacity=capacity))
        base = dataclasses.replace(base, model=base.model.alike(kind), workload=workload)
        return dataclasses.replace(self, base=base)

    @property
    def uniform(self) -> bool:
        """Whether all layers do the same."""
        model, routing = self.base.model, self.base.workload.routing
        kinds = model.kinds
        return len(kinds) == 1 and (model.experts is None or routing == BALANCED)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way of running the step.

    Parameters
    ----------
    strategy : StrategyOptions
    batch : int
        Sequences of a micro-batch of one replica.
    micro_batches : int
    recompute : {"none", "selective", "full"}
    """

    strategy: StrategyOptions
    batch: int
    micro_batches: int
    recompute: Recompute

    @property
    def family(self) -> str:
        """The strategy's kind; ``"dp"`` where every rank holds the whole model."""
        whole = all(degree == 1 for _, degree in self.strategy.axes())
        return REPLICAS if whole else self.strategy.kind

    @property
    def unplaced(self) -> Candidate:
        """The same without its placement, on which neither programs nor memory depend."""
        strategy = self.strategy.model_copy(update={"placement": None})
        return dataclasses.replace(self, strategy=strategy)

    @property
    def kin(self) -> tuple[StrategyOptions, Recompute]:
        """What it has in common with those that run layers alike: replicas, stages, sizes are not.

        Bounds of such candidates rest on the same recordings.
        """
        changes = {"placement": None, "pp": None, "dp": 1, "zero": 0}
        return self.strategy.model_copy(update=changes), self.recompute

    def workload(self, question: Question) -> Workload:
        """Return what one replica processes in a step."""
        return dataclasses.replace(
            question.base.workload,
            batch=self.batch,
            micro_batches=self.micro_batches,
            recompute=self.recompute,
        )

    def scenario(self, question: Question) -> Scenario:
        """Return the scenario that simulates this candidate."""
        base, workload = question.base, self.workload(question)
        document = {**base.document, "strategy": self.strategy.model_dump(mode="json")}
        changes = {"batch": self.batch, "micro_batches": self.micro_batches}
        document["workload"] = {**document["workload"], **changes, "recompute": self.recompute}
        return dataclasses.replace(
            base, strategy=self.strategy, workload=workload, document=document
        )


def ask(
    data: Mapping[str, Any],
    fixed: Mapping[str, Any],
    batch: int | None = None,
    recompute: Recompute | Literal["any"] = "any",
    *,
    accumulate: bool = True,
) -> Question:
    """Return the question that a scenario with every file read in asks.

    Parameters
    ----------
    data : Mapping
        As `tspsim.scenario.loader.Opened.data` returns it; it may have no strategy.
    fixed : Mapping
        Options of strategies that are not varied; ``kind`` may name several, with commas.
    batch : int, optional
        Sequences of a step. Not given: as many as the scenario's own step has; without a strategy
        of its own, one per node.
    recompute : str
        The only one to try, or ``"any"``.
    accumulate : bool
        Whether a step may be cut into several micro-batches.

    Raises
    ------
    ScenarioError
        With everything that is wrong beside the strategy.
    UserError
        When durations are drawn by chance: then no bound holds.
    """
    workload, own = data.get("workload"), data.get("strategy")
    open_ = {**workload, "batch": 1, "micro_batches": 1} if isinstance(workload, dict) else workload
    document = {**data, "workload": open_, "strategy": {"kind": WHOLE, "degree": 1}}
    base = _loaded(document)
    if base.disturbances.jitter is not None:
        raise UserError("disturbances.jitter: a plan compares steps without chance; leave it out")
    options = own if isinstance(own, dict) else {}
    if batch is None:
        batch = _own_batch(workload, options) or _nodes(base)
    kinds: tuple[Recompute, ...] = ("none", "selective", "full")
    if base.workload.phase == "forward":
        kinds = ("none",)  # nothing is kept, so nothing is recomputed
    elif recompute != "any":
        kinds = (recompute,)
    _check_fixed(fixed)
    return Question(base, batch, options, fixed, kinds, accumulate)


def _check_fixed(fixed: Mapping[str, Any]) -> None:
    """Refuse strategies that do not exist, and options that none of those asked for has."""
    kinds = [WHOLE if kind == REPLICAS else kind for kind in asked_kinds(fixed)]
    forms = [STRATEGIES.get(kind) for kind in kinds or STRATEGIES.names()]
    known = {name for form in forms for name in form.model_fields}
    check(fixed.get("pp"))
    for option in fixed:
        if option not in known:
            near = did_you_mean(option, known)
            raise UserError(
                f"strategy.{option}: an option of none of {', '.join(kinds or STRATEGIES.names())}"
                f"{near}; known: {', '.join(sorted(known))}"
            )


def _loaded(document: dict[str, Any]) -> Scenario:
    """Return the scenario with as many replicas as there are devices."""
    try:
        count = parse(document["topology"]).count()
    except (TopologyError, ValueError, KeyError, TypeError):
        count = 1  # loading it tells what is wrong
    document["strategy"] = {"kind": WHOLE, "degree": 1, "dp": count}
    return from_document(document)


def _own_batch(workload: Any, options: Mapping[str, Any]) -> int | None:
    """Return the sequences of the scenario's own step; None where it has no strategy."""
    if not options or not isinstance(workload, dict):
        return None
    parts = (options.get("dp", 1), workload.get("batch", 1), workload.get("micro_batches", 1))
    total = 1
    for part in parts:
        total *= part if isinstance(part, int) and part > 0 else 1
    return total


def _nodes(base: Scenario) -> int:
    return base.topology.node(len(base.topology.devices) - 1) + 1


def asked_kinds(fixed: Mapping[str, Any]) -> list[str]:
    """Return the strategies that are asked for by name; none: all."""
    text = fixed.get("kind")
    return [name.strip() for name in str(text).split(",")] if text is not None else []
