"""Characters that drive a terminal instead of being shown on it.

Documents may not hold them (`problem`); what is quoted all the same, such as the name of a file or
an argument of the command line, is shown escaped (`printable`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.errors import Problem

#: Control characters but for tab and line feed; what reverses the direction of writing; and halves
#: of surrogate pairs, which no encoding can write.
_SOME = (
    "\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ud800-\\udfff"
)
_UNFIT, _NOT_IN_NAMES = re.compile(f"[{_SOME}]"), re.compile(f"[\\t\\n{_SOME}]")


def printable(text: str, *, lines: bool = True) -> str:
    r"""Return a text that does nothing to a terminal: ``\u001b`` in place of an escape.

    It is what JSON writes for such a character, so JSON stays JSON.

    Parameters
    ----------
    text : str
    lines : bool
        Whether it may have several lines.
    """
    pattern = _UNFIT if lines else _NOT_IN_NAMES
    return pattern.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def refused(text: str, *, lines: bool = True) -> str:
    """Return why a text of a document is refused, or nothing.

    Parameters
    ----------
    text : str
    lines : bool
        Whether it may have several lines.
    """
    found = (_UNFIT if lines else _NOT_IN_NAMES).search(text)
    return f"holds control character U+{ord(found[0]):04X}" if found else ""


def problem(data: Any) -> Problem | None:
    """Return what plain data holds first that no document may: see `refused`, and endless numbers.

    Keys are texts, too.
    """
    return next(_problems(data, ()), None)


def _problems(data: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
    if isinstance(data, str):
        if why := refused(data):
            yield Problem(path, why)
    elif isinstance(data, float) and not math.isfinite(data):
        yield Problem(path, f"{data} is not a finite number")
    elif isinstance(data, Mapping):
        for key, value in data.items():
            if why := refused(str(key), lines=False):
                yield Problem((*path, key), f"the key {why}")
            yield from _problems(value, (*path, key))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _problems(value, (*path, index))
