"""``tspsim import``: scenarios from the command lines and files of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tspsim.cli.guard import guarded, say, show_json, write
from tspsim.files.errors import UserError

if TYPE_CHECKING:
    from tspsim.scenario.interop.draft import Draft

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make a scenario of a Megatron-LM command line, a torchtitan file, or a Hugging Face "
    "model.",
)

Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write it there, not to stdout."),
]
Topology = Annotated[
    str | None,
    typer.Option("--topology", metavar="NAME", help="A shipped topology, or a file."),
]
World = Annotated[
    int | None,
    typer.Option("--world-size", metavar="N", min=1, help="Devices, where nothing else says it."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the scenario as one JSON object.")]


@app.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[--world-size N] [--topology NAME] [-o FILE]",
)
@guarded
def megatron(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS|FILE",
            help="The command line, as one text or as it is, or a file that holds it.",
            show_default=False,
        ),
    ] = None,
    world: World = None,
    topology: Topology = None,
    back: Annotated[
        str | None,
        typer.Option("--back", metavar="SCENARIO", help="The other way: print its flags."),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Make a scenario of a Megatron-LM command line, or the flags of a scenario."""
    from tspsim.scenario.interop import megatron as reading

    if back is not None:
        _back(back, words, output, json)
        return
    text, name = _command(words or [])
    _end(reading.read(text, name, world, topology), output, json)


@app.command()
@guarded
def torchtitan(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Its configuration (.toml).")],
    world: World = None,
    topology: Topology = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="In place of its flavor: a shipped model."),
    ] = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Make a scenario of a configuration file of torchtitan."""
    from tspsim.files.reading import read_text
    from tspsim.scenario.interop import torchtitan as reading

    _end(reading.read(read_text(file), str(file), world, topology, model), output, json)


@app.command()
@guarded
def hf(
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="A folder with a config.json, or that file.")
    ],
    topology: Topology = None,
    output: Output = None,
    json: Json = False,
) -> None:
    """Make a scenario around a model of Hugging Face."""
    from tspsim.scenario.interop import hugging_face as reading

    _end(reading.read(path, topology), output, json)


def _command(words: list[str]) -> tuple[str, str]:
    """Return a command line, and what it is called in messages."""
    import shlex

    from tspsim.files.reading import is_there, read_text

    if not words:
        raise UserError("no command line; say its flags, or name a file that holds them")
    if len(words) > 1:
        return shlex.join(words), "command line"
    if is_there(Path(words[0])):
        return read_text(Path(words[0])), words[0]
    if "-" not in words[0][:2] and " " not in words[0].strip():
        raise UserError(f"{words[0]}: no such file, and no flag")
    return words[0], "command line"


def _back(scenario: str, words: list[str] | None, output: Path | None, json: bool) -> None:
    """Print a scenario as flags of Megatron-LM."""
    from tspsim.scenario import files
    from tspsim.scenario.interop.megatron_back import back

    if words:
        raise UserError(f"--back {scenario}: takes a scenario alone; found {words[0]} too")
    path = files.find(scenario, "scenarios")
    if path is None:
        raise UserError(files.not_found(scenario, "scenarios"))
    found = back(path)
    if json:
        show_json({"flags": found.flags, "world_size": found.world, "notes": found.notes})
    if output is not None or not json:
        _put(output, f"{found.text}\n")
    for note in found.notes:
        say(f"left to Megatron-LM: {note}")
    say(f"for {found.world} devices")


def _end(draft: Draft, output: Path | None, json: bool) -> None:
    """Check a draft as a scenario, and print or write it."""
    draft.scenario()
    if json:
        show_json(draft.document)
    if output is not None or not json:
        _put(output, draft.yaml())
    for line in draft.told():
        say(line)


def _put(output: Path | None, text: str) -> None:
    """Write a text whole, or to stdout."""
    from tspsim.files.writing import write_text

    if output is None:
        write(text)
        return
    write_text(output, text)
    say(f"wrote {output}")
