"""Answers as tables of pandas, and as they show themselves in a notebook."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Group
from rich.table import Table
from rich.text import Text

import tspsim
from tests.typed_script import made
from tspsim.output.html import html

ROOT = Path(__file__).parent.parent
#: What a page of a report may hold beside others.
MOST_BYTES = 40_000


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    """Return an answer of every command, to small questions."""
    scenario = made()
    result = tspsim.run(scenario)
    flat = scenario.replace(strategy=tspsim.TSP(degree=4))
    decode = flat.replace(workload=tspsim.Workload(phase="decode", cached=64))
    return {
        "Scenario": scenario,
        "Run": result,
        "Comparison": tspsim.compare(flat, "strategy=tsp,tp,sp", "strategy.slots=2,1"),
        "Sweep": tspsim.sweep(flat, "workload.sequence=64,128,60", "strategy=tsp,tp"),
        "Plan": tspsim.plan(flat, "strategy={kind: tsp, degree: 4}", top=2),
        "InferencePlan": tspsim.plan(decode, "strategy={kind: tp, degree: 4}", per_token="50 us"),
        "Explained": tspsim.explain(result, what_if=False),
        "Serving": tspsim.serve(decode, arrivals="900/s", prompt=64, new_tokens=8, requests=9),
        "Proof": tspsim.check(scenario),
    }


NAMES = (
    "Scenario", "Run", "Comparison", "Sweep", "Plan", "InferencePlan", "Explained", "Serving",
    "Proof",
)  # fmt: skip


class Tags(HTMLParser):
    """Holds what is open, and notes what a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        """Open a tag; one that ends itself comes as a pair."""
        self.seen.append(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the tag that was opened last."""
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_shows_itself_as_a_small_table(name: str, answers: dict[str, Any]) -> None:
    """Well-formed, of tens of kilobytes at most, and without a colour for the page's own text."""
    found = answers[name]
    assert type(found) is getattr(tspsim, name)
    text = found._repr_html_()
    tags = Tags(text)
    assert tags.open == []
    assert {"table", "tr", "td"} <= set(tags.seen)
    assert len(text.encode()) < MOST_BYTES
    assert not re.search(r"(?:color|background):\s*(?:black|white|#000|#fff)", text)
    assert ("svg" in tags.seen) == (name in ("Run", "Comparison"))


def test_the_gantt_of_a_run_has_a_row_per_stream_or_stage(answers: dict[str, Any]) -> None:
    """Of a pipeline the passes of every stage; the last bar ends where the step does."""
    pipeline = answers["Run"]._repr_html_()
    names = re.compile(r"text-anchor='end'>([^<]*)<")
    assert names.findall(pipeline)[:-1] == ["rank 0: stage 0", "rank 2: stage 1"]
    assert {"forward", "backward"} <= set(re.findall(r"</span>([^<]*)", pipeline))
    flat = tspsim.run(answers["Scenario"].replace(strategy=tspsim.TSP(degree=4)))._repr_html_()
    rows = names.findall(flat)
    assert rows[0] == "compute"
    assert {"tsp/weights", "tsp/kv", "tsp/ring"} <= set(rows)
    for text in (flat, pipeline):
        ends = [int(x) + int(w) for x, w in re.findall(r"M(\d+) [\d.]+h(\d+)", text)]
        assert max(ends) == pytest.approx(150 + 640, rel=0.1 if text == pipeline else 1e-9)


def test_the_gantt_of_a_large_run_stays_small() -> None:
    """Thousands of tasks are some hundred dashes."""
    result = tspsim.run("llama3-8b-128k-h100-tsp", "model.layers=16")
    assert result.timeline.tasks > 5_000
    assert len(result._repr_html_().encode()) < MOST_BYTES


def test_steps_of_a_comparison_are_drawn_on_one_scale(answers: dict[str, Any]) -> None:
    """The longest fills its row, and the others are as long as their steps."""
    found = answers["Comparison"]
    ran = [each for each in found.candidates if each.result is not None]
    text = found._repr_html_()
    tops = [int(top) for top in re.findall(r"<rect x='150' y='(\d+)'", text)]
    assert len(tops) == len(ran)
    longest = max(each.figures["step_time"] for each in ran)
    for top, each in zip(tops, ran, strict=True):
        row = re.findall(rf"M(\d+) {top + 6}h(\d+)", text)
        end = max(int(x) + int(width) for x, width in row) - 150
        assert end == pytest.approx(640 * each.figures["step_time"] / longest, abs=1)


def test_what_a_command_marks_is_marked() -> None:
    """Bold rows, dim texts, justified cells and indents; names are no markup."""
    table = Table(header_style="bold")
    table.add_column("a")
    table.add_column("b", justify="right")
    table.add_row("  <i>", Text("[x]", "red"), style="bold green")
    shown = html(Group(Text("one\ntwo", "dim"), Text(), table))
    assert "<p style='white-space:pre-wrap;margin:.3em 0;opacity:.7;'>one\ntwo</p>" in shown
    assert "<tr style='font-weight:bold;color:#009E73;'>" in shown
    assert "text-align:left;white-space:pre'>  &lt;i&gt;</td>" in shown
    assert "text-align:right;white-space:pre'><span style='color:#D55E00;'>[x]</span>" in shown


COLUMNS = {
    "Run": ("rank", "lane", "op", "name", "kind", "phase", "layer", "micro_batch", "start", "end"),
    "Comparison": ("candidate", "mesh", "step_time"),
    "Sweep": ("workload.sequence", "strategy", "mesh", "step_time"),
    "Plan": ("strategy", "batch", "micro_batches", "recompute", "how", "mesh", "step_time"),
    "InferencePlan": ("strategy", "mesh", "batch", "tokens", "time_to_first_token"),
    "Explained": ("start", "end", "limit", "rank", "op"),
    "Serving": ("time", "waiting", "running", "cache"),
    "Proof": ("tensor", "error", "ranks", "passed"),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_an_answer_is_a_table_of_pandas(name: str, answers: dict[str, Any]) -> None:
    """With rows, and the columns that its docstring and docs/python.md name."""
    found = answers[name]
    frame = found.frame()
    assert tuple(frame.columns[: len(COLUMNS[name])]) == COLUMNS[name]
    assert len(frame)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| [^|]*`{name}`[^|]* \| [^|]* \| (.*) \|$", text, re.MULTILINE)
    assert row is not None
    if name in ("Run", "InferencePlan", "Explained", "Serving", "Proof"):
        assert re.findall(r"`(\w+)`", row[1]) == list(frame.columns)
        assert all(f"`{column}`" in found.frame.__doc__ or column in found.frame.__doc__
                   for column in frame.columns)  # fmt: skip


def test_frames_hold_the_figures_of_their_answers(answers: dict[str, Any]) -> None:
    """In SI units: what is summed up or looked up in a frame is what the answer says."""
    compared = answers["Comparison"]
    frame = compared.frame().set_index("candidate")
    for each in compared.candidates:
        if each.result is None:
            assert frame.loc[each.name, "reason"] == each.reason
        else:
            assert frame.loc[each.name, "step_time"] == each.figures["step_time"]
            assert frame.loc[each.name, "memory.peak"] == each.figures["memory"]["peak"]
    assert frame["reason"].notna().any()  # one place for travelling weights is too few
    path = answers["Explained"].frame()
    assert (path["end"] - path["start"]).sum() == pytest.approx(answers["Explained"].path.total)
    assert path["end"].iloc[-1] == answers["Run"].summary.step_time
    plan = answers["Plan"]
    assert plan.frame()["step_time"].tolist() == [r.figures["step_time"] for r in plan.best]
    served = answers["InferencePlan"].frame()
    assert served["within_limits"].any()
    assert not served["within_limits"].all()
    store = answers["Sweep"].store
    assert store.frame().equals(answers["Sweep"].frame())


@pytest.mark.parametrize("name", COLUMNS)
def test_without_pandas_a_frame_says_in_one_line_what_installs_it(
    name: str, answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback; everything else goes on working."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(tspsim.UserError) as refused:
        answers[name].frame()
    told = "a frame needs pandas, which is not installed: pip install '.[frames]'"
    assert str(refused.value) == told


def test_scripts_import_neither_pictures_nor_tables() -> None:
    """Scenarios, runs and comparisons need no matplotlib and no pandas; a notebook may."""
    text = (
        "import sys; from tests.typed_script import made; import tspsim;"
        "s = made(); print(tspsim.run(s)); print(tspsim.compare(s, 'workload.batch=1,2'));"
        "assert not {'matplotlib', 'pandas', 'IPython', 'torch'} & set(sys.modules);"
        "print(len(tspsim.run(s)._repr_html_()))"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
