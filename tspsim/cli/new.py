"""``tspsim new``: a first scenario of one's own, from flags or five questions."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from tspsim.cli.guard import guarded, say, write
from tspsim.files.errors import OutputError, UnknownNameError, UserError

if TYPE_CHECKING:
    from tspsim.files.shipped import Kind

#: What stands in a scenario where a flag is left out and nobody is there to ask.
_USUAL = {"model": "llama-3-8b", "topology": "h100-node", "phase": "train", "sequence": "32768",
          "strategy": "tsp"}  # fmt: skip


def _help(name: str, text: str) -> str:
    return f"{text} [default: {_USUAL[name]}]"


@guarded
def new(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help=_help("model", "As 'list models' has, or a config.json."),
        ),
    ] = None,
    topology: Annotated[
        str | None,
        typer.Option(
            "--topology",
            metavar="NAME",
            help=_help("topology", "As 'list topologies' has, or a file."),
        ),
    ] = None,
    phase: Annotated[
        str | None,
        typer.Option(
            "--phase",
            metavar="PHASE",
            help=_help("phase", "train, forward, prefill, decode, generate."),
        ),
    ] = None,
    sequence: Annotated[
        str | None,
        typer.Option("--sequence", metavar="N", help=_help("sequence", "Tokens of one sequence.")),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy", metavar="KIND", help=_help("strategy", "As 'list strategies' has.")
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="The file [default: stdout]."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over FILE if it is there.")] = False,
) -> None:
    """Write a scenario with comments, from flags; what they leave out is asked on a terminal."""
    from tspsim.cli.starter import Answers, scenario_text
    from tspsim.files.reading import is_there
    from tspsim.files.writing import check_file, write_text

    if output is not None:
        if is_there(output) and not force:
            raise OutputError(f"{output}: is there already; --force writes over it")
        check_file(output)
    stated = {"model": model, "topology": topology, "phase": phase, "sequence": sequence,
              "strategy": strategy}  # fmt: skip
    answers = Answers(**{name: _answer(name, told) for name, told in stated.items()})
    text = scenario_text(answers, output.name if output else "new.yaml")
    if output is None:
        write(text)
        return
    write_text(output, text)
    say(f"wrote {output}; next: tspsim run {output}")


def can_ask() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


def _answer(name: str, told: str | None) -> Any:
    """Return an answer: as the flag states it, as it is given on a terminal, or the usual one."""
    asked, check = _QUESTIONS[name]
    usual = _USUAL[name]
    if told is not None:
        return check(told)
    if not can_ask():
        return check(usual)
    while True:
        given = typer.prompt(asked, default=usual, err=True)
        try:
            return check(given)
        except UserError as error:
            say(str(error))


def _found(text: str, what: str, folder: Kind) -> str:
    from tspsim.scenario import files

    if files.find(text, folder) is None:
        raise UserError(f"--{what}: {files.not_found(text, folder)}")
    return text


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--sequence: found '{text}'; must be a whole number of tokens, as 32768")
    return int(text)


def _phase(text: str) -> str:
    from tspsim.model import Phase

    return _one_of(text, "phase", get_args(Phase))


def _kind(text: str) -> str:
    from tspsim.registry import STRATEGIES

    return _one_of(text, "strategy", STRATEGIES.names())


def _one_of(text: str, what: str, known: Sequence[str]) -> str:
    if text not in known:
        raise UnknownNameError(what, text, known)
    return text


#: Of every answer: what is asked, and how it is read.
_QUESTIONS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "model": (
        "Which model ('tspsim list models', or a config.json or its folder)",
        lambda text: _found(text, "model", "models"),
    ),
    "topology": (
        "On which hardware ('tspsim list topologies', or a file)",
        lambda text: _found(text, "topology", "topologies"),
    ),
    "phase": ("What: train, forward, prefill, decode or generate", _phase),
    "sequence": ("How many tokens has a sequence", _count),
    "strategy": ("Split how ('tspsim list strategies')", _kind),
}
