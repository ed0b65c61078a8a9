"""How new tokens meet what is cached: at home, by K/V that travel, by queries, or by heads."""

from __future__ import annotations

import torch
from torch import Tensor

from tspsim.calibrate.reference.attention import split
from tspsim.calibrate.reference.cache import Cache
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.exchange import Exchange, Turn
from tspsim.calibrate.reference.mesh import Axis, Pending
from tspsim.calibrate.reference.partial import Partial, merge
from tspsim.calibrate.reference.places import Layout, Span, Step

LANE = "kv"


class CachedExchange(Exchange):
    """Attention to a cache.

    Parameters
    ----------
    job : Job
    axis : Axis
        The one that cuts what is cached.
    cache : Cache
    copies : int
        So many neighbours project the same keys and values.

    Attributes
    ----------
    step : Step
        What is computed.
    rows : Layout
        How its new tokens lie.
    """

    step: Step
    rows: Layout

    def __init__(self, job: Job, axis: Axis, cache: Cache, copies: int = 1) -> None:
        super().__init__(job, axis)
        self.cache, self.copies, self._turn = cache, copies, 0

    @property
    def asked(self) -> list[list[Span]]:
        """Where this rank has the new tokens."""
        return self.step.asked(self.rows, self.cache.coordinate)

    def begin(self, kv: Tensor) -> Pending | None:
        """Write what was projected into the cache; nothing travels yet."""
        self._write(kv)
        return None

    def _write(self, kv: Tensor) -> slice:
        """Write one group of heads; return which. They come in turns, each `copies` times."""
        turn, self._turn = self._turn, (self._turn + 1) % (self.cache.groups * self.copies)
        group = slice(turn // self.copies, turn // self.copies + 1)
        if turn % self.copies == 0:
            self.cache.put(kv, self.asked, self.step, group)
        return group

    def _here(self, q: Tensor, asked: list[list[Span]]) -> Partial:
        """Return attention to this rank's cache."""
        found = Partial(q, self.d)
        for number, spans in enumerate(asked):
            found.add(spans, self.cache.kept[number], self.cache.held(self.step, number))
        return found

    def _home(self, o: Tensor, lse: Tensor) -> Tensor:
        """Send [ranks, rows, ...] to their ranks, in one message; return what comes, merged."""
        ranks, wide = o.shape[0], o.shape[-1] * o.itemsize
        parts = [x.contiguous().view(torch.uint8) for x in (o, lse)]
        message, each = torch.cat(parts, -1), [1] * ranks
        came = self.axis.all_to_all(message, each, each, LANE).wait()
        some = came[..., :wide].view(o.dtype), came[..., wide:].view(lse.dtype)
        return merge(*some, self.d)


class Local(CachedExchange):
    """All tokens of a rank's heads are cached there."""

    def attend(self, turn: Turn, *, again: bool = False) -> None:  # noqa: ARG002
        """Attend to what is cached."""
        turn.o = split(self._here(turn.q, self.asked).o, self.d)


class KeysGathered(CachedExchange):
    """K and V of all ranks in one all_gather; where a beginning is cached, that too."""

    def begin(self, kv: Tensor) -> Pending | None:
        """Write, and begin to gather."""
        group = self._write(kv)
        whole = self.cache.rows(group) if self._resumes else kv
        return self.axis.all_gather(whole[0], LANE)

    @property
    def _resumes(self) -> bool:
        return any(sequence.length for sequence in self.step.before)

    def attend(self, turn: Turn, *, again: bool = False) -> None:  # noqa: ARG002
        """Attend to all that came."""
        assert turn.gathered is not None
        kv = turn.gathered.wait().flatten(0, 1).unsqueeze(0)
        held = self.cache.of_all(self.step) if self._resumes else self.step.of_all(self.rows)
        found = Partial(turn.q, self.d)
        for asked, there in zip(self.asked, held, strict=True):
            found.add(asked, kv, there)
        turn.o = split(found.o, self.d)


class QueriesGathered(CachedExchange):
    """Queries of all ranks in one all_gather; partial outputs go back, and are merged."""

    def attend(self, turn: Turn, *, again: bool = False) -> None:  # noqa: ARG002
        """Attend, for everyone, to what is cached here."""
        q = self.axis.all_gather(turn.q[0], LANE).wait()
        found = self._here(q.flatten(0, 1).unsqueeze(0), self.step.of_all(self.rows))
        o, lse = (x.view(*q.shape[:2], -1) for x in (found.o, found.lse))
        turn.o = split(self._home(o, lse), self.d)


class HeadsGathered(CachedExchange):
    """Every rank has projected its heads of all new tokens, and caches all heads of some."""

    def begin(self, kv: Tensor) -> Pending | None:  # noqa: ARG002
        """Begin nothing: queries travel in the same message."""
        return None

    def attend(self, turn: Turn, *, again: bool = False) -> None:  # noqa: ARG002
        """Gather all heads, attend to what is cached here, return outputs to their heads' ranks."""
        assert turn.kv is not None
        wide = turn.q.shape[-1]
        came = self.axis.all_gather(torch.cat([turn.q, turn.kv], -1)[0], LANE).wait()
        self.cache.put(came[:: self.copies, :, wide:], self.asked, self.step, slice(None))
        # Neighbours with the same keys and values are heads of one group.
        q = came[..., :wide].unflatten(0, (-1, self.copies)).transpose(1, 2).flatten(2)
        found = self._here(q, self.asked)
        o, lse = (self._by_rank(x) for x in (found.o, found.lse))
        turn.o = split(self._home(o, lse), self.d)

    def _by_rank(self, x: Tensor) -> Tensor:
        """Return [groups, rows, ...] as [ranks, rows, ...]."""
        return x.unflatten(-1, (self.copies, -1)).transpose(1, 2).flatten(0, 1)
