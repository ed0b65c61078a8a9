"""Records as rows: events in one file, configs with their peaks in another."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from tspsim.calibrate.oracle.fsdp.config import Config
from tspsim.calibrate.oracle.fsdp.record import Event, Record

#: Names of FSDPMemTracker's kinds.
KINDS = (
    "Sharded Param", "Unsharded Param", "Sharded Grad", "Unsharded Grad", "Activation", "Temp",
    "All Gather", "Reduce Scatter", "OptState", "Inputs", "Total",
)  # fmt: skip
_OWN = (
    "dp", "vocab", "tied", "reshard", "replicate", "accumulate", "param_dtype", "reduce_dtype",
)  # fmt: skip
_JOB = (
    "source", "strategy", "hidden", "heads", "kv_heads", "ffn", "layers", "sequence", "batch",
    "dtype",
)  # fmt: skip


def events_table(records: Iterable[tuple[Config, Record]]) -> str:
    """Return all events as CSV, in their order."""
    rows = ((config.name, *event) for config, record in records for event in record.events)
    return _csv(("config", *Event._fields), rows)


def peaks_table(records: Iterable[tuple[Config, Record]]) -> str:
    """Return all configs, with bytes before the step and at its peak, as CSV."""
    columns = ("config", *_JOB, "degree", *_OWN, "before", "during", *KINDS)
    return _csv(columns, (_peak(config, record) for config, record in records))


def _peak(config: Config, record: Record) -> tuple[Any, ...]:
    job = (getattr(config.job, name) for name in _JOB)
    own = (getattr(config, name) for name in _OWN)
    kinds = (record.peak.get(kind, 0) for kind in KINDS)
    before = record.before["Total"]
    return (config.name, *job, config.job.ranks, *own, before, record.during, *kinds)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows((columns, *rows))
    return text.getvalue()
