"""What the outputs say of a pipeline: picture, table, files, trace, comparison, sweep."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from tests import small_result
from tests.staged import document, staged
from tests.test_output_table import line, printed
from tspsim.files.errors import UserError
from tspsim.output import folder, trace
from tspsim.output.plots.window import choose
from tspsim.registry import PLOTS
from tspsim.reports import stacked
from tspsim.reports.comparison import row_of, titles
from tspsim.reports.html import page
from tspsim.reports.html.sources import read
from tspsim.runner import Run, run
from tspsim.schedules.parts.base import Size
from tspsim.sweeps.candidates import candidates
from tspsim.sweeps.columns import figures
from tspsim.sweeps.study import parse_axis

SIZE = Size(4, 6, 2)


def plot(result: Any, **options: Any) -> Axes:
    """Return the axes of the picture of a pipeline."""
    axes: Axes = PLOTS.get("pipeline")(result, **options)
    return axes


def numbers(axes: Axes) -> list[str]:
    """Return what is written on the bars, in alphabetical order."""
    return sorted(text.get_text() for text in axes.texts)


def rows(axes: Axes) -> list[PolyCollection]:
    """Return the passes of every row."""
    found = (c for c in axes.collections if str(c.get_label()).startswith("rank"))
    return [c for c in found if isinstance(c, PolyCollection)]


def bars(axes: Axes) -> list[int]:
    """Return the number of passes by row."""
    return [len(row.get_paths()) for row in rows(axes)]


# ---- the picture ---------------------------------------------------------------------------------


def test_every_stage_is_a_row_and_every_pass_a_bar_with_its_micro_batch() -> None:
    """Of 1F1B a forward and a backward of each; rows are named after rank and stages."""
    axes = plot(staged("1f1b", Size(4, 6)))
    assert bars(axes) == [12] * 4
    assert numbers(axes) == sorted(str(number) for number in range(6) for _ in range(2 * 4))
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [f"rank {rank}: stage {rank}" for rank in range(4)]


def test_halves_of_backward_and_chunks_are_told_apart() -> None:
    """ZB-V has three kinds of passes and two stages on each rank: six colours."""
    axes = plot(staged("zb_v", SIZE))
    assert bars(axes) == [2 * 3 * 6] * 4
    assert len({tuple(face) for row in rows(axes) for face in row.get_facecolor()}) == 6
    assert axes.get_yticklabels()[1].get_text() == "rank 1: stages 1, 6"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][:4] == [
        "forward", "backward: input gradient", "backward: weight gradients", "paler: later chunks",
    ]  # fmt: skip


def test_the_title_says_schedule_bubble_and_step() -> None:
    """The step with where it lies, as on other pictures."""
    result = staged("zb_v", SIZE)
    assert result.summary.pipeline is not None
    share = f"{100 * result.summary.pipeline.bubble.share:.1f} %"
    title = plot(result).get_title(loc="left")
    assert f"zb_v, bubble {share} of the step" in title
    assert "(error unknown)" in title


def test_a_number_stands_only_where_it_fits() -> None:
    """Of many micro-batches the bars are drawn, but nothing is written over their edges."""
    axes = plot(staged("gpipe", Size(2, 200)))
    assert bars(axes) == [400] * 2
    assert len(numbers(axes)) < 400
    assert "share of the time" not in axes.get_title(loc="left")


def test_of_very_many_passes_the_share_of_the_time_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bars would be narrower than a line; the title says what is seen instead."""
    monkeypatch.setattr("tspsim.output.plots.pipeline.DENSE", 20)
    axes = plot(staged("zb_v", SIZE))
    assert "heights: share of the time" in axes.get_title(loc="left")
    assert not bars(axes)
    assert not numbers(axes)


def test_a_window_shows_the_passes_in_it() -> None:
    """Those that reach over its edge are cut there; one outside of the step is refused."""
    result = staged("1f1b", Size(4, 6))
    axes = plot(result, window=(0.0, result.summary.step_time / 4))
    assert 0 < sum(bars(axes)) < 4 * 12
    with pytest.raises(UserError, match="start and end must lie"):
        plot(result, window=(2.0, 1.0))


def test_without_a_pipeline_there_is_one_row() -> None:
    """Of the first rank; no bubble is said, and no folder has the picture."""
    axes = plot(small_result.real())
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rank 0: stage 0"]
    assert "bubble" not in axes.get_title(loc="left")


