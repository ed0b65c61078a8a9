"""Inference in the reference, without peers; `test_reference` has it on real ranks."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.reference_inference import PROMPTS, compare

torch = pytest.importorskip("torch", reason="torch is missing: install tspsim[calibrate]")


@pytest.mark.parametrize("strategy", ["tp", "sp", "tsp"])
@pytest.mark.parametrize("prompts", PROMPTS)
def test_one_rank_needs_nobody(strategy: str, prompts: str) -> None:
    """On one rank all are the dense model, token by token, without any process group."""
    case = {"prompts": prompts, "kv_heads": 4, "strategy": strategy, "degree": 1}
    found = compare(case, {})
    assert max(found["output"], found["logits"]) < 1e-10


def test_a_token_in_another_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison can fail: a cache that keeps what is new in the wrong order is seen."""
    from tspsim.calibrate.reference import cache

    put = cache.Cache.put
    monkeypatch.setattr(cache.Cache, "put", lambda self, kv, *rest: put(self, kv.flip(1), *rest))
    case = {"prompts": "uneven", "kv_heads": 4, "strategy": "tp", "degree": 1}
    assert compare(case, {})["output"] > 1e-3


@pytest.mark.parametrize("zigzag", [False, True])
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_every_token_has_one_place(degree: int, zigzag: bool) -> None:
    """Pieces of a prompt, also short ones, and what follows singly, once each, within places."""
    from tspsim.calibrate.reference.places import Layout, Sequence

    layout = Layout(degree, zigzag)
    for number, sequence in enumerate((Sequence((1, 11, 16), 7), Sequence((), 3), Sequence((2,)))):
        there: list[int] = []
        for coordinate in range(degree):
            spans = sequence.held(layout, number, coordinate)
            assert all(a.rows.stop <= b.row for a, b in pairwise(spans))
            assert all(span.rows.stop <= sequence.places(layout) for span in spans)
            there += [position for span in spans for position in range(*span[1:])]
        assert sorted(there) == list(range(sequence.length))


@pytest.mark.parametrize(
    ("asked", "held"),
    [
        (((0, 12),), ((0, 3), (9, 12))),
        (((0, 3), (9, 12)), ((0, 12),)),
        (((20, 23), (29, 32)), ((0, 5), (15, 20), (20, 23), (29, 32))),
        (((7, 8),), ((0, 5), (5, 8))),
        (((0, 3),), ((5, 8),)),
    ],
)
def test_tiles_leave_what_a_causal_mask_leaves(asked: Any, held: Any) -> None:
    """Every pair of the mask once, also where queries begin before the keys; others never."""
    from tspsim.calibrate.reference.partial import tiles

    q, k = ([p for a, b in spans for p in range(a, b)] for spans in (asked, held))
    counted = torch.zeros(len(q), len(k), dtype=torch.int64)
    for tile in tiles(asked, held):
        square = torch.ones_like(counted[tile.queries, tile.keys])
        counted[tile.queries, tile.keys] += square.tril() if tile.causal else square
    wanted = torch.tensor([[int(b <= a) for b in k] for a in q])
    assert torch.equal(counted, wanted)


def test_a_single_token_is_one_call() -> None:
    """It needs no mask: all that is there comes before it, or is itself."""
    from tspsim.calibrate.reference.partial import Tile, tiles

    held = ((0, 6), (9, 12), (14, 15))
    assert list(tiles(((14, 15),), held)) == [Tile(slice(0, 1), slice(0, 10), False)]


def test_parts_are_merged_to_the_whole() -> None:
    """Keys dealt over ranks, of which one has none, give the attention over all of them."""
    from tspsim.calibrate.reference.partial import Partial, merge
    from tspsim.calibrate.reference.places import Span

    torch.manual_seed(0)
    q, kv = torch.randn(1, 2, 8).double(), torch.randn(1, 7, 8).double()
    asked = [Span(0, 5, 7)]
    whole = Partial(q, 4)
    whole.add(asked, kv, [Span(0, 0, 7)])
    parts = [Partial(q, 4) for _ in range(3)]
    parts[0].add(asked, kv, [Span(0, 0, 2), Span(5, 5, 7)])
    parts[1].add(asked, kv, [Span(2, 2, 5)])
    o, lse = (torch.cat([getattr(part, name) for part in parts]) for name in ("o", "lse"))
    torch.testing.assert_close(merge(o, lse, 4), whole.o)
    assert not torch.allclose(o.mean(0, keepdim=True), whole.o)
