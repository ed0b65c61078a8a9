"""In what two results differ: which ops, which links, which buffers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from tspsim.analysis.fullest import fill
from tspsim.memory import alive
from tspsim.program.types import BUFFER_KINDS
from tspsim.result import Result

K = TypeVar("K", bound=Hashable)

#: Differences below this share of the larger amount are float rounding.
_DUST = 1e-9

#: Rows of every part of a difference.
MOST = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """What something takes in two results.

    Parameters
    ----------
    name : str
    first, second : float
        Seconds, or bytes; 0 where a result has no such thing.
    """

    name: str
    first: float
    second: float

    @property
    def more(self) -> float:
        """How much more it is in the second result."""
        return self.second - self.first


@dataclass(frozen=True, slots=True)
class Difference:
    """The largest differences of two results, largest first.

    Parameters
    ----------
    ops : tuple of Entry
        Seconds on their streams, on the slowest rank of each, by label and phase. What runs at the
        same time on several streams counts on each.
    links : tuple of Entry
        Bytes over a link in the step; links alike in both results are one entry.
    buffers : tuple of Entry
        Bytes alive at the peak of the fullest rank, by name and kind.
    """

    ops: tuple[Entry, ...]
    links: tuple[Entry, ...]
    buffers: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            part: [
                {"name": e.name, "first": e.first, "second": e.second} for e in getattr(self, part)
            ]
            for part in ("ops", "links", "buffers")
        }


def difference(first: Result, second: Result, most: int = MOST) -> Difference:
    """Return in what two results differ most.

    Parameters
    ----------
    first, second : Result
    most : int
        Entries of every part.
    """
    pair = first, second
    return Difference(
        _largest([_seconds(r) for r in pair], most),
        _largest_links(pair, most),
        _largest([_at_peak(r) for r in pair], most),
    )


def _largest(amounts: list[Mapping[str, float]], most: int) -> tuple[Entry, ...]:
    first, second = amounts
    names = dict.fromkeys([*first, *second])
    entries = [Entry(name, first.get(name, 0.0), second.get(name, 0.0)) for name in names]
    return _sorted(entries, most)


def _sorted(entries: Iterable[Entry], most: int) -> tuple[Entry, ...]:
    differing = [e for e in entries if abs(e.more) > _DUST * max(e.first, e.second)]
    return tuple(sorted(differing, key=lambda e: (-abs(e.more), e.name))[:most])


def _seconds(result: Result) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    timeline = result.timeline
    for span in timeline.spans(timeline.slowest_rank):
        op = span.op
        what = f"{op.label} ({op.message.collective})" if op.message else op.label
        found[f"{what}, {op.phase}"] += span.end - span.start
    return found


def _at_peak(result: Result) -> dict[str, float]:
    memory = fill(result.memory, result.scenario.topology)  # of the step that the result is of
    found: dict[str, float] = defaultdict(float)
    for buffer in alive(result.timeline, memory.peak_rank, memory.peak_time):
        found[f"{buffer.name}, {buffer.kind}"] += buffer.bytes
    beside = {name: size for name, size in memory.at_peak.items() if name not in BUFFER_KINDS}
    return {**found, **{name: size for name, size in beside.items() if size}}


def _largest_links(pair: tuple[Result, Result], most: int) -> tuple[Entry, ...]:
    """Return the links that carry different amounts; those that differ alike are one entry."""
    first, second = (_carried(result) for result in pair)
    alike: dict[tuple[float, float], list[str]] = defaultdict(list)
    for name in dict.fromkeys([*first, *second]):
        # Sums of many floats differ in their last digits between links that carry the same.
        amounts = (_rounded(first.get(name, 0.0)), _rounded(second.get(name, 0.0)))
        alike[amounts].append(name)
    entries = (Entry(_names(names), *amounts) for amounts, names in alike.items())
    return _sorted(entries, most)


def _carried(result: Result) -> dict[str, float]:
    links = result.scenario.topology.links
    found: Counter[str] = Counter()
    for transfer in result.timeline.transfers:
        for link, per_byte in transfer.loads:
            found[links[link].name] += per_byte * transfer.bytes  # type: ignore[assignment]
    return dict(found)


def _rounded(size: float) -> float:
    return float(f"{size:.9g}")


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} links such as {names[0]}"
