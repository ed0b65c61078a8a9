"""``tspsim calibrate import``: logs of nccl-tests, traces of torch.profiler, tables of others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

pytest.importorskip("scipy", reason="the fits need scipy: pip install '.[calibrate]'")

from tspsim.calibrate.imports import kineto, nccl_tests
from tspsim.calibrate.kernels.write import tables_of
from tspsim.cli.app import app
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.table_files import read_tables

SAMPLE = Path(__file__).parent / "data" / "kernels"
SIZES = [2**e for e in range(10, 34)]


def seconds(size: int) -> float:
    """Return what an all-reduce of eight devices takes here: 30 us and 400 GB/s of bus."""
    return 30e-6 + size * 2 * 7 / 8 / 400e9


def text(sizes: list[int] = SIZES, program: str = "all_reduce_perf", ranks: int = 8) -> str:
    """Return what nccl-tests prints."""
    lines = [
        "# nccl-tests version 2.17.6 nccl-headers=22807 nccl-library=22807",
        f"# Collective test starting: {program}",
        "# nThread 1 nGpus 8 minBytes 1024 maxBytes 8589934592 step: 2(factor) warmup iters: 1",
        *(f"#  Rank {i:2} Group  0 Pid 3 on host device {i:2} [00:1b:00] H" for i in range(ranks)),
        "host:3:3 [0] NCCL INFO Bootstrap: Using eth0",
        "NCCL version 2.28.7+cuda12.9",
        "#       size         count      type   redop    root     time   algbw   busbw  #wrong",
    ]  # fmt: skip
    for size in sizes:
        time = seconds(size) * 1e6
        tail = f"{time:8.2f}  {size / time / 1e3:6.2f}  {size / time / 571:6.2f}       0"
        lines.append(f"{size:12}  {size // 4:12}     float     sum      -1 {tail} {tail}")
    return "\n".join([*lines, "# Out of bounds values : 0 OK", "# Avg bus bandwidth    : 99", ""])


def document(sizes: list[int] = SIZES, **changes: Any) -> str:
    """Return the JSON that ``-J`` writes."""
    body = {"alg_bw": 1.0, "bus_bw": 1.0, "nwrong": 0.0}
    results = [
        {
            "size": size, "count": size // 4, "type": "float", "redop": "sum", "root": "-1",
            "out_of_place": {"time": seconds(size) * 1e6, **body}, "in_place": {"time": 1, **body},
        }
        for size in sizes
    ]  # fmt: skip
    devices = [{"rank": rank, "device": rank} for rank in range(8)]
    whole = {
        "version": 2, "args": ["./build/all_reduce_perf", "-b", "1K"],
        "config": {"nthreads": 1, "ngpus": 8, "devices": devices}, "results": results,
        "average_bus_bandwidth": {"bandwidth": 99.0, "okay": "unchecked"},
    }  # fmt: skip
    return json.dumps(whole | changes)


def invoke(*words: object) -> Any:
    """Run ``tspsim calibrate import``."""
    return CliRunner().invoke(app, ["calibrate", "import", *map(str, words)])


@pytest.mark.parametrize("content", [text(), document()], ids=["text", "json"])
def test_a_log_becomes_the_protocols_of_a_profile(tmp_path: Path, content: str) -> None:
    """Latency and bandwidth of the log come back, and a scenario can use the profile."""
    log, target = tmp_path / "log", tmp_path / "mine.yaml"
    log.write_text(content, encoding="utf-8")
    done = invoke("nccl-tests", log, "--topology", "h100-node", "-o", target)
    assert done.exit_code == 0, done.output
    form = parse_profile(str(target))
    assert form.fits["all_reduce"].rows == len(SIZES)
    assert form.fits["all_reduce"].error is not None
    assert form.fits["all_reduce"].error < 0.02
    assert {way.collective for way in form.value().protocols} == {"all_reduce"}
    assert not any(way.network for way in form.value().protocols)


def test_calls_that_leave_a_node_give_protocols_of_the_network(tmp_path: Path) -> None:
    """Sixteen ranks on four nodes of eight."""
    (tmp_path / "log").write_text(text(ranks=16), encoding="utf-8")
    target = tmp_path / "p.yaml"
    done = invoke("nccl-tests", tmp_path / "log", "--topology", "h100-4-nodes", "-o", target)
    assert done.exit_code == 0, done.output
    assert all(way.network for way in parse_profile(str(target)).value().protocols)


BROKEN = text().splitlines()
ROW = next(i for i, line in enumerate(BROKEN) if line.startswith(" "))


def changed(line: int, new: str) -> str:
    """Return the log with another line."""
    return "\n".join([*BROKEN[:line], new, *BROKEN[line + 1 :]])


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        (changed(ROW + 3, "  4096  1024  flo"), [], rf"log:{ROW + 4}: found '4096 1024 flo'"),
        ("\n".join([*BROKEN[:ROW], "Segmentation fault"]), [], "ends before '# Avg bus bandwidth'"),
        (changed(ROW, BROKEN[ROW].replace(" 0 ", " 7 ", 1)), [], rf"log:{ROW + 1}: 7 wrong values"),
        (text(SIZES[:5]), [], "at least 8 sizes are needed, found 5 rows"),
        (text(program="all_redoce_perf"), [], r"log:2: 'all_redoce_perf' .*did you mean 'all_red"),
        (text(), ["--ranks", "4"], r"is of 8, not of 4 \(--ranks\)"),
        (text(), ["--collective", "all_gather"], r"is of all_reduce, not of all_gather"),
        (text(), ["--collective", "gather"], "--collective gather: known: all_reduce"),
        (text(ranks=16), [], "is of 16 ranks; topology 'h100-node' has 8 devices"),
        (text(ranks=0), [], "does not say the ranks; give --ranks"),
        (text(ranks=1), [], "one rank alone"),
        (changed(1, "#"), [], "does not say the collective; give --coll"),
        ("\n".join([*BROKEN, BROKEN[ROW].replace("30.00", "90.00")]), [], "1024 bytes take 30"),
        (document(results=[{"size": 1}]), [], r"log: not the JSON that nccl-tests writes"),
        (document(args=["x_perf"]), [], "'x_perf' is no collective known here"),
        (document()[:-9], [], r"log:1:\d+: not valid JSON"),
        ("", [], "log: does not say the collective"),
    ],
)  # fmt: skip
def test_a_log_that_makes_no_sense_is_refused(
    tmp_path: Path, content: str, options: list[str], told: str
) -> None:
    """With the line; exit code 2, and nothing is written."""
    (tmp_path / "log").write_text(content, encoding="utf-8")
    target = tmp_path / "p.yaml"
    done = invoke("nccl-tests", tmp_path / "log", "--topology", "h100-node", "-o", target, *options)
    assert done.exit_code == 2
    assert not target.exists()
    assert re.search(told, " ".join(done.output.split())), done.output


def test_two_logs_of_one_collective_are_refused(tmp_path: Path) -> None:
    """Nobody knows which of them should hold."""
    (tmp_path / "log").write_text(text(), encoding="utf-8")
    logs = [tmp_path / "log"] * 2
    done = invoke("nccl-tests", *logs, "--topology", "h100-node", "-o", tmp_path / "p.yaml")
    assert done.exit_code == 2
    assert "a second log of all_reduce" in done.output


# ---- traces --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the trace of a real run on this machine: products and attention of several shapes."""
    torch = pytest.importorskip("torch")
    from torch.profiler import ProfilerActivity, profile

    def step() -> None:
        for m in (128, 256, 512):
            for n in (128, 256, 384):
                a = torch.randn(m, 256, requires_grad=True)
                w = torch.randn(256, n, requires_grad=True)
                (a @ w).sum().backward()
        for s in (128, 256):
            q = torch.randn(2, 4, s, 32, requires_grad=True)
            attend = torch.nn.functional.scaled_dot_product_attention
            attend(q, q, q, is_causal=True).sum().backward()

    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(12):
            step()
    path = tmp_path_factory.mktemp("trace") / "trace.json"
    profiler.export_chrome_trace(str(path))
    return path


