"""Maps of sweeps: against committed pictures, against closed forms, and by what they consist of.

``python -m tests.test_maps`` draws the committed pictures anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgb
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Rectangle
from matplotlib.testing.compare import compare_images
from matplotlib.text import Text
from typer.testing import CliRunner, Result

from tspsim.cli.app import app
from tspsim.cli.closed_forms import forward_volume
from tspsim.files.errors import OutputError, UserError
from tspsim.model import ModelShape
from tspsim.output.plots.paper import paper
from tspsim.output.plots.roomy import Roomy
from tspsim.registry import MAPS
from tspsim.reports.maps import heatmap, lines, pareto, winner
from tspsim.reports.maps.choose import Asked
from tspsim.reports.maps.drawing import draw, figure
from tspsim.reports.maps.groups import LOOKS
from tspsim.reports.maps.rule import rule_of
from tspsim.reports.maps.scale import scale, tokens
from tspsim.scenario import from_document
from tspsim.sweeps.store import Row, Store

BASELINES = Path(__file__).parent / "plots" / "maps"
KINDS = ["heatmap", "lines", "pareto", "winner"]
MODEL = {"hidden": 4096, "layers": 1, "heads": 32, "ffn": 16384, "vocab": 0}
SEQUENCES = (8192, 16384, 32768, 65536, 131072)
BANDWIDTHS = ("64 GB/s", "128 GB/s", "512 GB/s")

#: Mesh and tokens per second of a strategy at a sequence and a bandwidth; None: it cannot run.
Rate = Callable[[str, int, float], float | None]


def store(rows: Iterable[Row], **study: Any) -> Store:
    """Return a sweep in memory that holds some rows."""
    rows = list(rows)
    scenario = {"model": MODEL, "workload": {"sequence": 8192}}
    keys = dict.fromkeys(key for row in rows for key in row.axes)
    document = {"scenario": scenario, "axes": {key: [] for key in keys}, "link": [], **study}
    made = Store.create(None, document, len(rows), "made up")
    made.add(rows)
    return made


def row(number: int, axes: dict[str, Any], mesh: str, rate: float | None, peak: float) -> Row:
    """Return one row: with a rate it ran, with a peak up to 64 GiB it fits."""
    if rate is None:
        return Row(number, axes, "invalid", "does not divide")
    figures = {
        "mesh": mesh, "step_time": 1e6 / rate, "tokens_per_second_per_device": rate,
        "memory.peak": peak * 2**30, "fits": peak <= 64,
    }  # fmt: skip
    return Row(number, axes, "ok" if peak <= 64 else "unfit", "", "", figures)


def _rate(kind: str, sequence: int, bandwidth: float) -> float | None:
    """TP is the same everywhere; TSP grows with the sequence and with the bandwidth."""
    if sequence == SEQUENCES[0] and bandwidth < 100e9:
        return None
    if kind == "tp":
        return 1000.0
    return 1000.0 * (sequence / 24576) ** 0.25 * (bandwidth / 128e9) ** 0.25


def _peak(kind: str, sequence: int) -> float:
    return (30 if kind == "tp" else 10) + sequence / 2300


def swept(rate: Rate = _rate, **more: tuple[Any, ...]) -> Store:
    """Return a sweep over strategy, bandwidth and sequence, with any further axes outside."""
    rows = []
    for extra in (dict(zip(more, values, strict=True)) for values in product(*more.values())):
        for kind in ("tsp", "tp"):
            for bandwidth in BANDWIDTHS:
                for sequence in SEQUENCES:
                    axes = {
                        **{key.replace("__", "."): value for key, value in extra.items()},
                        "strategy.kind": kind, "topology.link.bandwidth": bandwidth,
                        "workload.sequence": sequence,
                    }  # fmt: skip
                    found = rate(kind, sequence, float(bandwidth.split()[0]) * 1e9)
                    rows.append(row(len(rows), axes, f"{kind} 8", found, _peak(kind, sequence)))
    return store(rows)


def drawn(kind: str, found: Store, **options: Any) -> Axes:
    """Return the axes of a map, with one bandwidth where it has no axis for it."""
    one = {"at": {"topology.link.bandwidth": "128 GB/s"}}
    more = {
        "lines": one, "heatmap": {"at": {"mesh": "tsp 8"}}, "winner": {},
        "pareto": {"at": one["at"] | {"workload.sequence": 32768}},
    }[kind]  # fmt: skip
    axes: Axes = MAPS.get(kind)(found, **(more | options))
    return axes


def picture(kind: str, path: Path) -> None:
    """Draw a map of rows that never change, without any text: fonts differ."""
    made = drawn(kind, swept()).figure
    for artist in made.findobj(lambda found: isinstance(found, Text | Legend)):
        artist.set_visible(False)
    made.savefig(path, dpi=40)


def legend(axes: Axes) -> list[str]:
    """Return the texts of the legend."""
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def cell(axes: Axes, x: float, y: float) -> Rectangle:
    """Return the cell that covers a place."""
    for patch in axes.patches:
        assert isinstance(patch, Rectangle)
        if patch.get_x() < x < patch.get_x() + patch.get_width() and (
            patch.get_y() < y < patch.get_y() + patch.get_height()
        ):
            return patch
    raise AssertionError(f"no cell at {x}, {y}")


def crossing(axes: Axes) -> np.ndarray[Any, Any]:
    """Return the points of the crossover lines."""
    found = [c for c in axes.collections if isinstance(c, ContourSet)]
    return np.concatenate([path.vertices for contour in found for path in contour.get_paths()])


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_looks_as_it_did(kind: str, tmp_path: Path) -> None:
    """Shapes, places and colours are those of the committed picture."""
    picture(kind, tmp_path / "now.png")
    assert compare_images(str(BASELINES / f"{kind}.png"), str(tmp_path / "now.png"), tol=4) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_goes_where_it_is_told(kind: str) -> None:
    """Maps compose: they draw into the axes that they are given, and return them."""
    ax = Figure().add_subplot()
    assert drawn(kind, swept(), ax=ax) is ax
    assert ax.get_title(loc="left").startswith("made up")
    assert list(MAPS.names()) == KINDS


def test_lines_are_the_figures_and_out_of_memory_is_a_cross() -> None:
    """TP no longer fits from 128K on, and TSP does not fit there either: 10 + 57 GiB."""
    axes = drawn("lines", swept())
    by_marker = {str(line.get_marker()): line for line in axes.lines if line.get_marker() != "None"}
    tsp = by_marker["o"].get_xydata()
    assert tsp[:, 0].tolist() == list(SEQUENCES)
    rates = [_rate("tsp", s, 128e9) for s in SEQUENCES[:4]]
    assert tsp[:4, 1] == pytest.approx(rates)
    assert math.isnan(tsp[4, 1])
    crosses = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "x"]
    assert [[131072, _rate("tsp", 131072, 128e9)]] in crosses
    assert legend(axes) == ["tsp 8", "tp 8", "out of memory"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["8K", "16K", "32K", "64K", "128K"]
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "sequence length [tokens]"


def test_the_best_that_fits_wins_a_cell_with_its_lead_beside_it() -> None:
    """Above 24K tokens at 128 GB/s that is TSP, until it does not fit either."""
    axes = drawn("winner", swept())
    blue, orange = to_rgb(LOOKS[0][0]), to_rgb(LOOKS[1][0])

    def hue(x: float, y: float) -> Any:
        # A tinted colour lies on the line from white to its full one.
        found = 1 - np.array(cell(axes, x, y).get_facecolor()[:3])
        return found / np.linalg.norm(found)

    for place, full in (((65536, 128e9), blue), ((16384, 128e9), orange)):
        wanted = 1 - np.array(full)
        assert hue(*place) == pytest.approx(wanted / np.linalg.norm(wanted), abs=1e-6)
    lead = (65536 / 24576) ** 0.25 - 1
    assert f"+{100 * lead:.0f} %" in [text.get_text() for text in axes.texts]
    assert cell(axes, 131072, 128e9).get_hatch() == "xxxx"
    assert cell(axes, 8192, 64e9).get_hatch() == "...."
    assert legend(axes)[:4] == ["tsp 8", "tp 8", "nothing can run", "nothing fits"]


def test_what_is_fastest_but_does_not_fit_does_not_win() -> None:
    """Both are the same but for memory; the slower one fits."""
    rows = [
        row(
            n, {"strategy.kind": kind, "workload.sequence": s, "workload.batch": b}, kind, rate, gib
        )
        for n, (kind, rate, gib, s, b) in enumerate(
            (kind, rate, gib, s, b)
            for kind, rate, gib in (("tsp", 100.0, 80.0), ("tp", 10.0, 8.0))
            for s in (1024, 2048)
            for b in (1, 2)
        )
    ]
    axes = winner.plot(store(rows))
    assert {text.get_text() for text in axes.texts} == {"alone"}
    assert {patch.get_facecolor()[:3] for patch in axes.patches} == {to_rgb(LOOKS[1][0])}


def test_of_times_and_bytes_the_smaller_one_wins() -> None:
    """The same winner by step time as by tokens per second, with the same lead."""
    by_rate, by_time = drawn("winner", swept()), drawn("winner", swept(), value="step_time")
    assert [t.get_text() for t in by_rate.texts] == [t.get_text() for t in by_time.texts]
    assert [p.get_facecolor() for p in by_rate.patches] == [
        p.get_facecolor() for p in by_time.patches
    ]


def test_the_crossover_lies_where_the_rates_are_equal() -> None:
    """TSP equals TP where S/24576 * b/128e9 = 1: a straight line in logarithms, met exactly."""
    points = crossing(drawn("winner", swept()))
    assert len(points) > 20
    product = points[:, 0] / 24576 * points[:, 1] / 128e9
    assert product == pytest.approx(np.ones(len(product)), rel=1e-3)


def test_between_a_strategy_that_fits_and_one_that_does_not_there_is_no_line() -> None:
    """TSP and TP never cross; that TP stops fitting is no crossover."""
    axes = drawn("winner", swept(lambda kind, *_: 2.0 if kind == "tp" else 1.0))
    assert not [c for c in axes.collections if isinstance(c, ContourSet)]
    assert not any("equally good" in text for text in legend(axes))


def test_three_crossovers_meet_in_one_point() -> None:
    """Only the lines between the best two are drawn, not those between second and third."""
    powers = {"tsp": (1, 1), "tp": (1, 0), "sp": (0, 1)}
    rows = [
        row(n, {"strategy.kind": k, "workload.sequence": s, "workload.batch": b}, k, r, 1)
        for n, (k, s, b, r) in enumerate(
            (k, s, b, (s / 1024) ** powers[k][0] * (b / 8) ** powers[k][1])
            for k in powers
            for s in (256, 512, 1024, 2048, 4096)
            for b in (2, 4, 8, 16, 32)
        )
    ]
    points = crossing(winner.plot(store(rows)))
    x, y = points[:, 0] / 1024, points[:, 1] / 8
    best = np.sort(np.stack([x * y, x, y]), axis=0)
    # Where three meet a line ends within a step of the interpolation, a 24th of an octave.
    assert best[2] == pytest.approx(best[1], rel=0.03)
    assert np.mean(best[2] / best[1] < 1 + 1e-3) > 0.95


@given(
    group=st.sampled_from([1, 2, 4, 8]),
    ffn=st.integers(1, 8),
    gated=st.booleans(),
    hidden=st.sampled_from([256, 4096]),
)
def test_the_rule_is_that_of_the_paper(group: int, ffn: int, gated: bool, hidden: int) -> None:
    """(2 + 2/g + 3F) / (4 - 2/g) h, with 2F for a plain MLP."""
    shape = ModelShape(
        hidden=hidden, layers=1, heads=16, kv_heads=16 // group, ffn=ffn * hidden, vocab=0,
        mlp="gated" if gated else "plain", norm="rmsnorm", tied=False, qkv_bias=False, head_dim=0,
    )  # fmt: skip
    found = rule_of(shape)
    assert found is not None
    factor = (2 + 2 / group + (3 if gated else 2) * ffn) / (4 - 2 / group)
    assert found.factor == pytest.approx(factor, rel=1e-12)
    assert found.tokens == pytest.approx(factor * hidden)


@pytest.mark.parametrize("kv_heads", [32, 8])
def test_at_the_rule_both_receive_as_many_bytes(kv_heads: int) -> None:
    """By the closed forms that programs are held against; beyond it TSP receives less."""
    model = MODEL | {"kv_heads": kv_heads}

    def volumes(sequence: int) -> list[float | None]:
        return [
            forward_volume(
                from_document(
                    {
                        "model": model, "workload": {"sequence": sequence},
                        "topology": {"file": "mi300x-node.yaml"},
                        "strategy": {"kind": kind, "degree": 8},
                    }
                )
            )
            for kind in ("tsp", "tp")
        ]  # fmt: skip

    law = rule_of(from_document({
        "model": model, "workload": {"sequence": 1024}, "topology": {"file": "mi300x-node.yaml"},
        "strategy": {"kind": "tp", "degree": 8},
    }).model)  # fmt: skip
    assert law is not None
    if kv_heads == 32:
        assert (law.factor, law.tokens) == (8, 32768)
        tsp, tp = volumes(32768)
        assert tsp == tp
    below, beyond = (16 * (round(law.tokens * part) // 16) for part in (0.9, 1.1))
    assert volumes(below)[0] > volumes(below)[1]  # type: ignore[operator]
    assert volumes(beyond)[0] < volumes(beyond)[1]  # type: ignore[operator]


def test_the_rule_is_laid_over_the_sequence() -> None:
    """At 8h = 32K, whichever axis the sequence is; with another batch it is elsewhere."""
    for options in ({}, {"x": "bandwidth", "y": "sequence"}):
        axes = drawn("winner", swept(), **options)
        (line,) = axes.lines
        along = line.get_ydata() if options else line.get_xdata()
        assert list(along) == [32768, 32768]
        assert "BS > 8h (S > 32K)" in legend(axes)[-1]
    batches = swept(workload__batch=(1, 4))
    axes = drawn("winner", batches, at={"workload.batch": 4})
    assert list(axes.lines[0].get_xdata()) == [8192, 8192]
    curve = drawn("winner", batches, y="batch", at={"topology.link.bandwidth": "128 GB/s"})
    sequence, batch = curve.lines[0].get_data()
    assert np.asarray(sequence) * np.asarray(batch) == pytest.approx(np.full(100, 32768.0))


def test_the_rule_is_left_out_where_it_says_nothing() -> None:
    """Without a sequence axis, out of sight, or where TSP and TP do not compete."""
    assert not drawn("winner", swept(workload__batch=(1, 4)), x="batch", y="bandwidth",
                     at={"workload.sequence": 32768}).lines  # fmt: skip
    far = [
        row(n, {"strategy.kind": kind, "workload.sequence": s, "workload.batch": b}, kind, 1.0, 1)
        for n, (kind, s, b) in enumerate(
            (kind, s, b) for kind in ("tsp", "tp") for s in (512, 1024) for b in (1, 2)
        )
    ]
    assert not winner.plot(store(far)).lines
    others = [
        Row(r.id, r.axes, r.status, "", "", {**r.figures, "mesh": f"sp {r.axes['strategy.kind']}"})
        for r in swept().rows()
        if r.figures
    ]
    assert not drawn("winner", store(others)).lines


def test_a_heatmap_shows_the_figure_and_leaves_blank_what_has_not_run() -> None:
    """Numbers in the cells are those of the rows."""
    rows = [r for r in swept().rows() if r.axes["workload.sequence"] != 32768 or r.id % 2]
    axes = heatmap.plot(store(rows), at={"mesh": "tsp 8"})
    told = [text.get_text() for text in axes.texts]
    assert f"{_rate('tsp', 65536, 512e9):,.0f}" in told
    kept = [r for r in rows if r.axes["strategy.kind"] == "tsp"]
    assert len(axes.patches) == len(kept) - 1  # one of them could not run: it has no mesh
    assert len(told) == sum(r.status == "ok" for r in kept)


def test_a_heatmap_of_strategies_is_one_map() -> None:
    """A strategy on an axis of the page wants no map of its own mesh."""
    made = figure("heatmap", swept(), y="kind", at={"topology.link.bandwidth": "128 GB/s"})
    assert [t.get_text() for t in made.axes[0].get_yticklabels()] == ["tsp", "tp"]
    assert len(made.axes) == 2  # the second one is the bar that explains the colours


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(1, 100), st.floats(1, 100), st.booleans()), min_size=1, max_size=30
    )
)
def test_the_front_is_what_nothing_beats(points: list[tuple[float, float, bool]]) -> None:
    """Compared with every pair: nothing that fits has both less memory and a higher rate."""
    rows = [
        row(n, {"strategy.kind": f"k{n % 2}", "strategy.slots": n}, f"k{n % 2}", rate,
            memory / 2 if fits else 100.0)
        for n, (memory, rate, fits) in enumerate(points)
    ]  # fmt: skip
    found = pareto.chosen(store(rows), Asked(by="mesh"))
    best = {r.id for r in pareto.front(found, rows)}
    fitting = [r for r in rows if r.status == "ok"]

    def beats(a: Row, b: Row) -> bool:
        pair = [(-r.figures["memory.peak"], r.figures["tokens_per_second_per_device"])
                for r in (a, b)]  # fmt: skip
        return pair[0] != pair[1] and all(x >= y for x, y in zip(*pair, strict=True))

    unbeaten = [r for r in fitting if not any(beats(other, r) for other in fitting)]
    assert best <= {r.id for r in unbeaten}
    # Of equal points one stands for all.
    assert len(best) == len({tuple(r.figures[k] for k in ("memory.peak", "step_time"))
                             for r in unbeaten})  # fmt: skip


def test_axes_without_a_place_have_a_map_for_every_value() -> None:
    """Side by side, with one legend; of more than nine some are drawn, and the page says so."""
    made = figure("lines", swept())
    titles = [ax.get_title(loc="left") for ax in made.axes]
    assert titles == [f"made up, {b}" for b in BANDWIDTHS] or titles == [
        f"made up, bandwidth {b}" for b in BANDWIDTHS
    ]
    assert len(made.legends) == 1
    made = figure("lines", swept(workload__batch=(1, 2, 4, 8, 16, 32, 64)))
    batches = [ax.get_title(loc="left").partition("batch ")[2][:2] for ax in made.axes[::3]]
    assert [batch.rstrip(",") for batch in batches] == ["1", "8", "64"]
    assert made.get_suptitle() == (
        "3 of 7 values of workload.batch; the others: --at workload.batch=..."
    )
    halves = {f"workload__{key}": (1, 2) for key in ("batch", "logits_chunks", "micro_batches")}
    with pytest.raises(UserError) as caught:
        figure("lines", swept(**halves))
    assert str(caught.value) == (
        "24 maps, for every value of workload.batch (2), workload.logits_chunks (2), "
        "workload.micro_batches (2), topology.link.bandwidth (3); at most 9 stand on one page: "
        "choose values, such as --at workload.batch=1"
    )
    with pytest.raises(UserError, match=r"axis 'topology.link.bandwidth' has several values"):
        lines.plot(swept())


@pytest.mark.parametrize("most", [1.0, 40.0])
def test_maps_beside_each_other_begin_and_end_alike(most: float) -> None:
    """Also where one alone would do without logarithms; ticks are numbers in full."""

    def rate(kind: str, sequence: int, bandwidth: float) -> float | None:
        found = _rate(kind, sequence, bandwidth)
        longest = sequence == SEQUENCES[-1] and bandwidth == 512e9
        return None if found is None else found * (most if longest else 1.0) * 1e3

    panels = figure("lines", swept(rate)).axes
    assert len(panels) == len(BANDWIDTHS)
    assert panels[0].get_yscale() == ("log" if most > 1 else "linear")
    for look in ("get_xlim", "get_ylim", "get_xscale", "get_yscale"):
        assert len({getattr(ax, look)() for ax in panels}) == 1
    for ax in panels:
        made = ax.yaxis.get_major_formatter()
        assert made(8e5, 0) == "800,000"
        assert made(1e6, 0) == "1,000,000"


def test_linked_axes_need_no_place_of_their_own() -> None:
    """Nodes move with the strategy: they are no axis of the page and no further map."""
    rows = [
        row(n, {"strategy": {"kind": kind, "degree": 8}, "topology.nodes": nodes,
                "workload.sequence": s}, f"{kind} 8", 1.0 + n, 1)
        for n, (kind, nodes, s) in enumerate(
            (kind, nodes, s) for kind, nodes in (("tsp", 1), ("tp", 2)) for s in (1024, 2048)
        )
    ]  # fmt: skip
    axes = lines.plot(store(rows, link=[["strategy", "topology.nodes"]]))
    assert legend(axes) == ["tsp 8", "tp 8"]


def test_of_a_pipeline_the_mesh_says_the_stages() -> None:
    """What its group is called beside them is the schedule and whatever else it has."""
    rows = [
        row(n, {"strategy": {"kind": "tp", "degree": 4, **more}, "workload.sequence": s}, mesh,
            1, 1)
        for n, (more, mesh, s) in enumerate(
            (more, mesh, s)
            for more, mesh in (
                ({}, "tp 4"), ({"pp": {"stages": 2}}, "pp 2 x tp 4"),
                ({"pp": {"stages": 2, "schedule": "zb_v"}}, "pp 2 x tp 4"),
            )
            for s in (1024, 2048)
        )
    ]  # fmt: skip
    assert legend(lines.plot(store(rows))) == ["tp 4", "pp 2 x tp 4", "pp 2 x tp 4, schedule zb_v"]


def test_groups_say_what_they_differ_in() -> None:
    """The mesh, and options that vary; ``by`` joins what it does not tell apart."""
    rows = [
        row(n, {"strategy.kind": k, "strategy.lookahead": ahead, "workload.sequence": s},
            mesh, rate, 1)
        for n, (k, mesh, ahead, s, rate) in enumerate(
            (k, mesh, ahead, s, rate)
            for k, mesh, ahead, rate in (
                ("tsp", "tsp 8", 0, 1.0), ("tsp", "tsp 8", 1, 2.0),
                ("tp_sp", "sp 2 x tp 4", None, 3.0), ("tp_sp", "sp 4 x tp 2", None, 4.0),
            )
            for s in (1024, 2048)
        )
    ]  # fmt: skip
    assert legend(lines.plot(store(rows))) == [
        "tsp 8, lookahead 0", "tsp 8, lookahead 1", "sp 2 x tp 4", "sp 4 x tp 2",
    ]  # fmt: skip
    joined = lines.plot(store(rows), by="kind")
    assert legend(joined) == ["tsp", "tp_sp"]
    solid = [line for line in joined.lines if line.get_marker() in ("o", "s")]
    assert [line.get_ydata().tolist() for line in solid] == [[2, 2], [4, 4]]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lines", {"x": "sequenc"}, "'sequenc' is no axis of this sweep (did you mean "
         "'sequence'?); its axes: strategy.kind, topology.link.bandwidth, workload.sequence"),
        ("lines", {"value": "step_tim"}, "'step_tim' is no figure of this sweep (did you mean "
         "'step_time'?); figures: step_time, tokens_per_second_per_device, memory.peak"),
        ("lines", {"at": {"sequence": 5}}, "workload.sequence=5: no point has it; there are: 8192, "
         "16384, 32768, 65536, 131072"),
        ("winner", {"x": "sequence", "y": "sequence"}, "x and y are both 'workload.sequence'"),
        ("winner", {"at": {"sequence": 8192}}, "no axis with several values is left for y: name "
         "one (--y), or draw 'lines', which need no y"),
        ("winner", {"by": "kind", "at": {"kind": "tsp"}, "value": "mfu"}, "'mfu' is no figure of "
         "this sweep; figures: step_time, tokens_per_second_per_device, memory.peak"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told(kind: str, options: Any, message: str) -> None:
    """With what there is, and the nearest."""
    with pytest.raises(UserError) as caught:
        figure(kind, swept(), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("missing", [{}, {"mfu": None}])
def test_a_figure_that_some_points_lack_is_told_with_the_point(missing: dict[str, Any]) -> None:
    """A collective of one strategy, or an MFU where a device states no rate, has no map of all."""
    rows = []
    for number, (kind, sequence) in enumerate(product(("tsp", "tp"), (8, 16))):
        axes = {"strategy.kind": kind, "workload.sequence": sequence}
        plain = row(number, axes, f"{kind} 8", 1.0, 1)
        figures = {**plain.figures, **({"mfu": 0.5} if kind == "tsp" else missing)}
        rows.append(Row(number, axes, plain.status, "", "", figures))
    with pytest.raises(UserError, match=r"'mfu' is not known of every point .* such as point 2"):
        figure("lines", store(rows), value="mfu")


def test_a_key_that_two_axes_end_with_is_ambiguous() -> None:
    """Both are named."""
    rows = [
        row(n, {"link.bandwidth": a, "nic.bandwidth": a, "strategy.kind": "tp"}, "tp 8", 1.0, 1)
        for n, a in enumerate(("x1", "x2"))
    ]
    with pytest.raises(UserError, match=r"may be link\.bandwidth or nic\.bandwidth: write it out"):
        lines.plot(store(rows), x="bandwidth")


def test_nothing_that_competes_and_nothing_that_ran_are_told() -> None:
    """Instead of an empty picture."""
    alone = [r for r in swept().rows() if r.axes["strategy.kind"] == "tsp"]
    with pytest.raises(UserError, match="needs two or more that compete"):
        winner.plot(store(alone), x="sequence", y="bandwidth", by="kind")
    with pytest.raises(UserError, match="no point of this sweep ran"):
        lines.plot(swept(lambda kind, s, b: None))  # noqa: ARG005


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (16384, "16K"),
        (131072, "128K"),
        (2**20, "1M"),
        (3 * 2**19, "1.5M"),
        (1000, "1,000"),
        (4, "4"),
    ],
)
def test_lengths_are_written_in_binary_thousands(count: int, text: str) -> None:
    """Where they are round in them."""
    assert tokens(count) == text


def test_cells_meet_half_way_on_the_page() -> None:
    """In the logarithm on a logarithmic axis."""
    rows = [Row(n, {"workload.sequence": s}, "ok") for n, s in enumerate((1024, 2048, 8192))]
    edges = scale(rows, "workload.sequence").edges()
    middle = math.sqrt(1024 * 2048)
    assert edges == pytest.approx([1024**2 / middle, middle, 4096, 16384])


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a real sweep."""
    path = tmp_path_factory.mktemp("maps") / "sweep"
    ran = call("sweep", "tsp-layer", "strategy.kind=tsp,tp", "link.bandwidth=x0.5,x2",
               "workload.sequence=16384,65536", "--jobs", "1", "-o", str(path))  # fmt: skip
    assert ran.exit_code == 0, ran.stderr
    return path


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".html"])
def test_the_command_draws_a_sweep_in_every_format(
    folder: Path, suffix: str, tmp_path: Path
) -> None:
    """Equal sweeps give equal bytes."""
    for name in ("one", "two"):
        path = str(tmp_path / f"{name}{suffix}")
        assert call("plot", str(folder), "--kind", "winner", "-o", path).exit_code == 0
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"one{suffix}", f"two{suffix}"]


