"""Every command, program and figure in the documents is what it says it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import benchmark_table
import blocks as made
import pictures
from tests import mixtures
from tests.staged import staged
from tspsim.schedules.parts.base import Size

TOP = Path(__file__).parent.parent


DOCUMENTS = made.documents()


def _name(path: Path) -> str:
    return str(path.relative_to(TOP))


def _links(text: str) -> list[str]:
    """Return the relative targets of a document's links and pictures."""
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if not re.match(r"[a-z]+:|#", target)]


def _anchors(text: str) -> set[str]:
    """Return what a document's headings are linked by, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_the_blocks_of_a_document_run_and_print_what_it_shows(path: Path, tmp_path: Path) -> None:
    """Commands and programs run in order; outputs are those of ``python docs/refresh.py``."""
    sandbox = made.Sandbox(tmp_path)
    for block in made.blocks(path.read_text(encoding="utf-8")):
        if block.language != "console":
            sandbox.run(block)
            continue
        shown = made.expected(block)
        for (command, found), text in zip(sandbox.console(block), shown, strict=True):
            place = f"{_name(path)}:{block.first}: $ {command}"
            assert made.matches(text, found), f"{place}\nshows\n{text}\nbut prints\n{found}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=_name)
def test_the_links_of_a_document_lead_somewhere(path: Path) -> None:
    """Files and headings that a document links to are there."""
    for target in _links(path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{_name(path)}: {target}"
        if anchor:
            assert anchor in _anchors(there.read_text(encoding="utf-8")), f"{_name(path)}: {target}"


def test_the_readme_quotes_the_benchmark() -> None:
    """The README's figures are those of benchmarks/results.json."""
    text = (TOP / "README.md").read_text(encoding="utf-8")
    assert benchmark_table.with_figures(text) == text
    assert "| `tspsim --help` |" in text


def test_the_commands_that_the_readme_only_names_run(tmp_path: Path) -> None:
    """Each, with fewer layers and nodes where it simulates; the cluster has a test of its own."""
    text = (TOP / "README.md").read_text(encoding="utf-8")
    (block,) = (
        block
        for block in made.blocks(text)
        if block.language == "text" and "tspsim explain" in block.lines[0]
    )
    commands = re.sub(r"\s*\\\n\s*", " ", "\n".join(block.lines)).splitlines()
    assert {line.split()[1] for line in commands} == {
        "explain", "plan", "sweep", "plot", "export", "report",
    }  # fmt: skip
    sandbox = made.Sandbox(tmp_path)
    for command in (line.partition("#")[0].strip() for line in commands):
        simulates = command.split()[1] in ("explain", "plan", "sweep")
        less = "model.layers=2" if simulates else ""
        less += " topology.nodes=2 strategy.kind=tsp" if "topology.nodes=8" in command else ""
        ((_, printed),) = sandbox.console(made.Block("console", (f"$ {command} {less}",), 0))
        assert printed


def test_the_pictures_of_the_documents_are_drawn_by_a_command(tmp_path: Path) -> None:
    """docs/images holds what docs/refresh.py draws, a benchmark, a browser; all of it is shown."""
    pictures.draw(tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()} | {"scaling.png", "report.png"}
    assert drawn == {path.name for path in (TOP / "docs" / "images").iterdir()}
    shown = {Path(t).name for path in DOCUMENTS for t in _links(path.read_text(encoding="utf-8"))}
    assert drawn <= shown


def test_a_wrong_output_would_be_noticed(tmp_path: Path) -> None:
    """The comparison is strict, ``...`` stands for lines only, and a failing command is told."""
    assert made.matches("a\n...\nd\n", "a\nb\nc\nd\n")
    assert not made.matches("a\n...\nd\n", "a\nb\n")
    assert not made.matches("a.c\n", "abc\n")
    sandbox = made.Sandbox(tmp_path)
    (block,) = made.blocks("```console\n$ echo a\nb\n```\n")
    assert made.renewed(block, sandbox.console(block)) == ["$ echo a", "a"]
    (block,) = made.blocks("```console\n$ tspsim run none\n$ echo b\n```\n")
    with pytest.raises(RuntimeError, match="exit code 2: tspsim run none"):
        sandbox.console(block)


def test_the_example_strategy_without_its_reduction_is_found_out(tmp_path: Path) -> None:
    """What CONTRIBUTING.md says happens to a strategy that forgets a reduction does happen."""
    text = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    broken, calls = re.subn(r"self\.axis\.reduce\((?:[^()]|\n)*\)", "pass", text)
    assert calls == 1
    sandbox = made.Sandbox(tmp_path)
    for block in made.blocks(broken):
        if block.file:
            sandbox.run(block)
    block = next(b for b in made.blocks(broken) if b.lines == ("$ python try_it.py", *b.lines[1:]))
    ((_, output),) = sandbox.console(block)
    assert output.startswith("right values: False")


def test_the_commands_that_set_up_are_left_to_ci() -> None:
    """The README has the two commands that .ci/run looks for, each in one block of one line."""
    text = (TOP / "README.md").read_text(encoding="utf-8")
    for name, end in (("main-job", "-o out"), ("tests", "pytest")):
        _, _, behind = text.partition(f"<!-- ci: {name} -->")
        block = next(made.blocks(behind))
        assert block.language == "sh"
        assert len(block.lines) == 1
        assert block.lines[0].startswith("python3 -m venv .venv && ")
        assert block.lines[0].endswith(end)


def _section(text: str, title: str) -> str:
    """Return the part of a document below a heading, up to the next one of its level or above."""
    level = title.partition(" ")[0]
    _, _, behind = text.partition(f"\n{title}\n")
    assert behind, f"no heading '{title}'"
    return re.split(rf"^#{{1,{len(level)}}} ", behind, maxsplit=1, flags=re.MULTILINE)[0]


