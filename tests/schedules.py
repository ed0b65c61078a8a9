"""Small schedules that the tests of strategies share: every strategy, with its options."""

from __future__ import annotations

from typing import Any

from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.types import Op, Program, Programs
from tspsim.registry import STRATEGIES

#: Every strategy at degree 4 with each of its options: (kind, options).
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("tsp", {"degree": 4}),
    ("tsp", {"degree": 4, "head_buckets": 2}),
    ("tsp", {"degree": 4, "lookahead": 0}),
    ("tsp", {"degree": 4, "lookahead": 2, "slots": 3}),
    ("tsp", {"degree": 4, "share_recompute": False}),
    ("tsp", {"degree": 4, "keep_gathered_kv": True}),
    ("tp", {"degree": 4}),
    ("tp", {"degree": 4, "sequence_parallel": True}),
    ("tp", {"degree": 4, "keep_gathered_kv": True}),
    ("sp", {"degree": 4}),
    ("sp", {"degree": 4, "keep_gathered_kv": True}),
    ("sp", {"degree": 4, "kv": "ring"}),
    ("sp", {"degree": 4, "kv": "ulysses"}),
    ("sp", {"degree": 4, "kv": "usp", "ulysses_degree": 2}),
    ("tp_sp", {"tp": 2, "sp": 2}),
    ("tp_sp", {"tp": 2, "sp": 2, "sequence_parallel": True, "kv": "ring"}),
    ("tp_sp", {"tp": 2, "sp": 2, "kv": "ulysses"}),
    ("tp_sp", {"tp": 1, "sp": 4, "kv": "usp", "ulysses_degree": 2}),
    ("tp_sp", {"tp": 4, "sp": 1}),
    ("fsdp", {"dp": 4}),
)


def title(variant: tuple[str, dict[str, Any]]) -> str:
    """Return a readable test id."""
    kind, options = variant
    return "-".join([kind, *(f"{k}={v}" for k, v in options.items())])


def options(kind: str, **values: Any) -> Any:
    """Return the options of a strategy."""
    return STRATEGIES.get(kind)(**values)


def record(
    variant: tuple[str, dict[str, Any]],
    model: ModelShape,
    workload: Workload,
    optimizer: Optimizer | None = None,
) -> tuple[Programs, Mesh]:
    """Return a variant's programs and mesh; its options must suit the model."""
    kind, values = variant
    chosen = options(kind, **values)
    problems = list(chosen.problems(model, workload))
    assert not problems, problems
    return chosen.record(model, workload, optimizer or Optimizer()), chosen.mesh()


def program(
    variant: tuple[str, dict[str, Any]], model: ModelShape, workload: Workload
) -> tuple[Program, Mesh]:
    """Return the one program that all ranks of a variant play."""
    programs, mesh = record(variant, model, workload)
    assert len(programs.roles) == 1
    return programs.roles[0], mesh


def degree_of(op: Op, program: Program, mesh: Mesh) -> int:
    """Return the number of members of the communicator that an op runs on."""
    lane = program.lanes[op.lane]
    assert lane.axis is not None
    return lane.size or mesh.degree(lane.axis)


def received(
    program: Program, mesh: Mesh, phases: tuple[str, ...], leave_out: tuple[str, ...] = ()
) -> float:
    """Return the elements that a rank receives in some phases, by the labels not left out."""
    return sum(
        op.message.received(degree_of(op, program, mesh)) / op.inputs[0].buffer.itemsize
        for op in program.ops
        if op.message and op.phase in phases and op.label not in leave_out
    )
