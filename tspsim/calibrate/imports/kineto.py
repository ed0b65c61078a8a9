"""Kernels of a trace that ``torch.profiler`` exported, with ``record_shapes``, of one's own run."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tspsim.calibrate.kernels import rows
from tspsim.calibrate.kernels.rows import Asked, Measured, check_agreement
from tspsim.files.errors import UserError
from tspsim.model import ITEMSIZE
from tspsim.topology.tables import TableKind
from tspsim.traces import files
from tspsim.traces.gpu import LAUNCHES

#: What a trace calls the types; both half-precision types run at one rate.
_DTYPES = {
    "c10::BFloat16": "bf16", "c10::Half": "bf16", "float": "fp32", "double": "fp64",
}  # fmt: skip


class _Form(NamedTuple):
    """Where the arguments of an op stand: its first operand, and whether there is a mask."""

    kind: TableKind
    first: int
    causal: int = -1


#: The ops that launch the kernels themselves; `aten::linear` and others only call these.
_OPS = {
    "aten::mm": _Form("matmul", 0),
    "aten::addmm": _Form("matmul", 1),
    "aten::_scaled_dot_product_flash_attention": _Form("attention", 0, 4),
    "aten::_scaled_dot_product_flash_attention_for_cpu": _Form("attention", 0, 4),
    "aten::_scaled_dot_product_efficient_attention": _Form("attention", 0, 6),
    "aten::_scaled_dot_product_cudnn_attention": _Form("attention", 0, 6),
    "aten::_scaled_dot_product_flash_attention_backward": _Form("attention_backward", 1, 11),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": _Form("attention_backward", 1, 7),
    "aten::_scaled_dot_product_efficient_attention_backward": _Form("attention_backward", 1, 11),
    "aten::_scaled_dot_product_cudnn_attention_backward": _Form("attention_backward", 1, 14),
}

#: Scores, dV, dP, dQ and dK against scores and output; and about twice the operands.
_BACKWARD_FLOPS, _BACKWARD_BYTES = 2.5, 2.0


@dataclass(frozen=True, slots=True)
class _Timed:
    """An op and the seconds of its kernels; `place`: which event of the trace it is."""

    form: _Form
    dtype: str
    shape: tuple[float, ...]
    seconds: float
    place: int


def read(path: Path, ranks: int | None = None) -> list[Measured]:
    """Return the kernels of a trace: one row a shape, the median of its calls.

    Parameters
    ----------
    path : Path
    ranks : int, optional
        How many ranks the run had; the trace must say the same.

    Raises
    ------
    UserError
        When it is no such trace, is of another number of ranks, or has no kernels.
    """
    trace = files.read(path)
    events, name = trace.events, trace.name
    _check_ranks(trace, ranks)
    groups: defaultdict[tuple[TableKind, str], list[_Timed]] = defaultdict(list)
    try:
        for timed in _timed(events, name):
            groups[timed.form.kind, timed.dtype].append(timed)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        told = f"{type(error).__name__}: {error}"
        raise UserError(f"{name}: an event is not as torch.profiler writes it ({told})") from None
    if not groups:
        told = "no matrix product and no attention with shapes in it"
        raise UserError(f"{name}: {told}; profile with record_shapes=True")
    return [_measured(kind, dtype, some, name) for (kind, dtype), some in groups.items()]


def _check_ranks(trace: files.Trace, ranks: int | None) -> None:
    found = 1 if trace.world is None else trace.world
    if ranks is not None and found != ranks:
        raise UserError(f"{trace.name}: is of a run of {found} ranks, not of {ranks} (--ranks)")


def _timed(events: list[Any], name: str) -> Iterator[_Timed]:
    """Yield the ops that are known; their kernels are those launched while they ran."""
    launches = _launches(events, name)
    for place, event in enumerate(events, start=1):
        form = _OPS.get(event.get("name", "")) if event.get("cat") == "cpu_op" else None
        if form is None or "Input Dims" not in event.get("args", {}):
            continue
        dtype = _DTYPES.get(event["args"]["Input type"][form.first])
        shape = _shape(form, event["args"])
        seconds = _seconds(event, launches) * 1e-6
        if dtype is not None and shape is not None and seconds > 0:
            yield _Timed(form, dtype, shape, seconds, place)


def _launches(events: list[Any], name: str) -> dict[Any, list[tuple[float, float]]] | None:
    """Return when each thread launched kernels, and their microseconds; None: a run on a CPU."""
    kernels = {
        event["args"]["correlation"]: float(event["dur"])
        for event in events
        if event.get("cat") == "kernel"
    }
    runtime = [event for event in events if event.get("cat") in LAUNCHES]
    if not kernels:
        if runtime:
            told = "launches kernels, but none of them is in it"
            raise UserError(f"{name}: {told}; profile with ProfilerActivity.CUDA")
        return None
    found: defaultdict[Any, list[tuple[float, float]]] = defaultdict(list)
    for event in runtime:
        took = kernels.get(event.get("args", {}).get("correlation"))
        if took is not None:
            found[event["tid"]].append((float(event["ts"]), took))
    return found


def _seconds(event: Any, launches: dict[Any, list[tuple[float, float]]] | None) -> float:
    """Return the microseconds of an op: its own on a CPU, else those of its kernels."""
    start, took = float(event["ts"]), float(event["dur"])
    if launches is None:
        return took
    own = launches.get(event["tid"], ())
    return sum(time for at, time in own if start <= at <= start + took)


def _shape(form: _Form, args: Any) -> tuple[float, ...] | None:
    """Return (m, n, k), or (batch, heads, kv_heads, sequence, head_dim); None: something else."""
    dims = args["Input Dims"]
    first, second = dims[form.first], dims[form.first + 1]
    if form.kind == "matmul":
        whole = len(first) == len(second) == 2 and all((*first, *second))
        return (first[0], second[1], first[1]) if whole else None
    if len(first) != 4 or len(second) != 4:
        return None
    batch, heads, queries, head_dim = first
    causal = args.get("Concrete Inputs", [])[form.causal] == "True"
    square = queries * second[2] * (1 if causal else 2)
    return batch, heads, second[1], math.sqrt(square), head_dim


def _measured(kind: TableKind, dtype: str, some: list[_Timed], name: str) -> Measured:
    columns = [
        np.array(column, dtype=float) for column in zip(*(t.shape for t in some), strict=True)
    ]
    seconds = np.array([timed.seconds for timed in some])
    library = np.array(["trace"] * len(some), dtype=np.str_)
    every = Measured(kind, dtype, _asked(kind, dtype, columns), seconds, library)
    check_agreement(every, [f"event {timed.place}" for timed in some], name)
    shapes, member = np.unique(np.column_stack(columns), axis=0, return_inverse=True)
    medians = [float(np.median(seconds[member.ravel() == i])) for i in range(len(shapes))]
    asked = _asked(kind, dtype, list(shapes.T))
    return Measured(kind, dtype, asked, np.array(medians), library[: len(shapes)])


def _asked(kind: TableKind, dtype: str, columns: list[Any]) -> Asked:
    if kind == "matmul":
        return rows.matmul(*columns, itemsize=ITEMSIZE[dtype])
    asked = rows.attention(*columns, itemsize=ITEMSIZE[dtype])
    if kind == "attention":
        return asked
    return Asked(asked.place, asked.flops * _BACKWARD_FLOPS, asked.bytes * _BACKWARD_BYTES)
