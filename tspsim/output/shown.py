"""Values that print themselves."""

from __future__ import annotations

from rich.console import RenderableType

from tspsim.output.html import html
from tspsim.output.plain import plain


class Shown:
    """Prints itself as the command prints it, and shows the same in a notebook."""

    def _table(self) -> RenderableType:
        raise NotImplementedError

    def __repr__(self) -> str:
        return plain(self._table())

    def _repr_html_(self) -> str:
        return html(self._table())
