"""What the plots look like, by what they consist of: shares, scales, letters, titles, print."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection, PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.transforms import Bbox

import tspsim
from tests import small_result
from tspsim.cli.plot_options import plot_options
from tspsim.files.errors import UnknownNameError
from tspsim.files.numbers import plain
from tspsim.output.pictures import WIDTHS, draw
from tspsim.output.plots import density, gantt, links, titles, window
from tspsim.output.plots.bars import Bar, Row
from tspsim.output.plots.legends import columns
from tspsim.output.plots.paper import LEAST, MOST, paper, settle
from tspsim.output.plots.roomy import Roomy
from tspsim.output.plots.style import BLUE, Style
from tspsim.registry import PLOTS
from tspsim.topology.graph import Link

KINDS = list(PLOTS.names())
SCENARIOS = Path(__file__).parent.parent / "scenarios"


def plot(kind: str, result: Any, **options: Any) -> Axes:
    """Return the axes of a plot."""
    axes: Axes = PLOTS.get(kind)(result, **options)
    return axes


def figure_of(axes: Axes) -> Figure:
    """Return the figure of axes."""
    assert isinstance(axes.figure, Figure)
    return axes.figure


def extents(axes: Axes, texts: Iterable[Text]) -> list[Bbox]:
    """Return where texts stand on the page, in pixels, without the lines that lead to them."""
    figure = figure_of(axes)
    figure.draw_without_rendering()
    return [Text.get_window_extent(text) for text in texts]


def no_two_overlap(boxes: Iterable[Bbox]) -> bool:
    """Say whether no two boxes have a pixel in common."""
    return not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def written(figure: Figure) -> list[Text]:
    """Return the texts of a figure that are seen: not those of ticks beyond an axis' ends."""
    beyond = [
        label
        for axis in figure.findobj(Axis)
        if isinstance(axis, Axis)
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks())
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
        for label in (tick.label1, tick.label2)
    ]
    found = [each for each in figure.findobj(Text) if isinstance(each, Text)]
    return [
        text
        for text in found
        if text.get_visible() and text.get_text() and not isinstance(text, Roomy)
        if not any(text is each for each in beyond)
    ]


# ---- gantt: shares of the time ----------------------------------------------------------------


@pytest.fixture(scope="module")
def whole() -> Axes:
    """Return the gantt of a whole step of 32 layers."""
    made = small_result.result(degree=4, layers=32, phases=("forward", "backward"))
    return plot("gantt", made, window=plot_options({"window": "all"})["window"])


def test_a_whole_step_is_drawn_as_shares_and_says_so(whole: Axes) -> None:
    """Few artists for any number of tasks; the title says what heights are, and how to zoom."""
    assert "Heights: share of the time" in whole.get_title(loc="left")
    assert "--window START:END" in whole.get_title(loc="left")
    assert len([c for c in whole.collections if isinstance(c, PolyCollection)]) < 10


def test_shares_add_up_to_the_time_of_each_class(whole: Axes) -> None:
    """The area of a class in the rows of compute is the time that it takes on all ranks."""
    line = small_result.timeline(4, 32, ("forward", "backward"))
    name = "attention"
    ops = [op.index for op in line.programs.of(0).ops if op.kind.name == name]
    seconds = sum(float((line.end[r][ops] - line.start[r][ops]).sum()) for r in range(4))
    (drawn,) = (c for c in whole.collections if c.get_label() == name)
    full = density.FULL * 0.24
    assert sum(map(_area, drawn.get_paths())) / full == pytest.approx(1e3 * seconds, rel=1e-6)


def _area(path: Any) -> float:
    """Return the area of a polygon (the shoelace formula)."""
    x, y = path.vertices[:-1].T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def test_layers_and_phases_stand_along_the_axis(whole: Axes) -> None:
    """Names of phases, and of as many layers as there is room for: no two on each other."""
    said = [t for t in whole.texts if isinstance(t, Annotation)]
    names = [text.get_text() for text in said]
    assert {"forward", "backward", "layer 0"} <= set(names)
    assert no_two_overlap(extents(whole, said))