def test_the_command_takes_its_options_and_writes_beside_the_sweep(folder: Path) -> None:
    """Without ``-o`` into its folder."""
    ran = call("plot", str(folder), "--kind", "lines", "--x", "bandwidth", "--value", "step_time",
               "--by", "strategy.kind", "--at", "sequence=65536")  # fmt: skip
    assert (ran.exit_code, ran.stderr) == (0, f"wrote {folder / 'lines.png'}\n")
    assert (folder / "lines.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "gantt"], "holds a sweep, and 'gantt' is a picture of one run; of a sweep "
         "there are: heatmap, lines, pareto, winner"),
        (["--kind", "winer"], "unknown plot 'winer' (did you mean 'winner'?)"),
        (["--kind", "winner", "--window", "1 s:2 s"], "a winner map has no window to choose"),
        (["--kind", "pareto", "--y", "sequence"], "a pareto map has no y to choose"),
        (["--kind", "lines", "--at", "sequence"], "must be key=values"),
        (["--kind", "lines", "--at", "sequence=1,2"], "--at sequence=1,2: one value, such as"),
        (["--kind", "lines", "-o", "a.jpg"], "pictures are .png, .svg, .pdf, .html"),
    ],
)  # fmt: skip
def test_the_command_refuses_what_does_not_go_together(
    folder: Path, arguments: list[str], message: str
) -> None:
    """Exit code 2, and one line that says what there is."""
    ran = call("plot", str(folder), *arguments)
    assert ran.exit_code == 2
    assert message in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_map_of_a_folder_without_a_sweep_is_refused(tmp_path: Path) -> None:
    """With the command that makes one; options of maps do not go with pictures of a run."""
    ran = call("plot", str(tmp_path), "--kind", "winner")
    assert ran.exit_code == 2
    assert "holds no sweep, and 'winner' is a map of one ('tspsim sweep SCENARIO" in ran.stderr
    kinds = "gantt, links, memory, memory-layers, pipeline, roofline, topology, why"
    assert f"of a run there are: {kinds}\n" in ran.stderr
    ran = call("plot", str(tmp_path), "--kind", "gantt", "--at", "a=1")
    assert (ran.exit_code, ran.stderr) == (2, "a gantt plot has no at to choose\n")


