"""An axis of the mesh as a rank sees it: the collectives that it can join.

Every call names the communicator by a label: calls with the same label keep their order, calls
with different labels may overlap. On an axis of degree 1 nothing is sent and operands come back
as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.files.errors import ProgramError
from tspsim.mesh import Axes, names_of
from tspsim.program.kind import CollectiveCall
from tspsim.program.kinds.communication import (
    AllGather,
    AllReduce,
    AllToAll,
    Broadcast,
    Receive,
    Reduce,
    ReduceScatter,
    Send,
    Shift,
)
from tspsim.program.kinds.dispatch import Exchange
from tspsim.program.kinds.in_place import AllGatherInPlace, ReduceScatterInPlace, part
from tspsim.program.kinds.shards import AllReduceInto, ReduceToShards
from tspsim.program.ledger import Slots
from tspsim.program.recorder import Recorder
from tspsim.program.types import BufferKind, Lane, Message, Operand
from tspsim.program.varying import Varying, combined, total


class Axis:
    """The communicators of one axis, of several as one, or of blocks of neighbours.

    Parameters
    ----------
    rank : Recorder
    axes : str or tuple of str
        Of several the last one varies fastest.
    degree : int
        Members of a communicator.
    size : int or None
        Block of neighbours, see `Lane.size`.
    """

    def __init__(self, rank: Recorder, axes: Axes, degree: int, size: int | None = None) -> None:
        self._rank, self._axes, self.degree, self._size = rank, axes, degree, size
        self.name = "+".join(names_of(axes))

    def _call(
        self,
        kind: CollectiveCall,
        lane: str,
        inputs: Sequence[Operand],
        outputs: Sequence[Operand],
        label: str,
        *,
        size: int,
        root: int | None = None,
        offset: int = 0,
    ) -> tuple[Operand, ...]:
        self._rank.communicate(
            kind,
            Lane(f"{self.name}/{lane}", self._axes, self._size),
            Message(kind.name, size, root, offset),
            inputs,
            outputs,
            label,
        )
        return tuple(outputs)

    def _like(
        self,
        x: Operand,
        shape: tuple[int, ...],
        kind: BufferKind | None = None,
        into: Slots | None = None,
    ) -> Operand:
        return self._rank.buffer(x.buffer.name, shape, x.buffer.itemsize, kind, into)

    def _scaled(self, x: Operand, dim: int, times: int, over: int) -> tuple[int, ...]:
        scaled = combined(lambda size: size * times // over, x.shape[dim])
        return (*x.shape[:dim], scaled, *x.shape[dim + 1 :])

    def all_gather(
        self,
        *xs: Operand,
        dim: int,
        lane: str,
        label: str,
        kind: BufferKind | None = "workspace",
        into: Slots | None = None,
    ) -> tuple[Operand, ...]:
        """Return every operand gathered along `dim`, in one message, each in the next slot if any.

        What varies along the axis itself is gathered to the sum of its sizes, the same everywhere.
        """
        if self.degree == 1:
            return xs
        outs = [self._like(x, self._gathered(x, dim), kind, into) for x in xs]
        return self._call(AllGather(dim), lane, xs, outs, label, size=_bytes(outs))

    def _gathered(self, x: Operand, dim: int) -> tuple[int, ...]:
        size = x.shape[dim]
        if isinstance(size, Varying) and names_of(size.axis) == names_of(self._axes):
            return (*x.shape[:dim], sum(size.sizes), *x.shape[dim + 1 :])
        return self._scaled(x, dim, self.degree, 1)

    def reduce_scatter(
        self,
        *xs: Operand,
        dim: int,
        lane: str,
        label: str,
    ) -> tuple[Operand, ...]:
        """Return this rank's block along `dim` of the sums, in one message."""
        if self.degree == 1:
            return xs
        outs = [self._like(x, self._scaled(x, dim, 1, self.degree)) for x in xs]
        return self._call(ReduceScatter(dim), lane, xs, outs, label, size=_bytes(xs))

    def all_reduce(
        self, *xs: Operand, lane: str, label: str, size: int | None = None
    ) -> tuple[Operand, ...]:
        """Sum operands over the axis, in place and in one message; or so many bytes of them."""
        if self.degree == 1:
            return xs
        return self._call(
            AllReduce(), lane, xs, xs, label, size=_bytes(xs) if size is None else size
        )

    def reduce_scatter_in_place(self, *xs: Operand, lane: str, label: str) -> tuple[Operand, ...]:
        """Sum this rank's own part of every flat operand over the axis; the rest stays."""
        if self.degree == 1:
            return xs
        return self._call(ReduceScatterInPlace(), lane, xs, xs, label, size=self._padded(xs))

    def all_gather_in_place(self, *xs: Operand, lane: str, label: str) -> tuple[Operand, ...]:
        """Fill every flat operand with the parts that the other ranks own."""
        if self.degree == 1:
            return xs
        return self._call(AllGatherInPlace(), lane, xs, xs, label, size=self._padded(xs))

    def reduce_to_shards(
        self, *xs: Operand, into: Sequence[Operand], lane: str, label: str
    ) -> None:
        """Add this rank's part of the sum of every flat operand to another, in one message."""
        size = self._padded(xs)
        self._call(ReduceToShards(), lane, (*xs, *into), into, label, size=size)

    def all_reduce_into(self, *xs: Operand, into: Sequence[Operand], lane: str, label: str) -> None:
        """Add the sums of operands over the axis to others, in one message."""
        self._call(AllReduceInto(), lane, (*xs, *into), into, label, size=_bytes(xs))

    def _padded(self, xs: Sequence[Operand]) -> int:
        """Return the bytes of operands that are cut into equal parts, the padding included."""
        return sum(
            round(part(x.elements, self.degree) * self.degree * x.buffer.itemsize) for x in xs
        )

    def broadcast(self, x: Operand, root: int, *, lane: str, label: str, into: Slots) -> Operand:
        """Return the root's operand, received into the next slot."""
        if self.degree == 1:
            return x
        out = self._like(x, x.shape, "workspace", into)
        self._call(Broadcast(root), lane, (x,), (out,), label, size=x.bytes, root=root)
        return out

    def reduce(self, x: Operand, root: int, *, add_to: Operand, lane: str, label: str) -> None:
        """Add the sum of x over the axis to the root's operand.

        On an axis of degree 1 there is nobody to send to: accumulate where x is computed.
        """
        if self.degree == 1:
            raise ProgramError("a reduce on an axis of degree 1: accumulate instead")
        self._call(Reduce(root), lane, (x, add_to), (add_to,), label, size=x.bytes, root=root)

    def all_to_all(
        self, *xs: Operand, split: int, concat: int, lane: str, label: str
    ) -> tuple[Operand, ...]:
        """Return operands re-cut from blocks along `concat` to blocks along `split`."""
        if self.degree == 1:
            return xs
        n = self.degree
        outs = []
        for x in xs:
            shape = list(x.shape)
            shape[split] //= n
            shape[concat] *= n  # along the same dim all stays as long as it was
            outs.append(self._like(x, tuple(shape)))
        return self._call(AllToAll(split, concat), lane, xs, outs, label, size=_bytes(xs))

    def exchange(
        self, *rows: Operand, kind: Exchange, count: int, lane: str, label: str
    ) -> tuple[Operand, ...]:
        """Return so many rows: those that other ranks send to this one, or that come back.

        The message of a rank is as large as what it holds at the experts: where they are most is
        the link that decides.
        """
        outs = [self._like(x, (count, *x.shape[1:])) for x in rows]
        size = _bytes(rows if kind.back else outs)
        return self._call(kind, lane, rows, outs, label, size=size)

    def shift(
        self, *xs: Operand, lane: str, label: str, into: Slots, offset: int = 1
    ) -> tuple[Operand, ...]:
        """Send operands to the member `offset` places further; return what arrives, in a slot."""
        if self.degree == 1:
            return xs
        outs = [self._like(x, x.shape, "workspace", into) for x in xs]
        return self._call(Shift(offset), lane, xs, outs, label, size=_bytes(xs), offset=offset)

    def send(
        self, *xs: Operand, lane: str, label: str, offset: int = 1, stream: str | None = None
    ) -> int:
        """Send operands to the member `offset` places further, which has to receive them.

        Returns the index of the op: a computation that is to wait for it can be told so
        (`Recorder.follows`).

        The k-th send of a member to another on a lane meets that one's k-th receive from it,
        whatever streams they run on. The bytes travel when both stand first on theirs.

        Parameters
        ----------
        *xs : Operand
        lane, label : str
        offset : int
        stream : str, optional
            The in-order stream that it runs on: what is issued on it, to whomever and from
            whomever, begins when all before it has ended. Not given: one of its own for every lane
            and direction, where sends to one offset follow each other, and nothing else.

        Raises
        ------
        ProgramError
            When that member is the rank itself.
        """
        return self._half_hop(Send(offset), lane, stream, xs, (), label)

    def receive(
        self, *into: Operand, lane: str, label: str, offset: int = -1, stream: str | None = None
    ) -> int:
        """Receive operands from the member `offset` places further: see `send`.

        Parameters
        ----------
        *into : Operand
            What is written: as many bytes as are sent.
        lane, label : str
        offset : int
        stream : str, optional

        Raises
        ------
        ProgramError
            When that member is the rank itself.
        """
        return self._half_hop(Receive(offset), lane, stream, (), into, label)

    def _half_hop(
        self,
        kind: Send | Receive,
        lane: str,
        stream: str | None,
        inputs: tuple[Operand, ...],
        outputs: tuple[Operand, ...],
        label: str,
    ) -> int:
        if kind.offset % self.degree == 0:
            where = f"axis '{self.name}' of degree {self.degree}"
            raise ProgramError(f"{kind.text()} on {where}: a rank cannot meet itself")
        way, onward = ("to", kind.offset) if isinstance(kind, Send) else ("from", -kind.offset)
        block = "" if self._size is None else f" in blocks of {self._size}"
        # The same for both of its ends.
        channel = f"{self.name}/{lane} {onward % self.degree:+d}{block}"
        runs_on = f"{lane} {way} {kind.offset:+d}" if stream is None else stream
        message = Message(kind.name, _bytes(inputs or outputs), None, kind.offset, channel)
        on = Lane(f"{self.name}/{runs_on}", self._axes, self._size)
        return self._rank.communicate(kind, on, message, inputs, outputs, label)


def _bytes(operands: Sequence[Operand]) -> int:
    return total(o.bytes for o in operands)
