"""Fitting: rows made from known constants give them back; gloo's algorithms do what they claim."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

pytest.importorskip("scipy", reason="fitting needs tspsim[calibrate]")

from tspsim.calibrate import rows as raw
from tspsim.calibrate.fit import fit
from tspsim.calibrate.fit import network as net
from tspsim.calibrate.fit.curves import fit_compute, monotone
from tspsim.calibrate.fit.write import profile_document, topology_document, write
from tspsim.calibrate.measure import grid
from tspsim.calibrate.rows import CalibrationError, Machine, Row, Rows
from tspsim.cli.app import app
from tspsim.collectives import gloo
from tspsim.collectives.choose import Chooser, choose
from tspsim.collectives.schedule import Schedule
from tspsim.program.types import COLLECTIVE_KINDS, CollectiveKind
from tspsim.topology.hardware import Profile
from tspsim.topology.load import load_file

MACHINE = Machine("a processor", 2, 2**34, "Linux", {"torch": "2"}, "gloo", "namespaces", 1e9)
BANDWIDTH, LATENCY = 120e6, 200e-6
RATE, MEMORY = 50e9, 8e9


# ---- gloo ----------------------------------------------------------------------------------------


def replayed(schedule: Schedule, held: list[dict[int, set[int]]]) -> list[dict[int, set[int]]]:
    """Return whose parts every chunk of every member holds once all sends are done."""
    for step in schedule.steps:
        old, held = held, [dict(chunks) for chunks in held]
        for source, target, chunks, reduce in step:
            for chunk in chunks:
                sent = old[source][chunk]
                held[target][chunk] = held[target].get(chunk, set()) | sent if reduce else sent
    return held


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("root", [0, 1])
def test_the_sends_of_gloo_do_what_the_name_says(n: int, root: int) -> None:
    """Trees reach everybody, reductions hold every part, everybody gets what is meant for it."""
    whole = [{0: {0}} if i == root else {} for i in range(n)]
    after = replayed(gloo.sends("broadcast", n, root), whole)
    assert all(chunks == {0: {0}} for chunks in after)
    parts: list[dict[int, set[int]]] = [{chunk: {i} for chunk in range(n)} for i in range(n)]
    everything = {chunk: set(range(n)) for chunk in range(n)}
    assert replayed(gloo.sends("reduce", n, root), parts)[root] == everything
    for kind in ("all_reduce", "reduce_scatter"):
        assert replayed(gloo.sends(kind, n), parts) == [everything] * n
    pieces = gloo.sends("all_gather", n).pieces // n
    own = [{i * pieces + p: {i} for p in range(pieces)} for i in range(n)]
    gathered = {i * pieces + p: {i} for i in range(n) for p in range(pieces)}
    assert replayed(gloo.sends("all_gather", n), own) == [gathered] * n
    mine = [{i * n + d: {i} for d in range(n)} for i in range(n)]
    for j, chunks in enumerate(replayed(gloo.sends("all_to_all", n), mine)):
        assert all(chunks[i * n + (j - i) % n] == {i} for i in range(n))


@pytest.mark.parametrize(
    ("kind", "ranks", "messages"),
    [
        ("broadcast", 2, 1.0), ("broadcast", 4, 3.0), ("broadcast", 8, 6.0), ("reduce", 4, 1.0),
        ("all_reduce", 4, 1.5), ("reduce_scatter", 4, 1.5), ("all_gather", 2, 0.75),
        ("all_gather", 4, 0.75), ("all_to_all", 2, 1.0), ("all_to_all", 4, 1.0), ("shift", 2, 2.0),
        ("shift", 4, 1.0),
    ],
)  # fmt: skip
def test_gloo_takes_what_was_measured_on_throttled_links(
    kind: str, ranks: int, messages: float
) -> None:
    """In times of one message over one link: a tree of whole messages, one way at a time."""
    found = net.terms("gloo", kind, ranks, 0)
    assert found is not None
    assert found[1] == pytest.approx(messages)


def test_auto_takes_what_the_profile_names_and_never_gloo_by_itself() -> None:
    """Other kinds are chosen as ever."""
    plain = net.star(4, 1e9, 1e-6, Profile("p"))
    seen = net.star(4, 1e9, 1e-6, Profile("p", collectives=(("broadcast", "gloo"),)))
    everybody = (0, 1, 2, 3)
    kinds: tuple[CollectiveKind, ...] = tuple(k for k in COLLECTIVE_KINDS if k != "shift")
    for size in (1.0, 1e4, 1e9):
        for kind in kinds:
            before = choose(kind, size, everybody, plain, 0)
            assert before.algorithm != "gloo"
            if kind != "broadcast":
                assert choose(kind, size, everybody, seen, 0) == before
    assert choose("broadcast", 1e6, everybody, seen, 0).algorithm == "gloo"
    assert Chooser(seen, "ring").choose("broadcast", 1e6, everybody, 0).algorithm == "ring"


# ---- rows from known constants -------------------------------------------------------------------


def seconds(point: grid.Point, generator: np.random.Generator, noise: float) -> Iterator[float]:
    """Yield repeats of a point by known constants, with relative noise."""
    case = point.case
    if point.kind == "collective":
        found = net.terms("gloo", case["collective"], case["ranks"], 0)
        assert found is not None
        exact = found[0] * LATENCY + found[1] * case["bytes"] / BANDWIDTH
    elif point.kind == "op":
        exact = max(case["flops"] / RATE, case["bytes"] / MEMORY)
    else:
        exact = 1e-3
    for _ in range(point.repeats):
        yield exact * float(1 + noise * generator.standard_normal())


def made(noise: float = 0.0, ranks: tuple[int, ...] = (2, 4)) -> Rows:
    """Return the rows that a machine of known constants would give."""
    generator = np.random.default_rng(1)
    points = [p for p in grid.points(ranks, 2, quick=True) if p.kind != "block"]
    notes: dict[str, Any] = {"alone": 0.8e-3}
    return Rows(
        MACHINE,
        tuple(
            Row(p.kind, p.case, p.use, tuple(seconds(p, generator, noise)),
                notes=notes if p.kind == "overlap" else {})
            for p in points
        ),
    )  # fmt: skip


def test_known_constants_come_back() -> None:
    """Bandwidth, latency, algorithms, rates and interference, from rows without noise."""
    found = fit(made())
    assert found.network.bandwidth == pytest.approx(BANDWIDTH, rel=1e-3)
    assert found.network.latency == pytest.approx(LATENCY, rel=0.01)
    told_apart = {"broadcast", "reduce", "reduce_scatter", "all_gather", "all_to_all", "shift"}
    assert {kind for kind, name in found.network.algorithms.items() if name == "gloo"} == told_apart
    assert found.compute.flop_rate == pytest.approx(RATE, rel=1e-3)
    assert found.compute.memory_bandwidth == pytest.approx(MEMORY, rel=1e-3)
    assert found.interference == pytest.approx(0.8)
    assert all(quality.error is not None and quality.error < 0.01
               for quality in found.quality.values())  # fmt: skip


def test_intervals_hold_the_constants_and_grow_with_the_noise() -> None:
    """Drawing repeats again says how far the constants could lie off."""
    quiet, loud = fit(made(0.01)), fit(made(0.05))
    low, high = quiet.intervals["bandwidth"]
    assert low * 0.99 <= BANDWIDTH <= high * 1.01
    wider = loud.intervals["bandwidth"]
    assert wider[1] - wider[0] > high - low


def test_one_lost_scheduler_slice_changes_nothing() -> None:
    """A repeat that took ten times as long is not the median."""
    rows = made()
    hurt = tuple(replace(row, seconds=(row.seconds[0] * 10, *row.seconds[1:])) for row in rows.rows)
    assert fit(replace(rows, rows=hurt)).network == fit(rows).network


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    """A fit is a pure function, pictures included."""
    rows = made(0.02)
    for name in ("a", "b"):
        write(fit(rows), tmp_path / name / "profile.yaml", [2, 4])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_what_is_missing_is_named() -> None:
    """Too few rows are refused, with what a fit still needs."""
    rows = made()
    few = tuple(row for row in rows.rows if row.case.get("op") != "attention")
    few = tuple(row for row in few if row.kind != "collective")
    with pytest.raises(CalibrationError, match="3 more attention ops, 2 more sizes of collectives"):
        fit(replace(rows, rows=few))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(st.floats(1, 1e12), st.floats(1e-3, 1)), min_size=1, max_size=60),
)
def test_curves_are_monotone_whatever_the_rows(speeds: list[tuple[float, float]]) -> None:
    """Efficiencies lie in (0, 1], rise or fall throughout, and sizes increase."""
    points = monotone(speeds, max(speed for _, speed in speeds))
    sizes, efficiencies = zip(*points, strict=True)
    assert all(a < b for a, b in itertools.pairwise(sizes))
    assert all(0 < e <= 1 for e in efficiencies)
    assert list(efficiencies) in (sorted(efficiencies), sorted(efficiencies, reverse=True))


def test_launch_overhead_is_where_additions_meet_no_bytes() -> None:
    """A constant on top of every op is found, and taken off before rates are."""
    rows = made().of("op")
    slower = [replace(row, seconds=tuple(s + 5e-5 for s in row.seconds)) for row in rows]
    found = fit_compute(slower)
    assert found.launch == pytest.approx(5e-5, rel=0.05)
    assert found.flop_rate == pytest.approx(RATE, rel=0.05)


# ---- files ---------------------------------------------------------------------------------------


def test_the_files_of_a_fit_can_be_used_by_a_scenario(tmp_path: Path) -> None:
    """The topology names the profile, and both are read as any other."""
    found = fit(made())
    write(found, tmp_path / "profile.yaml", [4])
    topology = load_file(tmp_path / "profile-4-ranks.yaml")
    assert topology.profile.collectives == tuple(found.network.algorithms.items())
    assert topology.devices[0].peak("fp32") == pytest.approx(RATE / 2, rel=1e-3)  # 2 cores for 4
    time = choose("broadcast", 1e6, (0, 1, 2, 3), topology, 0).time(1e6, topology)
    assert time == pytest.approx(3 * 1e6 / BANDWIDTH + 2 * LATENCY, rel=1e-2)


def test_documents_state_where_constants_come_from() -> None:
    """Device, link and versions stand in the source."""
    found = fit(made())
    for document in (profile_document(found, "x"), topology_document(found, 2, "x.yaml")):
        assert "a processor" in document["source"]
        assert "1000 Mbit/s" in document["source"]


def test_fit_on_the_command_line(tmp_path: Path) -> None:
    """Rows go in, a profile comes out, and what was found is printed."""
    rows = made()
    raw.write_machine(tmp_path / "rows", MACHINE)
    raw.append(tmp_path / "rows", rows.rows)
    target = str(tmp_path / "profile.yaml")
    result = CliRunner().invoke(
        app, ["calibrate", "fit", str(tmp_path / "rows"), "-o", target, "--json"]
    )
    assert result.exit_code == 0, result.stderr
    printed = json.loads(result.stdout)
    assert printed["bandwidth"]["value"] == pytest.approx(BANDWIDTH, rel=1e-3)
    table = CliRunner().invoke(app, ["calibrate", "fit", str(tmp_path / "rows"), "-o", target])
    assert "90 % interval" in table.stdout
    assert "gloo" in table.stdout


def test_a_fit_without_rows_ends_with_exit_code_2(tmp_path: Path) -> None:
    """The message names the command that measures."""
    result = CliRunner().invoke(
        app, ["calibrate", "fit", str(tmp_path), "-o", str(tmp_path / "p.yaml")]
    )
    assert result.exit_code == 2
    assert "calibrate measure" in result.stderr
