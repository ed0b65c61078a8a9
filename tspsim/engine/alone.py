"""One collective by itself: no programs, no compute, nothing else on the links."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.collectives.choose import AUTO, Chooser
from tspsim.engine.calendar import Clock
from tspsim.engine.meetings import Communicator, Meeting
from tspsim.engine.network.model import COFLOWS, NetworkModel
from tspsim.program.types import Message
from tspsim.topology.graph import Topology


def play_alone(
    message: Message,
    ranks: Sequence[int],
    topology: Topology,
    algorithm: str = AUTO,
    network: NetworkModel = COFLOWS,
) -> float:
    """Return the seconds of one collective call, or one hop of a shift, that the engine plays.

    Parameters
    ----------
    message : Message
        Kind, bytes and root.
    ranks : sequence of int
        The members in communicator order; sender and receiver of a shift.
    topology : Topology
    algorithm : str
        A name, or ``"auto"``.
    network : NetworkModel
        ``NetworkModel("steps")`` plays every single send.
    """
    environment, members = Clock(), tuple(ranks)
    planner, ends = Chooser(topology, algorithm), list[float]()
    player = network.player(environment, topology, planner, lambda _: ends.append(environment.now))
    # A hop inside a larger communicator: two members would also send the other way.
    whole = (*members, -1) if message.collective == "shift" else members
    player.begin(Meeting(Communicator("alone", whole), members, message, []))
    environment.run()
    return ends[0]
