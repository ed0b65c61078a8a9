"""Runs the studies again: their tables of results, their pictures, and the tables on their pages.

``python docs/refresh.py studies`` runs all of them. One alone takes about a minute on two cores::

    python docs/studies/regenerate.py two-nodes

tests/test_studies.py compares the pages with the results, and part of the results with new runs.
"""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tspsim
from tspsim.reports.maps.drawing import draw
from tspsim.reports.maps.scale import tokens
from tspsim.sweeps import export
from tspsim.sweeps.values import number

PAGES = Path(__file__).parent
RESULTS = PAGES.parent.parent / "scenarios" / "studies"
#: What is kept of a study's figures.
COLUMNS = (
    "mesh", "step_time", "tokens_per_second_per_device", "time.compute",
    "time.exposed_communication", "memory.peak", "status",
)  # fmt: skip
#: And of some further ones.
FURTHER = {
    "tsp-pipeline": (
        "step_time_low", "step_time_high", "told_apart", "time.idle",
        "communication.received_bytes_per_rank",
    ),
    "tsp-inference": (
        "inference.latency", "communication.received_bytes_per_rank", "memory.capacity",
        "memory.at_peak.kv_cache",
    ),
}  # fmt: skip
#: Pictures by name: their study, kind and options.
PICTURES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "tsp-crossover": ("tsp-crossover", "winner", {}),
    "tsp-crossover-lines": ("tsp-crossover", "lines", {"at": {"link.bandwidth": "x1"}}),
    "two-nodes": ("two-nodes", "winner", {}),
    "memory-for-context": ("memory-for-context", "winner", {}),
    "memory-for-context-lines": (
        "memory-for-context", "lines", {"value": "memory.peak", "at": {"device.memory": "192 GiB"}},
    ),
}  # fmt: skip
RATE = "tokens_per_second_per_device"
NAMES = {
    "mi300x-node.yaml": "MI300X", "h100-node.yaml": "H100", "gb200-nvl72.yaml": "GB200 NVL72",
    "mi300x-128-nodes-rails.yaml": "MI300X", "h100-4-nodes.yaml": "H100",
}  # fmt: skip
_TABLE = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Row = Mapping[str, str]


