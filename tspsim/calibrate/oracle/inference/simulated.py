"""The same numbers of the program that would be simulated."""

from __future__ import annotations

from typing import Literal

from tspsim.calibrate.oracle.inference.config import Config
from tspsim.calibrate.oracle.inference.record import Call, Record
from tspsim.mesh import Mesh
from tspsim.model import Optimizer, Workload
from tspsim.program.by_rank import work_of
from tspsim.program.types import Op, Programs
from tspsim.program.varying import of_rank
from tspsim.registry import STRATEGIES
from tspsim.requests import CacheForm, Requests

#: Lanes that the reference has as one: their messages have one order there.
_JOINED = {"q": "kv", "tokens": "activations"}


def program(config: Config) -> tuple[Programs, Mesh]:
    """Return the programs of a config's step, with a cache whose pages hold one token."""
    requests = Requests(config.requests, CacheForm(block=1))
    phase: Literal["prefill", "decode"] = "decode" if config.decodes else "prefill"
    workload = Workload(requests.new, phase=phase, causal=config.causal, requests=requests)
    strategy = STRATEGIES.get(config.strategy)(**dict(config.options))
    return strategy.record(config.model, workload, Optimizer()), strategy.mesh()


def simulate(config: Config, rank: int) -> Record:
    """Return what one rank computes, keeps and sends."""
    programs, mesh = program(config)
    its = programs.of(rank)
    works = (work_of(op, mesh, rank) for op in its.ops)
    held = (of_rank(b.bytes, mesh, rank) for b in its.buffers if b.kind == "kv_cache")
    calls = tuple(_call(op, its.lanes[op.lane].name) for op in its.ops if op.message)
    return Record(sum(work.flops for work in works if work), round(sum(held)), calls)


def _call(op: Op, name: str) -> Call:
    assert op.message is not None
    axis, lane = name.split("/")
    name = f"{axis}/{_JOINED.get(lane, lane)}"
    return Call(name, op.message.collective, round(op.message.bytes))


def own_keys(config: Config, rank: int) -> int:
    """Return the flops by which torch's count of a step is larger.

    A token that comes alone meets all keys in one call, its own among them. The simulator counts
    the causal half of every square, so that of a token's own key, in every step, half.
    """
    if not config.decodes:
        return 0
    coordinate = rank // (config.ranks // config.spread)
    turns = [(n + r.decoded) % config.spread for n, r in enumerate(config.requests)]
    heads = config.model.heads // (1 if config.strategy == "tsp" else config.cut)
    half = 2 * config.model.head_dim
    return config.model.layers * turns.count(coordinate) * heads * half
