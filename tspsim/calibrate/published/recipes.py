"""Which rows go into which part of which profile: the choices, all in one place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tspsim.program.types import CollectiveKind


@dataclass(frozen=True, slots=True)
class CurveRecipe:
    """The rows of one efficiency curve.

    Parameters
    ----------
    curve : str
    device : str
        Whose rows: the profile's own device, or one that stands in for it.
    scaled : bool
        A stand-in's efficiencies times the ratio of the best matmuls of the two devices, which one
        source found for both in the same way.
    reason : str
        Why another device stands in.
    """

    curve: str
    device: str
    scaled: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CallRecipe:
    """The rows of one collective.

    Parameters
    ----------
    source : str
    kind : CollectiveKind
    algorithm : str
    smallest : int
        Rows below this many bytes are left out.
    only : bool
        The protocols fitted to them hold for this kind alone. All others are fitted together.
    device : str
        Whose rows stand in; the profile's own where empty.
    setup : str
        Name of a file in ``published/setups``: the cluster that they were measured on, where it is
        not the recipe's node. The protocols hold for what leaves a node.
    by : str
        The protocols hold for this algorithm of the simulator alone.
    first : int
        From this many bytes on the library takes it before all others, as the source says.
    fewest : int
        For fewer members the library does not take it.
    ranks : tuple of int
        Only rows of so many devices are fitted; every third of their sizes is kept from the fit.
        Empty: all rows are.
    unseen : tuple of int
        Rows of so many devices are kept from the fit.
    per_member : bool
        Its latency grows with the members, as that of a ring does; rows of one number of them show
        the whole.
    also : tuple of CollectiveKind
        Kinds without rows of their own that go alike. A hop has no part of its own to copy.
    reason : str
        Why another device's rows stand in.
    last, most : int
        The largest message and the most members that the library has it for; 0: any.
    """

    source: str
    kind: CollectiveKind
    algorithm: str = ""
    smallest: int = 0
    only: bool = False
    device: str = ""
    setup: str = ""
    by: str = ""
    first: int = 0
    fewest: int = 0
    ranks: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    per_member: bool = False
    also: tuple[CollectiveKind, ...] = ()
    reason: str = ""
    last: int = 0
    most: int = 0

    @property
    def label(self) -> str:
        """Its name among the parts of a profile that were fitted."""
        more = self.algorithm or self.by if self.setup or self.by else ""
        more += f" over {self.most}" if self.most and self.most == self.fewest else ""
        return f"{self.kind}, {more}" if more else self.kind


@dataclass(frozen=True, slots=True)
class Recipe:
    """One profile.

    Parameters
    ----------
    device, topology : str
        Names of shipped files; the topology is the node of these devices.
    title : str
        The device's full name.
    curves : tuple of CurveRecipe
    fitted : tuple of CallRecipe
        What the protocols are fitted to.
    checked : tuple of CallRecipe
        What they are only compared with.
    tables : str
        File of its kernel tables; empty: none were measured.
    backward : str
        The device whose attention's backward was published.
    flash : str
        The device whose flash kernels were compared with each other.
    long : str
        The source of steps that its sustained rate is fitted to; empty: as fast as kernels alone.
    steps : bool
        Whether steps that were published say how far predictions for it are off.
    """

    device: str
    topology: str
    title: str
    curves: tuple[CurveRecipe, ...]
    fitted: tuple[CallRecipe, ...]
    checked: tuple[CallRecipe, ...] = ()
    tables: str = ""
    backward: str = ""
    flash: str = ""
    long: str = ""
    steps: bool = False

    @property
    def name(self) -> str:
        """Of the profile and its file: ``mi300x-published``."""
        return f"{self.device.split('-')[0]}-published"


_NO_ROWS = "no rows of its own; assumed alike"
_SAME_DIE = "the compute die is the same, and so is the stated peak"
_SAME_NICS = "no rows of its own; NICs of the same rate, one per device"
_SAME_LINKS = "no rows of its own; links and switches are the same"

#: Smaller messages between nodes all take about as long as each other.
_ACROSS = 2**17

#: From here on NCCL 2.27.7 was seen to reduce in the switch (ml-engineering-figure).
_IN_SWITCH = 2**21

_ELEMENTWISE = CurveRecipe("elementwise", "h100-sxm", reason=_NO_ROWS)


def _nccl(kind: CollectiveKind, *, only: bool = True, **more: Any) -> CallRecipe:
    """Return a collective in one node: NCCL over 2 and 8 devices, with those over 4 held out."""
    ranks = {"ranks": (2, 8), "unseen": (4,)} | more
    return CallRecipe("aiconfigurator-core", kind, smallest=2**16, only=only, **ranks)


def _in_node(*, hops: bool = False, **more: Any) -> tuple[CallRecipe, ...]:
    """Return what everybody sends at the rate of its port, hops like an all-to-all's messages.

    What no row is of (broadcast, reduce) goes as an all-gather does.
    """
    also: tuple[CollectiveKind, ...] = ("shift",) if hops else ()
    return (
        _nccl("all_gather", only=False, **more),
        _nccl("reduce_scatter", **more),
        _nccl("all_to_all", also=also, **more),
    )


def _reduced_in_the_switch(device: str = "", reason: str = "") -> CallRecipe:
    """Return the all-reduce of eight; the rates over 2 to 4 are those of rings (nccl#1455)."""
    return CallRecipe(
        "aiconfigurator-core", "all_reduce", smallest=_IN_SWITCH, only=True, device=device,
        by="in_switch", first=_IN_SWITCH, fewest=5, ranks=(8,), reason=reason,
    )  # fmt: skip


#: The same on nodes with NVLink 4; in smaller messages PyTorch's calls take most of the time.
_LARGE_IN_SWITCH = CallRecipe(
    "ml-engineering-figure", "all_reduce", "NVLS", 2**26, True, "h200-sxm", by="in_switch",
    first=_IN_SWITCH, fewest=5, ranks=(8,),
)  # fmt: skip


#: Where vLLM's two-shot kernels begin, and where those of vLLM and SGLang end.
_TWO_SHOT, _SERVED = 2**18, 2**23


def _served(*more: int) -> tuple[CallRecipe, ...]:
    """Return the all-reduces of serving libraries: over two devices, and over so many more."""
    pair = {"ranks": (2,), "fewest": 2, "most": 2}
    many = {"ranks": more, "fewest": more[0], "most": more[-1]}
    return (
        _serving("one", first=1, last=_SERVED, **pair),
        _serving("one", first=1, last=_TWO_SHOT, **many),
        _serving("two", first=_TWO_SHOT, last=_SERVED, **many),
    )


def _serving(shots: str, **more: Any) -> CallRecipe:
    source, name, by = "aiconfigurator-core-serving", f"{shots}-shot", f"{shots}_shot"
    return CallRecipe(source, "all_reduce", name, only=True, by=by, **more)


def _between_nodes(device: str = "b200-sxm", reason: str = _SAME_NICS) -> tuple[CallRecipe, ...]:
    """Return what leaves a node that has a NIC of 400 Gbit/s per device."""
    shared: dict[str, Any] = {
        "algorithm": "2 nodes", "smallest": _ACROSS, "only": True, "device": device,
        "setup": "b200-2-nodes", "reason": reason,
    }  # fmt: skip
    return (
        CallRecipe("dgx-b200-report", "all_reduce", by="tree", **shared),
        _rings_between_nodes(device, reason),
    )


def _rings_between_nodes(device: str = "b200-sxm", reason: str = _SAME_NICS) -> CallRecipe:
    return CallRecipe(
        "dgx-b200-report", "reduce_scatter", "2 nodes", _ACROSS, True, device, "b200-2-nodes",
        per_member=True, also=("all_gather",), reason=reason,
    )  # fmt: skip


_B200_HOPS = CallRecipe("dgx-b200-report", "shift", smallest=1024, only=True)

RECIPES = (
    Recipe(
        "mi300x",
        "mi300x-node",
        "AMD Instinct MI300X",
        (
            CurveRecipe("matmul", "mi325x", True, "the compute dies are the same, at more power"),
            CurveRecipe("attention", "mi355x", True, _NO_ROWS),
            CurveRecipe("attention_backward", "mi355x", True, _NO_ROWS),
            _ELEMENTWISE,
        ),
        # Below 1 KiB another algorithm is at work, slower than for larger messages.
        (
            CallRecipe("amd-rccl", "all_reduce", smallest=1024),
            *_between_nodes(reason=f"{_SAME_NICS}; RCCL has NCCL's rings and trees"),
        ),
        (CallRecipe("amd-transferbench", "all_to_all"),),
    ),
    Recipe(
        "a100-sxm-80gb",
        "a100-node",
        "NVIDIA A100 SXM4",
        (
            CurveRecipe("matmul", "a100-sxm-80gb"),
            CurveRecipe("attention", "a100-sxm-80gb"),
            CurveRecipe("attention_backward", "a100-sxm-80gb"),
            _ELEMENTWISE,
        ),
        (
            *_in_node(),
            _nccl("all_reduce"),
            CallRecipe("li-plus", "shift", only=True),
            CallRecipe(
                "oci-oke",
                "all_reduce",
                "2 nodes",
                _ACROSS,
                only=True,
                device="a100-sxm-40gb",
                setup="a100-2-nodes",
                by="tree",
            ),
            _rings_between_nodes(),
            *_served(4, 8),
        ),
        (CallRecipe("nvidia-gtc24", "all_reduce", "ring"),),
        tables="a100-sxm-80gb",
        backward="a100-sxm-80gb",
        steps=True,
    ),
    Recipe(
        "h100-sxm",
        "h100-node",
        "NVIDIA H100 SXM5",
        (
            CurveRecipe("matmul", "h100-sxm"),
            CurveRecipe("attention", "h100-sxm"),
            CurveRecipe("attention_backward", "h100-sxm"),
            CurveRecipe("elementwise", "h100-sxm"),
        ),
        (
            *_in_node(hops=True),
            _nccl("all_reduce", ranks=(2, 4), unseen=()),
            _reduced_in_the_switch(),
            _LARGE_IN_SWITCH,
            *_between_nodes(),
            *_served(4, 8),
        ),
        (
            CallRecipe("nvidia-gtc24", "all_reduce", "ring"),
            CallRecipe("gke", "all_reduce", "no NVLS"),
        ),
        tables="h100-sxm",
        backward="h100-sxm",
        flash="h100-sxm",
        long="llm-foundry-h100",
        steps=True,
    ),
    Recipe(
        "h200-sxm",
        "h200-node",
        "NVIDIA H200 SXM5",
        (
            CurveRecipe("matmul", "h100-sxm", reason=_SAME_DIE),
            CurveRecipe("attention", "h100-sxm", reason=_SAME_DIE),
            CurveRecipe("attention_backward", "h100-sxm", reason=_SAME_DIE),
            _ELEMENTWISE,
        ),
        (
            *_in_node(hops=True),
            _nccl("all_reduce", ranks=(2, 4), unseen=()),
            _reduced_in_the_switch(),
            _LARGE_IN_SWITCH,
            *_between_nodes(),
            *_served(4, 8),
        ),
        (
            CallRecipe("ml-engineering", "all_reduce", "ring"),
            CallRecipe("ml-engineering", "all_gather"),
            CallRecipe("ml-engineering", "reduce_scatter"),
            # At 64 KiB the figure cannot be read.
            CallRecipe("ml-engineering-figure", "all_reduce", "no NVLS", smallest=2**18),
        ),
        tables="h200-sxm",
        backward="h100-sxm",
        flash="h100-sxm",
        long="llm-foundry-h100",
    ),
    Recipe(
        "b200-sxm",
        "b200-node",
        "NVIDIA B200 SXM",
        (
            CurveRecipe("matmul", "b200-sxm"),
            CurveRecipe("attention", "b200-sxm"),
            CurveRecipe("attention_backward", "h100-sxm", reason=_NO_ROWS),
            _ELEMENTWISE,
        ),
        (
            *_in_node(),
            # Another version of NCCL, twice as fast at 16 MiB. Smaller ones all take as long.
            CallRecipe("dgx-b200-report", "all_gather", smallest=2**16, ranks=(8,)),
            _nccl("all_reduce", ranks=(2, 4), unseen=()),
            CallRecipe(
                "ml-engineering", "all_reduce", "ring", only=True, ranks=(8,), unseen=(4, 5, 6, 7)
            ),
            _reduced_in_the_switch(),
            _B200_HOPS,
            *_between_nodes("", ""),
            *_served(4, 8),
        ),
        tables="b200-sxm",
        backward="h100-sxm",
    ),
    Recipe(
        "gb200",
        "gb200-nvl72",
        "NVIDIA GB200",
        (
            CurveRecipe("matmul", "b200-sxm", reason=_NO_ROWS),
            CurveRecipe("attention", "b200-sxm", reason=_NO_ROWS),
            CurveRecipe("attention_backward", "h100-sxm", reason=_NO_ROWS),
            _ELEMENTWISE,
        ),
        (
            *_in_node(ranks=(2, 4), unseen=()),
            _nccl("all_reduce", ranks=(2, 4), unseen=()),
            _reduced_in_the_switch("b200-sxm", _SAME_LINKS),
            replace(_B200_HOPS, device="b200-sxm", reason=_SAME_LINKS),
            *_between_nodes(),
            *_served(4),
        ),
        tables="gb200",
        backward="h100-sxm",
    ),
)
