"""The studies: their results are what a run gives, and their pages say what the results say.

``python docs/refresh.py studies`` renews results, pictures and tables.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import tspsim
from studies import pipeline_lines
from studies import regenerate as made
from tspsim.sweeps import study as studies
from tspsim.sweeps.points import points
from tspsim.sweeps.values import label

PAGES = Path(__file__).parent.parent / "docs" / "studies"
NAMES = [
    "tsp-crossover", "two-nodes", "memory-for-context", "tsp-pipeline", "tsp-experts",
    "tsp-inference",
]  # fmt: skip
#: A part of every study that takes a second or two.
PARTS = {
    "tsp-crossover": (
        "topology.file=h100-node.yaml", "link.bandwidth=x0.25,x1", "workload.sequence=16384,131072",
    ),
    "two-nodes": (
        "topology.file=mi300x-128-nodes-rails.yaml", "nic.bandwidth=50 GB/s",
        "workload.sequence=32768,131072",
    ),
    "memory-for-context": (
        "device.memory=128 GiB", "workload.sequence=131072,1572864",
    ),
    "tsp-pipeline": (
        "topology.nodes=32,32", "workload.sequence=32768,32768", "workload.logits_chunks=8,8",
        "strategy={kind: tp, degree: 8, sequence_parallel: true, dp: 8, zero: 1, "
        "pp: {stages: 4, schedule: 1f1b}},{kind: tsp, degree: 8, dp: 32, zero: 3}",
        "workload.micro_batches=1",
    ),
    "tsp-experts": (
        "topology.file=h100-node.yaml", "topology.ranks=8", "strategy.degree=8",
        "workload.phase=train", "workload.routing={kind: power_law, exponent: 0.5}",
        "workload.batch=16",
    ),
    "tsp-inference": (
        "topology.file=h100-node.yaml", "model.hf=models/llama-3-8b/config.json",
        "model.kv_heads=8", "workload.phase=decode,prefill", "workload.prompt=null,131072",
        "workload.cached=131072,0", "workload.chunk=null,32768", "workload.batch=16,1",
        "strategy={kind: tp, degree: 8, replicate_kv_heads: true},{kind: sp, degree: 8, "
        "passes: queries},{kind: tsp, degree: 8, replicate_kv_heads: true, weights: stay}",
    ),
}  # fmt: skip


def _page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_a_part_of_the_study_gives_its_committed_results(name: str) -> None:
    """Every figure to nine digits; nothing of the part is missing."""
    stored = made.results(name)
    keys = [key for key in stored[0] if key not in made.columns(name)]
    by_point = {tuple(row[key] for key in (*keys, "mesh")): row for row in stored}
    found = tspsim.sweep(made.RESULTS / f"{name}.yaml", *PARTS[name]).rows
    assert found
    for row in found:
        axes = tuple("" if row.axes[key] is None else label(row.axes[key]) for key in keys)
        told = by_point[(*axes, row.figures["mesh"])]
        assert told["status"] == row.status
        for column in set(made.columns(name)) - {"mesh", "status"}:
            assert float(told[column]) == pytest.approx(row.figures[column], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_results_are_those_of_all_points(name: str) -> None:
    """A row for every point of the study file, in its order; all of them ran."""
    stored = made.results(name)
    every = points(studies.load(made.RESULTS / f"{name}.yaml"))
    told = [tuple("" if v is None else label(v) for _, v in point.axes) for point in every]
    keys = [key for key in stored[0] if key not in made.columns(name)]
    assert [tuple(row[key] for key in keys) for row in stored] == told
    assert {row["status"] for row in stored} <= {"ok", "unfit"}


@pytest.mark.parametrize("name", NAMES)
def test_the_page_counts_the_points(name: str) -> None:
    """Its table is compared in tests/test_generated.py."""
    assert f"{len(made.results(name))} points" in _page(name)


def _cells(name: str) -> dict[str, list[str]]:
    """Return the rows of a page's table by what they are of: the cells that hold no number."""
    rows = [line.strip("| ").split(" | ") for line in made.TABLES[name](made.results(name))][2:]
    width = {"tsp-crossover": 2, "two-nodes": 2, "memory-for-context": 1}[name]
    return {" ".join(row[:width]): row[width:] for row in rows}


