"""The tree of everything tspsim raises on purpose.

::

    TspsimError                     exit code 1 unless said otherwise
    ├── UserError                   exit code 2: something the user wrote or asked for
    │   ├── ScenarioError           one or more problems, each with its place in a file
    │   ├── TopologyError           a fabric that cannot carry what is asked of it
    │   ├── UnknownNameError        a name that no registry holds
    │   ├── OutputError             a folder or file that cannot be written
    │   └── ArgumentError           what a function of Python does not take: a TypeError, too
    ├── ProgramError                a recorded program that breaks a rule of recording
    └── ScheduleError               collectives that do not meet: found by the static dry run

Catch everything with ``except tspsim.TspsimError``. A plain Python exception that escapes is a
bug in tspsim, never a user's mistake.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


class TspsimError(Exception):
    """Root of all errors that tspsim raises on purpose."""

    exit_code = 1


class UserError(TspsimError):
    """Something the user wrote or asked for cannot be done."""

    exit_code = 2


class TopologyError(UserError):
    """A topology that is malformed, not connected, or too small for what is asked of it."""


class OutputError(UserError):
    """A result cannot be written to, or read from, the given place."""


class ArgumentError(UserError, TypeError):
    """An argument that a function of Python does not take."""


class UnknownNameError(UserError):
    """A name that stands for nothing: says what is known and guesses what was meant."""

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            f"unknown {what} '{name}'{did_you_mean(name, names)}; known: {', '.join(names)}"
        )


class ProgramError(TspsimError):
    """A strategy broke a rule of recording: a fault of the strategy, not of the user."""


class ScheduleError(TspsimError):
    """Collectives of different ranks do not meet; the message draws the step x rank grid."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a scenario, before its place in a file is known.

    Parameters
    ----------
    path : tuple of str or int
        Where in the scenario: ``("strategy", "degree")``.
    message : str
        What was found, what is allowed, and a suggestion.
    """

    path: tuple[str | int, ...]
    message: str


class ScenarioError(UserError):
    """Everything wrong with a scenario, one line each: ``file:line:column: path: message``."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest known word, or an empty string.

    Large and small letters are the same in it: ``FSDP`` is near ``fsdp``.
    """
    folded = {each.lower(): each for each in known}
    near = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.6)
    return f" (did you mean '{folded[near[0]]}'?)" if near else ""
