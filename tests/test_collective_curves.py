"""`tspsim collective`, the published curves of collectives, and what other simulators say."""

from __future__ import annotations

import csv
import json
import re
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from typer.testing import CliRunner

from tspsim.calibrate.published.measured import CURVES, Curve, matching, switches, table
from tspsim.cli.app import app
from tspsim.cli.collective import parse_sizes
from tspsim.collectives.choose import choose
from tspsim.collectives.curve import busbw_factor, curve, doubled
from tspsim.files.errors import UserError
from tspsim.program.types import COLLECTIVE_KINDS
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Device, Profile
from tspsim.topology.load import load_file, parse, parse_profile

TOP = Path(__file__).parent.parent
DEVICE = Device("x", (("bf16", 1e14),), memory_bandwidth=1e12, memory=80e9)
MIB, GIB = 2**20, 2**30


def ring(ranks: int, bandwidth: str, latency: str) -> Topology:
    """Return devices in a circle."""
    link = {"bandwidth": bandwidth, "latency": latency}
    form = parse({"kind": "ring", "ranks": ranks, "link": link})
    return form.build((DEVICE,) * ranks, Profile("p"), "ring")


# ---- published curves ----------------------------------------------------------------------------

MET = [found for found in CURVES if not found.missed]


@pytest.mark.parametrize("found", MET, ids=lambda found: found.title)
def test_a_published_curve_is_met_to_ten_percent(found: Curve) -> None:
    """Mean absolute error of the times from 1 MiB to 8 GiB, from the committed profile."""
    apart = found.deviations()
    assert len(apart) >= 7
    assert mean(map(abs, apart)) < 0.10


def test_what_is_missed_is_missed_and_says_why() -> None:
    """A curve leaves the list of the missed ones as soon as it is met."""
    missed = [found for found in CURVES if found.missed]
    assert [found.source for found in missed] == ["ml-engineering-figure", "gke"]
    for found in missed:
        assert mean(map(abs, found.deviations())) > 0.10


def named(source: str, kind: str) -> Curve:
    """Return a curve."""
    return next(found for found in CURVES if (found.source, found.kind) == (source, kind))


def kinks(found: Curve) -> list[int]:
    """Return the sizes after which a byte more costs markedly less: where a library switches."""
    rows = found.rows()
    costs = [(b.seconds - a.seconds) / (b.bytes - a.bytes) for a, b in pairwise(rows)]
    return [
        rows[i].bytes
        for i in range(1, len(costs))
        if rows[i].bytes >= MIB and costs[i] < 0.75 * costs[i - 1]
    ]


@pytest.mark.parametrize(
    ("source", "kind"), [("amd-rccl", "all_reduce"), ("dgx-b200-report", "all_gather")]
)
def test_the_protocol_changes_where_the_measured_curve_bends(source: str, kind: str) -> None:
    """The profile's change to its fastest or second protocol lies beside a bend of the curve."""
    found = named(source, kind)
    place, ranks = found.place(), tuple(range(found.ranks))
    sizes = [2 ** (k / 8) for k in range(20 * 8, 33 * 8)]
    plans = [choose(found.kind, size, ranks, place) for size in sizes]
    changes = [
        size for size, (a, b) in zip(sizes, pairwise(plans), strict=False)
        if a.efficiency != b.efficiency
    ]  # fmt: skip
    bends = kinks(found)
    assert changes
    assert any(bend / 1.1 <= change <= 2.2 * bend for change in changes for bend in bends)


def test_reduction_in_the_switch_begins_where_the_source_says() -> None:
    """NCCL 2.27.7 on H200: NVLS from 2 MiB up, although it is slower than rings at first."""
    found = named("ml-engineering-figure", "all_reduce")
    assert switches(found) == ["direct", "in_switch"]
    points = found.predicted([2.0 * MIB - 1, 2.0 * MIB])
    assert [point.algorithm for point in points] == ["direct", "in_switch"]
    assert points[1].time > points[0].time