def test_a_cell_has_the_marker_of_the_best() -> None:
    """As in the legend, so that print without colour tells whose cell it is."""
    axes = drawn("winner", swept())
    shapes = [c.get_paths()[0] for c in axes.collections if isinstance(c, PathCollection)]
    wins = [t for t in axes.texts if t.get_text().startswith(("+", "≈", "=", "alone"))]
    assert len(shapes) == len(wins)
    assert len({len(path.vertices) for path in shapes}) == 2


def test_what_has_no_room_in_a_cell_is_left_out() -> None:
    """In a narrow picture colours and markers tell alone: no text lies on another one."""
    with paper(1.5):
        axes = drawn("winner", swept())
    assert isinstance(axes.figure, Figure)
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    assert not any(t.has_room(renderer) for t in axes.texts if isinstance(t, Roomy))


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Maps are saved as other pictures are: whole or not at all."""
    with pytest.raises(OutputError, match="cannot be written"):
        draw("winner", swept(), tmp_path / "missing" / "a.png")


def test_export_keeps_the_columns_that_are_asked_for(folder: Path) -> None:
    """Behind the axes, in the order in which they are asked for."""
    ran = call("export", str(folder), "--columns", "status,step_time")
    assert ran.stdout.splitlines()[0] == (
        "strategy.kind,link.bandwidth,workload.sequence,status,step_time"
    )
    ran = call("export", str(folder), "--columns", "statu")
    assert "unknown column 'statu' (did you mean 'status'?)" in ran.stderr


if __name__ == "__main__":
    BASELINES.mkdir(exist_ok=True)
    for each in KINDS:
        picture(each, BASELINES / f"{each}.png")
