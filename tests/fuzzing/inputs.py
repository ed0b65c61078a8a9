"""Every input from its seed and number: it is made, played and judged."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter

from tests.fuzzing import configs, files, folders, judge, laws, overrides, scenarios, stores, tools
from tests.fuzzing.case import Case, Maker

#: By class: how often it comes, and what makes an input of it.
CLASSES: dict[str, tuple[int, Maker]] = {
    "scenarios": (30, scenarios.case),
    "YAML files": (20, files.case),
    "overrides": (20, overrides.case),
    "result folders": (10, folders.case),
    "sweep stores": (10, stores.case),
    "model configurations": (10, configs.case),
    "other tools": (10, tools.case),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one input.

    Parameters
    ----------
    number : int
    kind : str
        Its class.
    words : tuple of str
    code : int or None
        What the command ended with; None: it did not.
    faults : tuple of str
    seconds : float
        Of the command and of all runs that the laws ask for.
    """

    number: int
    kind: str
    words: tuple[str, ...]
    code: int | None
    faults: tuple[str, ...]
    seconds: float


def drawn(seed: int, number: int) -> tuple[str, Random]:
    """Return the class of an input, and what the rest of it is drawn from."""
    rng = Random(f"{seed}/{number}")  # noqa: S311 - nothing is secret here
    (kind,) = rng.choices(list(CLASSES), [share for share, _ in CLASSES.values()])
    return kind, rng


def make(seed: int, number: int, folder: Path, bases: Path) -> tuple[str, Case]:
    """Write an input into a folder; return its class and what is asked."""
    kind, rng = drawn(seed, number)
    return kind, CLASSES[kind][1](rng, folder, bases)


def judged(
    seed: int, number: int, bases: Path, begin: Callable[[tuple[str, ...]], None] = lambda _: None
) -> Outcome:
    """Make an input, play it, and judge it.

    Parameters
    ----------
    seed, number : int
    bases : Path
        The folder that `tests.fuzzing.bases.make` filled.
    begin : callable
        Told the words before the command, and before the runs of its laws: the clock starts again.
    """
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=bases.parent))
    clock = perf_counter()
    try:
        kind, case = make(seed, number, folder, bases)
        before = set(folder.rglob("*"))
        begin(case.words)
        done = judge.play(case.words, folder)
        new = sorted(str(path.relative_to(folder)) for path in set(folder.rglob("*")) - before)
        found = list(judge.faults(case.words, done, new))
        if case.document is not None and done.code in (0, 3) and not found:
            begin(case.words)
            found += _laws(case)
        return Outcome(number, kind, case.words, done.code, tuple(found), perf_counter() - clock)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _laws(case: Case) -> list[str]:
    assert case.document is not None
    try:
        return list(laws.broken(case.document))
    except Exception as error:
        return [f"law: {judge.where(error)}"]
