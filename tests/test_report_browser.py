"""The report in a real browser: it renders, zooms, sorts and prints, and complains of nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.browser import Browser, browser, find
from tests.small_reports import make, make_more, reports

pytestmark = pytest.mark.skipif(find() is None, reason="needs Chromium, which is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two runs, a sweep, and a report of each."""
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Return a headless browser."""
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def shown(page_: Browser, canvas: str = "canvas.gantt") -> tuple[float, float]:
    """Return the stretch of time that a chart shows, as it says itself."""
    page_.settle()
    start, end = page_.run(f"document.querySelector({canvas!r}).dataset.view").split()
    return float(start), float(end)


#: How many colours every chart has.
INKED = """[...document.querySelectorAll("canvas[tabindex]")].map((canvas) => new Set(
    new Uint32Array(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
        .data.buffer)).size)"""


@pytest.fixture(scope="module")
def pages(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a page of every kind of run, of a comparison and of a sweep."""
    return reports(made) | make_more(tmp_path_factory.mktemp("more"))


#: Texts that are drawn smaller than 12 pixels, with their size.
SMALL_TEXTS = """(() => {
    const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
        const { textContent, parentElement: place } = texts.currentNode;
        if (!textContent.trim() || !place.getBoundingClientRect().width) continue;
        const svg = place.closest("svg"), width = svg && svg.viewBox.baseVal.width;
        const scale = width ? svg.getBoundingClientRect().width / width : 1;
        const size = parseFloat(getComputedStyle(place).fontSize) * scale;
        if (size < 11.9) found.push(`${textContent.trim()}: ${size}`);
    }
    return found;
})()"""


@pytest.mark.parametrize(
    "kind", ["run", "sweep", "comparison", "training", "pipeline", "experts", "decode"]
)
def test_a_page_can_be_read_on_a_phone(
    chromium: Browser, pages: dict[str, Path], kind: str
) -> None:
    """390 pixels: only boxes scroll sideways, no text is small, the waterfall ends at the step."""
    chromium.complaints.clear()
    chromium.size(390, 844, phone=True)
    chromium.open(pages[kind])
    assert chromium.run("document.scrollingElement.scrollWidth") <= 390
    assert chromium.run(SMALL_TEXTS) == []
    runs = 2 if kind in ("sweep", "comparison") else 1
    assert chromium.run("document.querySelectorAll('#why .falls').length") == runs
    ends = """[...document.querySelectorAll("#why .falls")].map((list) => {
        const bars = [...list.querySelectorAll(".track span")];
        const [last, step] = bars.slice(-2).map((bar) => bar.getBoundingClientRect().right);
        return Math.abs(last - step);
    })"""
    assert max(chromium.run(ends)) < 3
    layered = not chromium.run("document.querySelector('.by-layer').hidden")
    assert layered is (kind != "pipeline")  # in which a stage has one layer
    assert chromium.complaints == []


@pytest.mark.parametrize("kind", ["run", "sweep", "comparison"])
def test_a_page_renders_without_a_complaint(chromium: Browser, made: Path, kind: str) -> None:
    """Every chart is drawn, the console is empty, nothing is fetched, at desk and phone width."""
    path = reports(made)[kind]
    chromium.complaints.clear()
    chromium.requests.clear()
    for width, phone in ((1280, False), (390, True)):
        chromium.size(width, 844, phone=phone)
        chromium.open(path)
        charted = 3 if kind == "run" else 6
        assert chromium.run("document.querySelectorAll('canvas[tabindex]').length") == charted
        assert min(chromium.run(INKED)) > 5
        assert chromium.run("document.documentElement.scrollWidth") == width
    assert chromium.run("document.querySelectorAll('#lines circle').length") == (
        6 if kind == "sweep" else 0
    )
    assert chromium.complaints == []
    assert {url for url in chromium.requests if not url.startswith("data:")} == {path.as_uri()}


def test_charts_zoom_and_move_together(chromium: Browser, made: Path) -> None:
    """Wheel, drag, buttons, keys and double click change the axis of all charts alike."""
    chromium.size(1280, 900)
    chromium.open(reports(made)["comparison"])
    start, end = whole = shown(chromium)
    assert start == 0
    x, y = chromium.middle("canvas.gantt")
    chromium.mouse("mouseWheel", x, y, deltaX=0, deltaY=-50, modifiers=2)
    zoomed = shown(chromium)
    assert zoomed[1] - zoomed[0] == pytest.approx((end - start) * np.exp(-0.5), rel=1e-3)
    assert zoomed == shown(chromium, "canvas.memory")
    chromium.drag(x, y, -100)
    moved = shown(chromium)
    assert moved[0] > zoomed[0]
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0])
    for key, closer in (("+", True), ("-", False), ("-", False)):
        before = shown(chromium)
        chromium.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=key)
        after = shown(chromium)
        assert (after[1] - after[0] < before[1] - before[0]) is closer
    for which, label in ((0, "in"), (4, "all")):
        chromium.click(*chromium.middle(".tools button", which))
        after = shown(chromium)
        assert (after == whole) is (label == "all")
    x, y = chromium.middle("canvas.gantt")
    top = chromium.run("document.querySelector('canvas.gantt').getBoundingClientRect().top")
    for count in (1, 2):
        for kind in ("mousePressed", "mouseReleased"):
            chromium.mouse(kind, x, top + 27, button="left", clickCount=count)
    entered = shown(chromium)
    assert entered[1] - entered[0] < 0.9 * (whole[1] - whole[0])


