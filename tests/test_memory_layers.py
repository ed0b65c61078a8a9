"""Memory by layer: the bands are the memory, and say whose activations they are."""

from __future__ import annotations

import re

import numpy as np

import tspsim
from tests.small_reports import SMALL
from tspsim.output.plots.memory_layers import MOST, UNSEEN, bands, plot
from tspsim.output.plots.style import LAYERS
from tspsim.output.units import size


def trained(layers: int = 3, **strategy: object) -> tspsim.Run:
    """Return a small step of training, on devices that do what their vendor states."""
    changes = {
        "model": {**SMALL["model"], "layers": layers},
        "workload": {"sequence": 256, "phase": "train", "micro_batches": 4},
        "timing": {"profile": "datasheet"},
        "memory": {"reserved": "0 B", "blas": "0 B", "communicator": "0 B"},
        "strategy": {**SMALL["strategy"], **strategy},
    }
    return tspsim.run({**SMALL, **changes})


def test_bands_add_up_to_the_memory() -> None:
    """At every moment, but for bands that could not be seen; by kind they are those of the plot."""
    run = trained()
    memory, found = run.memory.ranks[0], bands(run.timeline, 0)
    whole = np.sum([band.amounts for band in found.each], axis=0)
    before = np.searchsorted(found.times, memory.times, side="right") - 1
    assert np.abs(whole[before] - memory.total).max() <= 8 * UNSEEN * memory.peak
    activation = sum(b.amounts for b in found.each if b.name.startswith("activation"))
    assert np.abs(activation[before] - memory.by_kind[3]).max() <= 8 * UNSEEN * memory.peak


def test_a_layer_fills_its_band_in_its_pass() -> None:
    """In forward one layer after another, and backward frees the last one first."""
    run = trained()
    found = bands(run.timeline, 0)
    layers = [band for band in found.each if band.colour in LAYERS]
    assert [band.name for band in layers] == [f"activation, layer {n}" for n in range(3)]
    first = [found.times[np.flatnonzero(band.amounts)[0]] for band in layers]
    last = [found.times[np.flatnonzero(band.amounts)[-1]] for band in layers]
    assert first == sorted(first)
    assert last == sorted(last, reverse=True)


def test_many_layers_share_bands() -> None:
    """Twenty layers are eight bands, lightest first, and every layer is in one."""
    found = bands(trained(layers=20).timeline, 0)
    shown = [band for band in found.each if band.colour in LAYERS]
    assert len(shown) == MOST
    spans = [tuple(map(int, re.findall(r"\d+", band.name))) for band in shown]
    assert [n for first, last in spans for n in range(first, last + 1)] == list(range(20))
    assert [band.colour for band in shown] == list(LAYERS)


def test_the_peak_says_what_lives_there() -> None:
    """The same peak as in the table, and buffers that come and go."""
    run = trained()
    ax = plot(run, rank=1)
    (told,) = [t.get_text() for t in ax.texts if t.get_text().startswith("peak ")]
    first, *named = told.split("\n")
    assert first.startswith(f"peak {size(run.summary.memory.peak)} at ")
    assert named
    assert not any(", optimizer" in name or ", weight" in name for name in named)
    assert "memory of rank 1 by layer" in ax.get_title(loc="left")


def test_a_stage_with_chunks_names_layers_that_lie_apart() -> None:
    """Two chunks of a stage are no stretch of layers from the first to the last."""
    pp = {"stages": 2, "schedule": "interleaved", "chunks": 2}
    found = bands(trained(layers=32, kind="tp", degree=2, pp=pp).timeline, 0)
    names = [band.name for band in found.each if band.colour in LAYERS]
    assert names[0] == "activation, layers 0 to 1"
    assert {int(n) for name in names for n in re.findall(r"\d+", name)} <= {
        *range(8),
        *range(16, 24),
    }
