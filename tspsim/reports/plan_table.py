"""The answer to a plan: the best candidates, what became of the others, the longest sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.analysis.apart import apart
from tspsim.files.between import rests_on
from tspsim.files.numbers import plain
from tspsim.output.next_step import more_devices
from tspsim.output.units import size, time
from tspsim.plan.longest import Longest
from tspsim.plan.misses import Miss
from tspsim.plan.question import Candidate, Question
from tspsim.plan.search import Answer, Ranked
from tspsim.reports.comparison import ALIKE, MARK, step_cell, step_title

#: Options that a candidate's mesh shows already, or that say nothing where they are so.
_SHOWN = frozenset({"kind", "dp", "placement", "bucket", "replicate_kv_heads"})


def mesh_name(candidate: Candidate) -> str:
    """Return the mesh, outermost axis first, such as ``"dp 8 x tsp 8"``."""
    axes = [(name, n) for name, n in candidate.strategy.mesh().axes if n > 1]
    return " x ".join(f"{name} {n}" for name, n in axes) or "1 rank"


def how(candidate: Candidate) -> str:
    """Return everything about a candidate that its mesh does not show."""
    words = [] if candidate.recompute == "none" else [f"recompute {candidate.recompute}"]
    if candidate.micro_batches > 1:
        words.append(f"{candidate.micro_batches} micro-batches of {candidate.batch}")
    degrees = type(candidate.strategy).degrees()
    options = candidate.strategy.model_dump(exclude_defaults=True)
    if candidate.strategy.experts is not None:
        options["experts"] = candidate.strategy.experts.text()
    for name, value in options.items():
        if name not in _SHOWN and name not in degrees:
            words.append(name if value is True else f"{name} {value}")
    return ", ".join(words)


def render(answer: Answer, lengths: Sequence[Longest] = ()) -> RenderableType:
    """Return the table of the best, the nearest misses, and the longest sequences."""
    parts: list[RenderableType] = [Text(_title(answer.question))]
    if answer.best:
        parts += [_best(answer), Text(_sure(answer), "dim")]
    else:
        parts.append(Text("Nothing fits.", "bold red"))
        parts += [Text(f"next: {told}") for told in _next(answer.question, lengths)]
    parts += [Text(), Text(_counts(answer))]
    if answer.misses:
        parts += [Text(), _misses(answer)]
    if lengths:
        parts += [Text(), _lengths(lengths)]
    return Group(*parts)


def _title(question: Question) -> str:
    base, devices = question.base, question.devices
    workload = base.workload
    work = "training step" if workload.phase == "train" else "forward pass"
    plural = "sequences" if question.batch > 1 else "sequence"
    return (
        f"{base.name}: a {work} of {question.batch:,} {plural} of {workload.sequence:,} tokens "
        f"on {devices} x {base.topology.devices[0].name}"
    )


def _next(question: Question, lengths: Sequence[Longest]) -> Iterator[str]:
    """Yield what helps where nothing fits: more devices, or shorter sequences."""
    base = question.base
    kept = base.model, base.optimizer, base.document
    if told := more_devices(*kept, question.devices, question.free):
        yield told
    elif not lengths:
        yield "--longest finds the longest sequence that fits, per strategy"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _best(answer: Answer) -> Table:
    table = _table("", "mesh", "how")
    priced = answer.dollars(answer.best[0]) is not None
    known = any(ranked.figures["interval"] for ranked in answer.best)
    for name in (step_title(known), "tok/s/dev", *(["$/Mtok"] if priced else ["MFU"]), "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, ranked in enumerate(answer.best):
        mark, style = (MARK, "bold green") if not number else (_mark(answer, ranked), "")
        row = (mark, mesh_name(ranked.candidate), how(ranked.candidate), *_cells(answer, ranked))
        table.add_row(*row, style=style)
    return table


def _is_alike(answer: Answer, ranked: Ranked) -> bool | None:
    """Whether a plan cannot be told from the best; None: unknown, or it is no matter of speed."""
    if answer.objective == "memory":
        return None
    known = apart(answer.best[0].figures, ranked.figures)
    return None if known is None else known.draw


def _mark(answer: Answer, ranked: Ranked) -> str:
    return ALIKE if _is_alike(answer, ranked) else ""


def _sure(answer: Answer) -> str:
    """Return what the times rest on, and what the mark of those like the first says."""
    best = answer.best[0].figures
    text = f"times from profile {best['profile']['name']}: {rests_on(best['interval'])}"
    alike = (ranked for ranked in answer.best[1:] if _is_alike(answer, ranked))
    known = [apart(best, ranked.figures) for ranked in alike]
    if not known:
        return text
    least = 100 * max(each.least for each in known if each is not None)
    return f"{text}\n{ALIKE} cannot be told from the first: less than {least:.1f} % apart"


def _cells(answer: Answer, ranked: Ranked) -> tuple[str, ...]:
    figures, dollars = ranked.figures, answer.dollars(ranked)
    mfu = "unknown" if figures["mfu"] is None else f"{100 * figures['mfu']:.1f} %"
    return (
        step_cell(figures),
        f"{figures['tokens_per_second_per_device']:,.0f}",
        mfu if dollars is None else plain(dollars, 3),
        size(figures["memory"]["peak"]),
    )


def _counts(answer: Answer) -> str:
    counts, best = answer.counts, len(answer.best)
    beaten = f"{counts.beaten:,} cannot be among the best {best}, " if best else ""
    return (
        f"{counts.candidates:,} candidates: {counts.unfit:,} cannot fit, {beaten}"
        f"{counts.simulated:,} simulated"
    )


def _misses(answer: Answer) -> Table:
    table = _table("not among them" if answer.best else "nearest misses", "", "")
    for miss in answer.misses:
        candidate = miss.candidate
        told = f"{mesh_name(candidate)}: {how(candidate)}".rstrip(": ") if candidate else ""
        table.add_row(f"  {miss.family}", _verdict(miss, answer.objective), told)
    return table


def _verdict(miss: Miss, objective: str) -> str:
    """Return why a strategy is not among the best."""
    if miss.candidate is None:
        return miss.reason
    if miss.over > 0:
        return f"needs {'at least ' if miss.proven else ''}{size(miss.over)} more"
    least = "" if miss.simulated else "at least "
    if objective == "memory":
        return f"has a peak of {least}{size(miss.peak)}"
    return f"takes {least}{time(miss.seconds)}"


def _lengths(lengths: Sequence[Longest]) -> Table:
    table = _table("longest sequence", "tokens", "peak", "at most", "mesh")
    for found in lengths:
        if found.candidate is None:
            table.add_row(f"  {found.family}", "none fits", "", "", "")
            continue
        mesh = f"{mesh_name(found.candidate)}: {how(found.candidate)}".rstrip(": ")
        tokens, most = f"{found.sequence:,}", f"{found.at_most:,}"
        table.add_row(f"  {found.family}", tokens, size(found.peak), most, mesh)
    return table


def to_dict(answer: Answer, lengths: Sequence[Longest] = ()) -> dict[str, Any]:
    """Return the answer as a JSON-able mapping, in SI units."""
    question, counts = answer.question, answer.counts
    found: dict[str, Any] = {
        "scenario": question.base.name,
        "objective": answer.objective,
        "devices": question.devices,
        "batch": question.batch,
        "sequence": question.base.workload.sequence,
        "best": [_ranked(answer, ranked) for ranked in answer.best],
        "not_among_them": [_miss(miss) for miss in answer.misses],
        "counts": {
            "candidates": counts.candidates,
            "unfit": counts.unfit,
            "beaten": counts.beaten,
            "simulated": counts.simulated,
        },
    }
    if lengths:
        found["longest"] = [_length(each) for each in lengths]
    return found


def _ranked(answer: Answer, ranked: Ranked) -> dict[str, Any]:
    return _candidate(ranked.candidate) | {
        "bounds": {"step_time": ranked.bound.seconds, "memory": ranked.bound.memory},
        "draw": None if ranked is answer.best[0] else _is_alike(answer, ranked),
        "dollars_per_million_tokens": answer.dollars(ranked),
        "result": ranked.figures,
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "mesh": mesh_name(candidate),
        "strategy": candidate.strategy.model_dump(mode="json"),
        "batch": candidate.batch,
        "micro_batches": candidate.micro_batches,
        "recompute": candidate.recompute,
    }


def _miss(miss: Miss) -> dict[str, Any]:
    found: dict[str, Any] = {"strategy": miss.family, "reason": miss.reason or None}
    if miss.candidate is not None:
        fits = miss.over <= 0
        found |= {
            "nearest": _candidate(miss.candidate),
            "needs_more_memory": None if fits else miss.over,
            "step_time": miss.seconds if fits else None,
            "peak": miss.peak if fits else None,
            "is_bound": not miss.simulated if fits else miss.proven,
        }
    return found


def _length(found: Longest) -> dict[str, Any]:
    return {
        "strategy": found.family,
        "sequence": found.sequence or None,
        "at_most": found.at_most or None,
        "peak": found.peak or None,
        "candidate": _candidate(found.candidate) if found.candidate else None,
    }