def results(name: str) -> list[dict[str, str]]:
    """Return the rows of a study's committed table."""
    with (RESULTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _groups(rows: Iterable[Row], *keys: str) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def _si(text: str) -> float:
    value, _ = number(int(text) if text.isdecimal() else text) or (math.nan, "")
    return float(value)


def _best(rows: Iterable[Row], along: str) -> dict[float, float]:
    """Return the best rate at every value of an axis, of what fits."""
    best: dict[float, float] = {}
    for row in rows:
        if row["status"] == "ok":
            place = _si(row[along])
            best[place] = max(best.get(place, 0.0), float(row[RATE]))
    return dict(sorted(best.items()))


def crossing(one: Mapping[float, float], other: Mapping[float, float]) -> float | None:
    """Return where the first series becomes larger than the second one for good.

    Interpolated: the logarithm of their ratio is taken to be linear in the logarithm of the place.
    0 when it is larger everywhere, None when it is not at the last place.
    """
    places = sorted(set(one) & set(other))
    ratios = [math.log(one[place] / other[place]) for place in places]
    if ratios[-1] <= 0:
        return None
    behind = [index for index, ratio in enumerate(ratios) if ratio <= 0]
    if not behind:
        return 0.0
    low = behind[-1]
    part = -ratios[low] / (ratios[low + 1] - ratios[low])
    return places[low] * (places[low + 1] / places[low]) ** part


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _kilo(count: float) -> str:
    return f"{count / 2**20:.1f}M" if count >= 2**20 else f"{count / 2**10:.0f}K"


def crossover_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield where TSP overtakes TP, TP+SP and both, by machine and link."""
    yield _row("machine", "links", "overtakes TP", "overtakes TP+SP", "is fastest")
    yield "|---|---|---:|---:|---:|"
    shortest = min(_si(row["workload.sequence"]) for row in rows)
    for (machine, link), some in _groups(rows, "topology.file", "link.bandwidth").items():
        kinds = {k: v for (k,), v in _groups(some, "strategy.kind").items()}
        tsp = _best(kinds["tsp"], "workload.sequence")
        cells = []
        for others in (kinds["tp"], kinds["tp_sp"], [*kinds["tp"], *kinds["tp_sp"]]):
            found = crossing(tsp, _best(others, "workload.sequence"))
            told = f"from {_kilo(found)}" if found else f"below {_kilo(shortest)}"
            cells.append("nowhere" if found is None else told)
        yield _row(NAMES[machine], link.replace("x", "× "), *cells)


def two_nodes_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield which NIC makes TP+SP over two nodes as fast as TSP in one, by machine and length."""
    yield _row("machine", "sequence", "TSP in one node, tokens/s/device", "TP+SP with 50 GB/s NICs",
               "with 400 GB/s NICs", "equal at")  # fmt: skip
    yield "|---|---:|---:|---:|---:|---:|"
    along = "nic.bandwidth"
    for (machine, length), some in _groups(rows, "topology.file", "workload.sequence").items():
        inside = _best([row for row in some if row["mesh"] == "tsp 8"], along)
        across = _best([row for row in some if row["mesh"] != "tsp 8"], along)
        rate, found = next(iter(inside.values())), crossing(across, inside)
        equal = "at none" if found is None else f"{found / 1e9:.0f} GB/s" if found else "below"
        shares = [f"{100 * across[nic] / rate:.0f} %" for nic in (50e9, 400e9)]
        yield _row(NAMES[machine], tokens(int(length)), f"{rate:,.0f}", *shares, equal)


def memory_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the longest sequence that fits, by memory and strategy."""
    meshes = [mesh for (mesh,) in _groups(rows, "mesh")]
    yield _row("memory of a device", *meshes)
    yield "|---:|" + "---:|" * len(meshes)
    for (memory,), some in _groups(rows, "device.memory").items():
        peaks = {mesh: _peaks(found) for (mesh,), found in _groups(some, "mesh").items()}
        yield _row(memory, *(_longest(peaks[mesh], _si(memory)) for mesh in meshes))
    per = 131072
    every = {mesh: _peaks(found) for (mesh,), found in _groups(rows, "mesh").items()}
    slopes = [_slope(peaks, 2**20, 2**22) * per / 2**30 for peaks in every.values()]
    yield _row("per further 128K", *(f"{slope:.1f} GiB" for slope in slopes))


def _peaks(rows: Iterable[Row]) -> dict[float, float]:
    return {_si(row["workload.sequence"]): float(row["memory.peak"]) for row in rows}


def _slope(peaks: Mapping[float, float], low: float, high: float) -> float:
    """Return bytes per token."""
    return (peaks[high] - peaks[low]) / (high - low)


def _longest(peaks: Mapping[float, float], memory: float) -> str:
    """Return the length at which the peak is the memory, linear between two that were run."""
    places = sorted(peaks)
    if peaks[places[0]] > memory:
        return f"below {_kilo(places[0])}"
    if peaks[places[-1]] <= memory:
        return f"above {_kilo(places[-1])}"
    last = max(place for place in places if peaks[place] <= memory)
    after = places[places.index(last) + 1]
    return _kilo(last + (memory - peaks[last]) / _slope(peaks, last, after))


def pipeline_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of the study of pipelines."""
    from studies import pipeline_lines

    yield from pipeline_lines.table(rows)


def draw_pipelines(path: Path) -> None:
    """Draw the picture of the study of pipelines from its committed results."""
    from studies import pipeline_lines

    pipeline_lines.draw(results("tsp-pipeline"), path)


def experts_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of the study of experts."""
    from studies import expert_lines

    yield from expert_lines.table(rows)


def draw_experts(path: Path) -> None:
    """Draw the winner map of the study of experts from its committed results."""
    from studies import expert_lines

    expert_lines.draw(results("tsp-experts"), path)


def draw_expert_layer(path: Path) -> None:
    """Draw a layer of the study of experts, run for that."""
    from studies import expert_lines

    expert_lines.draw_layer(path)


def inference_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of the study of inference."""
    from studies import inference_lines

    yield from inference_lines.table(rows)


def draw_inference(path: Path) -> None:
    """Draw the winner map of decode from the committed results of the study of inference."""
    from studies import inference_lines

    inference_lines.draw(results("tsp-inference"), path)


def draw_prompts(path: Path) -> None:
    """Draw the winner map of prompts from the committed results of the study of inference."""
    from studies import inference_lines

    inference_lines.draw_prompts(results("tsp-inference"), path)


TABLES: dict[str, Callable[[Sequence[Row]], Iterator[str]]] = {
    "tsp-crossover": crossover_table,
    "two-nodes": two_nodes_table,
    "memory-for-context": memory_table,
    "tsp-pipeline": pipeline_table,
    "tsp-experts": experts_table,
    "tsp-inference": inference_table,
}
#: Pictures that are no map of a sweep, by name: their study, and what draws them.
DRAWN: dict[str, tuple[str, Callable[[Path], None]]] = {
    "tsp-pipeline": ("tsp-pipeline", draw_pipelines),
    "tsp-experts": ("tsp-experts", draw_experts),
    "tsp-experts-layer": ("tsp-experts", draw_expert_layer),
    "tsp-inference": ("tsp-inference", draw_inference),
    "tsp-inference-prompts": ("tsp-inference", draw_prompts),
}


def columns(name: str) -> tuple[str, ...]:
    """Return what is kept of a study's figures."""
    return (*COLUMNS[:-1], *FURTHER.get(name, ()), COLUMNS[-1])


def renewed(text: str) -> str:
    """Return a page with its tables made anew from the committed results."""
    return _TABLE.sub(lambda m: m[1] + "\n".join(TABLES[m[2]](results(m[2]))) + "\n" + m[3], text)


def regenerate(name: str) -> None:
    """Run a study, and write its results, pictures and page."""
    store = tspsim.sweep(RESULTS / f"{name}.yaml", jobs=2).store
    export.write(store, "csv", RESULTS / f"{name}.csv", columns(name))
    for picture, (study, kind, options) in PICTURES.items():
        if study == name:
            draw(kind, store, PAGES / f"{picture}.png", **options)
    for picture, (study, drawn) in DRAWN.items():
        if study == name:
            drawn(PAGES / f"{picture}.png")
    page = PAGES / f"{name}.md"
    page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    sys.path.append(str(PAGES.parent))
    for each in sys.argv[1:] or TABLES:
        regenerate(each)
