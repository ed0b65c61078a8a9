"""Small results for the outputs: one made by hand, whose times never change, and real runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from tspsim.engine.timeline import Timeline, Transfer
from tspsim.memory import MemoryTrace, RankMemory
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.types import (
    BUFFER_KINDS,
    Buffer,
    Lane,
    Message,
    Op,
    Operand,
    Program,
    Programs,
    Work,
)
from tspsim.result import Result
from tspsim.runner import run
from tspsim.topology.disturbances import Disturbances
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Device, Profile

MS = 1e-3
#: Flop/s that the made-up compute ops reach.
RATES = {"matmul": 9e14, "attention": 5e14, "norm": 0.0}
LANES = (Lane("compute"), Lane("tsp/weights", "tsp"), Lane("tsp/kv", "tsp"))


@dataclass(frozen=True)
class Named:
    """A kind that has only its name and text."""

    name: str

    def text(self) -> str:
        """Return the name."""
        return self.name


class Draft:
    """Collects ops of one rank with their durations, and plays them on one clock."""

    def __init__(self, degree: int) -> None:
        self.degree = degree
        self.ops: list[Op] = []
        self.waits: list[tuple[int, ...]] = []
        self.times: list[tuple[float, float]] = []
        self.free = [0.0] * len(LANES)

    def add(
        self, kind: str, label: str, phase: str, layer: int | None, seconds: float,
        waits: tuple[int, ...] = (), lane: int = 0, message: Message | None = None,
    ) -> int:  # fmt: skip
        """Append an op and return its index."""
        work = None if message else Work(int(seconds * RATES[kind]), int(seconds * 2e12), "matmul")
        index = len(self.ops)
        slot = (Operand(self.buffer(), 0, (1,)),)
        self.ops.append(
            Op(index, Named(kind), label, phase, layer, 0, lane, slot, slot, work, message)  # type: ignore[arg-type]
        )
        self.waits.append(waits)
        start = max([self.free[lane], *(self.times[w][1] for w in waits)])
        self.free[lane] = start + seconds
        self.times.append((start, start + seconds))
        return index

    @staticmethod
    def buffer() -> Buffer:
        """Return a buffer that stands for any."""
        return Buffer(0, "x", (1,), 2, "activation", 0, False)

    def layer(self, layer: int, phase: str) -> None:
        """Append one layer: broadcasts and gathers in attention, ring hops in the MLP."""
        last = len(self.ops) - 1
        anchor = (last,) if last >= 0 else ()
        norm = self.add("norm", "attention.norm", phase, layer, 0.05 * MS)
        done: list[int] = []
        for r in range(self.degree):
            slot = (done[r - 2],) if r > 1 else anchor
            said = Message("broadcast", 64 << 20, root=r)
            weights = self.add(
                "broadcast", "attention.weights", phase, layer, 0.5 * MS, slot, 1, said
            )
            qkv = self.add("matmul", "attention.qkv", phase, layer, 0.2 * MS, (norm, weights))
            said = Message("all_gather", 32 << 20)
            gather = self.add("all_gather", "attention.kv", phase, layer, 0.2 * MS, (qkv,), 2, said)
            core = self.add("attention", "attention.core", phase, layer, 0.6 * MS, (gather,))
            done.append(self.add("matmul", "attention.out", phase, layer, 0.1 * MS, (core,)))
        hop = done[-1]
        for step in range(self.degree):
            wait = (hop, done[-1])
            if step + 1 < self.degree:
                said = Message("shift", 128 << 20, offset=1)
                slot = (done[-2], *((hop,) if step else ()))
                hop = self.add("shift", "mlp.weights", phase, layer, 0.7 * MS, slot, 1, said)
            for label in ("mlp.gate", "mlp.up", "mlp.down"):
                op = self.add("matmul", label, phase, layer, 0.25 * MS, wait)
            done.append(op)


def timeline(degree: int, layers: int, phases: tuple[str, ...] = ("forward",)) -> Timeline:
    """Return the timeline of `layers` layers of a TSP-like schedule on `degree` ranks."""
    draft = Draft(degree)
    for phase in phases:
        order = range(layers) if phase == "forward" else reversed(range(layers))
        for layer in order:
            draft.layer(layer, phase)
    buffers = (draft.buffer(),)
    program = Program(tuple(draft.ops), buffers, LANES, tuple(draft.waits))
    programs = Programs((program,), (0,) * degree)
    start, end = (np.array(times) for times in zip(*draft.times, strict=True))
    transfers = [t for op in draft.ops for t in _transfers(op, draft.times[op.index], degree)]
    transfers.sort(key=lambda t: t.start)
    mesh = Mesh((("tsp", degree),))
    return Timeline(programs, mesh, (start,) * degree, (end,) * degree, tuple(transfers))


def _transfers(op: Op, times: tuple[float, float], degree: int) -> list[Transfer]:
    if not op.message:
        return []
    kind, size = op.message.collective, op.message.bytes
    start, end = times[0] + 0.01 * MS, times[1]
    links = {(a, b): i for i, (a, b) in enumerate(_pairs(degree))}
    if kind == "shift":
        hops = [(r, (r + op.message.offset) % degree) for r in range(degree)]
        return [
            Transfer(op.index, h, kind, size, "direct", ((links[h], 1.0),), start, end)
            for h in hops
        ]
    loads = tuple((i, 1 / degree) for i in range(len(links)))
    return [Transfer(op.index, tuple(range(degree)), kind, size, "direct", loads, start, end)]


def _pairs(degree: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(degree) for b in range(degree) if a != b]


def topology(degree: int, memory: float = 192 * 2**30) -> Topology:
    """Return a fully connected node."""
    device = Device("mi300x", (("bf16", 1.307e15),), 5.3e12, memory, reserved=2 * 2**30)
    links = tuple(Link(i, f"d{a}", f"d{b}", 256e9, 1e-6) for i, (a, b) in enumerate(_pairs(degree)))
    return Topology("mi300x-node", (device,) * degree, links, Profile("datasheet"), "full")


def memory(line: Timeline, base: float = 20.0) -> MemoryTrace:
    """Return a rising and falling memory trace, one change per compute op."""
    times = np.unique(np.concatenate([[0.0], line.start[0][::3]]))
    shape = np.sin(np.linspace(0, np.pi, len(times)))
    gib = np.zeros((len(BUFFER_KINDS), len(times)))
    gib[0], gib[1], gib[2] = base / 4, base / 8, base / 2
    gib[3], gib[4] = base * shape, 2 + np.arange(len(times)) % 2
    rank = RankMemory(times, (gib * 2**30).astype(np.int64))
    return MemoryTrace((rank,) * line.mesh.ranks)


def result(degree: int = 4, layers: int = 2, phases: tuple[str, ...] = ("forward",)) -> Any:
    """Return a stand-in for a `Result`."""
    line = timeline(degree, layers, phases)
    trace = memory(line)
    model = ModelShape(4096, layers, 32, 8, 16384)
    document = {"name": "small-tsp", "model": {"layers": layers}}
    scenario = SimpleNamespace(
        name="small-tsp", path=None, model=model, model_name="",
        workload=Workload(131072), optimizer=Optimizer(),
        strategy=SimpleNamespace(kind="tsp"), topology=topology(degree), algorithm="auto",
        document=document, disturbances=Disturbances(),
    )  # fmt: skip
    figures = summary(line, trace)
    return SimpleNamespace(
        scenario=scenario, timeline=line, memory=trace,
        summary=SimpleNamespace(to_dict=lambda: figures),
        provenance=SimpleNamespace(to_dict=lambda: {"tspsim": "0.1.0"}),
    )  # fmt: skip


def summary(line: Timeline, trace: MemoryTrace) -> dict[str, Any]:
    """Return figures with the fixed keys of ``--json``."""
    step, rank = line.step_time, trace.ranks[0]
    at = int(rank.total.argmax())
    kinds = {k: int(v) for k, v in zip(BUFFER_KINDS, rank.by_kind[:, at], strict=True)}
    by_op = {"broadcast": 7.5e9, "all_gather": 3.7e9, "shift": 12e9}
    return {
        "scenario": "small-tsp", "strategy": {"kind": "tsp", "axes": {"tsp": line.mesh.ranks}},
        "ranks": line.mesh.ranks, "step_time": step, "interval": None,
        "tokens_per_second": 131072 / step,
        "tokens_per_second_per_device": 131072 / step / line.mesh.ranks, "mfu": 0.431, "hfu": 0.52,
        "time": {
            "compute": 0.8 * step, "exposed_communication": 0.15 * step, "idle": 0.05 * step,
        },
        "communication": {"received_bytes_per_rank": sum(by_op.values()), "by_op": by_op,
                          "algorithms": {op: ["direct"] for op in by_op}, "as_stated": []},
        "memory": {
            "capacity": 192 * 2**30, "peak": rank.peak, "peak_rank": 0,
            "peak_time": rank.peak_time, "at_peak": kinds, "fits": True,
        },
        "flops_per_rank": 1, "engine": {"tasks": line.tasks, "wall_seconds": 0.1, "folded": {}},
        "profile": {"name": "datasheet", "error": None},
    }  # fmt: skip


@cache
def real(kind: str = "tsp", causal: str = "zigzag") -> Result:
    """Return the run of a tiny model on four devices in a ring: fast, with every kind of task."""
    degrees = {"tp": 2, "sp": 2} if kind == "tp_sp" else {"degree": 4}
    return run(
        {
            "name": f"tiny-{kind}",
            "model": {
                "hidden": 256, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 512, "vocab": 512,
            },
            "workload": {"sequence": 1024, "causal": causal, "recompute": "full"},
            "topology": {
                "kind": "ring", "ranks": 4, "device": "mi300x",
                "link": {"bandwidth": "50 GB/s", "latency": "500 ns"},
            },
            "strategy": {"kind": kind, **degrees},
            "kernels": "ideal",
            "timing": {"profile": "datasheet"},
        }
    )  # fmt: skip
