"""The listing in docs/design.md: every folder of ``tspsim/`` and every module beside them.

``python docs/refresh.py`` writes it, each with the first line of its docstring.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "design.md"
PACKAGE = Path(__file__).parent.parent / "tspsim"
_LISTING = re.compile(r"(<!-- listing -->\n).*?(<!-- end of listing -->)", re.DOTALL)

#: Spaces per level.
_INDENT = 2


def _about(module: Path) -> str:
    """Return the first line of a module's docstring."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def _entries(folder: Path, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield what stands in a folder, as name and text: folders below each other, then modules."""
    for path in sorted(path for path in folder.iterdir() if any(path.glob("*.py"))):
        yield " " * _INDENT * depth + f"{path.name}/", _about(path / "__init__.py")
        yield from _entries(path, depth + 1)
    for path in sorted(folder.glob("*.py")) if depth == 0 else ():
        yield path.name, _about(path)


def listing() -> str:
    """Return the listing as a block of text."""
    entries = list(_entries(PACKAGE))
    width = max(len(name) for name, _ in entries)
    lines = (f"{name:<{width}}  {about}\n" for name, about in entries)
    return f"```text\n{''.join(lines)}```\n"


def renewed(text: str) -> str:
    """Return docs/design.md with the listing as it is now."""
    return _LISTING.sub(lambda match: f"{match[1]}{listing()}{match[2]}", text)
