"""Collectives: replayed chunk by chunk they do what their name says, in the time of the books."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.replay import does_its_job, without_one_send
from tspsim.collectives import direct, ring
from tspsim.collectives.algorithm import Algorithm
from tspsim.collectives.choose import Chooser, choose
from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import Schedule
from tspsim.files.errors import TopologyError, UnknownNameError
from tspsim.program.types import COLLECTIVE_KINDS, CollectiveKind, Message
from tspsim.registry import COLLECTIVES
from tspsim.topology.fabric import Fabric
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Device, Profile
from tspsim.topology.load import parse

ALPHA, BANDWIDTH = 1e-6, 50e9
SIZES = [1.0, 1e3, 1e6, 1e9]
DEVICE = Device("x", (("bf16", 1e14),), memory_bandwidth=1e12, memory=80e9)
ALGORITHMS = {"ring": ring.sends, "direct": direct.sends}


def make(kind: str, ranks: int) -> Topology:
    """Return a topology of equal links."""
    link = {"bandwidth": "50 GB/s", "latency": "1 us"}
    form: Fabric = parse({"kind": kind, "ranks": ranks, "link": link})
    return form.build((DEVICE,) * ranks, Profile("p"), kind)


TOPOLOGIES = {(kind, n): make(kind, n) for kind in ("ring", "full", "switch") for n in range(1, 10)}


def members(kind: CollectiveKind) -> range:
    """Return the sizes of communicators that a kind is tested with."""
    return range(2, 3) if kind == "shift" else range(1, 10)


@pytest.mark.parametrize("kind", COLLECTIVE_KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_replayed_sends_do_what_the_name_says(algorithm: str, kind: CollectiveKind) -> None:
    """Every member ends with the right chunks, every part added exactly once, for every root."""
    for n in members(kind):
        for root in range(n):
            assert does_its_job(kind, ALGORITHMS[algorithm](kind, n, root), n, root), (n, root)


@pytest.mark.parametrize("kind", COLLECTIVE_KINDS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_send_can_be_left_out(algorithm: str, kind: CollectiveKind) -> None:
    """The replay notices every missing send, so it proves something."""
    n = 2 if kind == "shift" else 4
    for schedule in without_one_send(ALGORITHMS[algorithm](kind, n, 1)):
        assert not does_its_job(kind, schedule, n, 1)


def received(schedule: Schedule, n: int) -> list[float]:
    """Return what every member receives, in messages."""
    counts = Counter[int]()
    for step in schedule.steps:
        for send in step:
            counts[send.target] += len(send.chunks)
    return [counts[i] / schedule.pieces for i in range(n)]


@settings(deadline=None)
@given(
    st.sampled_from(list(ALGORITHMS)), st.sampled_from(COLLECTIVE_KINDS), st.integers(1, 9),
    st.integers(0, 8),
)  # fmt: skip
def test_members_receive_at_least_what_they_lack(
    algorithm: str, kind: CollectiveKind, n: int, root: int
) -> None:
    """No algorithm gets by with less than the information that a member does not have yet."""
    n, root = (2, 0) if kind == "shift" else (n, root % n)
    share = (n - 1) / n
    total = Message(kind, 1).received(n) * n if kind != "shift" else 1.0
    least = {
        "all_gather": [share] * n, "reduce_scatter": [share] * n, "all_to_all": [share] * n,
        "all_reduce": [2 * share] * n, "shift": [0.0, 1.0],
        "broadcast": [0.0 if i == root else 1.0 for i in range(n)],
        "reduce": [1.0 if i == root and n > 1 else 0.0 for i in range(n)],
    }[kind]  # fmt: skip
    got = received(ALGORITHMS[algorithm](kind, n, root), n)
    assert all(have >= need - 1e-12 for have, need in zip(got, least, strict=True))
    assert sum(got) >= total - 1e-12
    if (algorithm, kind) != ("ring", "all_to_all"):  # which stores and forwards
        assert sum(got) == pytest.approx(total)


@settings(deadline=None)
@given(st.sampled_from(COLLECTIVE_KINDS[:6]), st.integers(3, 9), st.data())
def test_loads_turn_with_the_root(kind: CollectiveKind, n: int, data: st.DataObject) -> None:
    """On a ring nothing but the root tells members apart: turning it turns the loads."""
    root = data.draw(st.integers(0, n - 1))
    topology = TOPOLOGIES["ring", n]

    def loads(root: int) -> dict[int, float]:
        plan = choose(kind, 1, tuple(range(n)), topology, root, "ring")
        links = ((topology.links[i], load) for i, load in plan.loads)
        return {int(link.source[1:]): load for link, load in links}

    assert loads(root) == {(i + root) % n: load for i, load in loads(0).items()}


def uncontended(
    algorithm: str, kind: CollectiveKind, on: str, n: int, size: float, root: int = 0
) -> float:
    """Return the time of one call over all devices of a topology."""
    topology = TOPOLOGIES[on, n]
    return choose(kind, size, tuple(range(n)), topology, root, algorithm).time(size, topology)


#: Seconds for n members, a whole message taking t on one link: the formulas of the books.
CLOSED_FORMS: dict[tuple[str, str, CollectiveKind], Callable[[int, float], float]] = {
    ("ring", "ring", "all_gather"): lambda n, t: (n - 1) * (ALPHA + t / n),
    ("ring", "ring", "reduce_scatter"): lambda n, t: (n - 1) * (ALPHA + t / n),
    ("ring", "ring", "all_reduce"): lambda n, t: 2 * (n - 1) * (ALPHA + t / n),
    ("ring", "ring", "all_to_all"): lambda n, t: (n - 1) * (ALPHA + t / 2),
    ("ring", "full", "all_reduce"): lambda n, t: 2 * (n - 1) * (ALPHA + t / n),
    ("ring", "switch", "all_gather"): lambda n, t: (n - 1) * (ALPHA + t / n),
    ("direct", "full", "all_gather"): lambda n, t: ALPHA + t / n,
    ("direct", "full", "reduce_scatter"): lambda n, t: ALPHA + t / n,
    ("direct", "full", "all_reduce"): lambda n, t: 2 * (ALPHA + t / n),
    ("direct", "full", "all_to_all"): lambda n, t: ALPHA + t / n,
    ("direct", "switch", "all_gather"): lambda n, t: ALPHA + (n - 1) * t / n,
    ("direct", "switch", "reduce_scatter"): lambda n, t: ALPHA + (n - 1) * t / n,
    ("direct", "switch", "all_reduce"): lambda n, t: 2 * (ALPHA + (n - 1) * t / n),
    ("direct", "switch", "all_to_all"): lambda n, t: ALPHA + (n - 1) * t / n,
}


@pytest.mark.parametrize("case", CLOSED_FORMS, ids="-".join)
@pytest.mark.parametrize("size", SIZES)
def test_time_is_the_closed_form(case: tuple[str, str, CollectiveKind], size: float) -> None:
    """Where nothing contends, loads and latency give the formula for every degree."""
    algorithm, on, kind = case
    for n in range(2, 10):
        wanted = CLOSED_FORMS[case](n, size / BANDWIDTH)
        assert uncontended(algorithm, kind, on, n, size) == pytest.approx(wanted)


def pipeline(stages: int, transfer: float) -> float:
    """Return the best time of ``(k + stages)`` pipeline steps over whole numbers of parts k."""
    return min((k + stages) * (ALPHA + transfer / k) for k in range(1, 2001))


@pytest.mark.parametrize("kind", ["broadcast", "reduce"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e5, 1e6, 1e7])
def test_chain_takes_the_best_number_of_parts(kind: CollectiveKind, size: float) -> None:
    """The time is that of the best pipeline, but for the rounding to whole parts."""
    for n in range(2, 10):
        for root in (0, n - 1):
            best = pipeline(n - 2, size / BANDWIDTH)
            got = uncontended("ring", kind, "ring", n, size, root)
            assert best * 0.97 <= got <= best * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["broadcast", "reduce"])
@pytest.mark.parametrize(("on", "links"), [("full", lambda n: n - 1), ("switch", lambda _: 1)])
def test_direct_broadcast_uses_all_links_of_the_root(
    kind: CollectiveKind, on: str, links: Callable[[int], int]
) -> None:
    """A full mesh moves the message over n-1 links at once, a switch at the port's rate."""
    for n in range(3, 10):
        for size in SIZES:
            best = pipeline(1, size / (links(n) * BANDWIDTH))
            got = uncontended("direct", kind, on, n, size, root=1)
            assert best * 0.97 <= got <= best * (1 + 1e-9)


