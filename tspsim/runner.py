"""The straight line: from a scenario to its result, which can save and draw itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

from tspsim import memory
from tspsim.analysis.fullest import MemoryFigures
from tspsim.analysis.inference import cache_of, figures_of, most_that_fit, stretch
from tspsim.analysis.summary import summarize
from tspsim.collectives.choose import Chooser
from tspsim.engine.checks import dryrun
from tspsim.engine.network.model import NetworkModel
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.files.arguments import checked
from tspsim.files.errors import ScenarioError
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.output import folder
from tspsim.program.collection import uncollected
from tspsim.program.types import Programs
from tspsim.registry import PLOTS
from tspsim.requests import Series, Step
from tspsim.result import Result, provenance
from tspsim.scenario.loader import Opened, from_document
from tspsim.scenario.types import Scenario
from tspsim.strategies.base import StrategyOptions

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Run(Result):
    """A result that can print, save and draw itself."""

    def __str__(self) -> str:
        """Return the table of ``tspsim run``, as text of at most 80 columns."""
        from tspsim.output import table  # what draws no table needs no rich
        from tspsim.output.plain import plain

        return plain(table.render(self))

    @property
    def plot(self) -> Plots:
        """The pictures: ``run.plot.gantt(ax=ax)``, ``run.plot.memory()``."""
        return Plots(self)

    def _repr_html_(self) -> str:
        from tspsim.output.svg import gantt  # which needs matplotlib's colours

        return Result._repr_html_(self) + gantt(self)

    @checked
    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write the result's files into a folder and return it.

        Parameters
        ----------
        directory : str or Path
            Made when it is not there; an earlier result of the same scenario is replaced.
        force : bool
            Replace whatever result lies there.

        Raises
        ------
        OutputError
            When the folder holds something else or cannot be written.
        """
        folder.write(self, Path(directory), force=force)
        return Path(directory)


@dataclass(frozen=True, slots=True)
class Plots:
    """The registered plots of one result, as methods."""

    _result: Result

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_") or name not in PLOTS.names():
            known = ", ".join(PLOTS.names())
            raise AttributeError(f"no plot '{name}'; there are: {known}")
        return partial(checked(PLOTS.get(name), f"plot.{name}"), self._result)

    def __dir__(self) -> list[str]:
        return list(PLOTS.names())


@checked
def load_result(directory: str | Path) -> Run:
    """Return the result that a folder holds, by simulating its scenario again.

    The same scenario gives the same result, so nothing but the scenario has to be stored.

    Parameters
    ----------
    directory : str or Path
        The folder, or the ``result.json`` in it.

    Raises
    ------
    OutputError
        When there is no readable result.
    ScenarioError
        When its scenario is none, with the places.
    """
    try:
        return run(folder.document(directory))
    except ScenarioError as error:
        path = folder.held(directory)
        lines = (f"{path}{line.removeprefix('<document>')}" for line in error.lines)
        raise ScenarioError(lines) from None


def result_of(
    source: str | Path | Mapping[str, Any] | Scenario | Result, overrides: Sequence[str] = ()
) -> Result:
    """Return what is looked at: a result as it is, the one in a folder, or a scenario's.

    Raises
    ------
    OutputError
        When a folder holds no result.
    ScenarioError
        With everything that is wrong with the scenario.
    """
    if isinstance(source, Result):
        return run(source.scenario, *overrides) if overrides else source
    place = folder.source_of(source) if isinstance(source, str | Path) else source
    return run(place, *overrides)


@checked
def run(source: str | Path | Mapping[str, Any] | Scenario, *overrides: str) -> Run:
    """Simulate one step of a scenario.

    Parameters
    ----------
    source : str, Path, Mapping or Scenario
        A scenario's file (or its name among the shipped ones), a scenario as a mapping, or one
        that is loaded already.
    *overrides : str
        Changes such as ``"strategy.degree=4"``.

    Raises
    ------
    ScenarioError
        With everything that is wrong with the scenario, each with its place.
    """
    if isinstance(source, Scenario):
        scenario = source.replace(*overrides) if overrides else source
    elif isinstance(source, Mapping):
        scenario = from_document(source, overrides)
    else:
        scenario = Opened.file(source).scenario(overrides)
    return simulate_scenario(scenario)


