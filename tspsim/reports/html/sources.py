"""What a report is about: the results that folders hold, simulated again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tspsim.files.errors import OutputError
from tspsim.files.reading import is_there
from tspsim.reports.html.settings import Names, Setting, best_setting, settings
from tspsim.result import Result
from tspsim.runner import load_result, simulate_scenario
from tspsim.scenario.loader import Opened
from tspsim.sweeps import study as studies
from tspsim.sweeps.candidates import Candidate, pair, runner_up, strategy_name, winner
from tspsim.sweeps.points import Point, points
from tspsim.sweeps.samples import Sample
from tspsim.sweeps.store import FILE, Row, Store
from tspsim.sweeps.study import Study

Progress = Callable[[float], None]

#: What the drawn ones of several are called.
PLACES = ("Fastest", "Second")


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A result that is drawn, what it is called, and what it is in the contest."""

    name: str
    result: Result
    place: str = ""

    @property
    def title(self) -> str:
        """Its name, with its place where it has one."""
        return f"{self.place}: {self.name}" if self.place else self.name


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
        found = _candidates(directories, progress)
        two = pair(found) or ()
        drawn = (Drawn(each.name, each.done, _place(each, found)) for each in two)
        return Subject(tuple(drawn), tuple(found))
    (directory,) = directories
    if is_there(directory / FILE):
        return _sweep(Store.open(directory), progress)
    result = load_result(directory)
    return Subject((Drawn(result.scenario.name, result),))


def _candidates(directories: Sequence[Path], progress: Progress) -> list[Candidate]:
    """Return the runs of some folders, by the first kind of name that tells them apart."""
    results = []
    for number, directory in enumerate(directories):
        results.append(load_result(directory))
        progress((number + 1) / len(directories))
    scenarios = [result.scenario for result in results]
    names = [each.name for each in scenarios], [strategy_name(each) for each in scenarios]
    folders = [str(directory) for directory in directories]
    told = next((some for some in names if len(set(some)) == len(some)), folders)
    return [Candidate(name, result) for name, result in zip(told, results, strict=True)]


def _place(candidate: Candidate, found: Sequence[Candidate]) -> str:
    if candidate is winner(found):
        return PLACES[0]
    return PLACES[1] if candidate is runner_up(found) and candidate.done.fits else ""


def _check(directory: Path, *, alone: bool) -> None:
    if is_there(directory / "result.json"):
        return
    if not is_there(directory / FILE):
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
        if row.id not in known[1]:
            raise OutputError(f"{store.place}: point {row.id} is none of its study: it is damaged")
        scenario = known[0].opened.scenario(known[1][row.id].overrides)
        drawn.append(Drawn(names.full(row), simulate_scenario(scenario), PLACES[number]))
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
