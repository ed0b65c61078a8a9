"""What an installation holds: the package, its data, and the command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import tspsim

TOP = Path(__file__).parent.parent
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an unpacked wheel, far from the source tree."""
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("wheel")
    (wheel,) = WheelBuilder(str(TOP)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.parametrize("folder", ["topologies", "scenarios", "models"])
def test_the_wheel_holds_the_shipped_files(site: Path, folder: str) -> None:
    """Every shipped YAML, JSON and CSV file and table of the source tree is in the wheel."""

    def held(root: Path) -> set[str]:
        kinds = {".yaml", ".json", ".npz", ".csv"}
        files = (path for path in root.rglob("*") if path.suffix in kinds)
        return {str(path.relative_to(root)) for path in files}

    assert held(TOP / folder)
    assert held(site / "tspsim" / "data" / folder) == held(TOP / folder)


def test_the_wheel_is_typed_licensed_and_has_a_command(site: Path) -> None:
    """The type marker, the licence and the ``tspsim`` command come along."""
    assert (site / "tspsim" / "py.typed").exists()
    (info,) = site.glob("tspsim-*.dist-info")
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text(encoding="utf-8")
    assert "tspsim = tspsim.cli:main" in (info / "entry_points.txt").read_text(encoding="utf-8")


def test_the_wheel_holds_the_parts_of_a_report(site: Path) -> None:
    """The template, the style and every script that the page names stand beside the code."""
    from tspsim.reports.html.page import SCRIPTS

    held = {path.name for path in (site / "tspsim" / "reports" / "html").iterdir()}
    assert {"page.html", "style.css", *SCRIPTS} <= held


def test_the_wheel_holds_the_schema_of_execution_traces(site: Path) -> None:
    """Its classes are made from that file, wherever the package is installed."""
    assert (site / "tspsim" / "output" / "chakra" / "execution_trace.proto").is_file()


@pytest.mark.parametrize("what", ["topologies", "devices", "scenarios", "models"])
def test_an_installation_finds_its_shipped_files(site: Path, tmp_path: Path, what: str) -> None:
    """After a wheel install, shipped files are found from any working directory."""
    code = f"import sys; sys.path.insert(0, {str(site)!r}); from tspsim.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "list", what, "--json"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    names = {entry["name"] for entry in json.loads(done.stdout)[what]}
    folder = {"devices": "topologies/devices"}.get(what, what)
    shipped = {p.stem for p in (TOP / folder).glob("*.yaml")}
    shipped |= {p.parent.name for p in (TOP / folder).glob("*/config.json")}
    assert shipped <= names


def test_the_version_is_the_same_everywhere() -> None:
    """Package, project, change log and citation name one version."""
    changelog = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (TOP / "CITATION.cff").read_text(encoding="utf-8")
    latest = re.search(r"^## \[(\d[^\]]*)\]", changelog, re.MULTILINE)
    cited = re.search(r"^version: (\S+)", citation, re.MULTILINE)
    assert latest is not None
    assert cited is not None
    assert {tspsim.__version__, PROJECT["version"], latest[1], cited[1]} == {tspsim.__version__}


def test_every_release_says_which_simulated_numbers_changed() -> None:
    """A user who compares figures between releases finds a section about them in each."""
    changelog = (TOP / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.split(r"^## \[", changelog, flags=re.MULTILINE)[1:]
    assert releases
    assert all("### Simulated numbers" in release for release in releases)
