"""An activity of a rank, and which events of a thread stand in which others."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tspsim.traces.names import COMPUTE

#: An event with its number in the file.
Numbered = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Activity:
    """One computation or collective, or what is neither.

    Parameters
    ----------
    kind : str
        One of `tspsim.traces.names.COMPUTE`, a collective, or what else it is.
    name : str
        As it stands in the trace.
    start, end : float
        Seconds, from where the trace counts.
    asked : float
        When the host asked for it.
    bytes : int or None
        The message of a collective, as `tspsim.program.types.Message` counts it.
    communication : bool
    """

    kind: str
    name: str
    start: float
    end: float
    asked: float
    bytes: int | None = None
    communication: bool = False

    @property
    def compute(self) -> bool:
        """Whether it computes."""
        return self.kind in COMPUTE

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.end - self.start


def activity(
    event: dict[str, Any],
    kind: str,
    asked: float | None = None,
    message: int | None = None,
    *,
    communication: bool = False,
) -> Activity:
    """Return an event's activity; `asked` in microseconds, as the event has its times."""
    start = float(event["ts"])
    end, at = start + float(event["dur"]), start if asked is None else asked
    name = str(event["name"])
    return Activity(kind, name, start * 1e-6, end * 1e-6, at * 1e-6, message, communication)


@dataclass(slots=True)
class Call:
    """An op of a thread, with all that it calls; `inside`: their names."""

    event: dict[str, Any]
    inside: list[str]


def outermost(events: Iterable[dict[str, Any]]) -> Iterator[Call]:
    """Yield the events that stand in no other one of their thread."""
    threads: defaultdict[Any, list[dict[str, Any]]] = defaultdict(list)
    for event in events:
        threads[event.get("pid"), event.get("tid")].append(event)
    for thread in threads.values():
        thread.sort(key=lambda event: (event["ts"], -event["dur"]))
        yield from _of_thread(thread)


def _of_thread(thread: list[dict[str, Any]]) -> Iterator[Call]:
    call: Call | None = None
    for event in thread:
        if call is not None and event["ts"] < call.event["ts"] + call.event["dur"]:
            call.inside.append(event["name"])
            continue
        if call is not None:
            yield call
        call = Call(event, [])
    if call is not None:
        yield call


def elements(dims: Any) -> list[int]:
    """Return the elements of every argument of a call: of a list of tensors, all of them."""
    return [_elements(argument) for argument in dims] if isinstance(dims, list) else []


def _elements(dims: Any) -> int:
    """Return the elements of an argument; 0 of what is no tensor, and of one without dims."""
    if not isinstance(dims, list) or not dims:
        return 0
    if any(isinstance(size, list) for size in dims):
        return sum(_elements(each) or 1 for each in dims)
    return math.prod(size if isinstance(size, int) else 0 for size in dims)
