"""Kernel tables: lookup, files, how they are made, and what the shipped ones say."""

from __future__ import annotations

import io
import json
import math
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tspsim
from tspsim.files.errors import OutputError, ScenarioError, TopologyError, UserError
from tspsim.files.shipped import names, shipped
from tspsim.program.types import Work
from tspsim.scenario import from_document
from tspsim.topology.forms import BACKWARD
from tspsim.topology.hardware import Curve, Device, Pace, Profile, Roofline
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.table_files import label, read_tables, write_tables
from tspsim.topology.tables import STEPS, Table

LAYER = "scenarios/tsp-layer.yaml"
SAMPLE = Path(__file__).parent / "data" / "kernels"
H100 = load_file("h100-node", parse_profile("h100-published"))
DEVICE = Device("x", (("bf16", 100e12), ("fp8", 200e12)), memory_bandwidth=1e12, memory=80e9)


def table(*logs: float, dtype: str = "bf16", m: tuple[float, ...] = (1024.0, 4096.0)) -> Table:
    """Return a table of matrix products whose log2 efficiency depends on m alone."""
    codes = np.array([log * STEPS for log in logs], dtype="<i2").tobytes()
    return Table("matmul", dtype, (m, (1024.0,), (1024.0,)), codes)


def matmul(m: int, n: int = 1024, k: int = 1024, dtype: str = "") -> Work:
    """Return the work of a bf16 product."""
    return Work(2 * m * n * k, 2 * (m * k + k * n + m * n), "matmul", (m, k, n), dtype)


def attention(sequence: int, heads: int = 32, kv_heads: int = 8, keys: int = 0) -> Work:
    """Return the work of causal attention, or of a rectangle with as many keys as told."""
    pairs2 = 2 * sequence * keys if keys else sequence * sequence
    traffic = 4 * sequence * 128 * (heads + kv_heads)
    shape = (1, heads, kv_heads, sequence, keys or sequence, 128, int(not keys), 128)
    return Work(2 * pairs2 * heads * 128, traffic, "attention", shape)


def test_efficiency_is_linear_in_logarithms_and_flat_beyond_the_edges() -> None:
    """Halfway between 1024 and 4096 is 2048, in logarithms of both."""
    found = table(-2.0, -1.0)
    assert found.at((1024, 1024, 1024)) == 0.25
    assert found.at((2048, 1024, 1024)) == pytest.approx(2**-1.5)
    assert found.at((4096, 7, 10**9)) == 0.5
    assert found.at((1, 1, 1)) == 0.25
    assert found.at((10**9, 1, 1)) == 0.5


def test_a_table_counts_for_flops_and_bytes_alike() -> None:
    """One efficiency of the whole kernel, whichever limit it meets; pace slows it further."""
    roofline = Roofline(DEVICE, Profile("p", tables=(table(-1.0, -1.0),)), "bf16")
    assert roofline.seconds(matmul(2048)) == pytest.approx(2 * 2 * 2048 * 1024**2 / 100e12)
    thin = matmul(1, 1024, 1024)
    assert roofline.seconds(thin) == pytest.approx(2 * thin.bytes / 1e12)
    slow = Device("y", DEVICE.flop_rate, 1e12, 80e9, pace=Pace(compute=0.5))
    paced = Roofline(slow, Profile("p", tables=(table(-1.0, -1.0),)), "bf16")
    assert paced.seconds(matmul(2048)) == pytest.approx(2 * roofline.seconds(matmul(2048)))


def test_work_without_a_table_keeps_its_curve() -> None:
    """Another kind, or another dtype, is as if there were no table; fp16 runs as bf16 does."""
    curve = ("matmul", Curve(((1.0, 0.25),)))
    profile = Profile("p", (curve,), tables=(table(-1.0, -1.0),))
    wide = Device("z", (("bf16", 1e14), ("fp16", 1e14), ("fp32", 1e14)), 1e15, 80e9)
    seconds = {
        d: Roofline(wide, profile, d).seconds(matmul(2048)) for d in ("bf16", "fp16", "fp32")
    }
    assert seconds["fp16"] == seconds["bf16"]
    assert seconds["fp32"] == pytest.approx(2 * seconds["bf16"])
    whole = attention(4096)
    assert Roofline(wide, profile, "bf16").seconds(whole) == pytest.approx(whole.flops / 1e14)


