"""A headless Chromium, driven over a pipe by the Chrome DevTools Protocol.

The pipe needs no port, no web socket and no package: Chromium reads commands from its file
descriptor 3 and writes answers and events to 4, each a line of JSON that ends with a zero byte.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

#: What the browser is called, in the order in which it is looked for.
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: Seconds that an answer may take before the browser counts as hung.
PATIENCE = 60.0


def find() -> str | None:
    """Return the browser's path; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a browser.

    Parameters
    ----------
    commands, answers : int
        File descriptors.
    """

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers, self._buffer = commands, answers, b""
        self._number, self._session = 0, ""
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; what happens until then is noted."""
        self._number += 1
        told: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            told["sessionId"] = self._session
        os.write(self._commands, json.dumps(told).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                assert "error" not in message, message["error"]
                answer: dict[str, Any] = message["result"]
                return answer
            self._note(message)

    def _next(self) -> dict[str, Any]:
        until = monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - monotonic()))
            assert ready, "the browser does not answer"
            read = os.read(self._answers, 1 << 20)
            assert read, "the browser has gone"
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(str(told["entry"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning"):
            self.complaints.append(str(told["args"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Set the size of the window in pixels of the page."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)  # fmt: skip

    def open(self, path: Path) -> None:
        """Open a file, and wait until it has been drawn."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.run("""new Promise((done) => {
            const drawn = () => requestAnimationFrame(() => requestAnimationFrame(() => done(1)));
            if (document.readyState === "complete") drawn(); else addEventListener("load", drawn);
        })""")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page, awaited where it is a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def settle(self) -> None:
        """Wait until what was asked for has been drawn."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def middle(self, selector: str, which: int = 0) -> tuple[float, float]:
        """Scroll an element into sight and return its middle in the window."""
        x, y = self.run(f"""(() => {{
            const found = document.querySelectorAll({selector!r})[{which}];
            found.scrollIntoView({{block: "center"}});
            const box = found.getBoundingClientRect();
            return [box.left + box.width / 2, box.top + box.height / 2];
        }})()""")
        return x, y

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send an event of the mouse, such as ``"mousePressed"``, as a person's hand would."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, x: float, y: float, by: float) -> None:
        """Press, move to the right, and let go."""
        self.mouse("mousePressed", x, y, button="left", buttons=1, clickCount=1)
        for part in (0.3, 0.6, 1.0):
            self.mouse("mouseMoved", x + part * by, y, button="left", buttons=1)
        self.mouse("mouseReleased", x + by, y, button="left", clickCount=1)
        self.settle()

    def click(self, x: float, y: float) -> None:
        """Click once."""
        self.drag(x, y, 0)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Save what is seen, or the whole page."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def pdf(self, path: Path) -> None:
        """Print the page."""
        path.write_bytes(
            base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])
        )


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser with a profile of its own, and end it."""
    program = find()
    assert program is not None
    commands_out, commands_in = os.pipe()
    answers_out, answers_in = os.pipe()
    # The shell puts the ends of the pipes where Chromium looks for them.
    line = f'exec "$0" "$@" 3<&{commands_out} 4>&{answers_in}'
    process = subprocess.Popen(
        ["bash", "-c", line, program, "--headless", "--no-sandbox", "--disable-gpu",
         "--disable-dev-shm-usage", "--remote-debugging-pipe", f"--user-data-dir={profile}",
         "--no-first-run", "--hide-scrollbars"],
        pass_fds=(commands_out, answers_in), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(commands_out)
    os.close(answers_in)
    try:
        yield Browser(commands_in, answers_out)
    finally:
        process.terminate()  # it ends its own processes
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(commands_in)
        os.close(answers_out)
