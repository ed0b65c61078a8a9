"""docs/design.md lists the package as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

import listing


def test_the_design_lists_every_folder_and_every_module_beside_them() -> None:
    """``python docs/refresh.py`` would change nothing."""
    text = listing.PAGE.read_text(encoding="utf-8")
    assert listing.renewed(text) == text
    for path in (*listing.PACKAGE.glob("*.py"), *listing.PACKAGE.glob("*/__init__.py")):
        name = f"{path.parent.name}/" if path.parent != listing.PACKAGE else path.name
        assert f"\n{name} " in text


def test_a_folder_that_is_no_package_is_not_listed_in_silence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of modules without an ``__init__.py`` has nothing to say what it is."""
    (tmp_path / "wing").mkdir()
    (tmp_path / "wing" / "part.py").write_text('"""A part."""\n')
    monkeypatch.setattr(listing, "PACKAGE", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"wing.__init__\.py"):
        listing.listing()
    (tmp_path / "wing" / "__init__.py").write_text('"""A wing.\n\nMore of it.\n"""\n')
    assert listing.listing() == "```text\nwing/  A wing.\n```\n"
