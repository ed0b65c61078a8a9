"""Single sends last as long as the coflow of their collective where nothing contends."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests import toy
from tests.sends import STEPS, TOPOLOGIES, carried, members, message
from tspsim.collectives.algorithm import Algorithm
from tspsim.collectives.choose import Chooser
from tspsim.collectives.plan import Plan
from tspsim.collectives.waves import Wave, Waves, unrolled
from tspsim.engine.alone import play_alone
from tspsim.engine.network.model import COFLOWS
from tspsim.engine.network.sends import FILL, LEAST_PART, MOST_PARTS, best_parts
from tspsim.program.types import COLLECTIVE_KINDS, CollectiveKind, Message
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol


def in_step(played: Sequence[Wave], ranks: tuple[int, ...], topology: Topology) -> list[float]:
    """Return the seconds per chunk that every step lasts; NaN where its sends differ.

    Sends of a step last equally long when they have one latency and one size, and each crosses a
    link that no other link of the step takes longer than.
    """
    lasts = []
    for wave in played:
        pairs = [
            (ranks[a], ranks[b]) for a, b in zip(*map(np.ndarray.tolist, wave[:2]), strict=True)
        ]
        seconds: Counter[int] = Counter()
        for pair, chunks in zip(pairs, wave.chunks.tolist(), strict=True):
            for link in topology.route(*pair):
                seconds[link] += chunks / topology.links[link].bandwidth
        busiest = max(seconds.values())
        crossed = (max(seconds[link] for link in topology.route(*pair)) for pair in pairs)
        latencies = [topology.latency(*pair) for pair in pairs]
        alike = (
            all(math.isclose(longest, busiest) for longest in crossed)
            and all(math.isclose(latency, latencies[0]) for latency in latencies)
            and len(set(wave.chunks.tolist())) == 1
        )
        lasts += [busiest if alike else math.nan] * wave.times
    return lasts


def follow(played: Sequence[Wave]) -> bool:
    """Return whether every send of a step has an end that takes part in the step before."""
    ends = [set(wave.source.tolist()) | set(wave.target.tolist()) for wave in played]
    return all(
        a in before or b in before
        for before, wave in zip(ends, played[1:], strict=False)
        for a, b in zip(wave.source.tolist(), wave.target.tolist(), strict=True)
    )


def must_agree(waves: Waves, ranks: tuple[int, ...], topology: Topology) -> bool:
    """Return whether the condition of docs/network.md holds."""
    if any(steps > 1 for steps in waves.stages) or not follow(waves.waves):
        return False
    lasts = in_step(waves.waves, ranks, topology)
    whole: Counter[int] = Counter()
    for wave in waves.waves:
        for a, b, chunks in zip(*map(np.ndarray.tolist, wave[:3]), strict=True):
            for link in topology.route(ranks[a], ranks[b]):
                whole[link] += chunks * wave.times / topology.links[link].bandwidth
    busiest = max(whole.values(), default=0.0)
    if waves.pipelined:
        slots = in_step(unrolled(waves, 3), ranks, topology)
        latencies = {topology.latency(ranks[int(w.source[0])], ranks[int(w.target[0])])
                     for w in waves.waves}  # fmt: skip
        return all(math.isclose(x, busiest) for x in [*lasts, *slots]) and len(latencies) == 1
    if waves.serial:
        return not any(map(math.isnan, lasts))
    return math.isclose(sum(lasts), busiest)


def suitable_size(plan: Plan, topology: Topology) -> int:
    """Return a message for which the best number of parts is whole (5), or any other message."""
    if not plan.stages or not plan.step_latency:
        return 10**7
    pace = plan.slowest(topology)
    return round(25 * plan.step_latency / plan.stages / pace)


def cases() -> Iterator[tuple[str, str, CollectiveKind, int]]:
    """Yield every algorithm, topology, kind and root that is tried."""
    for algorithm in COLLECTIVES.names():
        for on, topology in TOPOLOGIES.items():
            for kind in COLLECTIVE_KINDS:
                ends = {0, len(topology.devices) - 1} if kind in ("broadcast", "reduce") else {0}
                yield from ((algorithm, on, kind, root) for root in sorted(ends))


@pytest.mark.parametrize("algorithm", COLLECTIVES.names())
def test_sends_last_as_long_as_the_coflow_where_nothing_contends(algorithm: str) -> None:
    """Wherever the condition of docs/network.md holds, to 1e-9, and for small messages too."""
    agreed: Counter[str] = Counter()
    for name, on, kind, root in cases():
        topology = TOPOLOGIES[on]
        ranks = members(kind, topology)
        if name != algorithm:
            continue
        plan = COLLECTIVES.get(name)(kind, ranks, topology, root)
        waves = COLLECTIVES.get(name).waves(kind, ranks, topology, root)
        if plan is None or waves is None:
            continue
        if not must_agree(waves, ranks, topology):
            continue
        for size in (suitable_size(plan, topology), 1):
            sent = message(kind, size, root)
            one = play_alone(sent, ranks, topology, algorithm)
            many = play_alone(sent, ranks, topology, algorithm, STEPS)
            # A message has a whole number of bytes: the best number of parts is off by its rounding
            assert many == pytest.approx(one, rel=1e-9), (on, kind, root, size)
        agreed[kind] += 1
    if algorithm in ("ring", "direct", "gloo"):
        assert sorted(agreed) == sorted(COLLECTIVE_KINDS)
        assert sum(agreed.values()) > 60


@pytest.mark.parametrize("on", ["full-5", "switch-5", "ring-5"])
@pytest.mark.parametrize("parts", [2, 3.4, 7.8])
def test_chain_in_parts_takes_the_best_whole_number_of_them(on: str, parts: float) -> None:
    """(k + stages) steps of a part each; the coflow may take a fraction of a part and is faster."""
    topology, ranks = TOPOLOGIES[on], tuple(range(5))
    plan = Chooser(topology, "ring").choose("broadcast", 1, ranks, 0)
    latency, stages = plan.step_latency, plan.stages
    size = round(parts**2 * latency / stages / plan.slowest(topology))
    transfer = size * plan.slowest(topology)
    best = min((k + stages) * (latency + transfer / k) for k in range(1, 20))
    many = play_alone(message("broadcast", size), ranks, topology, "ring", STEPS)
    assert many == pytest.approx(best, rel=1e-9)
    one = play_alone(message("broadcast", size), ranks, topology, "ring")
    assert one <= many * (1 + 1e-9)
    assert math.isclose(one, many, rel_tol=1e-9) == (parts == 2)


@pytest.mark.parametrize("size", [10**5, 10**6, 10**9])
def test_without_latency_a_large_message_is_as_fast_as_in_endlessly_many_parts(size: int) -> None:
    """Within a hundredth; the coflow takes endlessly many parts, which no simulator can play."""
    topology = toy.full(4)
    plan = Chooser(topology, "ring").choose("broadcast", 1, (0, 1, 2, 3), 0)
    parts = best_parts(plan, size, topology)
    assert parts == plan.stages / FILL
    many = play_alone(message("broadcast", size), range(4), topology, "ring", STEPS)
    assert many == pytest.approx(size * (1 + 2 / parts))
    assert size < many <= size * (1 + FILL) * (1 + 1e-9)


@pytest.mark.parametrize("size", [1, 8, 255, 256, 1000, 5000])
def test_without_latency_a_part_holds_a_packet(size: int) -> None:
    """A few bytes travel whole, from stage to stage; no part is less than a packet."""
    topology = toy.full(4)
    plan = Chooser(topology, "ring").choose("broadcast", 1, (0, 1, 2, 3), 0)
    parts = best_parts(plan, size, topology)
    assert parts == max(1, size // LEAST_PART)
    many = play_alone(message("broadcast", size), range(4), topology, "ring", STEPS)
    assert many == pytest.approx(size * (1 + 2 / parts))


def test_a_long_chain_is_cut_into_a_bounded_number_of_parts() -> None:
    """What one message costs to simulate has an end, however many stages it goes through."""
    topology = toy.full(60)
    plan = Chooser(topology, "ring").choose("broadcast", 1, tuple(range(60)), 0)
    assert best_parts(plan, 1e9, topology) == MOST_PARTS
    assert best_parts(plan, 1e6, topology, pieces=100) == 1e6 // 100 // LEAST_PART


@pytest.mark.parametrize("kind", ["all_gather", "all_reduce", "broadcast", "shift"])
def test_protocol_of_a_profile_slows_sends_as_it_slows_coflows(kind: CollectiveKind) -> None:
    """Its latency counts once per call, its efficiency at every send, also where steps are serial.

    Two members: one part of a broadcast needs no second stage.
    """
    bare = TOPOLOGIES["switch-2" if kind in ("broadcast", "shift") else "switch-4"]
    profile = replace(bare.profile, protocols=(Protocol(30e-6, 0.4, None),))
    topology = replace(bare, profile=profile)
    ranks = members(kind, topology)
    for algorithm in ("ring", "direct", "gloo"):
        sent = message(kind, 10**6)
        one = play_alone(sent, ranks, topology, algorithm)
        many = play_alone(sent, ranks, topology, algorithm, STEPS)
        assert many == pytest.approx(one, rel=1e-9)
        assert many > play_alone(sent, ranks, bare, algorithm, STEPS) + 30e-6


def test_collective_without_sends_is_played_as_its_coflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a switch adds up does not go from member to member."""

    class Reduced(Algorithm):
        """A switch that adds up."""

        def __call__(self, _kind: str, ranks: tuple[int, ...], *_: object) -> Plan:
            """Return a load on every rank's way to the switch."""
            return Plan("inswitch", tuple((2 * rank, 1.0) for rank in ranks), 3e-6, efficiency=0.5)

    monkeypatch.setattr(COLLECTIVES, "_entries", {"inswitch": SimpleNamespace(plan=Reduced())})
    topology, sent = TOPOLOGIES["switch-4"], Message("all_reduce", 10**6)
    one, many = (play_alone(sent, range(4), topology, "inswitch", t) for t in (COFLOWS, STEPS))
    assert many == pytest.approx(one, rel=1e-12)
    assert one == pytest.approx(3e-6 + 10**6 / 50e9 / 0.5)
    (whole,) = carried(sent, (0, 1, 2, 3), topology, "inswitch")
    assert (whole.send, whole.ranks, len(whole.loads)) == (False, (0, 1, 2, 3), 4)


def test_message_of_no_bytes_costs_its_latencies() -> None:
    """Nothing travels, and every step still takes its turn."""
    time = play_alone(Message("all_reduce", 0), range(4), TOPOLOGIES["switch-4"], "ring", STEPS)
    assert time == pytest.approx(6e-6)
