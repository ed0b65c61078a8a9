"""``tspsim plan``: the best meshes for a model on given hardware, and what keeps others out."""

from __future__ import annotations

import json as json_text
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tspsim.cli.guard import DOES_NOT_FIT, guarded, say, show, show_json

if TYPE_CHECKING:
    from tspsim.plan.longest import Longest
    from tspsim.plan.question import Question
    from tspsim.plan.search import Answer
    from tspsim.scenario.loader import Opened


@guarded
def plan(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCENARIO] [KEY=VALUE]...",
            help="A scenario whose strategy is to be found, and changes; what a change states of "
            "the strategy is not varied: strategy.kind=tsp,tp strategy.zero=1.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="NAME", help="A model, as 'list models' has.")
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option("--topology", metavar="NAME", help="A topology, as 'list topologies' has."),
    ] = None,
    sequence: Annotated[
        int | None, typer.Option("--sequence", min=1, metavar="N", help="Tokens of one sequence.")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            "--batch",
            min=1,
            metavar="N",
            help="Sequences of a step, over all replicas [default: the scenario's; one per node].",
        ),
    ] = None,
    phase: Annotated[
        str | None, typer.Option("--phase", metavar="PHASE", help="train or forward.")
    ] = None,
    objective: Annotated[
        str, typer.Option("--objective", help="throughput, memory, latency or cost.")
    ] = "throughput",
    top: Annotated[int, typer.Option("--top", min=1, metavar="N", help="How many.")] = 10,
    longest: Annotated[
        bool, typer.Option("--longest", help="Find the longest sequence per strategy, too.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Processes [default: cores].")
    ] = None,
    per_token: Annotated[
        str | None,
        typer.Option("--per-token", metavar="TIME", help="Inference: a limit, such as '30 ms'."),
    ] = None,
    first_token: Annotated[
        str | None,
        typer.Option("--first-token", metavar="TIME", help="Inference: a limit, such as '2 s'."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help=".yaml: the best as a scenario for 'run'; .json: the whole answer; of inference "
            ".json, or a picture of time against tokens a second.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")] = False,
) -> None:
    """Find the best mesh, placement, recomputation and micro-batch for a model and a fabric."""
    from tspsim.cli.progress import progress
    from tspsim.files.writing import check_file
    from tspsim.plan import asking
    from tspsim.plan.objectives import objective as named
    from tspsim.plan.search import plan as planned

    named(objective)  # an unknown name is told before anything is read
    if output is not None:
        check_file(output)
    stated = {"model": model, "topology": topology, "sequence": sequence, "phase": phase}
    processes = jobs or _cores()
    options = {"longest": longest, "jobs": processes, "output": output, "json": json}
    opened, changes = _sources(words or [], stated)
    if _infers(opened, changes, stated, (per_token, first_token), options):
        return
    _check_suffix(output)
    question = asking.question(opened, changes, stated, batch)
    with progress("planning") as advance:
        answer = planned(question, objective, top, processes, advance)
    with progress("finding the longest sequences") as advance:
        lengths = _lengths(answer.question, processes, advance) if longest else []
    _tell(answer, lengths, output, json)


def _tell(answer: Answer, lengths: Sequence[Longest], output: Path | None, as_json: bool) -> None:
    """Print the answer, write it where asked, and exit with a code of its own if nothing fits."""
    from tspsim.reports import plan_table

    if as_json:
        show_json(plan_table.to_dict(answer, lengths))
    else:
        show(plan_table.render(answer, lengths))
    if output is not None:
        _write(answer, lengths, output)
    if not answer.best:
        raise SystemExit(DOES_NOT_FIT)


def _sources(words: Sequence[str], stated: dict[str, Any]) -> tuple[Opened, list[str]]:
    """Return the scenario that is named, or one that the options make, and the changes."""
    from tspsim.files.errors import UserError
    from tspsim.plan.asking import made
    from tspsim.scenario.loader import Opened

    sources = [word for word in words if "=" not in word]
    if len(sources) > 1:
        raise UserError(f"one scenario at a time; found {', '.join(sources)}")
    opened = Opened.file(sources[0]) if sources else made(stated)
    return opened, [word for word in words if "=" in word]


def _infers(
    opened: Opened,
    changes: Sequence[str],
    stated: dict[str, Any],
    limits: tuple[str | None, str | None],
    options: dict[str, Any],
) -> bool:
    """Plan a phase of inference if that is what the command line asks; say whether it was."""
    from tspsim.cli.plan_inference import plan_inference
    from tspsim.plan.asking import besides, fixed
    from tspsim.plan.inference_asking import is_asked, refuse_limits

    overrides = besides(changes, stated)
    if is_asked(opened.data(overrides)):
        plan_inference(opened, overrides, fixed(changes), limits, options)
        return True
    refuse_limits(limits)
    return False


def _lengths(question: Question, jobs: int, advance: Any) -> list[Longest]:
    from tspsim.plan.longest import families, longest_of
    from tspsim.plan.work import Workers

    names = families(question)
    workers = Workers(question, jobs)
    found: list[Longest] = []
    try:
        for each in workers.map(longest_of, names):
            found.append(each)
            advance(len(found) / len(names))
    finally:
        workers.close()
    return found


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_suffix(output: Path | None) -> None:
    from tspsim.files.errors import OutputError

    if output is not None and output.suffix not in (".yaml", ".yml", ".json"):
        raise OutputError(f"{output}: must end in .yaml (the best as a scenario) or .json")


def _write(answer: Answer, lengths: Sequence[Longest], output: Path) -> None:
    """Write the whole answer, or the best of it as a scenario."""
    from tspsim.files.writing import write_text
    from tspsim.reports import plan_table
    from tspsim.scenario.writing import to_text

    if output.suffix == ".json":
        text = json_text.dumps(plan_table.to_dict(answer, lengths), indent=2) + "\n"
    elif not answer.best:
        say(f"{output}: not written, as nothing fits")
        return
    else:
        best = answer.best[0].candidate
        text = to_text(best.scenario(answer.question).document)
    write_text(output, text)
    say(f"wrote {output}")
