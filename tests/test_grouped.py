"""Grouped products: their time, the tables of them, and what these are made of."""

from __future__ import annotations

import io
import json
import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tspsim.files.shipped import names, shipped
from tspsim.output.plots.style import style_of
from tspsim.program.types import NO_WORK, Op, Work
from tspsim.topology.hardware import Curve, Device, Profile, Roofline
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.table_files import read_tables
from tspsim.topology.tables import STEPS, Table

SAMPLE = Path(__file__).parent / "data" / "kernels"
H100 = load_file("h100-node", parse_profile("h100-published"))
DEVICE = Device("x", (("bf16", 100e12), ("fp8", 200e12)), memory_bandwidth=1e12, memory=80e9)


def grouped(rows: int, groups: int = 8, k: int = 4096, n: int = 1536, **others: Any) -> Work:
    """Return the work of a grouped bf16 product."""
    moved = 2 * (rows * k + groups * k * n + rows * n)
    return Work(2 * rows * k * n, moved, "grouped", (rows, groups, k, n), **others)


def table(kind: Any, *logs: float) -> Table:
    """Return a table whose log2 efficiency depends on its first axis alone."""
    codes = np.array([log * STEPS for log in logs], dtype="<i2").tobytes()
    first = tuple(1024.0 * 4**i for i in range(len(logs)))
    return Table(kind, "bf16", (first, (8.0,), (1024.0,)), codes)


def seconds(work: Work, *tables: Table, curves: tuple[Any, ...] = ()) -> float:
    """Return its time on the device with these tables and curves."""
    profile = Profile("p", curves, tables=tables)
    return Roofline(DEVICE, profile, "bf16").seconds(work)


# ---- time ----------------------------------------------------------------------------------------


def test_a_grouped_product_lies_at_the_rows_of_a_group() -> None:
    """32768 rows of 8 groups are 4096 each: the second point, and not beyond the last one."""
    work = grouped(32768)
    found = seconds(work, table("grouped", -2.0, -1.0, 0.0))
    assert found == pytest.approx(2 * work.flops / 100e12)


def test_the_rows_of_the_largest_group_change_no_time() -> None:
    """Tiles of all groups fill the device together, whoever's they are."""
    even = grouped(32768)
    skewed = even._replace(shape=(*even.shape, 20000))
    roofline = Roofline(H100.devices[0], H100.profile, "bf16")
    assert roofline.seconds(skewed) == roofline.seconds(even)


def test_without_a_table_it_is_as_efficient_as_a_product_of_all_rows() -> None:
    """Of a table of products the efficiency at all rows, with the weights of all groups read."""
    products = table("matmul", -2.0, -1.0)
    work = grouped(4096, k=1024, n=1024)
    assert seconds(work, products) == pytest.approx(2 * work.flops / 100e12)
    few = grouped(8, k=1024, n=1024)
    assert seconds(few, products) == pytest.approx(4 * few.bytes / 1e12)
    assert few.bytes > 8 * 2 * 1024 * 1024


def test_without_tables_it_takes_its_own_curve_or_that_of_products() -> None:
    """A curve named grouped before one named matmul, and the peak where there is neither."""
    work = grouped(32768)
    half, quarter = Curve(((1.0, 0.5),)), Curve(((1.0, 0.25),))
    peak = work.flops / 100e12
    assert seconds(work) == pytest.approx(peak)
    assert seconds(work, curves=(("matmul", half),)) == pytest.approx(2 * peak)
    both = (("matmul", half), ("grouped", quarter))
    assert seconds(work, curves=both) == pytest.approx(4 * peak)


def test_fp8_casts_the_weights_of_every_group() -> None:
    """The traffic of casting rows and all matrices, at the fp8 peak of the products."""
    work = grouped(32768, dtype="fp8")
    operands = 32768 * 4096 + 8 * 4096 * 1536
    assert seconds(work) == pytest.approx(work.flops / 200e12 + 2 * operands / 1e12)


def test_a_rank_without_rows_takes_no_time() -> None:
    """Its experts are empty, and their weights stay where they are."""
    assert seconds(NO_WORK._replace(curve="grouped", shape=(0, 8, 4096, 1536))) == 0.0


@pytest.mark.parametrize("dtype", ["", "fp8"])
@pytest.mark.parametrize("groups", [1, 3, 64, 1000])
def test_time_grows_with_the_rows_and_never_beats_the_peak(groups: int, dtype: str) -> None:
    """From a few rows a group to more than any that was measured."""
    roofline = Roofline(H100.devices[0], H100.profile, "bf16")
    works = [grouped(groups * 2**e, groups, dtype=dtype) for e in range(6, 21)]
    times = [roofline.seconds(work) for work in works]
    assert all(a < b < math.inf for a, b in pairwise(times))
    peak = H100.devices[0].peak(dtype or "bf16")
    assert all(t > work.flops / peak for t, work in zip(times, works, strict=True))


def test_grouped_products_have_a_colour_of_their_own() -> None:
    """In a gantt chart they are told from the products of dense layers."""
    found = {
        kind: style_of(
            cast(
                "Op",
                SimpleNamespace(message=None, kind=SimpleNamespace(name=kind), phase="forward"),
            )
        )
        for kind in ("matmul", "grouped_matmul", "attention_backward", "norm")
    }
    assert len({style.colour for style in found.values()}) == 4
    assert found["grouped_matmul"].name == "products of experts"


# ---- what the shipped tables say -----------------------------------------------------------------


