"""What every command says of inference: figures, what fits, what is read, comparisons, pictures."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from typer.testing import CliRunner

import tspsim
from tspsim.analysis import inference as figures
from tspsim.cli.app import app
from tspsim.explain.explanation import explain
from tspsim.explain.reading import KINDS
from tspsim.explain.remedies import of_inference, possible
from tspsim.explain.report import to_dict
from tspsim.output.fitting import would_fit
from tspsim.reports.comparison import cells, titles, why
from tspsim.reports.explanation import sentence
from tspsim.reports.html import answers
from tspsim.reports.html.sources import Drawn, Subject
from tspsim.requests import Request, Requests
from tspsim.runner import Run
from tspsim.sweeps.candidates import Candidate, winner
from tspsim.sweeps.columns import figures as columns

DECODE = {"phase": "decode", "cached": 4096, "batch": 8}
PREFILL = {"phase": "prefill", "prompt": 4096, "chunk": 1024}
GENERATE = {"phase": "generate", "prompt": 2048, "batch": 2, "new_tokens": 40}


def document(workload: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a small scenario of inference on four devices that share a switch."""
    return {
        "name": "small",
        "model": {"hidden": 1024, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 2048, "vocab": 64},
        "workload": workload,
        "topology": {
            "kind": "switch", "ranks": 4, "device": "h100-sxm", "reducing": True,
            "link": {"bandwidth": "450 GB/s", "latency": "1 us"},
        },
        "strategy": {"kind": "tsp", "degree": 4},
        "memory": {"blas": "0 B", "communicator": "0 B"},
        **changes,
    }  # fmt: skip


@cache
def run(name: str, *overrides: str) -> Run:
    """Return a run of one of the workloads above."""
    return tspsim.run(document({"d": DECODE, "p": PREFILL, "g": GENERATE}[name]), *overrides)


def command(*arguments: str) -> str:
    """Return what a command prints."""
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of a small decode."""
    path = tmp_path / "small.json"
    path.write_text(json.dumps(document(DECODE)))
    return path


# ---- what fits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d", "g"])
def test_as_many_sequences_fit_as_are_said_and_not_one_more(name: str) -> None:
    """The number is that of a run with so many; with one more the memory overflows."""
    few = {"d": "topology.device.memory=50 MiB", "g": "topology.device.memory=80 MiB"}[name]
    found = run(name, few, "workload.batch=40").summary
    assert not found.memory.fits
    assert found.inference is not None
    fitting = found.inference.fitting
    assert fitting
    assert run(name, few, f"workload.batch={fitting}").fits
    assert not run(name, few, f"workload.batch={fitting + 1}").fits
    assert would_fit(found.to_dict()) == f"{fitting} of the 40 sequences would fit"


def test_of_uneven_sequences_the_first_are_counted() -> None:
    """Two short ones fit, the long third one does not."""
    lengths = "workload={phase: decode, cached: [512, 512, 60000, 512]}"
    found = run("d", lengths, "topology.device.memory=12 MiB").summary
    assert found.inference is not None
    assert found.inference.fitting == 2


def test_what_is_too_large_without_any_sequence_is_told_from_one_sequence_too_many() -> None:
    """Weights alone, or one sequence of this length."""
    small = run("d", "topology.device.memory=1 MiB").summary.to_dict()
    assert would_fit(small) == "the weights alone do not fit"
    long = run("d", "workload.cached=200000", "topology.device.memory=13 MiB").summary.to_dict()
    assert would_fit(long) == "not one sequence of this length would fit"
    assert would_fit(run("d").summary.to_dict()) == ""


def test_the_table_says_how_many_fit_and_in_which_step_memory_is_fullest(tmp_path: Path) -> None:
    """Of a generate, prompts take most: what is alive then is not that of the last step."""
    path = tmp_path / "small.json"
    path.write_text(json.dumps(document({**GENERATE, "prompt": 16384, "batch": 40})))
    told = command("run", str(path), "topology.device.memory=400 MiB", "model.layers=1")
    assert "of the 40 sequences would fit" in told
    assert "of step 1 of the prompts" in told
    assert "largest at the peak" not in told
    assert "the last step: decode of 40 sequences, 16,422 tokens cached each" in told


def test_micro_batches_count_as_sequences() -> None:
    """Twice as many sequences give twice the tokens of a step."""
    one, two = (run("d", f"workload.micro_batches={n}").summary for n in (1, 2))
    assert one.inference is not None
    assert two.inference is not None
    assert (one.inference.sequences, two.inference.sequences) == (8, 16)
    assert two.inference.output_tokens_per_second == pytest.approx(two.tokens_per_second)


# ---- explain -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["d", "g"])
def test_what_is_read_adds_up_to_memory_bandwidth_on_the_path(name: str) -> None:
    """Seconds to those of the resource; weights to those of a rank, but for the table's rows."""
    result = run(name)
    found = explain(result, what_if=False)
    assert found.reading is not None
    limited = found.path.by(lambda piece: piece.limit)["memory"]
    assert sum(found.reading.seconds.values()) == pytest.approx(limited, rel=1e-12)
    held = result.summary.memory.at_peak
    table = 64 * 1024 * 2 / 4
    assert found.reading.bytes["weights"] == pytest.approx(held["weight"] - table, rel=0.02)
    assert tuple(found.reading.seconds) == KINDS


