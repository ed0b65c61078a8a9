"""Names and arguments that drive a terminal, a page or a picture are refused, or shown as text."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import tspsim
from tspsim.cli.app import app
from tspsim.files.characters import printable, problem
from tspsim.files.errors import ScenarioError
from tspsim.scenario import from_document, load

SMALL = """\
name: NAME
model: {hidden: 64, layers: 1, heads: 8, kv_heads: 4, ffn: 128, vocab: 256}
workload: {sequence: 64}
topology: {kind: ring, ranks: 2, link: {bandwidth: 50 GB/s, latency: 1 us}, device: h100-sxm}
strategy: {kind: tsp, degree: 2}
"""
#: What a page, a picture with formulas, a terminal's markup or a path could take for its own.
STRANGE = "</script><blink>&amp; [bold]x[/] :smile: $\\frac{1}{ $x_1^ %s {0} é"


def call(*arguments: object) -> Result:
    """Run a command of the command line."""
    return CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Return the file of a scenario with a strange name."""
    path = tmp_path / "s.yaml"
    path.write_text(SMALL.replace("NAME", json.dumps(STRANGE)))
    return path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\u001b[31mb"), ("a\rb\x07", r"a\u000db\u0007"), ("\x9b2J", r"\u009b2J"),
        ("\u202eb", r"\u202eb"), ("\udcff", r"\udcff"), ("two\nlines\tü→", "two\nlines\tü→"),
    ],
)  # fmt: skip
def test_what_drives_a_terminal_is_shown_escaped(text: str, shown: str) -> None:
    """All else stays as it is."""
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize("character", ["\\e", "\\r", "\\x9b", "\\u202E", "\\x7F", "\\n", "\\t"])
@pytest.mark.parametrize("key", ["name", "topology.name", "optimizer.kind", "topology.device"])
def test_a_name_is_one_line_of_text(key: str, character: str, tmp_path: Path) -> None:
    """Refused where it stands, in files and in overrides, and quoted without doing anything."""
    name = f'"a{character}[31mb"'
    whole = {"topology.device": f"{{extends: h100-sxm, name: {name}}}"}.get(key, name)
    path = tmp_path / "s.yaml"
    path.write_text(SMALL.replace("NAME", "x"))
    result = call("run", path, f"{key}={whole}")
    assert result.exit_code == 2
    assert f"override '{key}=" in result.stderr
    assert "control character U+" in result.stderr
    if key == "name":
        path.write_text(SMALL.replace("NAME", name))
        result = call("run", path)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"{path}:1:7: ")
        assert "control character U+" in result.stderr


def test_a_key_is_one_line_of_text(tmp_path: Path) -> None:
    """Names of optimizer states are keys."""
    path = tmp_path / "s.yaml"
    more = 'optimizer: {bytes_per_parameter: {"a\\e[2J": 4}}\n'
    path.write_text(SMALL.replace("NAME", "x") + more)
    result = call("run", path)
    assert (result.exit_code, result.stderr) == (
        2, f"{path}:6:35: holds control character U+001B\n",
    )  # fmt: skip


def test_a_document_in_memory_is_held_against_the_same(tmp_path: Path) -> None:
    """What Python hands over, a stored study or a result never was a file of ours."""
    path = tmp_path / "s.yaml"
    path.write_text(SMALL.replace("NAME", "x"))
    document = dict(load(path).document)
    for wrong in ({"name": "a\x1b"}, {"optimizer": {"kind": "\x9b"}}, {"a\x00": 1}):
        with pytest.raises(ScenarioError, match=r"control character U\+00"):
            from_document(document | wrong)
    assert problem({"a": ["b", {"c": "d\n"}], "e": 1.5}) is None


