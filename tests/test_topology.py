"""Generators, routes, the files that ship, and what wrong topologies are told."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from tspsim.files.errors import TopologyError, UnknownNameError, UserError
from tspsim.files.shipped import locate, names, shipped
from tspsim.registry import TOPOLOGIES
from tspsim.topology.graph import Topology
from tspsim.topology.load import build, document, load, load_file, parse, parse_profile

DEVICE = {
    "name": "x",
    "flop_rate": {"bf16": "100 TFLOP/s"},
    "memory_bandwidth": "1 TB/s",
    "memory": "80 GiB",
}
LINK = {"bandwidth": "50 GB/s", "latency": "1 us"}
NIC = {"bandwidth": "25 GB/s", "latency": "8 us"}


def make(kind: str, **keys: Any) -> dict[str, Any]:
    """Return a document with the device and link of these tests."""
    return {"kind": kind, "device": DEVICE, "link": LINK, **keys}


def nodes(fabric: str, node: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """Return a document of several nodes."""
    return {"kind": "nodes", "device": DEVICE, "node": node, "nic": NIC, "fabric": fabric, **keys}


def custom(count: int, links: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a custom document whose links are those of these tests."""
    lines = [{**LINK, **line} for line in links]
    return {"kind": "custom", "devices": [DEVICE] * count, "links": lines}


FULL4 = {"kind": "full", "ranks": 4, "link": LINK}
SWITCH4 = {"kind": "switch", "ranks": 4, "link": LINK}
EVERY_KIND = {
    "ring": make("ring", ranks=5),
    "line": make("line", ranks=5),
    "full": make("full", ranks=5),
    "switch": make("switch", ranks=5),
    "mesh": make("mesh", shape=[3, 4]),
    "torus": make("torus", shape=[3, 4, 2]),
    "nodes": nodes("fat_tree", SWITCH4, nodes=3, oversubscription=2.0),
    "custom": custom(2, [{"from": "d0", "to": "d1"}]),
}


def hops(topology: Topology, source: int, target: int) -> list[str]:
    """Return the names of the links of a route."""
    return [topology.links[link].name for link in topology.route(source, target)]


@pytest.mark.parametrize(
    ("name", "devices", "links"),
    [
        ("ring", 5, 10), ("line", 5, 8), ("full", 5, 20), ("switch", 5, 10),
        ("mesh", 12, 2 * (2 * 4 + 3 * 3)), ("torus", 24, 2 * (24 + 24 + 12)),
        ("nodes", 12, 2 * (12 + 12 + 12 + 3)), ("custom", 2, 2),
    ],
)  # fmt: skip
def test_generator_makes_its_devices_and_links(name: str, devices: int, links: int) -> None:
    """The counts are those of the textbook; a torus dim of two has no wrap-around."""
    topology = load(EVERY_KIND[name])
    assert (len(topology.devices), len(topology.links)) == (devices, links)
    assert topology.kind == name
    assert [link.index for link in topology.links] == list(range(links))


def test_every_kind_is_registered() -> None:
    """One file is one kind, found by its module's name."""
    assert set(TOPOLOGIES.names()) == set(EVERY_KIND)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_no_two_links_join_the_same_vertices(name: str) -> None:
    """The graph keeps one edge per direction, so a second link would be lost."""
    topology = load(EVERY_KIND[name])
    assert topology.graph.number_of_edges() == len(topology.links)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_written_document_makes_the_same_topology(name: str) -> None:
    """A resolved document stands alone: it reads back as an equal form and topology."""
    form = parse(EVERY_KIND[name])
    again = parse(document(form))
    assert again == form
    assert build(again) == build(form)


@pytest.mark.parametrize("kind", ["ring", "line", "full", "switch"])
def test_one_device_alone_is_a_topology(kind: str) -> None:
    """A single device has nobody to lose."""
    assert len(load(make(kind, ranks=1)).devices) == 1


def test_two_devices_on_a_ring_have_one_connection() -> None:
    """Both neighbours are the same device: one link per direction."""
    assert len(load(make("ring", ranks=2)).links) == 2


def test_switch_latency_is_that_from_device_to_device() -> None:
    """Half of it lies on either side of the switch."""
    topology = load(make("switch", ranks=3))
    assert hops(topology, 0, 2) == ["d0→switch", "switch→d2"]
    assert topology.latency(0, 2) == pytest.approx(1e-6)


def test_rails_keep_a_position_on_its_switch() -> None:
    """NIC 2 of one node reaches NIC 2 of another over rail 2, with the stated latency."""
    topology = load(nodes("rails", SWITCH4, nodes=3))
    assert hops(topology, 2, 10) == ["d2→nic2", "nic2→rail2", "rail2→nic10", "nic10→d10"]
    assert topology.latency(2, 10) == pytest.approx(8e-6)