@pytest.mark.parametrize(
    ("algorithm", "on"),
    [
        ("ring", "ring"), ("ring", "full"), ("ring", "switch"), ("direct", "full"),
        ("direct", "switch"), ("auto", "ring"),
    ],
)  # fmt: skip
def test_broadcast_does_not_grow_with_the_members(algorithm: str, on: str) -> None:
    """A large message takes hardly longer to eight devices than to one."""
    alone = uncontended(algorithm, "broadcast", on, 2, 10e9)
    assert uncontended(algorithm, "broadcast", on, 9, 10e9) < 1.05 * alone


@pytest.mark.parametrize("kind", COLLECTIVE_KINDS[:6])
@pytest.mark.parametrize("algorithm", ["ring", "direct", "auto"])
def test_communicator_of_one_takes_no_time(algorithm: str, kind: CollectiveKind) -> None:
    """There is nobody to talk to."""
    plan = choose(kind, 1e9, (3,), TOPOLOGIES["full", 8], None, algorithm)
    assert plan.loads == ()
    assert plan.time(1e9, TOPOLOGIES["full", 8]) == 0.0


@pytest.mark.parametrize("algorithm", ["ring", "direct"])
def test_shift_is_one_flow_on_its_route(algorithm: str) -> None:
    """Sender and receiver need not be neighbours; every link of the route carries it all."""
    topology = TOPOLOGIES["ring", 8]
    plan = choose("shift", 1e6, (1, 3), topology, None, algorithm)
    assert plan.loads == tuple((link, 1.0) for link in sorted(topology.route(1, 3)))
    assert plan.latency == pytest.approx(2 * ALPHA)
    assert choose("shift", 1e6, (2, 2), topology, None, algorithm).loads == ()


