"""Comparisons: who wins, why, and in what two results differ."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import tspsim
from tests.small_result import real
from tspsim.cli.app import app
from tspsim.memory import alive
from tspsim.reports import stacked
from tspsim.reports.comparison import render, why
from tspsim.sweeps.candidates import Candidate, pair, winner
from tspsim.sweeps.difference import difference

SMALL: dict[str, Any] = {
    "name": "small",
    "kernels": "ideal",
    "timing": {"profile": "datasheet"},
    "model": {"hidden": 64, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256},
    "workload": {"sequence": 64},
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


def _made(
    name: str, step: float, exposed: float = 0.0, idle: float = 0.0, peak: float = 50.0,
    tokens: int = 1000,
) -> Candidate:  # fmt: skip
    """Return a candidate with made-up figures on a device of 100 GiB; times in seconds."""
    figures = {
        "step_time": step,
        "interval": None,
        "profile": {"name": "datasheet", "error": None},
        "tokens_per_second": tokens / step,
        "tokens_per_second_per_device": tokens / step / 8,
        "mfu": 0.5,
        "time": {
            "compute": step - exposed - idle, "exposed_communication": exposed, "idle": idle,
        },
        "memory": {"capacity": 100 * 2**30, "peak": peak * 2**30, "fits": peak <= 100},
    }  # fmt: skip
    result: Any = SimpleNamespace(
        summary=SimpleNamespace(to_dict=lambda: figures),
        fits=peak <= 100,
    )
    return Candidate(name, result)


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            [_made("tsp 8", 1.0, 0.1), _made("tp 8", 1.25, 0.34)],
            "tsp 8 is ahead in the model: 1,000.0 ms a step, 20.0 % less than tp 8 "
            "(the difference's error is "
            "unknown), because it exposes 240.0 ms less communication (100.0 ms instead of "
            "340.0 ms).",
        ),
        (
            [_made("tp 8", 1.2, 0.0), _made("tsp 8", 1.0, 0.2)],
            "tsp 8 is ahead in the model: 1,000.0 ms a step, 16.7 % less than tp 8 "
            "(the difference's error is "
            "unknown), because it computes for "
            "400.0 ms less (800.0 ms instead of 1,200.0 ms), although it exposes 200.0 ms more "
            "communication.",
        ),
        (
            [_made("a", 1.0, idle=0.1), _made("b", 1.2, idle=0.3), _made("c", 0.5, peak=120)],
            "a is ahead in the model: 1,000.0 ms a step, 16.7 % less than b "
            "(the difference's error is unknown), "
            "because it idles for 200.0 ms less "
            "(100.0 ms instead of 300.0 ms); c would be faster (500.0 ms) but needs 20.0 GiB more.",
        ),
        (
            [_made("a", 1.0), _made("b", 2.0, peak=130)],
            "a wins: 1,000.0 ms a step; nothing else fits (b needs 30.0 GiB more).",
        ),
        (
            [_made("a", 1.0), _made("b", 0.5, peak=130)],
            "a wins: 1,000.0 ms a step; nothing else fits; b would be faster (500.0 ms) but needs "
            "30.0 GiB more.",
        ),
        (
            [_made("a", 1.0, peak=60), _made("b", 1.0, peak=40)],
            "b is ahead in the model: 1,000.0 ms a step as a, with a peak of 40.0 GiB.",
        ),
        (
            [_made("long", 3.0, tokens=4000), _made("short", 1.0)],
            "long is ahead in the model: 1,333 tokens/s, 33.3 % more than short "
            "(the difference's error is "
            "unknown).",
        ),
        (
            [_made("a", 1.0, peak=130), _made("b", 2.0, peak=110)],
            "Nothing fits: b comes nearest and needs 10.0 GiB more.",
        ),
        ([Candidate("a", None, "no"), Candidate("b", None, "no")], "Nothing can run."),
        (
            [_made("a", 1.0), Candidate("b", None, "no")],
            "a wins: 1,000.0 ms a step; nothing else could run.",
        ),
    ],
)
def test_one_sentence_says_why(found: list[Candidate], sentence: str) -> None:
    """It is made from the numbers: the largest change first, what goes against it behind."""
    assert why(found) == sentence


def test_the_winner_is_the_fastest_that_fits() -> None:
    """And the two to look at closely are the best two, or the only two."""
    a, b, c = _made("a", 3.0), _made("b", 2.0), _made("c", 1.0, peak=101)
    assert winner([a, b, c]) is b
    assert pair([a, b, c]) == (b, a)
    assert pair([c, a]) == (c, a)
    assert pair([a, Candidate("x", None)]) is None
    assert winner([c]) is None


def test_the_table_marks_the_winner_and_what_does_not_fit() -> None:
    """Headroom is negative where the peak is above the capacity."""
    from rich.console import Console

    console = Console(width=80, record=True, file=__import__("io").StringIO())
    console.print(
        render([_made("a", 3.0), _made("b", 2.0, peak=120), Candidate("c", None, "it is wrong")])
    )
    lines = console.export_text().splitlines()
    assert all(len(line.rstrip()) <= 80 for line in lines)
    assert lines[1].split() == [
        "▶", "a", "3,000.0", "ms", "42", "50.0", "%", "0", "s", "50.0", "GiB", "50.0", "GiB", "yes",
    ]  # fmt: skip
    assert lines[2].split()[-3:] == ["-20.0", "GiB", "NO"]
    assert "  c cannot run: it is wrong" in [line.rstrip() for line in lines]


def test_strategies_side_by_side_are_what_run_says(small: str) -> None:
    """Every row's figures are those of `tspsim run`; tp_sp brings its factorization."""
    result = call("compare", small, "strategy=tsp,tp,sp,tp_sp", "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    rows = {row["candidate"]: row["result"] for row in found["candidates"]}
    assert list(rows) == ["tsp 4", "tp 4", "sp 4", "sp 2 x tp 2"]
    for name, figures in rows.items():
        mesh = dict(re.findall(r"(\w+) (\d+)", name))
        kind = "tp_sp" if len(mesh) > 1 else next(iter(mesh))
        degrees = mesh if len(mesh) > 1 else {"degree": mesh[kind]}
        told = ", ".join(f"{key}: {value}" for key, value in degrees.items())
        alone = tspsim.run(SMALL, f"strategy={{kind: {kind}, {told}}}").summary
        assert figures["step_time"] == alone.step_time
        assert figures["memory"]["peak"] == alone.memory.peak
    fastest = min(rows, key=lambda name: rows[name]["step_time"])
    assert found["winner"] == fastest
    assert found["why"].startswith(f"{fastest} is ahead in the model: ")
    assert "difference" not in found


def test_what_does_not_divide_is_a_row_with_its_reason(small: str) -> None:
    """Three ranks divide neither heads nor a mesh; sp, which cuts only tokens, runs."""
    result = call("compare", small, "topology.ranks=3", "strategy=tsp,tp,tp_sp,sp",
                  "workload.causal=off", "workload.sequence=96")  # fmt: skip
    assert result.exit_code == 0, result.stderr
    found = " ".join(result.stdout.split())
    assert "tp cannot run: override 'strategy={kind: tp, degree: 3}': strategy.degree: " in found
    assert "tp_sp cannot run: tp_sp: no two degrees of at least 2 make the 3 devices" in found
    assert "sp 3 wins: " in found


def test_several_files_and_folders_of_results(small: str, tmp_path: Path) -> None:
    """Results are told apart by their scenario's name; two of them also by their difference."""
    other = tmp_path / "other.yaml"
    other.write_text(
        json.dumps({**SMALL, "name": "other", "strategy": {"kind": "tp", "degree": 4}})
    )
    folder = tmp_path / "folder"
    assert call("run", str(other), "-o", str(folder)).exit_code == 0
    found = json.loads(call("compare", small, str(folder), "--json").stdout)
    assert [row["candidate"] for row in found["candidates"]] == ["small", "other"]
    assert {"ops", "links", "buffers"} == found["difference"].keys()
    text = call("compare", small, str(other)).stdout
    assert "time on its stream, slowest rank" in text
    assert "bytes over a link" in text
    assert "bytes at the peak" in text


def test_results_of_one_scenario_are_told_apart_by_their_folders(
    small: str, tmp_path: Path
) -> None:
    """``run -o a``, ``run -o b`` with a change: compare names the folders."""
    slow, fast = str(tmp_path / "slow"), str(tmp_path / "fast")
    call("run", small, "-o", slow)
    call("run", small, "link.bandwidth=x10", "-o", fast)
    found = json.loads(call("compare", slow, fast, "--json").stdout)
    assert [row["candidate"] for row in found["candidates"]] == [slow, fast]
    assert found["winner"] == fast


def test_the_same_twice_makes_no_difference(small: str) -> None:
    """The same file twice is two candidates, which are numbered."""
    found = json.loads(call("compare", small, small, "--json").stdout)
    names = [row["candidate"] for row in found["candidates"]]
    assert names == [f"{small} #1", f"{small} #2"]
    assert found["difference"] == {"ops": [], "links": [], "buffers": []}


def test_options_are_in_the_name_of_a_candidate(small: str) -> None:
    """Those of a strategy that is written out, and those that some strategies share."""
    result = call(
        "compare", small, "strategy={kind: tsp, lookahead: 0},tp",
        "strategy.sequence_parallel=true,false", "--json",
    )  # fmt: skip
    names = [row["candidate"] for row in json.loads(result.stdout)["candidates"]]
    assert names == ["tsp 4, lookahead 0", "tp 4, sequence_parallel", "tp 4, no sequence_parallel"]


def test_tp_with_sequence_parallelism_says_so_wherever_it_comes_from(tmp_path: Path) -> None:
    """Of the scenario's own option no word varies: the name has it, so that TP is one thing."""
    document = SMALL | {"strategy": {"kind": "tp", "degree": 4, "sequence_parallel": True}}
    path = tmp_path / "megatron.yaml"
    path.write_text(json.dumps(document))
    found = json.loads(call("compare", str(path), "strategy.kind=tp,tsp", "--json").stdout)
    names = [row["candidate"] for row in found["candidates"]]
    assert names == ["tp 4, sequence_parallel", "tsp 4"]


def test_other_keys_can_vary_too(small: str) -> None:
    """What varies is in the name of a candidate."""
    result = call("compare", small, "link.bandwidth=x1,x10", "--json")
    names = [row["candidate"] for row in json.loads(result.stdout)["candidates"]]
    assert names == ["bandwidth x1", "bandwidth x10"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{small}",), "one candidate alone: name two scenarios, or say what varies, such as "
                       "strategy=tsp,tp,sp,tp_sp"),
        (("strategy=tsp,tp",), "no scenario: name a file, a folder of a result, or a shipped "
                               "scenario"),
        (("{small}", "strategi=tsp,tp"), "axis 'strategi': names no key of a scenario (did you "
                                         "mean 'strategy'?)"),
        (("{small}", "workload.sequence=range(8,800,8)"), "100 candidates; more than 48 are a "
                                                          "sweep: tspsim sweep"),
        (("{small}", "strategy=tsp,tp", "-o", "x.bmp"), "x.bmp: pictures are .png, .svg, .pdf, "
                                                        ".html, not '.bmp'"),
    ],
)  # fmt: skip
def test_comparisons_that_make_no_sense(
    arguments: tuple[str, ...], message: str, small: str
) -> None:
    """Told before anything runs, with exit code 2."""
    result = call("compare", *(text.replace("{small}", small) for text in arguments))
    assert (result.exit_code, result.stderr, result.stdout) == (2, f"{message}\n", "")