def test_two_nodes_reduce_in_trees_and_scatter_in_rings() -> None:
    """What was measured over two nodes of B200: an all-reduce is twice as fast as rings allow."""
    assert switches(named("oci-oke", "all_reduce")) == ["tree"]
    assert switches(named("dgx-b200-report", "reduce_scatter")) == ["ring"]


def test_curves_are_found_by_devices_and_links_not_by_name() -> None:
    """Only such a node with as many ranks has measured points to draw."""
    node = load_file("mi300x-node")
    found = [curve.source for curve in matching("all_reduce", 8, node)]
    assert found == ["amd-rccl", "amd-rccl-graph"]
    assert matching("all_reduce", 4, node) == ()
    assert matching("all_gather", 8, load_file("a100-node")) == ()


def test_the_table_of_curves_has_a_line_for_each() -> None:
    """It is what the document shows."""
    lines = table().splitlines()
    assert [line[:40].rstrip() for line in lines[1:]] == [found.title for found in CURVES]


# ---- other simulators ----------------------------------------------------------------------------


def simulators() -> list[dict[str, float]]:
    """Return the rows of a ring all-reduce of 1 GiB; times in nanoseconds."""
    path = TOP / "published/ring_simulators.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return [{key: float(value) for key, value in row.items()} for row in rows]


@pytest.mark.parametrize("row", simulators(), ids=lambda row: f"{row['ranks']:.0f} ranks")
def test_a_ring_all_reduce_takes_what_the_closed_form_and_two_other_simulators_say(
    row: dict[str, float],
) -> None:
    """To 1e-6 and to 0.05 %, up to 1,024 ranks, with their link of 53.6870912e9 B/s and 500 ns."""
    n = int(row["ranks"])
    topology = ring(n, "53687091200 B/s", "500 ns")
    plan = choose("all_reduce", GIB, tuple(range(n)), topology, None, "ring")
    nanoseconds = plan.time(GIB, topology) * 1e9
    form = 2 * (n - 1) * (GIB / n / 53.6870912e9 + 500e-9) * 1e9
    assert nanoseconds == pytest.approx(form, rel=1e-9)
    assert nanoseconds == pytest.approx(row["closed_form_ns"], rel=1e-6)
    assert nanoseconds == pytest.approx(row["simgrid_ns"], rel=5e-4)
    assert nanoseconds == pytest.approx(row["astra_1chunk_ns"], rel=5e-4)


def test_the_rows_of_simulators_go_to_1024_ranks() -> None:
    """And nobody took any out."""
    assert [row["ranks"] for row in simulators()] == [8, 64, 256, 1024]


# ---- the command ---------------------------------------------------------------------------------


