"""Intervals wherever a time is printed, and differences that are smaller than their error."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import tspsim
from tspsim.analysis.apart import apart, changed
from tspsim.analysis.interval import interval_of
from tspsim.calibrate.published.steps import load
from tspsim.cli.app import app
from tspsim.explain.explanation import explain
from tspsim.files.between import between, rests_on, within
from tspsim.files.shipped import shipped
from tspsim.output.plots import gantt
from tspsim.output.units import step_time, time, time_unit
from tspsim.reports.comparison import to_dict, why
from tspsim.reports.html.settings import settings
from tspsim.reports.maps import winner
from tspsim.reports.tornado import tornado
from tspsim.reports.what_if import STILL
from tspsim.scenario import from_document
from tspsim.sweeps import columns, contest
from tspsim.sweeps.candidates import Candidate
from tspsim.sweeps.store import Row
from tspsim.topology.compared import others
from tspsim.topology.load import parse_profile
from tspsim.topology.whole_steps import told_apart

#: A program whose like was measured on such a machine, and two of which that does not hold.
KNOWN: dict[str, Any] = {
    "name": "known",
    "model": {"hidden": 1024, "layers": 2, "heads": 8, "kv_heads": 8, "ffn": 4096, "vocab": 1024},
    "workload": {"sequence": 4096},
    "topology": {"file": "h100-node.yaml"},
    "timing": {"profile": "h100-published"},
    "kernels": "torch-compile",
    "strategy": {"kind": "tp", "degree": 8},
}
UNKNOWN: dict[str, dict[str, Any]] = {
    "datasheet": {**KNOWN, "timing": {"profile": "datasheet"}},
    "ideal": {**KNOWN, "kernels": "ideal"},
    "experts": {**KNOWN, "model": {**KNOWN["model"], "experts": {"count": 8, "active": 2}}},
}
#: Experts over two nodes of H100, whose like was measured.
MIXTURE: dict[str, Any] = {
    **UNKNOWN["experts"],
    "topology": {"file": "h100-4-nodes.yaml", "nodes": 2},
    "kernels": "megatron-core",
    "strategy": {"kind": "tp", "degree": 8, "sequence_parallel": True, "dp": 2},
}
INTERVAL = {
    "low": 0.9, "high": 1.2, "coverage": 0.8, "rows": 16, "sources": 3, "within": 0.05,
    "borrowed": False, "framework": "torch", "experts": False,
}  # fmt: skip
#: By how much two runs have to differ where `within` is 0.05: exp(1.2816 sqrt(2) 0.05) - 1.
LEAST = 0.0949
MS = (1e-3, "ms")


def call(*arguments: str) -> str:
    """Run the command in this process; it has to succeed."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def written(folder: Path, scenario: Mapping[str, Any] = KNOWN) -> str:
    """Write a scenario into a folder; return its place."""
    path = folder / "scenario.yaml"
    path.write_text(json.dumps(scenario))
    return str(path)


def figures(step: float, peak: float = 50.0, **changes: Any) -> dict[str, Any]:
    """Return made-up figures of a run whose time has an interval."""
    return {
        "step_time": step,
        "interval": {**INTERVAL, "low": 0.9 * step, "high": 1.2 * step},
        "profile": {"name": "h100-published", "error": 0.1},
        "tokens_per_second": 1000 / step,
        "tokens_per_second_per_device": 125 / step,
        "mfu": 0.5,
        "time": {"compute": step, "exposed_communication": 0.0, "idle": 0.0},
        "memory": {"capacity": 100 * 2**30, "peak": peak * 2**30, "fits": peak <= 100},
        **changes,
    }


def candidate(name: str, step: float, peak: float = 50.0, **changes: Any) -> Candidate:
    """Return a candidate with such figures."""
    found = figures(step, peak, **changes)
    summary = SimpleNamespace(to_dict=lambda: found)
    result: Any = SimpleNamespace(summary=summary, fits=peak <= 100)
    return Candidate(name, result)


