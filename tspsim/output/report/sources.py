"""What a report is about: the results that folders hold, simulated again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tspsim.errors import OutputError
from tspsim.output import folder
from tspsim.result import Result
from tspsim.scenario.loader import Opened
from tspsim.runner import simulate_scenario
from tspsim.sweeps import study as studies
from tspsim.sweeps.candidates import Candidate, candidates, pair
from tspsim.sweeps.points import Point, points
from tspsim.sweeps.samples import Sample
from tspsim.sweeps.store import FILE, Row, Store
from tspsim.sweeps.study import Study
from tspsim.output.report.settings import Names, Setting, best_setting, settings

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A result that is drawn, and what it is called."""

    name: str
    result: Result


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """A sweep: its store, its rows, and who wins where.

    Parameters
    ----------
    store : Store
    rows : tuple of Row
    names : Names
        What the candidates are called.
    settings : tuple of Setting
    """

    store: Store
    rows: tuple[Row, ...]
    names: Names
    settings: tuple[Setting, ...]

    @property
    def contested(self) -> bool:
        """Whether anywhere more than one candidate ran."""
        return any(len(each.ranked) + len(each.others) > 1 for each in self.settings)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a report is about.

    Parameters
    ----------
    drawn : tuple of Drawn
        The run, or the winner and the second.
    compared : tuple of Candidate
        Of a comparison; empty otherwise.
    swept : Swept or None
        Of a sweep.
    """

    drawn: tuple[Drawn, ...]
    compared: tuple[Candidate, ...] = ()
    swept: Swept | None = None


def read(directories: Sequence[Path], progress: Progress = lambda _: None) -> Subject:
    """Return what some folders hold.

    Parameters
    ----------
    directories : sequence of Path
        One folder of a run or of a sweep, or several of runs.
    progress : callable
        Told the fraction of the simulations that are done.

    Raises
    ------
    OutputError
        When a folder holds neither, or a sweep stands among several.
    """
    for directory in directories:
        _check(directory, alone=len(directories) == 1)
    if len(directories) > 1:
        found = candidates([str(directory) for directory in directories], (), progress)
        two = pair(found) or [each for each in found if each.result is not None]
        return Subject(tuple(Drawn(each.name, each.done) for each in two), tuple(found))
    (directory,) = directories
    if (directory / FILE).is_file():
        return _sweep(Store.open(directory), progress)
    result = folder.load(directory)
    return Subject((Drawn(result.scenario.name, result),))


def _check(directory: Path, *, alone: bool) -> None:
    if (directory / "result.json").is_file():
        return
    if not (directory / FILE).is_file():
        raise OutputError(
            f"{directory}: holds neither a result nor a sweep; 'tspsim run SCENARIO -o DIR' and "
            "'tspsim sweep SCENARIO KEY=VALUES -o DIR' make one"
        )
    if not alone:
        raise OutputError(
            f"{directory}: is a sweep, which has a report of its own; only runs can be compared"
        )


def _sweep(store: Store, progress: Progress) -> Subject:
    rows = tuple(store.rows())
    if not rows:
        raise OutputError(f"{store.place}: no point has run yet; the same 'sweep' goes on")
    names = Names.of(rows)
    found = settings(rows)
    best = best_setting(found)
    shown = best.ranked[:2] if best else ()
    known = _points(store)
    drawn = []
    for number, row in enumerate(shown):
        scenario = known[0].opened.scenario(known[1][row.id].overrides)
        drawn.append(Drawn(names.full(row), simulate_scenario(scenario)))
        progress((number + 1) / len(shown))
    return Subject(tuple(drawn), swept=Swept(store, rows, names, found))


def _points(store: Store) -> tuple[Study, dict[int, Point]]:
    """Return a stored study again, and its points: the store holds all that makes them."""
    told = store.about()["study"]
    sample = told["samples"]
    study = studies.make(
        Opened.document(told["scenario"]),
        studies.from_mapping(told["axes"]),
        told["link"],
        Sample(*sample) if sample else None,
        told["where"],
    )
    return study, {point.id: point for point in points(study, allow_many=True)}
