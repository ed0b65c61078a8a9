"""A study: a scenario, the axes along which it varies, and which of the points are wanted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tspsim.files import faults
from tspsim.files.errors import Problem, ScenarioError, UserError, did_you_mean
from tspsim.files.reading import is_file, is_there
from tspsim.files.source import Source, in_order, read
from tspsim.scenario import files
from tspsim.scenario.loader import Opened
from tspsim.scenario.section import Count, Section
from tspsim.sweeps import keys, values
from tspsim.sweeps.filters import Filter
from tspsim.sweeps.samples import Method, Sample
from tspsim.sweeps.values import Span


@dataclass(frozen=True, slots=True)
class Axis:
    """A key of the scenario, and the values that it takes.

    Parameters
    ----------
    key : str
        Dotted: ``"workload.sequence"``.
    values : tuple
        As a scenario has them: numbers, texts with units, mappings. Empty for a span.
    span : Span or None
        What samples are drawn from.
    """

    key: str
    values: tuple[Any, ...]
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Axes that move together: linked ones, sampled ones, or one alone.

    Parameters
    ----------
    keys : tuple of str
    rows : tuple of tuple
        One value per key.
    """

    keys: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What a sweep goes through.

    Parameters
    ----------
    opened : Opened
        The scenario.
    axes : tuple of Axis
        The first one varies slowest.
    linked : tuple of tuple of str
        Keys of axes that move together, value by value.
    sample : Sample or None
        How spans are sampled.
    filters : tuple of Filter
    """

    opened: Opened
    axes: tuple[Axis, ...]
    linked: tuple[tuple[str, ...], ...] = ()
    sample: Sample | None = None
    filters: tuple[Filter, ...] = ()

    def groups(self) -> tuple[Group, ...]:
        """Return the axes as they vary: the grid is the product of the groups.

        Raises
        ------
        UserError
            When linked axes have different numbers of values, or spans no samples.
        """
        by_key = {axis.key: axis for axis in self.axes}
        spans = [axis for axis in self.axes if axis.span]
        if spans and self.sample is None:
            raise UserError(
                f"axis '{spans[0].key}': {spans[0].span.text()} is a span of values; say how many "  # type: ignore[union-attr]
                "samples to draw (--sample latin_hypercube:64), or list values: log(a, b, n)"
            )
        found: list[Group] = []
        for axis in self.axes:
            if any(axis.key in group.keys for group in found):
                continue
            if axis.span is not None:
                found.append(self._sampled(spans))
                continue
            together = next((keys for keys in self.linked if axis.key in keys), (axis.key,))
            columns = [by_key[key].values for key in together]
            found.append(Group(together, tuple(zip(*columns, strict=True))))
        return tuple(found)

    def _sampled(self, spans: Sequence[Axis]) -> Group:
        assert self.sample is not None
        fractions = self.sample.fractions(len(spans))
        rows = [
            tuple(axis.span.at(x) for axis, x in zip(spans, row, strict=True))  # type: ignore[union-attr]
            for row in fractions.tolist()
        ]
        return Group(tuple(axis.key for axis in spans), tuple(rows))

    def count(self) -> int:
        """Return the number of points, before filters and before strategies are written out."""
        return math.prod(len(group.rows) for group in self.groups())

    def document(self) -> dict[str, Any]:
        """Return what makes this study another one: JSON-able, the same for equal studies."""
        sample = self.sample
        return {
            "scenario": self.opened.data(),
            "axes": {a.key: a.span.text() if a.span else list(a.values) for a in self.axes},
            "link": [list(keys) for keys in self.linked],
            "samples": sample and [sample.method, sample.count, sample.seed],
            "where": [each.text for each in self.filters],
        }


class SampleKeys(Section):
    """``samples:`` of a study file."""

    method: Method = "latin_hypercube"
    count: Count
    seed: int = Field(0, ge=0)


class StudyKeys(Section):
    """A study file."""

    name: str | None = None
    scenario: str | dict[str, Any] = Field(description="a file, a shipped name, or its keys")
    axes: dict[str, Any] = Field(default={}, description="key: values, for example")
    link: list[list[str]] = Field(default=[], description="keys of axes that move together")
    samples: SampleKeys | None = None
    where: list[str] = Field(default=[], description="which points are wanted")


def make(
    opened: Opened,
    axes: Iterable[Axis],
    linked: Iterable[Sequence[str]] = (),
    sample: Sample | None = None,
    where: Iterable[str] = (),
) -> Study:
    """Return a study whose keys, links and filters make sense.

    Raises
    ------
    UserError
        When they do not.
    """
    by_key = {axis.key: axis for axis in axes}  # of two for one key the later one counts
    keys.check(by_key)
    links = tuple(tuple(each) for each in linked)
    _check_links(by_key, links)
    if sample is not None and not any(axis.span for axis in by_key.values()):
        raise UserError("samples need spans to draw from: KEY=between(a,b) or KEY=log(a,b)")
    filters = tuple(Filter.read(text) for text in where)
    for each in filters:
        _check_filter(each)
    return Study(opened, tuple(by_key.values()), links, sample, filters)


def _check_links(axes: Mapping[str, Axis], links: Sequence[Sequence[str]]) -> None:
    seen: set[str] = set()
    for link in links:
        for key in link:
            if key not in axes:
                guess = did_you_mean(key, axes)
                raise UserError(f"link {','.join(link)}: '{key}' is no axis of this study{guess}")
            if axes[key].span:
                raise UserError(f"link {','.join(link)}: '{key}' is a span; samples are drawn")
        if len(link) < 2 or len(set(link)) < len(link) or seen & set(link):
            raise UserError(f"link {','.join(link)}: two or more axes, each in one link")
        seen |= set(link)
        counts = [len(axes[key].values) for key in link]
        if len(set(counts)) > 1:
            told = ", ".join(f"'{k}' has {n} values" for k, n in zip(link, counts, strict=True))
            raise UserError(f"link {','.join(link)}: linked axes move together, but {told}")


def _check_filter(each: Filter) -> None:
    try:
        keys.check(each.keys())
    except UserError as error:
        told = str(error).replace("axis ", f"filter '{each.text}': ")
        raise UserError(told) from None


def is_axis(text: str) -> bool:
    """Whether a word says what varies: ``key=values``, and no file of that name is there."""
    return bool(re.match(r"[\w.]+=", text)) and not is_there(Path(text))


def apart(sources: Sequence[Any]) -> tuple[list[Any], list[Axis]]:
    """Return what is compared, and what varies within each of it.

    Raises
    ------
    UserError
        When there is nothing to compare, or an axis is none.
    """
    axes = [each for each in sources if isinstance(each, str) and is_axis(each)]
    named = [each for each in sources if not (isinstance(each, str) and is_axis(each))]
    if not named:
        raise UserError("no scenario: name a file, a folder of a result, or a shipped scenario")
    return named, [parse_axis(text) for text in axes]


def parse_axis(text: str) -> Axis:
    """Return the axis of ``key=values``.

    Raises
    ------
    UserError
        When there is no key, or the values cannot be read.
    """
    if not isinstance(text, str):  # from Python: a list, where several texts are meant
        told = "must be text, one 'key=values' for each axis, such as 'strategy.degree=4,8'"
        raise UserError(f"axis {text!r}: {told}")
    key, equals, listed = (part.strip() for part in text.partition("="))
    if not equals or not all(key.split(".")):
        raise UserError(f"axis '{text}': must be key=values, such as workload.sequence=8192,16384")
    return _axis(key, values.checked(key, listed, lambda: values.read(listed)))


def _axis(key: str, found: tuple[Any, ...] | Span) -> Axis:
    return Axis(key, (), found) if isinstance(found, Span) else Axis(key, found)


def from_mapping(axes: Mapping[str, Any]) -> list[Axis]:
    """Return the axes of a mapping from keys to lists, single values, or texts of ranges.

    Raises
    ------
    UserError
        When values cannot be read.
    """
    return [
        _axis(key, values.checked(key, str(value), lambda value=value: values.of(value)))  # type: ignore[misc]
        for key, value in axes.items()
    ]


def is_study(source: Source) -> bool:
    """Say whether a file is a study: it names a scenario and is none itself."""
    data = source.data  # a result.json names its scenario, too, and holds it
    others = {"model", "workload", "document"}
    return isinstance(data, dict) and "scenario" in data and not others & set(data)


def load(
    name: str | Path,
    axes: Sequence[Axis] = (),
    linked: Sequence[Sequence[str]] = (),
    sample: Sample | None = None,
    where: Sequence[str] = (),
) -> Study:
    """Return the study of a study file or of a scenario, with further axes, links and filters.

    Raises
    ------
    UserError
        With everything that is wrong.
    """
    path = files.find(str(name), "scenarios") or files.find(f"studies/{name}", "scenarios")
    source = read(path, str(name) if is_there(Path(name)) else str(path)) if path else None
    if path is None or source is None or not is_study(source):
        return make(Opened.file(name), axes, linked, sample, where)
    found = _keys_of(source)
    _check_filters(source, found.where)
    whole = {axis.key: axis for axis in [*from_mapping(found.axes), *axes]}
    if found.samples and sample is None and any(axis.span for axis in whole.values()):
        sample = Sample(**found.samples.model_dump())
    return make(
        _opened(found.scenario, path.parent),
        whole.values(),
        [*found.link, *linked],
        sample,
        [*found.where, *where],
    )


def _keys_of(source: Source) -> StudyKeys:
    try:
        return StudyKeys.model_validate(source.data)
    except ValidationError as error:
        problems = faults.problems(error, StudyKeys, source.data)
        raise ScenarioError(in_order(map(source.line, problems))) from None


def _check_filters(source: Source, texts: Sequence[str]) -> None:
    """Raise with the places of the filters of a file that are none."""
    problems = []
    for number, text in enumerate(texts):
        try:
            _check_filter(Filter.read(text))
        except UserError as error:
            problems.append(Problem(("where", number), str(error)))
    if problems:
        raise ScenarioError(in_order(map(source.line, problems)))


def _opened(scenario: str | dict[str, Any], folder: Path) -> Opened:
    """Return a study's scenario: beside the study, as a file, or shipped."""
    if isinstance(scenario, dict):
        return replace(Opened.document(scenario), path=folder / "scenario.yaml")
    beside = folder / scenario
    return Opened.file(beside if is_file(beside) else scenario)
