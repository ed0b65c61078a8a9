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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tspsim.files.errors import ProgramError
from tspsim.mesh import Mesh
from tspsim.program.bindings import Binding, BindingRole, Probe
from tspsim.program.kind import ComputeKind, Kind
from tspsim.program.ledger import Ledger, Slots
from tspsim.program.pieces import Stamp
from tspsim.program.stages import Recorded
from tspsim.program.template import Mark, Template
from tspsim.program.types import (
    Buffer,
    BufferKind,
    Lane,
    Message,
    Op,
    Operand,
    PerCoordinate,
    Phase,
    Program,
    Work,
)
from tspsim.program.varying import Varying, at, combined, product, total, varies
from tspsim.program.written import Written
from tspsim.schedules.orders.actions import Action

COMPUTE = Lane("compute")
#: The host issues what the device does. It runs ahead, as far as it can.
HOST = Lane("host")


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
        self.ledger, self.written = Ledger(), Written()
        self._lanes: dict[Lane, int] = {COMPUTE: 0}
        self._behind: int | None = None  # the compute op that communication waits for, if stated
        self._closing: int | None = None  # the first op of the end of the step
        self._opening: int | None = None  # ops that belong to the end of the step before
        self._residents: list[Operand] = []
        self._works: dict[Any, Any] = {}
        self._bindings: list[Binding] = []
        self._probes: list[Probe] = []
        self._actions: list[Recorded] = []

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

    def mark(self) -> Mark:
        """Return where a template begins that is recorded next."""
        return Mark(len(self.written.ops), len(self.written.buffers))

    def template(self, mark: Mark) -> Template:
        """Return what was recorded since a mark, to be stamped again."""
        return Template(self.written, self.ledger, mark)

    def stamp(self, template: Template, moved: Callable[[int], int]) -> Stamp:
        """Record a template again, for the layer and micro-batch at hand: `Template.stamp`."""
        place = self.layer, self.micro_batch
        return template.stamp(self.written, self.ledger, moved, place)

    @contextmanager
    def runs(self, action: Action) -> Iterator[None]:
        """Mark the ops recorded inside as those of a pass of a micro-batch through a stage."""
        first = len(self.written.ops)
        yield
        self._actions.append(Recorded(action, first, len(self.written.ops)))

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
        self._opening = len(self.written.ops)

    def closes(self) -> None:
        """Mark what is recorded from here on as done once per step."""
        self._closing = len(self.written.ops)

    @property
    def opened(self) -> bool:
        """Whether the step begins with what the one before has left to do."""
        return self._opening is not None

    def _buffer(
        self,
        name: str,
        shape: tuple[int, ...],
        itemsize: float,
        kind: BufferKind,
        *,
        resident: bool = False,
        into: Slots | None = None,
    ) -> Operand:
        index = len(self.written.buffers)
        buffer = Buffer(index, name, shape, itemsize, kind, self.layer, resident)
        self.written.buffers.append(buffer)
        self.written.pools.append(into)
        self.ledger.declare(into.put(buffer.index, self.ledger.side) if into else None)
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
        return self._buffer(name, shape, itemsize, kind, into=into)

    def accumulator(
        self, name: str, shape: tuple[int, ...], itemsize: float, into: Slots | None = None
    ) -> Operand:
        """Declare a buffer that holds zeros until something is added to it; it lives from then."""
        operand = self.buffer(name, shape, itemsize, "workspace", into)
        self.ledger.given.add(operand.buffer.index)
        return operand

    def arriving(
        self, name: str, shape: tuple[int, ...], itemsize: float, kind: BufferKind
    ) -> Operand:
        """Declare an accumulator that the end of the step reads, as it does resident ones."""
        operand = self._buffer(name, shape, itemsize, kind)
        self.ledger.given.add(operand.buffer.index)
        self._residents.append(operand)
        return operand

    def given(self, name: str, shape: tuple[int, ...], itemsize: float) -> Operand:
        """Declare a buffer that is there from the start and lives to its last reader."""
        operand = self._buffer(name, shape, itemsize, "activation")
        self.ledger.given.add(operand.buffer.index)
        return operand

    def bind(self, operand: Operand, tensor: str, place: Any, role: BindingRole) -> None:
        """Tie a resident operand to a tensor of the dense model, for the reading by values."""
        self._bindings.append(Binding(operand, tensor, place, role))

    def probe(self, operand: Operand, tensor: str, place: Any) -> None:
        """Have the reading by values compare an operand as it is now.

        That is after the op that wrote it last, which may be a receive.
        """
        after = max(self.ledger.writer[operand.buffer.index], 0)
        self._probes.append(Probe(operand, tensor, place, after))

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
        return len(self.written.ops) - 1

    def follows(self, op: int) -> None:
        """Have the compute op that is recorded next wait for an op, whatever it reads."""
        self.ledger.awaited.append(op)

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
    ) -> int:
        """Record a collective on a communicator; return its index."""
        number = self._lanes.setdefault(lane, len(self._lanes))
        self._record(kind, label, number, tuple(inputs), tuple(outputs), None, message)
        return len(self.written.ops) - 1

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
        behind = -1
        if message is not None:
            behind = self.ledger.computed if self._behind is None else self._behind
        self.ledger.check(inputs)
        waits = self.ledger.enter(lane, inputs, outputs, behind)
        self.written.waits.append(waits)
        names = len(self.written.ops), kind, label, self.phase, self.layer, self.micro_batch
        self.written.ops.append(Op(*names, lane, inputs, outputs, work, message))

    def program(self) -> Program:
        """Return what was recorded."""
        return Program(
            self.written.ops,
            self.written.buffers,
            tuple(self._lanes),
            self.written.waits,
            tuple(self._bindings),
            tuple(self._probes),
            self._opening or 0,
            tuple(self._actions),
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