def test_a_trace_of_a_real_run_becomes_a_table(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every product of forward and backward is in it, and its time comes back."""
    monkeypatch.setattr("tspsim.calibrate.kernels.rows._APART", 1e9)  # others use the processor
    target = tmp_path / "mine.npz"
    measured = {m.label: m for m in kineto.read(trace, ranks=1)}
    assert measured.keys() == {"matmul fp32", "attention fp32", "attention_backward fp32"}
    products = {tuple(place) for place in measured["matmul fp32"].asked.place.tolist()}
    assert {(128, 384, 256), (128, 256, 384), (256, 384, 128)} <= products
    assert len(measured["attention fp32"].seconds) == 2
    device = load_file("h100-node").devices[0]
    (made,) = tables_of(list(measured.values()), device, "trace")
    rows = measured["matmul fp32"]
    for place, took in zip(rows.asked.place.tolist(), rows.seconds.tolist(), strict=True):
        m, n, k = place
        least = max(2 * m * n * k / 67e12, 4 * (m * k + k * n + m * n) / 3350e9)
        assert least / made.table.at((m, n, k)) == pytest.approx(took, rel=0.01)
    done = invoke("kineto", trace, "--device", "h100-sxm", "-o", target, "--ranks", 1)
    assert done.exit_code == 0, done.output
    assert [table.kind for table in read_tables(target).tables] == ["matmul"]


def op(name: str, dims: list[Any], **more: Any) -> dict[str, Any]:
    """Return an op of a trace."""
    args = {"Input Dims": dims, "Input type": ["c10::BFloat16"] * len(dims)}
    return {
        "ph": "X",
        "cat": "cpu_op",
        "name": name,
        "tid": 1,
        "ts": 0,
        "dur": 9,
        "args": args,
    } | more


def gpu(shapes: list[tuple[int, int, int]], took: float = 50.0) -> list[dict[str, Any]]:
    """Return the ops of products on a GPU, each with a launch and a kernel."""
    events: list[dict[str, Any]] = []
    for i, (m, n, k) in enumerate(shapes):
        start, own = 100.0 * i, {"correlation": i}
        events += [
            op("aten::mm", [[m, k], [k, n]], ts=start, dur=10),
            {"cat": "cuda_runtime", "tid": 1, "ts": start + 5, "dur": 2, "args": own},
            {"cat": "kernel", "tid": 7, "ts": start + 40, "dur": took, "args": own},
        ]
    return events


SHAPES = [(1024 * i, 1024 * j, 4096) for i in range(1, 4) for j in range(1, 4)]


def written(path: Path, events: Any, **more: Any) -> Path:
    """Write a trace."""
    path.write_text(json.dumps({"traceEvents": events, **more}), encoding="utf-8")
    return path


def test_on_a_gpu_the_time_of_an_op_is_that_of_its_kernels(tmp_path: Path) -> None:
    """The launch on the host takes another time, and does not count."""
    (found,) = kineto.read(written(tmp_path / "t.json", gpu(SHAPES)))
    assert found.label == "matmul bf16"
    assert found.seconds.tolist() == pytest.approx([50e-6] * len(SHAPES))


def test_of_many_calls_of_a_shape_the_median_counts(tmp_path: Path) -> None:
    """One slow first call in eight is no contradiction."""
    events = [event for took in (900, *[50] * 7) for event in gpu(SHAPES[:1], took)]
    for i, event in enumerate(events):
        event["ts"] += 1000 * (i // 3)
        event["args"] = {**event["args"], "correlation": i // 3}
    (found,) = kineto.read(written(tmp_path / "t.json", events))
    assert found.seconds.tolist() == pytest.approx([50e-6])


@pytest.mark.parametrize(
    ("events", "more", "told"),
    [
        (gpu(SHAPES), {"distributedInfo": {"world_size": 4}}, r"a run of 4 ranks, not of 1"),
        (gpu(SHAPES[:5]), {}, "at least 8 shapes of a kind are needed, found: matmul bf16 5"),
        ([e for e in gpu(SHAPES) if e["cat"] != "kernel"], {}, "none of them is in it"),
        ([], {}, "no matrix product and no attention"),
        ([op("aten::add", [[1], [1]])], {}, "no matrix product and no attention"),
        (None, {}, "it has no list 'traceEvents'"),
        ([op("aten::mm", [[1, 2]])], {}, "an event is not as torch.profiler writes it"),
        (
            [op("aten::mm", [[8, 8], [8, 8]], dur=d, ts=100 * d) for d in (10, 30)], {},
            r"m 8, n 8, k 8: 10 us \(event 1\) and 30 us \(event 2\) contradict each other",
        ),
    ],
)  # fmt: skip
def test_a_trace_that_makes_no_sense_is_refused(
    tmp_path: Path, events: Any, more: dict[str, Any], told: str
) -> None:
    """Exit code 2, and nothing is written."""
    path = written(tmp_path / "t.json", events, **more)
    target = tmp_path / "t.npz"
    done = invoke("kineto", path, "--device", "h100-sxm", "-o", target, "--ranks", 1)
    assert done.exit_code == 2
    assert re.search(told, " ".join(done.output.split())), done.output
    assert not target.exists()


def test_a_trace_that_is_cut_off_is_refused_with_its_line(tmp_path: Path) -> None:
    """As a killed run leaves it."""
    (tmp_path / "t.json").write_text('{"traceEvents": [\n{"ph": "X",\n', encoding="utf-8")
    done = invoke("kineto", tmp_path / "t.json", "--device", "h100-sxm", "-o", tmp_path / "t.npz")
    assert done.exit_code == 2
    assert "t.json:3:1: not valid JSON" in " ".join(done.output.split()).replace("json: ", "json:")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["kineto", "t.json", "--device", "h100-sxm", "-o", "t.yaml"], "ends in .npz"),
        (["kineto", "t.json", "--device", "h100-sx", "-o", "t.npz"], "did you mean 'h100-sxm'"),
        (["nccl-tests", "log", "--topology", "h100-node", "-o", "p.npz"], "ends in .yaml"),
        (["aiconfigurator", "none"], "no such folder"),
        (["aiconfigurator", str(SAMPLE), "--device", "h100"], "did you mean 'h100-sxm'"),
        (["aiconfigurator", str(SAMPLE), "--device", "b200-sxm"], "no tables of b200_sxm"),
    ],
)  # fmt: skip
def test_wrong_names_are_refused(words: list[str], told: str) -> None:
    """Suffixes, devices and folders."""
    done = invoke(*words)
    assert done.exit_code == 2
    assert told in " ".join(done.output.split())


def test_tables_are_made_by_one_command(tmp_path: Path) -> None:
    """Of the committed sample; the file says what it comes from."""
    pytest.importorskip("pyarrow")
    words = ["aiconfigurator", SAMPLE, "--device", "h100-sxm", "--version", "0.12.0"]
    done = invoke(*words, "-o", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    found = read_tables(tmp_path / "h100-sxm.npz")
    assert found.about["source"].startswith("aiconfigurator-core 0.12.0")
    assert found.about["tables"]["matmul bf16"]["rows"] == 3920


def test_the_newest_version_and_the_fastest_kernel_of_a_library_count(tmp_path: Path) -> None:
    """An older version is left out wherever a newer one measured the shape."""
    pd = pytest.importorskip("pandas")
    from tspsim.calibrate.imports import aiconfigurator

    frame = pd.read_parquet(SAMPLE / "gemm-h100_sxm.parquet").head(16)
    frame = frame.assign(framework="A", version="1.3.0rc20")
    older = frame.assign(version="1.3.0rc3", latency=frame["latency"] / 10)
    slower = frame.assign(latency=frame["latency"] * 3)
    every = pd.concat([older, slower, frame], ignore_index=True)
    every.to_parquet(tmp_path / "gemm-h100_sxm.parquet")
    (found,) = aiconfigurator.read(tmp_path, "h100-sxm")
    assert sorted(found.seconds) == pytest.approx(sorted(frame["latency"] * 1e-3))


def test_logs_are_read_whole(tmp_path: Path) -> None:
    """Rows of no bytes say nothing."""
    (tmp_path / "log").write_text(text([0, *SIZES]), encoding="utf-8")
    (log,) = nccl_tests.read(tmp_path / "log")
    assert (log.collective, log.ranks, len(log.rows)) == ("all_reduce", 8, len(SIZES))
