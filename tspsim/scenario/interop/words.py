"""The words of a shell command, each with its place."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from tspsim.files.characters import refused

_WORD = re.compile(r"""(?:[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*")+""", re.DOTALL)
_COMMENT = re.compile(r"#[^\n]*")
_SPACE = re.compile(r"\s+")
#: What a shell would put in its place, outside of single quotes.
_VARIABLE = re.compile(r"\$[({A-Za-z0-9_@*][\w@*]*[)}]?|`")


class Word(NamedTuple):
    """A word of a command: its text without quotes, and its place, ``file:line:column``.

    `open` is a variable in it that only a shell knows.
    """

    text: str
    place: str
    open: str = ""


def words(text: str, name: str) -> tuple[list[Word], list[str]]:
    """Return the words of a command, and what is wrong with them, a line each.

    Quotes, comments and lines that end in a backslash are as a shell has them. What only a shell
    knows, the value of a variable, is refused.
    """
    found: list[Word] = []
    wrong: list[str] = []
    for raw, place in _raw(text.replace("\\\r\n", "  \n").replace("\\\n", " \n"), name):
        outside = re.sub("'[^']*'", "", raw)
        if variable := _VARIABLE.search(outside):
            message = f"found '{variable[0]}', which only the shell knows; write its value"
            wrong.append(f"{place}: {message}")
            found.append(Word(raw, place))
        elif (plain := _plain(raw)) is None:
            wrong.append(f"{place}: a quote is opened and not closed: {raw[:40]}")
        elif why := refused(plain, lines=False):
            wrong.append(f"{place}: {why}")
        else:
            found.append(Word(plain, place))
    return found, wrong


def _raw(text: str, name: str) -> Iterator[tuple[str, str]]:
    """Yield the words as they are written, with their places."""
    at = 0
    while at < len(text):
        skipped = _SPACE.match(text, at) or _COMMENT.match(text, at)
        if skipped:
            at = skipped.end()
            continue
        match = _WORD.match(text, at)
        end = match.end() if match else len(text)
        if end < len(text) and not text[end].isspace():  # a quote that nothing closes
            end = len(text)
        line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
        yield text[at:end], f"{name}:{line}:{column}"
        at = end


def _plain(raw: str) -> str | None:
    try:
        return "".join(shlex.split(raw))
    except ValueError:
        return None