def call(*arguments: str) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr of ``tspsim collective``."""
    result = CliRunner().invoke(app, ["collective", *arguments])
    return result.exit_code, result.stdout, result.stderr


def rows_of(*arguments: str) -> list[dict[str, Any]]:
    """Return the rows that ``--json`` prints."""
    code, out, _ = call(*arguments, "--json")
    assert code == 0
    found: list[dict[str, Any]] = json.loads(out)
    return found


#: Links as they are stated.
STATED = ("--topology", "mi300x-node", "--profile", "datasheet")


def test_json_is_a_list_of_rows_in_si_units() -> None:
    """Every size doubles, and the two bandwidths are those of nccl-tests."""
    found = rows_of("all_reduce", "--bytes", "8..8GiB", *STATED, "--ranks", "8")
    assert [row["bytes"] for row in found] == [2**k for k in range(3, 34)]
    for row in found:
        assert row.keys() == {
            "bytes", "time", "algbw", "busbw", "algorithm", "fitted", "interval",
        }  # fmt: skip
        assert row["algbw"] == pytest.approx(row["bytes"] / row["time"])
        assert row["busbw"] == pytest.approx(row["algbw"] * 2 * 7 / 8)
        assert row["algorithm"] == "direct"
    # all seven links of a device both ways: 2 (a + t/8)
    assert found[-1]["time"] == pytest.approx(2 * (2.3e-6 + 8 * GIB / 8 / 64e9))


def test_fewer_ranks_are_the_first_devices() -> None:
    """Four of eight fully connected devices use three of their seven links."""
    four = rows_of("all_gather", "--bytes", "1 GiB", *STATED, "--ranks", "4")
    assert four[0]["time"] == pytest.approx(2.3e-6 + GIB / 4 / 64e9)


def test_a_topology_file_and_an_algorithm_can_be_named(tmp_path: Path) -> None:
    """A ring of eight links of 50 GB/s and 500 ns, ring algorithm: the formula of the books."""
    path = tmp_path / "ring.yaml"
    path.write_text(
        "kind: ring\nranks: 8\nlink: {bandwidth: 50 GB/s, latency: 500 ns}\ndevice: h100-sxm\n",
        encoding="utf-8",
    )
    row = rows_of(
        "all_reduce", "--bytes", "1MiB", "--topology", str(path), "--algorithm", "ring",
        "--profile", "datasheet",
    )[0]  # fmt: skip
    assert row["algorithm"] == "ring"
    assert row["time"] == pytest.approx(14 * (500e-9 + MIB / 8 / 50e9))


def test_a_table_says_what_the_times_rest_on() -> None:
    """Ranks, topology, profile and its error, then a line per size."""
    code, out, _ = call(
        "all_gather", "--bytes", "1MiB..4MiB", "--topology", "h100-node", "--profile",
        "h100-published",
    )  # fmt: skip
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "all_gather over 8 of 8 devices of h100-node, 8 ranks in 1 node"
    assert lines[1] == "times from profile h100-published"
    assert re.fullmatch(
        r"  direct: 80 % of \d+ calls like it, kept from the fit, took [+-]\d+\.\d to "
        r"[+-]\d+\.\d % of these times",
        lines[2],
    )
    assert lines[3].split()[::2] == ["size", "time", "algbw", "busbw", "algorithm"]
    assert [line.split()[0] for line in lines[4:]] == ["1048576", "2097152", "4194304"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["all_reduce"], "  tree: error unknown, no measured call is like it"),
        (["all_to_all"], "  direct: links as stated, nothing was fitted to such calls"),
    ],
)
def test_a_span_that_nobody_measured_has_no_error(arguments: list[str], told: str) -> None:
    """Rows of eight devices in one node do not speak for 32 in four."""
    where = ["--bytes", "64MiB", "--topology", "h100-4-nodes", "--profile", "h100-published"]
    code, out, _ = call(*arguments, *where)
    assert code == 0
    assert out.splitlines()[2].startswith(told)
    row = rows_of(*arguments, *where)[0]
    assert row["interval"] is None
    assert row["fitted"] is (arguments == ["all_reduce"])


def test_a_picture_is_drawn_with_the_published_points(tmp_path: Path) -> None:
    """Dots where such devices were measured; the file is named on stderr."""
    path = tmp_path / "curve.svg"
    code, _, err = call(
        "all_reduce", "--bytes", "1MiB..8GiB", "--topology", "mi300x-node", "--profile",
        "mi300x-published", "-o", str(path),
    )  # fmt: skip
    assert code == 0
    assert err == f"wrote {path}\n"
    text = path.read_text(encoding="utf-8")
    assert "published: RCCL all-reduce, 8 MI300X" in text
    assert "simulated: direct" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--bytes", "9..8"], "--bytes: '9..8' ends before it begins"),
        (["--bytes", "8..8Gb"], "write Gbit for bits, GB for bytes"),
        (["--bytes", "0..8"], "'0..8': 0 is no whole number of bytes from 1 to 1 PiB"),
        (["--bytes", "1.5"], "it has no unit"),
        (["--bytes", "..8"], "'..8': ''"),
        (["--ranks", "9"], "--ranks: 9 ranks; 'mi300x-node' has 8 devices, so 1 to 8"),
        (["--ranks", "0"], "--ranks: 0 ranks; 'mi300x-node' has 8 devices, so 1 to 8"),
        (["--algorithm", "rnig"], "'rnig' (did you mean 'ring'?)"),
        (["--algorithm", "hierarchical"], "cannot do all_reduce over 8 ranks (it needs several"),
        (["--algorithm", "in_switch"], "no switch of 'mi300x-node' adds up"),
        (["--profile", "mi300-published"], "(did you mean 'mi300x-published'?)"),
        (["-o", "x.bmp"], "pictures are .png, .svg, .pdf, .html, not '.bmp'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_and_ends_with_2(arguments: list[str], told: str) -> None:
    """Each with what was found and what is allowed."""
    code, _, err = call("all_reduce", "--topology", "mi300x-node", *arguments)
    assert code == 2
    assert told in err


def test_unknown_collectives_and_topologies_are_guessed() -> None:
    """The nearest name is told."""
    assert "(did you mean 'all_reduce'?)" in call("al_reduce", "--topology", "mi300x-node")[2]
    assert "(did you mean 'mi300x-node'?)" in call("all_reduce", "--topology", "mi30x-node")[2]


def test_sizes_double_from_the_first_and_a_single_one_is_a_size() -> None:
    """The last is reached where it is a power of two times the first."""
    assert parse_sizes("1 KiB .. 4 KiB") == (1024, 2048, 4096)
    assert parse_sizes("3..13") == (3, 6, 12)
    assert parse_sizes("1 MiB") == (MIB,)
    assert doubled(8, 8) == (8,)
    with pytest.raises(UserError, match="for example"):
        parse_sizes("8..")


def test_bus_bandwidth_is_what_a_port_of_a_switch_carries() -> None:
    """With the algorithm that sends least, every kind's bus bandwidth is the port's."""
    form = parse({"kind": "switch", "ranks": 8, "link": {"bandwidth": "1 GB/s", "latency": "0 s"}})
    topology = form.build((DEVICE,) * 8, Profile("p"), "switch")
    for kind in COLLECTIVE_KINDS:
        point = curve(kind, [1e9], tuple(range(8)), topology)[0]
        assert point.busbw == pytest.approx(1e9)
    assert busbw_factor("all_reduce", 8) == 1.75


def test_nothing_is_sent_alone() -> None:
    """One rank takes no time, at no bandwidth."""
    found = rows_of("all_reduce", "--bytes", "1MiB", "--topology", "h100-node", "--ranks", "1")
    assert (found[0]["time"], found[0]["algbw"], found[0]["busbw"]) == (0, 0, 0)


def test_hops_of_all_members_share_what_they_share() -> None:
    """On a line the way back from the last to the first loads every link once more."""
    form = parse({"kind": "line", "ranks": 4, "link": {"bandwidth": "1 GB/s", "latency": "0 s"}})
    topology = form.build((DEVICE,) * 4, parse_profile("datasheet").value(), "line")
    assert curve("shift", [1e9], (0, 1, 2, 3), topology)[0].time == pytest.approx(1.0)
    assert curve("shift", [1e9], (0, 2, 1, 3), topology)[0].time == pytest.approx(2.0)


def test_protocols_of_one_algorithm_are_named_with_their_first_size() -> None:
    """Rows of one algorithm that follow different constants are told apart above the table."""
    fabric = ("--topology", "h100-32-nodes-rail-optimised", "--ranks", "16")
    asked = ["collective", "all_gather", *fabric, "--bytes"]
    text = CliRunner().invoke(app, [*asked, "512KiB..4MiB"]).stdout
    told = re.findall(r"^    from (\d+) B: \d+\.\d\d us for any size, and \d+ % of", text, re.M)
    assert told == ["524288", "2097152"]
    assert "    from " not in CliRunner().invoke(app, [*asked, "4MiB..16MiB"]).stdout


def test_one_rank_has_nobody_to_send_to() -> None:
    """The zeros of its table are explained."""
    asked = ["collective", "all_reduce", "--topology", "h100-node", "--ranks", "1"]
    text = CliRunner().invoke(app, [*asked, "--bytes", "1KiB"]).stdout
    assert "1 rank in 1 node\n" in text
    assert "nothing is sent: one rank has no other" in text