def test_a_difference_adds_up_to_what_the_results_have() -> None:
    """Seconds, bytes over links and bytes at the peak are sums over the results themselves."""
    first, second = real("tsp"), real("tp")
    found = difference(first, second, most=10_000)
    for result, side in ((first, "first"), (second, "second")):
        line = result.timeline
        rank = line.slowest_rank
        seconds = float(np.sum(line.end[rank] - line.start[rank]))
        named = sum(getattr(entry, side) for entry in found.ops)
        shared = seconds - named  # ops that take the same in both are left out
        assert shared >= -1e-12
        memory = result.summary.memory
        buffers = alive(line, memory.peak_rank, memory.peak_time)
        assert sum(getattr(e, side) for e in found.buffers) <= sum(b.bytes for b in buffers)
    assert any("shift" in entry.name and not entry.second for entry in found.ops)
    assert any("all_reduce" in entry.name and not entry.first for entry in found.ops)
    gaps = [abs(entry.more) for entry in found.ops]
    assert gaps == sorted(gaps, reverse=True)
    nothing = difference(first, first)
    assert (nothing.ops, nothing.links, nothing.buffers) == ((), (), ())


def test_links_carry_what_the_transfers_say() -> None:
    """Bytes of a link: over all transfers, its share of each message."""
    first, second = real("tsp"), real("sp")
    found = difference(first, second, most=10_000)
    carried = [0.0] * len(first.scenario.topology.links)
    for transfer in first.timeline.transfers:
        for link, per_byte in transfer.loads:
            carried[link] += per_byte * transfer.bytes
    named = {entry.name: entry.first for entry in found.links}
    for name, amount in named.items():
        assert any(abs(amount - c) <= 1e-4 * c for c in carried), name


