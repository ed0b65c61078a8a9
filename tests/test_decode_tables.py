"""Decoding in time: attention against a cache, small products, and the rows behind them."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tspsim.files.shipped import names, shipped
from tspsim.program.types import Work
from tspsim.topology.hardware import Curve, Device, Profile, Roofline
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.table_files import read_tables

SAMPLE = Path(__file__).parent / "data" / "kernels"
NODES = ("a100", "h100", "h200", "b200")
LATENT = (576, 512)


@cache
def roofline(name: str) -> Roofline:
    """Return the time of work on a shipped device with its own profile."""
    node = load_file(f"{name}-node", parse_profile(f"{name}-published"))
    return Roofline(node.devices[0], node.profile, "bf16")


def cached(
    batch: int,
    keys: int,
    heads: int = 32,
    kv_heads: int = 8,
    queries: int = 1,
    widths: tuple[int, int] = (128, 128),
) -> Work:
    """Return the work of new tokens that see a cache of bf16; a latent one is read once."""
    k, v = widths
    read = kv_heads * keys * (k if widths == LATENT else k + v)
    shape = (batch, heads, kv_heads, queries, keys, k, 1, v)
    flops = 2 * batch * heads * queries * keys * (k + v)
    bytes_ = 2 * batch * (read + heads * queries * (k + v))
    return Work(flops, bytes_, "cached_attention", shape)


@pytest.mark.parametrize("name", NODES)
def test_decoding_takes_longer_with_more_cached_tokens_and_more_sequences(name: str) -> None:
    """Twice the cache or twice the batch, where reading it and no launch takes the time."""
    time = roofline(name).seconds
    longer = [time(cached(16, 2**e)) for e in range(11, 21)]
    wider = [time(cached(2**e, 8192)) for e in range(11)]
    for times in (longer, wider):
        assert all(a < b for a, b in pairwise(times))
        assert times[-1] > 100 * times[0]


@pytest.mark.parametrize("name", NODES)
def test_decoding_reads_less_with_fewer_key_value_heads(name: str) -> None:
    """64 query heads on 64, 32, 16 and 8 key/value heads: half the cache, half the time."""
    time = roofline(name).seconds
    times = [time(cached(64, 4096, 64, kv_heads)) for kv_heads in (64, 32, 16, 8)]
    assert all(1.6 < a / b < 2.4 for a, b in pairwise(times))


@pytest.mark.parametrize("name", NODES)
def test_decoding_never_beats_the_memory_that_it_reads(name: str) -> None:
    """Of caches that no second-level cache holds."""
    rates = roofline(name)
    for batch, keys in ((64, 4096), (8, 131072), (512, 8192)):
        work = cached(batch, keys)
        assert rates.seconds(work) > work.bytes / rates.device.memory_bandwidth


def test_latent_decoding_is_looked_up_where_it_was_measured() -> None:
    """128 heads on one cache of 576 numbers a token: times of rows of aiconfigurator-core."""
    rates = roofline("h100")
    work = cached(64, 4096, 128, 1, widths=LATENT)
    (table,) = (one for one in rates.profile.tables if one.kind == "decode_mla")
    device, efficiency = rates.device, table.at((64, 4096, 128))
    multiplied = work.flops / (device.peak("bf16") * rates.profile.sustained)
    read = work.bytes / device.memory_bandwidth
    assert rates.seconds(work) == pytest.approx(max(multiplied, read) / efficiency)
    other = cached(64, 4096, 128, 1, widths=(320, 256))
    assert rates.seconds(other) != rates.seconds(work)


def test_a_few_new_tokens_cost_what_one_does_and_a_chunk_what_a_prompt_does() -> None:
    """Rows that fit one tile read the cache once; a chunk counts as attention of as many flops."""
    time = roofline("h100").seconds
    one, four = (time(cached(8, 16384, queries=queries)) for queries in (1, 4))
    assert four < 1.2 * one
    chunk = cached(1, 65536, queries=2048)
    assert time(chunk) == pytest.approx(time(chunk._replace(curve="attention")))


def test_a_window_counts_as_the_keys_that_are_seen() -> None:
    """An op whose flops and bytes are those of 4096 keys takes as long as with 4096 cached."""
    time = roofline("h100").seconds
    whole = cached(16, 4096)
    window = whole._replace(shape=cached(16, 65536).shape)
    assert time(window) == time(whole)


def test_without_rows_decoding_moves_its_cache_at_the_rate_of_element_wise_work() -> None:
    """And multiplies at the rate of attention: a device of which nothing was measured."""
    device = Device("x", (("bf16", 1e15),), memory_bandwidth=1e12, memory=80e9)
    curves = ("attention", Curve(((1.0, 0.5),))), ("elementwise", Curve(((1.0, 0.8),)))
    rates = Roofline(device, Profile("p", curves), "bf16")
    read, multiplied = cached(8, 8192), cached(8, 8192, 16384, 8)
    assert rates.seconds(read) == pytest.approx(read.bytes / 0.8e12)
    assert rates.seconds(multiplied) == pytest.approx(multiplied.flops / 0.5e15)
    assert roofline("h100").seconds(read) < rates.seconds(read)


@pytest.mark.parametrize("name", names("topologies/tables"))
def test_shipped_tables_of_decoding_keep_to_the_bounds(name: str) -> None:
    """On shapes left out: caches of 1024 tokens and more within 9 %, and every range of them."""
    stated = read_tables(shipped("topologies/tables") / f"{name}.npz").about["tables"]
    for kind in ("decode_attention bf16", "decode_mla bf16"):
        assert stated[kind]["error"] < 0.09
        assert stated[kind]["held_out"] > 150
        checks = stated[kind]["checks"]
        assert sum(name.startswith("cached") for name in checks) == 5
        assert all(error < 0.14 for _, _, _, error in checks.values())


@pytest.mark.parametrize("name", names("topologies/tables"))
def test_products_of_few_rows_keep_to_the_bounds(name: str) -> None:
    """On shapes left out, from one row on, in every range of rows and every dtype."""
    stated = read_tables(shipped("topologies/tables") / f"{name}.npz").about["tables"]
    for about in (about for kind, about in stated.items() if kind.startswith("matmul")):
        ranges = {k: v for k, v in about["checks"].items() if k.startswith("m ")}
        assert next(iter(ranges)) == "m 1 to 15"
        assert len(ranges) == 5
        assert all(shapes > 300 and error < 0.075 for shapes, _, _, error in ranges.values())


def test_the_shipped_table_meets_measured_decoding() -> None:
    """A committed sample of rows of H100, each with the new token in its cache."""
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from tspsim.calibrate.imports import aiconfigurator
    from tspsim.calibrate.kernels.rows import roofline as least

    (rows,) = (m for m in aiconfigurator.read(SAMPLE, "h100-sxm") if m.kind == "decode_attention")
    rates = roofline("h100")
    (table,) = (one for one in rates.profile.tables if one.kind == "decode_attention")
    found = [table.at(tuple(place)) for place in rows.asked.place.tolist()]
    off = least(rows.asked, rates.device, "bf16") / found / rows.seconds - 1
    assert len(off) > 200
    assert set(np.log2(rows.asked.place[:, 1]) % 1) == {0.0}
    assert "TRTLLM" not in rows.library
    assert np.mean(np.abs(off)) < 0.05


# ---- which rows count ----------------------------------------------------------------------------


def rows_of(times: dict[str, list[float]], cached_tokens: int = 65536) -> list[str]:
    """Return the libraries whose rows are kept, of made-up times over the least ones."""
    pytest.importorskip("pandas")
    from tspsim.calibrate.imports import decode
    from tspsim.calibrate.kernels.rows import Measured
    from tspsim.calibrate.kernels.rows import roofline as least

    device = load_file("h100-node").devices[0]
    places, ratios, libraries = [], [], []
    for library, some in times.items():
        for batch, ratio in enumerate(some, start=8):
            if np.isfinite(ratio):
                places.append(batch)
                ratios.append(ratio)
                libraries.append(library)
    heads = np.full(len(places), 8)
    step = np.full(len(places), cached_tokens - 1)
    asked = decode.attention(np.array(places), heads, heads, step, heads * 16)
    assert set(asked.place[:, 1]) == {cached_tokens}
    seconds = np.array(ratios) * least(asked, device, "bf16")
    made = Measured("decode_attention", "bf16", asked, seconds, np.array(libraries))
    return decode.alike(made, device).library.tolist()


def test_slower_libraries_are_left_out_even_where_nobody_else_was_timed() -> None:
    """Otherwise times jump at the shapes that the fast one lacks."""
    nan = np.nan
    kept = rows_of({"fast": [1.2, 1.2, 1.2, nan], "near": [1.25] * 4, "slow": [2.0] * 4})
    assert sorted(set(kept)) == ["fast", "near"]
    assert len(kept) == 7


def test_calls_that_read_faster_than_the_memory_states_are_left_out() -> None:
    """One slip goes alone; a library that has many goes with all of its rows."""
    kept = rows_of({"slips": [0.9, *[1.2] * 30], "true": [1.22] * 31})
    assert kept.count("slips") == 30
    kept = rows_of({"untrue": [0.9] * 4 + [1.1] * 8, "true": [1.3] * 12})
    assert set(kept) == {"true"}
    small = rows_of({"in the second-level cache": [0.9] * 12}, cached_tokens=64)
    assert len(small) == 12


def test_libraries_without_a_shape_in_common_all_count() -> None:
    """Nothing says which is slower."""
    nan = np.nan
    assert len(rows_of({"one": [1.2, nan], "other": [nan, 3.0]})) == 2
