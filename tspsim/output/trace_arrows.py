"""Flow arrows of a trace: along every hop from sender to receiver, from a broadcast's root.

Where single sends were played, a broadcast has an arrow for every pair that sent, instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from tspsim.engine.timeline import Timeline, Transfer
from tspsim.output.trace_times import Times
from tspsim.output.trace_tracks import tid
from tspsim.program.partners import Partners


def arrows(timeline: Timeline, times: Mapping[int, Times]) -> list[str]:
    """Return the events of all arrows.

    Parameters
    ----------
    timeline : Timeline
    times : Mapping of int to Times
        The slices by rank, as they stand in the trace; others get no arrows.
    """
    partners = Partners()
    lines: list[str] = []
    for transfer in _once(timeline.transfers):
        for sender, receiver in _pairs(timeline, transfer):
            if sender not in times or receiver not in times:
                continue
            here, there = timeline.programs.of(sender), timeline.programs.of(receiver)
            first = timeline.programs.of(transfer.ranks[0])
            own = sender == transfer.ranks[0]
            sent = transfer.op if own else partners.find(first, transfer.op, here)
            received = partners.find(first, transfer.op, there)
            ends = _inside(times[sender], sent, times[receiver], received)
            if ends is None:
                continue
            head = f'"cat":"flow","name":"{transfer.collective}","id":{len(lines)}'
            tail = tid(sender, here.ops[sent].lane)
            tip = tid(receiver, there.ops[received].lane)
            lines.append(f'{{"ph":"s","pid":{sender},"tid":{tail},"ts":{ends[0]!r},{head}}}')
            lines.append(
                f'{{"ph":"f","bp":"e","pid":{receiver},"tid":{tip},"ts":{ends[1]!r},{head}}}'
            )
    return lines


def _once(transfers: Iterable[Transfer]) -> Iterator[Transfer]:
    """Yield transfers; of the single sends of a call that go the same way only the first."""
    sent: set[tuple[int, tuple[int, ...]]] = set()
    for transfer in transfers:
        way = transfer.op, transfer.ranks
        if not transfer.send or way not in sent:
            yield transfer
        if transfer.send:
            sent.add(way)


def _pairs(timeline: Timeline, transfer: Transfer) -> Iterator[tuple[int, int]]:
    """Yield sender and receiver of every arrow of a transfer."""
    ranks = transfer.ranks
    if transfer.hop or (transfer.send and transfer.collective == "broadcast"):
        if ranks[0] != ranks[1]:
            yield ranks[0], ranks[1]
    elif transfer.collective == "broadcast":
        message = timeline.programs.of(ranks[0]).ops[transfer.op].message
        root = ranks[message.root or 0] if message else ranks[0]
        yield from ((root, rank) for rank in ranks if rank != root)


def _inside(here: Times, sent: int, there: Times, received: int) -> tuple[float, float] | None:
    """Return two moments, one inside either slice, the second not before the first."""
    start = max(here.start[sent], there.start[received])
    end = min(
        here.start[sent] + here.duration[sent], there.start[received] + there.duration[received]
    )
    # An arrow binds to the slice around its moment: at an edge that could be the neighbour.
    if end - start < 4e-3:
        return None
    return start + 0.25 * (end - start), start + 0.75 * (end - start)
