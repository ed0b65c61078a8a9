"""``xN`` and the short forms ``device.`` and ``link.``: overrides of what the files say."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tspsim.errors import ScenarioError
from tspsim.scenario import from_document, load
from tspsim.scenario.relative import scaled
from tspsim.units import quantity, to_text


def _links(*overrides: str, name: str = "tsp-layer") -> set[float]:
    return {link.bandwidth for link in load(name, overrides).topology.links}


def test_a_relative_value_multiplies_what_the_topology_file_says() -> None:
    """The shipped MI300X node has 64 GB/s links, written in a file that the scenario names."""
    assert _links() == {64e9}
    assert _links("topology.link.bandwidth=x0.5") == {32e9}
    assert _links("link.bandwidth=x2") == {128e9}
    assert _links("link.bandwidth=100 GB/s") == {100e9}


def test_all_rates_of_a_device_are_multiplied_at_once() -> None:
    """``device.flop_rate=x2`` has no dtype: every one doubles."""
    before = dict(load("tsp-layer").topology.devices[0].flop_rate)
    after = dict(load("tsp-layer", ["device.flop_rate=x2"]).topology.devices[0].flop_rate)
    assert after == {dtype: 2 * rate for dtype, rate in before.items()}


def test_the_short_forms_reach_into_the_nodes_of_a_cluster() -> None:
    """Four H100 nodes hold their device and their link inside ``topology.node``."""
    document = {
        "model": {"hidden": 4096, "layers": 1, "heads": 32, "ffn": 4096, "vocab": 0},
        "workload": {"sequence": 65536},
        "topology": {"file": "h100-4-nodes.yaml"},
        "strategy": {"kind": "tp", "degree": 32},
    }
    plain, fast = from_document(document), from_document(document, ["link.bandwidth=x2"])
    inside = [link.bandwidth for link in plain.topology.links if not link.network]
    assert [link.bandwidth for link in fast.topology.links if not link.network] == [
        2 * bandwidth for bandwidth in inside
    ]
    outside = [link.bandwidth for link in plain.topology.links if link.network]
    assert [link.bandwidth for link in fast.topology.links if link.network] == outside
    larger = from_document(document, ["device.memory=x2"])
    assert larger.topology.devices[0].memory == 2 * plain.topology.devices[0].memory


def test_every_link_of_a_custom_topology_is_reached() -> None:
    """Where links are a list, a short form means all of them."""
    document: dict[str, Any] = {
        "model": {"hidden": 64, "layers": 1, "heads": 2, "ffn": 64, "vocab": 0},
        "workload": {"sequence": 64},
        "topology": {
            "kind": "custom", "devices": ["h100-sxm", "h100-sxm"],
            "links": [{"from": "d0", "to": "d1", "bandwidth": "10 GB/s", "latency": "1 us",
                       "both": True}],
        },
        "strategy": {"kind": "tp", "degree": 2},
    }  # fmt: skip
    found = from_document(document, ["link.bandwidth=x3", "device.memory=x2"])
    assert {link.bandwidth for link in found.topology.links} == {30e9}
    assert {device.memory for device in found.topology.devices} == {2 * 81559 * 2**20}


def test_integers_stay_integers() -> None:
    """A sequence that doubles is still a number of tokens."""
    assert load("tsp-layer", ["workload.sequence=x2"]).workload.sequence == 131072


def test_a_relative_value_does_not_change_the_file_for_the_next_reader() -> None:
    """Named files are read once and shared; overrides work on copies."""
    assert _links("topology.link.bandwidth=x2") == {128e9}
    assert _links() == {64e9}


def test_of_two_for_one_key_the_later_one_counts() -> None:
    """Relative or not."""
    assert _links("link.bandwidth=x2", "link.bandwidth=x3") == {192e9}
    assert _links("topology.link.bandwidth=x2", "topology.link.bandwidth=10 GB/s") == {10e9}
    assert _links("topology.link.bandwidth=10 GB/s", "topology.link.bandwidth=x2") == {20e9}


def test_a_name_that_looks_like_a_factor_is_a_name() -> None:
    """Keys that hold a text hold it."""
    assert load("tsp-layer", ["name=x2"]).name == "x2"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "workload.batch=x2",
            "override 'workload.batch=x2': there is no 'workload.batch' that could be multiplied "
            "by 2",
        ),
        (
            "workload.phase=x2",
            "override 'workload.phase=x2': 'forward' is no number or quantity that could be "
            "multiplied by 2",
        ),
        (
            "workload.sequence=x0.3",
            "override 'workload.sequence=x0.3': workload.sequence: found 19660.8; must be an "
            "integer",
        ),
        (
            "link.bandwith=x2",
            "override 'link.bandwith=x2': there is no 'topology.link.bandwith' that could be "
            "multiplied by 2",
        ),
        (
            "link.bandwidth=2",
            "override 'link.bandwidth=2': topology.link.bandwidth: '2' is not a quantity in B/s "
            "(it has no unit; write for example '2 GB/s')",
        ),
    ],
)
def test_what_cannot_be_multiplied_is_told(override: str, message: str) -> None:
    """The message names the override and what it met."""
    document = {
        "model": {"hidden": 64, "layers": 1, "heads": 4, "ffn": 64, "vocab": 0},
        "workload": {"sequence": 65536, "phase": "forward"},
        "topology": {"file": "mi300x-node.yaml", "ranks": 4},
        "strategy": {"kind": "tp", "degree": 4},
    }
    with pytest.raises(ScenarioError) as caught:
        from_document(document, [override])
    assert str(caught.value) == message


@given(
    st.floats(1e-9, 1e18, allow_nan=False).map(lambda v: float(f"{v:.9g}")),
    st.sampled_from(["0.5", "2", "1", "10", "0.125"]),
)
def test_a_quantity_times_a_factor_is_that_product(value: float, times: str) -> None:
    """Multiplied as decimals, in whatever unit it is written."""
    text = scaled(to_text(value, "B/s"), Decimal(times))
    assert quantity(text, "B/s") == pytest.approx(value * float(times), rel=1e-12)