@pytest.mark.parametrize(
    ("seconds", "low", "high", "text"),
    [
        (9.0, 7.83, 10.46, "7,800 to 10,500 ms"),
        (11.17, 9.92, 12.66, "9.9 to 12.7 s"),
        (0.55, 0.4902, 0.6098, "490 to 610 ms"),
        (1.0, 0.95, 1.26, "950 to 1,260 ms"),
        (2000.0, 1830.0, 2450.0, "1,830 to 2,450 s"),
        (38e-6, 35e-6, 42e-6, "35.0 to 42.0 µs"),
        (0.0, 0.0, 0.0, "0.00 to 0.00 µs"),
    ],
)
def test_bounds_have_the_unit_of_their_time(
    seconds: float, low: float, high: float, text: str
) -> None:
    """With the digits that their distance is worth, in hundreds where that is in milliseconds."""
    assert between(low, high, time_unit(seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.6879, "7,690 ms (80 %: 6,800 to 9,100 ms)"),
        (11.172, "11.17 s (80 %: 9.9 to 13.2 s)"),
        (0.03843, "38.4 ms (80 %: 34 to 45 ms)"),
    ],
)
def test_a_time_has_one_digit_more_than_its_bounds(seconds: float, text: str) -> None:
    """In sentences and titles, where no parts of it have to add up."""
    known = {**INTERVAL, "low": 0.8852 * seconds, "high": 1.1837 * seconds}
    assert step_time(seconds, known) == text
    assert step_time(seconds, None) == f"{time(seconds)} (error unknown)"


def test_an_unknown_error_is_told_as_such() -> None:
    """It is never left out."""
    assert within(None, MS) == "error unknown"
    assert within(INTERVAL, MS) == "80 %: 900 to 1,200 ms"
    assert rests_on(None) == "error unknown: no published step is like it"
    borrowed = rests_on({**INTERVAL, "borrowed": True})
    assert borrowed == "interval by 16 published steps of 3 sources, run by other frameworks"


@pytest.mark.parametrize(
    ("ratio", "draw"), [(1.09, True), (1 / 1.09, True), (1.10, False), (1 / 1.10, False)]
)
def test_a_difference_larger_than_its_interval_is_declared(ratio: float, draw: bool) -> None:
    """And a smaller one is a draw; whoever comes first."""
    assert told_apart(0.05) == pytest.approx(LEAST, abs=1e-4)
    found = apart(figures(1.0), figures(ratio))
    assert found is not None
    assert found.ratio == pytest.approx(ratio)
    assert found.draw is draw
    assert (found.low < 1 < found.high) is draw
    assert found.low * found.high == pytest.approx(ratio**2)


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": None},
        {"interval": {**INTERVAL, "framework": "megatron"}},
        {"interval": {**INTERVAL, "experts": True}},
        {"profile": {"name": "a100-published", "error": 0.1}},
    ],
)
def test_errors_cancel_between_runs_of_one_kind_alone(changes: Any) -> None:
    """One machine, one framework, both with experts or neither; else, in any order, unknown."""
    assert apart(figures(1.0), figures(2.0, **changes)) is None
    assert apart(figures(1.0, **changes), figures(2.0)) is None


def test_the_less_certain_of_two_runs_decides() -> None:
    """A run over several nodes and one in a node have errors of their own."""
    wide = {**INTERVAL, "within": 0.1}
    found = apart(figures(1.0), figures(2.0, interval=wide))
    assert found is not None
    assert found.least == pytest.approx(math.exp(1.2816 * math.sqrt(2) * 0.1) - 1)


def test_a_comparison_within_the_error_is_a_draw() -> None:
    """The sentence names all that cannot be told from the first, and no reasons."""
    one, two, three = (candidate(n, t) for n, t in (("a", 1.0), ("b", 1.03), ("c", 1.3)))
    said = "less than what two runs of one program are told apart by (9.5 %)"
    assert why([three, two, one]) == f"a draw: a and b differ by 3.0 %, {said}."
    more = [one, two, candidate("d", 1.05)]
    assert why(more) == f"a draw: a, b and d differ by at most 5.0 %, {said}."
    found = to_dict([three, two, one])
    assert (found["winner"], found["draw"]) == ("a", True)
    bounds = {"ratio": 1.03, "low": 1.03 / (1 + LEAST), "high": 1.03 * (1 + LEAST)}
    assert found["difference_interval"] == pytest.approx({**bounds, "coverage": 0.8}, rel=1e-4)


def test_a_comparison_beyond_the_error_has_a_winner() -> None:
    """Its time and its lead carry their intervals."""
    found = [candidate("a", 1.0), candidate("b", 1.25)]
    assert why(found).startswith(
        "a wins: 1,000.0 ms (80 %: 900 to 1,200 ms) a step, 20.0 % less than b "
        "(80 %: 12.4 to 26.9 %), because it computes for 250.0 ms less"
    )
    assert to_dict(found)["draw"] is False


