"""Runs a study: gives points to a crew in batches, and stores what comes back as it comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.files.arguments import checked
from tspsim.files.bounds import check_whole
from tspsim.files.errors import ScenarioError, TspsimError, UserError
from tspsim.scenario.loader import Opened
from tspsim.scenario.stating import restated
from tspsim.scenario.types import Scenario
from tspsim.sweeps import study as studies
from tspsim.sweeps.crew import Crew, check, crew
from tspsim.sweeps.points import Point, points
from tspsim.sweeps.samples import Sample
from tspsim.sweeps.shown import html
from tspsim.sweeps.store import Row, Store
from tspsim.sweeps.study import Axis, Study
from tspsim.sweeps.work import Outcome, Report

if TYPE_CHECKING:
    import pandas as pd

#: Told the number of points that are done, and of all points.
Progress = Callable[[int, int], None]

#: Points in a batch at most: what a killed worker loses.
MOST_IN_BATCH = 64


class Sweep:
    """The results of a sweep.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def rows(self) -> list[Row]:
        """A row for every point, in the order of the study."""
        return list(self.store.rows())

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table: the axes, then the figures in SI units.

        An axis is called by its key (``workload.sequence``), a figure by its name in ``--json``
        (``step_time``, ``memory.peak``); `status` is ``ok``, ``unfit``, ``invalid`` or ``failed``,
        and `reason` says why.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        return self.store.frame()

    def __repr__(self) -> str:
        told = ", ".join(f"{count} {status}" for status, count in self.store.statuses().items())
        return f"<tspsim.Sweep of {self.store.name!r}: {self.store.count} points ({told})>"

    def _repr_html_(self) -> str:
        return html(self.store)


@checked
def sweep(
    source: str | Path | Mapping[str, Any] | Scenario,
    *axes: str,
    output: str | Path | None = None,
    link: Sequence[Sequence[str]] = (),
    sample: Sample | None = None,
    where: Sequence[str] = (),
    jobs: int | None = None,
    scheduler: str | None = None,
) -> Sweep:
    """Run a scenario at every point of a grid.

    Parameters
    ----------
    source : str, Path, Mapping or Scenario
        A scenario as for `tspsim.run`, or a study file.
    *axes : str
        ``"workload.sequence=8192,16384"``, ``"topology.link.bandwidth=x0.5,x1,x2"``...
    output : str or Path, optional
        The folder of the results. What is stored there already is not run again. In memory when
        not given.
    link : sequence of sequence of str
        Keys of axes that move together.
    sample : Sample, optional
        How to draw from spans such as ``"topology.link.bandwidth=log(10 GB/s, 1 TB/s)"``.
    where : sequence of str
        Which points are wanted: ``"workload.sequence * workload.batch <= 1048576"``.
    jobs : int, optional
        Processes. Not given: this process does it. A script that asks for processes keeps its
        own work behind ``if __name__ == "__main__":``, as `multiprocessing` wants it.
    scheduler : str, optional
        Address of the scheduler of a dask cluster.

    Raises
    ------
    UserError
        When the study makes no sense. What is wrong with single points is in their rows.
    """
    check(scheduler)
    check_whole("--jobs", jobs)
    parsed = [studies.parse_axis(text) for text in axes]
    study = _study(source, parsed, link, sample, where)
    found = points(study, allow_many=True)
    store = Store.create(output, study.document(), len(found), _name(study))
    drive(study, found, store, lambda: crew(jobs, scheduler))
    return Sweep(store)


def _study(
    source: str | Path | Mapping[str, Any] | Scenario,
    axes: Sequence[Axis],
    link: Sequence[Sequence[str]],
    sample: Sample | None,
    where: Sequence[str],
) -> Study:
    if isinstance(source, str | Path):
        return studies.load(source, axes, link, sample, where)
    document = restated(source) if isinstance(source, Scenario) else source
    return studies.make(Opened.document(document), axes, link, sample, where)


def _name(study: Study) -> str:
    return str(study.opened.data()["name"])


