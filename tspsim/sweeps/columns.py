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
    "pipeline.bubble*", "experts.*", "inference.*",
    "communication.received_bytes_per_rank", "communication.by_op.*",
    "memory.capacity", "memory.peak", "memory.at_peak.*", "fits", "status", "reason", "hash",
)  # fmt: skip


#: Those of the error; empty where it is unknown.
INTERVAL = ("step_time_low", "step_time_high", "told_apart")
#: Those of inference, as far as a phase has them.
INFERENCE = ("time_to_first_token", "time_per_token", "latency", "output_tokens_per_second")


def figures(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a summary (`Summary.to_dict`), in SI units."""
    memory, by_op = summary["memory"], summary["communication"]["by_op"]
    axes = summary["strategy"]["axes"].items()
    found: dict[str, Any] = {"mesh": " x ".join(f"{axis} {degree}" for axis, degree in axes)}
    for name in ("step_time", "tokens_per_second", "tokens_per_second_per_device", "mfu", "hfu"):
        found[name] = summary[name]
    found |= _interval(summary["interval"])
    found |= {f"time.{name}": seconds for name, seconds in summary["time"].items()}
    if "pipeline" in summary:
        bubble = summary["pipeline"]["bubble"]
        found |= {"pipeline.bubble": bubble["mean"], "pipeline.bubble_share": bubble["share"]}
    if "experts" in summary:
        experts = summary["experts"]
        found["experts.imbalance"] = experts["ranks"]["mean"]
        found["experts.dropped"] = experts["dropped"]
        found["experts.memory"] = sum(experts["memory"].values())
    if "inference" in summary:
        told = ((name, summary["inference"][name]) for name in INFERENCE)
        found |= {f"inference.{name}": value for name, value in told if value is not None}
    received = "communication.received_bytes_per_rank"
    found[received] = summary["communication"]["received_bytes_per_rank"]
    found |= {f"communication.by_op.{op}": size for op, size in by_op.items()}
    found |= {f"memory.{name}": memory[name] for name in ("capacity", "peak")}
    found |= {f"memory.at_peak.{kind}": size for kind, size in memory["at_peak"].items()}
    return found | {"fits": memory["fits"]}


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
