"""How the code is built: layers, lazy imports, public names, sizes, and what must not be there."""

from __future__ import annotations

import importlib
import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import tspsim
from tests import small_result

TOP = Path(__file__).parent.parent
SOURCES = sorted((TOP / "tspsim").rglob("*.py"))

#: What people read or run, whatever its form.
TEXTS = sorted(
    path
    for pattern in ("*.md", "*.cff", "*.toml", ".ci/*", "*/**/*")
    for path in TOP.glob(pattern)
    if path.suffix in {".py", ".md", ".yaml", ".json", ".toml", ".cff", ".txt", ""}
    and path.is_file()
    and path.relative_to(TOP).parts[0]
    in {path.name, ".ci", "benchmarks", "docs", "models", "scenarios", "schema", "tests",
        "topologies", "tspsim"}
)  # fmt: skip

#: Imported by a command that needs them, never by the command line itself.
HEAVY = ("numpy", "networkx", "matplotlib", "pint", "simpy", "pandas")

#: A file's first lines may say more than its code; longer ones need to be cut.
MOST_LINES = 400


@pytest.fixture
def in_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where pyproject.toml is, as its tools expect."""
    monkeypatch.chdir(TOP)


@pytest.mark.usefixtures("in_project")
def test_imports_point_down_only() -> None:
    """The import contracts of pyproject.toml hold: layers, SimPy, drawing, torch."""
    from importlinter import cli

    told = io.StringIO()
    with redirect_stdout(told):
        # The cache would be written into the working tree.
        code = cli.lint_imports(cache_dir=None, no_cache=True)
    assert code == cli.EXIT_STATUS_SUCCESS, told.getvalue()


@pytest.mark.parametrize("arguments", ["import tspsim.cli.app", "import tspsim", "--help"])
def test_what_is_heavy_is_not_imported_before_it_is_needed(arguments: str) -> None:
    """Help and completion stay quick: they import none of the scientific packages."""
    action = "tspsim.cli.main()" if arguments == "--help" else arguments
    script = (
        "import sys, tspsim.cli; sys.argv = ['tspsim', '--help']\n"
        f"try:\n    {action}\nexcept SystemExit: pass\n"
        f"print('imported:', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=TOP
    )
    assert done.stdout.splitlines()[-1] == "imported: []"


@pytest.mark.parametrize("name", tspsim.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    """What ``tspsim.__all__`` promises is there, under that name."""
    assert getattr(tspsim, name) is not None
    assert name in dir(tspsim)


def test_an_unknown_name_is_an_attribute_error() -> None:
    """The lazy package answers as any module does."""
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        _ = tspsim.runn


def test_what_a_run_gives_back_is_a_result_that_draws_and_saves_itself() -> None:
    """Outputs read the values of its base, which knows of no output."""
    assert issubclass(tspsim.Run, tspsim.Result)
    assert not {"plot", "save"} & set(dir(tspsim.Result))
    held = small_result.real()
    assert type(held) is tspsim.Run
    assert {"gantt", "memory"} <= set(dir(held.plot))
    assert repr(held).startswith("<tspsim.Result 'tiny-tsp'")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(TOP)))
def test_every_module_is_short_and_says_what_it_is(path: Path) -> None:
    """No module exceeds 400 lines, and each can be imported and has a docstring."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    parts = path.relative_to(TOP).with_suffix("").parts
    if parts[-1] != "__main__":
        module = importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
        assert module.__doc__


def test_no_file_names_a_place_of_one_machine() -> None:
    """Paths under home, temporary or working folders mean nothing on another machine."""
    place = re.compile(r"(?<![\w./~}-])/(?:home|root|tmp|work|Users|opt|mnt)/\w")
    found = [
        f"{path.relative_to(TOP)}:{number}: {line.strip()}"
        for path in TEXTS
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if place.search(line)
    ]
    assert found == []


def test_the_texts_are_found() -> None:
    """The list of texts that are looked through is not empty by mistake."""
    names = {os.fspath(path.relative_to(TOP)) for path in TEXTS}
    assert {"README.md", "docs/design.md", "pyproject.toml", ".ci/run"} <= names
