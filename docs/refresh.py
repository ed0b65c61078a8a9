"""Renews everything that a command can make: schema, profiles, tables, outputs, pictures, studies.

Run it from the project's folder, with tspsim and its extra ``dev`` installed::

    python docs/refresh.py                     # everything, in minutes
    python docs/refresh.py schema documents    # some parts
    python docs/refresh.py --check             # write nothing; say which texts would change

What is measured (benchmarks/, calibration/) and what tests expect (tests/golden, tests/plots) is
not made here: the first needs a quiet machine, the second a reader.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import benchmark_table
import fsdp_table
import inference_table
import kernel_table
import listing
import mixtures_table
import pictures
import published_inference_table
import topology_tables
import typed_stub
from blocks import TOP, documents, with_outputs
from studies import regenerate

#: A file and the text that it should have.
Text = tuple[Path, str]


class Part(NamedTuple):
    """Some of what is generated.

    Parameters
    ----------
    about : str
    texts : callable
        Yields the files and what should stand in them; writes nothing.
    make : callable
        Writes what takes long or is no text, before the texts are asked for.
    """

    about: str
    texts: Callable[[], Iterator[Text]] = lambda: iter(())
    make: Callable[[], None] = lambda: None


def schema() -> Iterator[Text]:
    """Yield the JSON Schema, with the options of every strategy and topology generator."""
    from tspsim.scenario.json_schema import scenario_schema

    text = json.dumps(scenario_schema(), indent=2, ensure_ascii=False)
    yield TOP / "schema" / "scenario.schema.json", text + "\n"


def python() -> Iterator[Text]:
    """Yield what editors and type checkers read of a scenario's sections."""
    yield typed_stub.PAGE, typed_stub.written()


def profiles() -> Iterator[Text]:
    """Yield the profiles that are fitted to published rows."""
    from tspsim.calibrate.published.write import profiles as fitted

    foreseen = mixtures_table.written(mixtures_table.RESULTS)
    for name, text in fitted(TOP / "published", foreseen):
        yield TOP / "topologies" / "profiles" / name, text


def topologies() -> Iterator[Text]:
    """Yield docs/topologies.md with the tables of the shipped files."""
    page = topology_tables.PAGE
    yield page, topology_tables.renewed(page.read_text(encoding="utf-8"))


def kernels() -> Iterator[Text]:
    """Yield docs/how-to.md with the table of the presets of kernels."""
    page = kernel_table.PAGE
    yield page, kernel_table.renewed(page.read_text(encoding="utf-8"))


def study_pages() -> Iterator[Text]:
    """Yield the studies' pages with the tables of their results."""
    for name in regenerate.TABLES:
        page = regenerate.PAGES / f"{name}.md"
        yield page, regenerate.renewed(page.read_text(encoding="utf-8"))


def run_studies() -> None:
    """Run every study again."""
    for name in regenerate.TABLES:
        regenerate.regenerate(name)


def oracle_page() -> Iterator[Text]:
    """Yield docs/oracles.md with the tables of FSDP2's peaks and of steps of inference."""
    page = fsdp_table.PAGE
    text = fsdp_table.renewed(page.read_text(encoding="utf-8"))
    yield page, inference_table.renewed(text)


def run_oracles() -> None:
    """Run torch again: table and pictures of docs/oracles.md, records for the tests."""
    records = TOP / "tests" / "data" / "oracles"
    pages = [("oracle", TOP / "docs")]
    pages += [(f"oracle.{name}", records) for name in ("fsdp", "moe", "inference")]
    for module, folder in pages:
        command = [sys.executable, "-m", f"tspsim.calibrate.{module}", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def mixtures() -> Iterator[Text]:
    """Yield docs/mixtures.md with the table of published steps of mixtures of experts."""
    page = mixtures_table.PAGE
    yield page, mixtures_table.renewed(page.read_text(encoding="utf-8"))


def play_mixtures() -> None:
    """Play these steps again, and renew the profiles, whose intervals rest on them."""
    mixtures_table.play()
    for path, text in profiles():
        path.write_text(text, encoding="utf-8")


def inference() -> Iterator[Text]:
    """Yield docs/inference-published.md with the tables of published times of inference."""
    page = published_inference_table.PAGE
    yield page, published_inference_table.renewed(page.read_text(encoding="utf-8"))


def outputs() -> Iterator[Text]:
    """Yield every document with the outputs that its commands have now."""
    for path in documents():
        text = path.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            text = with_outputs(text, Path(folder))
        yield path, benchmark_table.with_figures(text) if path.name == "README.md" else text


def listed() -> Iterator[Text]:
    """Yield docs/design.md with the folders of the package as they are now."""
    yield listing.PAGE, listing.renewed(listing.PAGE.read_text(encoding="utf-8"))


#: Each after those that it shows.
PARTS = {
    "schema": Part("the JSON Schema of scenarios", schema),
    "python": Part("the types of a scenario's sections", python),
    "profiles": Part("profiles fitted to published rows", profiles),
    "topologies": Part("the tables of shipped files", topologies, topology_tables.draw),
    "kernels": Part("the table of kernels", kernels),
    "listing": Part("the listing in docs/design.md", listed),
    "studies": Part("the studies' results (minutes)", study_pages, run_studies),
    "oracles": Part(
        "the comparison with torch, and its records (minutes)", oracle_page, run_oracles
    ),
    "mixtures": Part("published steps of mixtures (minutes)", mixtures, play_mixtures),
    "inference": Part(
        "published times of inference (minutes)", inference, published_inference_table.play
    ),
    "pictures": Part("docs/images", make=lambda: pictures.draw(TOP / "docs" / "images")),
    "documents": Part("what commands print in the documents (minutes)", outputs),
}


def renew(part: Part, check: bool) -> bool:
    """Renew a part, or only say what would change; return whether a text did or would."""
    if not check:
        part.make()
    changed = False
    for path, text in part.texts():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            changed = True
            print(f"{'would change' if check else 'renewed'}: {path.relative_to(TOP)}")
            if not check:
                path.write_text(text, encoding="utf-8")
    return changed


def main() -> int:
    """Renew the parts that are asked for; with --check return 1 when one is out of date."""
    about = "; ".join(f"{name}: {part.about}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(description="Renew what commands make.", epilog=about)
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all of them")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on changes")
    given = parser.parse_args()
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    chosen = [part for name, part in PARTS.items() if name in (given.parts or PARTS)]
    changed = [renew(part, given.check) for part in chosen]
    return 1 if given.check and any(changed) else 0


if __name__ == "__main__":
    raise SystemExit(main())
