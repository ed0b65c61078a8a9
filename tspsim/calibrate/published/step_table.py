"""The table of published steps, as measured and as predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import mean
from typing import Any

from tspsim.calibrate.published.judge import Judged, Quality, evidence, quality
from tspsim.topology.whole_steps import COVERAGE, StepEvidence, interval


def table(judged: Sequence[Judged]) -> str:
    """Return every step, then every source, then what all of them say of an interval."""
    return "\n".join([*_rows(judged), "", *summary(judged)]) + "\n"


def _rows(judged: Sequence[Judged]) -> list[str]:
    lines = [f"{'':34} {'measured':>11} {'predicted':>11} {'':>8}  peak memory"]
    for source in _sources(judged):
        some = [each for each in judged if each.step.source == source]
        fitted = "  (fitted to)" if some[0].step.use == "fit" else ""
        lines.append(f"{source}, {some[0].step.device}{fitted}")
        lines += [_row(each) for each in some]
    return lines


def _row(each: Judged) -> str:
    step, found = each.step, each.predicted
    times = f"{step.seconds * 1e3:>8,.1f} ms {found.seconds * 1e3:>8,.1f} ms {each.error:>+8.1%}"
    memory = ""
    if step.memory:
        off = found.memory / step.memory - 1
        memory = f"  {step.memory / 1e9:.1f} GB, {found.memory / 1e9:.1f} GB {off:+.0%}"
    return f"  {step.name:32} {times}{memory}"


def summary(judged: Sequence[Judged]) -> list[str]:
    """Return a line per source, and the intervals."""
    lines = [
        f"{'source':20} {'framework':9} {'nodes':>5} {'rows':>5} {'error':>7} {'bias':>7} "
        f"{'in order':>9} {'inside':>8} {'memory':>7}"
    ]
    lines += [_source(source, judged) for source in _sources(judged)]
    checks = [e for e in judged if e.step.use == "check" and e.step.framework != "none"]
    lines += ["", "rows that nothing was fitted to:"]
    for name, several in (("one node", False), ("several nodes", True)):
        chosen = [each for each in checks if (each.step.nodes > 1) == several]
        lines.append(_span(name, chosen, judged))
    lines += ["", f"{COVERAGE:.0%} intervals, times the prediction:"]
    return lines + [_interval(known) for known in evidence(judged)]


def _span(name: str, chosen: Sequence[Judged], judged: Sequence[Judged]) -> str:
    error = mean(abs(each.error) for each in chosen)
    found = [quality(source, judged, chosen) for source in _sources(chosen)]
    known = [each for each in found if each.inside is not None]
    rows, inside = sum(each.rows for each in known), sum(each.inside or 0 for each in known)
    covered = f"{inside} of {rows} ({inside / rows:.0%}) inside" if rows else "none judged"
    return f"  {name:14} {len(chosen):>3} rows, {error:.1%} off, {covered} the others' interval"


def _interval(known: StepEvidence) -> str:
    where = "several nodes" if known.several else "one node"
    found = interval([known], known.framework, 2 if known.several else 1)
    assert found is not None
    return (
        f"  {known.framework:9} {where:14} {found.low:.2f} to {found.high:.2f} "
        f"({found.rows} rows of {found.sources}; within a source {known.within:.1%})"
    )


def _sources(judged: Sequence[Judged]) -> list[str]:
    return list(dict.fromkeys(each.step.source for each in judged))


def _source(source: str, judged: Sequence[Judged]) -> str:
    some = [each for each in judged if each.step.source == source]
    found: Quality = quality(source, judged)
    counts = sorted({each.step.nodes for each in some})
    nodes = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
    order = f"{found.ordered}/{found.pairs}" if found.pairs else "-"
    inside = "fit" if some[0].step.use == "fit" else _of(found.inside, found.rows)
    memory = "-" if found.memory_error is None else f"{found.memory_error:.1%}"
    return (
        f"{source:20} {some[0].step.framework:9} {nodes:>5} {found.rows:>5} {found.error:>7.1%} "
        f"{found.bias:>+7.1%} {order:>9} {inside:>8} {memory:>7}"
    )


def _of(inside: int | None, rows: int) -> str:
    return "unknown" if inside is None else f"{inside}/{rows}"


def to_dict(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the steps, their sources and the intervals as a JSON-able mapping; SI units."""
    return {
        "steps": [_step(each) for each in judged],
        "sources": {name: quality(name, judged)._asdict() for name in _sources(judged)},
        "intervals": [asdict(known) for known in evidence(judged)],
    }


def _step(each: Judged) -> dict[str, Any]:
    step, found = each.step, each.predicted
    return {
        "source": step.source, "name": step.name, "device": step.device, "nodes": step.nodes,
        "framework": step.framework, "use": step.use, "quantity": step.quantity,
        "measured": step.seconds, "predicted": found.seconds,
        "memory_measured": step.memory, "memory_predicted": found.memory,
    }  # fmt: skip