def test_rails_are_joined_inside_nodes_only() -> None:
    """Between different positions the sending node's own links come first."""
    topology = load(nodes("rails", FULL4, nodes=2))
    assert hops(topology, 0, 5) == ["d0→d1", "d1→nic1", "nic1→rail1", "rail1→nic5", "nic5→d5"]


def test_fat_tree_uplink_is_oversubscribed() -> None:
    """A leaf's uplink carries its NICs' bandwidth divided by the factor; latencies add up."""
    topology = load(nodes("fat_tree", SWITCH4, nodes=2, oversubscription=2.0))
    bandwidth = {link.name: link.bandwidth for link in topology.links}
    assert bandwidth["leaf0→spine"] == bandwidth["spine→leaf1"] == 4 * 25e9 / 2
    assert topology.latency(0, 7) == pytest.approx(8e-6)
    assert "spine→leaf1" in hops(topology, 0, 7)


def test_traffic_inside_a_node_stays_there() -> None:
    """The node's own switch is as near as the leaf, and comes first."""
    topology = load(nodes("fat_tree", SWITCH4, nodes=2))
    assert hops(topology, 5, 6) == ["d5→node1.switch", "node1.switch→d6"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.sampled_from(["mesh", "torus"]))
def test_grid_distance_is_the_sum_over_dims(shape: list[int], kind: str) -> None:
    """The shortest route has one hop per step along every dim, the short way round a torus."""
    topology = load(make(kind, shape=shape))
    last = [size - 1 for size in shape]
    steps = [min(step, 1) if kind == "torus" else step for step in last]
    assert len(topology.route(0, len(topology.devices) - 1)) == sum(steps)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_route_is_shortest_joined_and_always_the_same(name: str) -> None:
    """Every route follows links end to end, is as short as any, and never changes."""
    topology, again = load(EVERY_KIND[name]), load(EVERY_KIND[name])
    shortest = dict(nx.all_pairs_shortest_path_length(topology.graph))
    for a in range(len(topology.devices)):
        for b in reversed(range(len(topology.devices))):
            route = [topology.links[link] for link in topology.route(a, b)]
            ends = [f"d{a}", *(link.target for link in route)]
            assert [link.source for link in route] == ends[:-1]
            assert ends[-1] == f"d{b}"
            assert len(route) == shortest[f"d{a}"][f"d{b}"]
            assert topology.route(a, b) == again.route(a, b)


def test_ring_goes_the_first_declared_way_when_both_are_equal() -> None:
    """Opposite devices of an even ring are reached by the link that comes first."""
    assert hops(load(make("ring", ranks=4)), 0, 2) == ["d0→d1", "d1→d2"]


def test_unconnected_topology_names_two_devices_that_lost_each_other() -> None:
    """Two islands are not a topology."""
    links = [{"from": "d0", "to": "d1"}, {"from": "d2", "to": "d3"}]
    with pytest.raises(TopologyError, match="not connected: no path from device 0 to device 2"):
        load(custom(4, links))


def test_one_way_link_is_not_enough() -> None:
    """The way back is missed too, and named in its direction."""
    with pytest.raises(TopologyError, match="no path from device 1 to device 0"):
        load(custom(2, [{"from": "d0", "to": "d1", "both": False}]))


def problems(wrong: dict[str, Any]) -> dict[tuple[str | int, ...], str]:
    """Return the places and messages that a wrong document gets."""
    with pytest.raises(ValidationError) as error:
        load(wrong)
    return {tuple(detail["loc"]): detail["msg"] for detail in error.value.errors()}


def test_every_problem_has_its_place() -> None:
    """All of them at once, each under the keys that lead to it."""
    device = {**DEVICE, "flop_rate": {"bf16": "1 GB"}}
    wrong = {"kind": "ring", "ranks": "8", "link": {"bandwidth": "50 GB"}, "device": device}
    found = problems(wrong)
    assert "found a size" in found["link", "bandwidth"]
    assert found["link", "latency"] == "Field required"
    assert "'1 GB' is not a quantity in FLOP/s" in found["device", "flop_rate", "bf16"]
    assert ("ranks",) in found


def test_problems_of_a_node_have_their_place() -> None:
    """A nested topology is told its mistakes under ``node``."""
    found = problems(nodes("rails", {"kind": "rnig", "ranks": 4, "link": LINK}, nodes=2))
    assert "did you mean 'ring'?" in found["node", "kind"]