def test_of_unknown_error_nothing_is_called_a_draw() -> None:
    """The winner is named with what is not known."""
    found = [candidate("a", 1.0, interval=None), candidate("b", 1.03, interval=None)]
    assert "2.9 % less than b (the difference's error is unknown)" in why(found)
    told = to_dict(found)
    assert (told["winner"], told["draw"], told["difference_interval"]) == ("a", None, None)


def test_equal_times_are_decided_by_the_peak() -> None:
    """Runs of one time are no draw by an error: one of them needs less."""
    found = [candidate("a", 1.0, 60), candidate("b", 1.0, 40)]
    assert "b wins: 1,000.0 ms (80 %: 900 to 1,200 ms) a step as a" in why(found)


@pytest.mark.parametrize(("step", "said"), [(0.5, "faster"), (0.97, "as fast")])
def test_what_does_not_fit_is_faster_only_beyond_the_error(step: float, said: str) -> None:
    """The same measure for those that need more memory."""
    found = [candidate("a", 1.0), candidate("b", step, 120)]
    assert f"b would be {said} (" in why(found)


def test_a_run_prints_where_its_time_lies() -> None:
    """In Python as in the terminal, in text and in HTML."""
    result = tspsim.run(KNOWN)
    known = result.summary.interval
    assert known is not None
    assert known.framework == "torch"
    assert known.low < result.summary.step_time < known.high
    text = f"ms (80 %: {between(known.low, known.high, MS)})"
    assert text in repr(result)
    assert text in result._repr_html_()


@pytest.mark.parametrize("name", UNKNOWN)
def test_no_interval_is_made_up(name: str) -> None:
    """By the datasheet's rates, of kernels that nobody runs, and of experts in one node."""
    result = tspsim.run(UNKNOWN[name])
    assert result.summary.interval is None
    assert "ms (error unknown)" in repr(result)


def test_a_step_with_experts_has_the_interval_of_mixtures() -> None:
    """Over several nodes; it is wider than that of the same model without experts, and says so."""
    mixture = tspsim.run(MIXTURE).summary.interval
    dense = tspsim.run({**MIXTURE, "model": KNOWN["model"]}).summary.interval
    assert mixture is not None and dense is not None
    assert (mixture.experts, dense.experts) == (True, False)
    assert mixture.high / mixture.low > dense.high / dense.low
    assert mixture.within > dense.within
    told = rests_on(asdict(mixture))
    assert told == f"interval by {mixture.rows} published steps of mixtures of 1 source"


def test_a_comparison_shows_every_candidates_interval(tmp_path: Path) -> None:
    """Under its step time, and the basis of all of them once."""
    path = written(tmp_path)
    found = json.loads(call("compare", path, "strategy=tp,tsp", "--json"))
    text = call("compare", path, "strategy=tp,tsp")
    for each in found["candidates"]:
        known = each["result"]["interval"]
        unit = time_unit(each["result"]["step_time"])
        bounds = between(known["low"], known["high"], unit)
        assert bounds.removesuffix(f" {unit[1]}") in text  # that of the step time above
    assert text.count("interval by 16 published steps of 3 sources") == 1
    assert found["draw"] in (True, False)
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_plan_marks_what_cannot_be_told_from_the_best(tmp_path: Path) -> None:
    """JSON carries the intervals, and which are draws."""
    options = ("plan", written(tmp_path), "--jobs", "1", "--top", "4")
    best = json.loads(call(*options, "--json"))["best"]
    assert best[0]["draw"] is None
    first, *others = (each["result"] for each in best)
    for each, found in zip(best[1:], others, strict=True):
        known = apart(first, found)
        assert known is not None
        assert each["draw"] is known.draw
    text = call(*options)
    marked = sum(line.startswith("≈") for line in text.splitlines())
    draws = sum(each["draw"] for each in best[1:])
    assert draws
    assert marked == draws + 1  # and the line that says what the mark means
    low, high = first["interval"]["low"], first["interval"]["high"]
    unit = time_unit(first["step_time"])
    assert between(low, high, unit).removesuffix(f" {unit[1]}") in text


def test_a_plan_for_memory_marks_no_draws(tmp_path: Path) -> None:
    """What its order rests on has no such error."""
    options = ("--objective", "memory", "--jobs", "1", "--top", "3", "--json")
    best = json.loads(call("plan", written(tmp_path), *options))["best"]
    assert [each["draw"] for each in best] == [None] * len(best)


