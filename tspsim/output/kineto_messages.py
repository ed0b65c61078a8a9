"""Communication as torch's profiler tells it: collective, numbers of elements, type, group."""

from __future__ import annotations

from typing import Any, NamedTuple

from tspsim.mesh import Mesh
from tspsim.program.by_rank import received
from tspsim.program.types import Lane, MessageKind, Op


class _Called(NamedTuple):
    """A collective in the words of NCCL's kernels, and of torch."""

    nccl: str
    torch: str


_CALLED: dict[MessageKind, _Called] = {
    "all_reduce": _Called("AllReduce", "allreduce"),
    "all_gather": _Called("AllGather", "_allgather_base"),
    "reduce_scatter": _Called("ReduceScatter", "_reduce_scatter_base"),
    "broadcast": _Called("Broadcast", "broadcast"),
    "reduce": _Called("Reduce", "reduce"),
    "all_to_all": _Called("SendRecv", "all_to_allv"),
    "shift": _Called("SendRecv", "sendrecv"),
    "send": _Called("SendRecv", "send"),
    "receive": _Called("SendRecv", "recv"),
}

#: Types by the bytes of an element, where the workload does not say it.
_BY_SIZE = {1: "Byte", 2: "BFloat16", 4: "Float", 8: "Double"}
_TYPES = {"bf16": "BFloat16", "fp16": "Half"}


def kernel(collective: MessageKind) -> str:
    """Return the name of the kernel that carries a collective.

    With the prefix of NCCL up to 2.18, since the straggler analysis of HTA 0.5.0 knows no other.
    """
    return f"ncclKernel_{_CALLED[collective].nccl}"


def about(op: Op, lane: Lane, mesh: Mesh, rank: int, dtype: str) -> dict[str, Any]:
    """Return what torch's profiler says of a call.

    Parameters
    ----------
    op : Op
        Of communication.
    lane : Lane
    mesh : Mesh
    rank : int
    dtype : str
        Of the workload: elements of two bytes are of it.
    """
    assert op.message is not None
    ranks = lane.members(mesh, rank)
    itemsize = op.outputs[0].buffer.itemsize if op.outputs else op.inputs[0].buffer.itemsize
    given, got = _bytes(op, lane, mesh, rank)
    if itemsize not in _BY_SIZE or given % itemsize or got % itemsize:
        itemsize = 1
    size = int(itemsize)
    return {
        "Collective name": _CALLED[op.message.collective].torch,
        "In msg nelems": given // size,
        "Out msg nelems": got // size,
        "Group size": len(ranks),
        "dtype": _TYPES.get(dtype, "BFloat16") if size == 2 else _BY_SIZE[size],
        "Process Group Ranks": str(list(ranks)),
        **_partners(op, ranks, rank),
    }


def _bytes(op: Op, lane: Lane, mesh: Mesh, rank: int) -> tuple[int, int]:
    """Return the bytes of the tensors that a call is given and that it fills."""
    assert op.message is not None
    message = op.message.of_rank(mesh, rank)
    part = message.bytes // len(lane.members(mesh, rank))
    if message.collective == "all_gather":
        return part, message.bytes
    if message.collective == "reduce_scatter":
        return message.bytes, part
    if message.collective == "shift":
        return message.bytes, int(received(op.message, lane, mesh, rank))
    if message.collective == "receive":
        return (int(received(op.message, lane, mesh, rank)),) * 2
    return message.bytes, message.bytes


def _partners(op: Op, ranks: tuple[int, ...], rank: int) -> dict[str, int]:
    """Return root, or to whom and from whom a hop goes."""
    assert op.message is not None
    message, place = op.message, ranks.index(rank)
    if message.root is not None:
        return {"Root Rank": ranks[message.root]}
    ahead, behind = (ranks[(place + way * message.offset) % len(ranks)] for way in (1, -1))
    hops: dict[str, dict[str, int]] = {
        "shift": {"Dst Rank": ahead, "Src Rank": behind},
        "send": {"Dst Rank": ahead},
        "receive": {"Src Rank": ahead},
    }
    return hops.get(message.collective, {})
