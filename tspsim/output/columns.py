"""What the tables and the trace say of an op beside its times: flops, bytes, message."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.mesh import Mesh
from tspsim.program.types import Lane, Op, PerCoordinate


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
        degree = lane.size or mesh.degree(lane.axis or "")
        return Figures(0, 0, op.message.bytes, op.message.received(degree))
    work = op.work
    if isinstance(work, PerCoordinate):
        work = work.works[mesh.coordinate(rank, work.axis)]
    return Figures(work.flops, work.bytes, 0, 0.0) if work else Figures(0, 0, 0, 0.0)


def varies(op: Op) -> bool:
    """Tell whether an op's sizes differ from rank to rank."""
    return isinstance(op.work, PerCoordinate)
