"""How queries meet the keys and values of other ranks: all-gather, or a ring.

K and V of a rank lie side by side, [batch, tokens, 2 * width], so that they travel in one message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from tspsim.calibrate.reference import attention as core
from tspsim.calibrate.reference.attention import Saved, join, split
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.mesh import Axis, Pending

#: Waits for the gradients of K and V, and returns them.
Arriving: TypeAlias = Callable[[], tuple[Tensor, Tensor]]


@dataclass(slots=True)
class Turn:
    """What attention with some heads leaves: q, K/V of local tokens, output and log-sum-exp.

    Parameters
    ----------
    q : Tensor
    kv : Tensor or None
    gathered : Pending or None
        K and V of all tokens, on their way.
    o, lse : Tensor or None
        Output [batch, heads, tokens, d] and log-sum-exp.
    """

    q: Tensor
    kv: Tensor | None
    gathered: Pending | None = None
    o: Tensor | None = None
    lse: Tensor | None = None


class Exchange:
    """Attention of a rank's queries to all keys and values.

    Parameters
    ----------
    job : Job
    axis : Axis
        The one that cuts the sequence.
    """

    def __init__(self, job: Job, axis: Axis) -> None:
        self.job, self.axis, self.d = job, axis, job.shape.d

    def begin(self, kv: Tensor) -> Pending | None:
        """Begin what can travel before attention begins."""
        raise NotImplementedError

    def attend(self, turn: Turn, *, again: bool = False) -> None:
        """Fill in output and log-sum-exp; `again`: backward follows, keep what it needs as well."""
        raise NotImplementedError

    def backward(self, do: Tensor, turn: Turn) -> tuple[Tensor, Arriving]:
        """Return dq, and what waits for the gradients of local K and V; empties the turn."""
        raise NotImplementedError

    def _pair(self, kv: Tensor) -> tuple[Tensor, Tensor]:
        """Return K and V as [batch, heads, tokens, d]."""
        k, v = kv.chunk(2, -1)
        return split(k, self.d), split(v, self.d)

    def _tiles(self, keys: int | None = None) -> list[core.Tile]:
        """Return the tiles of this rank's queries on a coordinate's keys, or on all keys."""
        job = self.job
        stored = ((0, job.sequence),) if keys is None else job.ranges(keys % self.axis.degree)
        return core.tiles(job.ranges(self.axis.coordinate), stored, causal=job.causal != "off")

    def _saved(self, do: Tensor, turn: Turn) -> Saved:
        assert turn.o is not None
        assert turn.lse is not None
        saved = Saved(split(turn.q, self.d), turn.o, turn.lse, split(do, self.d))
        turn.o = turn.lse = None
        return saved


class AllGather(Exchange):
    """K and V of all tokens in one all_gather; dK and dV home in one reduce_scatter."""

    def begin(self, kv: Tensor) -> Pending | None:
        """Begin to gather."""
        return self.axis.all_gather(kv, "kv")

    def attend(self, turn: Turn, *, again: bool = False) -> None:
        """Attend to all keys, in logical order."""
        whole = self._logical(turn)
        q = split(turn.q, self.d)
        turn.o, turn.lse = core.attend(q, *self._pair(whole), self._tiles())
        turn.gathered = Pending(whole) if again else None

    def backward(self, do: Tensor, turn: Turn) -> tuple[Tensor, Arriving]:
        """Run the core's backward over all keys, and scatter dK and dV."""
        whole, turn.kv = self._logical(turn), None
        dq, dk, dv = core.attend_backward(
            self._saved(do, turn), *self._pair(whole), self._tiles(), self.job.tile
        )
        if self.axis.degree == 1:
            return join(dq), partial(_unchanged, join(dk), join(dv))
        if self.in_order:  # over K and V, which nobody reads any more
            for gradient, over in zip((dk, dv), self._pair(whole), strict=True):
                over.copy_(gradient)
            stacked = whole.view(self.axis.degree, 1, self.job.tokens, -1)
        else:
            stacked = self._stacked(dk, dv)
        del whole, dk, dv
        pending = self.axis.reduce_scatter(stacked, "kv")
        return join(dq), lambda: _halves(pending.wait())

    @property
    def in_order(self) -> bool:
        """Whether blocks that are stacked rank by rank are the sequence in its order."""
        return self.job.batch == 1 and len(self.job.ranges(0)) == 1

    def _logical(self, turn: Turn) -> Tensor:
        """Return gathered K and V, [batch, sequence, 2 * width], in the order of positions."""
        assert turn.gathered is not None
        stacked, turn.gathered = turn.gathered.wait(), None
        if stacked.dim() == 3:  # they are in order already
            return stacked
        degree, b, s, width = stacked.shape
        if degree == 1 or self.in_order:
            return stacked.view(b, degree * s, width)
        whole = stacked.new_empty(b, degree * s, width)
        for coordinate, part in enumerate(stacked):
            start = 0
            for first, last in self.job.ranges(coordinate):
                whole[:, first:last] = part[:, start : start + last - first]
                start += last - first
        return whole

    def _stacked(self, dk: Tensor, dv: Tensor) -> Tensor:
        """Return the gradients packed rank by rank, [degree, batch, tokens, 2 * width]."""
        dks, dvs = join(dk), join(dv)
        b, _, width = dks.shape
        out = dks.new_empty(self.axis.degree, b, self.job.tokens, 2 * width)
        for coordinate, part in enumerate(out):
            start = 0
            for first, last in self.job.ranges(coordinate):
                at = slice(start, start + last - first)
                part[:, at, :width], part[:, at, width:] = dks[:, first:last], dvs[:, first:last]
                start = at.stop
        return out


