"""What torch's FSDP2 was seen to do: its records are as torch makes them, and say what we say."""

from __future__ import annotations

import csv
import importlib.util
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tspsim.calibrate.oracle.fsdp.config import SUITE, Config
from tspsim.files.errors import TspsimError

RECORDS = Path(__file__).parent / "data" / "oracles"
FILES = ("fsdp2-events.csv", "fsdp2-peaks.csv")
CONFIGS = {config.name: config for config in SUITE}

#: Those that are run again here, each way to shard at its smallest; `docs/refresh.py oracles` runs
#: all. The padded one has plain modules, which take the least time.
AGAIN = ("reshard to 4 x1", "hsdp x1", "accumulate x1", "tsp inside x2", "padded x2")

Row = dict[str, str]


@cache
def recorded(name: str) -> dict[str, list[Row]]:
    """Return a file's rows by config."""
    found: dict[str, list[Row]] = {}
    with (RECORDS / name).open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["config"], []).append(row)
    return found


def events(config: Config) -> list[Row]:
    """Return a config's events."""
    return recorded(FILES[0])[config.name]


def passes(config: Config) -> tuple[list[Row], list[Row]]:
    """Return the events of the last forward and of the last backward."""
    found = events(config)
    ops = [row["op"] for row in found]
    first = max(i for i, op in enumerate(ops) if op == "forward") + 1
    first += ops[first] == "reshard"
    start = max((i for i in range(first) if ops[i] in {"backward", "reduce_scatter"}), default=0)
    return found[start:first], found[first:]


def calls(rows: list[Row], op: str, *, root: bool = False) -> list[Row]:
    """Return the calls of a kind, of layers or of the root."""
    return [row for row in rows if row["op"] == op and (row["layer"] == "root") == root]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="runs torch")
def test_torch_does_it_again(tmp_path: Path) -> None:
    """The records of these configs are, row by row, what torch does."""
    command = [sys.executable, "-m", "tspsim.calibrate.oracle.fsdp", str(tmp_path), *AGAIN]
    subprocess.run(command, check=True)
    for name in FILES:
        header, *rows = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        kept = (RECORDS / name).read_text(encoding="utf-8").splitlines()
        assert header == kept[0]
        assert {row.split(",")[0] for row in rows} == set(AGAIN)
        assert [row for row in kept if row.split(",")[0] in AGAIN] == rows


def test_every_config_has_its_records() -> None:
    """Both files hold the configs of the suite, in its order, and no other."""
    assert list(recorded(FILES[0])) == list(recorded(FILES[1])) == list(CONFIGS)
    for config in SUITE:
        (row,) = recorded(FILES[1])[config.name]
        assert Config.from_dict(config.to_dict()) == config
        assert (row["layers"], row["dp"]) == (str(config.job.layers), str(config.dp))


@pytest.mark.parametrize("config", SUITE, ids=lambda config: config.name)
def test_counts_are_the_closed_forms(config: Config) -> None:
    """L gathers forward, L, or none, backward, per micro-batch; L reductions a step."""
    found, layers = events(config), config.job.layers
    backward = 0 if config.reshard is False else 1
    wanted = {"all_gather": config.accumulate * layers * (1 + backward), "reduce_scatter": layers}
    wanted["all_reduce"] = layers if config.replicate > 1 else 0
    assert {op: len(calls(found, op)) for op in wanted} == wanted
    ends = 1 if config.vocab else 0
    assert len(calls(found, "all_gather", root=True)) == ends * config.accumulate
    assert len(calls(found, "reduce_scatter", root=True)) == ends


