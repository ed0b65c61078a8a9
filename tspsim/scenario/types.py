"""A scenario as a value: everything that one run needs, checked and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tspsim.files.arguments import checked
from tspsim.files.errors import ArgumentError
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.disturbances import Disturbances
from tspsim.topology.graph import Topology

if TYPE_CHECKING:
    from tspsim.scenario import typed

#: The sections, in the order of a file; those that have to be stated first.
SECTIONS = (
    "model", "workload", "topology", "strategy", "name", "kernels", "optimizer", "memory",
    "timing", "network", "engine", "disturbances",
)  # fmt: skip
NEEDED = SECTIONS[:4]


def signature() -> Signature:
    """Return what a scenario is made of, for those who look it up."""
    defaults = {name: Parameter.empty if name in NEEDED else None for name in SECTIONS}
    return Signature(
        [Parameter(name, Parameter.KEYWORD_ONLY, default=each) for name, each in defaults.items()]
    )


def default(value: Field[Any]) -> Any:
    """Return what a field has that nothing is said of."""
    return value.default if value.default_factory is MISSING else value.default_factory()


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Scenario:
    """What is asked: a model, the work, the way of splitting it, and the hardware.

    It is made of what a file says under the same keys: ``Scenario(model="llama-3-8b",
    workload=Workload(sequence=8192), topology="h100-node", strategy=TSP(degree=8))``. Everything
    that is wrong is told at once, as a `ScenarioError`. What it has, like a scenario that
    `tspsim.load` returns, is all of that resolved:

    Attributes
    ----------
    name : str
    path : str or None
        The file that it was read from; None for a document in memory.
    model : ModelShape
    workload : Workload
    optimizer : Optimizer
    strategy : StrategyOptions
        The options of one strategy; its mesh has as many ranks as the topology has devices.
    topology : Topology
        With the scenario's reserved memory and disturbances already in it.
    algorithm : str
        How collectives run: ``"auto"``, or the name of a collective algorithm.
    document : Mapping
        The scenario with every default and every looked-up file written out: JSON-able, and
        accepted again by `tspsim.run`.
    fold : bool
        Whether ranks that provably behave alike are simulated once.
    detail, sharing : str
        How collectives are played on the links: ``network.detail`` and ``network.sharing``.
    allocator : {"exact", "torch"}
        Who gives buffers their places: a model of none, or torch's caching allocator.
    disturbances : Disturbances
        What does not go to plan; slow devices and changed links are in the topology already.
    """

    name: str
    path: str | None
    model: ModelShape
    workload: Workload
    optimizer: Optimizer
    strategy: StrategyOptions
    topology: Topology
    algorithm: str
    document: Mapping[str, Any]
    detail: Literal["coflow", "steps"] = "coflow"
    sharing: Literal["fair", "fifo"] = "fair"
    fold: bool = True
    allocator: Literal["exact", "torch"] = "exact"
    disturbances: Disturbances = field(default_factory=Disturbances)

    __signature__: ClassVar[Signature] = signature()

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            model: typed.Model | Mapping[str, Any] | str,
            workload: typed.Workload | Mapping[str, Any],
            topology: typed.Topology | Mapping[str, Any] | str,
            strategy: typed.Strategy | Mapping[str, Any],
            name: str | None = None,
            kernels: typed.Kernels | Mapping[str, Any] | str | None = None,
            optimizer: typed.Optimizer | Mapping[str, Any] | None = None,
            memory: typed.Memory | Mapping[str, Any] | None = None,
            timing: typed.Timing | Mapping[str, Any] | None = None,
            network: typed.Network | Mapping[str, Any] | None = None,
            engine: typed.Engine | Mapping[str, Any] | None = None,
            disturbances: typed.Disturbances | Mapping[str, Any] | None = None,
        ) -> None: ...

    else:

        def __init__(self, *unnamed: Any, **stated: Any) -> None:
            if unnamed:
                told = f"sections by their names alone: {', '.join(SECTIONS)}"
                raise ArgumentError(f"Scenario takes {told}; found {len(unnamed)} values")
            if "document" not in stated:  # with it they are values, as dataclasses.replace has them
                from tspsim.scenario import stating  # which makes one of these

                made = stating.scenario(stated)
                stated = {each.name: getattr(made, each.name) for each in fields(made)}
            for each in fields(self):
                value = stated[each.name] if each.name in stated else default(each)
                object.__setattr__(self, each.name, value)

    @classmethod
    def resolved(cls, **values: Any) -> Self:
        """Return the scenario of values, by their names here, that go together."""
        return cls(**values)

    @property
    def model_name(self) -> str:
        """The shipped model of this shape: ``"llama-3-8b"``, ``"2 layers of llama-3-8b"``, or none.

        It is recognised by its sizes: a model of other sizes has no name, whatever it was made of.
        """
        from tspsim.scenario.recognised import model_name  # which reads the shipped models

        return model_name(self.model)

    @checked
    def replace(self, *changes: str, **sections: Any) -> Scenario:
        """Return the scenario with other sections, and with changes of single keys.

        Parameters
        ----------
        *changes : str
            Such as ``"strategy.degree=4"``.
        **sections
            As `Scenario` takes them: ``strategy=TP(degree=8)``. What is not stated of a section is
            not kept.

        Raises
        ------
        ScenarioError
            With everything that is wrong.
        """
        from tspsim.scenario import stating

        return stating.replaced(self, changes, sections)

    @checked
    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the scenario as the text of a file that gives the same results; write it, too.

        Every default and every file that it names is in it.

        Parameters
        ----------
        path : str or Path, optional
            Where to write it.

        Raises
        ------
        OutputError
            When it cannot be written.
        """
        from tspsim.files.writing import write_text
        from tspsim.scenario.writing import to_text

        text = to_text(self.document)
        if path is not None:
            write_text(Path(path), text)
        return text

    def __repr__(self) -> str:
        lines = (f"  {name:<10} {text}" for name, text in self._told())
        return "\n".join([f"<tspsim.Scenario {self.name!r}", *lines]) + ">"

    def _repr_html_(self) -> str:
        from tspsim.files.notebook import pairs

        return pairs(f"tspsim scenario: {self.name}", self._told())

    def _told(self) -> list[tuple[str, str]]:
        """Return what it is about, by name."""
        model, work = self.model, self.workload
        step = f"{work.batch} x {work.sequence:,} tokens"
        step += f", {work.micro_batches} micro-batches" if work.micro_batches > 1 else ""
        axes = " x ".join(f"{axis} {degree}" for axis, degree in self.strategy.mesh().axes)
        devices = self.topology.devices
        return [
            ("model", f"{model.parameters:,} parameters, {model.layers} layers"),
            ("workload", f"{work.phase}: {work.requests.text if work.requests else step}"),
            ("strategy", f"{self.strategy.kind} ({axes})"),
            ("topology", f"{len(devices)} x {devices[0].name} ({self.topology.name})"),
        ]
