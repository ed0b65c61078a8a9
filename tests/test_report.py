"""The report: one page that holds everything, says what the numbers say, and can be zoomed."""

from __future__ import annotations

import json
import re
import sys
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.small_reports import SMALL, call, make, reports
from tspsim.files.between import rests_on
from tspsim.output.plots.style import COMPUTE, Style
from tspsim.output.units import time
from tspsim.reports.html import answers, assumptions, charts, maps, sources, sweep_tables
from tspsim.reports.html.settings import Names, best_setting, settings
from tspsim.reports.html.sources import Subject, Swept
from tspsim.sweeps.store import AxisInfo, Row, Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs, a sweep, and a report of each."""
    return make(tmp_path_factory.mktemp("made"))


class Read(HTMLParser):
    """Collects what a page would fetch, its visible text, and its embedded data."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element names, and what kind of text follows."""
        given = dict(attrs)
        self.fetched += [str(given[key]) for key in ("src", "href", "srcset") if key in given]
        self._inside = {"script": "code", "style": "code"}.get(tag, "")
        if given.get("type") == "application/json":
            self._inside = "data"

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        """Behind a script there is text again."""
        self._inside = ""

    def handle_data(self, data: str) -> None:
        """Sort text to where it belongs."""
        if self._inside == "data":
            self.data += data
        elif not self._inside:
            self.text.append(data)


def read(path: Path) -> tuple[Read, dict[str, Any]]:
    """Return a page and its data."""
    found = Read(path.read_text(encoding="utf-8"))
    return found, json.loads(found.data)


def words(found: Read) -> str:
    """Return the visible text with single spaces."""
    return " ".join(" ".join(found.text).split())


