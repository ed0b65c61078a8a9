"""Closed forms: how long ranks wait under each schedule, and what they hold, where nothing is sent.

Times are those of one stage: where a rank has v chunks, each takes a v-th of the rank's times, so
what is printed as ``(p - 1)(F + B + W) / v`` stands here without the v. Sources: Narayanan et al.,
arXiv:2104.04473, section 2.2 (1F1B, interleaved); Lamy-Poirier, arXiv:2211.05953 (looped
breadth-first); Qi et al., arXiv:2401.10241, table 1 and section 6 (zero bubble);
https://github.com/deepseek-ai/DualPipe (DualPipe and DualPipeV, where a pair takes as long as its
two actions). Between which times they hold was found by playing the orders.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tspsim.schedules.parts.base import Size


class Times(NamedTuple):
    """How long the passes of one stage take: forward, input gradient, weight gradients."""

    f: float
    i: float
    w: float


class Form(NamedTuple):
    """The closed forms of one schedule.

    Attributes
    ----------
    bubble : callable
        The longest time for which a rank waits, of size and times.
    held : callable
        How many stages' activations a rank holds at most until their weight gradients are there, of
        size and rank.
    sizes, times : callable
        For which sizes both are exactly that, and for which times the bubble is.
    window : bool
        Whether the bubble is that of a rank's own window: optimizer steps need not begin together.
    """

    bubble: Callable[[Size, Times], float]
    held: Callable[[Size, int], int]
    sizes: Callable[[Size], bool] = lambda _: True
    times: Callable[[Times], bool] = lambda _: True
    window: bool = False


def _fill(size: Size, t: Times) -> float:
    """Return the time in which a pipeline fills and drains, with whole backwards."""
    return (size.ranks - 1) * (t.f + t.i + t.w)


def _split(ranks: int, weights: int, t: Times) -> float:
    """Return the same time when the weight gradients of some micro-batches fall into it."""
    return (ranks - 1) * (t.f + t.i) - weights * t.w


def _short_weights(t: Times) -> bool:
    return t.w <= min(t.f, t.i)


def _all(size: Size) -> int:
    """Return how many passes a rank has."""
    return size.microbatches * size.chunks


def _whole_rounds(size: Size) -> bool:
    return size.microbatches % size.ranks == 0


#: By the name of the schedule.
FORMS: dict[str, Form] = {
    "gpipe": Form(_fill, lambda n, _: n.microbatches),
    "1f1b": Form(_fill, lambda n, rank: min(n.microbatches, n.ranks - rank)),
    "interleaved": Form(
        _fill,
        lambda n, r: min(_all(n), 2 * (n.ranks - 1 - r) + (n.chunks - 1) * n.ranks + 1),
        sizes=_whole_rounds,
    ),
    "looped_bfs": Form(_fill, lambda n, _: _all(n), sizes=lambda n: n.microbatches >= n.ranks),
    "interleaved_zb": Form(
        lambda n, t: _split(n.ranks, n.ranks - 1, t),
        lambda n, _: min(_all(n), n.chunks * n.ranks),
        sizes=_whole_rounds,
        times=_short_weights,
    ),
    "zb_h1": Form(
        lambda n, t: _split(n.ranks, min(n.microbatches, n.ranks) - 1, t),
        lambda n, _: min(n.microbatches, n.ranks),
        times=_short_weights,
    ),
    "zb_h2": Form(
        lambda n, t: _split(n.ranks, min(n.microbatches, 2 * n.ranks - 1) - 1, t),
        lambda n, _: min(n.microbatches, 2 * n.ranks - 1),
        times=lambda t: t.w <= min(t.f, (t.f + t.i) / 2),
        window=True,
    ),
    "zb_v": Form(
        lambda n, t: (n.ranks - 1) * t.i,
        lambda n, _: 2 * n.ranks,
        sizes=lambda n: n.microbatches >= 2 * n.ranks - 1,
        times=lambda t: max(t.f, t.w) <= t.i <= 2 * t.w,
    ),
    "dualpipe_v": Form(
        lambda n, t: (n.ranks - 1) * (t.f + 2 * t.i - t.w),
        lambda n, _: 2 * n.ranks + 1,
        times=lambda t: t.w <= t.i == t.f,
    ),
    "dualpipe": Form(
        lambda n, t: (n.ranks // 2 - 1) * (t.f + 2 * t.i - t.w),
        lambda n, _: n.ranks + 1,
        times=lambda t: t.w <= t.i == t.f,
    ),
}
