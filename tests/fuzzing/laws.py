"""What the result of any scenario has to keep, whatever its numbers are."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

import tspsim
from tspsim.files.units import quantity, to_text
from tspsim.result import Result

#: Relative, of times: all laws are exact, floats are not.
TOLERANCE = 1e-9
#: By what rates grow and times shrink: a power of two, so that ties stay ties.
FACTOR = 4.0

_RATES = {"bandwidth": "B/s", "memory_bandwidth": "B/s"}
_TIMES = frozenset({"latency", "launch", "hop"})


def broken(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the laws that the result of a scenario breaks; it is known to run."""
    result = tspsim.run(document)
    yield from overlaps(result)
    yield from sums(result)
    yield from memory(result)
    if result.summary.engine.folded:
        yield from same("folded", result, tspsim.run(document, "engine.fold=off"))
    if other := alone(document):
        yield from same("tp_sp with one axis of 1", result, tspsim.run(other))
    stated = tspsim.run(document, "timing.profile=datasheet")  # efficiencies depend on sizes
    faster = tspsim.run(scaled(stated.scenario.document))
    if not _close(FACTOR * faster.timeline.step_time, stated.timeline.step_time):
        times = f"{stated.timeline.step_time} s, {faster.timeline.step_time} s"
        yield f"law: all rates times {FACTOR:g} is not time over {FACTOR:g}: {times}"


def _close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE)


def overlaps(result: Result) -> Iterator[str]:
    """Spans of one lane follow each other, and none ends before it starts."""
    line, slack = result.timeline, TOLERANCE * result.timeline.step_time
    for rank in range(line.mesh.ranks):
        lanes = np.array([op.lane for op in line.programs.of(rank).ops], dtype=np.intp)
        start, end = line.start[rank], line.end[rank]
        if (end < start).any():
            yield f"law: a span of rank {rank} ends before it starts"
        for lane in np.unique(lanes):
            mine = lanes == lane
            if (start[mine][1:] < end[mine][:-1] - slack).any():
                yield f"law: spans of rank {rank} overlap on lane {lane}"
                return


def sums(result: Result) -> Iterator[str]:
    """Compute, exposed communication, idle and waits for the host add up to the step time.

    None is negative.
    """
    time, step = result.summary.time, result.summary.step_time
    parts = (time.compute, time.exposed_communication, time.idle, time.host or 0.0)
    if not math.isfinite(step) or step < 0:
        yield f"law: the step time is {step}"
    if not _close(sum(parts), step) or min(parts) < -TOLERANCE * step:
        yield f"law: {parts} do not add up to {step}"


def memory(result: Result) -> Iterator[str]:
    """Memory ends with what is resident, and never has less."""
    line = result.timeline
    for rank, there in enumerate(result.memory.ranks):
        buffers = line.programs.of(rank).buffers
        resident = sum(buffer.bytes for buffer in buffers if buffer.resident)
        if there.total[-1] != resident or there.total.min() != resident:
            ends = f"ends with {there.total[-1]} and has at least {there.total.min()}"
            yield f"law: memory of rank {rank} {ends} B, where {resident} B are resident"
            return


def same(what: str, one: Result, other: Result) -> Iterator[str]:
    """Yield in what two results differ: ends of ranks, and peaks to the byte."""
    ends = [np.array([end.max(initial=0.0) for end in r.timeline.end]) for r in (one, other)]
    if not np.allclose(*ends, rtol=TOLERANCE, atol=0):
        steps = f"{one.timeline.step_time} s and {other.timeline.step_time} s"
        yield f"law: {what}: times differ: {steps}"
    peaks = [[rank.peak for rank in r.memory.ranks] for r in (one, other)]
    if peaks[0] != peaks[1]:
        yield f"law: {what}: peaks differ: {peaks[0]} B and {peaks[1]} B"


def alone(document: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the scenario with ``tp`` or ``sp`` in place of ``tp_sp`` with one axis of 1."""
    options = dict(document["strategy"])
    if options["kind"] != "tp_sp" or 1 not in (options["tp"], options["sp"]):
        return None
    kind, gone = ("sp", "tp") if options["tp"] == 1 else ("tp", "sp")
    left_out = ("kv",) if kind == "tp" else ("sequence_parallel", "replicate_kv_heads")
    kept = {k: v for k, v in options.items() if k not in (*left_out, "tp", "sp")}
    if "placement" in kept:
        kept["placement"] = [axis for axis in kept["placement"] if axis != gone]
    return {**document, "strategy": {**kept, "kind": kind, "degree": options[kind]}}


def scaled(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resolved scenario with all rates times `FACTOR` and all times over it."""
    changed: dict[str, Any] = copy.deepcopy(dict(document))
    for section in ("topology", "timing"):
        _scale(changed.get(section))
    _scale(changed.get("disturbances", {}).get("links"))
    return changed


def _scale(tree: Any) -> None:
    if isinstance(tree, list):
        for item in tree:
            _scale(item)
    if not isinstance(tree, dict):
        return
    for key, value in tree.items():
        if isinstance(value, str) and key in _RATES:
            tree[key] = to_text(quantity(value, _RATES[key]) * FACTOR, _RATES[key])
        elif isinstance(value, str) and key in _TIMES:
            tree[key] = to_text(quantity(value, "s") / FACTOR, "s")
        elif key == "flop_rate":
            tree[key] = {
                name: to_text(quantity(rate, "FLOP/s") * FACTOR, "FLOP/s")
                for name, rate in value.items()
            }
        elif key != "source":
            _scale(value)