def test_few_tasks_are_drawn_one_by_one() -> None:
    """Where bars can be seen nothing is summed."""
    made = small_result.result(degree=2, layers=2)
    assert "share" not in plot("gantt", made).get_title(loc="left")


def test_shares_of_stretches() -> None:
    """A stretch over the edge of a column counts in both, by its parts."""
    found = density.shares([(0.5, 1.5), (3.0, 4.0)], np.array([0.0, 1.0, 2.0, 4.0]))
    assert found.tolist() == [0.5, 0.5, 0.5]
    assert density.shares([], np.array([0.0, 1.0])).tolist() == [0.0]


@pytest.mark.parametrize("name", ["llama3-8b-128k-h100-tsp", "paper-1024"])
def test_a_large_step_is_drawn_as_shares(name: str) -> None:
    """A path for hardly one in a hundred of its tasks: what takes seconds, not minutes, to draw."""
    result = tspsim.run(SCENARIOS / f"{name}.yaml")
    axes = plot("gantt", result, window=(0.0, result.timeline.step_time))
    drawn = sum(len(each.get_paths()) for each in figure_of(axes).findobj(Collection))
    tasks = sum(1 for rank in result.timeline.played for _ in result.timeline.spans(rank))
    assert drawn < tasks / 50


@pytest.mark.parametrize(("kind", "ranks"), [("column", 4), ("page", 8)])
def test_a_gantt_in_print_is_hardly_longer_than_wide(kind: str, ranks: int) -> None:
    """Rows are thin; a column has four of eight ranks, and says which, but not what to type."""
    with paper(WIDTHS[kind]):
        axes = plot("gantt", small_result.result(degree=8, layers=2))
        settle(figure_of(axes))
    shown = [t.get_text() for t in axes.get_yticklabels() if t.get_text().startswith("rank")]
    assert len(shown) == ranks
    assert figure_of(axes).get_figheight() < 1.2 * WIDTHS[kind]
    said = figure_of(axes).get_suptitle().replace("\n", " ")
    assert ("ranks 0, 2, 5, 7 of 8" in said) == (ranks == 4)
    assert "--" not in said


def test_ranks_of_a_column_are_from_least_to_most_compute() -> None:
    """Whatever their numbers, and evenly in between."""
    seconds = [5.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 4.0]
    op = SimpleNamespace(index=0, lane=0)
    line: Any = SimpleNamespace(
        programs=SimpleNamespace(of=lambda _: SimpleNamespace(ops=(op,))),
        start=np.zeros((8, 1)), end=np.array(seconds)[:, None],
    )  # fmt: skip
    assert window._few(line, tuple(range(8)), 0.0, 6.0) == (0, 1, 3, 6)


@pytest.mark.parametrize(("seconds", "pale"), [(0.001, False), (1.0, True)])
def test_a_bar_as_thin_as_its_edges_is_of_its_own_colour(seconds: float, pale: bool) -> None:
    """White edges would leave nothing of it in print."""
    row = Row(0, 0, "compute", 0.0, 0.2)
    style = Style("matmul", BLUE)
    made = gantt._collection(style, [Bar(row, 0.0, seconds, None)], 1.0, 100.0, False)
    assert to_hex(made.get_edgecolor()[0]) == ("#ffffff" if pale else BLUE.lower())


def test_a_text_in_a_bar_is_drawn_only_where_it_fits() -> None:
    """Whatever the width at which the figure is saved."""
    figure = Figure(figsize=(4, 1))
    ax = figure.add_subplot()
    ax.set_xlim(0, 10)
    wide, narrow = (Roomy(ends, 0.5, "attention", fontsize=6) for ends in ((0, 9), (9, 9.5)))
    for text in (wide, narrow):
        ax.add_artist(text)
    renderer = FigureCanvasAgg(figure).get_renderer()
    assert wide.has_room(renderer)
    assert not narrow.has_room(renderer)


