"""What fills the memory of a rank, as torch's memory snapshot (pytorch.org/memory_viz).

A file for every rank that differs from those before it. Buffers are allocated and freed when they
begin and end to live, at the places that torch's caching allocator gives them; all that lives at
the beginning is allocated there. What stands for the stack of an allocation is the buffer and the
op that writes it first, its layer, and its kind, which is its colour too.

The viewer reads pickles of protocol 2 to 4 and builtins alone (``torch/utils/viz/MemoryViz.js``).
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tspsim.allocator import CachingAllocator
from tspsim.engine.timeline import Timeline
from tspsim.memory import lifetimes
from tspsim.program.columns import columns_of
from tspsim.program.types import Program
from tspsim.program.varying import of_rank

if TYPE_CHECKING:
    from tspsim.result import Result

NAME = "memory-snapshot"
FILES = "memory.*.pickle"

#: Where the addresses begin: nothing lies at 0.
BASE = 0x7F00_0000_0000
#: The viewer needs this category where there are others: what is drawn has none of it.
NO_KIND = "unknown"

Event = dict[str, Any]


def export(result: Result, target: Path) -> list[Path]:
    """Write the snapshots of a result."""
    first: dict[int, int] = {}  # symmetric ranks share their memory
    for rank in result.timeline.played:
        first.setdefault(id(result.memory.ranks[rank]), rank)
    paths = []
    for rank in first.values():
        capacity = result.scenario.topology.devices[rank].memory
        paths.append(target / f"memory.{rank}.pickle")
        with paths[-1].open("wb") as file:
            pickle.dump(snapshot(result.timeline, rank, capacity), file, protocol=4)
    return paths


class Lived(NamedTuple):
    """A buffer: when it lives, its bytes, what stands for its stack, and its kind."""

    birth: float
    death: float
    bytes: int
    frames: list[dict[str, Any]]
    kind: str


def snapshot(timeline: Timeline, rank: int, capacity: float) -> dict[str, Any]:
    """Return the snapshot of a rank at the end of the step, with all that led to it.

    Parameters
    ----------
    timeline : Timeline
    rank : int
    capacity : float
        Bytes of the device.
    """
    player = _Player(capacity)
    lives = list(_lives(timeline, rank))
    moments = [(life.birth, True, at) for at, life in enumerate(lives)]
    moments += [(life.death, False, at) for at, life in enumerate(lives) if life.death < np.inf]
    for moment, born, at in sorted(moments):  # what ends makes room for what begins
        player.play(round(moment * 1e6), at, lives[at] if born else None)
    return {"segments": player.segments(), "device_traces": [player.events]}


def _lives(timeline: Timeline, rank: int) -> Iterator[Lived]:
    """Yield the buffers of a rank that ever live, in the order of its program."""
    program, mesh, found = timeline.programs.of(rank), timeline.mesh, lifetimes(timeline, rank)
    first = _first_ops(program)
    for buffer, birth, death in zip(
        program.buffers, found.birth.tolist(), found.death.tolist(), strict=True
    ):
        if birth < death:  # not a number where none counts
            at = first[buffer.index]
            layer = "no layer" if buffer.layer is None else f"layer {buffer.layer}"
            frames: list[dict[str, Any]] = [
                {"name": buffer.name, "filename": program.ops[at].name if at >= 0 else "",
                 "line": at},
                {"name": layer, "filename": "model", "line": 0},
                {"name": buffer.kind, "filename": "kind", "line": 0},
            ]  # fmt: skip
            size = of_rank(buffer.bytes, mesh, rank)
            yield Lived(birth, death, size, frames, buffer.kind)


def _first_ops(program: Program) -> list[int]:
    """Return, by buffer, the first op that writes it, or that reads it; -1 where none does."""
    columns, many = columns_of(program), len(program.ops)
    first = np.full(len(program.buffers), many, dtype=np.int64)
    for accesses in (columns.writes, columns.reads):
        found = np.full_like(first, many)
        np.minimum.at(found, accesses.numbers, accesses.ops)
        first = np.where(first < many, first, found)
    return np.where(first < many, first, -1).tolist()  # type: ignore[no-any-return]


class _Player:
    """Allocates and frees, and notes it."""

    def __init__(self, capacity: float) -> None:
        self.events: list[Event] = []
        self._allocator = CachingAllocator(capacity)
        self._held: dict[int, int] = {}  # segments that have been noted
        self._blocks: dict[int, tuple[Any, Lived]] = {}

    def play(self, micros: int, number: int, life: Lived | None) -> None:
        """Let a buffer begin, or, where there is none, end."""
        if life is None:
            block, life = self._blocks.pop(number)
            self._allocator.free(block)
            for action in ("free_requested", "free_completed"):
                self._note(action, block.place, life.bytes, micros, life.frames, life.kind)
            return
        block = self._allocator.allocate(life.bytes)
        self._blocks[number] = block, life
        self._note_segments(micros)
        self._note("alloc", block.place, life.bytes, micros, life.frames, life.kind)

    def _note_segments(self, micros: int) -> None:
        now = self._allocator.segments
        if now == self._held:
            return
        for place in self._held.keys() - now.keys():
            self._note("segment_free", place, self._held[place], micros, [], NO_KIND)
        for place in now.keys() - self._held.keys():
            self._note("segment_alloc", place, now[place], micros, [], NO_KIND)
        self._held = dict(now)

    def _note(
        self, action: str, place: int, size: int, micros: int, frames: list[Any], kind: str
    ) -> None:
        self.events.append(
            {"action": action, "addr": BASE + place, "size": size, "stream": 0,
             "time_us": micros, "frames": frames, "category": kind}
        )  # fmt: skip

    def segments(self) -> list[dict[str, Any]]:
        """Return the segments that are held, with their blocks, free ones too."""
        alive = sorted(self._blocks.values(), key=lambda each: each[0].place)
        return [
            _segment(place, size, [each for each in alive if place <= each[0].place < place + size])
            for place, size in sorted(self._allocator.segments.items())
        ]


def _segment(place: int, size: int, alive: list[tuple[Any, Lived]]) -> dict[str, Any]:
    """Return a segment: its blocks follow each other without gaps."""
    blocks: list[dict[str, Any]] = []
    end = place
    for block, life in alive:
        blocks += _free(end, block.place)
        blocks.append(
            {"address": BASE + block.place, "size": block.size, "requested_size": life.bytes,
             "state": "active_allocated", "frames": life.frames}
        )  # fmt: skip
        end = block.place + block.size
    blocks += _free(end, place + size)
    allocated = sum(block.size for block, _ in alive)
    requested = sum(life.bytes for _, life in alive)
    return {
        "device": 0, "address": BASE + place, "total_size": size, "stream": 0,
        "allocated_size": allocated, "active_size": allocated, "requested_size": requested,
        "segment_type": "large", "segment_pool_id": (0, 0), "is_expandable": False,
        "frames": [], "blocks": blocks,
    }  # fmt: skip


def _free(start: int, end: int) -> list[dict[str, Any]]:
    """Return the free block between two places, where there is one."""
    if start == end:
        return []
    size = end - start
    return [{"address": BASE + start, "size": size, "requested_size": 0, "state": "inactive",
             "frames": []}]  # fmt: skip
