"""Plans of inference: the most that does, within limits, and what is printed and drawn of it."""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.test_inference_outputs import DECODE, PREFILL, document
from tspsim.cli.app import app
from tspsim.plan.inference import CLOSE, Asked, Limits, Served, served, strategies
from tspsim.registry import STRATEGIES
from tspsim.reports import inference_plan as report
from tspsim.strategies.base import StrategyOptions

TIGHT = Limits(per_token=4.5e-5)


def asked(limits: Limits = Limits(), longest: bool = False, **workload: Any) -> Asked:  # noqa: B008
    """Return a plan of small decodes, on devices with little memory."""
    small = document({**DECODE, "batch": 1, **workload})
    small["topology"] = {**small["topology"], "device": DEVICE}
    return Asked(small, limits, longest)


DEVICE = {
    "name": "small", "flop_rate": {"bf16": "989 TFLOP/s"}, "memory_bandwidth": "3.35 TB/s",
    "memory": "100 MiB",
}  # fmt: skip


def way(kind: str = "tsp", degree: int = 4, **options: Any) -> StrategyOptions:
    """Return a strategy."""
    form: type[StrategyOptions] = STRATEGIES.get(kind)
    return form.model_validate({"kind": kind, "degree": degree, **options})


@cache
def answer(limits: Limits = Limits(), kind: str = "tsp") -> Served:  # noqa: B008
    """Return what a strategy serves."""
    return served(asked(limits), way(kind))


@pytest.mark.parametrize("limits", [Limits(), TIGHT], ids=["memory", "time"])
def test_the_largest_batch_does_and_one_more_does_not(limits: Limits) -> None:
    """Whether memory ends it or time; limits are kept by all that is said to do."""
    found = answer(limits)
    assert found.largest is not None
    more = asked(limits).trial(way(), found.largest.batch + 1, 4096)
    assert found.largest.does
    assert not more.does
    assert more.fits == (limits is TIGHT)
    assert all(trial.fits for trial in found.front)
    if limits.per_token is not None:
        times = [trial.per_token for trial in found.front if trial.per_token is not None]
        assert times
        assert max(times) <= limits.per_token


def test_replicas_serve_as_many_each() -> None:
    """The batch that is answered is that of all replicas."""
    one, four = served(asked(), way("tp", 4)), served(asked(), way("tp", 1, dp=4))
    assert one.largest is not None
    assert four.largest is not None
    assert four.largest.batch % 4 == 0
    again = asked().trial(way("tp", 1, dp=4), four.largest.batch // 4 + 1, 4096)
    assert not again.does


def test_no_batch_on_the_front_is_dominated() -> None:
    """Of two of them the slower one gives more; everything that does and is not on it is beaten."""
    found = answer()
    front = found.front
    assert len(front) > 2
    pairs = pairwise(front)
    assert all(a.per_token < b.per_token and a.rate < b.rate for a, b in pairs)  # type: ignore[operator]
    for trial in found.trials:
        if trial.does and trial not in front:
            assert any(f.per_token <= trial.per_token and f.rate >= trial.rate for f in front)  # type: ignore[operator]


def test_the_longest_context_does_and_a_little_more_does_not() -> None:
    """At the batch that is asked for."""
    question = asked(longest=True)
    found = served(question, way()).longest
    assert found is not None
    assert found.does
    assert found.batch == 1
    assert not question.trial(way(), 1, round(found.tokens * (1 + 2 * CLOSE))).does


def test_contexts_are_longer_than_a_prefix_that_is_cached() -> None:
    """A prompt of which 2,000 tokens are there already is not tried with fewer."""
    small = document({**PREFILL, "chunk": None, "cached": 2000})
    found = served(Asked(small, Limits(first_token=3e-3), longest=True), way())
    assert not found.reason
    assert found.longest is not None
    assert found.longest.tokens > 2000


def test_a_limit_that_nothing_keeps_is_answered_with_what_one_sequence_takes() -> None:
    """The table names the strategy and the time."""
    found = answer(Limits(per_token=1e-9))
    assert (found.largest, found.front) == (None, ())
    told = text(asked(Limits(per_token=1e-9)), [found])
    assert "one sequence a replica takes" in told


def test_strategies_are_those_that_hold_a_cache_on_all_devices() -> None:
    """All degrees that divide; training's strategies are not among them."""
    found = strategies(asked().document, 4, {})
    assert {each.kind for each in found} == {"tp", "sp", "tsp", "tp_sp"}
    assert {each.mesh().ranks for each in found} == {4}
    only = strategies(asked().document, 4, {"kind": "tsp", "dp": 1})
    assert [(each.kind, each.mesh().degree("tsp")) for each in only] == [("tsp", 4)]


def text(question: Asked, found: list[Served], hourly: float | None = None) -> str:
    """Return the table as it is printed."""
    console = Console(width=80)
    with console.capture() as printed:
        console.print(report.render(question, found, hourly))
    return printed.get()


def test_table_json_and_picture_agree() -> None:
    """The same batch, and dollars of a million tokens: those of an hour over its tokens."""
    question, found = asked(), [answer(), answer(kind="tp")]
    best = found[0].largest
    assert best is not None
    said = json.loads(json.dumps(report.to_dict(question, found, 3.6)))
    assert said["served"][0]["largest"]["batch"] == best.batch
    assert said["served"][0]["largest"]["dollars"] == pytest.approx(1e-3 / best.rate * 1e6)
    assert len(said["served"][0]["front"]) == len(found[0].front)
    ax = report.plot(question, found)
    assert [len(line.get_xdata()) for line in ax.get_lines()] == [len(f.front) for f in found]  # type: ignore[arg-type]
    assert "tokens cached" in ax.get_title(loc="left")
    plt.close("all")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("cached", [64, 32], "workload.cached: found 2 lengths; a plan looks for how many"),
        ("requests", [64, 32, 7], "workload.requests: found 3 lengths; a plan looks for how many"),
    ],
)
def test_sequences_of_several_lengths_are_refused(
    key: str, value: list[int], told: str, tmp_path: Path
) -> None:
    """How many of one length is the question."""
    phase = {"cached": "decode", "requests": "prefill"}[key]
    path = tmp_path / "small.json"
    path.write_text(json.dumps(document({"phase": phase, key: value})))
    found = CliRunner().invoke(app, ["plan", str(path)])
    assert found.exit_code == 2
    assert told in found.output.replace("\n", " ")
