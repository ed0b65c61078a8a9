"""The same numbers of the program that would be simulated."""

from __future__ import annotations

import math

from tspsim.calibrate.oracle.moe.config import Config
from tspsim.calibrate.oracle.moe.record import Call, Record
from tspsim.experts import Experts, Router
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.by_rank import work_of
from tspsim.program.types import Operand, Programs
from tspsim.registry import STRATEGIES
from tspsim.routing import Routing


def program(config: Config) -> tuple[Programs, Mesh]:
    """Return the programs of a config's layer: replicas, and experts over all of them."""
    sizes = config.experts, config.active, config.width, config.shared, bool(config.shared)
    experts = Experts(*sizes, router=Router(normalise=config.normalise))
    model = ModelShape(
        config.hidden, 1, config.heads, config.kv_heads, config.width, experts=experts
    )
    routing = Routing("table", table=((0, config.counts),))
    workload = Workload(config.sequence, causal="off", routing=routing)
    strategy = STRATEGIES.get("fsdp")(dp=config.ranks, zero=0, experts={"over": ["dp"]})
    return strategy.record(model, workload, Optimizer()), strategy.mesh()


def simulate(config: Config, rank: int) -> Record:
    """Return what one rank computes, and sends from all to all."""
    programs, mesh = program(config)
    its = programs.of(rank)
    calls = tuple(
        Call(_bytes(op.inputs[0], mesh, rank), _bytes(op.outputs[0], mesh, rank))
        for op in its.ops
        if op.message is not None and op.message.collective == "all_to_all"
    )
    works = (work_of(op, mesh, rank) for op in its.ops)
    return Record(sum(work.flops for work in works if work), calls)


def _bytes(operand: Operand, mesh: Mesh, rank: int) -> int:
    return round(math.prod(operand.of_rank(mesh, rank)[1]) * operand.buffer.itemsize)
