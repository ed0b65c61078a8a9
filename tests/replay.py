"""Plays a collective chunk by chunk: what every member holds before and after, whoever sends it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from tspsim.collectives.in_switch import Reductions
from tspsim.collectives.schedule import Schedule
from tspsim.program.types import CollectiveKind

#: What a member holds: for every chunk, how often the part of every member is in it.
Held = dict[int, Counter[int]]


def before(kind: CollectiveKind, n: int, root: int, pieces: int) -> list[Held]:
    """Return what the members hold at the start."""
    everything = range(pieces)
    match kind:
        case "all_gather":
            return [{c: Counter([i]) for c in own(i, n, pieces)} for i in range(n)]
        case "broadcast" | "shift":
            first = 0 if kind == "shift" else root
            whole = {chunk: Counter([first]) for chunk in everything}
            return [whole if i == first else {} for i in range(n)]
        case "all_to_all":  # as many chunks for every other member, cut finer by n
            return [
                {c: Counter([i]) for c in range(i * pieces, (i + 1) * pieces)} for i in range(n)
            ]
        case _:
            return [{chunk: Counter([i]) for chunk in everything} for i in range(n)]


def after(kind: CollectiveKind, n: int, root: int, pieces: int) -> list[Held]:
    """Return what the members must hold at the end, at least."""
    whole = {chunk: Counter(range(n)) for chunk in range(pieces)}
    match kind:
        case "all_gather":
            gathered = {c: Counter([i]) for i in range(n) for c in own(i, n, pieces)}
            return [gathered for _ in range(n)]
        case "reduce_scatter":
            return [{c: whole[c] for c in own(i, n, pieces)} for i in range(n)]
        case "all_reduce":
            return [whole for _ in range(n)]
        case "reduce":
            return [whole if i == root else {} for i in range(n)]
        case "all_to_all":
            return [
                {c: Counter([i]) for i in range(n) for c in own(i * n + (j - i) % n, n, pieces)}
                for j in range(n)
            ]
        case "broadcast" | "shift":
            first = 0 if kind == "shift" else root
            return [{chunk: Counter([first]) for chunk in range(pieces)} for _ in range(n)]


def own(i: int, n: int, pieces: int) -> range:
    """Return the chunks of share i, where n shares make up a message of so many pieces."""
    share, rest = divmod(pieces, n)
    assert rest == 0
    return range(i * share, (i + 1) * share)


def replay(schedule: Schedule, held: list[Held]) -> list[Held]:
    """Return what the members hold when all sends are done; sending what one lacks fails."""
    for step in schedule.steps:
        old, held = held, [dict(chunks) for chunks in held]
        for send in step:
            for chunk in send.chunks:
                sent, target = old[send.source][chunk], held[send.target]
                target[chunk] = target[chunk] + sent if send.reduce else sent
    return held


def replay_in_switch(reductions: Reductions, held: list[Held]) -> list[Held]:
    """Return what the members hold when a switch has added up and handed on."""
    for step in reductions.steps:
        old, held = held, [dict(chunks) for chunks in held]
        for part in step:
            for chunk in part.chunks:
                total = sum((old[source][chunk] for source in part.sources), Counter[int]())
                for target in part.targets:
                    held[target][chunk] = total
    return held


def does_its_job(kind: CollectiveKind, schedule: Schedule | Reductions, n: int, root: int) -> bool:
    """Return whether a replay ends with what it must."""
    held = before(kind, n, root, schedule.pieces)
    try:
        if isinstance(schedule, Schedule):
            held = replay(schedule, held)
        else:
            held = replay_in_switch(schedule, held)
    except KeyError:
        return False
    wanted = after(kind, n, root, schedule.pieces)
    return all(
        got.get(chunk) == parts
        for got, want in zip(held, wanted, strict=True)
        for chunk, parts in want.items()
    )


def without_one_send(schedule: Schedule) -> Iterator[Schedule]:
    """Yield the schedule with one of its sends left out, for each of them."""
    for s, step in enumerate(schedule.steps):
        for i in range(len(step)):
            less = (*step[:i], *step[i + 1 :])
            yield replace(schedule, steps=(*schedule.steps[:s], less, *schedule.steps[s + 1 :]))
