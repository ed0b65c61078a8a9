"""Plays one command as the program would, and says what is wrong with how it ended."""

from __future__ import annotations

import contextlib
import io
import os
import re
import traceback
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

#: What a command may end with: fine, the user's mistake, does not fit, interrupted.
CODES = (0, 2, 3, 130)
#: Seconds that a command may take.
LIMIT = 10.0

#: ``override '...'``, ``file:line:``, ``key.path:``, ``'key'`` or ``-o``.
_PLACE = re.compile(r"override '|axis '|\S:\d+(:\d+)?: |\b[\w-]+(\.[\w-]+)*: |'[\w.]+'| --?\w")
#: Warnings that Python keeps to itself unless it is asked.
_QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended.

    Parameters
    ----------
    code : int or None
        None: an exception came out of it.
    out, said : str
        What it wrote to stdout and to stderr.
    seconds : float
    fault : str
        The exception and where it was raised, or the first warning; empty: neither.
    """

    code: int | None
    out: str
    said: str
    seconds: float
    fault: str = ""


def play(words: Sequence[str], folder: Path) -> Done:
    """Run ``tspsim`` with some words in this process, in a folder."""
    from tspsim.cli.app import app

    out, said = _stream("strict"), _stream("backslashreplace")
    begin, code, fault = perf_counter(), None, ""
    with _inside(folder, out, said), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        for quiet in _QUIET:
            warnings.simplefilter("ignore", quiet)
        try:
            app(args=list(words), prog_name="tspsim")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(bool(end.code))
        except BaseException as error:
            fault = where(error)
    seconds = perf_counter() - begin
    if warned and not fault:
        fault = f"{warned[0].category.__name__} at {_short(warned[0].filename)}:{warned[0].lineno}"
    return Done(code, _text(out), _text(said), seconds, fault)


def faults(words: Sequence[str], done: Done, left: Sequence[str] = ()) -> Iterator[str]:
    """Yield what is wrong with how a command ended; `left`: files that it made."""
    if done.fault:
        yield done.fault
    elif done.code not in CODES:
        yield f"exit code {done.code}: {done.said.strip()[-200:]}"
    if "Traceback (most recent call last)" in done.out + done.said:
        yield "prints a traceback"
    if found := sorted(set(filter(_is_control, done.out + done.said))):
        yield f"prints control characters: {found!r}"
    if done.seconds > LIMIT:
        yield f"takes longer than {LIMIT:g} s"
    if done.code == 2:
        if not _names_a_place(words, done.said):
            yield f"names no place: {done.said.strip()[:200]}"
        if left:
            yield f"leaves {', '.join(left)} behind"


def _names_a_place(words: Sequence[str], said: str) -> bool:
    """Whether a message names an argument, a place in a file, or a key."""
    return bool(_PLACE.search(said)) or any(len(word) > 1 and word in said for word in words[1:])


def _is_control(letter: str) -> bool:
    return letter not in "\n\t" and unicodedata.category(letter) == "Cc"


def _stream(errors: str) -> io.TextIOWrapper:
    """Return what stdout or stderr is when it is no terminal."""
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors=errors, newline="\n")


def _text(stream: io.TextIOWrapper) -> str:
    stream.flush()
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode("utf-8")


@contextlib.contextmanager
def _inside(folder: Path, out: io.TextIOWrapper, said: io.TextIOWrapper) -> Iterator[None]:
    here = Path.cwd()
    os.chdir(folder)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
            yield
    finally:
        os.chdir(here)


def where(error: BaseException) -> str:
    """Return an exception, and the line of tspsim that it came from or through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "/tspsim/" in f.filename] or list(frames)
    message = str(error).splitlines()[0][:120] if str(error) else ""
    return f"{type(error).__name__} at {_short(own[-1].filename)}:{own[-1].lineno}: {message}"


def _short(path: str) -> str:
    return path[path.rfind("/tspsim/") + 1 :] if "/tspsim/" in path else Path(path).name
