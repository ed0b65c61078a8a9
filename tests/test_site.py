"""The site of the documents: built without a warning, complete, its links leading somewhere."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import blocks
import tspsim
import tspsim.testing
from tests.browser import browser, find

TOP = Path(__file__).parent.parent
ENTRY = re.compile(r"^(?:.*<)?([\w./-]+?)>?$")


class Page(HTMLParser):
    """What a page links to, loads and shows."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.pictures: list[dict[str, str | None]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element refers to."""
        given = dict(attrs)
        self.anchors |= {given["id"]} if given.get("id") else set()
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag in ("img", "script", "link", "source", "iframe"):
            self.loaded += [given[key] for key in ("src", "href") if given.get(key)]
        if tag == "img":
            self.pictures.append(given)


def command() -> list[str]:
    """Return what CONTRIBUTING.md says makes the site."""
    text = (TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^(sphinx-build .*) build/site$", text, re.MULTILINE)
    return [sys.executable, "-m", "sphinx", *shlex.split(line)[1:]]


def pages(site: Path) -> list[Path]:
    """Return the pages, without Sphinx's own parts."""
    return [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]


def documents() -> list[str]:
    """Return the documents in docs/, by their paths in it, without ending."""
    found = (TOP / "docs").rglob("*.md")
    return sorted(str(path.relative_to(TOP / "docs").with_suffix("")) for path in found)


def listed(index: Path) -> Iterator[str]:
    """Yield what the toctrees of a document name."""
    text = index.read_text(encoding="utf-8")
    for tree in re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for line in tree.splitlines():
            if line and not line.startswith(":"):
                yield ENTRY.sub(r"\1", line)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [*command(), "-q", str(folder)], cwd=TOP, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


@cache
def read(path: Path) -> Page:
    """Return a page, read once."""
    return Page(path)


def test_every_document_has_its_line_in_a_list_of_the_site() -> None:
    """A new document is found from the side bar."""
    named = set(listed(TOP / "docs" / "index.md")) | {"index"}
    named |= {f"studies/{name}" for name in listed(TOP / "docs" / "studies" / "index.md")}
    for name in documents():
        assert name in named, f"docs/{name}.md: give it a line in a toctree of docs/index.md"
    assert {"../README", "../CHANGELOG", "../CONTRIBUTING"} <= named


def test_every_document_has_a_page(site: Path) -> None:
    """Those of docs/, those beside it, and the one that leads to the front page."""
    for path in blocks.documents():
        assert (site / path.relative_to(TOP).with_suffix(".html")).exists()
    for name in documents():
        assert (site / "docs" / f"{name}.html").exists()
    assert 'url=docs/index.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    """Pages, anchors, files that are handed out, pictures, styles and scripts are all there."""
    wrong = []
    for path in pages(site):
        for target in [*read(path).links, *read(path).loaded]:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = read(there).anchors if there.suffix == ".html" and there.exists() else set()
            if not there.is_file() or (parts.fragment and unquote(parts.fragment) not in known):
                wrong.append(f"{path.relative_to(site)}: {target}")
    assert not wrong, "\n".join(wrong)


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    """Fonts, scripts, styles and pictures are the site's own: it can be read without a network."""
    for path in pages(site):
        for target in read(path).loaded:
            assert urlsplit(target).scheme in ("", "data"), f"{path.name}: {target}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import) *[\"']?(https?:)?//", style.read_text("utf-8"))


def test_every_picture_of_the_site_says_what_it_shows(site: Path) -> None:
    """Those who cannot see it are told."""
    shown = [(path, each) for path in pages(site) for each in read(path).pictures]
    assert len(shown) > 30
    for path, each in shown:
        assert each.get("alt") and each["alt"] != each.get("src"), f"{path.name}: {each}"


def test_every_public_name_is_documented(site: Path) -> None:
    """All of ``tspsim.__all__``, and of what authors of strategies test with."""
    for page, module in (("api", tspsim), ("api-strategies", tspsim.testing)):
        for name in module.__all__:
            if not name.startswith("__"):
                whole = f"{module.__name__}.{name}"
                assert whole in read(site / "docs" / f"{page}.html").anchors, whole


def test_the_search_finds_words_of_every_kind_of_page(site: Path) -> None:
    """A word of the glossary, a key of a scenario, a function, the title of a study."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))
    assert {"preempt", "zigzag", "kv_head", "checkpoint"} <= set(index["terms"])
    assert "How much memory buys how much context?" in index["alltitles"]
    assert any(entry[4] == "explain" for entry in index["objects"]["tspsim"])


@pytest.mark.skipif(find() is None, reason="needs Chromium, which is not installed")
def test_every_page_can_be_read_on_a_phone(site: Path, tmp_path: Path) -> None:
    """No page is wider than 390 pixels: tables and code scroll in their boxes. No complaints."""
    with browser(tmp_path) as chromium:
        chromium.size(390, 844, phone=True)
        for path in set(pages(site)) - {site / "index.html"}:  # which leads on at once
            chromium.open(path)
            width = chromium.run("document.documentElement.scrollWidth")
            assert width == 390, f"{path.relative_to(site)}: {width} pixels"
        assert chromium.complaints == []
        assert all(url.startswith(("file:", "data:")) for url in chromium.requests)
