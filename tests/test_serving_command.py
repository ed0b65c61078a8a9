"""``tspsim serve``: requests drawn or read, what is refused, what is printed and drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import tspsim
from tests.test_disturbances import SMALL
from tspsim.cli.app import app
from tspsim.engine.serving.types import Cache, Limits, Request
from tspsim.files.errors import UserError
from tspsim.scenario import from_document
from tspsim.serving.arrivals import parse_rate, poisson
from tspsim.serving.lengths import LONGEST, Lengths, parse_lengths
from tspsim.serving.replica import replica_of
from tspsim.serving.trace import TOLD, read_trace

#: Its sequences do not matter: the scheduler's are played.
SERVED = {**SMALL, "workload": {"phase": "decode", "cached": 64}}
DRAWN = (
    "--arrivals", "200/s", "--prompt", "lognormal:200:0.5", "--new-tokens", "4..12",
    "--max-tokens", "512", "--max-sequences", "32",
)  # fmt: skip


# What is drawn


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("512", Lengths("fixed", 512)),
        ("128..1024", Lengths("uniform", 128, 1024)),
        ("lognormal:512:0.8", Lengths("lognormal", 512.0, 0.8)),
    ],
)
def test_lengths_are_written_as_they_are_read(text: str, lengths: Lengths) -> None:
    """One for all, any between two, or around a mean."""
    assert parse_lengths(text, "--prompt") == lengths
    assert lengths.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--prompt: '' is no number of tokens; write 512, 128..1024"),
        ("12.5", "'12.5' is no number of tokens"),
        ("0", "'0' is no number of tokens"),
        ("1..2..3", "'1..2..3' is no number of tokens"),
        ("99999999", "at most 10,000,000 tokens"),
        ("9..3", "'9..3' ends before it begins"),
        ("lognorml:512:1", "no distribution 'lognorml' (did you mean 'lognormal'?)"),
        ("lognormal:512", "must be lognormal:MEAN:SIGMA"),
        ("lognormal:a:b", "must be lognormal:MEAN:SIGMA"),
        ("lognormal:512:nan", "must have a mean from 1 to 10,000,000 and a sigma above 0"),
        ("lognormal:0.5:1", "must have a mean from 1"),
        ("lognormal:512:9", "at most 4"),
    ],
)
def test_lengths_that_are_none_are_refused(text: str, message: str) -> None:
    """With the option, what was found and what may stand there."""
    with pytest.raises(UserError) as told:
        parse_lengths(text, "--prompt")
    assert message in str(told.value)
    assert str(told.value).startswith("--prompt: '")


def test_lengths_spread_as_they_say() -> None:
    """Both ends of a range come; a lognormal has its mean, and the deviation of its logarithm."""
    drawn = np.random.default_rng(1)
    assert set(Lengths("uniform", 3, 6).draw(drawn, 200).tolist()) == {3, 4, 5, 6}
    assert Lengths("fixed", 7).draw(drawn, 2).tolist() == [7, 7]
    long = Lengths("lognormal", 5000, 0.5).draw(drawn, 20_000)
    assert long.mean() == pytest.approx(5000, rel=0.02)
    assert np.log(long).std() == pytest.approx(0.5, rel=0.02)
    wide = Lengths("lognormal", LONGEST, 4.0).draw(drawn, 2000)
    assert (wide.min(), wide.max()) == (1, LONGEST)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("8/s", 8.0), (" 90 / min", 1.5), ("1e3/h", 1000 / 3600), (".5/s", 0.5), ("8", None),
     ("-8/s", None), ("8/d", None), ("trace.csv", None)],
)  # fmt: skip
def test_a_rate_has_its_unit(text: str, rate: float | None) -> None:
    """Per second, minute or hour; what has none is the name of a file."""
    assert parse_rate(text) == (None if rate is None else pytest.approx(rate))


@pytest.mark.parametrize("text", ["0/s", "1e99/s", "1e-99/s"])
def test_a_rate_that_no_replica_has_is_refused(text: str) -> None:
    """Times stay finite."""
    with pytest.raises(UserError, match=r"from 1e-09/s to 1e\+09/s"):
        parse_rate(text)


def test_arrivals_are_a_poisson_process() -> None:
    """Times between them have the mean and the deviation of an exponential; lengths do not move."""
    lengths = (parse_lengths("100..200", ""), parse_lengths("10..20", ""))
    traffic = poisson(8.0, 5000, *lengths, 5)
    gaps = np.diff([request.arrival for request in traffic.requests])
    assert gaps.mean() == pytest.approx(1 / 8, rel=4 / math.sqrt(5000))
    assert gaps.std() == pytest.approx(1 / 8, rel=0.05)
    half = poisson(4.0, 5000, *lengths, 5)
    for fast, slow in zip(traffic.requests[:50], half.requests, strict=False):
        assert slow.arrival == pytest.approx(2 * fast.arrival)
        assert (slow.prompt, slow.new_tokens) == (fast.prompt, fast.new_tokens)
    assert poisson(8.0, 100, *lengths, 5).requests == traffic.requests[:100]
    assert poisson(8.0, 100, *lengths, 6).requests != traffic.requests[:100]


# What is read


def trace(tmp_path: Path, text: str) -> Path:
    """Write a trace."""
    path = tmp_path / "trace.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_a_trace_is_read_with_its_columns_in_any_order(tmp_path: Path) -> None:
    """Others beside them, spaces, blank lines and either end of line are no matter."""
    text = "model, prompt,new_tokens,arrival\r\na,512,16,0.25\n\n b , 7, 1 ,1e1\n\n"
    found = read_trace(trace(tmp_path, text))
    assert found.requests == (Request(0.25, 512, 16), Request(10.0, 7, 1))
    assert found.lines == (2, 4)
    assert found.first(1).requests == found.requests[:1]
    assert found.first(None) == found


HEADER = "arrival,prompt,new_tokens\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no requests; expected a header arrival,prompt,new_tokens"),
        (HEADER, "no requests; expected"),
        ("arrival,promt,new_tokens\n0,1,1\n", ":1: no column prompt; found 'arrival', 'promt', "
         "'new_tokens' (did you mean 'prompt'?); the first row must name"),
        (HEADER + "0,1,1\n0.5,12.5,1\n", ":3: prompt: found '12.5'; must be a whole number from 1"),
        (HEADER + "0,1,0\n", ":2: new_tokens: found '0'; must be a whole number from 1 to 10,000"),
        (HEADER + "0,1,-3\n", ":2: new_tokens: found '-3'"),
        (HEADER + "0,99999999,1\n", ":2: prompt: found '99999999'"),
        (HEADER + "0,,1\n", ":2: prompt: found ''"),
        (HEADER + "-1,1,1\n", ":2: arrival: found '-1'; must be seconds from 0 on"),
        (HEADER + "soon,1,1\n", ":2: arrival: found 'soon'"),
        (HEADER + "nan,1,1\n", ":2: arrival: found 'nan'"),
        (HEADER + "inf,1,1\n", ":2: arrival: found 'inf'"),
        (HEADER + "4,1,1\n3,1,1\n", ":3: arrival: found '3'; must be seconds from 4 on, the row "
         "above's"),
        (HEADER + "0,1\n", ":2: found 2 cells; the header has 3"),
        (HEADER + "0,1,1,1\n", ":2: found 4 cells; the header has 3"),
        (HEADER + '0,"1,1\n', "no CSV: unexpected end of data"),
    ],
)  # fmt: skip
def test_a_trace_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    """With the row, what was found, and what is allowed."""
    with pytest.raises(UserError) as told:
        read_trace(trace(tmp_path, text))
    assert message in str(told.value)
    assert str(told.value).startswith(str(tmp_path / "trace.csv"))


def test_all_mistakes_of_a_trace_are_told_at_once_and_not_too_many(tmp_path: Path) -> None:
    """Ten rows, and how many more there are."""
    path = trace(tmp_path, HEADER + "0,1,1\n" + "x,0,1\n" * 8)
    with pytest.raises(UserError) as told:
        read_trace(path)
    lines = str(told.value).splitlines()
    assert len(lines) == TOLD + 1
    assert lines[:2] == [
        f"{path}:3: arrival: found 'x'; must be seconds from 0 on, the row above's",
        f"{path}:3: prompt: found '0'; must be a whole number from 1 to 10,000,000",
    ]
    assert lines[-1] == f"{path}: and 6 more"


def test_a_request_that_no_cache_holds_is_named(tmp_path: Path) -> None:
    """Before anything is simulated: 30 + 5 tokens, of which the last is not cached."""
    found = read_trace(trace(tmp_path, HEADER + "0,30,3\n1,30,5\n2,90,1\n"))
    found.check(Cache(12, 8))
    with pytest.raises(UserError) as told:
        found.check(Cache(4, 8))
    assert str(told.value) == (
        f"{tmp_path / 'trace.csv'}:3: a prompt of 30 and 5 new tokens need 34 tokens of cache; it "
        "holds 32; 1 more like it"
    )


# The command


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return the file of a small scenario of inference."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(SERVED))
    return str(path)


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["serve", *arguments])


def test_the_command_prints_a_table_or_json(small: str) -> None:
    """Both say the same; a seed gives the same bytes, another one others."""
    shown = call(small, *DRAWN, "--requests", "80")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 80
    text = call(small, *DRAWN, "--requests", "80", "--json").stdout
    assert text == call(small, *DRAWN, "--requests", "80", "--json", "--seed", "0").stdout
    assert text != call(small, *DRAWN, "--requests", "80", "--json", "--seed", "1").stdout
    found = json.loads(text)
    assert found.keys() == {
        "scenario", "offered", "limits", "cache", "duration", "throughput", "latency", "load",
        "preemptions", "steps", "over_time",
    }  # fmt: skip
    assert found["offered"]["requests"] == 80
    assert found["throughput"]["requests"] * found["duration"] == pytest.approx(80)
    for times in found["latency"].values():
        assert times.keys() == {"mean", "p50", "p90", "p99", "max"}
        assert 0 <= times["p50"] <= times["p90"] <= times["p99"] <= times["max"]
    steps = found["steps"]
    assert 0 < steps["played"] < steps["count"]
    assert f"{steps['count']:,} steps" in shown.stdout
    assert f"between {steps['played']:,} that were played" in shown.stdout
    assert f"{found['offered']['new_tokens'] / found['duration']:,.0f} /s" in shown.stdout


def test_a_full_cache_shows_in_the_figures(small: str, tmp_path: Path) -> None:
    """A trace of requests that come at once, and a cache for four of them."""
    path = trace(tmp_path, HEADER + "0,60,40\n" * 12)
    limits = ("--cache-tokens", "400", "--block", "4", "--max-sequences", "8")
    text = call(small, "--arrivals", str(path), *limits, "--json").stdout
    found = json.loads(text)
    assert found["offered"]["arrival_rate"] is None
    assert found["offered"]["about"] == str(path)
    assert found["cache"] | {"bytes_per_token": 0} == {
        "blocks": 100, "block": 4, "tokens": 400, "bytes_per_token": 0,
    }  # fmt: skip
    assert found["load"]["blocks"]["max"] == 100
    assert max(found["over_time"]["cache"]) <= 1
    assert found["preemptions"]["count"] >= found["preemptions"]["requests"] > 0
    assert found["preemptions"]["recomputed_tokens"] > 0
    shown = call(small, "--arrivals", str(path), *limits).stdout
    assert "all at once" in shown
    assert "tokens computed again" in shown


def test_requests_of_one_token_have_no_time_between_tokens(small: str) -> None:
    """What there is none of is left out of the table, and null in JSON."""
    one = ("--arrivals", "9/s", "--prompt", "5", "--new-tokens", "1", "--requests", "3")
    assert "inter-token" not in call(small, *one).stdout
    latency = json.loads(call(small, *one, "--json").stdout)["latency"]
    assert latency["time_per_output_token"] is latency["inter_token"] is None
    assert latency["end_to_end"] == latency["time_to_first_token"]


def test_the_picture_shows_requests_cache_and_percentiles(small: str, tmp_path: Path) -> None:
    """By name, with their values; another suffix is refused before the run."""
    picture = tmp_path / "serving.svg"
    done = call(small, *DRAWN, "--requests", "50", "-o", str(picture))
    assert (done.exit_code, done.stderr) == (0, f"wrote {picture}\n")
    drawn = picture.read_text()
    for text in ("running", "waiting", "cache taken [%]", "time to first token", "p99", "small: "):
        assert f">{text}" in drawn
    refused = call(small, *DRAWN, "-o", str(tmp_path / "x.txt"))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "pictures are .png" in refused.stderr
    assert not (tmp_path / "x.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no --arrivals: write a rate, 8/s, with --prompt and --new-tokens, or name a trace"),
        (("--arrivals", "8/s"), "no --prompt, --new-tokens: a rate needs lengths; write 512"),
        (("--arrivals", "8"), "8: no such file"),
        (("--arrivals", "no.csv", "--prompt", "5", "--seed", "1"), "--prompt, --seed: nothing is "
         "drawn where --arrivals is a trace, 'no.csv'"),
        ((*DRAWN, "--max-tokens", "20"), "--max-tokens: 20 tokens; must be at least "
         "--max-sequences, 32"),
        ((*DRAWN, "--cache-tokens", "15"), "--cache-tokens: 15 tokens; must be at least those of a "
         "block, 16"),
        ((*DRAWN, "--cache-tokens", "64"), "request 1 of those drawn: a prompt of"),
        ((*DRAWN, "device.memory=100 KiB"), "'small' has no room for a cache: weights and "
         "the largest step leave 0 B of a rank"),
        ((*DRAWN, "workload={phase: forward, sequence: 64}"), "'small' is a step of phase forward; "
         "serve wants one of inference: workload.phase=decode"),
    ],
)  # fmt: skip
def test_what_cannot_be_served_is_told(
    small: str, arguments: tuple[str, ...], message: str
) -> None:
    """With its option, and what is allowed; nothing is printed to stdout."""
    refused = call(small, *arguments)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert message in refused.stderr


def test_the_cache_is_what_weights_and_the_largest_step_leave() -> None:
    """A step with so many tokens fits beside a full cache, and does not beside a fuller one."""
    limits, scenario = Limits(512, 64), from_document(SERVED, ["device.memory=8 GiB"])
    cache = replica_of(scenario, limits, block=16).cache
    assert cache.bytes_per_token == pytest.approx(2 * 2 * 2 * 4 * 32, rel=1e-3)
    for tokens, fits in ((cache.tokens, True), (cache.tokens * 1.02, False)):
        step = {"phase": "prefill", "prompt": int(tokens), "cached": int(tokens) - limits.tokens}
        assert tspsim.run({**dict(scenario.document), "workload": step}).fits == fits


def test_a_step_takes_what_a_run_of_its_sequences_does() -> None:
    """Rows of decode alone, and a piece of a prompt: as ``tspsim run`` has them, overhead too."""
    scenario = from_document(SERVED, ["workload.overhead=1 ms"])
    step_time = replica_of(scenario, Limits(), block=16).step_time
    for rows, workload in (
        (((1, 99), (1, 200)), {"phase": "decode", "cached": [99, 200]}),
        (((60, 40),), {"phase": "prefill", "prompt": 100, "cached": 40}),
    ):
        expected = tspsim.run({**SMALL, "workload": workload}).summary.step_time
        assert step_time(rows) == pytest.approx(expected + 1e-3)
