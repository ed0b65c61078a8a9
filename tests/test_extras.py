"""What is not installed is told with a command that works."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from typer.testing import CliRunner

import tspsim
from tspsim.cli.app import app
from tspsim.files.extras import Extra, install

ROOT = Path(__file__).parent.parent
TOLD = [*ROOT.glob("tspsim/**/*.py"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb"),
        ROOT / "README.md"]  # fmt: skip
SMALL = {
    "model": {"hidden": 64, "layers": 1, "heads": 4, "ffn": 128, "vocab": 0},
    "workload": {"sequence": 64},
    "topology": {"file": "h100-node"},
    "strategy": {"kind": "tsp", "degree": 8},
}


def test_every_extra_is_one_of_the_package() -> None:
    """The hints and pyproject.toml know the same extras."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*get_args(Extra), "dev", "docs"} == package["optional-dependencies"].keys()
    assert install("frames") == "pip install '.[frames]'"


def test_no_hint_installs_from_an_index_that_does_not_have_it() -> None:
    """Whoever follows a hint must not be given somebody else's package of the same name."""
    wrong = [
        str(path.relative_to(ROOT))
        for path in TOLD
        if re.search(r"pip install\s+[\"']?tspsim\b", path.read_text(encoding="utf-8"))
    ]
    assert not wrong


def test_a_document_that_makes_a_frame_says_first_what_to_install() -> None:
    """The documented install has no pandas: who types a document's lines must not run into that."""
    documents = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb"), ROOT / "README.md"]
    texts = {path.name: path.read_text(encoding="utf-8") for path in documents}
    makes = {name: text for name, text in texts.items() if re.search(r"\w\.frame\(\)", text)}
    assert makes
    for name, text in makes.items():
        lines = text.splitlines()
        at = next(n for n, line in enumerate(lines) if ".frame()" in line)
        assert install("frames") in "\n".join(lines[: at + 1]), name


@pytest.mark.parametrize(
    ("module", "extra", "command"),
    [
        ("jinja2", "report", "report made"),
        ("scipy", "calibrate", "calibrate fit rows -o made.yaml"),
        ("scipy", "calibrate", "validate rows --profile made.yaml"),
        ("scipy", "calibrate", "calibrate import nccl-tests log --topology h100-node -o made.yaml"),
        ("pandas", "kernels", "calibrate import aiconfigurator -o made"),
        ("torch", "calibrate", "calibrate measure --loopback -o made"),
        ("distributed", "cluster", "sweep tsp-layer workload.batch=1,2 -o made --scheduler tcp:1"),
        ("scipy", "samples", "sweep tsp-layer 'workload.batch=log(1, 9)' --sample sobol:2 -o made"),
        ("pyarrow", "parquet", "export swept --format parquet -o made"),
        ("google.protobuf", "chakra", "export tsp-layer --format chakra -o made"),
        ("google.protobuf", "chakra", "show made.et"),
    ],
)  # fmt: skip
def test_a_command_without_its_extra_says_so_before_it_begins(
    module: str, extra: Extra, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line with what installs it: not a traceback, nothing simulated, nothing written."""
    monkeypatch.chdir(tmp_path)
    if "swept" in command:
        tspsim.sweep(SMALL, "workload.sequence=64", output="swept")
    before = set(tmp_path.iterdir())
    gone = [name for name in sys.modules if name.partition(".")[0] == module]
    for name in {*gone, module}:
        monkeypatch.setitem(sys.modules, name, None)
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 2, result.exception
    assert len(result.stderr.splitlines()) == 1
    assert install(extra) in result.stderr
    assert set(tmp_path.iterdir()) == before
