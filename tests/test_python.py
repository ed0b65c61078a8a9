"""The commands as functions of Python: the same answers, the same sentences, documented."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tspsim
from tspsim import commands
from tspsim.cli.app import app
from tspsim.output.plain import plain
from tspsim.reports import plan_table

ROOT = Path(__file__).parent.parent
SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"hidden": 64, "layers": 1, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 0},
    "workload": {"sequence": 64},
    "topology": {"file": "h100-node", "ranks": 4},
    "strategy": {"kind": "tsp", "degree": 4},
}


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return a file that runs in milliseconds."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL))
    return str(path)


def printed(*words: str) -> str:
    """Return what a command prints."""
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_public_name_is_there_and_documented() -> None:
    """All are imported when asked for and described; docs/python.md has these and no others."""
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    section = text.partition("## Every public name\n")[2]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    told = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(tspsim.__all__)
    for name in tspsim.__all__:
        assert getattr(tspsim, name).__doc__, name
    assert dir(tspsim) == sorted(tspsim.__all__)
    assert "Scenario(" in (tspsim.__doc__ or "")


def test_packages_of_a_command_s_name_are_the_command() -> None:
    """Whatever was imported before, ``tspsim.plan`` can be called, and its modules imported."""
    text = (
        "import tspsim.plan.search; from tspsim.plan.search import plan; import tspsim;"
        "from tspsim.explain import path; assert tspsim.plan.search.plan is plan;"
        "assert callable(tspsim.plan) and callable(tspsim.explain);"
        "assert 'tspsim.commands' not in __import__('sys').modules"
    )
    assert subprocess.run([sys.executable, "-c", text], cwd=ROOT).returncode == 0


def test_what_a_command_takes_can_be_looked_up() -> None:
    """A notebook completes the arguments of a function, whichever way it is offered."""
    for name in ("check", "compare", "explain", "plan", "serve"):
        assert signature(getattr(tspsim, name)) == signature(getattr(commands, name))


def test_a_comparison_prints_as_the_command_does(small: str) -> None:
    """Of files with axes, of mappings, and of loaded scenarios."""
    found = tspsim.compare(small, "strategy=tsp,tp")
    assert printed("compare", small, "strategy=tsp,tp").startswith(f"{found}\n")
    assert found.winner is not None
    assert found.why.startswith(found.winner.name)
    other = tspsim.load(small, ["strategy={kind: tp, degree: 4}", "name=other"])
    both = tspsim.compare(SMALL, tspsim.run(other))
    assert [each.name for each in both.candidates] == ["small", "other"]
    times = [[each.figures["step_time"] for each in c.candidates] for c in (found, both)]
    assert times[0] == times[1]


def test_a_figure_that_is_looked_for_on_a_result_is_found_in_its_summary(small: str) -> None:
    """What a result lacks is an AttributeError as elsewhere, which says where a figure is."""
    result = tspsim.run(small)
    with pytest.raises(AttributeError, match=r"a result has no 'step_time': see \.summary\.step_t"):
        result.step_time  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(result, "memry")


def test_an_explanation_prints_as_the_command_does(small: str) -> None:
    """Of a file, of what was run, of a folder, with and without changes."""
    found = tspsim.explain(small, what_if=False)
    assert printed("explain", small, "--quick") == f"{found}\n"
    result = tspsim.run(small)
    assert str(tspsim.explain(result, what_if=False)) == str(found)
    folder = result.save(Path(small).parent / "out")
    assert str(tspsim.explain(folder, what_if=False)) == str(found)
    longer = tspsim.explain(result, "workload.sequence=128", what_if=False)
    assert longer.path.total > found.path.total
    assert "critical path" in longer._repr_html_()


def test_a_plan_prints_its_table_and_its_best_can_be_run(small: str) -> None:
    """What it found is a scenario that takes as long as it says."""
    found = tspsim.plan(small, "strategy.kind=tsp,tp", top=2)
    assert str(found) == plain(plan_table.render(found))
    assert f"{found.counts.candidates} candidates" in str(found)
    best = tspsim.run(found.scenario())
    assert best.summary.step_time == found.best[0].figures["step_time"]
    assert len(found.to_dict()["best"]) == len(found.best) == 2


@pytest.mark.parametrize(
    ("words", "ask"),
    [
        (["compare", "tsp-layer"], lambda: tspsim.compare("tsp-layer")),
        (["explain", "tsp-lair"], lambda: tspsim.explain("tsp-lair")),
        (["explain", str(ROOT)], lambda: tspsim.explain(ROOT)),
        (["plan"], lambda: tspsim.plan()),
        (["plan", "tsp-layer", "--objective", "sped"],
         lambda: tspsim.plan("tsp-layer", objective="sped")),
        (["plan", "tsp-layer", "--per-token", "1 ms"],
         lambda: tspsim.plan("tsp-layer", per_token="1 ms")),
        (["plan", "llama3-70b-decode-h100-tsp", "--per-token", "30"],
         lambda: tspsim.plan("llama3-70b-decode-h100-tsp", per_token="30")),
        (["check", "tsp-layer", "strategy.degree=3"],
         lambda: tspsim.check("tsp-layer", "strategy.degree=3")),
        (["serve", "tsp-layer", "--arrivals", "8/s", "--prompt", "8", "--new-tokens", "8"],
         lambda: tspsim.serve("tsp-layer", arrivals="8/s", prompt=8, new_tokens=8)),
        (["serve", "tsp-layer", "--arrivals", "8/s"],
         lambda: tspsim.serve("tsp-layer", arrivals="8/s")),
    ],
)  # fmt: skip
def test_mistakes_are_the_sentences_of_the_command(words: list[str], ask: Any) -> None:
    """An error of Python says what the command says on stderr."""
    with pytest.raises(tspsim.TspsimError) as error:
        ask()
    assert CliRunner().invoke(app, words).stderr == f"{error.value}\n"
    assert not re.search(r"Traceback", str(error.value))


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda: tspsim.run("tsp-layer", ["workload.batch=2"]),  # type: ignore[arg-type]
         r"override \['workload.batch=2'\]: must be text, one 'key=value' for each change"),
        (lambda: tspsim.sweep("tsp-layer", ["workload.batch=2,4"]),  # type: ignore[arg-type]
         r"axis \['workload.batch=2,4'\]: must be text, one 'key=values' for each axis"),
        (lambda: tspsim.plan("tsp-layer", 3),  # type: ignore[arg-type]
         "override 3: must be text"),
        (lambda: tspsim.compare("tsp-layer", 3),  # type: ignore[arg-type]
         "compare: sources: found 3; must be text, a Path, a mapping, a Scenario or a Result"),
        (lambda: tspsim.run(None),  # type: ignore[arg-type]
         "run: source: found nothing; must be text, a Path, a mapping or a Scenario"),
        (lambda: tspsim.plan("tsp-layer", topp=3),  # type: ignore[call-arg]
         r"plan: unknown argument 'topp' \(did you mean 'top'\?\); known: changes, model"),
        (lambda: tspsim.serve("tsp-layer"),  # type: ignore[call-arg]
         "serve: missing a required argument: 'arrivals'; takes: source"),
        (lambda: tspsim.sweep("tsp-layer", where="x > 3"),  # text is a sequence, but no list
         "sweep: where: found 'x > 3'; must be a list, each text"),
        (lambda: tspsim.Sample("sobl", 3),  # type: ignore[arg-type]
         "Sample: method: found 'sobl'; must be 'latin_hypercube' or 'sobol'"),
        (lambda: tspsim.Sample("sobol", 0), "Sample: count: found 0; must be .* at least 1"),
        (lambda: tspsim.Scenario("tsp-layer"),  # type: ignore[call-arg,misc]
         "Scenario takes sections by their names alone: model, .*; found 1 values"),
        (lambda: tspsim.Workload(routing=tspsim.Router()),  # type: ignore[arg-type]
         "Workload: routing: found a Router; must be a Routing"),
        (lambda: tspsim.load("tsp-layer").replace(model=tspsim.Workload(sequence=8)),
         "Scenario: model: found a Workload; must be a Model$"),
        (lambda: tspsim.run({"strategy": tspsim.Model("llama-3-8b")}),
         "<document>: strategy: found a Model; must be a Strategy"),
    ],
)  # fmt: skip
def test_mistakes_that_only_python_makes_are_told(ask: Any, told: str) -> None:
    """What a command line cannot say is refused with a sentence, too."""
    with pytest.raises(tspsim.UserError, match=told):
        ask()


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda r: r.plot.gantt(window=3),
         r"plot.gantt: window: found 3; must be \(a number, a number\) or None"),
        (lambda r: r.plot.gantt(3), "plot.gantt: ax: found 3; must be an Axes or None"),
        (lambda r: r.plot.links(rank=0), "plot.links: unknown argument 'rank'; known: ax$"),
        (lambda r: r.save(None), "Run.save: directory: found nothing; must be text or a Path"),
        (lambda r: r.save("a\0b"), "cannot be written: embedded null byte"),
        (lambda r: r.scenario.to_yaml(3), "to_yaml: path: found 3; must be text, a Path or None"),
        (tspsim.run, "run: source: found a Run; must be text"),
    ],
)  # fmt: skip
def test_methods_of_what_is_answered_tell_them_too(small: str, ask: Any, told: str) -> None:
    """A picture's options, and places."""
    with pytest.raises(tspsim.UserError, match=told):
        ask(tspsim.run(small))


