"""Sweeps: what axes mean, which points they make, and what comes of each."""

from __future__ import annotations

import csv
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import tspsim
from tspsim.cli.app import app
from tspsim.files.errors import UserError
from tspsim.scenario.loader import Opened
from tspsim.sweeps import points as pointed
from tspsim.sweeps import study as studies
from tspsim.sweeps import values
from tspsim.sweeps.points import Point, points
from tspsim.sweeps.samples import Sample
from tspsim.sweeps.store import FILE
from tspsim.sweeps.work import outcome_of

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"hidden": 64, "layers": 1, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 0},
    "workload": {"sequence": 64, "phase": "forward"},
    "topology": {
        "kind": "ring", "ranks": 4, "device": "h100-sxm",
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
    },
    "strategy": {"kind": "tsp", "degree": 4},
}  # fmt: skip


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return the file of a scenario that runs in milliseconds."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SMALL))
    return str(path)


def _points(*axes: str, **more: Any) -> list[Point]:
    parsed = [studies.parse_axis(text) for text in axes]
    return points(studies.make(Opened.document(SMALL), parsed, **more))


# Values ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2", (1, 2)),
        ("64 GB/s, 0.5 TB/s", ("64 GB/s", "0.5 TB/s")),
        ("tsp,tp", ("tsp", "tp")),
        ("{kind: tp, degree: 8},tsp", ({"kind": "tp", "degree": 8}, "tsp")),
        ("[4, 2],[2, 2, 2]", ([4, 2], [2, 2, 2])),
        ("'a,b',c", ("a,b", "c")),
        ("8192,...,65536", (8192, 16384, 32768, 65536)),
        ("1 GB/s,...,4 GB/s", ("1 GB/s", "2 GB/s", "4 GB/s")),
        ("x0.5,...,x2", ("x0.5", "x1", "x2")),
        ("range(2, 8, 2)", (2, 4, 6, 8)),
        ("range(0.1, 0.4, 0.1)", (0.1, 0.2, 0.3, 0.4)),
        ("range(100 GB/s, 0.2 TB/s, 50 GB/s)", ("100 GB/s", "150 GB/s", "200 GB/s")),
        ("log(8192, 1048576, 8)", tuple(8192 * 2**i for i in range(8))),
        ("log(1 GB/s, 100 GB/s, 3)", ("1 GB/s", "10 GB/s", "100 GB/s")),
        ("log(x0.25, x4, 5)", ("x0.25", "x0.5", "x1", "x2", "x4")),
    ],
)
def test_values_of_an_axis(text: str, expected: tuple[Any, ...]) -> None:
    """Lists, ranges that include their end, log ranges, and doubling."""
    assert values.read(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,,2", "a value between two commas is missing"),
        ("8192,...,10000", "doubling 8192 does not lead to 10000"),
        ("1,2,...,8", "write a,...,b for doubling from a to b, or log(a, b, n)"),
        ("log(0, 8, 3)", "log needs two ends above 0"),
        ("log(1, 8, 1)", "log(a, b, n): n is how many values, 2 or more"),
        ("range(1, 8)", "range with 2 values; write range(a, b, step), log(a, b, n), or log(a, b)"
                        " and between(a, b) for samples"),
        ("range(8, 1, 1)", "range goes up: a <= b, and a step above 0"),
        ("range(1 GB/s, 2 s, 1 GB/s)", "range mixes units: 'B/s', 's'"),
        ("between(tsp, 4)", "'tsp' is no number or quantity"),
        ("range(0, 1000000, 1)", "range has 1,000,001 values; at most 100,000"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_read(text: str, message: str) -> None:
    """The message says what is wrong and names the axis."""
    with pytest.raises(UserError) as caught:
        studies.parse_axis(f"a.b={text}")
    assert str(caught.value) == f"axis 'a.b={text}': {message}"


@given(
    st.one_of(
        st.integers(-(10**9), 10**9),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12),
        st.dictionaries(st.sampled_from(["kind", "degree"]), st.integers(1, 9), max_size=2),
    )
)
def test_an_axis_value_is_read_back_as_it_was(value: Any) -> None:
    """What stands in a study is what the scenario gets, through the text of an override."""
    from tspsim.scenario.overrides import parse_override

    found = parse_override(f"a={values.text_of(value)}").value
    assert (found, type(found)) == (value, type(value))


def test_a_latin_hypercube_has_one_point_in_every_stretch() -> None:
    """By definition: N points, N equal stretches of every span, one point in each."""
    drawn = Sample("latin_hypercube", 16, seed=3).fractions(3)
    cells = np.sort(np.floor(drawn * 16), axis=0)
    assert (cells == np.arange(16)[:, None]).all()
    assert (drawn == Sample("latin_hypercube", 16, seed=3).fractions(3)).all()
    assert (drawn != Sample("latin_hypercube", 16, seed=4).fractions(3)).any()


def test_sobol_samples_fill_every_half_and_quarter() -> None:
    """Of 2^m points of a Sobol sequence every dyadic interval of a coordinate has as many."""
    drawn = Sample("sobol", 16, seed=1).fractions(2)
    assert drawn.shape == (16, 2)
    for column in drawn.T:
        assert np.histogram(column, 4, (0, 1))[0].tolist() == [4, 4, 4, 4]


def test_sobol_without_scipy_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the method that needs nothing."""
    monkeypatch.setitem(__import__("sys").modules, "scipy.stats.qmc", None)
    with pytest.raises(UserError, match=r"'\.\[samples\]', or take --sample latin_hypercube:N"):
        Sample("sobol", 4).fractions(1)


# Points ----------------------------------------------------------------------


def test_the_grid_is_the_product_of_the_axes_and_the_first_varies_slowest() -> None:
    """In the order in which the axes are given."""
    found = _points("workload.sequence=64,128", "topology.link.bandwidth=x1,x2")
    assert [tuple(dict(point.axes).values()) for point in found] == [
        (64, "x1"), (64, "x2"), (128, "x1"), (128, "x2"),
    ]  # fmt: skip
    assert [point.id for point in found] == [0, 1, 2, 3]
    assert found[1].overrides == ("workload.sequence=64", "topology.link.bandwidth=x2")


def test_linked_axes_move_together() -> None:
    """Two axes of three values give three pairs, crossed with what is not linked."""
    found = _points(
        "workload.sequence=64,128,256", "workload.batch=4,2,1", "model.layers=1,2",
        linked=[["workload.sequence", "workload.batch"]],
    )  # fmt: skip
    pairs = {(dict(p.axes)["workload.sequence"], dict(p.axes)["workload.batch"]) for p in found}
    assert len(found) == 6
    assert pairs == {(64, 4), (128, 2), (256, 1)}


def test_samples_are_drawn_jointly_and_crossed_with_the_grid() -> None:
    """Every strategy is asked at the same sampled points, within the spans."""
    found = _points(
        "strategy.kind=tsp,tp", "topology.link.bandwidth=log(10 GB/s, 1 TB/s)",
        "workload.sequence=between(64, 4096)", sample=Sample("latin_hypercube", 8),
    )  # fmt: skip
    assert len(found) == 16
    drawn = [{k: v for k, v in p.axes if k != "strategy.kind"} for p in found]
    assert drawn[:8] == drawn[8:]
    assert all(isinstance(d["workload.sequence"], int) for d in drawn)
    assert all(64 <= d["workload.sequence"] <= 4096 for d in drawn)
    rates = [values.number(d["topology.link.bandwidth"]) for d in drawn]
    assert all(rate and rate[1] == "B/s" and 1e10 <= rate[0] <= 1e12 for rate in rates)


def test_a_span_without_samples_is_refused() -> None:
    """It has no number of points."""
    with pytest.raises(UserError, match=r"between\(64, 128\) is a span of values; say how many"):
        _points("workload.sequence=between(64, 128)")


def test_a_strategy_alone_brings_its_degrees() -> None:
    """All devices for one degree, every pair for two; a common option goes where it is."""
    found = _points(
        "topology.ranks=4,8", "strategy.kind=tsp,tp_sp", "strategy.sequence_parallel=true"
    )
    told = [(dict(p.axes)["topology.ranks"], p.overrides[0]) for p in found]
    assert told == [
        (4, "strategy={kind: tsp, degree: 4}"),
        (4, "strategy={kind: tp_sp, sequence_parallel: true, tp: 2, sp: 2}"),
        (8, "strategy={kind: tsp, degree: 8}"),
        (8, "strategy={kind: tp_sp, sequence_parallel: true, tp: 4, sp: 2}"),
        (8, "strategy={kind: tp_sp, sequence_parallel: true, tp: 2, sp: 4}"),
    ]
    assert dict(found[0].axes)["strategy.sequence_parallel"] is None


def test_an_option_that_a_strategy_lacks_makes_no_point_twice() -> None:
    """TSP has no sequence_parallel: one point; TP has it: two."""
    found = _points("strategy=tsp,tp", "strategy.sequence_parallel=true,false")
    assert [p.overrides[0] for p in found] == [
        "strategy={kind: tsp, degree: 4}",
        "strategy={kind: tp, sequence_parallel: true, degree: 4}",
        "strategy={kind: tp, sequence_parallel: false, degree: 4}",
    ]


def test_keys_of_a_pipeline_are_axes_beside_strategies() -> None:
    """Stages leave the rest of the devices to the degree; schedule and chunks join their `pp`."""
    found = _points(
        "strategy=tsp,tp", "strategy.pp.stages=1,2", "strategy.pp.schedule=1f1b",
        "strategy.pp.chunks=1",
    )  # fmt: skip
    pipelines = [f'{{"stages": {n}, "schedule": "1f1b", "chunks": 1}}' for n in (1, 2)]
    assert [p.overrides for p in found] == [
        (f"strategy={{kind: {kind}, pp: {pipeline}, degree: {degree}}}",)
        for kind in ("tsp", "tp")
        for pipeline, degree in zip(pipelines, (4, 2), strict=True)
    ]
    assert [dict(p.axes)["strategy.pp.stages"] for p in found] == [1, 2, 1, 2]


def test_a_schedules_own_option_varies_where_the_schedule_has_it() -> None:
    """Group sizes of ``interleaved``; 1F1B has none, and is one point."""
    found = _points(
        "strategy=tsp", "strategy.pp={stages: 2}", "strategy.pp.schedule=1f1b,interleaved",
        "strategy.pp.schedule.group_size=2,4",
    )  # fmt: skip
    sizes = [dict(p.axes)["strategy.pp.schedule.group_size"] for p in found]
    assert sizes == [None, 2, 4]
    assert '"schedule": {"kind": "interleaved", "group_size": 4}' in found[-1].overrides[0]


def test_without_a_pipeline_its_keys_say_nothing() -> None:
    """``pp: null`` is one point, whatever the schedule; what is stated whole stays as it is."""
    found = _points(
        "strategy=tsp,{kind: tp, zero: 1}", "strategy.pp=null,{stages: 2}",
        "strategy.pp.schedule=1f1b,gpipe", "strategy.zero=2",
    )  # fmt: skip
    schedules = [dict(p.axes)["strategy.pp.schedule"] for p in found]
    assert schedules == [None, "1f1b", "gpipe"] * 2
    assert ["zero: 2" in p.overrides[0] for p in found] == [True] * 3 + [False] * 3


def test_a_stated_degree_leaves_the_rest_to_the_other() -> None:
    """``{kind: tp_sp, tp: 2}`` on four devices has sp 2; what is stated whole stays as it is."""
    found = _points("strategy={kind: tp_sp, tp: 2},{kind: tp, degree: 2}")
    assert [p.overrides for p in found] == [
        ("strategy={kind: tp_sp, tp: 2, sp: 2}",), ("strategy={kind: tp, degree: 2}",),
    ]  # fmt: skip


def test_replicas_are_left_to_every_strategy() -> None:
    """``dp: 2`` of the scenario's strategy leaves half of the devices to the others' degrees."""
    document = {**SMALL, "strategy": {"kind": "tsp", "degree": 2, "dp": 2,
                                      "placement": ["tsp", "dp"]}}  # fmt: skip
    study = studies.make(Opened.document(document), [studies.parse_axis("strategy=tsp,tp")])
    assert [p.overrides[0] for p in points(study)] == [
        'strategy={kind: tsp, dp: 2, placement: ["tsp", "dp"], degree: 2}',
        "strategy={kind: tp, dp: 2, degree: 2}",
    ]
    assert [row.figures["mesh"] for row in tspsim.sweep(document, "strategy=tsp,tp").rows] == [
        "dp 2 x tsp 2", "dp 2 x tp 2",
    ]  # fmt: skip


def test_filters_keep_the_points_that_pass() -> None:
    """Products of axes, quantities with units, words, and options that some strategies lack."""
    axes = ("workload.sequence=64,128,256", "topology.link.bandwidth=10 GB/s,0.1 TB/s")
    found = _points(
        *axes, where=["workload.sequence * 2 < 400", "topology.link.bandwidth > '50 GB/s'"]
    )
    assert [tuple(dict(p.axes).values()) for p in found] == [(64, "0.1 TB/s"), (128, "0.1 TB/s")]
    kinds = _points(
        "topology.ranks=8", "strategy.kind=tsp,tp,tp_sp",
        where=["strategy.kind != 'tp'", "strategy.tp > strategy.sp"],
    )  # fmt: skip
    assert [p.overrides[0] for p in kinds] == [
        "strategy={kind: tsp, degree: 8}", "strategy={kind: tp_sp, tp: 4, sp: 2}",
    ]  # fmt: skip


def test_filters_see_what_a_point_really_has() -> None:
    """Multiples, short forms, defaults and named files count as what they come to."""

    def kept(*axes: str, where: str) -> list[Any]:
        return [value for p in _points(*axes, where=[where]) for _, value in p.axes]

    fast = "topology.link.bandwidth > '60 GB/s'"
    assert kept("topology.link.bandwidth=x1,x2", where=fast) == ["x2"]
    assert kept("link.bandwidth=x1,x2", where=fast) == ["x2"]
    assert kept("link.bandwidth=x1,x2", where="link.bandwidth < '60 GB/s'") == ["x1"]
    area = "workload.sequence * workload.batch <= 64"  # batch is nowhere stated: 1
    assert kept("workload.sequence=64,128", where=area) == [64]
    large = "model.layers > 32"
    hf = ["model.hf=llama-3-8b,llama-3-70b"]
    document = {**SMALL, "model": {"hf": "llama-3-8b"}}
    study = studies.make(Opened.document(document), map(studies.parse_axis, hf), where=[large])
    assert [dict(p.axes)["model.hf"] for p in points(study)] == ["llama-3-70b"]
    assert kept("strategy.kind=tsp,tp", where="strategy.lookahead == 0") == ["tp"]
    pipelined = "{kind: tp, degree: 2, pp: {stages: 2, schedule: gpipe}}"
    both = f"strategy={pipelined},{{kind: tp, degree: 4}}"
    (left,) = kept(both, where="strategy.pp.schedule == '1f1b'")  # no pipeline, no schedule
    assert left == {"kind": "tp", "degree": 4}
    with pytest.raises(UserError, match=r"'memory.reserved' has no value in this scenario"):
        kept("workload.sequence=64", where="memory.reserved > '1 GiB'")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("__import__('os').system('true')", "'__import__('os').system('true')' is not allowed"),
        ("workload.sequence ** 9", "'workload.sequence ** 9' is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("workload.sequence <", "is no expression"),
        ("workload.sequnce < 3", "'workload.sequnce': names no key of a scenario "
                                 "(did you mean 'workload.sequence'?)"),
        ("strategy.kind < 3", "'<' not supported between instances of 'str' and 'int'"),
    ],
)  # fmt: skip
def test_filters_are_comparisons_and_nothing_else(expression: str, message: str) -> None:
    """What Python could run is refused, and a misspelt key is told."""
    with pytest.raises(UserError) as caught:
        _points("workload.sequence=64,128", where=[expression])
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"filter '{expression}'")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("workload.sequnce=1,2",), "axis 'workload.sequnce': names no key of a scenario "
                                    "(did you mean 'workload.sequence'?)"),
        (("link.bandwith=x2",), "axis 'link.bandwith': names no key of a scenario (did you mean "
                                "'link.bandwidth'?)"),
        (("workload.sequence",), "axis 'workload.sequence': must be key=values, such as "
                                 "workload.sequence=8192,16384"),
        ((), "no axis: give at least one KEY=VALUE,VALUE, or a study file with 'axes'"),
        (("strategy.kind=tps,tp",), "unknown strategy 'tps' (did you mean 'tp'?); known: fsdp, "
                                    "sp, tp, tp_sp, tsp"),
        (("strategy=tsp,tp", "strategy.kv=ring"), "axis 'strategy.kv': found tsp, tp, which have "
         "no such option; those that have it: sp, tp_sp"),
        (("strategy=tp", "strategy.pp.stages=2", "strategy.pp.schedule.group_size=2"),
         "axis 'strategy.pp.schedule.group_size': found tp with 1f1b, which have no such option; "
         "those that have it: interleaved, interleaved_zb"),
        (("strategy=tp", "strategy.pp.stagse=2"), "axis 'strategy.pp.stagse': names no key of a "
         "scenario (did you mean 'strategy.pp.stages'?)"),
        (("workload.sequence=64", "--where", "workload.sequence > 64"),
         "no point is left: none of 1 passes 'workload.sequence > 64'"),
        (("workload.sequence=64,128", "workload.batch=1", "--link",
          "workload.sequence,workload.batch"),
         "link workload.sequence,workload.batch: linked axes move together, but "
         "'workload.sequence' has 2 values, 'workload.batch' has 1 values"),
        (("workload.sequence=64", "--link", "workload.sequence,workload.bath"),
         "link workload.sequence,workload.bath: 'workload.bath' is no axis of this study "
            "(did you mean 'workload.sequence'?)"),
        (("workload.sequence=range(1,1000,1)", "workload.batch=range(1,101,1)"),
         "101,000 points; more than 100,000 want to be confirmed with --yes"),
        (("workload.sequence=64,128",), "2 points; say where their results go: -o DIR"),
        (("workload.sequence=64", "--sample", "sobl:8"),
         "--sample sobl:8: found 'sobl'; known: latin_hypercube, sobol (did you mean 'sobol'?)"),
        (("workload.sequence=64", "--sample", "sobol:8"),
         "samples need spans to draw from: KEY=between(a,b) or KEY=log(a,b)"),
    ],
)  # fmt: skip
def test_studies_that_make_no_sense(arguments: tuple[str, ...], message: str, small: str) -> None:
    """Each mistake has its message, exit code 2, and nothing is written."""
    result = call("sweep", small, *arguments)
    assert (result.exit_code, result.stderr, result.stdout) == (2, f"{message}\n", "")
    assert [path.name for path in Path(small).parent.iterdir()] == ["small.yaml"]


def test_many_points_can_be_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is a question, not a wall."""
    monkeypatch.setattr(pointed, "MOST_POINTS", 3)
    study = studies.make(
        Opened.document(SMALL), [studies.parse_axis("workload.sequence=64,128,256,512")]
    )
    with pytest.raises(UserError, match="4 points; more than 3 want to be confirmed with --yes"):
        points(study)
    assert len(points(study, allow_many=True)) == 4


def test_every_key_of_a_resolved_scenario_is_known_as_an_axis() -> None:
    """What a scenario holds can be swept: no key of the shipped ones is refused."""
    from tspsim.sweeps import keys

    def paths(value: Any, prefix: str) -> list[str]:
        if not isinstance(value, dict):
            return [prefix]
        return [p for k, v in value.items() if k != "source" for p in paths(v, f"{prefix}.{k}")]

    for name in ("tsp-layer", "llama3-8b-128k-h100-tp-sp", "paper-memory-tsp"):
        document = tspsim.load(name).document
        keys.check(path[1:] for path in paths(dict(document), ""))


# Runs ------------------------------------------------------------------------


def test_a_point_gives_what_run_gives() -> None:
    """A row's figures are those of `tspsim.run` with the same overrides, to the last bit."""
    swept = tspsim.sweep(SMALL, "strategy.kind=tsp,tp", "link.bandwidth=x0.5,x1")
    for row in swept.rows:
        kind, factor = row.axes["strategy.kind"], row.axes["link.bandwidth"]
        strategy = f"strategy={{kind: {kind}, degree: 4}}"
        told = tspsim.run(SMALL, strategy, f"link.bandwidth={factor}").summary
        assert row.figures["step_time"] == told.step_time
        assert row.figures["memory.peak"] == told.memory.peak
        assert row.figures["fits"] is True
        assert row.status == "ok"
        assert row.number("link.bandwidth") == float(factor[1:])
        assert row.number("strategy.kind") is None
    assert len({row.hash for row in swept.rows}) == 4


def test_what_is_wrong_with_a_point_is_its_row() -> None:
    """Invalid and unfit points have a reason, and the sweep goes on."""
    swept = tspsim.sweep(
        SMALL, "topology.ranks=3,4", "strategy.kind=tsp,tp_sp", "device.memory=1 GiB,2 GiB"
    )
    told = [(row.status, row.reason.partition(":")[0]) for row in swept.rows]
    assert [status for status, _ in told] == ["invalid"] * 4 + ["ok"] * 4
    first, fourth = swept.rows[0].reason, swept.rows[2].reason
    assert first.startswith("override 'strategy={kind: tsp, degree: 3}': strategy.degree: ")
    assert fourth == "tp_sp: no two degrees of at least 2 make the 3 devices"
    tight = tspsim.sweep(SMALL, "device.memory=50 KiB,1 GiB", "kernels=ideal")
    row, other = tight.rows
    assert (row.status, other.status) == ("unfit", "ok")
    assert row.reason.startswith("needs ")
    assert row.reason.endswith("more than the 50.0 KiB of a device")
    assert row.figures["step_time"] == other.figures["step_time"]
    assert row.figures["fits"] is False


def test_a_bug_of_tspsim_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised while a point runs becomes its reason."""

    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("tspsim.sweeps.work.simulate_scenario", broken)
    found = outcome_of(7, SMALL)
    assert (found.id, found.status, found.reason) == (7, "failed", "ZeroDivisionError: a bug")
    assert len(found.hash) == 64


def test_programs_are_recorded_once_for_points_that_differ_in_hardware(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Six points, two sequences: two recordings, whatever the order of the axes."""
    from tspsim.strategies.tsp import TensorSequenceParallel
    from tspsim.sweeps import work

    recorded = []
    record = TensorSequenceParallel.record

    def counting(self: Any, *args: Any) -> Any:
        recorded.append(args[1].sequence)
        return record(self, *args)

    work._recorded.cache_clear()
    monkeypatch.setattr(TensorSequenceParallel, "record", counting)
    tspsim.sweep(SMALL, "link.bandwidth=x1,x2,x4", "workload.sequence=512,1024")
    assert sorted(recorded) == [512, 1024]


def test_the_hash_is_of_everything_that_counts() -> None:
    """Equal scenarios hash alike, whatever they were written as; anything else does not."""
    same = tspsim.sweep(SMALL, "link.bandwidth=x2,100 GB/s,0.1 TB/s,100.1 GB/s").rows
    assert len({row.hash for row in same[:3]}) == 1
    assert same[3].hash != same[0].hash


def test_frame_has_a_row_per_point() -> None:
    """Axes first, then the figures, in the order of the study."""
    frame = tspsim.sweep(SMALL, "workload.sequence=64,128").frame()
    assert list(frame.columns[:3]) == ["workload.sequence", "mesh", "step_time"]
    assert frame["workload.sequence"].tolist() == [64, 128]
    assert (frame["step_time"] > 0).all()
    assert {"mfu", "time.compute", "memory.at_peak.weight", "fits", "status", "hash"} <= set(
        frame.columns
    )


@pytest.mark.usefixtures("small")
def test_a_study_file_says_all_that_the_command_line_can(tmp_path: Path) -> None:
    """Axes, links, filters and samples; more axes on the command line replace and add."""
    study = tmp_path / "study.yaml"
    study.write_text(
        "scenario: small.yaml\n"
        "axes:\n"
        "  workload.sequence: [64, 128, 256]\n"
        "  workload.batch: [4, 2, 1]\n"
        "  strategy.kind: [tsp, tp]\n"
        "  topology.link.bandwidth: log(10 GB/s, 100 GB/s)\n"
        "link: [[workload.sequence, workload.batch]]\n"
        "samples: {count: 2, seed: 1}\n"
        "where: [workload.sequence < 200]\n"
    )
    found = points(studies.load(study))
    assert len(found) == 2 * 2 * 2
    replaced = studies.load(study, [studies.parse_axis("topology.link.bandwidth=x1")])
    assert len(points(replaced)) == 2 * 2
    result = call("sweep", str(study), "-o", str(tmp_path / "out"), "--jobs", "1")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.endswith("8 of 8 points: 8 ok\n")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scenario: small.yaml\naxis: {}\n",
         "study.yaml:2:1: axis: unknown key (did you mean 'axes'?); known: name, scenario, axes, "
         "link, samples, where"),
        ("scenario: small.yaml\naxes: {workload.sequence: []}\n",
         "axis 'workload.sequence=[]': the list is empty"),
        ("scenario: smal.yaml\naxes: {workload.sequence: 1}\n", "found no file 'smal.yaml'"),
        ("scenario: small.yaml\naxes: {a: 1}\nsamples: {count: 0}\n",
         "study.yaml:3:18: samples.count: found 0; must be a number of at least 1"),
    ],
)  # fmt: skip
def test_mistakes_in_a_study_file(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are told with their place."""
    (tmp_path / "study.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    result = call("sweep", "study.yaml", "-o", "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(message)


# The command -----------------------------------------------------------------


def test_sweep_stores_and_export_writes(small: str, tmp_path: Path) -> None:
    """The table in every form has a row per point and the same figures."""
    out = str(tmp_path / "out")
    result = call(
        "sweep", small, "strategy.kind=tsp,tp,tp_sp", "workload.sequence=64,100", "-o", out,
        "--jobs", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert result.stderr == f"{out}: 6 of 6 points: 1 invalid, 5 ok\n"
    assert "sp 2 x tp 2" in result.stdout
    assert (tmp_path / "out" / FILE).exists()
    rows = json.loads(call("export", out, "--format", "json").stdout)
    table = list(csv.reader(io.StringIO(call("export", out).stdout)))
    assert table[0] == list(rows[0])
    assert [float(line[table[0].index("step_time")] or 0) for line in table[1:]] == [
        row["step_time"] or 0 for row in rows
    ]
    assert rows[1]["status"] == "invalid"
    assert "the sequence of 100 does not divide into 8" in rows[1]["reason"]
    markdown = call("export", out, "--format", "md").stdout.splitlines()
    assert len(markdown) == 2 + 6
    assert len({line.count("|") for line in markdown}) == 1
    latex = call("export", out, "--format", "latex").stdout
    assert latex.count(r"\\") == 7
    assert r"step\_time" in latex


def test_export_into_a_file(small: str, tmp_path: Path) -> None:
    """Whole or not at all; an unknown form is told."""
    out, target = str(tmp_path / "out"), tmp_path / "table.csv"
    call("sweep", small, "workload.sequence=64,128", "-o", out, "--jobs", "1")
    result = call("export", out, "-o", str(target))
    assert (result.exit_code, result.stderr) == (0, f"wrote {target}\n")
    assert target.read_text() == call("export", out).stdout
    wrong = call("export", out, "--format", "cvs")
    assert wrong.exit_code == 2
    assert wrong.stderr == (
        "unknown format 'cvs' (did you mean 'csv'?); known: csv, json, latex, md, parquet\n"
    )
    assert call("export", str(tmp_path)).stderr == (
        f"{tmp_path}: holds no result and no sweep; 'tspsim run SCENARIO -o DIR' or "
        "'tspsim sweep SCENARIO -o DIR' makes one\n"
    )
    assert call("export", out, "-o", str(tmp_path / "no" / "file")).exit_code == 2


def test_parquet_needs_pyarrow_and_says_so(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file to go to."""
    out = str(tmp_path / "out")
    call("sweep", small, "workload.sequence=64", "-o", out, "--jobs", "1")
    assert call("export", out, "--format", "parquet").stderr == (
        "Parquet is no text: say where it goes, -o FILE\n"
    )
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    result = call("export", out, "--format", "parquet", "-o", str(tmp_path / "t.parquet"))
    assert (result.exit_code, result.stderr) == (
        2,
        "Parquet needs pandas and pyarrow, which are not installed: pip install '.[parquet]'\n",
    )


def test_parquet_holds_the_same_table(small: str, tmp_path: Path) -> None:
    """With pandas it is read back as the frame, mixed columns as text."""
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    out, target = str(tmp_path / "out"), tmp_path / "t.parquet"
    call("sweep", small, "strategy=tsp,{kind: tp}", "link.bandwidth=x1,9 GB/s", "-o", out)
    result = call("export", out, "--format", "parquet", "-o", str(target))
    assert result.exit_code == 0, result.output
    table = pandas.read_parquet(target)
    assert table["link.bandwidth"].tolist() == ["x1", "9 GB/s"] * 2
    assert table["step_time"].tolist() == [r.figures["step_time"] for r in
                                           tspsim.Store.open(out).rows()]  # fmt: skip


def test_a_batch_leaves_the_garbage_collector_as_it_was() -> None:
    """Also when two threads of one worker run batches that overlap."""
    import gc

    from tspsim.sweeps.work import _few_collections, play

    here, before = gc.get_threshold(), (700, 10, 10)
    gc.freeze()  # what other tests left is not looked through again and again
    gc.set_threshold(*before)
    try:
        play([], tspsim.__version__)
        assert gc.get_threshold() == before
        with _few_collections:
            with _few_collections:
                assert gc.get_threshold() != before
            assert gc.get_threshold() != before
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*here)
        gc.unfreeze()