def play(scenario: Scenario, programs: Programs, progress: Progress | None = None) -> Timeline:
    """Play the recorded programs of a scenario; the dry run has passed them."""
    setup = Setup(
        programs,
        scenario.strategy.mesh(),
        scenario.topology,
        scenario.workload.dtype,
        NetworkModel(scenario.detail, scenario.sharing),
        scenario.disturbances.jitter,
        scenario.fold,
    )
    return simulate(setup, Chooser(scenario.topology, scenario.algorithm), progress)


@uncollected()
def checked_programs(
    strategy: StrategyOptions, model: ModelShape, workload: Workload, optimizer: Optimizer
) -> Programs:
    """Record the programs of a step, and see that their collectives meet.

    They do not depend on the hardware.

    Raises
    ------
    ScheduleError
        When the strategy's collectives do not meet.
    """
    programs = strategy.record(model, workload, optimizer)
    dryrun.check(programs, strategy.mesh())
    return programs


@uncollected()
def simulate_scenario(
    scenario: Scenario, progress: Progress | None = None, programs: Programs | None = None
) -> Run:
    """Simulate one step of a loaded scenario.

    Parameters
    ----------
    scenario : Scenario
    progress : callable, optional
        Called now and then with the fraction of the tasks that have ended.
    programs : Programs, optional
        What `checked_programs` returned for it, where that is known already.

    Raises
    ------
    ScheduleError
        When the strategy's collectives do not meet.
    """
    run = simulate_step(scenario, progress, programs)
    return with_fitting(with_series(run)) if scenario.workload.series else run


def with_series(run: Run) -> Run:
    """Return the last step of inference with the figures of all steps that lead to it."""
    workload, series = run.scenario.workload, run.scenario.workload.series
    assert series is not None
    memories: dict[Step, MemoryFigures] = {}

    def time_of(step: Step) -> float:
        again = series.of(step) == workload.requests
        summary = (run if again else _step_of(run, series, step)).summary
        memories[step] = summary.memory
        return summary.step_time + series.overhead

    counts: tuple[tuple[Literal["prefill", "decode"], int], ...]
    counts = ("prefill", series.prefills), ("decode", series.decodes)
    prefill, decode = (
        stretch(lambda number, phase=phase: time_of(Step(phase, number)), count) if count else None  # type: ignore[misc]
        for phase, count in counts
    )
    fullest = max(memories, key=lambda s: (not memories[s].fits, memories[s].peak, s.number))
    timeline = run.timeline
    cache = cache_of(timeline.programs, timeline.mesh, workload)
    copies = timeline.mesh.replicas, workload.micro_batches
    figures = figures_of(workload.phase, series, copies, (prefill, decode), cache, fullest)
    changed = replace(run.summary, inference=figures, memory=memories[fullest])
    return replace(run, summary=changed)


def _step_of(run: Run, series: Series, step: Step) -> Run:
    workload = run.scenario.workload.of(series.of(step))
    return simulate_step(replace(run.scenario, workload=workload))


def with_fitting(run: Run) -> Run:
    """Return inference that does not fit with how many of its sequences would."""
    series, found = run.scenario.workload.series, run.summary.inference
    assert series is not None and found is not None
    if run.summary.memory.fits:
        return run

    def left_of(count: int) -> float:
        whole = count == len(series.prompts)
        step = run if whole else _step_of(run, series.first(count), found.fullest)
        return step.summary.memory.capacity - step.summary.memory.peak

    fitting = most_that_fit(left_of, len(series.prompts)) * run.scenario.workload.micro_batches
    return replace(run, summary=replace(run.summary, inference=replace(found, fitting=fitting)))


def simulate_step(
    scenario: Scenario, progress: Progress | None = None, programs: Programs | None = None
) -> Run:
    """Simulate one step alone: see `simulate_scenario`."""
    begin = perf_counter()
    strategy = scenario.strategy
    programs = programs or checked_programs(
        strategy, scenario.model, scenario.workload, scenario.optimizer
    )
    recorded = perf_counter()
    timeline = play(scenario, programs, progress)
    simulated = perf_counter()
    trace = memory.trace(timeline, scenario.allocator)
    traced = perf_counter()
    summary = summarize(scenario, timeline, trace, simulated - recorded)
    walls = {"record": recorded - begin, "simulate": simulated - recorded}
    walls["memory"] = traced - simulated
    return Run(scenario, timeline, trace, summary, provenance(scenario, walls))
