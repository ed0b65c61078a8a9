"""Every shipped scenario runs, is proven by its values, and answers what its comment asks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

import tspsim
from tests import pipelines
from tspsim.engine.timeline import Span
from tspsim.values import check

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))
GIB = 2**30

#: Peak memory per device in GiB (arXiv 2604.26294, figure 9): file, sequence, figure.
PAPER = [
    ("paper-memory-tsp", 16384, 31.0),
    ("paper-memory-tsp", 131072, 38.8),
    ("paper-memory-tp", 16384, 31.5),
    ("paper-memory-tp", 131072, 70.0),
    ("paper-memory-tp4-sp2", 131072, 85.0),
    ("paper-memory-tp2-sp4", 131072, 140.0),
]


def in_small(path: Path) -> list[str]:
    """Return what makes a cluster's scenario quick: two nodes, with replicas that fill them."""
    strategy = tspsim.load(path).strategy
    if strategy.dp == 1:
        return pipelines.in_small(path)
    devices = 2 * 8
    replicas = devices * strategy.dp // strategy.mesh().ranks
    return ["topology.nodes=2", f"strategy.dp={replicas}"]


def peak(name: str, *overrides: str) -> float:
    """Return the peak memory of a shipped scenario in GiB."""
    return tspsim.run(f"scenarios/{name}.yaml", *overrides).summary.memory.peak / GIB


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_a_shipped_scenario_runs_and_says_what_it_asks(path: Path) -> None:
    """It has a positive step time, and its file opens with its question."""
    result = tspsim.run(path, *in_small(path))
    assert result.summary.step_time > 0
    assert path.read_text().startswith("# Question:")
    assert result.scenario.name == path.stem


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_a_shipped_scenario_computes_the_right_numbers(path: Path) -> None:
    """Played at a small size, it agrees with the dense model."""
    proof = check(tspsim.load(path, pipelines.in_small(path)))
    assert proof.passed, proof.worst


@pytest.mark.parametrize(("name", "sequence", "figure"), PAPER)
def test_the_papers_memory_figures_are_met_within_two_percent(name, sequence, figure) -> None:
    """From what the schedule keeps alive, and the assumptions that stand in the files."""
    found = peak(name, f"workload.sequence={sequence}")
    assert found == pytest.approx(figure, rel=0.02)


@pytest.mark.parametrize("name", sorted({name for name, _, _ in PAPER}))
def test_the_papers_memory_figures_grow_in_a_straight_line(name) -> None:
    """Doubling the sequence from 16K to 128K adds in proportion, as the paper's lines do."""
    lengths = (16384, 32768, 65536, 131072)
    peaks = [peak(name, f"workload.sequence={s}") for s in lengths]
    slope = (peaks[-1] - peaks[0]) / (lengths[-1] - lengths[0])
    line = [peaks[0] + slope * (s - lengths[0]) for s in lengths]
    assert peaks == pytest.approx(line, rel=0.005)


def test_plain_sequence_parallelism_does_not_fit_the_papers_node() -> None:
    """24 bytes per parameter, not sharded, are more than a device of 192 GB holds."""
    result = tspsim.run(
        "scenarios/paper-memory-tp.yaml",
        "strategy={kind: sp, degree: 8, keep_gathered_kv: true}",
    )
    assert not result.summary.memory.fits


def test_zigzag_beats_contiguous_shards() -> None:
    """The imbalance that the scenario asks about is real: zigzag is more than 1.3 times faster."""
    name = "scenarios/contiguous-imbalance.yaml"
    uneven = tspsim.run(name).summary.step_time
    even = tspsim.run(name, "workload.causal=zigzag").summary.step_time
    assert uneven > 1.3 * even


def test_a_faster_link_hides_the_travelling_weights() -> None:
    """From 16 GB/s to 450 GB/s the exposed communication all but disappears, at peak rates."""
    stated = ("kernels=ideal", "timing.profile=datasheet")
    slow, fast = (
        tspsim.run("scenarios/slow-link.yaml", *stated, *more).summary
        for more in ((), ("topology.link.bandwidth=450 GB/s",))
    )
    assert slow.time.exposed_communication > 0.5 * slow.step_time
    assert fast.time.exposed_communication < 0.1 * fast.step_time


def test_a_tsp_layer_overlaps_as_it_should() -> None:
    """Weights travel while a turn is computed, hops while the MLP multiplies; slots hold back."""
    held, free = (
        list(
            tspsim.run(
                "scenarios/tsp-layer.yaml", "workload.sequence=131072", f"strategy.slots={slots}"
            ).timeline.spans(0)
        )
        for slots in (2, 3)
    )

    def of(lane: str, *labels: str, spans: list[Span] = held) -> list[Span]:
        return [s for s in spans if s.lane == lane and (not labels or s.op.label in labels)]

    def overlapped(lane: str, *labels: str) -> float:
        pairs = ((a, b) for a in of("compute", *labels) for b in of(lane))
        return sum(max(0.0, min(a.end, b.end) - max(a.start, b.start)) for a, b in pairs)

    assert overlapped("tsp/weights", "k", "v", "q") > 0
    assert overlapped("tsp/kv", "attention") > 0
    assert overlapped("tsp/ring", "gate", "up", "down") > 0
    # With two slots a hop fills the place of the shard before the last: it is issued, and begins,
    # when that one has been read. With one place more it follows the hop before at once.
    hops, downs = of("tsp/ring"), of("compute", "down")
    assert [hop.start for hop in hops[1:]] == [down.end for down in downs[:2]]
    assert all(later.start > hop.end for hop, later in pairwise(hops))
    first, second, _ = of("tsp/ring", spans=free)
    assert second.start == first.end
