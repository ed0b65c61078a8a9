"""What the compute stream of a rank spends its time on: the ideal, and what each kernel adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from math import fsum
from typing import Literal, NamedTuple

from tspsim.engine.tasks import Durations
from tspsim.engine.timeline import Timeline
from tspsim.explain.reading import traffic, weight_names
from tspsim.program.by_expert import ROUTING
from tspsim.program.by_rank import work_of
from tspsim.program.types import Op, Work
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Device, Roofline

#: What of an op's time is rounding, as a share of the moment at which it ends.
_DUST = 1e-12

#: Classes of kernels that multiply, by the curve of their work.
MULTIPLY = {
    "matmul": "matrix products",
    "grouped": "products of experts",
    "attention": "attention",
    "attention_backward": "attention",
    "cached_attention": "attention",
}
ROWS, OPTIMIZER, POINTWISE = "rows to and from experts", "optimizer", "norms, element-wise"
OFFLOAD = "copies to and from the host"


#: What is added up of kernels, in seconds unless it says otherwise. ``again``: all that
#: recomputation takes. Of the rest, ``busy``: all that kernels take, without ``launch``: what takes
#: as long whatever their work is, and ``slowed``: longer than they take alone, because of
#: communication on the device, or by chance. ``useful``: their products at the peak rate of what
#: is multiplied, but not ``scores``, those that attention's backward computes again; ``flops``: how
#: many products are useful; ``read``: in inference, the weights and the cache that they read, at
#: the full memory bandwidth.
Amount = Literal["again", "busy", "launch", "slowed", "useful", "scores", "flops", "read"]


def class_of(op: Op, work: Work) -> str:
    """Return what a kernel is called in a sum: by what it multiplies, or what it is for."""
    if work.flops:
        return MULTIPLY[work.curve]
    if op.kind.name in ROUTING:
        return ROWS
    if work.curve in ("host_link", "host_memory"):
        return OFFLOAD
    return OPTIMIZER if op.phase == "optimizer" else POINTWISE


class Kernels:
    """Adds up the kernels of ranks.

    Parameters
    ----------
    timeline : Timeline
    topology : Topology
    dtype : str
        Of the workload.
    infers : bool
        Look at what is read, too.
    """

    def __init__(self, timeline: Timeline, topology: Topology, dtype: str, *, infers: bool) -> None:
        self._timeline, self._topology, self._dtype = timeline, topology, dtype
        self._start, self._end = timeline.start, timeline.end
        self._infers = infers
        self._durations = Durations(timeline.programs, timeline.mesh, topology, dtype)

    def of(self, rank: int) -> dict[tuple[Amount, str], float]:
        """Return what there is of kernels on a rank, by amount and class."""
        found: dict[tuple[Amount, str], list[float]] = defaultdict(list)
        starts, ends = (times[rank].tolist() for times in (self._start, self._end))
        alone, reads = self._durations.of(rank), self._reads(rank)
        peaks = _Peaks(self._topology, rank, self._dtype)
        for op, work in self._works(rank):
            start, end = starts[op.index], ends[op.index]
            if op.phase == "recompute":
                found["again", ""].append(end - start)
                continue
            slowed = end - start - alone[op.index]
            slowed = slowed if abs(slowed) > _DUST * end else 0.0
            name, (launch, products) = class_of(op, work), peaks.of(work)
            found["slowed", ""].append(slowed)
            found["launch", ""].append(launch)
            found["busy", name].append(end - start - launch - slowed)
            found["read", name].append(reads(op))
            for amount, value in products.items():
                found[amount, name].append(value)
        return {key: fsum(values) for key, values in found.items()}

    def _works(self, rank: int) -> Iterator[tuple[Op, Work]]:
        """Yield what is computed, with its work on a rank."""
        mesh = self._timeline.mesh
        for op in self._timeline.programs.of(rank).ops:
            if not op.lane:
                work = work_of(op, mesh, rank)
                if work is not None:
                    yield op, work

    def _reads(self, rank: int) -> Callable[[Op], float]:
        """Return what tells how long weights and cache of an op take at the full bandwidth."""
        if not self._infers:
            return lambda _: 0.0
        timeline, device = self._timeline, self._topology.devices[rank]
        names = weight_names(timeline, rank)

        def read(op: Op) -> float:
            parts = traffic(op, timeline.mesh, rank, names)
            amount = fsum(size for kind, _, size in parts if kind != "activations")
            return amount / device.memory_bandwidth

        return read


class Known(NamedTuple):
    """What is known of a piece of work before it is played.

    Attributes
    ----------
    launch : float
        Seconds of a kernel that do not depend on how much it does.
    products : Mapping of Amount to float
        Of what it multiplies.
    """

    launch: float
    products: Mapping[Amount, float]


class _Peaks:
    """What the device of a rank can do; layers repeat each other, so few works are different."""

    def __init__(self, topology: Topology, rank: int, dtype: str) -> None:
        self._device: Device = topology.devices[rank]
        self._roofline = Roofline(self._device, topology.profile, dtype)
        self._dtype = dtype
        self._known: dict[int, Known] = {}  # by identity: programs share equal works

    def of(self, work: Work) -> Known:
        """Return what is known of a piece of work."""
        if id(work) not in self._known:
            launch = self._roofline.launching(work) if work.flops or work.bytes else 0.0
            self._known[id(work)] = Known(launch, self._products(work))
        return self._known[id(work)]

    def _products(self, work: Work) -> dict[Amount, float]:
        """Return what a kernel multiplies: seconds at the peak rate, and flops."""
        if not work.flops:
            return {}
        again = _scored_again(work)
        whole = work.flops / self._device.peak(work.dtype or self._dtype)
        useful = (1 - again) * whole
        return {"useful": useful, "scores": whole - useful, "flops": (1 - again) * work.flops}


def _scored_again(work: Work) -> float:
    """Return the share of attention's backward that are scores, which forward has computed.

    A flash kernel keeps no scores: it multiplies queries and keys a second time. Of its five
    products three are as wide as keys, two as wide as values.
    """
    if work.curve != "attention_backward":
        return 0.0
    keys, values = work.shape[5], work.shape[7]
    return keys / (3 * keys + 2 * values)