# ---- the page ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["run", "sweep", "comparison"])
def test_a_page_fetches_nothing_and_is_small(made: Path, kind: str) -> None:
    """No element names anything outside of the page, nor does its style; it is below 5 MB."""
    path = reports(made)[kind]
    found, _ = read(path)
    assert found.fetched == ["data:,"]
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|import\(", text)
    assert path.stat().st_size < 5e6


def test_a_run_says_what_its_summary_says(made: Path) -> None:
    """Step time, memory, profile, hash and resolved scenario are those of result.json."""
    told = json.loads((made / "tsp" / "result.json").read_text())
    found, data = read(reports(made)["run"])
    text = words(found)
    assert data["runs"][0]["step"] == told["step_time"]
    assert f"step time {time(told['step_time'])} of the slowest rank" in text
    assert "How long does a step of 64 tokens take with tsp 4 on 4 x h100-sxm" in text
    assert told["provenance"]["document"] in text
    assert f"Times come from the profile '{told['profile']['name']}': " in text
    assert rests_on(told["interval"]) in text
    assert '"strategy": { "kind": "tsp"' in text
    assert "Not modelled" in text


def test_the_same_folder_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    """Nothing of the time or the place of writing is in a page."""
    for name in ("a.html", "b.html"):
        assert call("report", str(made / "sweep"), "-o", str(tmp_path / name)).exit_code == 0
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_scenario_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    """A name that looks like markup is text, also where it stands in the data."""
    name = "</script><b>&'\"--> x"
    scenario = tmp_path / "odd.yaml"
    scenario.write_text(json.dumps({**SMALL, "name": name}))
    assert call("run", str(scenario), "-o", str(tmp_path / "odd")).exit_code == 0
    assert call("report", str(tmp_path / "odd")).exit_code == 0
    found, data = read(tmp_path / "odd" / "report.html")
    assert data["runs"][0]["name"] == name
    assert name in words(found)


# ---- the charts' numbers -------------------------------------------------------------------------


def bars(row: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Return start and end of the bars of a row, in ticks."""
    pairs = np.array(row["times"]).reshape(-1, 2)
    start = np.cumsum(pairs[:, 0])
    return np.stack([start, start + pairs[:, 1]], axis=1)


def test_the_bars_are_the_tasks_of_the_timeline(made: Path) -> None:
    """Every task of every rank stands in its row, to half a tick; waits fill the gaps."""
    result = sources.read([made / "tsp"]).drawn[0].result
    _, data = read(reports(made)["run"])
    gantt, timeline = data["runs"][0]["gantt"], result.timeline
    tick = timeline.step_time / data["runs"][0]["ticks"]
    assert [row["name"] for row in gantt["rows"] if row["rank"] == 0] == [
        lane.name for lane in timeline.programs.of(0).lanes
    ]
    names = [style["name"] for style in gantt["styles"]]
    for row in gantt["rows"]:
        tasks = [names[gantt["labels"][at][0]] for at in row["labels"]]
        real = np.array([not n.startswith(("waits", "held back")) for n in tasks], dtype=bool)
        spans = [
            s for s in timeline.spans(row["rank"]) if s.lane == row["name"] and s.end > s.start
        ]
        wanted = sorted((s.start, s.end) for s in spans)
        found = bars(row)[real] * tick
        np.testing.assert_allclose(sorted(map(tuple, found)), wanted, atol=1.01 * tick)


def test_the_memory_curve_reaches_the_peak(made: Path) -> None:
    """The highest sum of its bands is the peak of the summary, to a KiB per band."""
    told = json.loads((made / "tsp" / "result.json").read_text())["memory"]
    _, data = read(reports(made)["run"])
    memory = data["runs"][0]["memory"]
    total = np.sum([band["kib"] for band in memory["kinds"]], axis=0)
    assert abs(total.max() - told["peak"] / 1024) <= len(memory["kinds"])
    at = memory["times"][int(total.argmax())]
    assert at == round(told["peak_time"] / data["runs"][0]["step"] * data["runs"][0]["ticks"])


@pytest.mark.parametrize("most", [10, 100, 1000])
def test_many_bars_become_few_that_cover_the_same_time(most: int) -> None:
    """Joined bars are few enough; long ones stay; nothing begins earlier or ends later."""
    a, b, *_ = COMPUTE.values()
    rng = np.random.default_rng(0)
    ends = np.cumsum(np.append(rng.exponential(1.0, 5000), 3000.0))
    starts = np.append(0.0, ends[:-1])
    row = [
        charts.Piece(a if i % 3 else b, s, e, ("x", "x"))
        for i, (s, e) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True))
    ]
    found, least = charts._joined({(0, 0): row}, most, row[-1].end)
    pieces = found[0, 0]
    assert len(pieces) <= most
    assert least > 0
    assert pieces[-1] == row[-1]
    assert (pieces[0].start, pieces[-1].end) == (0.0, row[-1].end)
    assert all(p.end <= q.start for p, q in pairwise(pieces))
    assert sum(p.end - p.start for p in pieces) == pytest.approx(row[-1].end)
    assert pieces[0].label[1].endswith(f"short tasks, mostly {a.name}")


def test_few_bars_stay_as_they_are() -> None:
    """Where there is room nothing is joined."""
    style: Style = COMPUTE["matmul"]
    rows = {(0, 0): [charts.Piece(style, 0.0, 1.0, ("x", "x"))] * 3}
    assert charts._joined(rows, 3, 1.0) == (rows, 0.0)


# ---- the sweep -----------------------------------------------------------------------------------


def test_a_drawn_point_is_the_stored_one(made: Path) -> None:
    """What is simulated again has the figures of its row, to the last bit."""
    subject = sources.read([made / "sweep"])
    assert subject.swept is not None
    best = best_setting(subject.swept.settings)
    assert best is not None
    assert len(subject.drawn) == 2
    for drawn, row in zip(subject.drawn, best.ranked, strict=True):
        assert drawn.result.summary.step_time == row.figures["step_time"]
        assert drawn.result.summary.memory.peak == row.figures["memory.peak"]


def test_winners_are_the_fastest_of_their_setting(made: Path) -> None:
    """Against a search through all rows; the map shows each."""
    store = Store.open(made / "sweep")
    rows = list(store.rows())
    found = settings(rows)
    assert len(found) == 6
    for setting in found:
        own = [r for r in rows if all(r.axes[k] == v for k, v in setting.axes.items())]
        assert len(own) == 2
        assert setting.ranked[0] == max(own, key=lambda r: r.figures["tokens_per_second"])
    page_, data = read(reports(made)["sweep"])
    text = words(page_)
    assert "bandwidth ↓ sequence → 64 128 256 x2" in text
    assert "12 of 12 points: 12 ok" in text
    assert len(data["lines"]["points"]) == 12
    assert data["lines"]["axis"] == "sequence"


def test_a_grid_over_two_numeric_axes_has_a_map_to_scale(made: Path) -> None:
    """Drawn as ``tspsim plot --kind winner`` draws it; other sweeps have none."""
    found = sources.read([made / "sweep"]).swept
    assert found is not None
    assert maps.winner_map(found).startswith("<svg")
    assert maps.winner_map(swept(*contest((1024, 10, 20), (2048, 20, 25))).swept) == ""


def row(number: int, rate: float, status: str = "ok", mesh: str = "", **axes: Any) -> Row:
    """Return a made-up row; axes with __ for dots."""
    kind = axes.get("strategy__kind", "tsp")
    figures = {
        "mesh": mesh or f"{kind} 4", "step_time": 1 / rate, "tokens_per_second": rate,
        "tokens_per_second_per_device": rate / 4, "memory.peak": 2**30 / rate, "time.idle": 0.0,
        "memory.capacity": 2**20,
    }  # fmt: skip
    named = {key.replace("__", "."): value for key, value in axes.items()}
    return Row(number, named, status, "too much" if status != "ok" else "", "", figures)


def swept(*rows: Row) -> Any:
    """Return a sweep of made-up rows as a subject: what a report is about."""
    keys = dict.fromkeys(key for each in rows for key in each.axes)
    axes = []
    for key in keys:
        values = tuple(dict.fromkeys(each.axes[key] for each in rows))
        axes.append(AxisInfo(key, values, "", all(isinstance(v, int) for v in values)))
    store: Any = SimpleNamespace(axes=tuple(axes), name="made", count=len(rows))
    return Subject((), swept=Swept(store, rows, Names.of(rows), settings(rows)))


def contest(*rates: tuple[int, float, float]) -> list[Row]:
    """Return rows of tsp and tp at lengths."""
    return [
        row(2 * i + j, rate, workload__sequence=length, strategy__kind=kind)
        for i, (length, *both) in enumerate(rates)
        for j, (kind, rate) in enumerate(zip(("tsp", "tp"), both, strict=True))
    ]


def test_the_answer_tells_where_who_wins() -> None:
    """By stretches of the one axis, and the widest margin."""
    subject = swept(*contest((1024, 10, 20), (2048, 20, 25), (4096, 30, 15), (8192, 40, 30)))
    assert answers.question(subject) == (
        "Which is the fastest that fits over sequence 1,024, 2,048, 4,096, 8,192: tsp 4 or tp 4?"
    )
    assert answers.answer(subject) == (
        "The fastest that fits, by sequence: tp 4 at 1,024 to 2,048, tsp 4 at 4,096 to 8,192. The "
        "widest margin: tp 4 is 100.0 % faster than tsp 4 at sequence 1,024."
    )


def test_the_answer_of_two_axes_counts() -> None:
    """Who wins at how many settings, and where nothing fits."""
    rows = [
        row(i, rate, status, workload__sequence=length, link__bandwidth=speed, strategy__kind=kind)
        for i, (length, speed, kind, rate, status) in enumerate([
            (1, "x1", "tsp", 1.0, "ok"), (1, "x1", "tp", 2.0, "unfit"),
            (1, "x2", "tsp", 3.0, "ok"), (1, "x2", "tp", 2.0, "ok"),
            (2, "x1", "tsp", 1.0, "ok"), (2, "x1", "tp", 2.0, "ok"),
            (2, "x2", "tsp", 1.0, "unfit"), (2, "x2", "tp", 2.0, "unfit"),
        ])
    ]  # fmt: skip
    assert answers.answer(swept(*rows)) == (
        "tsp 4 is the fastest that fits at 2 of 4 settings, tp 4 at 1. The widest margin: tp 4 is "
        "100.0 % faster than tsp 4 at sequence 2, bandwidth x1. At 1 setting nothing fits."
    )


def test_the_answer_without_a_contest_is_the_best_point() -> None:
    """One strategy over lengths: where most tokens per second are, and how many fit."""
    subject = swept(
        row(0, 100.0, workload__sequence=1024),
        row(1, 250.0, workload__sequence=2048),
        row(2, 400.0, "unfit", workload__sequence=4096),
    )
    assert answers.question(subject) == (
        "How fast is it, and does it fit, over sequence 1,024, 2,048, 4,096?"
    )
    assert answers.answer(subject) == (
        "Most tokens per second at sequence 2,048: 250, 4.000 ms a step. 2 of 3 points fit."
    )


def test_candidates_are_called_what_tells_them_apart() -> None:
    """By degrees; by kind alone where the degrees change with the setting."""
    grows = [
        row(i, 1.0, mesh=f"{kind} {n}", topology__ranks=n, strategy__kind=kind)
        for i, (kind, n) in enumerate((k, n) for n in (4, 8) for k in ("tsp", "tp"))
    ]
    assert {Names.of(grows).name(each) for each in grows} == {"tsp", "tp"}
    several = [row(i, 1.0, mesh=mesh, strategy__kind="tp_sp") for i, mesh in enumerate("ab")]
    assert {Names.of(several).name(each) for each in several} == {"a", "b"}
    option = [row(i, 1.0, strategy__kind="tsp", strategy__lookahead=i) for i in (0, 1)]
    assert Names.of(option).name(option[1]) == "tsp 4 (lookahead 1)"


def test_the_answer_says_what_comes_nearest_where_nothing_fits() -> None:
    """The lowest peak over its capacity, with its reason; or that nothing could run."""
    rows = [row(i, rate, "unfit", workload__sequence=i) for i, rate in ((1, 1.0), (2, 4.0))]
    assert answers.answer(swept(*rows)) == (
        "Nothing fits: tsp 4, sequence 2 comes nearest and too much."
    )
    wrong = Row(0, {"workload.sequence": 3}, "invalid", "it is wrong")
    assert answers.answer(swept(wrong)) == "Nothing can run: none of 1 points."


def test_samples_are_a_cloud_and_grids_are_lines() -> None:
    """Samples share no value of another axis: there is nothing to choose by."""
    grid = [
        row(10 * i + j, 1.0, workload__sequence=i, workload__batch=j)
        for i in range(1, 4)
        for j in range(1, 3)
    ]
    found = sweep_tables.lines(swept(*grid).swept)
    assert found is not None
    assert (found["axis"], found["cloud"]) == ("sequence", False)
    assert found["others"] == [{"name": "batch", "values": ["1", "2"], "shown": "1"}]
    samples = [row(i, 1.0, workload__sequence=i, workload__batch=i + 7) for i in range(1, 6)]
    found = sweep_tables.lines(swept(*samples).swept)
    assert found is not None
    assert (found["cloud"], found["others"], len(found["points"])) == (True, [], 5)


def test_a_large_sweep_keeps_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line with the best point is among the few that are kept; none is cut in two."""
    monkeypatch.setattr(sweep_tables, "MOST_POINTS", 7)
    rows = [
        row(10 * i + j, float(j), workload__sequence=i, workload__batch=j)
        for i in range(1, 6)
        for j in range(1, 5)
    ]
    found = sweep_tables.lines(swept(*rows).swept)
    assert found is not None
    assert [point["at"] for point in found["points"]] == [["4"]] * 5


def test_the_study_on_a_page_makes_the_same_points_again(made: Path, tmp_path: Path) -> None:
    """What the page says to save and to sweep is a study file, samples included."""
    text = reports(made)["sweep"].read_text(encoding="utf-8")
    (told,) = re.findall(r'<pre id="study">(.*?)</pre>', text, re.DOTALL)
    (tmp_path / "study.yaml").write_text(unescape(told))
    done = call("sweep", str(tmp_path / "study.yaml"), "-o", str(tmp_path / "again"), "--jobs", "1")
    assert done.exit_code == 0, done.output
    assert list(Store.open(tmp_path / "again").rows()) == list(Store.open(made / "sweep").rows())
    sample: Any = SimpleNamespace(
        about=lambda: {
            "study": {"link": [], "samples": ["sobol", 8, 3], "axes": {"a": "log(1, 2)"}}
        }
    )
    assert assumptions.study(sample) == {
        "axes": {"a": "log(1, 2)"}, "samples": {"method": "sobol", "count": 8, "seed": 3},
    }  # fmt: skip


# ---- what cannot be reported ---------------------------------------------------------------------


def test_what_is_no_result_is_said(made: Path, tmp_path: Path) -> None:
    """A folder without either, a sweep among several, another suffix, a place that is not there."""
    nothing = tmp_path / "nothing"
    for arguments, told in (
        (
            (str(nothing),),
            f"{nothing}: holds neither a result nor a sweep; 'tspsim run SCENARIO -o DIR' and "
            "'tspsim sweep SCENARIO KEY=VALUES -o DIR' make one",
        ),
        (
            (str(made / "tsp"), str(made / "sweep")),
            f"{made / 'sweep'}: is a sweep, which has a report of its own; only runs can be "
            "compared",
        ),
        ((str(made / "tsp"), "-o", "a.pdf"), "a.pdf: a report is .html, not '.pdf'"),
        (
            (str(made / "tsp"), "-o", str(nothing / "a.html")),
            f"{nothing / 'a.html'}: cannot be written: there is no folder {nothing}",
        ),
    ):
        done = call("report", *arguments)
        assert (done.exit_code, done.stderr.strip()) == (2, told)


def test_without_jinja2_the_extra_is_named(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is simulated."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = call("report", str(made / "tsp"), "-o", str(tmp_path / "a.html"))
    told = "a report needs jinja2, which is not installed: pip install '.[report]'"
    assert (done.exit_code, done.stderr.strip()) == (2, told)