def test_two_runs_are_drawn_on_one_time_axis(tmp_path: Path) -> None:
    """Both axes are as long as the longer step and their marks stand at the same places."""
    results, names = (real("tsp"), real("tp")), ("tsp 4", "tp 4")
    above, below = stacked.figure(results, names).axes
    lengths = []
    for ax, result in zip((above, below), results, strict=True):
        left, right = ax.get_xlim()
        lengths.append(right - left)
        assert left == 0
        told = f"step {_ms(result.timeline.step_time)} (error unknown)"
        assert ax.get_title(loc="left").endswith(told)
    assert lengths[0] == pytest.approx(lengths[1])
    assert [t.get_text() for t in above.get_xticklabels()] == [
        t.get_text() for t in below.get_xticklabels()
    ]
    shorter = above if results[0].timeline.step_time < results[1].timeline.step_time else below
    assert any("earlier" in text.get_text() for text in shorter.texts)
    target = tmp_path / "both.png"
    stacked.draw(*results, names, target)
    assert target.read_bytes().startswith(b"\x89PNG")


def test_long_runs_are_cut_to_the_same_layer_for_the_same_time() -> None:
    """Each window begins where its run begins the layer in the middle; both are as long."""
    long = {**SMALL, "model": {**SMALL["model"], "layers": 24}}
    results = (tspsim.run(long), tspsim.run(long, "strategy={kind: tp, degree: 4}"))
    windows = stacked._windows(results)
    first, second = (w.end - w.start for w in windows)
    assert first == pytest.approx(second)
    assert windows[0].start > 0
    assert "layer" in windows[0].note
    assert windows[0].note == windows[1].note
    above, below = stacked.figure(results, ("tsp 4", "tp 4")).axes
    marks = [[t.get_text() for t in ax.get_xticklabels()] for ax in (above, below)]
    assert marks[0] == marks[1]
    assert marks[0][0] == "0"


def _ms(seconds: float) -> str:
    from tspsim.output.units import time

    return time(seconds)


def test_the_picture_of_a_comparison(small: str, tmp_path: Path) -> None:
    """``-o`` draws the winner and the second."""
    target = tmp_path / "two.svg"
    result = call("compare", small, "strategy=tsp,tp,sp", "-o", str(target))
    assert (result.exit_code, result.stderr) == (0, f"wrote {target}\n")
    assert "<svg" in target.read_text()
