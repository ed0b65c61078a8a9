"""Plays recorded programs with NumPy values, all ranks in lock step.

The third reading of a program: each rank runs its ops in issue order until it meets a collective,
and a collective happens when all its members are there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from tspsim.files.errors import ScheduleError
from tspsim.mesh import DP, Mesh
from tspsim.program.activations import ActivationShard
from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Binding, Lane, Op, Operand, Probe, Programs, Shard
from tspsim.values.dense import Tensors


def piece(tensor: Array, place: object, where: Where) -> Array:
    """Return the part of a dense tensor that a rank holds.

    Parameters
    ----------
    tensor : ndarray
        A weight, or an activation [batch, tokens, ...] of all replicas.
    place : Shard or ActivationShard
        A `Shard` of a weight, or the `ActivationShard` of an activation.
    where : Where
    """
    if isinstance(place, Shard):
        block = place.block(where.coordinate(place.axis))
        return np.split(tensor, place.blocks, axis=place.dim)[block]
    assert isinstance(place, ActivationShard)
    mine = np.split(tensor, where.mesh.replicas)[where.coordinate(DP)]
    return np.asarray(mine[:, place.positions(where)])


@dataclass
class State:
    """One rank while it plays: its buffers as flat arrays, and how far it has come."""

    where: Where
    buffers: list[Array | None]
    done: int = 0
    seen: dict[int, Array] = field(default_factory=dict)

    def read(self, operand: Operand) -> Array:
        """Return an operand as an array of its shape."""
        flat = self.buffers[operand.buffer.index]
        assert flat is not None
        size = operand.elements
        return flat[operand.offset : operand.offset + size].reshape(operand.shape)

    def write(self, operand: Operand, value: Array) -> None:
        """Store an array into an operand."""
        index = operand.buffer.index
        flat = self.buffers[index]
        size = math.prod(operand.buffer.shape)
        if value.shape != operand.shape:
            raise ScheduleError(f"'{operand.buffer.name}' is {operand.shape}, got {value.shape}")
        if operand.elements == size:
            # A new array: an in-place op must not change what another rank was handed.
            self.buffers[index] = value.reshape(-1)
            return
        flat = np.zeros(size) if flat is None else flat.copy()
        flat[operand.offset : operand.offset + operand.elements] = value.reshape(-1)
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
        self.states = [self._state(rank, tensors) for rank in range(mesh.ranks)]

    def _state(self, rank: int, tensors: Tensors) -> State:
        program = self.programs.of(rank)
        empty: list[Array | None] = [
            np.zeros(math.prod(b.shape)) if b.resident else None for b in program.buffers
        ]
        state = State(Where(self.mesh, rank), empty)
        for binding in program.bindings:
            if binding.role == "value":
                value = piece(tensors[binding.tensor], binding.place, state.where)
                state.write(binding.operand, value)
        return state

    def run(self) -> None:
        """Play all programs to their end.

        Raises
        ------
        ScheduleError
            When no rank can go on: collectives that do not meet.
        """
        total = sum(len(self.programs.of(s.where.rank).ops) for s in self.states)
        while sum(s.done for s in self.states) < total:
            before = sum(s.done for s in self.states)
            for state in self.states:
                self._advance(state)
            if sum(s.done for s in self.states) == before:
                raise ScheduleError("the ranks wait for each other: collectives do not meet")

    def _advance(self, state: State) -> None:
        program = self.programs.of(state.where.rank)
        while state.done < len(program.ops):
            op = program.ops[state.done]
            if op.message is None:
                inputs = [state.read(o) for o in op.inputs]
                self._finish(state, op, op.kind.values(state.where, *inputs))
            elif not self._meet(state, op):
                return

    def _meet(self, state: State, op: Op) -> bool:
        """Run a collective if all its members stand at it; say whether they did."""
        lane = self.programs.of(state.where.rank).lanes[op.lane]
        assert lane.axis is not None
        group = self.mesh.group(state.where.rank, lane.axis, lane.size)
        members = [self.states[rank] for rank in group]
        present = [o for m in members if (o := self._at(m, lane)) is not None]
        met = [o for o in present if (o.kind, o.message) == (op.kind, op.message)]
        if len(met) < len(members):
            return False
        inputs = [[m.read(x) for x in o.inputs] for m, o in zip(members, present, strict=True)]
        results = op.kind.exchange(inputs)
        for member, its, outputs in zip(members, present, results, strict=True):
            self._finish(member, its, outputs)
        return True

    def _at(self, state: State, lane: Lane) -> Op | None:
        """Return the op that a rank stands at, if it is one of a communicator."""
        program = self.programs.of(state.where.rank)
        if state.done == len(program.ops):
            return None
        op = program.ops[state.done]
        return op if program.lanes[op.lane] == lane else None

    def _finish(self, state: State, op: Op, results: tuple[Array, ...]) -> None:
        # An optimizer step computes nothing that is compared: it returns no values.
        for operand, value in zip(op.outputs, results, strict=False):
            state.write(operand, value)
        for number, probe in enumerate(self.programs.of(state.where.rank).probes):
            if probe.after == op.index:
                state.seen[number] = state.read(probe.operand)
        state.done += 1

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
            if bound.role != "value":
                found.append((bound, value))
        return found

    def loss(self, rank: int) -> float | None:
        """Return the loss as a rank knows it."""
        program = self.programs.of(rank)
        buffers = [b for b in program.buffers if b.name == "loss" and b.resident]
        value = self.states[rank].buffers[buffers[0].index] if buffers else None
        return None if value is None else float(value[0])
