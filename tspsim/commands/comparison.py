"""``tspsim.compare``: candidates side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from tspsim.commands.shown import Source, named
from tspsim.files.arguments import checked
from tspsim.files.frames import frame
from tspsim.output.shown import Shown
from tspsim.reports import comparison
from tspsim.result import Result
from tspsim.sweeps import columns, study
from tspsim.sweeps.candidates import Candidate, candidates, winner

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(Shown):
    """Candidates side by side.

    Parameters
    ----------
    candidates : tuple of Candidate
        In the order asked for; each has a ``result``, or the ``reason`` why there is none.
    """

    candidates: tuple[Candidate, ...]

    @property
    def winner(self) -> Candidate | None:
        """The fastest that fits; None where nothing does."""
        return winner(self.candidates)

    @property
    def why(self) -> str:
        """Why it wins, in a sentence."""
        return comparison.why(self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``, less the differences of two."""
        return comparison.to_dict(self.candidates)

    def frame(self) -> pd.DataFrame:
        """Return the figures as a table, a row per candidate.

        The columns are those of `tspsim.Sweep.frame`, in SI units, behind `candidate`; `reason`
        says why there are none.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        rows = [_row(each) for each in self.candidates]
        present = {name for row in rows for name in row}
        names = [name for name in columns.order(["candidate"], present) if name in present]
        return frame(([row.get(name) for name in names] for row in rows), names)

    def _table(self) -> RenderableType:
        return comparison.render(self.candidates)

    def _repr_html_(self) -> str:
        from tspsim.output.svg import Parts, stacked  # what shows no picture needs no matplotlib

        parts = [Parts(each.name, each.figures["time"]) for each in self._drawn]
        return Shown._repr_html_(self) + stacked(parts)

    @property
    def _drawn(self) -> list[Candidate]:
        """Those whose step is all that there is to them: of inference the table says more."""
        ran = [each for each in self.candidates if each.result is not None]
        return [] if any("inference" in each.figures for each in ran) else ran


@checked
def compare(*sources: Source | Result) -> Comparison:
    """Run candidates and say which is the fastest that fits, and why.

    Parameters
    ----------
    *sources : str, Path, Mapping, Scenario or Run
        Scenarios, folders of results, results, and what varies: ``"strategy=tsp,tp,sp,tp_sp"``.

    Raises
    ------
    UserError
        When there are fewer than two candidates, or too many.
    """
    asked, axes = study.apart(sources)
    return Comparison(tuple(candidates([named(each) for each in asked], axes)))


def _row(candidate: Candidate) -> dict[str, Any]:
    told = {"candidate": candidate.name, "reason": candidate.reason or None}
    return told if candidate.result is None else told | columns.figures(candidate.figures)
