"""Steps of inference of a large model's layer, counted by torch, against their programs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

import inference_table
from tspsim.calibrate.oracle.inference.config import SUITE, Config
from tspsim.calibrate.oracle.inference.record import Record, read
from tspsim.calibrate.oracle.inference.simulated import own_keys, simulate
from tspsim.calibrate.oracle.inference.table import table, whole_cache

RECORDS = Path(__file__).parent / "data" / "oracles" / "inference.csv"
CONFIGS = {config.name: config for config in SUITE}

#: Run again here; `docs/refresh.py oracles` runs all.
AGAIN = "prefill tsp", "decode tsp, uneven"

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="runs torch")


@cache
def recorded() -> dict[tuple[str, int], Record]:
    """Return what torch counted, by config and rank."""
    return read(RECORDS)


simulated = cache(simulate)


@pytest.mark.parametrize("name", CONFIGS)
def test_messages_are_torchs(name: str) -> None:
    """Communicator, kind and bytes of every one, in the order of issue."""
    config = CONFIGS[name]
    for rank in config.looked_at:
        assert simulated(config, rank).calls == recorded()[name, rank].calls


@pytest.mark.parametrize("name", CONFIGS)
def test_the_cache_is_what_torch_keeps(name: str) -> None:
    """Not nearly: the bytes of the tensors that hold keys and values behind the step."""
    config = CONFIGS[name]
    for rank in config.looked_at:
        assert simulated(config, rank).cache == recorded()[name, rank].cache


@pytest.mark.parametrize("name", CONFIGS)
def test_flops_are_torchs_but_for_own_keys(name: str) -> None:
    """The same number, after half a pair for every token that comes singly, and no others."""
    config = CONFIGS[name]
    for rank in config.looked_at:
        counted, named = recorded()[name, rank].flops, own_keys(config, rank)
        assert simulated(config, rank).flops + named == counted
        assert named < 1e-5 * counted
        assert not named or config.decodes


def test_the_records_are_those_of_the_suite() -> None:
    """First and last rank of all configs, and no others."""
    assert set(recorded()) == {(c.name, rank) for c in SUITE for rank in c.looked_at}


def rounded(config: Config) -> int:
    """Return the bytes of a cache whose ranks have as many places each for every sequence.

    By the definition: of a prompt in chunks as many as the longest rank's, and one more for as many
    tokens behind it as there are ranks.
    """
    chunks = config.spread * (2 if config.causal == "zigzag" and config.spread > 1 else 1)
    places = 0
    for request in config.requests:
        behind = request.decoded + request.new * request.decodes
        pieces = (*request.parts, 0 if request.decodes else request.new)
        places += sum(-(-piece // chunks) * chunks for piece in pieces)
        places += -(-behind // config.spread) * config.spread
    tokens = sum(request.length for request in config.requests)
    return whole_cache(config) // tokens * places


@pytest.mark.parametrize("name", CONFIGS)
def test_all_ranks_together_hold_every_token_once(name: str) -> None:
    """2 x layers x heads x width x tokens x bytes: often where heads are repeated, and padded."""
    config = CONFIGS[name]
    together = config.ranks * recorded()[name, 0].cache
    repeated = config.copies if config.strategy in ("tp", "tp_sp") else 1
    assert together == repeated * rounded(config)
    assert 1 <= together / repeated / whole_cache(config) < 1.005
    if name.startswith("prefill"):
        assert together == whole_cache(config)


def test_what_is_done_otherwise_is_found() -> None:
    """The comparison can fail: one token more in a cache, other heads, queries that travel."""
    config = CONFIGS["decode sp"]
    wanted, first = simulate(config, 0), config.requests[0]
    longer = replace(config, requests=(replace(first, decoded=8), *config.requests[1:]))
    assert simulate(longer, 0).cache > wanted.cache
    assert simulate(longer, 0).flops > wanted.flops
    assert simulate(longer, 0).calls == wanted.calls
    passing = replace(config, options=(*config.options, ("passes", "kv")))
    assert simulate(passing, 0).calls != wanted.calls
    fewer = replace(config, model=replace(config.model, kv_heads=4))
    assert simulate(fewer, 0).cache == wanted.cache // 2


def test_the_page_shows_the_records() -> None:
    """docs/oracles.md has the table of what was counted; nothing in it is off."""
    page = inference_table.PAGE.read_text(encoding="utf-8")
    assert inference_table.renewed(page) == page, "python docs/refresh.py oracles"
    assert "**" not in table(read(RECORDS))


@needs_torch
def test_torch_does_it_again(tmp_path: Path) -> None:
    """The records of these configs are, row by row, what torch counts."""
    command = [sys.executable, "-m", "tspsim.calibrate.oracle.inference", str(tmp_path), *AGAIN]
    subprocess.run(command, check=True)
    header, *rows = (tmp_path / "inference.csv").read_text(encoding="utf-8").splitlines()
    kept = RECORDS.read_text(encoding="utf-8").splitlines()
    assert header == kept[0]
    names = {str(record[0]) for record in recorded()}
    assert set(AGAIN) <= names
    assert sorted(rows) == sorted(line for line in kept if _name(line) in AGAIN)


def _name(line: str) -> str:
    quoted = line.startswith('"')
    return line[1:].split('"')[0] if quoted else line.split(",")[0]