# ---- links and roofline -----------------------------------------------------------------------


def uses(count: int, busy: float) -> list[links.Use]:
    """Return the use of so many links of two kinds, the first one of them busier."""
    made = [Link(i, f"d{i}", f"node{i // 8}.switch", 1e9, 0.0) for i in range(count)]
    return [links.Use(link, busy / (1 + link.index), busy / 2, 2.0**30) for link in made]


@pytest.mark.parametrize("busy", [0.9, 0.01, 1e-5])
def test_the_axis_of_links_ends_where_the_busiest_does(busy: float) -> None:
    """Also an almost idle one has a long bar, with its share and bytes in words."""
    axes = links._bars(uses(8, busy), None)
    assert 100 * busy < axes.get_xlim()[1] < 200 * busy
    assert no_two_overlap(extents(axes, axes.texts))
    assert not any("e-" in text.get_text() for text in axes.texts)


def test_many_links_are_a_row_for_each_kind() -> None:
    """800 links take the page of one; the busiest is named."""
    axes = links._kinds(uses(800, 0.5), None)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["d*→node*.switch"]
    assert figure_of(axes).get_figheight() < 3
    assert "800 links" in axes.texts[0].get_text()
    assert "busiest d0→node0.switch, 50.0 %" in axes.texts[0].get_text()


@pytest.mark.parametrize("width", WIDTHS.values())
def test_cells_of_a_matrix_are_written_in_where_they_have_room(width: float) -> None:
    """On a page every one, and no two texts on each other; in a column colours alone tell."""
    ends = [(a, b) for a in range(8) for b in range(8) if a != b]
    made = [Link(i, f"d{a}", f"d{b}", 1e9, 0.0) for i, (a, b) in enumerate(ends)]
    with paper(width):
        axes = links._matrix([links.Use(link, 0.0039, 0.002, 250_000.0) for link in made], None)
        settle(figure_of(axes))
    assert len(axes.texts) == (56 if width == WIDTHS["page"] else 0)
    assert no_two_overlap(extents(axes, axes.texts))


def test_rows_of_links_end_on_the_page_of_a_column() -> None:
    """Also those of the busiest kind, whose text stands furthest to the right."""
    with paper(WIDTHS["column"]):
        axes = links._kinds(uses(800, 0.5), None)
        settle(figure_of(axes))
    assert max(box.x1 for box in extents(axes, axes.texts)) <= figure_of(axes).bbox.width


def test_a_long_entry_of_a_legend_stays_on_the_page_of_a_column() -> None:
    """It takes a second line."""
    with paper(WIDTHS["column"]):
        axes = links._bars(uses(8, 0.5), None)
        axes.plot([0], [0], label=f"A  {'experts.gate forward, ' * 3}and 6 more: 32 %")
        axes.legend(title="share of the compute time")
        settle(figure_of(axes))
    figure = figure_of(axes)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert -1 <= box.x0 <= box.x1 <= figure.bbox.width + 1


@pytest.mark.parametrize("width", [None, *WIDTHS.values()])
def test_letters_of_the_roofline_stand_free(width: float | None) -> None:
    """No two on each other, on a name of the roof or on the roof, and all of them inside."""
    with paper(width):
        axes = plot("roofline", small_result.real())
        if width:
            settle(figure_of(axes))
    letters = [t for t in axes.texts if len(t.get_text()) == 1]
    assert len(letters) > 2
    level = [t for t in axes.texts if t.get_text().startswith("peak")]
    boxes = extents(axes, letters)
    assert no_two_overlap([*boxes, *extents(axes, level)])
    assert all(axes.bbox.contains(*corner) for box in boxes for corner in box.get_points())
    roof = axes.transData.transform(axes.lines[0].get_xydata())
    for box in boxes:
        x = np.linspace(box.x0, box.x1, 9)
        assert not any(box.y0 < y < box.y1 for y in np.interp(x, roof[:, 0], roof[:, 1]))


