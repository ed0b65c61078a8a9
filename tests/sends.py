"""Topologies, messages and single sends that the tests of steps share."""

from __future__ import annotations

from tests.test_collectives import make
from tspsim.collectives.choose import Chooser
from tspsim.engine.calendar import Clock
from tspsim.engine.meetings import Communicator, Meeting
from tspsim.engine.network.model import NetworkModel
from tspsim.engine.network.players import Carried
from tspsim.program.types import CollectiveKind, Message
from tspsim.topology.graph import Topology
from tspsim.topology.load import load

STEPS = NetworkModel("steps")
DEVICE = {
    "name": "x", "flop_rate": {"bf16": "100 TFLOP/s"}, "memory_bandwidth": "1 TB/s",
    "memory": "80 GB", "source": "made up",
}  # fmt: skip


def nodes(count: int, inside: str, size: int, fabric: str = "rails") -> Topology:
    """Return nodes of a size, joined by NICs that are slower than the links inside."""
    node = {"kind": inside, "ranks": size, "link": {"bandwidth": "50 GB/s", "latency": "1 us"}}
    return load(
        {
            "kind": "nodes",
            "nodes": count,
            "node": node,
            "fabric": fabric,
            "device": DEVICE,
            "nic": {"bandwidth": "25 GB/s", "latency": "4 us"},
        }
    )


TOPOLOGIES: dict[str, Topology] = {
    **{
        f"{kind}-{n}": make(kind, n) for kind in ("ring", "full", "switch") for n in (2, 3, 4, 5, 8)
    },
    "rail-4x1": nodes(4, "switch", 1),
    "rails-2x2": nodes(2, "full", 2),
    "rails-2x4": nodes(2, "full", 4),
    "tree-3x2": nodes(3, "switch", 2, "fat_tree"),
}


def members(kind: CollectiveKind, topology: Topology) -> tuple[int, ...]:
    """Return all devices; two of them for a hop."""
    return (0, 1) if kind == "shift" else tuple(range(len(topology.devices)))


def message(kind: CollectiveKind, size: int, root: int = 0) -> Message:
    """Return a message of a kind; the root counts where the kind has one."""
    return Message(kind, size, root if kind in ("broadcast", "reduce") else None)


def carried(
    sent: Message, ranks: tuple[int, ...], topology: Topology, algorithm: str
) -> list[Carried]:
    """Return every send of one call, played alone."""
    environment, ended = Clock(), []
    player = STEPS.player(environment, topology, Chooser(topology, algorithm), ended.extend)
    whole = (*ranks, -1) if sent.collective == "shift" else ranks
    player.begin(Meeting(Communicator("test", whole), ranks, sent, []))
    environment.run()
    (exchange,) = ended
    return list(player.carried(exchange))