def test_cache_that_is_read_is_the_cache_of_a_rank() -> None:
    """A decode reads every page that it holds once."""
    found = explain(run("d"), what_if=False).reading
    served = run("d").summary.inference
    assert found is not None
    assert served is not None
    assert found.bytes["cache"] == pytest.approx(served.cache.bytes, rel=0.02)


def test_weights_that_travel_are_weights_still() -> None:
    """They are read from the place where they arrive; all of them, not a rank's own."""
    at_home = explain(run("d"), what_if=False).reading
    passing = explain(run("d", "strategy.weights=travel"), what_if=False).reading
    assert at_home is not None
    assert passing is not None
    assert passing.bytes["weights"] > 0.9 * at_home.bytes["weights"]


def test_launches_are_counted_where_they_take_time() -> None:
    """As many as the ops of the path have; their seconds are those of the resource."""
    result = run("d", "kernels.launch=2 us")
    found = explain(result, what_if=False)
    assert found.reading is not None
    assert found.reading.launch == pytest.approx(found.reading.kernels * 2e-6)
    assert explain(run("d"), what_if=False).reading.launch == 0  # type: ignore[union-attr]


def test_the_first_sentence_names_what_is_read_and_of_which_step() -> None:
    """Weights and the cache in place of memory bandwidth; the last of the steps that decode."""
    assert "reading weights" in sentence(explain(run("d"), what_if=False))
    over = sentence(explain(run("d", "topology.device.memory=1 MiB"), what_if=False))
    assert over.endswith("too much; the weights alone do not fit.")
    told = sentence(explain(run("g"), what_if=False))
    assert told.startswith("The last of 39 steps that decode, ")
    assert sentence(explain(run("p"), what_if=False)).startswith("The last of 4 steps of the promp")


def test_memory_that_is_explained_is_that_of_the_step_that_is_explained() -> None:
    """A generate is fullest in its prompts; what is alive adds up in its last step."""
    result = run("g")
    memory = to_dict(explain(result, what_if=False))["memory"]
    assert memory["peak"] < result.summary.memory.peak
    beside = sum(memory["by_kind"].values()) - sum(b["bytes"] for b in memory["buffers"])
    assert beside == sum(memory["by_kind"].get(k, 0) for k in ("reserved", "blas", "communicators"))


def test_changes_of_inference_are_of_inference() -> None:
    """An fp8 cache, pieces of a prompt, what travels; no other batch and no recomputation."""
    found = {o for o, _ in possible(run("p").scenario, of_inference)}
    assert found >= {("workload.cache={dtype: fp8}",), ("strategy.passes=queries",)}
    assert found >= {("workload.chunk=2048",), ("workload.chunk=512",), ("strategy.weights=stay",)}
    assert not {o for overrides in found for o in overrides if "batch" in o or "recompute" in o}
    assert ("workload.chunk=2048",) not in set(of_inference(run("d").scenario.document))


def test_changes_are_what_a_run_with_them_gives() -> None:
    """All steps, not the last one; what changes nothing is left out."""
    result = run("g", "workload.new_tokens=4")
    found = explain(result).what_if
    assert found is not None
    assert not found.remedies
    assert result.summary.inference is not None
    assert found.whole.step_time == result.summary.inference.latency
    by_name = {remedy.overrides: remedy.replayed for remedy in found.inference}
    again = run("g", "workload.new_tokens=4", "workload.cache={dtype: fp8}").summary
    assert again.inference is not None
    fp8 = by_name["workload.cache={dtype: fp8}",]
    assert (fp8.step_time, fp8.peak) == (again.inference.latency, again.memory.peak)
    assert ("strategy.weights=travel",) in by_name
    assert ("strategy.passes=kv",) not in by_name or by_name["strategy.passes=kv",] != found.whole


# ---- columns, comparisons, pictures --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("d", {"time_per_token", "latency", "output_tokens_per_second", "cache"}),
        ("p", {"time_to_first_token", "latency", "prompt_tokens_per_second", "cache"}),
        ("g", {"time_to_first_token", "time_per_token", "latency", "output_tokens_per_second",
               "prompt_tokens_per_second", "cache"}),
    ],
)  # fmt: skip
def test_columns_are_those_that_a_phase_has(name: str, there: set[str]) -> None:
    """Each with the figure of the summary."""
    summary = run(name).summary.to_dict()
    found = columns(summary)
    mine = {k.partition(".")[2]: v for k, v in found.items() if k.startswith("inference.")}
    assert set(mine) == there
    assert mine.pop("cache") == summary["inference"]["cache"]["bytes"]
    assert mine == {key: summary["inference"][key] for key in mine}


