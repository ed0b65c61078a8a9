"""Toy programs, devices and fabrics with round numbers, for timelines that a reader can check.

The toy device computes one flop per second and every link carries one byte per second unless a
test says otherwise, so ``compute(3)`` takes 3 s and a hop of 2 bytes takes 2 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tspsim.collectives.plan import Plan
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.mesh import Mesh
from tspsim.program.types import (
    Buffer,
    BufferKind,
    CollectiveKind,
    Lane,
    Message,
    Op,
    Operand,
    PerCoordinate,
    PlanKind,
    Program,
    Programs,
    Work,
)
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Device, Profile

DEVICE = Device("toy", (("bf16", 1.0),), memory_bandwidth=1.0, memory=1000.0)


@dataclass(frozen=True)
class ToyKind:
    """An op kind that only has a name."""

    name: str

    def text(self) -> str:
        """Return the name."""
        return self.name


class Toy:
    """Writes a program op by op; every method returns the index of its op.

    Parameters
    ----------
    axis : str
        The mesh axis of all communicators.
    """

    def __init__(self, axis: str = "tsp") -> None:
        self.axis = axis
        self.ops: list[Op] = []
        self.buffers: list[Buffer] = []
        self.lanes = [Lane("compute")]
        self.waits: list[tuple[int, ...]] = []

    def lane(self, label: str, size: int | None = None) -> int:
        """Return the index of a communicator's lane."""
        lane = Lane(f"{self.axis}/{label}", self.axis, size)
        if lane not in self.lanes:
            self.lanes.append(lane)
        return self.lanes.index(lane)

    def buffer(
        self, size: int, kind: BufferKind = "activation", *, resident: bool = False
    ) -> Buffer:
        """Declare a buffer of `size` bytes."""
        index = len(self.buffers)
        buffer = Buffer(index, f"b{index}", (size,), 1, kind, None, resident)
        self.buffers.append(buffer)
        return buffer

    def compute(
        self,
        seconds: float | Sequence[float],
        after: Iterable[int] = (),
        reads: Iterable[Buffer] = (),
        writes: Iterable[Buffer] = (),
    ) -> int:
        """Add a compute op; several durations go to the coordinates of the axis."""
        work: Work | PerCoordinate
        if isinstance(seconds, Sequence):
            work = PerCoordinate(self.axis, tuple(_work(s) for s in seconds))
        else:
            work = _work(seconds)
        return self._add("compute", 0, work, None, after, reads, writes)

    def communicate(
        self,
        kind: CollectiveKind,
        size: int,
        label: str = "a",
        after: Iterable[int] = (),
        root: int | None = None,
        offset: int = 0,
        group: int | None = None,
        reads: Iterable[Buffer] = (),
        writes: Iterable[Buffer] = (),
    ) -> int:
        """Add a collective of `size` bytes on the communicator `label`."""
        message = Message(kind, size, root, offset)
        return self._add(kind, self.lane(label, group), None, message, after, reads, writes)

    def shift(self, size: int, label: str = "a", after: Iterable[int] = (), offset: int = 1) -> int:
        """Add a shift to the right-hand neighbour."""
        return self.communicate("shift", size, label, after, offset=offset)

    def _add(
        self,
        name: str,
        lane: int,
        work: Work | PerCoordinate | None,
        message: Message | None,
        after: Iterable[int],
        reads: Iterable[Buffer],
        writes: Iterable[Buffer],
    ) -> int:
        index = len(self.ops)
        ins = tuple(Operand(b, 0, b.shape) for b in reads)
        outs = tuple(Operand(b, 0, b.shape) for b in writes)
        kind, label = ToyKind(name), f"{name}{index}"
        op = Op(index, kind, label, "forward", None, 0, lane, ins, outs, work, message)
        self.ops.append(op)
        self.waits.append(tuple(after))
        return index

    def program(self) -> Program:
        """Return what has been written."""
        ops, buffers = tuple(self.ops), tuple(self.buffers)
        return Program(ops, buffers, tuple(self.lanes), tuple(self.waits))