def test_fingers_zoom_and_move(chromium: Browser, made: Path) -> None:
    """Two fingers that part zoom in; one that goes left moves on in time."""
    chromium.size(390, 844, phone=True)
    chromium.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    chromium.open(reports(made)["run"])
    x, y = chromium.middle("canvas.gantt")

    def touch(kind: str, *places: float) -> None:
        points = [{"x": x + place, "y": y, "id": number} for number, place in enumerate(places)]
        chromium.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    whole = shown(chromium)
    touch("touchStart", -20, 20)
    for apart in (30, 40, 60):
        touch("touchMove", -apart, apart)
    touch("touchEnd")
    zoomed = shown(chromium)
    assert zoomed[1] - zoomed[0] < 0.6 * (whole[1] - whole[0])
    touch("touchStart", 0)
    for left in (-20, -40, -60):
        touch("touchMove", left)
    touch("touchEnd")
    moved = shown(chromium)
    assert moved[0] > zoomed[0]
    assert moved[1] - moved[0] == pytest.approx(zoomed[1] - zoomed[0])
    chromium.call("Emulation.setTouchEmulationEnabled", enabled=False)


def test_pointing_at_a_bar_tells_what_it_is(chromium: Browser, made: Path) -> None:
    """The first compute task of rank 0, with its time; beside the chart the tip goes away."""
    chromium.size(1280, 900)
    chromium.open(reports(made)["run"])
    x, _ = chromium.middle("canvas.gantt")
    top, left = chromium.run("""(() => {
        const box = document.querySelector("canvas.gantt").getBoundingClientRect();
        return [box.top, box.left];
    })()""")
    chromium.mouse("mouseMoved", x, top + 27)
    told = chromium.run("document.getElementById('tip').innerText")
    assert re.search(r"rank 0, compute", told)
    assert re.search(r"µs, from .* to ", told)
    chromium.mouse("mouseMoved", left + 20, top + 5)
    assert chromium.run("document.getElementById('tip').hidden")


def test_a_plain_wheel_scrolls_the_page(chromium: Browser, made: Path) -> None:
    """Nobody who reads on gets stuck in a chart."""
    chromium.size(1280, 900)
    chromium.open(reports(made)["run"])
    before = shown(chromium)
    x, y = chromium.middle("canvas.gantt")
    chromium.mouse("mouseWheel", x, y, deltaX=0, deltaY=-50)
    assert shown(chromium) == before


def test_headings_sort_the_table(chromium: Browser, made: Path) -> None:
    """By number, up and then down."""
    chromium.size(1280, 900)
    chromium.open(reports(made)["sweep"])
    column = (
        "[...document.querySelectorAll('.sortable tbody tr')].map((r) => r.cells[4].dataset.by)"
    )
    times = [float(value) for value in chromium.run(column)]
    assert times != sorted(times)
    for wanted in (sorted(times), sorted(times, reverse=True)):
        chromium.click(*chromium.middle(".sortable th button", 4))
        assert [float(value) for value in chromium.run(column)] == wanted


def test_the_line_chart_follows_its_choice(chromium: Browser, made: Path) -> None:
    """Another value of the other axis gives other points."""
    chromium.size(1280, 900)
    chromium.open(reports(made)["sweep"])
    heights = "[...document.querySelectorAll('#lines circle')].map((c) => c.getAttribute('cy'))"
    before = chromium.run(heights)
    chromium.run("""(() => {
        const select = document.querySelector("#lines select");
        select.selectedIndex = 1 - select.selectedIndex;
        select.dispatchEvent(new Event("change"));
    })()""")
    chromium.settle()
    assert chromium.run(heights) != before


def test_a_page_prints(chromium: Browser, made: Path, tmp_path: Path) -> None:
    """As a PDF of a few pages, with the charts, without what only a screen can do."""
    chromium.size(1280, 900)
    chromium.open(reports(made)["comparison"])
    chromium.pdf(tmp_path / "page.pdf")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 8
    chromium.call("Emulation.setEmulatedMedia", media="print")
    hidden = "getComputedStyle(document.querySelector('.tools')).display"
    assert chromium.run(hidden) == "none"
    stretch = """(() => {
        const canvas = document.querySelector("canvas.gantt"), box = canvas.getBoundingClientRect();
        return box.width / box.height / (canvas.width / canvas.height);
    })()"""
    assert chromium.run(stretch) == pytest.approx(1, abs=0.01)
    chromium.call("Emulation.setEmulatedMedia", media="")
