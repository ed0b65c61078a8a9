"""``xN`` and the short forms ``device.`` and ``link.``: overrides of what the files say."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tspsim
from tspsim.files.errors import ScenarioError, TopologyError, UserError
from tspsim.files.units import quantity, to_text
from tspsim.scenario import from_document, load
from tspsim.scenario.relative import scaled
from tspsim.scenario.types import Scenario
from tspsim.topology.load import load_file


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
            "multiplied by 2 (did you mean 'link.bandwidth'?)",
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


def _nic(*overrides: str) -> tuple[set[float], set[float]]:
    """Return the bandwidths inside of nodes and between them, of four H100 nodes."""
    document = {
        "model": {"hidden": 4096, "layers": 1, "heads": 32, "ffn": 4096, "vocab": 0},
        "workload": {"sequence": 65536},
        "topology": {"file": "h100-4-nodes.yaml"},
        "strategy": {"kind": "tp", "degree": 32},
    }
    links = from_document(document, overrides).topology.links
    return tuple({link.bandwidth for link in links if link.network == out} for out in (False, True))  # type: ignore[return-value]


def test_nic_is_short_for_the_nic_of_a_cluster() -> None:
    """``nic.bandwidth=x2`` doubles what leaves the nodes and leaves the nodes as they are."""
    assert _nic() == ({450e9}, {50e9})
    assert _nic("nic.bandwidth=x2") == ({450e9}, {100e9})
    assert _nic("nic.bandwidth=25 GB/s") == ({450e9}, {25e9})


@pytest.mark.parametrize(
    ("name", "override", "told"),
    [
        ("tsp-layer", "nic.bandwidth=x2",
         "the topology has no 'nic' of its own; it has: device, link"),
        ("paper-1024", "bandwidth=x2",
         "there is no 'bandwidth' that could be multiplied by 2 (did you mean 'link.bandwidth' or "
         "'nic.bandwidth'?)"),
        ("tsp-layer", "links.latency=x2",
         "there is no 'links.latency' that could be multiplied by 2 (did you mean "
         "'link.latency'?)"),
        ("tsp-layer", "device.peak=x2",
         "there is no 'topology.device.peak' that could be multiplied by 2; it has: flop_rate, "
         "memory_bandwidth, memory, reserved, blas, launch"),
    ],
)  # fmt: skip
def test_an_unknown_or_ambiguous_path_names_the_nearest(
    name: str, override: str, told: str
) -> None:
    """What ends as the path does, else what looks like it, else what there is."""
    with pytest.raises(ScenarioError) as caught:
        load(name, [override])
    assert str(caught.value) == f"override '{override}': {told}"


@pytest.fixture
def machines(tmp_path: Path) -> Path:
    """Return a folder with a machine that extends a shipped one, and one that extends that."""
    (tmp_path / "faster.yaml").write_text(
        "extends: mi300x-node\nlink: {bandwidth: x2}\ndevice: {flop_rate: x1.5, memory: 288 GiB}\n"
    )
    (tmp_path / "smaller.yaml").write_text(
        "extends: faster.yaml\nname: half\nranks: x0.5\nlink: {bandwidth: x3, latency: 1 us}\n"
    )
    (tmp_path / "big-h100.yaml").write_text("extends: h100-sxm\nmemory: x2\n")
    (tmp_path / "cluster.yaml").write_text(
        "extends: h100-4-nodes\nnodes: 2\nnode: {device: big-h100.yaml}\nnic: {bandwidth: x8}\n"
    )
    return tmp_path


def _extended(folder: Path, name: str, ranks: int, *overrides: str) -> Scenario:
    document = {
        "model": {"hidden": 4096, "layers": 1, "heads": 32, "ffn": 4096, "vocab": 0},
        "workload": {"sequence": 65536},
        "kernels": "ideal",
        "topology": {"file": str(folder / name)},
        "strategy": {"kind": "tp", "degree": ranks},
    }
    return from_document(document, overrides)


def test_a_topology_extends_another_one_and_changes_keys(machines: Path) -> None:
    """Factors multiply what the base says, other values replace it, the rest is inherited."""
    base = load("tsp-layer", ["topology.ranks=8", "strategy.degree=8"]).topology
    found = _extended(machines, "faster.yaml", 8).topology
    assert {link.bandwidth for link in found.links} == {128e9}
    assert {link.latency for link in found.links} == {link.latency for link in base.links}
    device = found.devices[0]
    assert device.peak("bf16") == 1.5 * base.devices[0].peak("bf16")
    assert (device.memory, device.name) == (288 * 2**30, base.devices[0].name)


def test_what_extends_is_extended_again_and_has_its_own_name(machines: Path) -> None:
    """A file without a name is called as it is: it is not the machine that it began from."""
    assert _extended(machines, "faster.yaml", 8).topology.name == "faster"
    half = _extended(machines, "smaller.yaml", 4).topology
    assert (half.name, len(half.devices)) == ("half", 4)
    assert {(link.bandwidth, link.latency) for link in half.links} == {(384e9, 1e-6)}


def test_devices_extend_devices_inside_of_clusters(machines: Path) -> None:
    """And overrides change what came of it."""
    found = _extended(machines, "cluster.yaml", 16, "device.memory=x2").topology
    assert {device.name for device in found.devices} == {"big-h100"}
    assert {device.memory for device in found.devices} == {4 * 81559 * 2**20}
    assert {link.bandwidth for link in found.links if link.network} == {400e9}


@pytest.mark.parametrize("name", ["faster.yaml", "smaller.yaml", "cluster.yaml"])
def test_topologies_read_without_a_scenario_are_the_same(machines: Path, name: str) -> None:
    """``tspsim collective`` and Python read files through another door."""
    count = {"faster.yaml": 8, "smaller.yaml": 4, "cluster.yaml": 16}[name]
    found = _extended(machines, name, count, "kernels=megatron-core")  # at full pace
    assert load_file(machines / name) == found.topology


def test_a_changed_figure_no_longer_has_the_source_of_the_old_one(machines: Path) -> None:
    """What is imagined is marked as assumed, in the result's document too."""
    topology = _extended(machines, "faster.yaml", 8).document["topology"]
    assert topology["link"]["source"]["bandwidth"].startswith("assumed: x2, changed from https:")
    assert topology["link"]["source"]["latency"].startswith("RCCL")
    told = topology["device"]["source"]
    assert "assumed" in (told if isinstance(told, str) else told["memory"])


def test_files_that_extend_each_other_are_told_as_a_circle(tmp_path: Path) -> None:
    """Also where no scenario is read."""
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(TopologyError, match=r"in a circle: .*a\.yaml -> .*b\.yaml -> .*a\.yaml"):
        load_file(tmp_path / "a.yaml")


def test_short_paths_and_factors_are_axes_of_a_sweep() -> None:
    """``nic.``, ``link.`` and ``device.`` mean the same there."""
    rows = tspsim.sweep(
        "tsp-layer", "link.bandwidth=x1,x2", "device.flop_rate=x1,x2"
    ).rows  # fmt: skip
    times = [row.figures["step_time"] for row in rows]
    assert times[0] == max(times)
    assert times[3] == min(times)
    with pytest.raises(UserError, match=r"did you mean 'nic\.bandwidth'"):
        tspsim.sweep("tsp-layer", "nic.bandwith=x1,x2")
