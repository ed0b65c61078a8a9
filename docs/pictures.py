"""Draws the pictures of docs/images that a simulation or a fit gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from blocks import TOP, blocks

if TYPE_CHECKING:
    from tspsim.scenario import Scenario

#: Pictures of the documents: file, scenario with overrides, plot.
PICTURES = {
    "tsp-layer-gantt.png": (("tsp-layer",), "gantt"),
    "tsp-layer-memory.png": (("tsp-layer",), "memory"),
    "memory-layers.png": (("llama3-8b-128k-h100-tsp",), "memory-layers"),
}


def draw(folder: Path) -> None:
    """Draw the pictures of the documents into a folder."""
    import tspsim
    from tspsim.calibrate.published.write import pictures as draw_profiles
    from tspsim.output.pictures import draw as draw_one

    known = {}
    for name, ((scenario, *overrides), kind) in PICTURES.items():
        key = (scenario, *overrides)
        if key not in known:
            known[key] = tspsim.run(TOP / "scenarios" / f"{scenario}.yaml", *overrides)
        draw_one(kind, known[key], folder / name)
    draw_why(folder / "why.png")
    draw_profiles(TOP / "published", folder)
    draw_goodput(folder / "goodput.png")
    draw_serving(folder / "serving.png")
    draw_traces(folder / "traces.png")


def draw_traces(path: Path) -> None:
    """Draw the measured step of docs/traces.md above the simulated one."""
    import tspsim

    place = TOP / "calibration" / "traces" / "tsp-2"
    tspsim.compare_trace(place / "scenario.yaml", place).save(path)


def draw_why(path: Path) -> None:
    """Draw the waterfall of docs/explain.md."""
    import tspsim
    from tspsim.explain.why import why
    from tspsim.reports import waterfall

    result = tspsim.run(TOP / "scenarios" / "slow-link.yaml", "model.layers=2")
    waterfall.draw(result, why(result), path)


def draw_goodput(path: Path) -> None:
    """Draw the goodput of the job that docs/disturbances.md describes."""
    from tspsim.reports.goodput_plot import draw as draw_found
    from tspsim.runs.goodput import goodput

    draw_found(goodput(described("disturbances.md", "job.yaml")), path)


def draw_serving(path: Path) -> None:
    """Draw what the first command of docs/serving.md draws."""
    from tspsim.engine.serving.types import Limits
    from tspsim.reports.serving_plot import draw as draw_found
    from tspsim.serving.answer import serve
    from tspsim.serving.arrivals import poisson
    from tspsim.serving.lengths import Lengths
    from tspsim.serving.replica import replica_of

    scenario = described("serving.md", "chat.yaml")
    lengths = Lengths("lognormal", 1024, 0.8), Lengths("lognormal", 256, 0.6)
    traffic, limits = poisson(20, 1000, *lengths, seed=0), Limits()
    replica = replica_of(scenario, limits, block=16)
    draw_found(serve(scenario.name, replica, traffic, limits), path)


def described(page: str, file: str) -> Scenario:
    """Return a scenario that a document writes out."""
    from tspsim.files.source import parse
    from tspsim.scenario import from_document

    text = (TOP / "docs" / page).read_text(encoding="utf-8")
    (found,) = (block for block in blocks(text) if block.file == file)
    return from_document(parse("\n".join(found.lines), file).data)
