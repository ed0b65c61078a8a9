"""The frozen values that a recorded program is made of.

A program is what ONE rank does; all ranks of a role share it. What differs from rank to rank is a
function of the rank's coordinate on an axis: see `Work` tuples and `Tokens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from tspsim.mesh import Axes, Mesh, names_of
from tspsim.program.varying import Varying, combined, of_rank, product, varies

if TYPE_CHECKING:
    from tspsim.program.bindings import Binding, Probe
    from tspsim.program.kind import Kind
    from tspsim.program.stages import Recorded

BufferKind = Literal["weight", "gradient", "optimizer", "activation", "workspace", "kv_cache"]
BUFFER_KINDS: tuple[BufferKind, ...] = get_args(BufferKind)
Phase = Literal["forward", "recompute", "backward", "optimizer"]
CollectiveKind = Literal[
    "all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce", "all_to_all", "shift"
]
COLLECTIVE_KINDS: tuple[CollectiveKind, ...] = get_args(CollectiveKind)
#: A send and a receive are half a hop each: together they are one hop of a shift.
MessageKind = CollectiveKind | Literal["send", "receive"]
#: What is planned: of a shift a single hop, or a swap, where its two ends are the communicator and
#: the other hop goes the opposite way between them.
PlanKind = CollectiveKind | Literal["swap"]


class Buffer(NamedTuple):
    """Bytes of one tensor on one rank.

    Attributes
    ----------
    index : int
        Position in `Program.buffers`.
    name : str
        Short name, for example ``"gate"``.
    shape : tuple of int
        A size may be `Varying`: another one on other coordinates.
    itemsize : float
        Bytes per element (a fraction is possible for optimizer states counted per parameter).
    kind : BufferKind
    layer : int or None
    resident : bool
        Alive during the whole step (weights, optimizer states, most gradients). Every other buffer
        lives from the start of its first writer to the end of its last reader.
    """

    index: int  # type: ignore[assignment]  # nobody searches a buffer by tuple.index
    name: str
    shape: tuple[int, ...]
    itemsize: float
    kind: BufferKind
    layer: int | None
    resident: bool

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return _bytes(self.shape, self.itemsize)

    @property
    def lasting(self) -> bool:
        """Whether the end of a step finds it: a gradient may have come with its reduction."""
        return self.resident or self.kind == "gradient"


class Operand(NamedTuple):
    """A buffer, or a contiguous part of one, seen as an array of a shape."""

    buffer: Buffer
    offset: int
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return product(self.shape)

    @property
    def bytes(self) -> int:
        """Size in bytes."""
        return _bytes(self.shape, self.buffer.itemsize)

    def of_rank(self, mesh: Mesh, rank: int) -> tuple[int, tuple[int, ...]]:
        """Return offset and shape as a rank has them."""
        if not varies((self.offset, *self.shape)):  # hardly any do
            return self.offset, self.shape
        shape = tuple(of_rank(size, mesh, rank) for size in self.shape)
        return of_rank(self.offset, mesh, rank), shape


def _bytes(shape: tuple[int, ...], itemsize: float) -> int:
    elements = product(shape)
    if isinstance(elements, Varying):
        return combined(lambda number: round(number * itemsize), elements)
    return round(elements * itemsize)


class Work(NamedTuple):
    """What a compute op asks of its device.

    Attributes
    ----------
    flops : int
        Matrix flops, two per multiply-add; 0 for element-wise ops.
    bytes : int
        Bytes read from and written to device memory.
    curve : str
        Which efficiency curve of the profile applies: ``matmul``, ``grouped``, ``attention``,
        ``attention_backward`` or ``elementwise``.
    shape : tuple of int
        ``(m, k, n)`` of a matmul, ``(batch, heads, kv_heads, queries, keys, head_dim, causal,
        value_dim)`` of attention; ``(rows, groups, k, n)`` of a grouped product, in which every
        group of rows is multiplied by a matrix of its own, and behind it, where known, the rows of
        the largest group.
    kernel : str
        Which of several kernels for such work, where that makes a difference: of attention.
    dtype : str
        What is multiplied, where that is narrower than the workload's dtype.
    launches : int
        Kernels that do it.
    seconds : float
        What it takes the host beside all this, on any device.
    narrow : int
        Elements of weights that lie in memory in `dtype` already.
    """

    flops: int
    bytes: int
    curve: str
    shape: tuple[int, ...] = ()
    dtype: str = ""
    launches: int = 1
    kernel: str = ""
    seconds: float = 0.0
    narrow: int = 0


NO_WORK = Work(0, 0, "elementwise")


class PerCoordinate(NamedTuple):
    """Work that depends on the rank's coordinate on `axis`: ``works[coordinate]``."""

    axis: Axes
    works: tuple[Work, ...]