@pytest.mark.skipif(os.name != "posix", reason="such names are for POSIX")
def test_a_file_may_have_any_name_and_is_shown_escaped(tmp_path: Path) -> None:
    """Its scenario is called by it; messages and tables quote it."""
    path = tmp_path / "a\x1b[31m\nb.yaml"
    path.write_text(SMALL.replace("name: NAME\n", ""))
    result = call("run", path, "-o", tmp_path / "out\x1b[2J")
    assert result.exit_code == 0
    assert "\x1b" not in result.output
    assert "\\u001b[31m\\u000ab" in result.stdout
    assert "wrote " in result.stderr
    assert "\\u001b[2J" in result.stderr
    path.write_text("model: 1")
    assert "\x1b" not in call("run", path).output


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "no\x1b[31m"], ["run", "SCENARIO", "a\x1b=1"], ["run", "SCENARIO", "name=\x1b"],
        ["run", "SCENARIO", "network.algorithm=\x9bx"], ["list", "\x1b"],
        ["plot", "no\x1b", "--kind", "\x1b"], ["plot", "no\x1b", "--kind", "gantt"],
        ["export", "no\x1b"], ["report", "no\x1b"], ["explain", "no\x1b"],
        ["sweep", "SCENARIO", "a\x1b=1"], ["sweep", "SCENARIO", "name=\x1b,b", "-o", "o\x1b"],
        ["collective", "\x1b", "--topology", "h100-node"], ["run", "SCENARIO", "--no\x1b"],
        ["no\x1b"], ["run", "SCENARIO", "--runs", "\x1b"],
    ],
)  # fmt: skip
def test_arguments_are_quoted_without_doing_anything(
    arguments: list[str], scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with them."""
    monkeypatch.chdir(tmp_path)
    result = call(*(str(scenario) if each == "SCENARIO" else each for each in arguments))
    assert result.exit_code == 2, result.output
    assert "\x1b" not in result.output
    assert "\x9b" not in result.output


def test_a_name_is_shown_as_it_is(scenario: Path, tmp_path: Path) -> None:
    """Brackets are no markup, colons no pictures, dollars no formulas, and nothing is HTML."""
    out = tmp_path / "out"
    for command in ("run", "show", "explain"):
        shown = call(command, scenario, *(["-o", out] if command == "run" else []))
        assert shown.exit_code == 0, shown.exception
        assert "[bold]x[/] :smile:" in shown.stdout.replace("\n", " ")
    trace = json.loads(gzip.decompress((out / "trace.json.gz").read_bytes()))
    assert STRANGE in json.dumps(trace, ensure_ascii=False).replace("\\\\", "\\")
    for kind in ("gantt", "memory", "topology"):
        page = tmp_path / f"{kind}.html"
        assert call("plot", out, "--kind", kind, "-o", page).exit_code == 0
        text = page.read_text(encoding="utf-8")
        assert "<blink>" not in text
        assert "</script>" not in text


def test_a_report_escapes_every_name(scenario: Path, tmp_path: Path) -> None:
    """Of one run, of a comparison and of a sweep; also inside of its scripts."""
    pytest.importorskip("jinja2", reason="a report needs jinja2")
    runs = [tmp_path / "one", tmp_path / "two"]
    for number, run in enumerate(runs):
        assert call("run", scenario, f"workload.batch={number + 1}", "-o", run).exit_code == 0
    device = json.dumps("<blink>d</script>")
    axis = f"topology.device=[{{extends: h100-sxm, name: {device}}}, h100-sxm]"
    swept = call("sweep", scenario, axis, "strategy=tsp,tp", "-o", tmp_path / "s", "--jobs", 1)
    assert swept.exit_code == 0, swept.output
    for folders in (runs[:1], runs, [tmp_path / "s"]):
        page = tmp_path / "page.html"
        assert call("report", *folders, "-o", page).exit_code == 0
        text = page.read_text(encoding="utf-8")
        assert "<blink>" not in text
        assert text.count("</script>") == text.count("<script")


def test_a_notebook_escapes_every_name(scenario: Path) -> None:
    """The table that it shows of a result."""
    shown = tspsim.run(scenario)._repr_html_()
    assert "<blink>" not in shown
    assert "&lt;/script&gt;" in shown
