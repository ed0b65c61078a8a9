"""What of a program is due to experts: what they compute and say, and what ranks keep of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal

from tspsim.mesh import Mesh
from tspsim.program.remembered import remembered
from tspsim.program.residents import made_for
from tspsim.program.types import BufferKind, Op, PerCoordinate, Program
from tspsim.program.varying import of_rank, varies
from tspsim.schedules.orders.actions import Action

#: What the weights of a layer's experts are called.
EXPERTS = "experts"
#: Op kinds that weigh, sort and add up the rows of tokens that go to experts.
ROUTING = frozenset({
    "gate", "gate_backward", "permute", "permute_backward", "combine", "combine_backward",
    "arrange",
})  # fmt: skip

#: What all-to-alls of rows are called.
_TRAVEL = frozenset({"dispatch", "combine"})

#: What an op does for experts: their matrix products; work on the rows of tokens that go to them;
#: rows, weights or gradients on their way.
Part = Literal["products", "rows", "communication"]


def part_of(op: Op) -> Part | None:
    """Return what an op does for experts; None where it is nothing, or as in a dense MLP."""
    if op.kind.name == "grouped_matmul":
        return "products"
    if op.kind.name in ROUTING:
        return "rows"
    travels = op.message is not None and (op.label in _TRAVEL or EXPERTS in op.label)
    return "communication" if travels else None


def uneven(op: Op) -> bool:
    """Whether ranks compute differently much because of how tokens spread over experts."""
    if not isinstance(op.work, PerCoordinate):
        return False
    return op.kind.name == "grouped_matmul" or any(varies(o.shape) for o in op.inputs)


def expert_states(program: Program, mesh: Mesh, rank: int) -> dict[BufferKind, int]:
    """Return the resident bytes of experts on a rank, by kind: weights, gradients, states."""
    found: dict[BufferKind, int] = defaultdict(int)
    for buffer in program.buffers:
        if made_for(buffer, EXPERTS):
            found[buffer.kind] += of_rank(buffer.bytes, mesh, rank)
    return dict(found)


@remembered
def expert_layers(program: Program) -> dict[int, tuple[Op, ...]]:
    """Return, by layer with experts, the ops of the first micro-batch's forward through it."""
    found: dict[int, tuple[Action, list[Op]]] = {}
    for action, first, stop in program.actions:
        if action.kind == "F":
            for op in program.ops[first:stop]:
                if op.layer is not None:
                    through, ops = found.setdefault(op.layer, (action, []))
                    if through == action:
                        ops.append(op)
    return {n: tuple(own) for n, (_, own) in found.items() if any(map(_gates, own))}


def _gates(op: Op) -> bool:
    return op.kind.name == "gate"
