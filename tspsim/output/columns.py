"""What the tables and the trace say of an op beside its times: flops, bytes, message."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.mesh import Mesh
from tspsim.program.by_rank import received, work_of
from tspsim.program.types import Lane, Op, PerCoordinate
from tspsim.program.varying import Varying


class Figures(NamedTuple):
    """The sizes of one op on one rank.

    Attributes
    ----------
    flops : int
        Matrix flops; 0 for communication.
    bytes : int
        Bytes read from and written to device memory by a compute op; 0 for communication.
    message : int
        Bytes of the whole message of a communication op; 0 for compute.
    received : float
        Bytes of it that the rank receives.
    """

    flops: int
    bytes: int
    message: int
    received: float


def figures(op: Op, lane: Lane, mesh: Mesh, rank: int) -> Figures:
    """Return the sizes of an op as a rank plays it."""
    if op.message is not None:
        size = op.message.of_rank(mesh, rank).bytes
        return Figures(0, 0, size, received(op.message, lane, mesh, rank))
    work = work_of(op, mesh, rank)
    return Figures(work.flops, work.bytes, 0, 0.0) if work else Figures(0, 0, 0, 0.0)


def varies(op: Op) -> bool:
    """Tell whether an op's sizes differ from rank to rank."""
    if op.message is not None:
        return isinstance(op.message.bytes, Varying)
    return isinstance(op.work, PerCoordinate)