@pytest.mark.parametrize("config", SUITE, ids=lambda config: config.name)
def test_backward_gathers_exactly_one_group_ahead(config: Config) -> None:
    """The gather of layer i - 1 is issued when the weights of i are there, before its compute."""
    _, backward = passes(config)
    if config.reshard is False:
        assert not calls(backward, "all_gather")
        return
    order = [(row["op"], row["layer"]) for row in backward if row["op"] != "all_reduce"]
    last = config.job.layers - 1
    wanted = [("all_gather", str(last))] + [("backward", "root")] * bool(config.vocab)
    for layer in range(last, -1, -1):
        ahead = [("all_gather", str(layer - 1))] if layer else []
        wanted += [("unshard", str(layer)), *ahead]
        wanted += [(op, str(layer)) for op in ("backward", "reshard", "reduce_scatter")]
    wanted += [(op, "root") for op in ("reshard", "reduce_scatter") if config.vocab]
    assert order == [*wanted, ("optimizer", "root")]


@pytest.mark.parametrize("config", SUITE, ids=lambda config: config.name)
def test_forward_gathers_nothing_ahead(config: Config) -> None:
    """The root first, then every layer's gather right before its compute."""
    forward, _ = passes(config)
    order = [(row["op"], row["layer"]) for row in forward if row["op"] in {"all_gather", "forward"}]
    groups = ["root"] * bool(config.vocab) + [str(i) for i in range(config.job.layers)]
    pairs = [(op, group) for group in groups for op in ("all_gather", "forward")]
    assert order == pairs


def padded(config: Config) -> int:
    """Return the elements of a layer's tensors, every tensor's rows padded to the group."""
    job = config.job
    kv = job.hidden // job.heads * job.kv_heads
    matrices = [(job.hidden, job.hidden)] * 2 + [(kv, job.hidden)] * 2
    matrices += [(job.ffn, job.hidden)] * 2 + [(job.hidden, job.ffn)]
    rows = [(2 * job.hidden, 1)] if job.source == "reference" else [(job.hidden, 1)] * 2
    if job.source == "reference":  # flat: attention's, and the MLP's, in one tensor each
        sizes = [a * b // job.ranks for a, b in matrices]
        rows += [(sum(sizes[:4]), 1), (sum(sizes[4:]), 1)]
    else:
        rows += matrices
    return sum(-(-a // config.shards) * config.shards * b for a, b in rows)


@pytest.mark.parametrize("config", SUITE, ids=lambda config: config.name)
def test_messages_are_padded_tensors_in_the_type_that_travels(config: Config) -> None:
    """Gathers and reductions of a layer have these bytes, over these ranks."""
    size = {"fp32": 4, "bf16": 2}
    gathered = padded(config) * size[config.param_dtype or config.job.dtype]
    reduced = padded(config) * size[config.reduce_dtype or config.job.dtype]
    forward, backward = passes(config)
    n = config.reshard if type(config.reshard) is int else config.shards
    for rows, op, ranks, wanted in (
        (forward, "all_gather", config.shards, gathered),
        (backward, "all_gather", n, gathered),
        (backward, "reduce_scatter", config.shards, reduced),
        (backward, "all_reduce", config.replicate, reduced // config.shards),
    ):
        found = Counter((int(row["ranks"]), int(row["bytes"])) for row in calls(rows, op))
        assert set(found) <= {(ranks, wanted)}
    assert calls(backward, "reduce_scatter")


@pytest.mark.parametrize("config", SUITE, ids=lambda config: config.name)
def test_the_peak_is_the_highest_of_the_events(config: Config) -> None:
    """Both files tell of one step: the peak is where `during` says, and the sum of its kinds."""
    (row,) = recorded(FILES[1])[config.name]
    highest = max(events(config), key=lambda event: int(event["alive"]))
    assert row["during"] == f"{highest['op']} {highest['layer']}"
    assert int(row["Total"]) == int(highest["alive"])
    kinds = list(row)[list(row).index("Sharded Param") : -1]
    assert sum(int(row[kind]) for kind in kinds) == int(row["Total"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"replicate": 3}, "3 does not divide dp 8"),
        ({"tied": True}, "two tensors"),
        ({"job": replace(CONFIGS["plain x2"].job, options=(("degree", 2),))}, "no parallelism"),
    ],
)
def test_what_cannot_be_run_is_refused(change: dict[str, object], told: str) -> None:
    """Before torch is started."""
    with pytest.raises(TspsimError, match=told):
        replace(CONFIGS["reshard x2"], **change)
