"""The figures of a run as the columns of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tspsim.topology.whole_steps import told_apart

#: Columns of every row behind the axes, in order. Further ones, by collective and by buffer kind,
#: stand behind the column that they are parts of, as does what not every run has.
COLUMNS = (
    "mesh", "step_time", "step_time_low", "step_time_high", "told_apart", "tokens_per_second",
    "tokens_per_second_per_device", "mfu", "hfu",
    "time.compute", "time.exposed_communication", "time.host*", "time.idle",
    "inference.*", "pipeline.bubble*", "experts.*",
    "communication.received_bytes_per_rank", "communication.by_op.*",
    "memory.capacity", "memory.peak", "memory.at_peak.*", "fits", "status", "reason", "hash",
)  # fmt: skip


#: Those of the error; empty where it is unknown.
INTERVAL = ("step_time_low", "step_time_high", "told_apart")


def figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a summary (`Summary.to_dict`), in SI units."""
    memory, by_op = summary["memory"], summary["communication"]["by_op"]
    axes = summary["strategy"]["axes"].items()
    found: dict[str, Any] = {"mesh": " x ".join(f"{axis} {degree}" for axis, degree in axes)}
    for name in ("step_time", "tokens_per_second", "tokens_per_second_per_device", "mfu", "hfu"):
        found[name] = summary[name]
    found |= _interval(summary["interval"])
    found |= {f"time.{name}": seconds for name, seconds in summary["time"].items()}
    found |= _inference(summary.get("inference"))
    if "pipeline" in summary:
        bubble = summary["pipeline"]["bubble"]
        found |= {"pipeline.bubble": bubble["mean"], "pipeline.bubble_share": bubble["share"]}
    if "experts" in summary:
        experts = summary["experts"]
        found["experts.imbalance"] = experts["ranks"]["mean"]
        found["experts.dropped"] = experts["dropped"]
        found["experts.memory"] = sum(experts["memory"].values())
    received = "communication.received_bytes_per_rank"
    found[received] = summary["communication"]["received_bytes_per_rank"]
    found |= {f"communication.by_op.{op}": size for op, size in by_op.items()}
    found |= {f"memory.{name}": memory[name] for name in ("capacity", "peak")}
    found |= {f"memory.at_peak.{kind}": size for kind, size in memory["at_peak"].items()}
    return found | {"fits": memory["fits"]}


#: Figures of inference that have a column wherever they have a value.
SERVED = (
    "time_to_first_token", "time_per_token", "latency", "output_tokens_per_second",
    "prompt_tokens_per_second", "fitting",
)  # fmt: skip


def _inference(found: Mapping[str, Any] | None) -> dict[str, float]:
    """Return what a user of the model sees, and what the cache of a rank takes."""
    if found is None:
        return {}
    told = {f"inference.{name}": found[name] for name in SERVED if found[name] is not None}
    return told | {"inference.cache": found["cache"]["bytes"]}


def _interval(known: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Return where the step time lies, and how far apart two like it are told apart."""
    if known is None:
        return dict.fromkeys(INTERVAL)
    return dict(
        zip(INTERVAL, (known["low"], known["high"], told_apart(known["within"])), strict=True)
    )


def order(axes: Iterable[str], present: Iterable[str]) -> list[str]:
    """Return the columns of a table: the axes, then `COLUMNS` with the parts that are present."""
    parts = sorted(set(present))
    columns = list(axes)
    for name in COLUMNS:
        if name.endswith("*"):
            columns += [part for part in parts if part.startswith(name[:-1])]
        else:
            columns.append(name)
    return columns
