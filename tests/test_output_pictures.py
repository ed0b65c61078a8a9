"""The plots: against committed pictures, and by what they consist of.

``python -m tests.test_output_pictures`` draws the committed pictures anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text

from tests import small_result
from tests.staged import staged
from tests.test_memory_layers import trained
from tspsim.files.errors import OutputError, UnknownNameError, UserError
from tspsim.output.pictures import draw
from tspsim.output.plots import links, memory, roofline, window
from tspsim.registry import PLOTS
from tspsim.schedules.parts.base import Size

BASELINES = Path(__file__).parent / "plots"
LONG = ("forward", "recompute", "backward")
KINDS = ["gantt", "links", "memory", "memory-layers", "pipeline", "roofline", "topology"]


def plot(kind: str, result: Any, **options: Any) -> Axes:
    """Return the axes of a plot."""
    axes: Axes = PLOTS.get(kind)(result, **options)
    return axes


def picture(kind: str, path: Path) -> None:
    """Draw a plot of a result that never changes, without any text: fonts differ."""
    made: Any = small_result.result(degree=3, layers=2, phases=LONG)
    if kind == "pipeline":
        made = staged("zb_v", Size(4, 6, 2))
    elif kind == "memory-layers":  # whose buffers are those of its memory
        made = trained()
    figure = plot(kind, made).figure
    for artist in figure.findobj(lambda found: isinstance(found, Text | Legend)):
        artist.set_visible(False)
    figure.savefig(path, dpi=40)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plot_looks_as_it_did(kind: str, tmp_path: Path) -> None:
    """Shapes, places and colours are those of the committed picture."""
    picture(kind, tmp_path / "now.png")
    baseline = BASELINES / f"{kind}.png"
    assert compare_images(str(baseline), str(tmp_path / "now.png"), tol=4) is None


def test_every_plot_draws_every_strategy() -> None:
    """Also those that the other tests do not look at: nothing is drawn without a name."""
    for strategy in ("tsp", "tp", "sp", "tp_sp"):
        for kind in KINDS:
            assert plot(kind, small_result.real(strategy)).get_title(loc="left")
    assert list(PLOTS.names()) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_plot_goes_where_it_is_told(kind: str) -> None:
    """Plots compose: they draw into the axes that they are given, and return them."""
    ax = Figure().add_subplot()
    assert plot(kind, small_result.result(), ax=ax) is ax


def bars(axes: Axes) -> dict[str, int]:
    """Return the number of bars by style."""
    found = [c for c in axes.collections if isinstance(c, PolyCollection)]
    return {str(c.get_label()): len(c.get_paths()) for c in found}


def legend(axes: Axes) -> list[str]:
    """Return the texts of the legend."""
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_a_short_run_is_drawn_whole() -> None:
    """One bar per task, and one per gap in which compute waits."""
    axes = plot("gantt", small_result.result(degree=2, layers=1))
    assert bars(axes) == {
        "norm, element-wise": 2, "matmul": 2 * 10, "attention": 2 * 2, "broadcast": 2 * 2,
        "all_gather": 2 * 2, "shift": 2, "waits for communication": 2 * 3,
    }  # fmt: skip
    assert legend(axes) == [
        "matmul", "attention", "norm, element-wise", "waits for communication",
        "broadcast (weights)", "shift (weights)", "all_gather (kv)",
    ]  # fmt: skip
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == [
        "rank 0  compute", "tsp/weights", "tsp/kv", "rank 1  compute", "tsp/weights", "tsp/kv",
    ]  # fmt: skip
    assert axes.get_xlabel().endswith("[ms]")


def test_a_long_run_is_cut_to_layers_in_its_middle_and_says_so() -> None:
    """The note tells which layers are shown, and how to see others."""
    axes = plot("gantt", small_result.result(degree=8, layers=32, phases=LONG))
    title = axes.get_title(loc="left")
    assert "layers 14-16 of 0-31, forward" in title
    assert "(others: --window, --layers, --ranks)" in title
    assert bars(axes)["attention"] == 8 * 3 * 8


def test_many_ranks_are_cut_to_the_first_eight() -> None:
    """More lanes than that nobody reads."""
    result = small_result.result(degree=9, layers=1)
    assert "ranks 0-7 of 9" in plot("gantt", result).get_title(loc="left")
    chosen = plot("gantt", result, ranks=(8, 2))
    assert [t.get_text() for t in chosen.get_yticklabels()][::3] == [
        "rank 8  compute", "rank 2  compute",
    ]  # fmt: skip


def test_a_window_shows_what_lies_in_it() -> None:
    """Tasks that reach over its edge are cut there."""
    axes = plot("gantt", small_result.result(degree=2, layers=2), window=(1e-3, 2e-3))
    assert axes.get_xlim() == (1.0, 2.0)
    for collection in axes.collections:
        for path in collection.get_paths():
            assert path.get_extents().x0 >= 1.0
            assert path.get_extents().x1 <= 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": (2.0, 1.0)}, "start and end must lie"),
        ({"window": (1.0, 2.0)}, "the step time, 4.200 ms"),
        ({"layers": (7, 9)}, "no rank computes such layers"),
        ({"ranks": (0, 4)}, "there are ranks 0 to 1"),
    ],
)
def test_a_part_that_is_not_there_cannot_be_shown(options: Any, message: str) -> None:
    """The message says what there is."""
    result = small_result.result(degree=2, layers=1)
    with pytest.raises(UserError, match=message):
        window.choose(result, **({"window": None, "layers": None, "ranks": None} | options))


def test_memory_plot_stacks_up_to_the_peak() -> None:
    """The highest point of the bands is the peak with what is reserved, in GiB."""
    result = small_result.result(degree=2, layers=2)
    axes = plot("memory", result)
    tops = [path.get_extents().y1 for c in axes.collections for path in c.get_paths()]
    peak = (result.memory.ranks[0].peak + 2 * 2**30) / 2**30
    assert max(tops) == pytest.approx(peak)
    assert legend(axes)[-1] == "runtime and libraries"
    assert axes.get_ylabel() == "memory [GiB]"


def test_memory_plot_draws_a_capacity_that_is_near() -> None:
    """As a line where it fits on the page, in words where it would flatten the curve."""
    near, far = (small_result.result(degree=2, layers=2) for _ in range(2))
    near.scenario.topology = small_result.topology(2, memory=30 * 2**30)
    assert next(line.get_ydata()[0] for line in plot("memory", near).lines) == 30
    said = [text.get_text() for text in plot("memory", far).texts]
    assert any("capacity 192.0 GiB lies far above" in text for text in said)


def test_thinning_keeps_the_peak() -> None:
    """Of a hundred thousand moments the page shows few, but the highest is among them."""
    total = np.random.default_rng(1).integers(0, 1000, 100_000)
    total[77_777] = 5000
    kept = memory.thin(total, 400)
    assert 77_777 in kept
    assert len(kept) <= 403


def test_a_link_is_busy_for_the_union_of_its_flows() -> None:
    """Flows at the same time count once; bytes of all of them count."""
    result = small_result.result(degree=2, layers=1)
    first = links.uses(result.timeline, result.scenario.topology.links)[0]
    moved = [t for t in result.timeline.transfers if any(i == 0 for i, _ in t.loads)]
    sizes = [load * t.bytes for t in moved for i, load in t.loads if i == 0]
    assert first.bytes == sum(sizes)
    assert 0 < first.busy * result.timeline.step_time <= sum(t.end - t.start for t in moved)


def test_no_dot_lies_above_the_roof() -> None:
    """What a device reaches is at most its peak, and at most its bandwidth times the intensity."""
    result = small_result.real()
    device = result.scenario.topology.devices[0]
    found, flopless = roofline.dots(result.timeline, 0)
    assert found
    for dot in found:
        roof = min(device.peak("bf16"), device.memory_bandwidth * dot.intensity)
        assert dot.rate <= roof * (1 + 1e-9)
    assert all(0 < dot.rate <= device.memory_bandwidth * (1 + 1e-9) for dot in flopless)


def test_every_kind_of_compute_is_on_the_roofline() -> None:
    """With flops as a dot, without as a triangle; together they are the compute time."""
    result = small_result.real()
    program = result.timeline.programs.of(0)
    kinds = {op.kind.name for op in program.ops if op.lane == 0 and op.work is not None}
    found, flopless = roofline.dots(result.timeline, 0)
    assert {dot.op.kind.name for dot in (*found, *flopless)} == kinds
    assert sum(dot.seconds for dot in (*found, *flopless)) == pytest.approx(
        result.summary.time.compute
    )
    drawn = plot("roofline", result)
    assert any(text.startswith("no flops, ") for text in legend(drawn))


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_the_suffix_says_the_format_and_equal_results_give_equal_bytes(
    suffix: str, tmp_path: Path
) -> None:
    """No date and no random id stands in the file."""
    result = small_result.result(degree=2, layers=1)
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    draw("gantt", result, one)
    draw("gantt", result, two)
    assert one.read_bytes() == two.read_bytes()
    assert sorted(tmp_path.iterdir()) == [one, two]


def test_other_suffixes_and_kinds_are_refused_with_what_there_is(tmp_path: Path) -> None:
    """Before anything is drawn."""
    result = small_result.result(degree=2, layers=1)
    with pytest.raises(OutputError, match=r"\.png, \.svg, \.pdf, \.html, not '\.jpg'"):
        draw("gantt", result, tmp_path / "a.jpg")
    with pytest.raises(UnknownNameError, match=r"did you mean 'gantt'\?"):
        draw("gant", result, tmp_path / "a.png")
    with pytest.raises(OutputError, match="cannot be written"):
        draw("gantt", result, tmp_path / "missing" / "a.png")


if __name__ == "__main__":
    for each in KINDS:
        picture(each, BASELINES / f"{each}.png")
