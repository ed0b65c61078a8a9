"""Turns what a strategy does on a rank into a program: ops, buffers and dependencies.

Dependencies follow data. Reading a buffer waits for the op that wrote it last; writing over one
waits for its readers too; filling a slot waits for the last use of what was in it.

Communication also waits for the compute issued before it, whether it needs it or not: a library
that is called from a stream (NCCL) or from the program itself (gloo) begins when what stands before
the call is done. A prefetch has to be issued ahead of the compute that it is to hide behind. Only
what hooks of backward issue waits for its data alone (see `Recorder.hooked`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tspsim.files.errors import ProgramError
from tspsim.mesh import Mesh
from tspsim.program.kind import ComputeKind, Kind
from tspsim.program.types import (
    Binding,
    BindingRole,
    Buffer,
    BufferKind,
    Lane,
    Message,
    Op,
    Operand,
    PerCoordinate,
    Phase,
    Probe,
    Program,
    Work,
)
from tspsim.program.varying import Varying, at, combined, product, total, varies

COMPUTE = Lane("compute")
#: The host issues what the device does. It runs ahead, as far as it can.
HOST = Lane("host")


class Slots:
    """A fixed number of places for travelling buffers: the back-pressure of a prefetch.

    A buffer put into a slot takes the place of the one that came `count` before it, and waits
    until that one has been used for the last time.
    """

    def __init__(self, count: int) -> None:
        self._places: list[int | None] = [None] * count
        self._next = 0

    def put(self, buffer: int) -> int | None:
        """Take the next slot for a buffer; return the buffer that it displaces."""
        displaced, self._places[self._next] = self._places[self._next], buffer
        self._next = (self._next + 1) % len(self._places)
        return displaced


class Recorder:
    """Records the program of one rank, in issue order.

    Parameters
    ----------
    mesh : Mesh
        Gives the degrees of the axes; the program itself is the same on every rank of its role.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.layer: int | None = None
        self.phase: Phase = "forward"
        self.micro_batch = 0
        self._ops: list[Op] = []
        self._waits: list[tuple[int, ...]] = []
        self._buffers: list[Buffer] = []
        self._lanes: dict[Lane, int] = {COMPUTE: 0}
        self.computed = -1  # the op issued last on the compute lane
        self._awaited = -1  # the op of the host that the next compute op waits for
        self._behind: int | None = None  # the compute op that communication waits for, if stated
        self._closing: int | None = None  # the first op of the end of the step
        self._opening = 0  # ops that belong to the end of the step before
        self._writer: list[int] = []  # per buffer: the op that wrote it last, or -1
        self._readers: list[dict[int, int]] = []  # per buffer: lane -> last reader since then
        self._closed: set[int] = set()  # buffers whose slot has been filled again
        self._vacated: dict[int, list[int]] = {}  # per buffer: ops its first writer must await
        self._given: set[int] = set()
        self._zeroed: set[int] = set()
        self._residents: list[Operand] = []
        self._works: dict[Any, Any] = {}
        self._bindings: list[Binding] = []
        self._probes: list[Probe] = []

    @contextmanager
    def at(self, *, layer: int | None = None, phase: Phase | None = None) -> Iterator[None]:
        """Mark the ops recorded inside as belonging to a layer and a phase."""
        before = self.layer, self.phase
        self.layer = self.layer if layer is None else layer
        self.phase = phase or self.phase
        try:
            yield
        finally:
            self.layer, self.phase = before

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Mark communication that a hook issues when its data is written, wherever it stands here.

        Data-parallel libraries do so with gradients: what is recorded after backward is issued in
        the middle of it.
        """
        with self.behind(-1):
            yield

    @contextmanager
    def behind(self, computed: int) -> Iterator[None]:
        """Mark communication that waits for an op of the compute lane, not for the last before it.

        A host that runs ahead issues it while the device still works on what stands before it.
        """
        self._behind = computed
        try:
            yield
        finally:
            self._behind = None

    def opens(self) -> None:
        """Mark what was recorded so far as what the step before has left to do."""
        self._opening = len(self._ops)

    def closes(self) -> None:
        """Mark what is recorded from here on as done once per step."""
        self._closing = len(self._ops)

    @property
    def opened(self) -> bool:
        """Whether the step begins with what the one before has left to do."""
        return self._opening > 0

    def _buffer(
        self, name: str, shape: tuple[int, ...], itemsize: float, kind: BufferKind, resident: bool
    ) -> Operand:
        buffer = Buffer(len(self._buffers), name, shape, itemsize, kind, self.layer, resident)
        self._buffers.append(buffer)
        self._writer.append(-1)
        self._readers.append({})
        return Operand(buffer, 0, shape)

    def resident(
        self, name: str, shape: tuple[int, ...], itemsize: float, kind: BufferKind
    ) -> Operand:
        """Declare a buffer that is alive during the whole step."""
        operand = self._buffer(name, shape, itemsize, kind, resident=True)
        self._residents.append(operand)
        return operand

    def buffer(
        self,
        name: str,
        shape: tuple[int, ...],
        itemsize: float,
        kind: BufferKind | None = None,
        into: Slots | None = None,
    ) -> Operand:
        """Declare a buffer that lives from its first writer to its last reader.

        Its kind follows the phase: what forward and recompute write are activations, what
        backward and the optimizer write is workspace. In a pool of slots its first writer waits
        for the last use of the buffer that it displaces.
        """
        forward = self.phase in ("forward", "recompute")
        kind = kind or ("activation" if forward else "workspace")
        operand = self._buffer(name, shape, itemsize, kind, resident=False)
        displaced = into.put(operand.buffer.index) if into else None
        if displaced is not None:
            self._closed.add(displaced)
            uses = [self._writer[displaced], *self._readers[displaced].values()]
            self._vacated[operand.buffer.index] = uses
        return operand

    def accumulator(
        self, name: str, shape: tuple[int, ...], itemsize: float, into: Slots | None = None
    ) -> Operand:
        """Declare a buffer that holds zeros until something is added to it; it lives from then."""
        operand = self.buffer(name, shape, itemsize, "workspace", into)
        self._zeroed.add(operand.buffer.index)
        return operand

    def given(self, name: str, shape: tuple[int, ...], itemsize: float) -> Operand:
        """Declare a buffer that is there from the start and lives to its last reader."""
        operand = self._buffer(name, shape, itemsize, "activation", resident=False)
        self._given.add(operand.buffer.index)
        return operand

    def bind(self, operand: Operand, tensor: str, place: Any, role: BindingRole) -> None:
        """Tie a resident operand to a tensor of the dense model, for the reading by values."""
        self._bindings.append(Binding(operand, tensor, place, role))

    def probe(self, operand: Operand, tensor: str, place: Any) -> None:
        """Have the reading by values compare an operand as it is after the op recorded last."""
        self._probes.append(Probe(operand, tensor, place, len(self._ops) - 1))

    def compute(
        self,
        kind: ComputeKind,
        inputs: Sequence[Operand],
        outputs: Sequence[Operand],
        label: str | None = None,
    ) -> None:
        """Record an op of this rank's compute lane."""
        ins, outs = tuple(inputs), tuple(outputs)
        self._record(kind, label or kind.name, 0, ins, outs, self._work(kind, ins, outs), None)

    def issue(self, kind: ComputeKind) -> int:
        """Record an op of this rank's host; return its index."""
        number = self._lanes.setdefault(HOST, len(self._lanes))
        self._record(kind, kind.name, number, (), (), self._work(kind, (), ()), None)
        return len(self._ops) - 1

    def follows(self, issue: int) -> None:
        """Have the compute op that is recorded next wait for an op of the host."""
        self._awaited = issue

    def _work(
        self, kind: ComputeKind, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return the work of an op; layers repeat each other, so it is worked out only once."""
        key = (kind, *[(o.shape, o.buffer.itemsize) for o in inputs], *[o.shape for o in outputs])
        found = self._works.get(key)
        if found is None:
            found = self._works[key] = work_by_coordinate(kind, inputs, outputs)
        return found

    def communicate(
        self,
        kind: Kind,
        lane: Lane,
        message: Message,
        inputs: Sequence[Operand],
        outputs: Sequence[Operand],
        label: str,
    ) -> None:
        """Record a collective on a communicator."""
        number = self._lanes.setdefault(lane, len(self._lanes))
        self._record(kind, label, number, tuple(inputs), tuple(outputs), None, message)

    def _record(
        self,
        kind: Kind,
        label: str,
        lane: int,
        inputs: tuple[Operand, ...],
        outputs: tuple[Operand, ...],
        work: Work | PerCoordinate | None,
        message: Message | None,
    ) -> None:
        index = len(self._ops)
        latest: dict[int, int] = {}  # lane -> last op on it that must have ended
        if lane == 0:
            self.computed = index
            if self._awaited >= 0:
                latest[self._lanes[HOST]], self._awaited = self._awaited, -1
        elif message is not None:
            computed = self.computed if self._behind is None else self._behind
            if computed >= 0:
                latest[0] = computed
        for before in self._dependencies(inputs, outputs):
            if before >= 0:
                other = self._ops[before].lane
                if other != lane and latest.get(other, -1) < before:
                    latest[other] = before
        for operand in inputs:
            self._readers[operand.buffer.index][lane] = index
        for operand in outputs:
            self._writer[operand.buffer.index] = index
            self._readers[operand.buffer.index] = {}
        self._waits.append(tuple(sorted(latest.values())))
        self._ops.append(
            Op(
                index,
                kind,
                label,
                self.phase,
                self.layer,
                self.micro_batch,
                lane,
                inputs,
                outputs,
                work,
                message,
            )
        )

    def _dependencies(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Iterator[int]:
        for operand in inputs:
            buffer = operand.buffer
            if buffer.index in self._closed:
                raise ProgramError(f"'{buffer.name}' is read after its slot was filled again")
            if self._writer[buffer.index] < 0 and not self._starts_filled(buffer):
                raise ProgramError(f"'{buffer.name}' is read before anything wrote it")
            yield self._writer[buffer.index]
        for operand in outputs:
            index = operand.buffer.index
            yield self._writer[index]
            yield from self._readers[index].values()
            yield from self._vacated.pop(index, ())

    def _starts_filled(self, buffer: Buffer) -> bool:
        return buffer.resident or buffer.index in self._given or buffer.index in self._zeroed

    def program(self) -> Program:
        """Return what was recorded."""
        return Program(
            tuple(self._ops),
            tuple(self._buffers),
            tuple(self._lanes),
            tuple(self._waits),
            tuple(self._bindings),
            tuple(self._probes),
            self._opening,
            self._closing,
        )


def view(operand: Operand, offset: int, shape: tuple[int, ...]) -> Operand:
    """Return a contiguous part of an operand, `offset` elements in, with a shape of its own."""
    start = operand.offset
    if type(start) is type(offset) is int and not varies((*shape, *operand.shape)):
        inside = offset + math.prod(shape) <= math.prod(operand.shape)  # nearly always so
        start += offset
    else:
        inside = _inside(total((offset, product(shape))), operand.elements)
        start = total((start, offset))
    if not inside:
        raise ProgramError(f"view {shape} at {offset} exceeds '{operand.buffer.name}'")
    return Operand(operand.buffer, start, shape)


def _inside(end: int, elements: int) -> bool:
    """Whether a part ends within its operand, at all coordinates."""
    left = combined(lambda a, b: a - b, elements, end)
    return min(left.sizes if isinstance(left, Varying) else (left,)) >= 0


def work_by_coordinate(
    kind: ComputeKind, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
) -> Work | PerCoordinate:
    """Return the work of an op, by coordinate where the sizes of its operands vary.

    Raises
    ------
    ProgramError
        When they vary along different axes, or along another one than the work itself.
    """
    sizes = [size for o in (*inputs, *outputs) for size in o.shape if isinstance(size, Varying)]
    if not sizes:
        return kind.work(inputs, outputs)
    axis, degree = sizes[0].axis, len(sizes[0].sizes)
    if any(size.axis != axis for size in sizes):
        raise ProgramError(f"'{kind.name}' on sizes that vary along different axes")
    works = []
    for coordinate in range(degree):
        ins, outs = ([_resolved(o, coordinate) for o in side] for side in (inputs, outputs))
        work = kind.work(tuple(ins), tuple(outs))
        if isinstance(work, PerCoordinate):
            if work.axis != axis:
                raise ProgramError(f"'{kind.name}' varies along '{work.axis}' and along '{axis}'")
            work = work.works[coordinate]
        works.append(work)
    return PerCoordinate(axis, tuple(works))


def _resolved(operand: Operand, coordinate: int) -> Operand:
    return operand._replace(shape=tuple(at(size, coordinate) for size in operand.shape))
