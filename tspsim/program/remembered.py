"""Answers about a program, kept as long as it is: one is often played under many conditions."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from tspsim.program.types import Program

Answer = TypeVar("Answer")


def remembered(ask: Callable[[Program], Answer]) -> Callable[[Program], Answer]:
    """Have a function of a program answer once for each."""
    answers: WeakKeyDictionary[Program, Answer] = WeakKeyDictionary()

    @wraps(ask)
    def answered(program: Program) -> Answer:
        if program not in answers:
            answers[program] = ask(program)
        return answers[program]

    return answered