def test_values_of_numpy_are_arguments_as_those_of_python_are(small: str) -> None:
    """Loops over ``numpy.arange`` ask for ranks and windows as loops over ``range`` do."""
    run = tspsim.run(small)
    end = np.float64(run.timeline.step_time)
    assert run.plot.gantt(window=[np.int64(0), end], ranks=range(2)) is not None
    with pytest.raises(TypeError):  # as Python's own, to those who look for that
        tspsim.plan(small, top=True)


@pytest.mark.parametrize("limit", ["-1 ms", "0 s"])
def test_a_limit_is_more_than_nothing(limit: str) -> None:
    """Nothing keeps another one: it is a slip of the finger."""
    with pytest.raises(tspsim.UserError, match=f"--first-token: found '{limit}'; must be more th"):
        tspsim.plan("llama3-70b-decode-h100-tsp", first_token=limit)


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (
            lambda s: tspsim.serve(s, arrivals="8/s", requests=0),
            "--requests: found 0; .* from 1 to",
        ),
        (lambda s: tspsim.serve(s, arrivals="8/s", requests=10**9), "--requests: .* to 1,000,000"),
        (lambda s: tspsim.serve(s, arrivals="8/s", seed=-1), "--seed: found -1; .* at least 0"),
        (lambda s: tspsim.serve(s, arrivals="8/s", block=0), "--block: found 0"),
        (lambda s: tspsim.serve(s, arrivals="8/s", max_sequences=0), "--max-sequences: found 0"),
        (lambda s: tspsim.plan(s, top=0), "--top: found 0; must be a whole number of at least 1"),
        (lambda s: tspsim.plan(s, jobs=0), "--jobs: found 0"),
        (lambda s: tspsim.sweep(s, "workload.sequence=64,128", jobs=-2), "--jobs: found -2"),
        (lambda s: tspsim.compare_trace(s, []), "no traces: name the files of a run"),
    ],
)
def test_numbers_out_of_the_bounds_of_an_option_are_refused(
    small: str, ask: Any, told: str
) -> None:
    """Python has no parser of options: what that would refuse is told all the same."""
    with pytest.raises(tspsim.UserError, match=told):
        ask(small)


