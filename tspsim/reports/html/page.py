"""Puts a report's parts into its template: one file, with nothing to fetch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tspsim import __version__
from tspsim.analysis.fullest import MemoryFigures, fill
from tspsim.analysis.summary import Summary
from tspsim.explain.explanation import Explanation, explain
from tspsim.files.between import within
from tspsim.files.errors import OutputError
from tspsim.files.extras import need
from tspsim.files.writing import check_file, write_text
from tspsim.output.units import share, size, time, time_unit
from tspsim.reports import explanation
from tspsim.reports.comparison import ALIKE, MARK, alike, cells, titles
from tspsim.reports.html import (
    answers,
    assumptions,
    charts,
    maps,
    pipelines,
    sweep_tables,
    waterfalls,
)
from tspsim.reports.html.sources import Drawn, Subject
from tspsim.result import Result
from tspsim.sweeps.candidates import winner

#: Suffixes that a report may have.
SUFFIXES = (".html", ".htm")
#: The scripts, in the order in which they build on each other.
SCRIPTS = ("view.js", "gantt.js", "memory.js", "lines.js", "main.js")
#: Lines of a list of resources or of causes.
LISTED = 6


def check(path: Path) -> None:
    """See that the page can be made, and have this name, before anything is simulated.

    Raises
    ------
    OutputError
        When the suffix is not that of a page, or there is no place for a file.
    UserError
        When jinja2 is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path}: a report is .html, not '{path.suffix}'")
    need("jinja2", "report", "a report")
    check_file(path)


def write(subject: Subject, path: Path) -> None:
    """Write the report of a subject, whole or not at all.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    write_text(path, render(subject))


def render(subject: Subject) -> str:
    """Return the page. The same subject gives the same text."""
    import jinja2  # which a plain installation leaves out

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_file("page.html"))
    page: str = template.render(
        style=_file("style.css"),
        script="\n".join(map(_file, SCRIPTS)),
        data=_embedded(_data(subject)),
        version=__version__,
        **_parts(subject),
    )
    return page


def _file(name: str) -> str:
    return (resources.files("tspsim.reports.html") / name).read_text(encoding="utf-8")


def _embedded(data: Mapping[str, Any]) -> str:
    """Return JSON that may stand inside of a script element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c")


def _data(subject: Subject) -> dict[str, Any]:
    """Return what the scripts draw."""
    runs = [charts.run(drawn, len(subject.drawn)) for drawn in subject.drawn]
    return {"runs": runs, "lines": sweep_tables.lines(subject.swept) if subject.swept else None}


def _parts(subject: Subject) -> dict[str, Any]:
    """Return what the template writes."""
    swept = subject.swept
    explained = [explain(drawn.result, what_if=False) for drawn in subject.drawn]
    longest = max((found.why.total for found in explained), default=0.0)
    return {
        "title": answers.title(subject),
        "question": answers.question(subject),
        "answer": answers.answer(subject, explained),
        "figures": [] if swept or subject.compared else _figures(subject.drawn[0].result),
        "compared": _compared(subject),
        "heads": titles(subject.compared),
        "sweep": sweep_tables.tables(swept) if swept else None,
        "winner_map": maps.winner_map(swept) if swept else "",
        "study": json.dumps(assumptions.study(swept.store), indent=1) if swept else "",
        "runs": [_run(*each, longest) for each in zip(subject.drawn, explained, strict=True)],
        "assumptions": assumptions.assumptions(subject),
        "not_modelled": assumptions.NOT_MODELLED,
        "provenance": [
            made | {"document": json.dumps(made["document"], indent=1, ensure_ascii=False)}
            for made in assumptions.provenance(subject)
        ],
    }


