"""The caching allocator of torch, by its published rules and a published snapshot."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tspsim.allocator import BLOCK, CachingAllocator, Life, rounded, segment, taken

MIB = 2**20


@pytest.mark.parametrize(
    ("size", "block", "held"),
    [
        (1, 512, 2 * MIB), (512, 512, 2 * MIB), (513, 1024, 2 * MIB), (MIB, MIB, 2 * MIB),
        (MIB + 1, MIB + 512, 20 * MIB), (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB, 10 * MIB), (11 * MIB, 11 * MIB, 12 * MIB),
        (100 * MIB + 1, 100 * MIB + 512, 102 * MIB),
    ],
)  # fmt: skip
def test_blocks_and_segments_have_the_published_sizes(size: int, block: int, held: int) -> None:
    """512 bytes; segments of 2 MiB up to 1 MiB, 20 MiB below 10 MiB, then multiples of 2 MiB."""
    assert (rounded(size), segment(rounded(size)), taken([Life(0, inf, size)])) == (
        block, held, held,
    )  # fmt: skip


def test_a_published_snapshot_is_played_again() -> None:
    """A product, its operands and cuBLAS's workspace: discuss.pytorch.org/t/178671."""
    allocator = CachingAllocator()
    sizes = (40_000, 40, 4_000, 40, 40)
    w, b, x, inner, y = (allocator.allocate(size) for size in sizes)
    workspace = allocator.allocate(8_519_680)
    allocator.free(inner)
    assert [block.size for block in (w, b, x, inner, y)] == [40_448, 512, 4_096, 512, 512]
    assert [block.place for block in (w, b, x, inner, y)] == [0, 40_448, 40_960, 45_056, 45_568]
    assert workspace.size == 8_519_680
    assert allocator.taken == 2_097_152 + 20_971_520


def test_a_block_comes_from_the_smallest_free_one() -> None:
    """Of holes of 12 and 30 MiB, 11 MiB go into the first, and 30 MiB still into the other."""
    lives = [Life(0, 1, 30 * MIB), Life(0, 1, 12 * MIB), Life(1, inf, 11 * MIB)]
    assert taken([*lives, Life(2, inf, 30 * MIB)]) == 42 * MIB


def test_a_large_block_keeps_a_rest_of_up_to_one_mebibyte() -> None:
    """It is not split for so little: the rest serves nobody else, as a larger one does."""
    allocator = CachingAllocator()
    assert allocator.allocate(11 * MIB).size == 12 * MIB
    assert allocator.allocate(10 * MIB + 512).size == 10 * MIB + 512
    assert allocator.allocate(MIB + 512).size == 2 * MIB - 512


def test_free_neighbours_become_one() -> None:
    """Eight pieces of a segment hold a block of their size when the last of them is free."""
    pieces = [Life(0, moment, 2 * MIB) for moment in (3, 1, 4, 2, 5, 1, 2, 3)]
    assert taken([*pieces, Life(5, inf, 16 * MIB)]) == 20 * MIB
    assert taken([*pieces, Life(4, inf, 16 * MIB)]) == 20 * MIB + 16 * MIB


def test_what_fits_into_no_hole_takes_a_segment() -> None:
    """Fragmentation: 20 MiB are free beside 10 MiB in use, and 12 MiB are taken all the same."""
    lives = [Life(0, 1, 10 * MIB), Life(0, inf, 10 * MIB), Life(0, 1, 10 * MIB)]
    assert taken([*lives, Life(1, inf, 12 * MIB)]) == 42 * MIB


def test_a_full_device_gets_its_empty_segments_back() -> None:
    """As torch does before it gives up; what is in use stays, and may be too much."""
    lives = [Life(0, 1, 10 * MIB), Life(0, inf, 10 * MIB), Life(0, 1, 10 * MIB)]
    assert taken([*lives, Life(1, inf, 12 * MIB)], limit=40 * MIB) == 30 * MIB
    assert taken([*lives, Life(1, inf, 24 * MIB)], limit=30 * MIB) == 34 * MIB


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 24 * MIB), st.integers(0, 9)), max_size=40))
def test_blocks_never_overlap_and_all_come_back(steps: list[tuple[int, int]]) -> None:
    """Whatever is allocated and freed: no byte is given twice, none is lost."""
    allocator, blocks = CachingAllocator(), []
    for size, which in steps:
        block = allocator.allocate(size)
        assert block.size >= size
        assert block.place % BLOCK == 0
        for other in blocks:
            assert (
                block.place + block.size <= other.place or other.place + other.size <= block.place
            )
        blocks.append(block)
        if which < len(blocks):
            allocator.free(blocks.pop(which))
        assert sum(block.size for block in blocks) <= allocator.taken <= allocator.most
    for block in blocks:
        allocator.free(block)
    allocator._give_back()
    assert allocator.taken == 0
