"""Two passes as one: their ops in turn, so that what one says travels while the other computes.

Both have been recorded, one after the other, and each keeps its own order. A pass is cut where its
compute waits for communication that it has issued since the last cut; there the other one goes on.
What of the second needs data of the first stays behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tspsim.program.ledger import uses_of
from tspsim.program.types import Op


class Before(NamedTuple):
    """What was there before two passes.

    Attributes
    ----------
    lanes : sequence of int
        Of every op; those of the passes may follow.
    computed : int
        The last op on the compute lane, or -1.
    awaited : tuple of int
        What the next one waits for, whatever it reads.
    """

    lanes: Sequence[int]
    computed: int
    awaited: tuple[int, ...]


class Woven(NamedTuple):
    """Two passes as one.

    Attributes
    ----------
    ops : list of Op
        In issue order.
    waits : list of tuple of int
        What each waits for.
    places : dict of int to int
        By op as it was recorded: where it is issued.
    """

    ops: list[Op]
    waits: list[tuple[int, ...]]
    places: dict[int, int]


@dataclass(frozen=True, slots=True)
class Passes:
    """Two passes that were recorded one after the other.

    Parameters
    ----------
    ops : sequence of Op
        Of both.
    waits : sequence of tuple of int
        What each of them waits for.
    first, second : int
        The first op of either.
    """

    ops: Sequence[Op]
    waits: Sequence[tuple[int, ...]]
    first: int
    second: int

    def together(self, a: int, b: int) -> bool:
        """Whether two ops are of one pass."""
        return (a < self.second) == (b < self.second)

    def op(self, index: int) -> Op:
        """Return one of the ops."""
        return self.ops[index - self.first]


def woven(passes: Passes, before: Before, *, second_leads: bool) -> Woven:
    """Return two passes as one.

    Both are spread evenly: where they have as many parts they take turns.

    Parameters
    ----------
    passes : Passes
    before : Before
    second_leads : bool
        The second pass has the first turn.
    """
    needs = _between(passes)
    order = _turns(passes, needs, second_leads=second_leads)
    places = {index: at for at, index in enumerate(order, passes.first)}
    ops = [passes.op(index)._replace(index=places[index]) for index in order]
    return Woven(ops, list(_waits(passes, places, needs, before)), places)


def _turns(passes: Passes, needs: Mapping[int, Sequence[int]], *, second_leads: bool) -> list[int]:
    """Return the ops of two passes in the order in which they are issued.

    `needs`: by op of the second pass, those of the first that it has to follow.
    """
    ways = list(_parts(passes, 0)), list(_parts(passes, 1))
    places = [
        ((number + 0.5) / len(parts), side != second_leads, side, number)
        for side, parts in enumerate(ways)
        for number in range(len(parts))
    ]
    order, done = list[int](), 0
    for _, _, side, number in sorted(places):
        part = ways[side][number]
        last = max((n for op in part for n in needs.get(op, ())), default=-1) if side else part[-1]
        while done < len(ways[0]) and ways[0][done][0] <= last:
            order += ways[0][done]
            done += 1
        order += part if side else ()
    return order


def _parts(passes: Passes, side: int) -> Iterator[range]:
    """Yield the parts of a pass, each from where it waits for communication of its own."""
    stop = passes.first + len(passes.ops)
    begin, end = ((passes.first, passes.second), (passes.second, stop))[side]
    for index in range(begin, end):
        if passes.op(index).lane == 0 and _waits_for_own(passes, index, begin):
            if index > begin:
                yield range(begin, index)
            begin = index
    if end > begin:
        yield range(begin, end)


def _waits_for_own(passes: Passes, index: int, since: int) -> bool:
    """Whether an op waits for communication that its pass has issued since some op."""
    waits = passes.waits[index - passes.first]
    return any(before >= since and passes.op(before).message is not None for before in waits)


def _between(passes: Passes) -> dict[int, tuple[int, ...]]:
    """Return, by op of the second pass, those of the first that have used the same data."""
    uses = uses_of(passes.ops[: passes.second - passes.first])
    written, found = set[int](), dict[int, tuple[int, ...]]()
    for op in passes.ops[passes.second - passes.first :]:
        needs = list[int]()
        for operands, writes in ((op.inputs, False), (op.outputs, True)):
            for buffer in {o.buffer.index for o in operands} - written:
                writer, readers = uses.get(buffer, (-1, {}))
                needs += [writer] if writer >= 0 else []
                needs += readers.values() if writes else ()
        if needs:
            found[op.index] = tuple(needs)
        written.update(o.buffer.index for o in op.outputs)
    return found


def _waits(
    passes: Passes, places: Mapping[int, int], needs: Mapping[int, Sequence[int]], before: Before
) -> Iterator[tuple[int, ...]]:
    """Yield what the ops wait for, in the order in which they are issued.

    What an op has waited for stays, but for the other pass: of that, data that it needs. And, as
    ever, communication waits for what was computed before it.
    """
    lanes, behind = [passes.op(index).lane for index in places], _behind(passes, before.computed)
    computed, awaited = before.computed, before.awaited
    for index, place in places.items():
        op, waited = passes.op(index), passes.waits[index - passes.first]
        kept = [w for w in waited if w < passes.first or passes.together(w, index)]
        found = [places.get(w, w) for w in (*kept, *needs.get(index, ()))]
        if op.lane == 0:
            found += awaited
            computed, awaited = place, ()
        elif op.message is not None and behind[index - passes.first] in waited:
            found.append(computed)
        latest: dict[int, int] = {}
        for at in found:
            lane = before.lanes[at] if at < passes.first else lanes[at - passes.first]
            if at >= 0 and lane != op.lane:
                latest[lane] = max(at, latest.get(lane, -1))
        yield tuple(sorted(latest.values()))


def _behind(passes: Passes, computed: int) -> list[int]:
    """Return, by op, the last one on the compute lane before it, as they were recorded."""
    found = []
    for op in passes.ops:
        found.append(computed)
        computed = op.index if op.lane == 0 else computed
    return found
