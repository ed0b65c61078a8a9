"""The candidates of a comparison: every one a whole result, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tspsim.files.errors import ScenarioError, ScheduleError, UserError
from tspsim.files.reading import is_there
from tspsim.result import Result
from tspsim.runner import checked_programs, simulate_scenario
from tspsim.scenario.loader import Opened
from tspsim.scenario.types import Scenario
from tspsim.sweeps import study as studies
from tspsim.sweeps import values
from tspsim.sweeps.points import Point, points
from tspsim.sweeps.speed import speed
from tspsim.sweeps.study import Axis, Study

#: A scenario: the name of its file, or its keys.
Asked = str | Mapping[str, Any]

#: A comparison keeps whole results in memory: what is larger is a sweep.
MOST = 48


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One way of doing it.

    Parameters
    ----------
    name : str
        What tells it apart from the others.
    result : Result or None
    reason : str
        Why there is no result.
    """

    name: str
    result: Result | None
    reason: str = ""

    @property
    def done(self) -> Result:
        """Its result, where it has one."""
        assert self.result is not None
        return self.result

    @property
    def figures(self) -> dict[str, Any]:
        """The figures of its run, as in ``--json``."""
        return self.done.summary.to_dict()


def candidates(
    sources: Sequence[Asked],
    axes: Sequence[Axis],
    progress: Callable[[float], None] = lambda fraction: None,  # noqa: ARG005
) -> list[Candidate]:
    """Run everything that is to be compared.

    Parameters
    ----------
    sources : sequence of str or Mapping
        Scenarios' files, names or keys, and folders of results.
    axes : sequence of Axis
        What varies within each of them: ``strategy=tsp,tp``.
    progress : callable, optional
        Told the fraction that is done.

    Raises
    ------
    UserError
        When there are fewer than two candidates, or too many.
    """
    read = [_study(source, axes) for source in sources]
    asked = [(name, study, point) for name, study in _named(sources, read)
             for point in (points(study) if study.axes else [Point(0, (), ())])]  # fmt: skip
    if len(asked) < 2:
        raise UserError(
            "one candidate alone: name two scenarios, or say what varies, such as "
            "strategy=tsp,tp,sp,tp_sp"
        )
    if len(asked) > MOST:
        raise UserError(f"{len(asked)} candidates; more than {MOST} are a sweep: tspsim sweep")
    varying = {key for *_, point in asked for key, _ in point.axes if _varies(key, asked)}
    found = []
    for number, (name, study, point) in enumerate(asked):
        found.append(_run(name, study, point, varying))
        progress((number + 1) / len(asked))
    return _told_apart(found)


def _study(source: Asked, axes: Sequence[Axis]) -> Study:
    if isinstance(source, Mapping):
        return studies.make(Opened.document(source), axes)
    folder = Path(source) / "result.json"
    return studies.load(folder if is_there(folder) else source, axes)


def _named(sources: Sequence[Asked], read: Sequence[Study]) -> Iterator[tuple[str, Study]]:
    """Yield studies with what tells their scenarios apart: nothing, their names, their places."""
    names = [str(study.opened.data()["name"]) for study in read]
    for source, study, name in zip(sources, read, names, strict=True):
        alone = names.count(name) == 1 or isinstance(source, Mapping)
        yield "" if len(read) == 1 else name if alone else str(source), study


def _varies(key: str, asked: Sequence[tuple[str, Study, Point]]) -> bool:
    return len({values.label(dict(point.axes).get(key)) for *_, point in asked}) > 1


def _run(own: str, study: Study, point: Point, varying: set[str]) -> Candidate:
    """Run one candidate; what is wrong with it becomes its reason."""
    words = [word for key, value in point.axes if key in varying for word in _words(key, value)]
    kind = next((_kind(v) for k, v in point.axes if k in _STRATEGY & varying), "")
    try:
        if point.reason:
            raise ScenarioError([point.reason])
        scenario = study.opened.scenario(point.overrides)
        result = simulate_scenario(scenario, programs=_recorded(scenario))
    except (ScenarioError, ScheduleError) as error:
        return Candidate(_joined(own, kind, words), None, str(error))
    shown = strategy_name(scenario) if kind or not (own or words) else ""
    told = [word for word in words if word not in shown.split(", ")]
    return Candidate(_joined(own, shown, told), result)