def _work(seconds: float) -> Work:
    return Work(seconds, 0, "matmul")  # type: ignore[arg-type]  # the toy device takes fractions


def shared(toy: Toy, ranks: int) -> Programs:
    """Return one program played by all ranks."""
    return Programs((toy.program(),), (0,) * ranks)


def roles(*toys: Toy) -> Programs:
    """Return one program per rank."""
    return Programs(tuple(toy.program() for toy in toys), tuple(range(len(toys))))


def fabric(
    pairs: Iterable[tuple[str, str]],
    ranks: int,
    bandwidth: float = 1.0,
    latency: float = 0.0,
    interference: float = 1.0,
) -> Topology:
    """Return toy devices joined by the given directed links."""
    links = [Link(i, a, b, bandwidth, latency) for i, (a, b) in enumerate(pairs)]
    profile = Profile("toy", interference=interference)
    return Topology("toy", (DEVICE,) * ranks, tuple(links), profile)


def full(
    ranks: int, bandwidth: float = 1.0, latency: float = 0.0, interference: float = 1.0
) -> Topology:
    """Return a link from every device to every other."""
    pairs = [(f"d{a}", f"d{b}") for a in range(ranks) for b in range(ranks) if a != b]
    return fabric(pairs, ranks, bandwidth, latency, interference)


def switched(ranks: int, bandwidth: float = 1.0, latency: float = 0.0) -> Topology:
    """Return devices with one port each, joined by a switch."""
    pairs = [p for i in range(ranks) for p in ((f"d{i}", "switch"), ("switch", f"d{i}"))]
    return fabric(pairs, ranks, bandwidth, latency)


@dataclass
class ToyPlanner:
    """Sends directly: every member sends ``1 / n`` of the message to every other.

    A hop takes its route; a broadcast puts the whole message on each of the root's routes.
    """

    topology: Topology

    @cached_property
    def _plans(self) -> dict[tuple[str, tuple[int, ...], int | None], Plan]:
        return {}

    def choose(self, kind: PlanKind, size: int, ranks: tuple[int, ...], root: int | None) -> Plan:
        """Return the plan of a call; the size does not matter."""
        del size
        key = (kind, ranks, root)
        if key not in self._plans:
            self._plans[key] = self._plan(kind, ranks, root)
        return self._plans[key]

    def _plan(self, kind: PlanKind, ranks: tuple[int, ...], root: int | None) -> Plan:
        if kind in ("shift", "swap"):
            pairs = [(ranks[0], ranks[1], 1.0)]
        elif kind == "broadcast":
            source = ranks[root or 0]
            pairs = [(source, b, 1.0) for b in ranks if b != source]
        else:
            pairs = [(a, b, 1 / len(ranks)) for a in ranks for b in ranks if a != b]
        loads: dict[int, float] = {}
        latency = 0.0
        for a, b, share in pairs:
            route = self.topology.route(a, b)
            latency = max(latency, sum(self.topology.links[i].latency for i in route))
            for link in route:
                loads[link] = loads.get(link, 0.0) + share
        return Plan("direct", tuple(sorted(loads.items())), latency)


def run(programs: Programs, topology: Topology, axis: str = "tsp") -> Timeline:
    """Play programs on ranks along one axis."""
    mesh = Mesh(((axis, len(programs.role_of_rank)),))
    return simulate(Setup(programs, mesh, topology, "bf16"), ToyPlanner(topology))


def text(timeline: Timeline) -> str:
    """Return the timeline as text: one line per rank, ``label start-end`` by start."""
    lines = []
    for rank in range(timeline.mesh.ranks):
        spans = sorted(timeline.spans(rank), key=lambda span: (span.start, span.op.index))
        cells = (f"{s.op.label} {s.start:g}-{s.end:g}" for s in spans)
        lines.append(f"{rank}: " + ", ".join(cells))
    return "\n".join(lines)
