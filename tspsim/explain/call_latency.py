"""The latency that a profile puts on the collective calls of a run: the mean of those made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias, cast

from tspsim.collectives.choose import Chooser
from tspsim.engine.timeline import Timeline, Transfer
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology

Ranks: TypeAlias = tuple[int, ...]


class _Call(NamedTuple):
    """What of a call its protocol depends on."""

    kind: CollectiveKind
    algorithm: str
    members: int
    network: bool
    bytes: int


def call_latency(timeline: Timeline, topology: Topology) -> float:
    """Return the seconds of the profile in a call, on average over the calls of the played ranks.

    Which of a profile's protocols carries a call is for its size, span and members: most profiles
    have some that a run never uses.
    """
    if not topology.profile.protocols:
        return 0.0
    counts: Counter[_Call] = Counter()
    examples: dict[_Call, Ranks] = {}
    for transfer, ranks in _calls(timeline):
        call = _call(transfer, ranks, topology)
        counts[call] += 1
        examples.setdefault(call, ranks)
    choosers = {call.algorithm: Chooser(topology, call.algorithm) for call in counts}

    def of(call: _Call) -> float:
        plan = choosers[call.algorithm].choose(call.kind, call.bytes, examples[call], 0)
        return plan.of_call

    whole = sum(times * of(call) for call, times in counts.items())
    return whole / counts.total() if counts else 0.0


def _calls(timeline: Timeline) -> Iterator[tuple[Transfer, Ranks]]:
    """Yield a transfer of every call, and its members; of sends (`Transfer.send`) the first."""
    seen: set[tuple[int, Ranks]] = set()
    for transfer in timeline.recorded:
        if not transfer.send:
            yield transfer, transfer.ranks
            continue
        program = timeline.programs.of(transfer.ranks[0])
        lane = program.lanes[program.ops[transfer.op].lane]
        members = lane.members(timeline.mesh, transfer.ranks[0])
        if (transfer.op, members) not in seen:
            seen.add((transfer.op, members))
            yield transfer, members


def _call(transfer: Transfer, ranks: Ranks, topology: Topology) -> _Call:
    kind = cast("CollectiveKind", "shift" if transfer.hop else transfer.collective)
    outside = len({topology.node(rank) for rank in ranks}) > 1
    return _Call(kind, transfer.algorithm, len(ranks), outside, transfer.bytes)
