"""Dispatches to experts, measured and published, beside simulated all-to-alls."""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from statistics import median

import pytest

from tspsim.calibrate.published.dispatch import LARGE, Group, groups, table
from tspsim.calibrate.published.rows import table as read_table
from tspsim.files.shipped import shipped

HOPPER = ("h800-sxm", "h100-sxm", "h200-sxm")


def chosen(mode: str, *devices: str, large: bool) -> Iterator[Group]:
    """Yield the groups of a mode on some devices."""
    for group in groups():
        first = group.calls[0]
        if first.mode == mode and first.device in devices and (first.bytes >= LARGE) == large:
            yield group


def size(group: Group, algorithm: str) -> float:
    """Return the median size of the deviations."""
    return median(map(abs, group.deviations[algorithm]))


def test_large_dispatches_on_hopper_are_all_to_alls_started_at_once() -> None:
    """Both phases, with constants that are fitted to NCCL alone."""
    found = list(chosen("normal", *HOPPER, large=True))
    assert len(found) == 6
    for group in found:
        assert size(group, "direct") < 0.08, group.calls[0]


def test_small_low_latency_calls_start_all_sends_at_once() -> None:
    """On every device; one send after another would take far longer."""
    found = list(chosen("low latency", "h100-sxm", "h200-sxm", "b200-sxm", "gb200", large=False))
    assert len(found) == 8
    for group in found:
        assert size(group, "direct") < 0.16, group.calls[0]
        assert size(group, "direct") < size(group, "pairwise")


def test_few_multiprocessors_do_not_fill_the_links_of_blackwell() -> None:
    """On 24 of them it takes longer than the links would; DeepEP's second version fills them."""
    for group in chosen("normal", "b200-sxm", "gb200", large=True):
        assert median(group.deviations["direct"]) < -0.25
    for mode in ("V2 24 SMs", "V2 64 SMs"):
        for group in chosen(mode, "b200-sxm", large=True):
            assert size(group, "direct") < 0.18


def test_bytes_follow_from_the_tokens_and_every_source_is_named() -> None:
    """Copies for every rank, or every expert, of 1 byte with a scale or of 2 bytes."""
    rows = read_table(shipped("published"), "dispatch")
    sources = (shipped("published") / "sources.yaml").read_text(encoding="utf-8")
    assert all(f"\n{row['source']}:\n" in sources for row in rows)
    for row in (row for row in rows if row["source"] == "sglang-deepep"):
        tokens, hidden, topk, experts, ranks = (
            int(row[key]) for key in ("tokens", "hidden", "topk", "experts", "ranks")
        )
        others = comb(experts - experts // ranks, topk) / comb(experts, topk)
        copies = topk if row["mode"] == "low latency" else ranks * (1 - others)
        number = 1 + 4 / 128 if row["phase"] == "dispatch" else 2
        assert int(row["bytes"]) == pytest.approx(tokens * copies * hidden * number, abs=1)


def test_the_table_has_a_line_for_every_kernel() -> None:
    """Device, ranks, mode and phase, with the errors of both algorithms."""
    lines = table().splitlines()
    assert len(lines) == 1 + len(groups())
    assert "h800-sxm, 8 ranks, normal, dispatch" in "\n".join(lines)
