"""A scenario as a value: everything that one run needs, checked and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.disturbances import Disturbances
from tspsim.topology.graph import Topology


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is asked: a model, the work, the way of splitting it, and the hardware.

    Parameters
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