@pytest.mark.parametrize("name", names("topologies/tables"))
def test_shipped_tables_err_by_less_than_ten_percent_on_shapes_left_out(name: str) -> None:
    """Of whole expert MLPs: the mean, and the median by less than 7 %."""
    stated = read_tables(shipped("topologies/tables") / f"{name}.npz").about["tables"]
    found = [one for label, one in stated.items() if label.startswith("grouped")]
    assert len(found) == (1 if name.startswith("a100") else 2)
    for one in found:
        assert one["held_out"] > 150
        assert one["error"] < 0.10
        assert one["median"] < 0.07
        assert one["checks"]["unseen models"][2] < 0.11


@pytest.mark.parametrize("name", names("topologies/tables"))
def test_skewed_experts_are_foreseen_from_the_busiest_rank(name: str) -> None:
    """Nothing is fitted to them; as if they were even they are up to three times as far off."""
    stated = read_tables(shipped("topologies/tables") / f"{name}.npz").about["tables"]
    for one in (one for label, one in stated.items() if label.startswith("grouped")):
        for skew in ("power_law_1.01", "power_law_1.2"):
            shapes, bias, median, _ = one["checks"][skew]
            assert shapes > 500
            assert abs(bias) < 0.11
            assert median < 0.14
            if not name.startswith("a100"):  # all of whose rows are of ranks that hold all experts
                assert 2 * median < one["checks"][f"{skew} as if even"][2]


def test_a_file_with_a_retired_kind_is_still_read(tmp_path: Path) -> None:
    """Made by an earlier tspsim: its table of expert MLPs is passed over."""
    made = io.BytesIO()
    codes, one = np.zeros((1, 1, 1), "<i2"), [1.0]
    arrays: dict[str, Any] = {"about": np.array(json.dumps({}))}
    for label, axes in (
        ("experts bf16", ("tokens_per_expert", "experts", "matrix")),
        ("matmul bf16", ("m", "n", "k")),
    ):
        arrays[label] = codes
        arrays |= {f"{label} {axis}": np.array(one) for axis in axes}
    np.savez_compressed(made, **arrays)
    (tmp_path / "old.npz").write_bytes(made.getvalue())
    assert [t.kind for t in read_tables(tmp_path / "old.npz").tables] == ["matmul"]


# ---- how they are made ---------------------------------------------------------------------------


def measured() -> Any:
    """Return the grouped rows of the committed sample of H100."""
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from tspsim.calibrate.imports import aiconfigurator

    return next(m for m in aiconfigurator.read(SAMPLE, "h100-sxm") if m.kind == "grouped")


def test_a_table_of_a_sample_errs_little_on_shapes_left_out() -> None:
    """Thinner than what is shipped; what it is made of is the newest version alone."""
    from tspsim.calibrate.kernels.make import make

    found = make(measured(), H100.devices[0])
    assert found.libraries == ("TRTLLM",)
    assert found.rows == 596
    assert found.held_out > 90
    assert found.error < 0.08
    assert {name for name, _ in found.checks} == {
        "unseen models", "untuned calls", "power_law_1.2", "power_law_1.2 as if even",
    }  # fmt: skip


def test_the_shipped_table_gives_back_the_measured_calls() -> None:
    """Three products of a table's efficiency and the passes beside them are the whole call."""
    from tspsim.calibrate.kernels.rows import roofline

    found = measured()
    shipped_table = next(t for t in H100.profile.tables if (t.kind, t.dtype) == ("grouped", "bf16"))
    least = roofline(found.asked, H100.devices[0], "bf16")
    efficiency = [shipped_table.at(tuple(place)) for place in found.asked.place.tolist()]
    call = found.seconds / found.share
    predicted = least / efficiency + (call - found.seconds)
    assert np.mean(np.abs(predicted / call - 1)) < 0.08


def test_three_products_ask_for_what_a_gated_mlp_does() -> None:
    """Two of hidden by inner size and one back, with the weights of experts that have rows."""
    from tspsim.calibrate.kernels.rows import experts

    found = experts([4096, 3], [8, 8], [1024, 1024], [512, 512], itemsize=2)
    product = [2 * r * 1024 * 512 for r in (4096, 3)]
    assert found.flops.tolist() == [3 * flops for flops in product]
    moved = [3 * 2 * (r * 1024 + min(8, r) * 1024 * 512 + r * 512) for r in (4096, 3)]
    assert found.bytes.tolist() == moved
    assert found.place.tolist()[0] == [512, 8, 1024 * 512]


def test_a_call_slower_than_one_that_does_more_is_no_kernels_time() -> None:
    """More tokens, more experts or wider ones: what takes longer with less was not tuned."""
    pd = pytest.importorskip("pandas")
    from tspsim.calibrate.imports import experts

    model = {"hidden_size": 1024, "inter_size": 512, "topk": 2, "num_experts": 8}
    calls = [(512, 1, 1, 1.0), (1024, 1, 1, 1.9), (512, 2, 1, 2.0), (512, 1, 2, 0.6)]
    keys = ("num_tokens", "moe_tp_size", "moe_ep_size", "latency")
    frame = pd.DataFrame([model | dict(zip(keys, call, strict=True)) for call in calls])
    assert experts._is_kernel(frame).tolist() == [True, True, False, True]


def test_the_busiest_rank_has_its_share_at_least_and_no_more_than_its_experts_can() -> None:
    """All rows alone; an expert has every token once at most; the same question, the same load."""
    pytest.importorskip("pandas")
    from tspsim.calibrate.imports.skew import fullest

    assert fullest(1024, 64, 8, 1, 1.2) == pytest.approx(8 * 1024, rel=1e-3)
    for ranks in (2, 8, 64):
        load = fullest(1024, 64, 8, ranks, 1.2)
        assert 8 * 1024 / ranks < load <= 1024 * 64 / ranks + 1
        assert load == fullest(1024, 64, 8, ranks, 1.2)
    assert fullest(1024, 64, 8, 64, 1.2) <= 1025
