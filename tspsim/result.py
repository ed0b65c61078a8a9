"""What a run gives back: the timeline, the memory, their summary, and where they came from."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from tspsim import __version__
from tspsim.analysis.summary import Summary
from tspsim.engine.timeline import Span, Timeline
from tspsim.files.between import within
from tspsim.files.frames import frame
from tspsim.files.notebook import pairs
from tspsim.memory import MemoryTrace
from tspsim.scenario.types import Scenario

if TYPE_CHECKING:
    import pandas as pd

#: Packages whose version may change a simulated number or a written file.
PACKAGES = ("matplotlib", "networkx", "numpy", "pint", "pydantic", "ruamel.yaml", "simpy")


#: Columns of `Result.frame`.
COLUMNS = ("rank", "lane", "op", "name", "kind", "phase", "layer", "micro_batch", "start", "end")


@dataclass(frozen=True, slots=True)
class Provenance:
    """With what, and from what, a result was made.

    Parameters
    ----------
    tspsim, python : str
        Versions.
    packages : tuple of (str, str)
        Name and version of the packages that could change a number.
    document : str
        SHA-256 of the resolved scenario in canonical JSON: equal scenarios have equal hashes.
    wall_seconds : tuple of (str, float)
        Seconds of wall time by phase: ``record``, ``simulate``, ``memory``.
    """

    tspsim: str
    python: str
    packages: tuple[tuple[str, str], ...]
    document: str
    wall_seconds: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return asdict(self) | {
            "packages": dict(self.packages),
            "wall_seconds": dict(self.wall_seconds),
        }


def provenance(scenario: Scenario, wall_seconds: dict[str, float]) -> Provenance:
    """Return the provenance of a run of `scenario` in this process."""
    text = json.dumps(scenario.document, sort_keys=True, separators=(",", ":"))
    return Provenance(
        tspsim=__version__,
        python=platform.python_version(),
        packages=_versions(),
        document=hashlib.sha256(text.encode()).hexdigest(),
        wall_seconds=tuple(wall_seconds.items()),
    )


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    """Return the packages' versions; looking them up takes longer than a small run."""
    return tuple((name, importlib.metadata.version(name)) for name in PACKAGES)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Result:
    """One simulated step of one scenario: all that files and pictures are made from.

    What `tspsim.run` returns can save and draw itself, too: see `tspsim.Run`.

    Parameters
    ----------
    scenario : Scenario
    timeline : Timeline
        Start and end of every task.
    memory : MemoryTrace
        What is alive on every rank over time.
    summary : Summary
        The figures of the table and of ``--json``, in SI units.
    provenance : Provenance
    """

    scenario: Scenario
    timeline: Timeline
    memory: MemoryTrace
    summary: Summary
    provenance: Provenance

    @property
    def fits(self) -> bool:
        """Whether the peak of every rank fits into its device's memory."""
        return bool(self.summary.to_dict()["memory"]["fits"])

    if not TYPE_CHECKING:  # a type checker says it itself

        def __getattr__(self, name: str) -> NoReturn:
            """Say where a figure is that was looked for here."""
            near = f": see .summary.{name}" if name in Summary.__dataclass_fields__ else ""
            raise AttributeError(f"a result has no '{name}'{near}", name=name, obj=self)

    def frame(self) -> pd.DataFrame:
        """Return the tasks as a table, one row per task of every rank that is shown.

        Columns are `rank`, `lane` (``compute``, or that of a communicator), `op` (its number in the
        program), `name`, `kind`, `phase`, `layer` and `micro_batch` (none outside of them), `start`
        and `end` in seconds.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        rows = (_row(span) for rank in self.timeline.shown for span in self.timeline.spans(rank))
        return frame(rows, COLUMNS).astype({"layer": "Int64"})

    def __repr__(self) -> str:
        lines = (f"  {name:<12} {value}" for name, value in headline(self))
        return "\n".join([f"<tspsim.Result {self.scenario.name!r}", *lines]) + ">"

    def _repr_html_(self) -> str:
        return pairs(f"tspsim: {self.scenario.name}", headline(self))


def headline(result: Result) -> list[tuple[str, str]]:
    """Return the few figures that say most about a run, as name and text."""
    figures = result.summary.to_dict()
    memory, time = figures["memory"], figures["time"]
    axes = " x ".join(f"{axis} {degree}" for axis, degree in figures["strategy"]["axes"].items())
    verdict = "fits" if memory["fits"] else "DOES NOT FIT"
    sure = within(figures["interval"], (1e-3, "ms"))
    return [
        ("strategy", f"{figures['strategy']['kind']} ({axes}), {figures['ranks']} ranks"),
        *_served(figures),
        ("step time", f"{figures['step_time'] * 1e3:,.3f} ms ({sure})"),
        ("compute", f"{time['compute'] * 1e3:,.3f} ms of the slowest rank"),
        ("exposed", f"{time['exposed_communication'] * 1e3:,.3f} ms of communication"),
        *_bubble(figures),
        ("tokens/s", f"{figures['tokens_per_second']:,.0f}"),
        ("MFU", "unknown" if figures["mfu"] is None else _share(figures["mfu"])),
        ("peak memory", f"{_gib(memory['peak'])} of {_gib(memory['capacity'])}: {verdict}"),
    ]


def _share(value: float) -> str:
    return f"{value * 100:.1f} %"  # as the tables of the commands have it


def _bubble(figures: dict[str, Any]) -> list[tuple[str, str]]:
    if "pipeline" not in figures:
        return []
    found = figures["pipeline"]["bubble"]
    return [("bubble", f"{found['mean'] * 1e3:,.3f} ms of a rank: {_share(found['share'])}")]


def _served(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what a user of a model sees, in inference."""
    found = figures.get("inference")
    if found is None:
        return []
    times = {"first token": "time_to_first_token", "a token": "time_per_token"}
    rows = [
        (name, f"{found[key] * 1e3:,.3f} ms")
        for name, key in times.items()
        if found[key] is not None
    ]
    return [*rows, ("cache", f"{_gib(found['cache']['bytes'])} of a rank")]


def _row(span: Span) -> tuple[Any, ...]:
    op = span.op
    what = (span.rank, span.lane, op.index, op.name, op.kind.name, op.phase)
    return *what, op.layer, op.micro_batch, span.start, span.end


def _gib(size: float) -> str:
    return f"{size / 2**30:,.2f} GiB"