def test_an_explanation_says_where_the_time_lies(tmp_path: Path) -> None:
    """In its sentence, in JSON, and what it rests on."""
    path = written(tmp_path)
    found = json.loads(call("explain", path, "--json"))
    known, text = found["interval"], call("explain", path)
    assert text.replace("\n", " ").startswith(step_time(found["step_time"], known))
    assert f"times from profile h100-published: {rests_on(known)}" in text


def test_a_what_if_says_which_changes_are_draws(tmp_path: Path) -> None:
    """As a comparison does: in the sentence, the table and JSON."""
    path = written(tmp_path, {**KNOWN, "workload": {"sequence": 65536}})
    found = json.loads(call("explain", path, "--json"))
    base = found["what_if"]["base"]["step_time"]
    tried = [each for row in found["what_if"]["constants"] for each in row["times"].values()]
    tried += found["what_if"]["memory_changes"]
    for each in tried:
        known = changed(found["interval"], base, each["step_time"])
        assert known is not None
        assert each["difference_interval"] == known.to_dict()
        assert each["draw"] is known.draw
    assert {each["draw"] for each in tried} == {True, False}
    text = call("explain", path)
    assert "x (a draw)" in text.replace("\n", " ")
    moved = [e for e in tried if e["draw"] and abs(e["step_time"] / base - 1) >= STILL]
    rows = [line for line in text.splitlines() if "lowers it most" not in line]
    assert len(re.findall(r"≈[+−]", "\n".join(rows))) == len(moved)
    least = 1 + told_apart(found["interval"]["within"])
    assert f"each is off by a factor of {least:.3f} at most (80 %)" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_a_change_of_unknown_error_has_no_mark(tmp_path: Path) -> None:
    """And the table says so."""
    path = written(tmp_path, UNKNOWN["datasheet"])
    changes = json.loads(call("explain", path, "--json"))["what_if"]["constants"]
    assert {each["draw"] for row in changes for each in row["times"].values()} == {None}
    text = call("explain", path)
    assert "how far these changes may be off is unknown" in text
    assert "≈" not in text


def test_pictures_say_where_their_times_lie() -> None:
    """Titles of Gantt charts, and a band over the changes that are draws."""
    result = tspsim.run(KNOWN)
    said = step_time(result.summary.step_time, result.summary.to_dict()["interval"])
    assert "80 %: " in said
    assert f"step {said}" in gantt.plot(result).get_title("left")
    found = explain(result).what_if
    assert found is not None
    drawn = tornado(found, "known")
    assert said in drawn.get_xlabel()
    legend = drawn.get_legend()
    assert legend is not None
    assert any(text.get_text().startswith("a draw: less than") for text in legend.get_texts())


def test_an_exported_sweep_has_columns_of_the_error(tmp_path: Path) -> None:
    """Empty where it is unknown; CSV, JSON and the frame have the same."""
    place = str(tmp_path / "sweep")
    axes = ("kernels=torch-compile,ideal", "-o", place, "--jobs", "1")
    assert " to " in call("sweep", written(tmp_path), *axes)
    known, unknown = csv.DictReader(call("export", place, "--format", "csv").splitlines())
    torch = next(
        each
        for each in parse_profile("h100-published").value().steps
        if (each.framework, each.several) == ("torch", False)
    )
    low, step, high = (float(known[f"step_time{k}"]) for k in ("_low", "", "_high"))
    assert low < step < high
    assert float(known["told_apart"]) == pytest.approx(told_apart(torch.within))
    assert {unknown[name] for name in ("step_time_low", "step_time_high", "told_apart")} == {""}
    rows = json.loads(call("export", place, "--format", "json"))
    assert [row["step_time_low"] for row in rows] == [low, None]
    assert tspsim.Store.open(place).columns().count("step_time_low") == 1


def test_rows_of_a_sweep_are_told_apart_on_one_machine_alone() -> None:
    """As runs are: other links or kernels make the error of a difference unknown."""

    def row(seconds: float, least: float | None = LEAST, **axes: str) -> Row:
        told = {"tokens_per_second": 1 / seconds, "told_apart": least}
        return Row(0, axes, "ok", figures=told)

    found = contest.apart(row(1.0, strategy="tp"), row(1.05, strategy="tsp"))
    assert found is not None
    assert found.draw
    assert contest.apart(row(1.0, None), row(1.05)) is None
    assert contest.apart(row(1.0, kernels="ideal"), row(1.05, kernels="torch-eager")) is None