def test_part_of_a_full_mesh_uses_part_of_its_links() -> None:
    """Four of eight devices have twelve links among them; a pair alone has one each way."""
    topology = TOPOLOGIES["full", 8]
    four = choose("all_gather", 1e6, (1, 3, 5, 7), topology, None, "direct")
    two = choose("all_gather", 1e6, (2, 6), topology)
    assert len(four.loads) == 12
    assert [topology.links[i].name for i, _ in two.loads] == ["d2→d6", "d6→d2"]


@settings(deadline=None)
@given(
    st.sampled_from(COLLECTIVE_KINDS[:6]), st.sampled_from(["ring", "full", "switch"]),
    st.integers(2, 9), st.floats(1, 1e10),
)  # fmt: skip
def test_auto_is_the_fastest(kind: CollectiveKind, on: str, n: int, size: float) -> None:
    """No named algorithm beats the automatic choice."""
    named = [uncontended(algorithm, kind, on, n, size) for algorithm in ALGORITHMS]
    auto = uncontended("auto", kind, on, n, size)
    assert auto <= min(named)
    assert on == "ring" or auto == min(named)  # a ring has more that is worth considering


def test_auto_depends_on_the_size() -> None:
    """On a ring, two long steps suit a small broadcast, and two chains a large one."""
    topology, ranks = TOPOLOGIES["switch", 9], tuple(range(9))
    planner = Chooser(topology)
    assert planner.choose("all_gather", 1e3, ranks, None).algorithm == "direct"
    ringed = Chooser(TOPOLOGIES["ring", 9])
    chosen = {ringed.choose("broadcast", size, ranks, 0).algorithm for size in (1.0, 1e9)}
    assert chosen == {"direct", "bidirectional_ring"}


def test_planner_remembers() -> None:
    """The same call gets the same plan object, so the engine may key on it."""
    planner = Chooser(TOPOLOGIES["full", 4])
    first = planner.choose("broadcast", 1e6, (0, 1, 2, 3), 2)
    assert planner.choose("broadcast", 1e6, (0, 1, 2, 3), 2) is first
    assert planner.choose("broadcast", 1e6, (0, 1, 2, 3), 1) is not first


def test_unknown_algorithm_is_told_the_known_ones() -> None:
    """The name comes from a scenario, so the message helps."""
    with pytest.raises(UnknownNameError, match=r"'rnig' \(did you mean 'ring'\?\)"):
        Chooser(TOPOLOGIES["full", 4], "rnig")


def test_unable_algorithm_names_those_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """An algorithm says None to a kind that it does not know; auto takes another one."""

    class OnlyGathers(Algorithm):
        """It has nothing else to say."""

        def __call__(self, kind: str, *_: object) -> Plan | None:
            """Return a plan of one kind alone."""
            return Plan("gathers", (), 0.0) if kind == "all_gather" else None

    entry = SimpleNamespace(plan=OnlyGathers())
    entries = {"gathers": entry, "ring": ring, "direct": direct}
    monkeypatch.setattr(COLLECTIVES, "_entries", entries)
    topology = TOPOLOGIES["full", 4]
    assert choose("all_gather", 1e6, (0, 1), topology).algorithm == "gathers"
    assert choose("reduce", 1e6, (0, 1), topology, 0).algorithm in {"direct", "ring"}
    with pytest.raises(TopologyError, match=r"'gathers' cannot do reduce.*direct, ring can"):
        choose("reduce", 1e6, (0, 1), topology, 0, "gathers")
