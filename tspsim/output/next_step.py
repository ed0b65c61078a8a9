"""What to type where a step does not fit: from what is known of its memory, nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from tspsim.model import ModelShape, Optimizer
from tspsim.output.units import size

if TYPE_CHECKING:
    from tspsim.result import Result

#: What ranks with the same weights share, by the stage of ZeRO from which they do.
_SHARED = {1: "optimizer", 2: "gradient", 3: "weight"}


def next_step(result: Result) -> str:
    """Return what helps a step that does not fit: more devices, fewer sequences, ZeRO, or a search.

    Parameters
    ----------
    result : Result
        Of which the peak is above the capacity.
    """
    scenario, figures = result.scenario, result.summary.to_dict()
    kept, memory = (scenario.model, scenario.optimizer, scenario.document), figures["memory"]
    return (
        more_devices(*kept, len(scenario.topology.devices), memory["capacity"])
        or _fewer_sequences(scenario.document["workload"], figures)
        or _zero(result, memory)
        or "tspsim plan SCENARIO looks for a way that fits"
    )


def more_devices(
    model: ModelShape,
    optimizer: Optimizer,
    document: Mapping[str, Any],
    devices: int,
    capacity: float,
) -> str:
    """Return how many devices hold one copy of what stays, where there are fewer; or nothing.

    Parameters
    ----------
    model : ModelShape
    optimizer : Optimizer
    document : Mapping
        The scenario.
    devices : int
    capacity : float
        Bytes of a device.
    """
    trains = document["workload"]["phase"] == "train"
    copy = model.parameters * sum(_per_parameter(optimizer, document, trains))
    needed = math.ceil(copy / capacity)
    if needed <= devices:
        return ""
    what = "weights, gradients and optimizer states" if trains else "weights"
    told = f"one copy of the {what} is {size(copy)}, which takes {needed:,} such devices or more"
    nodes = document["topology"].get("nodes")
    if nodes is None:
        return f"{told}, not {devices:,}: see tspsim list topologies"
    more = math.ceil(needed * nodes / devices)
    return f"{told}, not {devices:,}: tspsim plan SCENARIO topology.nodes={more}"


def _per_parameter(
    optimizer: Optimizer, document: Mapping[str, Any], trains: bool
) -> Iterator[float]:
    """Yield the bytes of every parameter that some device has to hold."""
    yield optimizer.weight
    if trains:
        yield optimizer.gradient
        if (document.get("strategy") or {}).get("offload") is None:
            yield from (itemsize for _, itemsize in optimizer.states)


def _fewer_sequences(workload: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    fitting = figures["inference"]["fitting"] if "inference" in figures else None
    batch = (fitting or 0) // workload.get("micro_batches", 1)
    alike = not workload.get("requests") and isinstance(workload.get("cached") or 0, int)
    return f"fewer sequences: workload.batch={batch}" if batch and alike else ""


def _zero(result: Result, memory: Mapping[str, Any]) -> str:
    """Return the first stage of ZeRO that shares out more than is too much."""
    strategy, over, kept = result.scenario.strategy, memory["peak"] - memory["capacity"], 0.0
    if result.scenario.workload.phase != "train":
        return ""
    for stage in range(strategy.zero + 1, max(_SHARED) + 1):
        kept += memory["at_peak"].get(_SHARED[stage], 0) * (1 - 1 / strategy.sharers)
        if kept > over:
            return f"strategy.zero={stage} shares out {size(kept)} of it"
    return ""
