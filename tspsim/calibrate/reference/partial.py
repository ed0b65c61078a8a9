"""Attention of some tokens of a sequence to some others, wherever they lie; merging of parts."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from tspsim.calibrate.reference import attention as core
from tspsim.calibrate.reference.attention import Tile, join, split
from tspsim.calibrate.reference.config import Ranges
from tspsim.calibrate.reference.places import Span, ranges


class Partial:
    """Output and log-sum-exp of some queries over what is here of every sequence.

    Parameters
    ----------
    q : Tensor
        [groups, rows, heads * d].
    d : int
        Width of one head.

    Attributes
    ----------
    o, lse : Tensor
        [groups, rows, heads * d] and [groups, rows, heads]; 0 and -inf where there is no key.
    """

    def __init__(self, q: Tensor, d: int) -> None:
        self._q, self._d = q, d
        wide = torch.promote_types(q.dtype, torch.float32)
        self.o = torch.zeros_like(q)
        heads = q.shape[-1] // d
        self.lse = q.new_full((*q.shape[:2], heads), float("-inf"), dtype=wide)

    def add(self, asked: list[Span], kv: Tensor, held: list[Span]) -> None:
        """Let the queries of one sequence attend to its K and V, [groups, places, 2 * width]."""
        asked, held = (sorted(spans, key=lambda span: span.start) for spans in (asked, held))
        found = list(tiles(ranges(asked), ranges(held))) if asked and held else []
        if not found:
            return
        q = split(_chosen(self._q, asked), self._d)
        k, v = (split(x, self._d) for x in _chosen(kv, held).chunk(2, -1))
        nothing = torch.zeros_like(q), self.lse.new_full(q.shape[:3], float("-inf"))
        o, lse = core.attend(q, k, v, found, nothing)
        _put(join(o), self.o, asked)
        _put(lse.transpose(1, 2), self.lse, asked)


def _chosen(x: Tensor, spans: list[Span]) -> Tensor:
    """Return the rows of spans; what lies one after another is not copied."""
    slices = list(_slices(spans))
    parts = [x[:, at] for at in slices]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _put(x: Tensor, into: Tensor, spans: list[Span]) -> None:
    start = 0
    for at in _slices(spans):
        into[:, at] = x[:, start : start + at.stop - at.start]
        start += at.stop - at.start


def _slices(spans: list[Span]) -> Iterator[slice]:
    first = spans[0].row
    for span, behind in zip(spans, [*spans[1:], None], strict=True):
        end = span.rows.stop
        if behind is None or behind.row != end:
            yield slice(first, end)
            first = behind.row if behind else end


def tiles(asked: Ranges, held: Ranges) -> Iterator[Tile]:
    """Yield the tiles that a causal mask leaves: neighbours without a mask as one.

    Queries are cut where pieces of keys begin and end. A token alone needs no mask for its own key.
    """
    edges = sorted({edge for span in held for edge in span})
    cut = tuple(piece for span in asked for piece in _cut(*span, edges))
    last: Tile | None = None
    for queries, keys, causal in core.tiles(cut, held, causal=True):
        tile = Tile(queries, keys, causal and queries.stop - queries.start > 1)
        if last and last.queries == queries and last.keys.stop == keys.start and not tile.causal:
            last = Tile(queries, slice(last.keys.start, keys.stop), False)
            continue
        if last:
            yield last
        last = tile
    if last:
        yield last


def _cut(start: int, stop: int, edges: list[int]) -> Iterator[tuple[int, int]]:
    inner = [start, *(edge for edge in edges if start < edge < stop), stop]
    yield from pairwise(inner)


def merge(o: Tensor, lse: Tensor, d: int) -> Tensor:
    """Return the outputs of partial softmaxes joined, [1, rows, width] of [parts, rows, width].

    Each weighs as much as the exponential of its log-sum-exp, [parts, rows, heads]; rows without
    any key are padding.
    """
    share = lse.softmax(0).nan_to_num()
    heads = o.unflatten(-1, (-1, d))
    return (heads * share.unsqueeze(-1)).sum(0, keepdim=True).flatten(-2).to(o.dtype)