def test_a_rectangle_of_attention_counts_as_the_causal_square_of_as_many_flops() -> None:
    """2048 queries that all see 4096 keys are as efficient as a causal sequence of 4096."""
    roofline = Roofline(H100.devices[0], H100.profile, "bf16")
    square, part = attention(4096), attention(2048, keys=4096)
    assert part.flops == square.flops
    assert roofline.seconds(part) == pytest.approx(roofline.seconds(square))


def test_fp8_products_run_at_their_own_rate_after_a_cast() -> None:
    """The fp8 peak, and the cast as element-wise traffic: in measured times half of it is."""
    work = matmul(4096, 4096, 4096, "fp8")
    seconds = Roofline(DEVICE, Profile("p"), "bf16").seconds(work)
    operands = 2 * 4096**2
    assert seconds == pytest.approx(2 * 4096**3 / 200e12 + 2 * operands / 1e12)
    measured = Profile("p", tables=(table(-1.0, -1.0, dtype="fp8"),))
    halved = Roofline(DEVICE, measured, "bf16").seconds(work)
    assert halved == pytest.approx(2 * 2 * 4096**3 / 200e12 + 2 * operands / 2 / 1e12)


@pytest.mark.parametrize("name", names("topologies/tables"))
def test_shipped_tables_are_small_and_keep_to_the_bounds(name: str) -> None:
    """Under 200 kB; bf16 products err by less than 5 % on shapes left out, attention by 5 %."""
    path = shipped("topologies/tables") / f"{name}.npz"
    found = read_tables(path)
    assert path.stat().st_size < 200_000
    assert found.about["device"] == name
    assert "aiconfigurator-core 0.12.0" in found.about["source"]
    stated = found.about["tables"]
    assert stated.keys() == {label(one) for one in found.tables}
    for kind in ("matmul bf16", "attention bf16"):
        assert stated[kind]["error"] < 0.05
        assert stated[kind]["held_out"] > 300
    assert all(one["spread"] >= 0 and one["libraries"] for one in stated.values())


@pytest.mark.parametrize("dtype", ["", "fp8"])
@pytest.mark.parametrize(("n", "k"), [(1024, 4096), (4096, 4096), (14336, 4096), (4096, 28672)])
def test_time_grows_with_the_rows_and_stays_finite(n: int, k: int, dtype: str) -> None:
    """Twice the tokens take longer, within the table and far beyond it, never above the peak."""
    roofline = Roofline(H100.devices[0], H100.profile, "bf16")
    sizes = [2**e for e in range(9, 26)]
    times = [roofline.seconds(matmul(m, n, k, dtype)) for m in sizes]
    assert all(a < b < math.inf for a, b in pairwise(times))
    peak = H100.devices[0].peak(dtype or "bf16")
    assert all(t > 2 * m * n * k / peak for m, t in zip(sizes, times, strict=True))


def test_attention_takes_longer_with_longer_sequences_and_more_heads() -> None:
    """Forward and backward, from one token to a million."""
    roofline = Roofline(H100.devices[0], H100.profile, "bf16")
    for curve in ("attention", "attention_backward"):
        times = [roofline.seconds(attention(2**e)._replace(curve=curve)) for e in range(21)]
        assert all(a <= b < math.inf for a, b in pairwise(times[7:]))
    assert roofline.seconds(attention(4096, 64)) > roofline.seconds(attention(4096, 32))


def test_backward_is_forward_with_a_stated_ratio() -> None:
    """The ratio of the profile, or the default, where the file has no backward kernels."""
    tables = parse_profile({"name": "p", "tables": {"file": "h100-sxm"}}).value().tables
    assert Table("attention_backward", "bf16", *_grid("attention"), BACKWARD) in tables
    assert Table("mla_backward", "bf16", *_grid("mla"), BACKWARD) in tables


def _grid(kind: str) -> tuple[Any, bytes]:
    found = next(t for t in H100.profile.tables if t.kind == kind)
    return found.axes, found.codes


def test_a_profile_with_tables_can_be_sent_to_a_worker() -> None:
    """What comes out of pickle is equal and gives the same times."""
    copy = pickle.loads(pickle.dumps(H100.profile))  # noqa: S301
    assert copy == H100.profile
    assert hash(copy) == hash(H100.profile)
    times = [
        Roofline(H100.devices[0], p, "bf16").seconds(matmul(777)) for p in (copy, H100.profile)
    ]
    assert times[0] == times[1]


