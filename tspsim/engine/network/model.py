"""How collectives are played on the links: which player a run takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tspsim.engine.calendar import Clock
from tspsim.engine.folding.fold import Fold
from tspsim.engine.network.as_coflow import Coflows
from tspsim.engine.network.as_steps import Steps
from tspsim.engine.network.calls import Planner
from tspsim.engine.network.players import Player, Through
from tspsim.topology.graph import Topology

Detail: TypeAlias = Literal["coflow", "steps"]
Sharing: TypeAlias = Literal["fair", "fifo"]


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """How collectives travel.

    Parameters
    ----------
    detail : {"coflow", "steps"}
        A collective is one coflow, or every one of its sends is a flow.
    sharing : {"fair", "fifo"}
        Flows on a link share it max-min fairly, or are served one after another as they arrive.
    """

    detail: Detail = "coflow"
    sharing: Sharing = "fair"

    def player(
        self,
        environment: Clock,
        topology: Topology,
        planner: Planner,
        through: Through,
        fold: Fold | None = None,
    ) -> Player:
        """Return the player of one run; `through` gets the exchanges that are through."""
        if self.detail == "steps":
            return Steps(environment, topology, planner, through, self.sharing)
        return Coflows(environment, topology, planner, through, self.sharing, fold)

    @property
    def folds(self) -> bool:
        """Whether ranks that behave alike can stand for each other."""
        return self.detail == "coflow" and self.sharing == "fair"


#: What a run does unless it is told otherwise.
COFLOWS = NetworkModel()
