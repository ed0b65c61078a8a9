"""The table of kernels in docs/how-to.md, from the presets.

``python docs/refresh.py kernels`` writes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from tspsim.kernels import PRESETS, SMALLEST, Kernels

PAGE = Path(__file__).parent / "how-to.md"
_TABLE = re.compile(r"(<!-- table: kernels -->\n).*?(<!-- end of table -->)", re.DOTALL)

#: What is said of a part in place of its value: of times none of its own, and none at all.
_SAID = {
    "launch": {None: "the profile's"}, "host": {0.0: "0 s"}, "all_reduce": {None: "by phase"},
    "replayed": {None: f"{1e6 * SMALLEST:g} us in inference"},
}  # fmt: skip


def _cell(part: str, value: Any) -> str:
    if value in _SAID.get(part, {}):
        return _SAID[part][value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def table() -> Iterator[str]:
    """Yield the lines of the table: a part a row, a preset a column."""
    yield f"| key | {' | '.join(f'`{name}`' for name in PRESETS)} |"
    yield "|---" * (1 + len(PRESETS)) + "|"
    for part in fields(Kernels):
        cells = (_cell(part.name, getattr(kernels, part.name)) for kernels in PRESETS.values())
        yield f"| `{part.name}` | {' | '.join(cells)} |"


def renewed(text: str) -> str:
    """Return the page with the table as it is now."""
    made = "\n".join(table())
    return _TABLE.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", text)
