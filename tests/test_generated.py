"""What ``python docs/refresh.py`` makes is what is committed, where that is quick to tell.

Profiles, studies and oracles are compared beside their other tests, outputs in tests/test_docs.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import refresh

TOP = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "name", ["schema", "python", "topologies", "kernels", "mixtures", "inference", "studies"]
)
def test_what_is_generated_is_up_to_date(name: str) -> None:
    """Schema, types, and tables of files, kernels and the studies' results, byte for byte."""
    texts = list(refresh.PARTS[name].texts())
    assert texts
    for path, text in texts:
        stale = f"{path.relative_to(TOP)} is out of date: python docs/refresh.py {name}"
        assert path.read_text(encoding="utf-8") == text, stale


def test_a_part_is_renewed_when_its_text_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check writes and makes nothing; the command does both; then there is no more to do."""
    page, made = tmp_path / "page.md", []
    page.write_text("old\n")
    part = refresh.Part("a page", lambda: iter([(page, "new\n")]), lambda: made.append(page))
    monkeypatch.setattr(refresh, "TOP", tmp_path)
    assert refresh.renew(part, check=True)
    assert (page.read_text(), made) == ("old\n", [])
    assert refresh.renew(part, check=False)
    assert (page.read_text(), made) == ("new\n", [page])
    assert not refresh.renew(part, check=True)
    assert capsys.readouterr().out == "would change: page.md\nrenewed: page.md\n"


def test_contributing_names_every_part() -> None:
    """And the one command."""
    text = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert "`python docs/refresh.py`" in text
    assert all(f"| `{name}` |" in text for name in refresh.PARTS)