def test_a_plan_of_inference_prints_as_the_command_does(small: str) -> None:
    """What keeps a limit is a scenario that keeps it; where nothing does, that is told."""
    changes = ["workload={phase: decode, cached: 64}", "strategy={kind: tp, degree: 4}"]
    found = tspsim.plan(small, *changes, per_token="100 us")
    assert isinstance(found, tspsim.InferencePlan)
    words = ["plan", small, *changes, "--per-token", "100 us", "--jobs", "1"]
    assert printed(*words) == f"{found}\n"
    assert [each["mesh"] for each in found.to_dict()["served"]] == ["tp 4"]
    largest = found.best[0].largest
    assert largest is not None
    again = tspsim.run(found.scenario()).summary.inference
    assert again is not None
    assert again.time_per_token == largest.per_token
    none = tspsim.plan(small, *changes, per_token="1 ns")
    assert not none.best
    with pytest.raises(tspsim.UserError, match="no strategy does what is asked"):
        none.scenario()


def test_a_proof_and_a_service_print_as_the_commands_do(small: str) -> None:
    """Of files and of scenarios that were loaded."""
    assert printed("check", small) == f"{tspsim.check(small)}\n"
    assert tspsim.check(tspsim.load(small)).passed
    decode = "workload={phase: decode, cached: 64}"
    options = ["--arrivals", "900/s", "--prompt", "64", "--new-tokens", "4..8", "--requests", "9"]
    found = tspsim.serve(
        tspsim.load(small), decode, arrivals="900/s", prompt=64, new_tokens="4..8", requests=9
    )
    assert printed("serve", small, decode, *options) == f"{found}\n"