def _figures(result: Result) -> list[tuple[str, str, str]]:
    """Return the figures of a run: name, value, and what it is of."""
    found = result.summary
    step, parts, memory = found.step_time, found.time, found.memory
    interval = found.to_dict()["interval"]
    mfu = "unknown" if found.mfu is None else f"{100 * found.mfu:.1f} %"
    return [
        *_served(found),
        ("step time", time(step), f"of the slowest rank; {within(interval, time_unit(step))}"),
        ("tokens/s per device", f"{found.tokens_per_second_per_device:,.0f}",
         f"{found.tokens_per_second:,.0f} of all {found.ranks}"),
        ("MFU", mfu, "model flops over the peak rate"),
        ("compute", time(parts.compute), f"{share(parts.compute, step)} of the step"),
        ("exposed communication", time(parts.exposed_communication),
         f"{share(parts.exposed_communication, step)} of the step"),
        *([] if parts.host is None else
          [("waiting for the host", time(parts.host), f"{share(parts.host, step)} of the step")]),
        *([] if found.pipeline is None else
          [("pipeline bubble", time(found.pipeline.bubble.mean),
            f"{share(found.pipeline.bubble.mean, step)} of the step; at most "
            f"{share(found.pipeline.bubble.most, step)}")]),
        ("received per rank", size(found.communication.received_bytes_per_rank), "in one step"),
        ("peak memory", size(memory.peak), f"of {size(memory.capacity)}: {_room(memory)}"),
    ]  # fmt: skip


def _served(found: Summary) -> list[tuple[str, str, str]]:
    """Return what a user of the model sees, in inference: name, value, and what it is of."""
    seen = found.inference
    if seen is None:
        return []
    first, token, rate = (
        seen.time_to_first_token,
        seen.time_per_token,
        seen.output_tokens_per_second,
    )
    steps = {"first": seen.prefill.steps if seen.prefill else 0,
             "token": seen.decode.steps if seen.decode else 0}  # fmt: skip
    made = [
        ("time to first token", first and time(first), _count(steps["first"], "all prompts")),
        ("time per token", token and time(token), _count(steps["token"], "their mean")),
        ("output tokens/s", rate and f"{rate:,.0f}", "of all replicas"),
        ("cache of a rank", size(seen.cache.bytes), f"{seen.cache.tokens:,} tokens in the end"),
    ]
    return [(name, value, told) for name, value, told in made if value]


def _count(steps: int, told: str) -> str:
    return "one step" if steps == 1 else f"{steps:,} steps: {told}"


def _room(memory: MemoryFigures) -> str:
    left = memory.capacity - memory.peak
    return f"{size(left)} to spare" if left >= 0 else f"DOES NOT FIT: {size(-left)} too much"


def _memory(memory: MemoryFigures) -> str:
    """Return what the heading of a memory chart says."""
    peak = f"peak {size(memory.peak)} of {size(memory.capacity)}"
    return f"{peak}, {_room(memory)} (rank {memory.peak_rank}, the fullest)"


def _compared(subject: Subject) -> list[dict[str, Any]]:
    best, same = winner(subject.compared), alike(subject.compared)
    row = cells(subject.compared)
    return [
        {
            "name": each.name,
            "best": each is best,
            "mark": MARK if each is best else ALIKE if each in same else "",
            "cells": row(each) if each.result is not None else (),
            "reason": each.reason,
        }
        for each in subject.compared
    ]


def _run(drawn: Drawn, found: Explanation, longest: float) -> dict[str, Any]:
    """Return what stands beside the charts of one run: what limits it."""
    step = found.path.total
    return {
        "name": drawn.name,
        "title": drawn.title,
        "sentence": explanation.sentence(found),
        "why": waterfalls.rows(found.why, longest),
        "ranks": found.why.ranks,
        "path": _bars([(b.resource, b.seconds) for b in found.bottlenecks], step),
        "ops": _bars(list(found.path.by(lambda piece: piece.op.kind.name).items()), step),
        "exposed": _bars(_causes(found), step),
        "bubble": _bars(pipelines.parts(found.bubble), step),
        "waits": f"The bubble of rank {found.bubble.rank}" if found.bubble else "",
        "pipeline": pipelines.picture(drawn.result),
        "step": time(step),
        "memory": _memory(fill(drawn.result.memory, drawn.result.scenario.topology)),
    }


def _causes(found: Explanation) -> list[tuple[str, float]]:
    return [(f"{c.collective} of {c.label}, {c.phase}", c.seconds) for c in found.causes]


def _bars(parts: Sequence[tuple[str, float]], whole: float) -> list[tuple[str, str, str, float]]:
    """Return the largest parts: name, time, share, and the share as a number for a bar."""
    rows = list(parts[: LISTED if len(parts) > LISTED + 1 else LISTED + 1])
    if rest := len(parts) - len(rows):
        rows.append((f"{rest} others", sum(seconds for _, seconds in parts[LISTED:])))
    return [(n, time(s), share(s, whole), 100 * s / whole if whole else 0.0) for n, s in rows]
