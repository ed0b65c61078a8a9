"""From the ideal step to the real one: parts that add up, each held against another account."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from itertools import pairwise
from math import fsum
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tspsim
from tests import toy
from tests.mixtures import SKEWED, mixture
from tests.small_reports import SMALL
from tests.toy import Toy, full, shared
from tspsim.analysis.summary import time_of
from tspsim.cli.app import app
from tspsim.explain.report import to_dict
from tspsim.explain.standing import standing
from tspsim.explain.why import BEYOND, GROUPS, LAYERS, NOTHING, SCORES, Why, why
from tspsim.output.plots.paper import paper
from tspsim.reports.waterfall import LEAST, MOST, falls, waterfall

#: A device without anything but products, at 1 Gflop/s, and links that take no time.
IDEAL: dict[str, Any] = {
    "kind": "switch", "ranks": 1,
    "link": {"bandwidth": "1e9 GB/s", "latency": "0 s"},
    "device": {
        "name": "ideal", "flop_rate": {"bf16": "1 Gflop/s"}, "memory": "1 PB",
        "memory_bandwidth": "1e9 GB/s",
    },
}  # fmt: skip
#: A GPT of two layers, as Megatron-LM's papers count its flops: not causal, plain MLP.
GPT: dict[str, Any] = {
    "name": "gpt",
    "model": {
        "hidden": 64, "layers": 2, "heads": 4, "ffn": 256, "vocab": 512, "mlp": "plain",
        "norm": "layernorm",
    },
    "workload": {"sequence": 128, "batch": 2, "phase": "train", "causal": "off"},
    "topology": IDEAL,
    "kernels": "ideal",
    "strategy": {"kind": "tp", "degree": 1},
}  # fmt: skip
PIPE = {**SMALL, "strategy": {"kind": "tp", "degree": 1, "pp": {"stages": 4}}}
PIPE |= {
    "model": {**SMALL["model"], "layers": 4},
    "workload": {"sequence": 64, "micro_batches": 4, "phase": "train"},
}
DECODE = {**SMALL, "workload": {"phase": "decode", "cached": 4096, "batch": 2}}

#: Less than 0 where tokens are dropped, a kernel is faster than the device states, or by chance.
NEGATIVE = {"again", "kernels", "slowed"}


@cache
def found(name: str) -> tuple[tspsim.Run, Why]:
    """Return one of some small runs, and why it takes as long as it does."""
    scenarios: Mapping[str, Callable[[], dict[str, Any]]] = {
        "training": lambda: {**SMALL, "workload": {"sequence": 64, "phase": "train"}},
        "experts": lambda: mixture(workload={"phase": "train", "routing": SKEWED}),
        "dropped": lambda: mixture(workload={"routing": {**SKEWED, "capacity": 1.0}}),
        "pipeline": lambda: PIPE,
        "decode": lambda: DECODE,
        "host": lambda: {**SMALL, "kernels": {"host": "1 ms"}},
        "chance": lambda: {
            **SMALL, "disturbances": {"jitter": {"compute": {"kind": "lognormal", "sigma": 0.3}}},
        },
        "unfused": lambda: {**SMALL, "kernels": "megatron-2022"},
    }  # fmt: skip
    run = tspsim.run(scenarios[name]())
    return run, why(run)


ALL = ("training", "experts", "dropped", "pipeline", "decode", "host", "chance", "unfused")


def of(step: Why, group: str, name: str = "") -> float:
    """Return the seconds of a group, or of one part of it."""
    return fsum(p.seconds for p in step.parts if p.group == group and name in (p.name, ""))


@pytest.mark.parametrize("name", ALL)
def test_the_parts_add_up_to_the_step(name: str) -> None:
    """To nine digits; in order of their groups, and less than nothing only where that is named."""
    run, step = found(name)
    assert step.total == pytest.approx(run.timeline.step_time, rel=1e-9)
    assert [GROUPS.index(part.group) for part in step.parts] == sorted(
        GROUPS.index(part.group) for part in step.parts
    )
    dust = 1e-12 * step.total
    assert {part.group for part in step.parts if part.seconds < -dust} <= NEGATIVE
    assert step.ideal == ("bytes" if name == "decode" else "flops")
    if step.ideal == "flops":
        assert step.parts[0].seconds / step.total == pytest.approx(run.summary.mfu, rel=1e-12)


def test_an_ideal_machine_takes_the_ideal_step() -> None:
    """Forward at the peak rate, without traffic, launches and links: nothing is added to it."""
    step = why(tspsim.run(GPT, "workload.phase=forward"))
    assert [part.group for part in step.parts if part.seconds > 1e-9 * step.total] == ["ideal"]
    assert step.parts[0].seconds == pytest.approx(step.total, rel=1e-9)


def test_recomputation_is_what_megatron_lm_counts() -> None:
    """96 B s l h^2 (1 + s/6h + V/16lh) flops instead of 72 (1 + s/6h + V/12lh): arXiv 2104.04473.

    Beyond that, flash attention's backward computes the scores again: 2 B s^2 h l.
    """
    step = why(tspsim.run(GPT, "workload.recompute=full"))
    h, layers, s, v = 64, 2, 128, 512
    ideal = 72 * (1 + s / (6 * h) + v / (12 * layers * h))
    whole = 96 * (1 + s / (6 * h) + v / (16 * layers * h))
    assert of(step, "again", LAYERS) / of(step, "ideal") == pytest.approx(whole / ideal - 1)
    assert of(step, "again", SCORES) / of(step, "ideal") == pytest.approx(2 * s / h / ideal)


def test_the_ideal_is_the_published_mfu_of_a_published_step() -> None:
    """GPT-3 175B on 64 A100: 13.75 s for 64 sequences, an MFU of 51.4 % (arXiv 2205.05198)."""
    changes = ("workload.causal=off", "model.vocab=51200", "workload.dtype=fp16")
    step = why(tspsim.run("gpt3-175b-tp8", *changes))
    one_of_eight = of(step, "ideal")  # one sequence on eight devices
    assert one_of_eight * 64 / (64 / 8) / 13.75 == pytest.approx(0.514, abs=0.0005)


def test_who_has_less_to_do_waits_for_the_slower_one() -> None:
    """3 s here, 5 s there, 8 bytes gathered in 4 s, 1 s more: the first one waits 2 s."""
    program = Toy()
    first = program.compute([3, 5])
    gathered = program.communicate("all_gather", 8, after=[first])
    program.compute(1, after=[gathered])
    timeline = toy.run(shared(program, 2), full(2))
    said = "all_gather of all_gather1"
    assert standing(timeline, 0, None) == {("communication", said): 4, ("waiting", said): 2}
    assert standing(timeline, 1, None) == {("communication", said): 4}


def test_standing_still_is_what_the_table_says_of_a_rank() -> None:
    """Without a pipeline: exposed communication, and idle."""
    run, _ = found("experts")
    for rank in range(4):
        told, times = standing(run.timeline, rank, None), time_of(run.timeline, rank)
        said = fsum(s for (why, _), s in told.items() if why in ("communication", "uneven"))
        assert said == pytest.approx(times.exposed_communication, rel=1e-9)
        idle = fsum(s for (why, _), s in told.items() if why == "waiting")
        assert idle == pytest.approx(times.idle, rel=1e-9, abs=1e-12)


def test_a_bubble_is_the_pipelines() -> None:
    """What it hides is not counted again; what brings micro-batches is part of it."""
    run, step = found("pipeline")
    assert run.summary.pipeline is not None
    said = [part for part in step.parts if part.group == "communication"]
    sends = fsum(part.seconds for part in said if part.name.startswith(("send", "receive")))
    bubble = run.summary.pipeline.bubble.mean
    assert of(step, "bubble") <= bubble <= of(step, "bubble") + sends * (1 + 1e-9)
    assert of(step, "bubble") > 0.1 * step.total


def test_uneven_experts_are_waited_for() -> None:
    """Half of all choices go to the first of four experts; tokens that are dropped cost nothing."""
    _, skewed = found("experts")
    assert of(skewed, "waiting") > 0
    assert of(skewed, "uneven") > 0
    _, dropped = found("dropped")
    assert of(dropped, "again", BEYOND) < 0


def test_an_ideal_step_of_decoding_reads_weights_and_cache_once() -> None:
    """Of a dense model on one device: all weights but the table of tokens, and all of its cache."""
    run = tspsim.run(DECODE, "strategy={kind: tp, degree: 1}", "topology.ranks=1")
    step, device = why(run), run.scenario.topology.devices[0]
    model, cache = run.scenario.model, run.summary.inference
    assert cache is not None
    weights = 2 * sum(
        b.shape[0] * (b.shape[1] if len(b.shape) > 1 else 1)
        for b in run.timeline.programs.of(0).buffers
        if b.kind == "weight" and "embed" not in b.name
    )
    assert weights > 2 * model.vocab * model.hidden
    least = (weights + cache.cache.bytes) / device.memory_bandwidth
    assert of(step, "ideal") == pytest.approx(least, rel=0.02)


def test_the_host_and_chance_have_parts_of_their_own() -> None:
    """A host that is too slow is waited for; jitter is told apart from what kernels take."""
    assert of(found("host")[1], "host") > 0.5 * found("host")[1].total
    assert of(found("chance")[1], "slowed") != 0
    assert of(found("training")[1], "slowed") == 0


def test_json_and_text_have_the_parts() -> None:
    """``why`` in ``--json`` adds up; the text names what takes a share that can be seen."""
    run, step = found("training")
    told = to_dict(tspsim.explain(run, what_if=False))["why"]
    assert told["total"] == step.total == pytest.approx(fsum(p["seconds"] for p in told["parts"]))
    assert (told["ideal"], told["ranks"]) == ("flops", 4)
    text = str(tspsim.explain(run, what_if=False))
    assert "from the ideal step to this one" in text
    assert "ideal: model flops at the peak rate" in text
    for group, parts in step.groups.items():
        whole = fsum(part.seconds for part in parts)
        assert group == "ideal" or whole >= NOTHING * step.total, group


def test_a_waterfall_falls_from_the_ideal_to_the_step() -> None:
    """Every bar begins where the one before ends, small parts are one, the last bar is the step."""
    run, step = found("training")
    rows = falls(step)
    assert rows[0].start == 0
    for before, row in pairwise(rows):
        assert row.start == pytest.approx(before.end, rel=1e-12)
    assert rows[-1].end == pytest.approx(step.total, rel=2 * LEAST)
    assert max(sum(row.group == group for row in rows) for group in GROUPS) <= MOST
    ax = waterfall(run, step)
    assert len(ax.patches) == len(rows) + 1
    assert "not the ideal" in ax.get_title(loc="left")


def test_in_a_column_of_a_paper_names_stand_over_their_bars() -> None:
    """The bars have the width of the column, and no text lies on another one or on a bar."""
    with paper(3.35):
        ax = waterfall(*found("training"))
    drawn: Any = ax.figure
    drawn.draw_without_rendering()
    names = [text.get_window_extent() for text in ax.texts]
    assert len(names) == 2 * len(ax.patches)
    assert not ax.get_yticklabels()
    others = [*names, *(bar.get_window_extent() for bar in ax.patches)]
    assert not any(name.overlaps(one) for name in names for one in others if one is not name)


def test_commands_draw_it(tmp_path: Path) -> None:
    """``explain --why FILE``, and ``plot --kind why`` of a folder, which has no rank to choose."""
    scenario = tmp_path / "small.yaml"
    scenario.write_text(json.dumps(SMALL))
    picture = tmp_path / "why.svg"

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(arguments))
        return done.exit_code, done.output

    assert call("explain", str(scenario), "--quick", "--why", str(picture))[0] == 0
    assert picture.stat().st_size > 1000
    assert call("run", str(scenario), "-o", str(tmp_path / "run"))[0] == 0
    again = tmp_path / "again.svg"
    assert call("plot", str(tmp_path / "run"), "--kind", "why", "-o", str(again))[0] == 0
    assert again.read_bytes() == picture.read_bytes()
    code, said = call("plot", str(tmp_path / "run"), "--kind", "why", "--rank", "1")
    assert (code, said) == (2, "a why plot has no rank to choose\n")
    code, said = call("explain", str(scenario), "--quick", "--why", str(tmp_path / "why.gif"))
    assert code == 2
    assert "pictures are .png, .svg, .pdf, .html, not '.gif'" in said
