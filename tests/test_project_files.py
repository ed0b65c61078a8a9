"""Files for those who work on tspsim: the lock, the hooks and the workflow fit the project."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version
from ruamel.yaml import YAML

TOP = Path(__file__).parent.parent
PROJECT = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = tomllib.loads((TOP / "uv.lock").read_text(encoding="utf-8"))


def _yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((TOP / name).read_text(encoding="utf-8"))


def _wanted() -> set[tuple[str, str, str]]:
    """Return what pyproject.toml requires: extra, name, versions."""
    groups = {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    found = [(extra, Requirement(text)) for extra, held in groups.items() for text in held]
    return {(extra, r.name.replace(".", "-"), str(r.specifier)) for extra, r in found}


def _locked() -> set[tuple[str, str, str]]:
    """Return what uv.lock says that tspsim requires."""
    (own,) = (package for package in LOCK["package"] if package["name"] == "tspsim")
    found = set()
    for each in own["metadata"]["requires-dist"]:
        extra = re.search(r"extra == '(\w+)'", each.get("marker", ""))
        found.add((extra[1] if extra else "", each["name"], str(_specifier(each))))
    return found


def _specifier(each: dict[str, Any]) -> Any:
    return Requirement(f"{each['name']}{each.get('specifier', '')}").specifier


def test_the_lock_is_in_step_with_the_project() -> None:
    """Dependencies, extras and Python are those of pyproject.toml; if not, run ``uv lock``."""
    assert _locked() == _wanted()
    assert LOCK["requires-python"] == PROJECT["requires-python"]


def test_every_requirement_is_met_by_a_locked_version() -> None:
    """Each of them, in every version that is locked for some Python or platform."""
    held: dict[str, list[str]] = {}
    for package in LOCK["package"]:
        held.setdefault(package["name"], []).append(package.get("version", ""))
    for _, name, specifier in _wanted():
        versions = [Version(version) for version in held[name]]
        assert all(Requirement(f"{name}{specifier}").specifier.contains(v) for v in versions)


def test_the_lock_names_public_places_alone() -> None:
    """Every package but tspsim comes from PyPI, with its hash."""
    others = [package for package in LOCK["package"] if package["name"] != "tspsim"]
    assert {package["source"]["registry"] for package in others} == {"https://pypi.org/simple"}
    for package in others:
        sources = [package["sdist"]] if "sdist" in package else []
        for file in [*package.get("wheels", []), *sources]:
            assert file["url"].startswith("https://files.pythonhosted.org/packages/")
            assert file["hash"].startswith("sha256:")


def test_hooks_use_the_environments_own_tools() -> None:
    """They download nothing, and each tool comes with the extra ``dev``."""
    tools = {"ruff": "ruff", "mypy": "mypy", "lint-imports": "import-linter", "pytest": "pytest"}
    dev = {name for extra, name, _ in _wanted() if extra == "dev"}
    (repository,) = _yaml(".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert {hook["language"] for hook in repository["hooks"]} == {"system"}
    used = {hook["entry"].split()[0] for hook in repository["hooks"]}
    assert used == set(tools)
    assert {tools[name] for name in used} <= dev


def test_the_workflow_runs_the_ci_script_on_every_supported_python() -> None:
    """The versions are those of the project's classifiers."""
    (job,) = _yaml(".github/workflows/ci.yml")["jobs"].values()
    supported = [
        line.rpartition(" ")[2]
        for line in PROJECT["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    ]
    assert job["strategy"]["matrix"]["python"] == supported
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