def _answer(name: str) -> str:
    found = re.search(r"\*\*Answer\.\*\* (.*?)\n\n", _page(name), re.DOTALL)
    assert found is not None
    return " ".join(found[1].split())


def test_the_answer_on_crossings_is_that_of_the_table() -> None:
    """Where TSP is the fastest, with the links that there are and with others."""
    cells = {key: row[2].removeprefix("from ") for key, row in
             _cells("tsp-crossover").items()}  # fmt: skip
    machines = ("MI300X", "H100", "GB200 NVL72")
    once, quarter, four = ([cells[f"{m} × {x}"] for m in machines] for x in ("1", "0.25", "4"))
    assert four[1:] == ["below 8K", "below 8K"]
    assert _answer("tsp-crossover") == (
        "Training the paper's 7B model on eight devices, TSP is the fastest of the three from "
        f"about {once[0]} tokens on MI300X, {once[1]} on H100 and {once[2]} on GB200 (eight of an "
        "NVL72); "
        f"with a quarter of the link bandwidth from {quarter[0]}, {quarter[1]} and {quarter[2]}, "
        f"with four times of it from {four[0]}, and below 8K on the two others."
    )


def test_what_is_said_about_exposed_communication_is_in_the_results() -> None:
    """Seconds of a step at the links that there are."""
    page = " ".join(_page("tsp-crossover").split())

    def exposed(machine: str, sequence: int, *meshes: str) -> list[str]:
        found = {
            row["mesh"]: float(row["time.exposed_communication"])
            for row in made.results("tsp-crossover")
            if row["topology.file"] == f"{machine}-node.yaml" and row["link.bandwidth"] == "x1"
            if row["workload.sequence"] == str(sequence)
        }
        return [f"{found[mesh]:.2f} s" for mesh in meshes]

    tsp, tp = exposed("mi300x", 32768, "tsp 8", "tp 8")
    assert f"TSP exposes {tsp} of communication in a step, TP {tp}, at the same" in page
    tsp, tp, both = exposed("h100", 16384, "tsp 8", "tp 8", "sp 2 x tp 4")
    assert f"it exposes {tsp}, TP {tp}, TP 4 x SP 2 {both}" in page


def test_the_answer_on_two_nodes_is_that_of_the_table() -> None:
    """Which NIC, and how much remains where none is enough."""
    cells = _cells("two-nodes")
    short = [cells[f"MI300X {length}"][3] for length in ("8K", "16K", "32K")]
    none = [key for key, row in cells.items() if row[3] == "at none"]
    assert none == [f"MI300X {n}" for n in ("64K", "128K", "256K", "512K")] + [
        f"H100 {n}" for n in ("8K", "16K", "32K", "64K", "128K", "256K", "512K")
    ]
    reached = sorted(int(row[2].split()[0]) for key, row in cells.items() if "H100" in key)
    assert _answer("two-nodes") == (
        f"Per device, on MI300X {short[0]} per NIC at 8K tokens, {short[1]} at 16K and {short[2]} "
        "at 32K (50 GB/s NICs are what the paper's machine has); from 64K tokens on no NIC up to "
        "400 GB/s does. On H100 none does at any length from 8K to 512K: at 400 GB/s per NIC TP+SP "
        f"over two nodes reaches {reached[0]} to {reached[-1]} % of what TSP reaches in one."
    )