def test_maps_and_reports_say_which_leads_are_draws(tmp_path: Path) -> None:
    """Where two differ by less than their difference's error, and nowhere else."""
    axes = ("workload.sequence=16384,65536", "workload.batch=1,4", "strategy.kind=tp,tsp")
    swept = tspsim.sweep(KNOWN, *axes, output=tmp_path / "sweep")
    pairs = [each.ranked[:2] for each in settings(swept.rows)]
    draws = [found is not None and found.draw for found in (contest.apart(*p) for p in pairs)]
    assert set(draws) == {True, False}
    told = [text.get_text() for text in winner.plot(swept.store).texts]
    assert sum(text.startswith("≈ +") for text in told) == sum(draws)
    page = tmp_path / "page.html"
    call("report", str(tmp_path / "sweep"), "-o", str(page))
    text = page.read_text(encoding="utf-8")
    assert f"At {sum(draws)} of them the first cannot be told from the second." in text


def test_a_store_of_before_is_still_read(tmp_path: Path) -> None:
    """Its rows have no error: nothing is told of it."""
    place = tmp_path / "sweep"
    tspsim.sweep(KNOWN, "workload.sequence=4096", output=place)
    store = tspsim.Store.open(place)
    (row,) = store.rows()
    kept = {k: v for k, v in row.figures.items() if k not in columns.INTERVAL}
    store.add([Row(row.id, row.axes, row.status, row.reason, row.hash, kept)])
    store.close()
    (again,) = tspsim.Store.open(place).rows()
    assert again.cell("step_time_low") is None


@pytest.mark.parametrize(
    ("name", "basis"),
    [
        ("known", "interval by 16 published steps of 3 sources"),
        ("ideal", "error unknown: no published step is like it"),
    ],
)
def test_a_report_says_what_its_times_rest_on(tmp_path: Path, name: str, basis: str) -> None:
    """In place of one number for all that a profile times."""
    run, page = str(tmp_path / "run"), tmp_path / "page.html"
    call("run", written(tmp_path, UNKNOWN.get(name, KNOWN)), "-o", run)
    call("report", run, "-o", str(page))
    text = page.read_text(encoding="utf-8")
    assert f"h100-published&#39;: {basis}." in text
    assert f"of the slowest rank; {'80 %: ' if name == 'known' else 'error unknown'}" in text
    assert "% error" not in text


# ---- hardware that no published step was run on --------------------------------------------------


def machines() -> list[Mapping[str, Any]]:
    """Return the scenarios of published steps that intervals rest on, one for every machine."""
    steps = (s for s in load(shipped("published")) if s.framework != "none")
    return list({(str(s.scenario["topology"]), s.nodes): s.scenario for s in steps}.values())


def test_published_steps_were_run_on_what_is_compared() -> None:
    """No step of theirs is on other devices, or on other links."""
    scenarios = [from_document(document) for document in machines()]
    assert len(scenarios) > 5
    for each in scenarios:
        assert others(each.topology, each.strategy.mesh().ranks) == ()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"topology": {"file": "h100-node.yaml", "link": {"bandwidth": "50 GB/s"}}}, "links"),
        ({"topology": {"file": "h100-node.yaml", "device": {"flop_rate": {"bf16": "2 PFLOP/s"}}}},
         "devices"),
        ({"topology": {"file": "h100-4-nodes.yaml", "nodes": 2,
                       "nic": {"bandwidth": "100 Gbit/s"}}}, "links"),
        ({"topology": {"kind": "ring", "ranks": 8, "device": "h100-sxm",
                       "link": {"bandwidth": "450 GB/s", "latency": "1 us"}}}, "links"),
        ({"topology": {"file": "h100-node.yaml"}}, ""),
    ],
)  # fmt: skip
def test_hardware_that_was_never_compared_is_named(changed: Mapping[str, Any], told: str) -> None:
    """Times on hardware that nobody has keep the interval, and say what was not in it."""
    scenario = {**KNOWN, **changed}
    ranks = 16 if "nic" in changed["topology"] else 8
    scenario["strategy"] = {"kind": "tp", "degree": 8, "dp": ranks // 8}
    known = interval_of(1.0, from_document(scenario))
    assert known is not None
    assert known.elsewhere == ((told,) if told else ())
    assert rests_on(asdict(known)).endswith(f", on other {told}" if told else "sources")