class Ring(Exchange):
    """K and V go round a ring, partial outputs are merged (ring attention, arXiv 2310.01889)."""

    def begin(self, kv: Tensor) -> Pending | None:  # noqa: ARG002
        """Begin nothing: the first block is this rank's own."""
        return None

    def attend(self, turn: Turn, *, again: bool = False) -> None:  # noqa: ARG002
        """Attend to block after block; the next one travels meanwhile."""
        q, block = split(turn.q, self.d), turn.kv
        assert block is not None
        into: tuple[Tensor, Tensor] | None = None
        for step in range(self.axis.degree):
            last = step + 1 == self.axis.degree
            arriving = None if last else self.axis.shift(block, "kv")
            into = core.attend(q, *self._pair(block), self._tiles(self._owner(step)), into)
            if arriving:
                block = arriving.wait()
        assert into is not None
        turn.o, turn.lse = into

    def _owner(self, step: int) -> int:
        """Return whose block is here after some hops."""
        return (self.axis.coordinate - step) % self.axis.degree

    def backward(self, do: Tensor, turn: Turn) -> tuple[Tensor, Arriving]:
        """Send the blocks round again; their gradients travel one hop behind and come home last."""
        saved, own = self._saved(do, turn), turn.kv
        assert own is not None
        dq, arriving = core.zeros(saved.q), self.axis.shift(own, "kv")
        home: Pending | None = None
        order = [*range(1, self.axis.degree), 0]
        for step in order:
            block = arriving.wait() if step else own
            if step and step + 1 < self.axis.degree:
                arriving = self.axis.shift(block, "kv")
            dkv = torch.zeros_like(block)
            into = (dq, *self._pair(dkv))
            tiles = self._tiles(self._owner(step))
            core.attend_backward(saved, *self._pair(block), tiles, self.job.tile, into)
            if home:  # they travelled while this block's were computed
                dkv.add_(home.wait())
            home = self.axis.shift(dkv, "gradients") if step else Pending(dkv)
        assert home is not None
        return join(dq), partial(_halves, home.wait())


def _unchanged(dk: Tensor, dv: Tensor) -> tuple[Tensor, Tensor]:
    return dk, dv


def _halves(kv: Tensor) -> tuple[Tensor, Tensor]:
    k, v = kv.chunk(2, -1)
    return k, v