#: Keys that say which strategy it is: its name is made of kind and degrees.
_STRATEGY = frozenset({"strategy", "strategy.kind"})


def _kind(value: Any) -> str:
    return str(value["kind"]) if isinstance(value, dict) and "kind" in value else str(value)


def _words(key: str, value: Any) -> Iterator[str]:
    """Yield what tells a value of an axis from its others."""
    if key in _STRATEGY:
        options = value if isinstance(value, dict) else {}
        yield from (w for k, v in options.items() if k not in _NAMED for w in _words(k, v))
    elif key == "pp" and isinstance(value, dict):
        yield from (w for k, v in value.items() if k != "stages" for w in _words(k, v))
    elif isinstance(value, bool):
        yield _called(key) if value else f"no {_called(key)}"
    elif value is not None:
        yield f"{_called(key)} {values.label(value)}"
    elif key.rpartition(".")[2] == "pp":
        yield "no pp"


def _called(key: str) -> str:
    """Return what an axis is called: the last word of its key, or the one before that says more."""
    *before, last = key.split(".")
    return before[-1] if before and last in ("layout", "kind") else last


#: Options of a strategy that its name shows already.
_NAMED = frozenset({"kind", "degree", "tp", "sp"})


def _joined(own: str, strategy: str, words: Sequence[str]) -> str:
    return ", ".join(part for part in (own, strategy, *words) if part)


def strategy_name(scenario: Scenario) -> str:
    """Return a strategy with its degrees, such as ``"tsp 8"`` and ``"sp 2 x tp 4"``.

    Megatron's TP with and without sequence parallelism are two strategies under one name: which
    it is is told.
    """
    axes = scenario.strategy.mesh().axes
    text = " x ".join(f"{axis} {degree}" for axis, degree in axes)
    kind = scenario.strategy.kind
    words = {axis for axis, _ in axes}
    own = text if kind in words or set(kind.split("_")) <= words else f"{kind} ({text})"
    cut = getattr(scenario.strategy, "sequence_parallel", False)
    return f"{own}, sequence_parallel" if cut else own


def _told_apart(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with numbers behind names that are the same."""
    names = [candidate.name for candidate in found]
    return [
        candidate
        if names.count(candidate.name) == 1
        else Candidate(f"{candidate.name} #{number}", candidate.result, candidate.reason)
        for number, candidate in enumerate(found, 1)
    ]


def _recorded(scenario: Scenario) -> Any:
    return _record_once(scenario.strategy, scenario.model, scenario.workload, scenario.optimizer)


_record_once = lru_cache(maxsize=2)(checked_programs)


def winner(found: Sequence[Candidate]) -> Candidate | None:
    """Return the fastest candidate that fits: most tokens per second, then the lowest peak."""
    fitting = [each for each in found if each.result is not None and each.result.fits]
    return min(fitting, key=_rank, default=None)


def runner_up(found: Sequence[Candidate]) -> Candidate | None:
    """Return the second fastest that fits; where there is none, the fastest of the others."""
    best = winner(found)
    others = [each for each in found if each.result is not None and each is not best]
    return min(others, key=lambda each: (not each.figures["memory"]["fits"], _rank(each)),
               default=None)  # fmt: skip


def pair(found: Sequence[Candidate]) -> tuple[Candidate, Candidate] | None:
    """Return the two to look at closely: of two candidates both, of several the best two."""
    ran = [each for each in found if each.result is not None]
    if len(ran) < 2:
        return None
    if len(found) == 2:
        return ran[0], ran[1]
    best = winner(found) or min(ran, key=_rank)
    other = runner_up(found) if winner(found) else min((c for c in ran if c is not best), key=_rank)
    assert other is not None
    return best, other


def _rank(candidate: Candidate) -> tuple[float, float]:
    figures = candidate.figures
    return -speed(figures), figures["memory"]["peak"]
