"""A table as plain text, as the command prints it into a file."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from tspsim.files.characters import printable

#: All tables stay within so many columns.
WIDTH = 80


def plain(renderable: RenderableType) -> str:
    """Return what a command would print of something, without colours; no line ends in blanks."""
    # No markup: a name with brackets is a name.
    console = Console(
        file=io.StringIO(), width=WIDTH, highlight=False, markup=False, emoji=False,
        color_system=None, force_terminal=False, force_jupyter=False,
    )  # fmt: skip
    with console.capture() as capture:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in printable(capture.get()).splitlines())
