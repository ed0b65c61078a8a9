"""Plays recorded programs with NumPy values, all ranks in lock step.

The third reading of a program: each rank runs its ops in issue order until it meets a collective,
and a collective happens when all its members are there.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from tspsim.files.errors import ScheduleError
from tspsim.mesh import DP, SHARD, Mesh
from tspsim.program.activations import ActivationShard
from tspsim.program.bindings import Binding, Probe, Shard
from tspsim.program.cached import Rows
from tspsim.program.chunks import Chunk
from tspsim.program.kind import ByCommunicator, CollectiveCall, ComputeKind
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.communication import Send
from tspsim.program.kinds.in_place import owned
from tspsim.program.types import Lane, Message, Op, Operand, Programs
from tspsim.program.varying import of_rank
from tspsim.values.tensors import Tensors


def piece(tensor: Array, place: object, where: Where) -> Array:
    """Return the part of a dense tensor that a rank holds.

    Parameters
    ----------
    tensor : ndarray
        A weight, or an activation [batch, tokens, ...] of all replicas.
    place : Shard, Chunk or ActivationShard
        A `Shard` of a weight, or a `Chunk` of that; or the `ActivationShard` of an activation.
    where : Where
    """
    if isinstance(place, Chunk):
        return place.of(piece(tensor, place.shard, where), where)
    if isinstance(place, Shard):
        block = place.block(where.coordinate(place.axis))
        tensor = piece(tensor, place.of, where) if place.of else tensor
        return np.split(tensor, place.blocks, axis=place.dim)[block]
    assert isinstance(place, ActivationShard)
    mine = np.split(tensor, where.mesh.replicas)[where.coordinate((DP, SHARD))]
    if isinstance(place.tokens, Rows):
        return place.tokens.select(mine, where.coordinate(place.tokens.axis))
    return np.asarray(mine[:, place.positions(where)])


def _by_op(probes: tuple[Probe, ...]) -> dict[int, list[int]]:
    """Return the numbers of the probes that look after each op."""
    found: dict[int, list[int]] = defaultdict(list)
    for number, probe in enumerate(probes):
        found[probe.after].append(number)
    return dict(found)


@dataclass
class State:
    """One rank while it plays: its buffers as flat arrays of these sizes; how far it has come."""

    where: Where
    sizes: tuple[int, ...]
    buffers: list[Array | None]
    done: int = 0
    receiving: list[Op] = field(default_factory=list)
    seen: dict[int, Array] = field(default_factory=dict)
    unseen: list[int] = field(default_factory=list)

    @property
    def missing(self) -> set[int]:
        """Buffers of which the values have not been received yet."""
        return {out.buffer.index for receive in self.receiving for out in receive.outputs}

    def read(self, operand: Operand) -> Array:
        """Return an operand as an array of its shape."""
        flat = self.buffers[operand.buffer.index]
        if flat is None:  # a sum to which nothing has been added
            flat = np.zeros(self.sizes[operand.buffer.index])
        offset, shape = operand.of_rank(self.where.mesh, self.where.rank)
        return flat[offset : offset + math.prod(shape)].reshape(shape)

    def write(self, operand: Operand, value: Array) -> None:
        """Store an array into an operand."""
        index = operand.buffer.index
        flat, size = self.buffers[index], self.sizes[index]
        offset, shape = operand.of_rank(self.where.mesh, self.where.rank)
        if value.shape != shape:
            raise ScheduleError(f"'{operand.buffer.name}' is {shape}, got {value.shape}")
        if value.size == size:
            # A new array: an in-place op must not change what another rank was handed.
            self.buffers[index] = value.reshape(-1)
            return
        flat = np.zeros(size) if flat is None else flat.copy()
        flat[offset : offset + value.size] = value.reshape(-1)
        self.buffers[index] = flat


class Player:
    """All ranks of a job.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    tensors : dict
        Dense tensors that bindings fill buffers from.
    """

    def __init__(self, programs: Programs, mesh: Mesh, tensors: Tensors) -> None:
        self.programs, self.mesh, self.tensors = programs, mesh, tensors
        self._ops = [(*role.ops, *role.ops[: role.opening]) for role in programs.roles]
        self._probed = [_by_op(role.probes) for role in programs.roles]
        self._sent: dict[tuple[str, int, int], deque[tuple[Array, ...]]] = defaultdict(deque)
        self.states = [self._state(rank, tensors) for rank in range(mesh.ranks)]

    def _state(self, rank: int, tensors: Tensors) -> State:
        program = self.programs.of(rank)
        sizes = tuple(
            math.prod(of_rank(size, self.mesh, rank) for size in b.shape) for b in program.buffers
        )
        buffers = [
            np.zeros(n) if b.resident else None for b, n in zip(program.buffers, sizes, strict=True)
        ]
        state = State(Where(self.mesh, rank), sizes, buffers)
        for binding in program.bindings:
            if binding.role == "value":
                value = piece(tensors[binding.tensor], binding.place, state.where)
                state.write(binding.operand, value)
        for op in program.ops[: program.opening]:
            self._take_away(state, op, program.lanes[op.lane])
        return state

    def _take_away(self, state: State, op: Op, lane: Lane) -> None:
        """Leave of what an op is to gather only the rank's own parts."""
        members = lane.members(self.mesh, state.where.rank)
        for operand in op.outputs:
            own = owned(operand.elements, len(members), members.index(state.where.rank))
            left = np.zeros(operand.elements)
            left[own] = state.read(operand)[own]
            state.write(operand, left)

    def _played(self, rank: int) -> tuple[Op, ...]:
        """Return a rank's ops, and once more those that open the next step."""
        return self._ops[self.programs.role_of_rank[rank]]

    def run(self) -> None:
        """Play all programs to their end.

        Raises
        ------
        ScheduleError
            When no rank can go on: collectives that do not meet.
        """
        total = sum(len(self._played(s.where.rank)) for s in self.states)
        while sum(s.done for s in self.states) < total:
            before = sum(s.done for s in self.states)
            for state in self.states:
                self._advance(state)
            if sum(s.done for s in self.states) == before:
                raise ScheduleError("the ranks wait for each other: collectives do not meet")
        for state in self.states:
            self._take(state)

    def _advance(self, state: State) -> None:
        ops = self._played(state.where.rank)
        while state.done < len(ops):
            op = ops[state.done]
            if not self._arrived(state, op):
                return
            if op.message is None:
                inputs = [state.read(o) for o in op.inputs]
                kind = cast("ComputeKind", op.kind)  # an op without a message is one
                self._finish(state, op, kind.values(state.where, *inputs))
            elif not self._communicate(state, op, op.message):
                return

    def _communicate(self, state: State, op: Op, message: Message) -> bool:
        """Run an op of communication if it can be run now; say whether it was.

        A send leaves its values and goes on, and a receive does until its values are asked for:
        whether the two really meet is for the dry run.
        """
        if message.collective == "send":
            kind = cast("Send", op.kind)
            values = kind.values(state.where, *(state.read(x) for x in op.inputs))
            self._way(state, op, message).append(values)
        elif message.collective == "receive":
            state.receiving.append(op)
        else:
            return self._meet(state, op)
        self._finish(state, op, ())
        return True

    def _way(self, state: State, op: Op, message: Message) -> deque[tuple[Array, ...]]:
        """Return what has been sent on a channel, from one rank to another, and not received."""
        rank = state.where.rank
        members = self.programs.of(rank).lanes[op.lane].members(self.mesh, rank)
        other = members[(members.index(rank) + message.offset) % len(members)]
        ends = (rank, other) if message.collective == "send" else (other, rank)
        return self._sent[message.channel, *ends]

    def _take(self, state: State) -> None:
        """Take what has been sent to a rank."""
        for receive in tuple(state.receiving):
            assert receive.message is not None
            way = self._way(state, receive, receive.message)
            if way:
                for operand, value in zip(receive.outputs, way.popleft(), strict=True):
                    shape = operand.of_rank(self.mesh, state.where.rank)[1]
                    state.write(operand, value.reshape(shape))
                state.receiving.remove(receive)
        self._see(state)

    def _arrived(self, state: State, op: Op) -> bool:
        """Say whether all that an op touches has been received."""
        if not state.receiving:
            return True
        self._take(state)
        missing = state.missing
        return all(o.buffer.index not in missing for o in (*op.inputs, *op.outputs))

    def _meet(self, state: State, op: Op) -> bool:
        """Run a collective if all its members stand at it; say whether they did."""
        lane = self.programs.of(state.where.rank).lanes[op.lane]
        members = [self.states[rank] for rank in lane.members(self.mesh, state.where.rank)]
        present = [o for m in members if (o := self._at(m, lane)) is not None]
        met = [o for o in present if (o.kind, o.message) == (op.kind, op.message)]
        if len(met) < len(members):
            return False
        inputs = [[m.read(x) for x in o.inputs] for m, o in zip(members, present, strict=True)]
        kind = cast("CollectiveCall", op.kind)
        if isinstance(kind, ByCommunicator):
            kind = kind.of_rank(self.mesh, state.where.rank)
        results = kind.exchange(inputs)
        for member, its, outputs in zip(members, present, results, strict=True):
            self._finish(member, its, outputs)
        return True

    def _at(self, state: State, lane: Lane) -> Op | None:
        """Return the op that a rank stands at, if it is one of a communicator."""
        ops = self._played(state.where.rank)
        if state.done == len(ops):
            return None
        op = ops[state.done]
        if not self._arrived(state, op):
            return None
        return op if self.programs.of(state.where.rank).lanes[op.lane] == lane else None

    def _finish(self, state: State, op: Op, results: tuple[Array, ...]) -> None:
        # An optimizer step computes nothing that is compared: it returns no values.
        for operand, value in zip(op.outputs, results, strict=False):
            state.write(operand, value)
        probed = self._probed[self.programs.role_of_rank[state.where.rank]]
        state.unseen += probed.get(op.index, ())
        self._see(state)
        state.done += 1

    def _see(self, state: State) -> None:
        """Keep what probes wait for; a stage without layers has it when it is received."""
        if not state.unseen:
            return
        missing, probes = state.missing, self.programs.of(state.where.rank).probes
        for number in tuple(state.unseen):
            if probes[number].operand.buffer.index not in missing:
                state.seen[number] = state.read(probes[number].operand)
                state.unseen.remove(number)

    def probes(self, rank: int) -> list[tuple[Probe, Array]]:
        """Return what a rank's probes saw."""
        state, program = self.states[rank], self.programs.of(rank)
        return [(program.probes[i], value) for i, value in state.seen.items()]

    def gradients(self, rank: int) -> list[tuple[Binding, Array]]:
        """Return a rank's weight gradients, or how far its weights have moved down by them."""
        state, program = self.states[rank], self.programs.of(rank)
        found = []
        for bound in program.bindings:
            value = state.read(bound.operand)
            if bound.role == "moved":
                value = piece(self.tensors[bound.tensor], bound.place, state.where) - value
            if bound.role in ("gradient", "moved"):
                found.append((bound, value))
        return found

    def losses(self, rank: int) -> list[float]:
        """Return the loss as a rank knows it; nothing where its program binds none."""
        state, program = self.states[rank], self.programs.of(rank)
        bound = (binding.operand for binding in program.bindings if binding.role == "loss")
        return [float(state.read(operand)[0]) for operand in bound]
