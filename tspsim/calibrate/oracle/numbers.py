"""What either side says of one step on one rank: flops, messages, memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any, NamedTuple


class Call(NamedTuple):
    """One communication call of a rank, in the simulator's conventions.

    Attributes
    ----------
    kind : str
        A kind of `tspsim.program.types.COLLECTIVE_KINDS`.
    bytes : int
        As in `tspsim.program.types.Message`.
    """

    kind: str
    bytes: int


class Moment(NamedTuple):
    """Memory while (or right after) one op: bytes alive once `flops` have been done."""

    flops: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """One step on one rank.

    Parameters
    ----------
    flops : int
    calls : tuple of Call
        In issue order.
    at_peak : dict
        Bytes by category at the peak.
    timeline : tuple of Moment
        After every op, in issue order.
    """

    flops: int
    calls: tuple[Call, ...]
    at_peak: dict[str, int]
    timeline: tuple[Moment, ...]

    @property
    def peak(self) -> int:
        """Largest number of bytes alive."""
        return max(moment.bytes for moment in self.timeline)

    @property
    def messages(self) -> Counter[Call]:
        """How often every kind and size of message is sent."""
        return Counter(self.calls)

    def count(self, kind: str) -> int:
        """Return the calls of a kind."""
        return sum(call.kind == kind for call in self.calls)

    def bytes(self, kind: str) -> int:
        """Return the bytes of all calls of a kind."""
        return sum(call.bytes for call in self.calls if call.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Numbers:
        """Return the numbers of a mapping."""
        calls = tuple(Call(*call) for call in data["calls"])
        timeline = tuple(Moment(*moment) for moment in data["timeline"])
        return cls(data["flops"], calls, data["at_peak"], timeline)


def milestones(one: Iterable[Moment], other: Iterable[Moment]) -> list[tuple[int, int, int]]:
    """Return (flops, bytes of one, bytes of the other) between the moments that both pass.

    Cumulative flops are the clock that both sides share: their totals are equal. Between two
    readings of that clock that both sides show, the larger bytes of each count.
    """
    a, b = _highest(one), _highest(other)
    common = sorted(a.keys() & b.keys())
    return [
        (at, _between(a, at, after), _between(b, at, after))
        for at, after in zip(common, [*common[1:], None], strict=True)
    ]


def _highest(timeline: Iterable[Moment]) -> dict[int, int]:
    found: dict[int, int] = {}
    for flops, size in timeline:
        found[flops] = max(size, found.get(flops, 0))
    return found


def _between(found: dict[int, int], first: int, after: int | None) -> int:
    return max(
        size for flops, size in found.items() if first <= flops and (after is None or flops < after)
    )


def moments(flops: Iterable[int], sizes: Iterable[int]) -> tuple[Moment, ...]:
    """Return the timeline of ops with these flops each and these bytes alive."""
    return tuple(Moment(*pair) for pair in zip(accumulate(flops), sizes, strict=True))
