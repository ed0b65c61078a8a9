"""What every command has in common: how errors end, and how things are printed."""

from __future__ import annotations

import errno
import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec

from tspsim.files.characters import printable
from tspsim.files.errors import TspsimError, UserError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

P = ParamSpec("P")

#: Exit codes beside those of `tspsim.files.errors`.
FAILED, DOES_NOT_FIT, INTERRUPTED = 1, 3, 130


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Return a command that ends with an exit code and a message, not with a traceback.

    2 for what the user can put right, 1 for an error of tspsim, 130 for an interrupt. An exception
    that tspsim did not raise on purpose keeps its traceback: it is a bug, and the traceback is
    what a report needs.
    """

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
            sys.stdout.flush()
        except TspsimError as error:
            say(str(error))
            raise SystemExit(error.exit_code) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader has gone (`| head`): nothing is wrong. Python flushes stdout once more
            # when it ends, which must not complain either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            say(f"{error.filename}: {error.strerror}")
            raise SystemExit(UserError.exit_code) from None

    return run


def say(message: str) -> None:
    """Write a line for people to stderr."""
    print(printable(message), file=sys.stderr)  # noqa: T201


def show(renderable: RenderableType) -> None:
    """Write a table or text to stdout, in colour where that is a terminal."""
    from rich.console import Console

    # No markup: a name with brackets is a name.
    console = Console(highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(_Printable(renderable))
    text = capture.get()
    if not sys.stdout.isatty():  # a table's padding is nothing that a file should hold
        text = "".join(f"{line.rstrip()}\n" for line in text.splitlines())
    _write(text)


def show_json(value: Any) -> None:
    """Write one JSON object to stdout."""
    write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write(text: str) -> None:
    """Write text to stdout, whatever characters its encoding has."""
    _write(printable(text))


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))


@dataclass(frozen=True, slots=True)
class _Printable:
    """Shows something with its own colours, and with those characters escaped that it quotes."""

    renderable: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        for text, style, control in console.render(self.renderable, options):
            yield Segment(text if control else printable(text), style, control)
