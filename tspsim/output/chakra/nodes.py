"""What a rank does, as nodes of an execution trace.

Every op is a node, loops over layers and micro-batches unrolled; a hop of a shift is two, its send
and its receive. Op i is node 2i, the receive of a shift 2i + 1. A node depends on the ops that its
op waits for and on the one before it on its stream; all of it stands in ``data_deps``, as not every
feeder reads ``ctrl_deps``.

What attributes mean, and which of protobuf's types they have, is what ASTRA-sim's feeders read
(``et_feeder_node.cpp`` of Chakra 0.0.4, ``feeder_v3`` of ASTRA-sim) and what its collectives do
(``Ring.cc``). See ``docs/exports.md``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.tasks import predecessors, shape_of
from tspsim.engine.timeline import Timeline
from tspsim.mesh import PP
from tspsim.output.chakra.numbers import Groups, Tags
from tspsim.output.chakra.schema import messages
from tspsim.program.by_rank import work_of
from tspsim.program.columns import columns_of
from tspsim.program.remembered import remembered
from tspsim.program.types import NO_WORK, Message, Op, Program
from tspsim.program.varying import of_rank

#: The types that both feeders read.
_TYPES = {
    "is_cpu_op": "bool_val",
    "num_ops": "int64_val", "tensor_size": "uint64_val",
    "comm_type": "int64_val", "comm_size": "int64_val", "comm_priority": "int32_val",
    "comm_src": "int32_val", "comm_dst": "int32_val", "comm_tag": "int32_val",
    "pg_name": "string_val", "root": "int32_val", "seconds": "double_val",
}  # fmt: skip


class RankNodes:
    """The nodes of one rank, as bytes with their length in front.

    Parameters
    ----------
    timeline : Timeline
    rank : int
    groups : Groups
    tags : Tags
        As the groups, shared by all ranks.
    alike : dict of int to bytes
        By op, the nodes that say the same for other ranks: those of compute, of ranks that share
        program, times and sizes. What is missing is added.
    """

    def __init__(
        self, timeline: Timeline, rank: int, groups: Groups, tags: Tags, alike: dict[int, bytes]
    ) -> None:
        self._mesh, self._rank, self._groups, self._tags = timeline.mesh, rank, groups, tags
        self._program, self._alike = (program := timeline.programs.of(rank)), alike
        self._members = [lane.members(self._mesh, rank) for lane in program.lanes]
        self._ordinals, self._before = shape_of(program).ordinals, _before(program)
        self._start, self._seconds = timeline.start[rank], timeline.end[rank] - timeline.start[rank]
        self._staged = self._mesh.degree(PP) > 1

    def __iter__(self) -> Iterator[bytes]:
        """Yield the nodes in the order in which the ops are issued."""
        starts = np.floor(self._start * 1e6).astype(np.int64).tolist()
        exact, rounded = self._seconds.tolist(), _durations(self._program, self._seconds)
        twice = set[int]()  # ops of two nodes: both are awaited
        for op in self._program.ops:
            if op.index in self._alike:
                yield self._alike[op.index]
                continue
            nodes, at = list(self._nodes(op)), op.index
            for node in nodes:
                for before in self._before[at]:
                    node.data_deps.append(2 * before)
                    if before in twice:
                        node.data_deps.append(2 * before + 1)
                node.start_time_micros, node.duration_micros = starts[at], rounded[at]
                _add(node, seconds=exact[at])
            if len(nodes) > 1:
                twice.add(at)
            yield self._written(op, nodes)

    def _written(self, op: Op, nodes: list[Any]) -> bytes:
        from google.protobuf.proto import serialize_length_prefixed

        stream = io.BytesIO()
        for node in nodes:
            serialize_length_prefixed(node, stream)
        found = stream.getvalue()
        if op.message is None:
            self._alike[op.index] = found
        return found

    def _meets(self, op: Op) -> bool:
        """Whether communication needs somebody else."""
        message, degree = op.message, len(self._members[op.lane])
        return (
            message is not None and degree > 1 and not (message.hop and not message.offset % degree)
        )

    def _nodes(self, op: Op) -> Iterator[Any]:
        message = op.message
        if message is None or not self._meets(op):
            yield self._compute(op)
        elif not message.hop:
            yield self._collective(op, message)
        else:
            if message.collective != "receive":
                yield self._send(op, message)
            if message.collective != "send":
                yield self._receive(op, message)

    def _compute(self, op: Op) -> Any:
        """Return a node of work; without matrix flops the roofline needs one, to divide by it."""
        work = work_of(op, self._mesh, self._rank) or NO_WORK
        lane = self._program.lanes[op.lane]
        node = self._node(op, "COMP_NODE", is_cpu_op=op.lane > 0 and lane.axis is None)
        return _add(node, num_ops=max(1, work.flops), tensor_size=max(1, work.bytes))

    def _collective(self, op: Op, message: Message) -> Any:
        members = self._members[op.lane]
        size = max(of_rank(message.bytes, self._mesh, rank) for rank in members)
        if message.collective == "all_gather":
            size = -(-size // len(members))
        node = self._node(op, "COMM_COLL_NODE", comm_priority=0)
        kind = messages().CollectiveCommType[message.collective.upper()]
        name = self._groups.name(self._program.lanes[op.lane].name, members)
        _add(node, comm_type=kind, comm_size=max(1, size), pg_name=name)
        return node if message.root is None else _add(node, root=members[message.root])

    def _send(self, op: Op, message: Message) -> Any:
        node = self._node(op, "COMM_SEND_NODE")
        return self._hop(node, op, message, self._rank, self._partner(op, message.offset))

    def _receive(self, op: Op, message: Message) -> Any:
        shift = message.collective == "shift"
        sender = self._partner(op, -message.offset if shift else message.offset)
        node = self._node(op, "COMM_RECV_NODE", second=shift)
        return self._hop(node, op, message, sender, self._rank)

    def _partner(self, op: Op, offset: int) -> int:
        members = self._members[op.lane]
        return members[(members.index(self._rank) + offset) % len(members)]

    def _hop(self, node: Any, op: Op, message: Message, sender: int, receiver: int) -> Any:
        channel = message.channel or self._program.lanes[op.lane].name
        tag = self._tags.of(sender, receiver, channel, self._ordinals[op.index])
        size = max(1, message.of_rank(self._mesh, sender).bytes)
        return _add(node, comm_src=sender, comm_dst=receiver, comm_tag=tag, comm_size=size)

    def _node(self, op: Op, kind: str, *, second: bool = False, **attributes: Any) -> Any:
        schema = messages()
        name = f"{op.name}, micro-batch {op.micro_batch}" if self._staged else op.name
        node = schema.Node(id=2 * op.index + second, name=name, type=schema.NodeType[kind])
        return _add(node, **{"is_cpu_op": False} | attributes)


def _add(node: Any, **attributes: Any) -> Any:
    """Add attributes to a node, and return it."""
    for name, value in attributes.items():
        node.attr.add(name=name, **{_TYPES[name]: value})
    return node


@remembered
def _before(program: Program) -> list[list[int]]:
    """Return, by op, the ops that it comes after."""
    return [sorted(ops) for ops in predecessors(program)]


def _durations(program: Program, seconds: NDArray[np.float64]) -> list[int]:
    """Return durations in whole microseconds: the format has no others.

    What a stream computes adds up to its rounded sum, so that rounding does not.
    """
    columns, found = columns_of(program), np.rint(seconds * 1e6)
    for number, lane in enumerate(program.lanes):
        if lane.axis is None:
            ops = np.flatnonzero(columns.lanes == number)
            found[ops] = np.diff(np.rint(np.cumsum(seconds[ops]) * 1e6), prepend=0.0)
    return found.astype(np.int64).tolist()  # type: ignore[no-any-return]