# ---- figures -------------------------------------------------------------------------------------


def test_a_summary_has_the_figures_of_its_pipeline() -> None:
    """The names of ``--json`` stay; without a pipeline there is no such key."""
    result = staged("zb_v", SIZE)
    found = result.summary.to_dict()["pipeline"]
    assert {key: found[key] for key in ("stages", "schedule", "chunks", "micro_batches")} == {
        "stages": 4, "schedule": "zb_v", "chunks": 2, "micro_batches": 6,
    }  # fmt: skip
    assert list(found["bubble"]) == ["mean", "share", "most", "most_rank", "per_stage"]
    assert [list(each) for each in found["bubble"]["per_stage"]] == [
        ["rank", "fill", "between", "drain"]
    ] * 4
    assert "pipeline" not in small_result.real().summary.to_dict()


def test_every_stage_has_its_peak() -> None:
    """The highest of them is the peak of the run."""
    result = staged("1f1b", Size(4, 6), degree=2)
    found = result.summary.to_dict()
    peaks = [each["peak"] for each in found["pipeline"]["memory_per_stage"]]
    by_rank = [rank.peak for rank in result.memory.ranks]
    assert peaks == [max(by_rank[2 * stage : 2 * stage + 2]) for stage in range(4)]
    assert max(peaks) == found["memory"]["peak"]
    assert peaks == sorted(peaks, reverse=True)  # 1F1B: each stage holds one micro-batch fewer


def test_the_table_says_bubble_and_peaks_of_stages() -> None:
    """In 80 columns; of many stages the fullest."""
    text = printed(staged("1f1b", Size(4, 6)))
    assert "at most" in line(text, "bubble")
    assert all(f"\n  pp {stage} " in text for stage in range(4))
    many = printed(staged("1f1b", Size(10, 10)))
    assert "the fullest 8 of 10" in line(many, "by stage")
    assert max(map(len, many.splitlines())) <= 80
    assert "bubble" not in printed(small_result.real())


def test_rows_of_sweeps_and_comparisons_have_the_bubble() -> None:
    """A column only where some run has a pipeline; of a run without, a dash."""
    result = staged("1f1b", Size(4, 6))
    found, share = figures(result.summary.to_dict()), result.summary.to_dict()["pipeline"]["bubble"]
    assert found["pipeline.bubble_share"] == share["share"]
    assert found["pipeline.bubble"] == share["mean"]
    assert not [key for key in figures(small_result.real().summary.to_dict()) if "bubble" in key]


def test_a_comparison_has_a_column_for_bubbles(tmp_path: Path) -> None:
    """Candidates are told apart by the options of their pipelines."""
    path = tmp_path / "staged.json"
    path.write_text(json.dumps(document("1f1b", Size(4, 6))), encoding="utf-8")
    strategies = ("1f1b", "zb_h1")
    each = ",".join(
        f"{{kind: tp, degree: 1, pp: {{stages: 4, schedule: {name}}}}}" for name in strategies
    )
    found = candidates([str(path)], [parse_axis(f"strategy={each}")])
    assert [candidate.name.rpartition(", ")[2] for candidate in found] == [
        "schedule 1f1b", "schedule zb_h1",
    ]  # fmt: skip
    assert "bubble" in titles(found)
    assert all(len(row_of(c, bubbles=True)) == len(titles(found)) for c in found)


def test_two_pipelines_are_drawn_one_above_the_other_on_one_axis() -> None:
    """Also beside a run without one; the shorter one says how much earlier it ends."""
    without = document("1f1b", Size(4, 6))
    del without["strategy"]["pp"]
    runs = (staged("1f1b", Size(4, 6)), run(without, "topology.ranks=1"))
    above, below = stacked.figure(runs, ("pp 4", "tp 1")).axes
    assert above.get_xlim() == below.get_xlim()
    assert (len(above.get_yticks()), len(below.get_yticks())) == (4, 1)
    assert "earlier" in above.get_title(loc="left")
    assert below.get_title(loc="left").startswith("tp 1: training step of ")


# ---- files ---------------------------------------------------------------------------------------