def test_a_worker_of_another_version_is_refused() -> None:
    """A table must not mix versions, nor may a cluster."""
    from tspsim.sweeps.work import play

    with pytest.raises(UserError, match=r"a worker has tspsim [\d.]+, this is 0.0.9: install"):
        play([], "0.0.9")


def test_a_filter_of_a_file_is_refused_with_its_place(tmp_path: Path) -> None:
    """All of them at once, each with line and column."""
    study = tmp_path / "study.yaml"
    study.write_text(
        "scenario: tsp-layer\nwhere:\n  - workload.batch Jr 2\n  - workload.batc > 1\n"
    )
    result = call("sweep", str(study))
    assert result.exit_code == 2
    first, second = result.stderr.splitlines()
    assert first.startswith(f"{study}:3:5: where.0: filter 'workload.batch Jr 2': is no expression")
    assert second.startswith(f"{study}:4:5: where.1: filter 'workload.batc > 1': ")


def test_an_anchor_that_stands_twice_is_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    """YAML 1.2 lets a later one of the same name count from there on."""
    from tspsim.files.source import parse

    warnings.simplefilter("always")
    assert parse("a: &x 1\nb: &x 2\nc: *x\n", "s.yaml").data == {"a": 1, "b": 2, "c": 2}
    assert not recwarn.list