def test_a_sweep_has_the_columns_and_says_how_many_fit(file: Path, tmp_path: Path) -> None:
    """A point that does not fit is a row with its reason, and the table exports it."""
    store = str(tmp_path / "store")
    command(
        "sweep", str(file), "workload.batch=1,40", "topology.device.memory=50 MiB",
        "-o", store, "--jobs", "1",
    )  # fmt: skip
    head, *rows = command("export", store, "--format", "csv").splitlines()
    assert "inference.time_per_token" in head
    assert len(rows) == 2
    assert "of the 40 sequences would fit" in rows[1]
    command("plot", store, "--kind", "lines", "-o", str(tmp_path / "lines.svg"))
    drawn = (tmp_path / "lines.svg").read_text()
    assert "batch [sequences]" in drawn
    assert "output rate [tokens/s]" in drawn


def test_candidates_compete_in_what_a_user_sees() -> None:
    """All steps of a generate decide, although the last one alone is quicker elsewhere."""
    found = [
        Candidate("whole", run("p", "workload.chunk=4096")),
        Candidate("pieces", run("p", "workload.chunk=512")),
    ]
    last = [c.figures["step_time"] for c in found]
    assert last[1] < last[0]
    best = winner(found)
    assert best is not None
    assert best.name == "whole"
    told = why(found)
    assert told.startswith("whole is ahead in the model: ")
    assert "until the first token" in told
    assert titles(found)[:2] == ("first token", "tok/s")  # no other time is anybody's
    assert all(len(cells(found)(c)) == len(titles(found)) for c in found)


def test_a_comparison_says_who_is_first_with_a_token() -> None:
    """Prompts in pieces come later; time beside every step costs more over all tokens."""
    pieces = Candidate("pieces", run("g", "workload.chunk=128"))
    overhead = Candidate("overhead", run("g", "workload.overhead=1 ms"))
    told = why([pieces, overhead])
    assert told.startswith("pieces is ahead in the model: ")
    assert "the first token comes sooner with overhead: after " in told
    assert "comes sooner" not in why([pieces, Candidate("whole", run("d"))])


def test_pictures_say_what_the_step_does() -> None:
    """Phase, sequences and cached tokens, and that it is the last of several."""
    for kind in ("gantt", "memory"):
        title = getattr(run("g").plot, kind)().get_title(loc="left")
        said = "small: decode of 2 sequences, 2,086 tokens cached each, the last of 40 steps, "
        assert title.startswith(said)
    plt.close("all")


@pytest.mark.parametrize(
    ("requests", "text"),
    [
        ((Request(5),), "prefill of 1 sequence, 5 tokens"),
        ((Request(5), Request(7, (2,))), "prefill of 2 sequences, 5 to 7 tokens each, 0 to 2 "
         "tokens cached each"),
        ((Request(1, (4000,), 96, True),), "decode of 1 sequence, 4,096 tokens cached"),
    ],
)  # fmt: skip
def test_steps_in_words(requests: tuple[Request, ...], text: str) -> None:
    """One number where all are alike, the least and the most elsewhere."""
    assert Requests(requests).text == text


def test_show_says_what_the_step_does(file: Path) -> None:
    """The phase, the sequences, and what a token takes in the cache; no sequence of one token."""
    told = command("show", str(file))
    assert "decode of 8 sequences, 4,096 tokens cached each" in told
    assert "a token of a sequence" in told
    found = json.loads(command("show", str(file), "--json"))["inference"]
    assert found["steps"] == {"prefill": 0, "decode": 1}
    # keys and values of 4 heads of 128, in two layers, in bf16, on 4 ranks
    assert found["cache"]["bytes_per_token"] == 2 * 2 * 4 * 128 * 2 / 4


def test_headline_and_report_have_the_figures(tmp_path: Path) -> None:
    """What stands in a notebook, and on the page."""
    assert "first token" in repr(run("g"))
    assert "a token" in run("g")._repr_html_()
    subject = Subject((Drawn("small", run("g")),))
    assert "How long does a decode of 2 sequences" in answers.question(subject)
    run("g").save(tmp_path / "result")
    page = tmp_path / "page.html"
    command("report", str(tmp_path / "result"), "-o", str(page))
    text = page.read_text()
    assert "time to first token" in text
    assert "39 steps: their mean" in text


# ---- steps that are not played -------------------------------------------------------------------


def test_steps_between_those_played_are_as_if_they_were_played(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The time per token differs from that of playing all by less than is said."""
    asked = {**GENERATE, "prompt": 500, "new_tokens": 30, "batch": 1}
    few = tspsim.run(document(asked)).summary.inference
    monkeypatch.setattr(figures, "STRAIGHT", -1.0)
    every = tspsim.run(document(asked)).summary.inference
    assert few is not None
    assert every is not None
    assert few.decode is not None
    assert every.decode is not None
    assert few.decode.played < every.decode.played == every.decode.steps
    off = abs(few.decode.total - every.decode.total) / every.decode.total
    assert off <= few.decode.within
