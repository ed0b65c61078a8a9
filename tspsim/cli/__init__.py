"""The ``tspsim`` command. Whatever takes long to import is imported inside its commands."""

from __future__ import annotations

import gc
import signal

#: A command makes a million values that it keeps, and hardly a cycle among them.
SELDOM = (50_000, 20, 100)


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(*SELDOM)
    # Told to end (SIGTERM), a command cleans up as after an interrupt: no process stays behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    from tspsim.cli.app import app

    app(prog_name="tspsim")
