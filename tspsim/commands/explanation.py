"""``tspsim.explain``: why a step takes as long as it does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from rich.console import RenderableType

from tspsim.commands.shown import Source
from tspsim.explain.explanation import Explanation
from tspsim.explain.explanation import explain as explained
from tspsim.files.arguments import checked
from tspsim.files.frames import frame
from tspsim.output.shown import Shown
from tspsim.reports import explanation
from tspsim.result import Result
from tspsim.runner import result_of

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a frame of the critical path.
COLUMNS = (
    "start", "end", "limit", "rank", "op", "name", "kind", "phase", "layer", "micro_batch", "edge",
    "link",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explained(Shown, Explanation):
    """An explanation that prints itself."""

    def frame(self) -> pd.DataFrame:
        """Return the critical path as a table, one row per stretch, in order of time.

        Columns are `start` and `end` in seconds, what limits the stretch (`limit`: ``compute``,
        ``memory``, ``transfer``...), the task (`rank`, `op`, `name`, `kind`, `phase`, `layer`,
        `micro_batch`), what ties it to the stretch before (`edge`), and the number of the `link`
        that is full first, of communication.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        rows = (
            (p.start, p.end, p.limit, p.rank, p.op.index, p.op.name, p.op.kind.name, p.op.phase,
             p.op.layer, p.op.micro_batch, p.edge, p.link)
            for p in self.path.pieces
        )  # fmt: skip
        return frame(rows, COLUMNS).astype({"layer": "Int64", "link": "Int64"})

    def _table(self) -> RenderableType:
        return explanation.render(self)


@checked
def explain(source: Source | Result, *overrides: str, what_if: bool = True) -> Explained:
    """Say why a step takes as long as it does, what fills the memory, and what would change that.

    Parameters
    ----------
    source : str, Path, Mapping, Scenario or Run
        As for `tspsim.run`; a folder that ``run -o`` wrote; or what `tspsim.run` returned.
    *overrides : str
        Changes such as ``"strategy.degree=4"``.
    what_if : bool
        Also simulate what other hardware and other settings would give.
    """
    found = explained(result_of(source, overrides), what_if=what_if)
    return Explained(*(getattr(found, field.name) for field in fields(found)))
