"""What a strategy's name alone stands for on several nodes."""

from __future__ import annotations

from typing import Any

import pytest

from tspsim.sweeps.strategies import alternatives


@pytest.mark.parametrize(
    ("base", "given", "found"),
    [
        ({"kind": "tsp", "degree": 4}, {}, {"dp": 4, "degree": 8}),
        ({"kind": "fsdp", "dp": 32}, {}, {"dp": 4, "degree": 8}),
        ({"kind": "tsp", "degree": 8, "pp": {"stages": 2}}, {},
         {"dp": 2, "degree": 8, "pp": {"stages": 2}}),
        ({"kind": "tsp", "degree": 8, "pp": {"stages": 4}}, {},
         {"degree": 8, "pp": {"stages": 4}}),
        ({"kind": "tp_sp", "tp": 8, "sp": 4}, {}, {"degree": 32}),
        ({"kind": "tsp", "degree": 8, "dp": 2}, {}, {"dp": 2, "degree": 16}),
        ({"kind": "tsp", "degree": 8}, {"dp": 8}, {"dp": 8, "degree": 4}),
    ],
    ids=["open", "replicas-alone", "stages", "stages-over-nodes", "fills", "stated", "axis"],
)  # fmt: skip
def test_a_name_alone_takes_a_replica_per_node(
    base: dict[str, Any], given: dict[str, Any], found: dict[str, Any]
) -> None:
    """Unless it is said how many there are, or the scenario's own strategy fills 4 x 8 devices."""
    assert alternatives({"kind": "tp"}, given, base, 32, 4) == [{"kind": "tp", **found}]


def test_a_strategy_that_states_a_degree_gets_no_replicas() -> None:
    """It may be over nodes: 8 x 4 ranks fill four of them, and so does the rest of 8."""
    base = {"kind": "tsp", "degree": 8}
    whole = {"kind": "tp_sp", "tp": 8, "sp": 4}
    assert alternatives(whole, {}, base, 32, 4) == [whole]
    assert alternatives({"kind": "tp_sp", "tp": 8}, {}, base, 32, 4) == [whole]
