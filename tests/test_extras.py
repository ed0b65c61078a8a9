"""What is not installed is told with a command that works."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

from tspsim.files.extras import Extra, install

ROOT = Path(__file__).parent.parent
TOLD = [*ROOT.glob("tspsim/**/*.py"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("docs/**/*.ipynb"),
        ROOT / "README.md"]  # fmt: skip


def test_every_extra_is_one_of_the_package() -> None:
    """The hints and pyproject.toml know the same extras."""
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*get_args(Extra), "dev"} == package["optional-dependencies"].keys()
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
