"""The published curves of collectives over size, beside what a shipped profile says about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean

from tspsim.calibrate.published.rows import Call, calls
from tspsim.collectives.curve import Point, curve
from tspsim.files.shipped import shipped
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.reducing import adding_up

#: The sizes over which a curve is judged: those that training sends.
FIRST, LAST = 2**20, 2**33


@dataclass(frozen=True, slots=True)
class Curve:
    """One collective, measured over its size.

    Parameters
    ----------
    title : str
    kind : CollectiveKind
    profile : str
    topology : str
        A shipped topology, or a file in ``published/setups``.
    source, device : str
        Whose rows, as in ``published/collectives.csv``.
    ranks : int
    labels : tuple of str
        The library's algorithms, as the rows say.
    in_switch : bool
        The switches add up, whatever the file says: the library was free to use that.
    missed : str
        Why the error is above 10 %, where it is.
    """

    title: str
    kind: CollectiveKind
    profile: str
    topology: str
    source: str
    device: str
    ranks: int = 8
    labels: tuple[str, ...] = ("",)
    in_switch: bool = False
    missed: str = ""

    def place(self) -> Topology:
        """Return the topology with the profile."""
        setup = shipped("published") / "setups" / f"{self.topology}.yaml"
        name = setup if setup.is_file() else self.topology
        return adding_up(load_file(name, parse_profile(self.profile)), self.in_switch)

    def rows(self) -> tuple[Call, ...]:
        """Return what was measured, by size."""
        wanted = (self.source, self.device, self.kind, self.ranks)
        found = (
            call
            for call in _all_calls()
            if (call.source, call.device, call.kind, call.ranks) == wanted
            and call.algorithm in self.labels
        )
        return tuple(sorted(found, key=lambda call: call.bytes))

    def predicted(self, sizes: Sequence[float]) -> tuple[Point, ...]:
        """Return what the profile says about some sizes."""
        return curve(self.kind, sizes, tuple(range(self.ranks)), self.place())

    def deviations(self) -> tuple[float, ...]:
        """Return predicted / measured time - 1 of every row from 1 MiB to 8 GiB."""
        rows = [row for row in self.rows() if FIRST <= row.bytes <= LAST]
        points = self.predicted([row.bytes for row in rows])
        return tuple(p.time / row.seconds - 1 for p, row in zip(points, rows, strict=True))


@cache
def _all_calls() -> tuple[Call, ...]:
    return calls(shipped("published"))


_KINDS: tuple[CollectiveKind, ...] = (
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all",
)  # fmt: skip

CURVES = (
    Curve(
        "RCCL all-reduce, 8 MI300X", "all_reduce", "mi300x-published", "mi300x-node",
        "amd-rccl", "mi300x",
    ),
    Curve(
        "RCCL all-reduce, 8 MI300X, as a graph", "all_reduce", "mi300x-published", "mi300x-node",
        "amd-rccl-graph", "mi300x",
    ),
    *(
        Curve(
            f"NCCL {kind.replace('_', '-')}, 8 H100", kind, "h100-published", "h100-node",
            "aiconfigurator-core", "h100-sxm", in_switch=True,
        )
        for kind in _KINDS
    ),
    Curve(
        "NCCL all-reduce, 8 A100", "all_reduce", "a100-published", "a100-node",
        "aiconfigurator-core", "a100-sxm-80gb",
    ),
    Curve(
        "NCCL all-reduce, 8 B200", "all_reduce", "b200-published", "b200-node",
        "aiconfigurator-core", "b200-sxm", in_switch=True,
    ),
    Curve(
        "PyTorch all-reduce, 8 H200", "all_reduce", "h200-published", "h200-node",
        "ml-engineering-figure", "h200-sxm", labels=("NVLS", "no NVLS"), in_switch=True,
        missed="its calls take 38 us at least; below 64 MiB NCCL's own rows of H200 are fitted",
    ),
    Curve(
        "NCCL all-gather, 8 B200", "all_gather", "b200-published", "b200-node",
        "dgx-b200-report", "b200-sxm",
    ),
    Curve(
        "NCCL send and receive, 8 B200", "shift", "b200-published", "b200-node",
        "dgx-b200-report", "b200-sxm",
    ),
    Curve(
        "NCCL all-reduce, 2 nodes of 8 A100", "all_reduce", "a100-published", "a100-2-nodes",
        "oci-oke", "a100-sxm-40gb", 16, ("2 nodes",),
    ),
    Curve(
        "NCCL all-reduce, 2 nodes of 8 B200", "all_reduce", "b200-published", "b200-2-nodes",
        "dgx-b200-report", "b200-sxm", 16, ("2 nodes",),
    ),
    Curve(
        "NCCL reduce-scatter, 2 nodes of 8 B200", "reduce_scatter", "b200-published",
        "b200-2-nodes", "dgx-b200-report", "b200-sxm", 16, ("2 nodes",),
    ),
    Curve(
        "NCCL all-reduce, 8 H100 of GKE", "all_reduce", "h100-published", "h100-node",
        "gke", "h100-sxm", labels=("no NVLS",),
        missed="another installation: fewer channels are configured there, and nothing is fitted",
    ),
)  # fmt: skip


def matching(kind: CollectiveKind, ranks: int, topology: Topology) -> tuple[Curve, ...]:
    """Return the curves of a collective that were measured on such devices and links."""
    alike = (c for c in CURVES if (c.kind, c.ranks) == (kind, ranks))
    return tuple(
        found
        for found in alike
        for place in (found.place(),)
        if (place.devices, place.links) == (topology.devices, topology.links)
    )


def table() -> str:
    """Return the curves with their errors as text."""
    lines = [f"{'':40} {'rows':>4} {'mean error':>11} {'largest':>8}  algorithms by size"]
    for found in CURVES:
        apart = [abs(d) for d in found.deviations()]
        figures = f"{len(apart):>4} {mean(apart):>11.1%} {max(apart):>8.1%}"
        lines.append(f"{found.title:40} {figures}  {', '.join(switches(found))}")
    return "\n".join(lines) + "\n"


def switches(found: Curve) -> list[str]:
    """Return the algorithms of a curve in the order of the sizes from 1 MiB to 8 GiB."""
    sizes = [float(2**k) for k in range(20, 34)]
    return list(dict.fromkeys(point.algorithm for point in found.predicted(sizes)))