def test_the_answer_on_memory_is_that_of_the_table() -> None:
    """What 128K tokens cost, and what fits."""
    cells = _cells("memory-for-context")
    cost = [cell.split()[0] for cell in cells["per further 128K"]]
    large, small = cells["192 GiB"], cells["80 GiB"]
    assert large[1] == large[2]
    assert _answer("memory-for-context") == (
        f"Training the paper's 7B model on eight devices, a further 128K tokens cost {cost[0]} GiB "
        f"of every device under TSP, {cost[1]} GiB under TP and {cost[3]} to {cost[2]} GiB under "
        f"TP+SP; 192 GiB hold {large[0]} tokens under TSP and {large[1]} under TP or TP 4 x SP 2, "
        f"80 GiB hold {small[0]}, {small[1]} and {small[2]}."
    )


def test_smaller_micro_batches_move_the_weights_again_and_nothing_else() -> None:
    """Of TSP over a pipeline, to the byte; TP moves the same whatever their size."""
    model = pipeline_lines.llama()
    found = pipeline_lines.points(made.results("tsp-pipeline"))
    here = [p for p in found if p[:2] == (8, 32768) and p.schedule == "1f1b"]
    received = {
        (p.layout, p.micro_batches): p.figures["communication.received_bytes_per_rank"]
        for p in here
    }
    a_round = pipeline_lines.moved(model, 0, 8)["weights"] * model.layers / 4
    added = received["TSP x PP", 32] - received["TSP x PP", 16]
    assert added == pytest.approx(16 * a_round, rel=1e-6)
    assert received["TP x PP", 32] == pytest.approx(received["TP x PP", 16], rel=1e-6)


def test_the_closed_form_of_the_study_of_pipelines() -> None:
    """At its crossing both move as many bytes, and the page states it."""
    model = pipeline_lines.llama()
    tokens = pipeline_lines.equal(model)
    bytes_ = pipeline_lines.moved(model, tokens, 8)
    assert bytes_["TSP"] == pytest.approx(bytes_["TP"], rel=1e-12)
    assert f"{tokens:,.0f} tokens" in _page("tsp-pipeline")
    assert f"{tokens / model.hidden:.2f}h" in _page("tsp-pipeline")


def test_the_answer_on_pipelines_is_that_of_the_results() -> None:
    """Leads of TSP over TP and of FSDP over a pipeline, and where a micro-batch is too small."""
    found = [p for p in pipeline_lines.points(made.results("tsp-pipeline")) if p.fits]
    rates = {(p.nodes, p.sequence, p.layout, p.schedule, p.tokens): p.rate for p in found}

    def leads(sequence: int, kind: str) -> list[int]:
        plain = "1f1b" if kind == "PP" else ""
        pairs = [
            (rate, rates.get((nodes, length, f"TP x {kind}", schedule, tokens)))
            for (nodes, length, layout, schedule, tokens), rate in rates.items()
            if length == sequence and layout == f"TSP x {kind}" and schedule == plain
        ]
        return sorted(round(100 * (one / other - 1)) for one, other in pairs if other)

    def fastest(nodes: int, sequence: int, layout: str) -> float:
        return max(v for k, v in rates.items() if k[:3] == (nodes, sequence, layout))

    pipelined, sharded = leads(32768, "PP"), leads(32768, "FSDP")
    small = [
        {t: v for (n, s, name, _, t), v in rates.items() if s == 8192 and name == f"{k} x {o}"}
        for o in ("PP", "FSDP")
        for k in ("TSP", "TP")
    ]
    turn = [made.crossing(*small[:2]), made.crossing(*small[2:])]
    ahead = [
        f"{100 * (fastest(n, 32768, 'TSP x FSDP') / fastest(n, 32768, 'TSP x PP') - 1):.0f}"
        for n in (8, 32)
    ]
    long = [
        f"{100 * (fastest(n, 524288, 'TSP x FSDP') / fastest(n, 524288, other) - 1):.0f}"
        for n, other in ((8, "TP x FSDP"), (8, "TSP x PP"))
    ]
    piped = fastest(32, 524288, "TSP x PP") / fastest(32, 524288, "TP x PP") - 1
    assert (8, 524288, "TP x PP") not in {key[:3] for key in rates}
    told = _answer("tsp-pipeline")
    assert (
        f"meet at {turn[0]:,.0f} over a pipeline and at {turn[1]:,.0f} fully sharded, since" in told
    )
    assert (
        f"TSP is faster than TP by {pipelined[0]} to {pipelined[-1]} % over a pipeline and by "
        f"{sharded[0]} to {sharded[-1]} % fully sharded." in told
    )
    assert (
        f"Fully sharded, TSP leads by {long[0]} % on 8 nodes, and 32 are a draw. Over a pipeline "
        f"it leads by {100 * piped:.0f} % on 32 nodes; on 8, TP's does not fit." in told
    )
    assert (
        f"TSP x PP takes {ahead[0]} % longer on 8 nodes and {ahead[1]} % on 32 at 32K, and "
        f"{long[1]} % on 8 at 512K, most of it bubble." in told
    )


