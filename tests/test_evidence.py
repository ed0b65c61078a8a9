"""How far a profile is off on collective calls: by kind and span, from rows that were kept."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from pydantic import ValidationError

import tspsim
from tspsim.collectives.choose import choose
from tspsim.topology.evidence import Evidence, Residuals, evidence, reach
from tspsim.topology.hardware import Profile, Protocol
from tspsim.topology.load import load_file, parse_profile

TWO = Evidence("all_reduce", "direct", 2, 1, Residuals(4, 0.1, -0.1, 0.2))
EIGHT = Evidence("all_reduce", "direct", 8, 1, Residuals(12, -0.1, -0.3, 0.1))
PROFILE = Profile("p", evidence=(TWO, EIGHT))


def test_calls_of_as_many_members_are_judged_by_their_own_rows() -> None:
    """And an interval of 80 % follows from them."""
    found = evidence(PROFILE, "all_reduce", "direct", 8, 1)
    assert found == EIGHT.residuals
    assert found.interval(2.0) == pytest.approx((2 * math.exp(-0.3), 2 * math.exp(0.1)))


def test_members_between_two_counts_are_judged_by_both() -> None:
    """All rows, and the wider quantile on either side."""
    found = evidence(PROFILE, "all_reduce", "direct", 4, 1)
    assert found == Residuals(16, pytest.approx(-0.05), -0.3, 0.2)


@pytest.mark.parametrize(
    ("kind", "algorithm", "ranks", "nodes"),
    [
        ("all_gather", "direct", 8, 1),
        ("all_reduce", "tree", 8, 1),
        ("all_reduce", "direct", 16, 1),
        ("all_reduce", "direct", 8, 2),
    ],
)
def test_nothing_is_said_of_other_kinds_and_spans(
    kind: str, algorithm: str, ranks: int, nodes: int
) -> None:
    """Eight devices of one node never speak for sixteen in two."""
    assert evidence(PROFILE, kind, algorithm, ranks, nodes) is None  # type: ignore[arg-type]


def test_members_are_counted_by_node() -> None:
    """The most of any node, and how many nodes."""
    topology = load_file("h100-4-nodes")
    assert reach(range(8), topology) == (8, 1)
    assert reach((0, 1, 2, 8), topology) == (3, 2)


def test_shipped_profiles_speak_for_what_was_measured_alone() -> None:
    """H100 over two nodes goes by B200's rows: it runs, and its error is unknown."""
    h100, b200 = (parse_profile(f"{name}-published").value() for name in ("h100", "b200"))
    assert evidence(h100, "all_gather", "direct", 8, 1) is not None
    assert evidence(h100, "all_reduce", "tree", 8, 2) is None
    assert evidence(b200, "all_reduce", "tree", 8, 2) is not None
    assert evidence(b200, "all_reduce", "tree", 8, 4) is None


def test_few_members_achieve_less_where_their_own_part_costs() -> None:
    """A part per link and one's own beside it: 1/e + own / (n - 1)."""
    way = Protocol(latency=1e-6, efficiency=0.8, per_member=2e-6, own_part=0.75)
    assert way.seconds(4) == pytest.approx(7e-6)
    assert way.achieved(2) == pytest.approx(0.5)
    assert way.achieved(4) == pytest.approx(1 / 1.5)


def test_a_library_takes_no_algorithm_below_its_fewest_members() -> None:
    """Asked for by name it is still played."""
    topology = load_file("h100-node")
    ways = (
        Protocol(efficiency=0.5),
        Protocol(1e-3, 0.9, "all_reduce", "in_switch", first=1.0, fewest=5),
    )
    place = replace(topology, profile=Profile("p", protocols=ways))
    taken = [choose("all_reduce", 1e6, tuple(range(n)), place).algorithm for n in (4, 5)]
    assert taken == ["direct", "in_switch"]
    asked = choose("all_reduce", 1e6, (0, 1, 2, 3), place, algorithm="in_switch")
    assert asked.algorithm == "in_switch"


def test_what_was_measured_is_taken_before_what_links_state() -> None:
    """A ring over nodes as stated would be faster than any measured tree."""
    topology = load_file("h100-4-nodes")
    way = Protocol(1e-3, 0.5, "all_reduce", "tree", network=True)
    place = replace(topology, profile=Profile("p", protocols=(way,)))
    plan = choose("all_reduce", 1e6, tuple(range(32)), place)
    assert (plan.algorithm, plan.fitted) == ("tree", True)


def test_a_result_names_the_calls_that_nothing_was_fitted_to() -> None:
    """Ulysses over two nodes exchanges by links as stated; inside a node it does not."""
    asked = {
        "name": "exchange",
        "model": {
            "hidden": 1024,
            "layers": 1,
            "heads": 16,
            "kv_heads": 16,
            "ffn": 2048,
            "vocab": 0,
        },
        "workload": {"sequence": 16384, "phase": "forward"},
        "topology": {"file": "h100-4-nodes.yaml", "nodes": 2},
        "timing": {"profile": "h100-published"},
        "strategy": {"kind": "sp", "degree": 16, "kv": "ulysses"},
    }
    stated = [
        tspsim.run(asked, *changes).summary.communication.as_stated
        for changes in (("strategy.degree=8", "topology.nodes=1"), ())
    ]
    assert stated == [[], ["all_to_all, 8 ranks in each of 2 nodes"]]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"low": 0.3}, "low: 0.3 lies above high: 0.2; swap them"),
        ({"rows": 0}, "rows"),
        ({"bias": math.nan}, "bias"),
        ({"collective": "allreduce"}, "collective"),
    ],
)
def test_evidence_that_cannot_be_is_refused(wrong: dict[str, object], told: str) -> None:
    """With the place in the profile and what was found."""
    known = {
        "collective": "all_reduce", "algorithm": "ring", "ranks": 8, "rows": 4,
        "bias": 0.1, "low": 0.0, "high": 0.2,
    }  # fmt: skip
    assert parse_profile({"name": "p", "evidence": [known]}).value().evidence
    with pytest.raises(ValidationError, match=r"evidence\.0") as refused:
        parse_profile({"name": "p", "evidence": [known | wrong]})
    assert told in str(refused.value)