@pytest.mark.parametrize(
    ("wrong", "place", "message"),
    [
        ({"ranks": 8}, ("kind",), "Field required"),
        ({"kind": "rign"}, ("kind",), "unknown topology kind 'rign' (did you mean 'ring'?)"),
        ({"kind": 3}, ("kind",), "valid string"),
        ({"file": "mi300-node"}, ("file",), "did you mean 'mi300x-node'?"),
        (make("ring", ranks=8, device="h100"), ("device",), "unknown device 'h100'"),
        ({"kind": "ring", "ranks": 8, "link": LINK}, ("device",), "Field required"),
        (make("ring", ranks=0), ("ranks",), "greater than or equal to 1"),
        (make("ring", ranks=10**9), ("ranks",), "less than or equal to 16384"),
        (make("torus", shape=[16384, 2]), ("shape",), "32768 devices; at most 16384"),
        (make("torus", shape=[]), ("shape",), "at least 1"),
        (nodes("rails", FULL4, nodes=9999), ("nodes",), "39996 devices; at most 16384"),
        (
            nodes("rails", FULL4, nodes=2, oversubscription=2.0), ("oversubscription",),
            "found 2; rails have no uplinks: it is for 'fabric: rail_optimised'",
        ),
        (nodes("dragonfly", FULL4, nodes=6), ("groups",), "is missing: a dragonfly needs"),
        (nodes("dragonfly", FULL4, nodes=6, groups=4), ("groups",), "found 4; must divide the 6"),
        (nodes("dragonfly", FULL4, nodes=6, groups=1), ("groups",), "greater than or equal to 2"),
        (nodes("rails", FULL4, nodes=6, groups=2), ("groups",), "this is 'rails'"),
        (nodes("torus", FULL4, nodes=6), ("fabric",), "'rails', 'rail_optimised', 'fat_tree' or"),
        (nodes("rails", FULL4, nodes=2, nics=3), ("nics",), "must divide the 4 devices of a node"),
        (
            nodes("fat_tree", FULL4, nodes=6, nodes_per_leaf=4), ("nodes_per_leaf",),
            "found 4; must divide the 6 nodes",
        ),
        (nodes("rails", FULL4, nodes=6, nodes_per_leaf=2), ("nodes_per_leaf",), "this is 'rails'"),
        (nodes("rails", FULL4, nodes=2, oversubscription="2"), ("oversubscription",), "number"),
        (nodes("fat_tree", FULL4, nodes=2, oversubscription=0.5), ("oversubscription",), "to 1"),
        (make("ring", ranks=4, source={"rank": "x"}), (), "did you mean 'ranks'?"),
        (custom(2, [{"from": "d0", "to": "d0"}]), (), "'d0' is joined to itself"),
        (custom(2, [{"from": "d0", "to": "d2"}]), (), "no device 'd2'; they are d0 to d1"),
        (custom(2, [{"from": "d0", "to": "d1"}] * 2), (), "add up their bandwidths"),
        ({**custom(1, []), "device": DEVICE}, (), "lists its 'devices'"),
        (make("ring", ranks=4, device={**DEVICE, "reserved": "90 GiB"}), ("device",), "reserved"),
    ],
)  # fmt: skip
def test_wrong_topology_is_told_where_and_why(
    wrong: dict[str, Any], place: tuple[str, ...], message: str
) -> None:
    """A mistake is found before anything is built."""
    assert message in problems(wrong)[place]


def test_file_is_a_base_that_keys_replace() -> None:
    """A what-if changes one number of a shipped file."""
    topology = load({"file": "h100-node.yaml", "link": {"bandwidth": "100 GB/s"}, "ranks": 4})
    assert len(topology.devices) == 4
    assert {link.bandwidth for link in topology.links} == {100e9}
    assert topology.latency(0, 1) == pytest.approx(1.9e-6)


def test_relative_file_starts_beside_the_one_that_names_it(tmp_path: Path) -> None:
    """A topology and its device may stand in one folder anywhere."""
    (tmp_path / "mine.yaml").write_text("kind: line\nranks: 2\ndevice: parts/dev.yaml\n")
    (tmp_path / "parts").mkdir()
    with (tmp_path / "parts" / "dev.yaml").open("w") as file:
        YAML().dump(DEVICE, file)
    topology = load({"file": "mine.yaml", "link": LINK}, folder=tmp_path)
    assert topology.devices[0].name == "x"