def test_what_is_said_about_pipelines_is_in_the_results() -> None:
    """Seconds of a step, and peaks of schedules that need too much."""
    page = " ".join(_page("tsp-pipeline").split())
    found = pipeline_lines.points(made.results("tsp-pipeline"))

    def of(key: str, scale: float, **fixed: Any) -> list[str]:
        rows = [p for p in found if all(getattr(p, k) == v for k, v in fixed.items())]
        rows.sort(key=lambda p: (p.layout.startswith("TP"), -p.tokens))
        return [f"{p.figures[key] / scale:.{1 if scale == 1 else 0}f}" for p in rows]

    tsp, tp = of("time.exposed_communication", 1, nodes=8, micro_batches=32)
    assert f"TSP exposes {tsp} s of communication in a step and TP {tp} s" in page
    small = {"sequence": 8192, "schedule": "1f1b"}
    _, _, *tsp_exposed, _, _, before, after = of("time.exposed_communication", 1, **small)
    _, _, *tsp_computes, _, _, early, late = of("time.compute", 1, **small)
    assert (
        f"exposes grows from {tsp_exposed[0]} to {tsp_exposed[1]} s and its compute from "
        f"{tsp_computes[0]} to {tsp_computes[1]} s; TP exposes {before} and {after} s and computes "
        f"{early} and {late} s."
    ) in page
    _, tp = of("time.exposed_communication", 1, sequence=8192, schedule="", tokens=8192)
    assert f"TP with FSDP exposes {tp} s" in page
    tsp, tp = of("memory.peak", 2**30, schedule="zb_h1")
    assert f"{tsp} GiB under TSP and {tp} GiB under TP" in page
    assert f"TSP's {of('memory.peak', 2**30, schedule='interleaved')[0]} GiB no longer" in page


def test_pages_show_every_picture_and_lead_somewhere() -> None:
    """The folder holds what the script draws and nothing else."""
    shown: list[str] = []
    for name in NAMES:
        targets = re.findall(r"\]\(([^)#\s]+)", _page(name))
        assert all((PAGES / target).exists() for target in targets)
        shown += [Path(target).stem for target in targets if target.endswith(".png")]
    drawn = {*made.PICTURES, *made.DRAWN}
    assert set(shown) == drawn == {path.stem for path in PAGES.glob("*.png")}
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}  # the gallery of the site
    assert pages == set(NAMES) == set(made.TABLES)


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ({1: 1.0, 2: 2.0, 4: 4.0}, {1: 2.0, 2: 2.0, 4: 2.0}, 2.0),
        ({1: 1.0, 4: 4.0}, {1: 2.0, 4: 2.0}, 2.0),
        ({1: 3.0, 4: 4.0}, {1: 2.0, 4: 2.0}, 0.0),
        ({1: 3.0, 4: 1.0}, {1: 2.0, 4: 2.0}, None),
        ({1: 9.0, 2: 1.0, 8: 4.0}, {1: 2.0, 2: 2.0, 8: 2.0}, 4.0),
    ],
)
def test_crossings_are_interpolated_in_logarithms(
    one: Any, other: Any, where: float | None
) -> None:
    """The last one counts: from there on the first series is the larger one."""
    assert made.crossing(one, other) == (where if where is None else pytest.approx(where))
