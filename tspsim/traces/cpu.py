"""What a rank without a GPU did: ops that no op calls, and what the threads of gloo ran."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.traces.events import Activity, Call, Numbered, activity, elements, outermost
from tspsim.traces.names import ISSUING, ORDER, collective, itemsize, of_op

#: What libraries call the events in which a collective runs.
_RAN = ("gloo:", "nccl:", "mpi:", "ucc:")

#: What gloo may run a collective as.
_AS = {"reduce_scatter": ("reduce_scatter", "all_reduce"), "all_to_all": ("all_to_all",)}


def activities(events: Sequence[Numbered], name: str) -> list[Activity]:  # noqa: ARG001
    """Return what a trace without kernels says."""
    ops = [event for _, event in events if event.get("cat") == "cpu_op"]
    ran = [event for _, event in events if str(event["name"]).startswith(_RAN)]
    calls = list(outermost([*(e for e in ops if _counts(e)), *ran]))
    found = [_op(call) for call in calls if not call.event["name"].startswith(_RAN)]
    asked = _Asked([event for event in ops if event["name"].startswith("c10d::")])
    ran.sort(key=lambda event: float(event["ts"]))
    return found + [asked.of(event) for event in ran]


def _counts(event: dict[str, Any]) -> bool:
    name = event["name"]
    return "::" in name and not name.startswith(("autograd::", "torch::"))


def _op(call: Call) -> Activity:
    name = call.event["name"]
    if name.startswith("c10d::"):
        return activity(call.event, ISSUING)
    kinds = {of_op(each) for each in (name, *call.inside)}
    return activity(call.event, next(kind for kind in ORDER if kind in kinds))


@dataclass(slots=True)
class _Request:
    """A call of ``torch.distributed``, until what it asked for has been found."""

    kind: str
    asked: float
    elements: int
    found: bool = False


class _Asked:
    """The calls of a rank, by what gloo may run for them: each is found once, in order."""

    def __init__(self, calls: list[dict[str, Any]]) -> None:
        self._waiting: defaultdict[tuple[str, int], deque[_Request]] = defaultdict(deque)
        for event in sorted(calls, key=lambda event: float(event["ts"])):
            kind = collective(event["name"])
            if kind is None:
                continue
            sizes = elements(event.get("args", {}).get("Input Dims"))
            request = _Request(kind, float(event["ts"]), max(sizes, default=0))
            for way in _AS.get(kind, (kind,)):
                for size in sorted(set(sizes)):
                    self._waiting[way, size].append(request)

    def of(self, event: dict[str, Any]) -> Activity:
        """Return what ran, with the kind, the message and the time of the call for it."""
        args = event.get("args", {})
        sizes = elements(args.get("Input Dims"))
        types = args.get("Input type") or [None]
        width = itemsize(types[0]) if isinstance(types, list) else None
        way = collective(event["name"]) or event["name"]
        size = sum(sizes) or (1 if width else 0)  # a number alone has no dims
        request = self._next(way, size, float(event["ts"]) + float(event["dur"]))
        kind = request.kind if request else way
        count = request.elements if request else size
        message = count * width if width and count else None
        asked = request.asked if request else None
        return activity(event, kind, asked, message, communication=True)

    def _next(self, way: str, size: int, before: float) -> _Request | None:
        waiting = self._waiting.get((way, size), deque())
        while waiting and waiting[0].found:
            waiting.popleft()
        if not waiting or waiting[0].asked > before:
            return None
        waiting[0].found = True
        return waiting.popleft()
