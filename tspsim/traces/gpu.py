"""What a rank with a GPU did: its kernels, each with the op that launched it."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from tspsim.traces.events import Activity, Numbered, activity, outermost
from tspsim.traces.names import (
    BOOKKEEPING,
    COPIES,
    ORDER,
    collective,
    itemsize,
    of_kernel,
    of_op,
    of_other_kernel,
)

#: Categories of the calls that launch kernels.
LAUNCHES = frozenset({"cuda_runtime", "cuda_driver", "hip_runtime"})

_MOVES = frozenset({"gpu_memcpy", "gpu_memset"})


def activities(events: Sequence[Numbered], name: str) -> list[Activity]:  # noqa: ARG001
    """Return what a trace with kernels says."""
    launches = {
        event["args"]["correlation"]: event
        for _, event in events
        if event.get("cat") in LAUNCHES and "correlation" in event.get("args", {})
    }
    ops = _Ops([event for _, event in events if event.get("cat") == "cpu_op"])
    found = []
    for _, event in events:
        launch = launches.get(event.get("args", {}).get("correlation"))
        if event.get("cat") == "kernel":
            found.append(_kernel(event, launch, ops))
        elif event.get("cat") in _MOVES:
            found.append(activity(event, COPIES, _at(launch)))
    return found


def _at(launch: dict[str, Any] | None) -> float | None:
    return float(launch["ts"]) if launch else None


def _kernel(event: dict[str, Any], launch: dict[str, Any] | None, ops: _Ops) -> Activity:
    name, args = event["name"], event.get("args", {})
    if name.startswith("nccl") or "Collective name" in args:
        told = collective(str(args.get("Collective name", ""))) or collective(name) or name
        return activity(event, told, _at(launch), _message(args), communication=True)
    if other := of_other_kernel(name):
        return activity(event, other, _at(launch), communication=True)
    kind = of_kernel(name) or (ops.kind(launch) if launch else None) or "elementwise"
    return activity(event, kind, _at(launch))


def _message(args: dict[str, Any]) -> int | None:
    """Return the bytes of a message: all of what is gathered, or scattered."""
    width = itemsize(args.get("dtype"))
    counts = [args.get(key) for key in ("In msg nelems", "Out msg nelems")]
    whole = [count for count in counts if isinstance(count, int)]
    return max(whole) * width if width and whole else None


class _Ops:
    """The ops of torch that no other op calls, by thread and time."""

    def __init__(self, ops: list[dict[str, Any]]) -> None:
        self._of: defaultdict[Any, list[tuple[float, float, str]]] = defaultdict(list)
        for call in outermost(event for event in ops if event["name"].startswith("aten::")):
            event = call.event
            kinds = {of_op(each) for each in (event["name"], *call.inside)}
            kind = next(kind for kind in ORDER if kind in kinds)
            start = float(event["ts"])
            key = event.get("pid"), event.get("tid")
            self._of[key].append((start, start + float(event["dur"]), kind))

    def kind(self, launch: dict[str, Any]) -> str | None:
        """Return what the op is that launched something; None: there is none that computes."""
        own, at = self._of.get((launch.get("pid"), launch.get("tid")), []), float(launch["ts"])
        place = bisect_right(own, at, key=lambda op: op[0]) - 1
        if place < 0 or at > own[place][1]:
            return None
        kind = own[place][2]
        return None if kind == BOOKKEEPING else kind