def drive(
    study: Study,
    found: Sequence[Point],
    store: Store,
    start: Callable[[], Crew],
    progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> None:
    """Run every point that has no row yet, and store what comes of it.

    Parameters
    ----------
    study : Study
    found : sequence of Point
    store : Store
    start : callable
        Gives the crew; not called when nothing is left to do.
    progress : callable, optional
    """
    done = store.done()
    # Points that share recorded programs one after another: a worker records these once.
    left = sorted((p for p in found if p.id not in done), key=lambda p: (p.programs, p.id))
    progress(len(done), len(found))
    if not left:
        return
    workers = start()
    try:
        _Drive(study.opened, store, workers, left, lambda n: progress(n, len(found))).run()
    finally:
        workers.close()


class _Drive:
    """One run of a sweep: what waits, what is under way, and what a point took so far."""

    def __init__(
        self,
        opened: Opened,
        store: Store,
        workers: Crew,
        left: Iterable[Point],
        progress: Callable[[int], None],
    ) -> None:
        self._opened, self._store, self._crew, self._progress = opened, store, workers, progress
        self._waiting = deque(left)
        self._under_way: dict[Future[Report], list[Point]] = {}
        self._suspects: deque[Point] = deque()  # their process died; one of them may be why
        self._on_trial = self._broken = False
        self._done, self._points, self._seconds = len(store), 0, 0.0

    def run(self) -> None:
        """Run until nothing waits."""
        while self._waiting or self._under_way or self._suspects:
            self._fill()
            ended, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
            for future in ended:
                self._end(future)
            self._progress(self._done)

    def _fill(self) -> None:
        """Keep the crew busy; after a death run the suspects first, one at a time."""
        if self._suspects:
            if not self._under_way:
                if self._broken:
                    self._crew.restart()
                self._broken, self._on_trial = False, True
                self._submit([self._suspects.popleft()])
            return
        self._on_trial = False
        while self._waiting and len(self._under_way) < self._crew.window and not self._suspects:
            size = min(self._batch_size(), len(self._waiting))
            self._submit([self._waiting.popleft() for _ in range(size)])

    def _batch_size(self) -> int:
        """Return how many points make a batch: little overhead, and little lost with a worker."""
        if not self._points:
            return 1
        fair = len(self._waiting) // (2 * self._crew.window)
        wanted = self._crew.seconds * self._points / max(self._seconds, 1e-9)
        return max(1, min(int(wanted), fair, MOST_IN_BATCH))

    def _submit(self, batch: list[Point]) -> None:
        """Start a batch, without those of its points that are known to be wrong already."""
        sound, documents = [], []
        for point in batch:
            try:
                document = self._document(point)
            except ScenarioError as error:
                self._write([point], [Outcome(point.id, "invalid", str(error))])
            else:
                sound.append(point)
                documents.append((point.id, document))
        if not sound:
            return
        try:
            self._under_way[self._crew.submit(documents)] = sound
        except self._crew.deaths:
            self._broken = True
            self._suspects.extend(sound)

    def _document(self, point: Point) -> dict[str, Any]:
        if point.reason:
            raise ScenarioError([point.reason])
        return self._opened.data(point.overrides)

    def _end(self, future: Future[Report]) -> None:
        """Store the outcomes of a batch."""
        batch = self._under_way.pop(future)
        try:
            report = future.result()
        except self._crew.deaths as error:
            self._broken = True
            if self._on_trial:
                told = f"the process that ran it died ({type(error).__name__})"
                self._write(batch, [Outcome(batch[0].id, "failed", told)])
            else:
                self._suspects.extend(batch)
            return
        except TspsimError:
            raise
        except Exception as error:
            told = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(
                f"the workers are lost ({told}); {self._done} points are stored in "
                f"{self._store.place}: run the same command again to go on"
            ) from error
        self._points += len(batch)
        self._seconds += report.seconds
        self._write(batch, report.outcomes)

    def _write(self, batch: Sequence[Point], outcomes: Sequence[Outcome]) -> None:
        by_id = {point.id: point for point in batch}
        self._store.add([self._row(by_id[outcome.id], outcome) for outcome in outcomes])
        self._done += len(outcomes)

    def _row(self, point: Point, outcome: Outcome) -> Row:
        reason = outcome.reason
        if outcome.status == "invalid" and not point.reason:
            reason = self._places(point) or reason
        return Row(
            point.id, dict(point.axes), outcome.status, reason, outcome.hash, outcome.figures or {}
        )

    def _places(self, point: Point) -> str:
        """Return what is wrong with a point, with the places that only its files have."""
        try:
            self._opened.scenario(point.overrides)
        except ScenarioError as error:
            return str(error)
        return ""