class Message(NamedTuple):
    """What a communication op moves.

    Attributes
    ----------
    collective : MessageKind
    bytes : int
        The full message: the gathered size of an all_gather or reduce_scatter, the buffer of a
        broadcast, reduce or all_reduce, what one rank holds before an all_to_all, what one rank
        sends in a shift or a send. Where it varies by coordinate, a hop has the bytes of its
        sender; a collective of all members lasts as long as with the largest message.
    root : int or None
        Coordinate (inside the communicator) of a broadcast's or reduce's root.
    offset : int
        Where a shift or a send goes to: the member `offset` places further round the ring; where
        a receive comes from, likewise.
    channel : str
        Of a send and its receive, whatever lanes they run on: the k-th from one rank to another
        on a channel meets the k-th there.
    """

    collective: MessageKind
    bytes: int
    root: int | None = None
    offset: int = 0
    channel: str = ""

    @property
    def hop(self) -> bool:
        """Whether it goes from one member to one other, not among all."""
        return self.collective in ("shift", "send", "receive")

    @property
    def half(self) -> tuple[str, str] | None:
        """Of a send or a receive: which of the two it is, and its channel."""
        return (self.collective, self.channel) if self.channel else None

    def carried_as(self, members: int | None = None) -> PlanKind:
        """Return what the network carries: a send and its receive are a hop of a shift.

        Parameters
        ----------
        members : int, optional
            Of the communicator, where that is to make a difference to a hop.
        """
        if self.collective == "send" or self.collective == "receive":
            return "shift"
        return "swap" if members == 2 and self.collective == "shift" else self.collective

    def of_rank(self, mesh: Mesh, rank: int) -> Message:
        """Return the message as a rank has it."""
        if type(self.bytes) is not Varying:
            return self
        return self._replace(bytes=of_rank(self.bytes, mesh, rank))

    def received(self, degree: int) -> float:
        """Return the bytes that a rank receives, on average over the communicator's members.

        The conventions of design.md section 3: ``(n-1)/n`` of the message, twice that for an
        all_reduce, all of it for a hop. Who sends receives nothing by that.
        """
        if self.hop:
            return float(self.bytes) if degree > 1 and self.collective != "send" else 0.0
        share = (degree - 1) / degree * self.bytes
        return 2 * share if self.collective == "all_reduce" else share


class Lane(NamedTuple):
    """An in-order stream of a rank: its compute, its host, or one communicator of some axes.

    Attributes
    ----------
    name : str
        ``"compute"``, ``"host"``, or ``"axis/label"`` such as ``"tsp/weights"`` or
        ``"dp+tsp/experts"``.
    axis : str, tuple of str or None
        The mesh axes that the communicator runs along; None for compute and host.
    size : int or None
        The communicator spans blocks of this many neighbours of the axis; None: the whole axis.
    """

    name: str
    axis: Axes | None = None
    size: int | None = None

    @property
    def axes(self) -> tuple[str, ...]:
        """The names of the axes; none of compute."""
        return names_of(self.axis)

    def members(self, mesh: Mesh, rank: int) -> tuple[int, ...]:
        """Return the ranks that share the communicator with a rank, in order."""
        return (rank,) if self.axis is None else mesh.group(rank, self.axis, self.size)


