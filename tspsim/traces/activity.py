"""What a rank did, in values: its computations and collectives, each with its kind and its times.

On a GPU these are the kernels. Without one they are the ops that no other op calls, and what the
threads of gloo run; there, the kind and the message of a collective are those of the call that
asked for it, since gloo does a reduce-scatter as an all-reduce, and says of a gather only what a
rank gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import UserError
from tspsim.traces import cpu, gpu
from tspsim.traces.events import Activity
from tspsim.traces.files import Trace, numbered

#: Microseconds: no clock counts further.
_LATEST = 10**18


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What the file of one rank says.

    Parameters
    ----------
    trace : Trace
    gpu : bool
        It has kernels of a GPU.
    activities : tuple of Activity
        In the order of their starts.
    """

    trace: Trace
    gpu: bool
    activities: tuple[Activity, ...]


def activities(trace: Trace) -> Ran:
    """Return what a trace says a rank did.

    Raises
    ------
    UserError
        With the event that is not as torch.profiler writes it; or when there is nothing.
    """
    events = list(numbered(trace.events))
    _check(events, trace.name)
    on_gpu = any(event.get("cat") == "kernel" for _, event in events)
    if not on_gpu and "nccl" in trace.backend.split(":")[-1]:
        told = "is of a run on nccl, but has no kernels; profile with ProfilerActivity.CUDA"
        raise UserError(f"{trace.name}: {told}")
    found: Sequence[Activity] = (gpu if on_gpu else cpu).activities(events, trace.name)
    if not found:
        told = "no kernel, no op of torch and no collective in it"
        raise UserError(f"{trace.name}: {told}; is the trace empty?")
    return Ran(trace, on_gpu, tuple(sorted(found, key=lambda each: each.start)))


def _check(events: Sequence[tuple[int, dict[str, Any]]], name: str) -> None:
    """Raise unless every event that lasts has a name, times and a thread."""
    for place, event in events:
        if not isinstance(event.get("name"), str):
            found = event.get("name")
            raise UserError(f"{name}: event {place}: found name {found!r}; a text is expected")
        told = _wrong(event)
        if told:
            raise UserError(f"{name}: event {place}, '{event['name']}': {told}")


def _wrong(event: dict[str, Any]) -> str:
    """Return what is wrong with an event; empty: nothing."""
    for key in ("ts", "dur"):
        value = event.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"found {key} {value!r}; a number is expected: was it cut?"
        if abs(value) > _LATEST:
            return f"found {key} {str(value)[:20]}; microseconds are expected"
    if event["dur"] < 0:
        return f"lasts {event['dur']:g} us: below 0"
    args = event.get("args", {})
    if not isinstance(args, dict):
        return "args is no object"
    keys = {key: event.get(key) for key in ("cat", "pid", "tid")}
    for key, value in (*keys.items(), ("args.correlation", args.get("correlation"))):
        if not isinstance(value, int | str | None):
            return f"found {key} {value!r}; a number or a text is expected"
    return ""