def _described(section: str) -> set[str]:
    """Return what stands in backticks in the first column of a section's tables."""
    rows = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture(scope="module")
def reference() -> str:
    """Return docs/reference.md."""
    return (TOP / "docs" / "reference.md").read_text(encoding="utf-8")


def test_the_reference_describes_every_command(reference: str) -> None:
    """Commands and their options are those of the command line."""
    from typer.main import get_command

    from tspsim.cli.app import app

    section = _section(reference, "## Commands")
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert {name.split()[1] for name in _described(section) if " " in name} == set(commands)
    for command in commands.values():
        for option in command.params:
            if option.name != "help" and option.param_type_name == "option":
                assert all(f"`{flag}" in section or f"{flag} " in section for flag in option.opts)


@pytest.mark.parametrize("name", ["model", "workload", "optimizer"])
def test_the_reference_describes_every_key(reference: str, name: str) -> None:
    """A section's table has the keys of its form, and no others, with their defaults."""
    from tspsim.scenario.schema import BytesPerParameter, ScenarioKeys

    form = ScenarioKeys.model_fields[name].annotation
    keys = set(form.model_fields)  # type: ignore[union-attr]
    if name == "optimizer":
        inner = {
            f"bytes_per_parameter.{key}" for key in (*BytesPerParameter.model_fields, "ANYTHING")
        }
        keys = keys - {"bytes_per_parameter"} | inner
    assert _described(_section(reference, f"### {name}")) == keys


def test_the_reference_describes_every_strategy_option(reference: str) -> None:
    """The table of options names each with the strategies that have it, and its default."""
    from tspsim.registry import STRATEGIES

    section = _section(reference, "### strategy")
    found: dict[str, set[str]] = {}
    for row in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
        names, of, default, _ = (cell.strip() for cell in row.split(" | "))
        kinds = set(STRATEGIES.names()) if of == "all" else set(re.findall(r"`(\w+)`", of))
        for name in re.findall(r"`(\w+)`", names):
            found[name] = found.get(name, set()) | kinds
            for kind in kinds:
                field = STRATEGIES.get(kind).model_fields[name]
                shown = "required" if field.is_required() else str(field.default)
                assert default.strip("`").lower() == shown.lower(), f"{kind}.{name}"
    options = {
        name: {k for k in STRATEGIES.names() if name in STRATEGIES.get(k).model_fields}
        for kind in STRATEGIES.names()
        for name in STRATEGIES.get(kind).model_fields
        if name != "kind"
    }
    assert found == options


def test_the_reference_describes_every_key_of_a_pipeline(reference: str) -> None:
    """Keys with their defaults, policies of streams, and schedules with what they can have."""
    from tspsim.registry import SCHEDULES
    from tspsim.strategies.parts.stages import Pipeline

    tables = re.findall(r"(?:^\|.*\n)+", _section(reference, "### strategy.pp"), re.MULTILINE)
    keys, streams, schedules = tables
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|", keys, re.MULTILINE)
    fields = Pipeline.model_fields
    assert [name for name, _ in rows] == list(fields)
    defaults = {"stages": "required", "chunks": "the fewest"}
    for name, shown in rows:
        default = defaults.get(name, str(fields[name].default).lower())
        assert shown.strip("`") == default, name
    assert _described(streams) - {"streams"} == set(fields["streams"].annotation.__args__)
    line = r"^\| `(\w+)` \| ([\w ]+) \| (yes|no) \|.*\| ?(.*?)\|$"
    found = re.findall(line, schedules, re.MULTILINE)
    assert sorted(name for name, *_ in found) == list(SCHEDULES.names())
    for name, chunks, halves, options in found:
        form = SCHEDULES.get(name)
        least, most = form.chunks
        assert chunks == (f"{least}" if least == most else f"{least} or more"), name
        assert (halves == "yes") == form.split, name
        assert set(re.findall(r"^`(\w+)`", options)) == set(form.model_fields), name


def test_the_reference_describes_every_json_key(reference: str) -> None:
    """The table of ``--json`` names every key of a summary, and no other."""
    import tspsim

    result = tspsim.run(TOP / "scenarios" / "tsp-layer.yaml", "kernels.host=1 us")
    figures = staged("1f1b", Size(2, 2)).summary.to_dict() | result.summary.to_dict()
    figures["experts"] = mixtures.ran().summary.to_dict()["experts"]
    token = tspsim.run(TOP / "scenarios" / "tsp-layer.yaml", "workload={phase: decode, cached: 8}")
    figures["inference"] = token.summary.to_dict()["inference"]
    open_ended = ("axes", "by_op", "algorithms", "at_peak", "folded")
    keys = set()
    for key, value in figures.items():
        keys |= {f"{key}.{inner}" for inner in value} if isinstance(value, dict) else {key}
    section = _section(reference, "## JSON")
    assert {name for name in _described(section) if name.split(".")[-1] not in ("json",)} == keys
    assert all(any(name.endswith(f".{end}") for name in keys) for end in open_ended)


def test_the_reference_describes_every_topology_kind(reference: str) -> None:
    """The table of generators names every kind."""
    from tspsim.registry import TOPOLOGIES

    assert _described(_section(reference, "### topology")) == set(TOPOLOGIES.names())


def test_the_glossary_knows_every_buffer_kind_and_axis() -> None:
    """Words that the code prints are explained."""
    from tspsim.program.types import BUFFER_KINDS

    text = (TOP / "docs" / "glossary.md").read_text(encoding="utf-8")
    assert all(f"`{word}`" in text for word in (*BUFFER_KINDS, "tsp", "tp", "sp"))