class Op(NamedTuple):
    """One line of a rank's program.

    Attributes
    ----------
    index : int
        Position in `Program.ops`: the issue order.
    kind : Kind
    label : str
        What it is in the model, for example ``"mlp.gate"``.
    phase : Phase
    layer : int or None
    micro_batch : int
    lane : int
        Index into `Program.lanes`; 0 is compute.
    inputs, outputs : tuple of Operand
        An accumulating op names its target in both.
    work : Work or PerCoordinate or None
        None for communication.
    message : Message or None
        None for compute, and for what the host does.
    """

    index: int  # type: ignore[assignment]  # nobody searches an op by tuple.index
    kind: Kind
    label: str
    phase: Phase
    layer: int | None
    micro_batch: int
    lane: int
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    work: Work | PerCoordinate | None
    message: Message | None

    @property
    def name(self) -> str:
        """Readable name: ``"L3 backward attention.q"``."""
        place = "" if self.layer is None else f"L{self.layer} "
        return f"{place}{self.phase} {self.label}"

    @property
    def half(self) -> tuple[str, str] | None:
        """Of a send or a receive: which of the two it is, and its channel."""
        return self.message.half if self.message is not None else None

    def text(self) -> str:
        """Return the op on one line: index, kind, label and shapes."""
        ins = " ".join(_shape(o) for o in self.inputs)
        outs = " ".join(_shape(o) for o in self.outputs)
        return f"{self.index} {self.name}: {self.kind.text()} {ins} -> {outs}"


def _shape(operand: Operand) -> str:
    return f"{operand.buffer.name}[{'x'.join(map(str, operand.shape))}]"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Program:
    """What one rank of a role does, in issue order.

    Parameters
    ----------
    ops : sequence of Op
    buffers : sequence of Buffer
    lanes : tuple of Lane
        ``lanes[0]`` is compute; the others are communicators, or the host's.
    waits : sequence of tuple of int
        For every op, the ops on *other* lanes of the same rank that must have ended before it
        starts. Its predecessor on its own lane is implied: lanes are in order.
    bindings : tuple of Binding
        What the reading by values fills in and compares; the other readings ignore it.
    probes : tuple of Probe
        Activations that the reading by values compares on the way.
    opening : int
        How many of the first ops are what the step before has left to do. A step in a steady
        state begins with them; the reading by values plays them after the last op once more.
    actions : tuple of Recorded
        The passes of micro-batches through stages that the ops are of, in order; some are of none.
    closing : int or None
        The first op of what is done once per step, after all micro-batches: `between` tells.
    """

    ops: Sequence[Op]
    buffers: Sequence[Buffer]
    lanes: tuple[Lane, ...]
    waits: Sequence[tuple[int, ...]]
    bindings: tuple[Binding, ...] = ()
    probes: tuple[Probe, ...] = ()
    opening: int = 0
    actions: tuple[Recorded, ...] = ()
    closing: int | None = None

    def between(self, op: Op) -> bool:
        """Whether an op is done layer by layer, not once per step at its beginning or end."""
        return self.opening <= op.index < (len(self.ops) if self.closing is None else self.closing)


@dataclass(frozen=True, slots=True, eq=False)
class Programs:
    """The programs of all ranks: one per role.

    Parameters
    ----------
    roles : tuple of Program
    role_of_rank : tuple of int
        For every rank, the index of its program in `roles`.
    """

    roles: tuple[Program, ...]
    role_of_rank: tuple[int, ...]

    def of(self, rank: int) -> Program:
        """Return the program that a rank plays."""
        return self.roles[self.role_of_rank[rank]]

    @property
    def first_ranks(self) -> tuple[int, ...]:
        """The lowest rank of every role, in the order of roles."""
        return tuple(self.role_of_rank.index(role) for role in range(len(self.roles)))
