"""Small scenarios, most of them right: every strategy, fabric, option and disturbance."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

from tests.fuzzing import values
from tests.fuzzing.case import SCENARIO, Case
from tests.fuzzing.topologies import DTYPES, profile, topology
from tspsim.registry import COLLECTIVES

Tree = dict[str, Any]

#: How often a scenario has a slip of the pen in it.
_WRONG = 0.12
_MOST_RANKS = 16


def case(rng: Random, folder: Path, _bases: Path) -> Case:
    """Return a command for a scenario that is as a rule a right one."""
    document: Any = scenario(rng)
    wrong = rng.random() < _WRONG
    if wrong:
        document = values.mutated(rng, document)
    write(folder / SCENARIO, document)
    if rng.random() < 0.8:
        more = ("--fail-on-oom",) if rng.random() < 0.3 else ()
        return Case(("run", SCENARIO, "--json", *more), None if wrong else document)
    other = rng.choice((("show",), ("check",), ("explain", "--quick"), ("run",),
                        ("goodput", "--runs", "3")))  # fmt: skip
    return Case((other[0], SCENARIO, *other[1:]))


def write(path: Path, document: Any) -> None:
    """Write a tree as YAML."""
    with path.open("w", encoding="utf-8", errors="surrogatepass") as file:
        YAML(typ="safe", pure=True).dump(document, file)


def scenario(rng: Random) -> Tree:
    """Return a scenario of a few layers on at most 16 devices."""
    strategy, axes = _strategy(rng)
    ranks = math.prod(axes.values())
    found: Tree = {
        "name": "fuzz",
        "model": _model(rng, axes),
        "workload": _workload(rng, axes),
        "strategy": strategy,
        "topology": topology(rng, ranks),
        "network": _network(rng),
    }
    if found["workload"]["causal"] != "off" and rng.random() < 0.2:
        found["model"]["window"] = rng.choice((1, 3, 64, 100_000))
    if rng.random() < 0.3:
        found["timing"] = {"profile": profile(rng)}
    if rng.random() < 0.3:
        found["optimizer"] = _optimizer(rng)
    if rng.random() < 0.2:
        found["memory"] = {"reserved": rng.choice(("0 B", "256 KiB", "1 GiB"))}
    if rng.random() < 0.35:
        found["disturbances"] = _disturbances(rng, ranks)
    return found


def _strategy(rng: Random) -> tuple[Tree, dict[str, int]]:
    """Return the keys of ``strategy:`` and the degrees of its axes."""
    kind = rng.choice(("tp", "sp", "tp_sp", "tsp"))
    names = ("tp", "sp") if kind == "tp_sp" else (kind,)
    axes = {name: rng.choice((1, 2, 2, 4, 4, 3, 8)) for name in names}
    while math.prod(axes.values()) > _MOST_RANKS:
        axes[names[-1]] //= 2
    options: Tree = {"kind": kind, **(axes if kind == "tp_sp" else {"degree": axes[kind]})}
    options |= _options(rng, kind)
    if rng.random() < 0.4:
        dp = rng.randint(1, _MOST_RANKS // math.prod(axes.values()))
        axes["dp"] = options["dp"] = dp
        options |= {"zero": rng.randint(0, 1), "bucket": rng.choice(("0 B", "64 KiB", "25 MiB"))}
        if rng.random() < 0.5:
            options["placement"] = rng.sample(list(axes), len(axes))
    return options, axes


def _options(rng: Random, kind: str) -> Tree:
    found: Tree = {"keep_gathered_kv": rng.random() < 0.2}
    if kind != "sp":
        found["replicate_kv_heads"] = rng.random() < 0.7
    if kind in ("tp", "tp_sp"):
        found["sequence_parallel"] = rng.random() < 0.5
    if kind in ("sp", "tp_sp"):
        found["kv"] = rng.choice(("all_gather", "ring", "ulysses"))
        found["keep_gathered_kv"] &= found["kv"] == "all_gather"
    if kind == "tsp":
        found |= {"slots": rng.randint(2, 4), "lookahead": rng.randint(0, 3),
                  "head_buckets": rng.choice((1, 1, 2)),
                  "share_recompute": rng.random() < 0.5}  # fmt: skip
    return found


def _model(rng: Random, axes: dict[str, int]) -> Tree:
    cut = math.prod(degree for name, degree in axes.items() if name != "dp")
    kv_heads = rng.choice((cut, 2 * cut, 2 * cut, max(1, cut // 2)))
    heads = math.lcm(kv_heads, 2 * cut) * rng.choice((1, 1, 3))
    width = rng.choice((2, 16, 64))
    found: Tree = {
        "hidden": heads * width, "layers": rng.choice((1, 1, 2, 3)), "heads": heads,
        "kv_heads": kv_heads, "ffn": cut * rng.choice((1, 7, 256)),
        "vocab": cut * rng.choice((0, 0, 1, 100, 4096)), "mlp": rng.choice(("gated", "plain")),
        "norm": rng.choice(("rmsnorm", "layernorm")), "qkv_bias": rng.random() < 0.2,
        "attention_bias": rng.random() < 0.1, "mlp_bias": rng.random() < 0.2,
    }  # fmt: skip
    if rng.random() < 0.2:
        found |= {"head_dim": width, "hidden": rng.choice((8, 64, 1000))}
    return found | {"tied": bool(found["vocab"]) and rng.random() < 0.3}


def _workload(rng: Random, axes: dict[str, int]) -> Tree:
    cut = math.prod(degree for name, degree in axes.items() if name != "dp")
    return {
        "sequence": 2 * cut * rng.choice((1, 4, 64, 4096)), "batch": rng.choice((1, 1, 2, 3)),
        "micro_batches": rng.choice((1, 1, 1, 2)), "phase": rng.choice(("train", "forward")),
        "dtype": rng.choice(DTYPES), "recompute": rng.choice(("none", "selective", "full")),
        "causal": rng.choice(("zigzag", "contiguous", "off")), "logits_chunks": rng.choice((1, 2)),
    }  # fmt: skip


def _network(rng: Random) -> Tree:
    algorithm = "auto" if rng.random() < 0.8 else rng.choice(COLLECTIVES.names())
    detail = rng.choice(("coflow", "coflow", "coflow", "steps"))
    sharing = rng.choice(("fair", "fair", "fifo"))
    return {"algorithm": algorithm, "detail": detail, "sharing": sharing}


def _optimizer(rng: Random) -> Tree:
    sizes: Tree = {"weight": rng.choice((1, 2, 4)), "gradient": rng.choice((0, 2, 4))}
    sizes |= {"moments": rng.choice((0, 1.5, 8)), "extra": rng.choice((0, 3))}
    return {"kind": "made-up", "bytes_per_parameter": sizes, "temporary": rng.choice((0, 4.0))}


def _disturbances(rng: Random, ranks: int) -> Tree:
    found: Tree = {"seed": rng.randrange(10)}
    if rng.random() < 0.6:
        found["slow_devices"] = [
            {"device": rng.randrange(ranks), "speed": rng.choice((0.1, 0.75, 1.0))}
        ]
    if rng.random() < 0.3 and ranks > 1:
        change = rng.choice(({"speed": 0.5}, {"lost": True}, {"latency": "5 us"},
                             {"bandwidth": "3 GB/s", "one_way": True}))  # fmt: skip
        found["links"] = [{"link": [0, 1], **change}]
    if rng.random() < 0.4:
        found["jitter"] = {
            "compute": {"kind": "lognormal", "sigma": 0.2},
            "links": rng.choice(({"kind": "exponential", "mean": 0.1},
                                 {"kind": "uniform", "low": 0.9, "high": 1.5})),
        }  # fmt: skip
    if rng.random() < 0.4:
        found["failures"] = [{"device": rng.randrange(ranks), "at": "2 h"}]
        found["reliability"] = {"horizon": "1 d", "restart": "5 min", "mtbf": "1000 h",
                                "checkpoint": {"time": "30 s"}}  # fmt: skip
    return found