def test_wrong_device_file_is_named(tmp_path: Path) -> None:
    """The place is the key that names the file; the message says which file and line."""
    (tmp_path / "dev.yaml").write_text("name: x\nname: y\n")
    with pytest.raises(ValidationError) as error:
        load(make("ring", ranks=2, device="dev.yaml"), folder=tmp_path)
    (detail,) = error.value.errors()
    assert detail["loc"] == ("device",)
    assert "dev.yaml:2:1: duplicate key 'name' (first at 1:1)" in detail["msg"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "this is empty"), ("- 1\n", "this is a list"), ("a: [", ":1:5:"), ("kind: ring", "req")],
)
def test_wrong_topology_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    """Whatever stands in the file, the message begins with its path."""
    path = tmp_path / "t.yaml"
    path.write_text(content)
    with pytest.raises(TopologyError) as error:
        load_file(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_huge_and_binary_files_are_refused(tmp_path: Path) -> None:
    """A file that no person wrote is not parsed."""
    (tmp_path / "huge.yaml").write_bytes(b" " * (5 * 2**20))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, message in (("huge", "at most 1 MiB is read"), ("binary", "is not UTF-8 text")):
        with pytest.raises(TopologyError, match=message):
            load_file(tmp_path / f"{name}.yaml")


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    """The message says that a folder was found."""
    with pytest.raises(UserError, match="is a folder"):
        locate("topology", str(tmp_path), "topologies")


def test_unknown_file_lists_what_ships() -> None:
    """A name that stands for nothing gets the nearest one that does."""
    with pytest.raises(UnknownNameError, match="did you mean 'mi300x-node'"):
        load_file("mi300x-nod")


def test_profile_of_the_scenario_replaces_the_device_s() -> None:
    """Curves, interference, launch and error come from the stated profile."""
    stated = {
        "name": "mine", "curves": {"matmul": [[1, 0.3], [1e12, 0.8]]}, "interference": 0.9,
        "launch": "4 us", "error": 0.05, "source": "a bench",
    }  # fmt: skip
    profile = load(make("ring", ranks=2), profile=parse_profile(stated)).profile
    assert dict(profile.curves)["matmul"].points == ((1.0, 0.3), (1e12, 0.8))
    assert (profile.launch, profile.interference, profile.error) == (4e-6, 0.9, 0.05)
    assert load(make("ring", ranks=2)).profile.name == "datasheet"


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        ([], "at least one"), ([[2, 0.5], [1, 0.6]], "increase"), ([[0, 0.5]], "positive"),
        ([[1, 1.2]], "at most 1"), ([[1]], "at least 2"),
    ],
)  # fmt: skip
def test_curve_that_is_none_is_refused(curve: Any, message: str) -> None:
    """Sizes increase, efficiencies lie in (0, 1]."""
    with pytest.raises(ValidationError, match=message):
        parse_profile({"name": "p", "curves": {"matmul": curve}})


def test_written_profile_reads_back() -> None:
    """The resolved document holds the profile itself, not its name."""
    form = parse_profile("datasheet")
    assert parse_profile(document(form)) == form


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_schema_for_editors_takes_names_and_quantities(kind: str) -> None:
    """A device may be a name or a mapping, and a bandwidth is text."""
    parts = TOPOLOGIES.get(kind).model_json_schema()["$defs"]
    assert parts["DeviceForm"]["properties"]["memory_bandwidth"]["type"] == "string"
    profile = parts["DeviceForm"]["properties"]["profile"]
    assert profile["anyOf"][0]["type"] == "string"


@pytest.mark.parametrize("name", names("topologies"))
def test_shipped_topology_builds(name: str) -> None:
    """Every file that ships is connected and names itself."""
    assert load_file(name).name == name


def test_mi300x_node_is_fully_connected() -> None:
    """Eight devices, a link of 64 GB/s per pair and direction."""
    topology = load_file("mi300x-node")
    assert len(topology.links) == 8 * 7
    assert {link.bandwidth for link in topology.links} == {64e9}


@pytest.mark.parametrize(
    ("name", "port"),
    [("a100-node", 300e9), ("h100-node", 450e9), ("h200-node", 450e9), ("b200-node", 900e9)],
)
def test_nvidia_node_is_switched(name: str, port: float) -> None:
    """Eight ports around one switch, with the vendor's bandwidth per direction."""
    topology = load_file(name)
    assert (len(topology.links), topology.kind) == (16, "switch")
    assert {link.bandwidth for link in topology.links} == {port}


def unsourced(part: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the keys of a file whose numbers have no source beside them."""
    words = {"name", "kind", "device", "profile", "fabric", "file", "source", "node", "curves"}
    words |= {"fits", "evidence"}  # the command that writes the profile works them out
    source = part.get("source", {})
    for key, value in part.items():
        if isinstance(value, dict) and key in {"link", "nic"}:
            yield from unsourced(value, f"{path}.{key}")
        elif key not in words and not isinstance(source, str) and not source.get(key):
            yield f"{path}.{key}"


@pytest.mark.parametrize(
    "path", sorted(shipped("topologies").rglob("*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_number_has_its_source(path: Path) -> None:
    """A number without a source is a guess, and guesses are marked as assumed."""
    part = YAML(typ="safe", pure=True).load(path)
    assert list(unsourced(part, path.stem)) == []
