"""Which rows go into which part of which profile: the choices, all in one place."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def label(self) -> str:
        """Its name among the parts of a profile that were fitted."""
        return f"{self.kind}, {self.algorithm}" if self.setup or self.by else self.kind


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
    shown : tuple of CallRecipe
        What the algorithms cannot do (reduction in the switch): only drawn.
    tables : str
        File of its kernel tables; empty: none were measured.
    backward : str
        The device whose attention's backward was published.
    """

    device: str
    topology: str
    title: str
    curves: tuple[CurveRecipe, ...]
    fitted: tuple[CallRecipe, ...]
    checked: tuple[CallRecipe, ...] = ()
    shown: tuple[CallRecipe, ...] = ()
    tables: str = ""
    backward: str = ""

    @property
    def name(self) -> str:
        """Of the profile and its file: ``mi300x-published``."""
        return f"{self.device.split('-')[0]}-published"


_NO_ROWS = "no rows of its own; assumed alike"
_SAME_DIE = "the compute die is the same, and so is the stated peak"

#: Smaller messages between nodes all take about as long as each other.
_ACROSS = 2**17

#: H100 and H200 nodes have the same links and switches. At 64 KiB the figure cannot be read.
_SMALL_ON_NVLINK4 = CallRecipe(
    "ml-engineering-figure", "all_reduce", "no NVLS", smallest=2**18, device="h200-sxm"
)

#: The source says that the library reduces in the switch from 2 MiB on.
_IN_SWITCH_ON_NVLINK4 = CallRecipe(
    "ml-engineering-figure", "all_reduce", "NVLS", only=True, device="h200-sxm", by="in_switch",
    first=2**21,
)  # fmt: skip

_ELEMENTWISE = CurveRecipe("elementwise", "h100-sxm", reason=_NO_ROWS)

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
        (CallRecipe("amd-rccl", "all_reduce", smallest=1024),),
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
            CallRecipe("nvidia-gtc24", "all_reduce", "ring"),
            CallRecipe("li-plus", "shift", only=True),
            CallRecipe(
                "oci-oke",
                "all_reduce",
                "2 nodes",
                _ACROSS,
                only=True,
                device="a100-sxm-40gb",
                setup="a100-2-nodes",
            ),
        ),
        tables="a100-sxm-80gb",
        backward="a100-sxm-80gb",
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
            CallRecipe("nvidia-gtc24", "all_reduce", "ring"),
            _SMALL_ON_NVLINK4,
            _IN_SWITCH_ON_NVLINK4,
        ),
        (CallRecipe("gke", "all_reduce", "no NVLS"),),
        tables="h100-sxm",
        backward="h100-sxm",
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
            CallRecipe("ml-engineering", "all_reduce", "ring"),
            _SMALL_ON_NVLINK4,
            _IN_SWITCH_ON_NVLINK4,
        ),
        (
            CallRecipe("ml-engineering", "all_gather"),
            CallRecipe("ml-engineering", "reduce_scatter"),
        ),
        (CallRecipe("ml-engineering-figure", "all_reduce", "NVLS"),),
        tables="h200-sxm",
        backward="h100-sxm",
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
            # Smaller ones all take as long as each other.
            CallRecipe("dgx-b200-report", "all_gather", smallest=65536),
            CallRecipe("dgx-b200-report", "shift", smallest=1024, only=True),
            CallRecipe(
                "dgx-b200-report",
                "all_reduce",
                "2 nodes",
                _ACROSS,
                only=True,
                setup="b200-2-nodes",
            ),
            CallRecipe(
                "dgx-b200-report",
                "reduce_scatter",
                "2 nodes",
                _ACROSS,
                only=True,
                setup="b200-2-nodes",
            ),
        ),
        (CallRecipe("ml-engineering", "all_reduce", "ring"),),
        tables="b200-sxm",
        backward="h100-sxm",
    ),
)
