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
