"""Draws the pictures of docs/images that a simulation or a fit gives."""

from __future__ import annotations

from pathlib import Path

from blocks import TOP, blocks

#: Pictures of the documents: file, scenario with overrides, plot.
PICTURES = {
    "tsp-layer-gantt.png": (("tsp-layer",), "gantt"),
    "tsp-layer-memory.png": (("tsp-layer",), "memory"),
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
    draw_profiles(TOP / "published", folder)
    draw_goodput(folder / "goodput.png")


def draw_goodput(path: Path) -> None:
    """Draw the goodput of the job that docs/disturbances.md describes."""
    from tspsim.files.source import parse
    from tspsim.reports.goodput_plot import draw as draw_found
    from tspsim.runs.goodput import goodput
    from tspsim.scenario import from_document

    text = (TOP / "docs" / "disturbances.md").read_text(encoding="utf-8")
    (job,) = (block for block in blocks(text) if block.file == "job.yaml")
    draw_found(goodput(from_document(parse("\n".join(job.lines), "job.yaml").data)), path)