# ---- files ---------------------------------------------------------------------------------------


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    """Tables and what is said of them, and nothing else beside the file."""
    made, about = (
        (table(-1.0, -0.5), table(-2.0, -1.5, dtype="fp8")),
        {"source": "me", "tables": {}},
    )
    write_tables(tmp_path / "new" / "t.npz", made, about)
    found = read_tables(tmp_path / "new" / "t.npz")
    assert found.tables == made
    assert found.about == about
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["t.npz"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"file: cannot be written: .+ is a file, no folder"):
        write_tables(tmp_path / "file" / "t.npz", (table(-1.0, -0.5),), {})


def archive(**arrays: Any) -> bytes:
    """Return an archive of arrays; ``_`` of their names stand for spaces."""
    made = io.BytesIO()
    named = {name.replace("_", " "): np.array(value) for name, value in arrays.items()}
    np.savez_compressed(made, allow_pickle=True, **named)
    return made.getvalue()


GOOD: dict[str, Any] = {
    "about": json.dumps({}), "matmul_bf16": np.zeros((1, 1, 1), "<i2"), "matmul_bf16_m": [1.0],
    "matmul_bf16_n": [1.0], "matmul_bf16_k": [1.0],
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no file of kernel tables"),
        (b"PK\x03\x04 not a zip", "no file of kernel tables"),
        (archive(), "about"),
        (archive(about="{}"), "there is no table in it"),
        (archive(about="[1]"), "no mapping"),
        (archive(about="{"), "not valid JSON"),
        (archive(about="{}", conv_bf16=[1]), "'conv' is no kind of kernel; known: matmul"),
        (archive(**GOOD | {"matmul_bf16_m": [1.0, 2.0]}), "does not fit its axes"),
        (archive(**GOOD | {"matmul_bf16_m": [0.0]}), "positive and increase"),
        (archive(**GOOD | {"matmul_bf16_m": [math.nan]}), "positive and increase"),
        (archive(**GOOD | {"matmul_bf16": np.array([[[object()]]])}), "Object arrays"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_table_is_refused_with_its_name(
    tmp_path: Path, content: bytes, told: str
) -> None:
    """Nothing is unpickled, and no traceback is shown."""
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        read_tables(path)
    assert "bad.npz" in str(error.value) or "about" in str(error.value)


def test_a_profile_names_a_table_beside_it_or_a_shipped_one(tmp_path: Path) -> None:
    """From a scenario, from another folder, and from the profile's own."""
    write_tables(tmp_path / "mine.npz", (table(-1.0, -1.0),), {"source": "me"})
    profile = "name: mine\ntables: {file: mine.npz}\n"
    (tmp_path / "mine.yaml").write_text(profile, encoding="utf-8")
    found = parse_profile(str(tmp_path / "mine.yaml")).value()
    assert found.tables == (table(-1.0, -1.0),)
    scenario = tspsim.load("scenarios/tsp-layer.yaml", [f"timing.profile={tmp_path / 'mine.yaml'}"])
    assert scenario.topology.profile.tables == found.tables
    again = tspsim.load(
        "scenarios/tsp-layer.yaml", ["timing.profile={name: p, tables: {file: gb200}}"]
    )
    assert len(again.topology.profile.tables) > 3


def test_an_unknown_table_names_the_nearest() -> None:
    """With its place in the scenario."""
    with pytest.raises(
        ScenarioError, match=r"unknown table 'h100-sx' \(did you mean 'h100-sxm'\?\)"
    ):
        tspsim.load(
            "scenarios/tsp-layer.yaml", ["timing.profile={name: p, tables: {file: h100-sx}}"]
        )


def test_a_result_states_which_table_it_used(tmp_path: Path) -> None:
    """Another file of the same name is refused, so that a stored result cannot change unseen."""
    write_tables(tmp_path / "mine.npz", (table(-1.0, -1.0),), {"source": "me"})
    keys = f"timing.profile={{name: p, tables: {{file: {tmp_path / 'mine.npz'}}}}}"
    document = tspsim.load(LAYER, [keys]).document
    assert document["timing"]["profile"]["tables"]["digest"]
    assert from_document(document).document == document
    write_tables(tmp_path / "mine.npz", (table(-2.0, -1.0),), {"source": "me"})
    with pytest.raises(ScenarioError, match="is another file by now"):
        from_document(document)


# ---- fp8 in scenarios ----------------------------------------------------------------------------


def test_fp8_linears_shorten_a_step_and_leave_its_memory() -> None:
    """Products of layers alone: memory, the head and attention stay as they were."""
    name = "llama3-8b-128k-h100-tsp"
    keys = ["model.layers=1", "timing.profile=h100-published", "strategy={kind: sp, degree: 8}"]
    wide, narrow = tspsim.run(name, *keys), tspsim.run(name, *keys, "workload.linears=fp8")
    assert narrow.summary.step_time < wide.summary.step_time
    assert narrow.summary.memory.peak == wide.summary.memory.peak
    works = {op.work for op in narrow.timeline.programs.roles[0].ops if op.work}
    narrowed = {w.curve for w in works if isinstance(w, Work) and w.dtype == "fp8"}
    assert narrowed == {"matmul"}
    labels = {op.label for op in narrow.timeline.programs.roles[0].ops if "fp8" in op.kind.text()}
    assert "gate" in labels
    assert "logits" not in labels


def test_fp8_on_a_device_without_it_is_refused() -> None:
    """A100 states no rate for it."""
    with pytest.raises(ScenarioError, match=r"workload\.linears: found 'fp8'; device 'a100"):
        tspsim.load(
            LAYER, ["topology={file: a100-node}", "workload.linears=fp8",
            "strategy.degree=8"],
        )  # fmt: skip


# ---- how they are made ---------------------------------------------------------------------------


def test_a_table_errs_by_less_than_five_percent_on_shapes_left_out() -> None:
    """From a committed sample of measured rows of H100; thinner than what is shipped."""
    found = made()
    decode = "decode_attention bf16"
    assert found.keys() == {"matmul bf16", "attention bf16", decode, "grouped bf16"}
    for one in (found["matmul bf16"], found["attention bf16"]):
        assert one.error < 0.05
        assert one.residual < 0.01
        assert one.held_out > 90


def test_the_shipped_table_meets_the_measured_rows() -> None:
    """The committed sample was seen: libraries differ by as much as they do, and no more."""
    pytest.importorskip("pandas")
    from tspsim.calibrate.imports import aiconfigurator
    from tspsim.calibrate.kernels.rows import roofline

    rows = next(m for m in aiconfigurator.read(SAMPLE, "h100-sxm") if m.kind == "matmul")
    shipped_table = next(t for t in H100.profile.tables if label(t) == "matmul bf16")
    least = roofline(rows.asked, H100.devices[0], "bf16")
    found = [shipped_table.at(tuple(place)) for place in rows.asked.place.tolist()]
    assert np.mean(np.abs(least / found / rows.seconds - 1)) < 0.05


def made(folder: Path = SAMPLE) -> dict[str, Any]:
    """Return the tables of a folder of H100's rows, by label."""
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from tspsim.calibrate.imports import aiconfigurator
    from tspsim.calibrate.kernels.write import tables_of

    measured = list(aiconfigurator.read(folder, "h100-sxm"))
    return {label(one.table): one for one in tables_of(measured, H100.devices[0], str(folder))}


def test_holes_take_the_values_of_the_lines_through_them() -> None:
    """A plane is filled exactly; one known value fills everything."""
    from tspsim.calibrate.kernels.grid import filled

    axes = [np.arange(5.0), np.arange(4.0)]
    plane = axes[0][:, None] * 2 - axes[1][None, :] * 3
    holed = plane.copy()
    holed[2, 1] = holed[1, 2] = np.nan
    assert filled(holed, axes) == pytest.approx(plane)
    lone = np.full((3, 3), np.nan)
    lone[1, 1] = 7.0
    assert (filled(lone, [np.arange(3.0)] * 2) == 7.0).all()


def test_too_few_shapes_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    """Each says what it found and what it needs."""
    pd = pytest.importorskip("pandas")
    from tspsim.calibrate.imports import aiconfigurator

    with pytest.raises(UserError, match="no such folder"):
        aiconfigurator.folder(tmp_path / "none")
    with pytest.raises(UserError, match="no tables of h100_sxm"):
        made(tmp_path)
    frame = pd.read_parquet(SAMPLE / "gemm-h100_sxm.parquet")
    frame.head(5).to_parquet(tmp_path / "gemm-h100_sxm.parquet")
    with pytest.raises(
        UserError, match="at least 8 shapes of a kind are needed, found: matmul bf16 5"
    ):
        made(tmp_path)
    frame.drop(columns="k").to_parquet(tmp_path / "gemm-h100_sxm.parquet")
    with pytest.raises(UserError, match=r"gemm-h100_sxm\.parquet: has no column k"):
        made(tmp_path)
    (tmp_path / "gemm-h100_sxm.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="cannot be read as a parquet table"):
        made(tmp_path)


def test_a_table_of_nothing_is_no_profile() -> None:
    """The file must be named."""
    with pytest.raises((TopologyError, ValueError), match="file"):
        parse_profile({"name": "p", "tables": {}})
