"""The layers of published models with experts, counted by torch, against their programs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tspsim.calibrate.oracle.moe.config import SUITE, Config
from tspsim.calibrate.oracle.moe.record import Record, read
from tspsim.calibrate.oracle.moe.simulated import simulate

RECORDS = Path(__file__).parent / "data" / "oracles" / "moe.csv"
CONFIGS = {config.name: config for config in SUITE}
BF16 = 2

#: Run again here; `docs/refresh.py oracles` runs all.
AGAIN = "mixtral-8x7b skewed"

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="runs torch")


@cache
def recorded() -> dict[tuple[str, int], Record]:
    """Return what torch counted, by config and rank."""
    return read(RECORDS)


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_and_bytes_of_every_rank_are_torchs(name: str) -> None:
    """Not nearly: the same numbers, call by call, also where ranks have other loads."""
    config = CONFIGS[name]
    for rank in range(config.ranks):
        assert simulate(config, rank) == recorded()[name, rank]


def test_the_records_are_those_of_the_suite() -> None:
    """All ranks of all configs, and no others: two calls in forward, two in backward."""
    assert set(recorded()) == {(c.name, rank) for c in SUITE for rank in range(c.ranks)}
    assert all(len(record.calls) == 4 for record in recorded().values())


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_recorded_is_what_routing_says(name: str) -> None:
    """A rank sends a row for every choice of its tokens; its experts get theirs of all ranks."""
    config, each = CONFIGS[name], CONFIGS[name].experts // CONFIGS[name].ranks
    row = config.hidden * BF16
    for rank in range(config.ranks):
        there = sum(config.counts[rank * each :][:each]) * config.ranks * row
        sent = config.sequence * config.active * row
        calls = recorded()[name, rank].calls
        assert calls == ((sent, there), (there, sent), (sent, there), (there, sent))


def test_another_width_or_router_is_found() -> None:
    """The comparison can fail: flops know the experts' width, and bytes how many are active."""
    config = CONFIGS["olmoe-1b-7b"]
    wider, fewer = replace(config, width=1025), replace(config, active=7)
    wanted = recorded()[config.name, 0]
    assert simulate(wider, 0).flops > wanted.flops
    assert simulate(wider, 0).calls == wanted.calls
    assert simulate(fewer, 0).calls != wanted.calls


@needs_torch
def test_torch_does_it_again(tmp_path: Path) -> None:
    """The records of this config are, row by row, what torch counts."""
    command = [sys.executable, "-m", "tspsim.calibrate.oracle.moe", str(tmp_path), AGAIN]
    subprocess.run(command, check=True)
    header, *rows = (tmp_path / "moe.csv").read_text(encoding="utf-8").splitlines()
    kept = RECORDS.read_text(encoding="utf-8").splitlines()
    assert header == kept[0]
    assert rows == [line for line in kept if line.startswith(f"{AGAIN},")]


@needs_torch
@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "olmoe"])
def test_the_block_is_its_familys_definition(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one rank: token by token, the chosen experts' MLPs weighted, and the shared one gated."""
    import torch
    from torch.nn.functional import silu

    from tspsim.calibrate.oracle.moe import block

    monkeypatch.setattr(block, "_exchanged", lambda x, *_: x)
    shared = 12 if family == "qwen2_moe" else 0
    config = Config("small", family, 16, 4, 4, 6, 2, 8, shared, ranks=1)  # type: ignore[arg-type]
    torch.manual_seed(0)
    made = block.Block(config).double()
    x = torch.randn(9, 16, dtype=torch.float64)
    scores = made.gate(x).softmax(-1)
    weights, chosen = scores.topk(2)
    counts = chosen.flatten().bincount(minlength=6).tolist()

    def mlp(expert: torch.nn.Module, row: torch.Tensor) -> torch.Tensor:
        gate, up, down = (p.detach() for p in expert.parameters())
        return down @ (silu(gate @ row) * (up @ row))

    for token, row in enumerate(x):
        whole = weights[token].sum() if family == "mixtral" else 1.0
        wanted = sum(
            w / whole * mlp(made.experts[int(e)], row)
            for w, e in zip(weights[token], chosen[token], strict=True)
        )
        if shared:
            wanted += torch.sigmoid(made.shared_expert_gate(row)) * mlp(made.shared_expert, row)
        torch.testing.assert_close(made(x, counts)[token], wanted, rtol=1e-6, atol=1e-7)
