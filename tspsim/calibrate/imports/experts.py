"""Expert MLPs among the rows of ``aiconfigurator-core``: what their three grouped products take.

A row is a whole call on one rank: the products gate, up and down of its experts, and beside them
the activation and the weighted sum of every token's experts. The latter two are passes of memory
and are taken off; the three products are alike, so that one efficiency holds for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from tspsim.calibrate.imports.skew import fullest
from tspsim.calibrate.imports.versions import with_age
from tspsim.calibrate.kernels import rows
from tspsim.calibrate.kernels.rows import Measured
from tspsim.topology.hardware import Device

#: The columns of one shape.
SHAPE = (
    "num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size",
)  # fmt: skip

#: Those of them that are of the model; the others say how it is run.
_MODEL = SHAPE[1:5]

#: In the names of kernels of experts without a gate.
_TWO_MATRICES = "nongated"

#: The library whose calls on a part of the experts see the rows of these alone.
_OWN_ROWS = "TRTLLM"

#: How much slower a call may be than one that does more, before it is no longer the kernel's time.
_TOLERATED = 1.05

_DTYPES = {"bfloat16": ("bf16", 2), "fp8_block": ("fp8", 1)}

#: Rows an expert from which calls are checks: as many as errors are stated for.
_MANY = 64

_EVEN, _SKEWED, _UNTUNED = "balanced", "power_law_", "untuned calls"


def read(frame: Any, device: Device) -> Iterator[Measured]:
    """Yield the rows of every dtype; those of uneven experts are its checks."""
    frame = frame[~frame["kernel_source"].str.contains(_TWO_MATRICES)]
    for name, (dtype, itemsize) in _DTYPES.items():
        part = _comparable(frame[frame["moe_dtype"] == name])
        even = part[part["distribution"] == _EVEN]
        if not len(even):
            continue
        tuned = _is_kernel(even)
        unseen = [(_UNTUNED, even[~tuned], _spread(even[~tuned])), *_uneven(part)]
        checks = tuple(
            (label, _measured(rows_, dtype, itemsize, load, device))
            for label, rows_, load in unseen
            if _large(rows_).any()
        )
        even = even[tuned]
        found = _measured(even, dtype, itemsize, _spread(even), device)
        model = even.groupby(list(_MODEL)).ngroup().to_numpy(dtype=np.int64)
        yield replace(found, model=model, checks=checks)


def _comparable(frame: Any) -> Any:
    """Return rows of one kind of kernel: of a library its newest version, its fastest call a shape.

    A rank that holds a part of the experts counts where its call sees no rows of others.
    """
    even = frame[frame["distribution"] == _EVEN]
    known = set(even["framework"])
    if _OWN_ROWS in known:
        frame = frame[frame["framework"] == _OWN_ROWS]
    else:
        frame = frame[frame["framework"].isin(known) & (frame["moe_ep_size"] == 1)]
    aged = with_age(frame)
    newest = aged.groupby("framework")["_age"].transform("max")
    aged = aged[aged["_age"] == newest].sort_values("latency", kind="stable")
    return aged.drop_duplicates([*SHAPE, "distribution"])


def _is_kernel(frame: Any) -> Any:
    """Return which rows are no slower than calls of the same model that do more.

    More tokens, more experts, or wider ones: what is slower was not tuned.
    """
    axes = ["num_tokens", "moe_tp_size", "moe_ep_size"]
    fine = np.zeros(len(frame), dtype=bool)
    for places in frame.groupby(list(_MODEL)).indices.values():
        part = frame.iloc[places]
        sizes, cells = zip(
            *(np.unique(part[axis], return_inverse=True) for axis in axes), strict=True
        )
        least = np.full([len(size) for size in sizes], np.inf)
        least[cells] = part["latency"]
        least = np.minimum.accumulate(least[::-1], axis=0)[::-1]
        least = np.minimum.accumulate(np.minimum.accumulate(least, axis=1), axis=2)
        fine[places] = part["latency"].to_numpy() <= _TOLERATED * least[cells]
    return fine


def _large(frame: Any) -> Any:
    return frame["num_tokens"] * frame["topk"] >= _MANY * frame["num_experts"]


def _spread(frame: Any) -> Any:
    """Return the rows that a rank has when experts are chosen alike."""
    return frame["num_tokens"] * frame["topk"] / frame["moe_ep_size"]


def _uneven(frame: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, rows and load of the busiest rank, for every skewed distribution."""
    many = frame[_large(frame)]
    for name in sorted(set(many["distribution"]) - {_EVEN}):
        part = many[many["distribution"] == name]
        exponent = float(name.removeprefix(_SKEWED))
        shapes = part[["num_tokens", "num_experts", "topk", "moe_ep_size"]].to_numpy().tolist()
        load = np.array([fullest(*map(int, shape), exponent) for shape in shapes])
        yield name, part, load
        yield f"{name} as if even", part, _spread(part)


def _measured(
    frame: Any,
    dtype: str,
    itemsize: int,
    load: Any,
    device: Device,
) -> Measured:
    tokens, hidden, groups = (
        np.asarray(column, dtype=float)
        for column in (
            frame["num_tokens"], frame["hidden_size"], frame["num_experts"] / frame["moe_ep_size"],
        )
    )  # fmt: skip
    inter = np.asarray(frame["inter_size"] / frame["moe_tp_size"], dtype=float)
    load = np.asarray(load, dtype=float)
    asked = rows.experts(load, groups, hidden, inter, itemsize=itemsize)
    seconds = frame["latency"].to_numpy(dtype=float) * 1e-3
    library = frame["framework"].to_numpy(dtype=np.str_)
    whole = Measured("grouped", dtype, asked, seconds, library)
    moved = 2 * (3 * load * inter + (load + tokens) * hidden)
    return rows.without(whole, moved / (rows.MOVED * device.memory_bandwidth), device)