def test_a_folder_has_a_picture_of_the_pipeline_that_its_result_has(tmp_path: Path) -> None:
    """It goes when a result without one takes its place."""
    result = staged("1f1b", Size(4, 6))
    folder.write(result, tmp_path / "made")
    assert (tmp_path / "made" / "pipeline.png").stat().st_size > 1000
    without = document("1f1b", Size(4, 6))
    del without["strategy"]["pp"]
    folder.write(run(without, "topology.ranks=1"), tmp_path / "made")
    names = {path.name for path in (tmp_path / "made").iterdir()}
    assert names == set(folder.FILES)


def test_a_picture_that_somebody_else_drew_stays(tmp_path: Path) -> None:
    """Only that of an earlier result is tspsim's own."""
    (tmp_path / "pipeline.png").write_text("mine", encoding="utf-8")
    folder.write(small_result.real(), tmp_path, force=True)
    assert (tmp_path / "pipeline.png").read_text(encoding="utf-8") == "mine"


def test_a_report_shows_the_pipeline_and_what_it_waits_for(tmp_path: Path) -> None:
    """The picture stands in the page, which still fetches nothing."""
    result = staged("zb_v", SIZE)
    folder.write(result, tmp_path / "made")
    page.write(read([tmp_path / "made"]), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "What every stage does with which micro-batch" in text
    assert "which waits longest for micro-batches" in text
    assert "How long does a step of 3,072 tokens in sequences of 512 take" in text
    assert result.summary.pipeline is not None
    assert f"{100 * result.summary.pipeline.bubble.share:.1f} % of the step; at most" in text
    assert not re.search(r"url\((?!#)|@import|fetch\(", text)


def test_a_trace_has_a_track_of_passes_and_names_micro_batches() -> None:
    """Passes stand in the order of the schedule; processes are named after stages."""
    result = staged("zb_v", SIZE)
    events: list[dict[str, Any]] = json.loads("".join(trace.blocks(result)))["traceEvents"]
    named = [e["args"]["name"] for e in events if e["ph"] == "M" and e["name"] == "process_name"]
    assert named[:4] == [
        "rank 0 (stages 0, 7)", "rank 1 (stages 1, 6)", "rank 2 (stages 2, 5)",
        "rank 3 (stages 3, 4)",
    ]  # fmt: skip
    passes = [e["name"] for e in events if e.get("cat") == "pass" and e["pid"] == 1]
    recorded = result.timeline.programs.of(1).actions
    assert passes == [str(each.action) for each in recorded]
    computed = [e["name"] for e in events if e["ph"] == "X" and e.get("cat") == "matmul"]
    assert all(", micro-batch " in name for name in computed)


# ---- gantt ---------------------------------------------------------------------------------------


@pytest.fixture
def long() -> Run:
    """Return a run of more tasks than a page holds."""
    return staged("1f1b", Size(4, 40), degree=2)


def test_a_gantt_chart_shows_a_rank_of_every_stage_in_the_middle_of_the_step(long: Run) -> None:
    """Whatever layers they hold."""
    part = choose(long, None, None, None)
    assert part.ranks == (0, 2, 4, 6)
    rows = [label.get_text() for label in PLOTS.get("gantt")(long).get_yticklabels()]
    assert "rank 2: stage 1  compute" in rows
    assert 0 < part.start < long.summary.step_time / 2 < part.end < long.summary.step_time
    assert "ms" in part.note or " s" in part.note


def test_layers_are_looked_for_on_the_ranks_that_hold_them(long: Run) -> None:
    """Rank 0 holds layer 0 alone; a layer that no shown rank holds is refused."""
    later, first = (choose(long, None, (layer, layer), None) for layer in (3, 0))
    assert (first.ranks, later.ranks) == ((0,), (6,))
    assert later.note.endswith("rank 6 of 8")
    assert first.start == 0
    assert later.start > first.end
    with pytest.raises(UserError, match="no rank computes such layers"):
        choose(long, None, (3, 3), (0, 1))


def test_layers_of_one_stage_are_not_marked_on_the_rows_of_others(long: Run) -> None:
    """The lines end below the rows of the first rank; without stages they go through all."""
    ends = [
        {min(line.get_ydata()) for line in PLOTS.get("gantt")(result).lines}
        for result in (long, small_result.real())
    ]
    assert min(ends[0]) > 0.5
    assert ends[1] == {0.0}
