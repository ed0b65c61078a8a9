"""What tables, files and pictures say of experts: who is busiest, and what they fill."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex

from tests.mixtures import SKEWED, ran
from tests.test_output_table import line, printed
from tspsim.output.plots.style import COMPUTE, ROUTING, style_of
from tspsim.program.by_expert import part_of

RING = "strategy.experts.layout=ring"
SKEW = {"workload": {"routing": SKEWED}}


def test_the_busiest_rank_and_expert_are_named() -> None:
    """One expert a rank: the first one has twice the mean of rows, and so has its rank."""
    found = ran(**SKEW).summary.to_dict()["experts"]
    assert found["ranks"] == {"mean": 2.0, "most": 2.0, "rank": 0, "layer": 0}
    assert found["experts"] == {"most": 2.0, "expert": 0, "layer": 0, "rows": 128}
    assert (found["count"], found["active"], found["layout"]) == (4, 2, "tokens")
    assert found["dropped"] == 0


def test_every_layer_has_a_busiest_rank_of_its_own() -> None:
    """The table's rows are told apart: the most uneven layer is named, and the mean is of all."""
    rows = [[4, 4, 4, 4], [2, 2, 8, 4], [4, 4, 4, 4]]
    found = ran(workload={"routing": {"table": rows}}).summary.to_dict()["experts"]
    assert found["ranks"] == {"mean": pytest.approx(4 / 3), "most": 2.0, "rank": 2, "layer": 1}


def test_ranks_are_even_where_weights_travel() -> None:
    """However uneven experts are: every rank multiplies its own tokens with all of them."""
    found = ran(RING, **SKEW).summary.to_dict()["experts"]
    assert found["ranks"]["most"] == pytest.approx(1.0)
    assert found["experts"]["most"] == 2.0


def test_what_is_dropped_for_lack_of_capacity_is_said() -> None:
    """Experts take the mean: of the first one's 8 of 16 choices 4 are left out."""
    result = ran(workload={"routing": {**SKEWED, "capacity": 1.0}})
    found = result.summary.to_dict()["experts"]
    assert found["dropped"] == 0.25
    assert line(printed(result), "  dropped") == "dropped 25.0 % of tokens' choices"


@pytest.mark.parametrize("layout", ["tokens", "ring", "tensor"])
def test_states_of_experts_are_told_apart_in_memory(layout: str) -> None:
    """A quarter of all experts' parameters: 2 bytes each, 4 of gradients, 12 of states."""
    result = ran(f"strategy.experts.layout={layout}")
    own = 3 * 4 * 3 * 64 * 128 // 4
    found = result.summary.to_dict()["experts"]["memory"]
    assert found == {"weight": 2 * own, "gradient": 4 * own, "optimizer": 12 * own}
    assert "of it, experts' states" in printed(result)


def test_zero_shares_the_states_of_experts() -> None:
    """Over two replicas, each has states of half of its experts."""
    strategy = {"kind": "tsp", "degree": 2, "dp": 2, "zero": 1}
    found = ran(strategy=strategy).summary.to_dict()["experts"]["memory"]
    own = 3 * 4 * 3 * 64 * 128 // 2
    assert found == {"weight": 2 * own, "gradient": 4 * own, "optimizer": 12 * own // 2}


def test_a_dense_model_has_no_such_figures() -> None:
    """Nothing of it is in the table or in the JSON."""
    result = ran(model={"experts": None})
    assert "experts" not in result.summary.to_dict()
    assert "expert" not in printed(result)


def test_the_table_says_who_is_busiest() -> None:
    """How much, on average; then where it is most, of ranks and of experts."""
    text = printed(ran(**SKEW))
    assert line(text, "expert imbalance") == "expert imbalance 2.00 x busiest rank over the mean"
    assert line(text, "  most: rank") == "most: rank 0 2.00 x in layer 0"
    assert line(text, "  most: expert") == "most: expert 0 2.00 x in layer 0: 128 rows"
    even = printed(ran())
    assert "1.00 x" in line(even, "expert imbalance")
    assert "most:" not in even
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("layout", ["tokens", "ring", "tensor"])
def test_what_experts_compute_has_colours_of_its_own(layout: str) -> None:
    """Products, and work on rows, are neither matmuls nor element-wise ops; all are explained."""
    result = ran(f"strategy.experts.layout={layout}", **SKEW)
    (program,) = result.timeline.programs.roles
    styles = {op.kind.name: style_of(op) for op in program.ops if part_of(op) and not op.lane}
    assert styles["grouped_matmul"] == COMPUTE["experts"]
    assert {styles[name] for name in styles if name in ROUTING} == {COMPUTE["routing"]}
    texts = [text.get_text() for text in result.plot.gantt().get_legend().get_texts()]
    assert {"products of experts", "rows to and from experts"} <= set(texts)
    assert ("all_to_all (combine, dispatch)" in texts) == (layout == "tokens")


def test_the_memory_plot_shows_what_of_a_kind_is_experts() -> None:
    """A hatched band of the same colour, at the top of its kind's."""
    ax = ran(**SKEW).plot.memory()
    bands = {str(band.get_label()): band for band in ax.collections}
    for kind in ("weight", "gradient", "optimizer"):
        plain, inside = bands[kind], bands[f"{kind} of experts"]
        assert to_hex(plain.get_facecolor()[0]) == to_hex(inside.get_facecolor()[0])
        assert inside.get_hatch()


def test_trace_frame_and_roofline_name_the_ops_of_experts() -> None:
    """Their kinds are categories of the trace and the frame; products are dots of the roofline."""
    result = ran(**SKEW, experts={"width": 2048})  # wide: their time shows
    frame = result.frame()
    assert {"grouped_matmul", "gate", "permute", "combine", "all_to_all"} <= set(frame["kind"])
    labels = " ".join(str(text.get_text()) for text in result.plot.roofline().get_legend().texts)
    assert "experts.dhidden" in labels