# ---- numbers and titles -----------------------------------------------------------------------


def test_numbers_are_written_in_full() -> None:
    """With thousands apart, as few digits as asked for, and never a power of ten."""
    texts = [plain(v) for v in (8e5, 1e6, 1.5e6, 0.25, 2e-5, -3.0, 0.0)]
    assert texts == ["800,000", "1,000,000", "1,500,000", "0.25", "0.00002", "-3", "0"]
    assert plain(1234567.0, 3) == "1,230,000"


@pytest.mark.parametrize("kind", KINDS)
def test_a_title_says_what_step_it_is_and_on_what(kind: str) -> None:
    """Scenario, work, model, devices and mesh, in the first words of every plot."""
    title = plot(kind, small_result.real()).get_title(loc="left").replace("\n", " ")
    assert title.startswith(
        "tiny-tsp: training step of 1,024 tokens, 1.44M parameters on 4 x mi300x, tsp 4"
    )


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ((), "8 layers of llama-3-8b"),
        (("model.vocab=128256", "model.layers=32"), "llama-3-8b"),
        (("model.layers=1",), "1 layer of llama-3-8b"),
        (("model.ffn=14000",), ""),
    ],
)
def test_a_model_is_called_by_the_shipped_one_whose_sizes_it_has(
    overrides: tuple[str, ...], named: str
) -> None:
    """Also as some of its layers; of other sizes it has no name, whatever it was made of."""
    scenario = tspsim.load(SCENARIOS / "slow-link.yaml", overrides)
    assert scenario.model_name == named


def test_a_title_names_the_model() -> None:
    """With its size; what belongs together is on one line."""
    made = small_result.result(degree=2, layers=1)
    made.scenario.model_name = "llama-3-8b"
    title = titles.titled(made, "rest")
    assert "llama-3-8b (" in title
    lines = titles.wrapped(title, 3.0, 7.5).split("\n")
    assert any(f"2 x {made.scenario.topology.devices[0].name}" in line for line in lines)
    assert any("tsp 2" in line for line in lines)


def test_parameters_are_called_as_models_are() -> None:
    """In billions or millions."""
    told = [titles.parameters(count) for count in (8_030_261_248, 268_000_000, 999)]
    assert told == ["8.03B parameters", "268M parameters", "999 parameters"]


# ---- print ------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_a_pdf_is_as_wide_as_asked_and_has_its_fonts(width: str, tmp_path: Path) -> None:
    """TrueType, which publishers take, and no Type 3; the page is the column, to a point."""
    draw("memory", small_result.real(), tmp_path / "a.pdf", width=width)
    data = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in data
    assert b"/Type3" not in data
    found = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", data)
    assert found is not None
    assert float(found[1]) == pytest.approx(72 * WIDTHS[width], abs=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_column_every_letter_is_on_the_page_and_can_be_read(kind: str) -> None:
    """Nothing is cut off at the sides, and nothing is smaller than fine print."""
    with paper(WIDTHS["column"]):
        figure = figure_of(plot(kind, small_result.real()))
        settle(figure)
    figure.draw_without_rendering()
    page = figure.bbox.width
    for text in written(figure):
        assert LEAST <= text.get_fontsize() <= MOST
        box = text.get_window_extent()
        assert -1 <= box.x0 <= box.x1 <= page + 1, text.get_text()


def test_a_width_that_is_none_is_refused(tmp_path: Path) -> None:
    """With those that there are."""
    with pytest.raises(UnknownNameError, match=r"'colum' \(did you mean 'column'\?\); known"):
        draw("memory", small_result.real(), tmp_path / "a.pdf", width="colum")
    assert not list(tmp_path.iterdir())


def test_a_legend_has_as_many_columns_as_fit() -> None:
    """One at least, however long an entry is."""
    assert columns(["a", "b"], 100) == 2
    assert columns(["x" * 400], 30) == 1
