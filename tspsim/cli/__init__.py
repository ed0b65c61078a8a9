"""The ``tspsim`` command. Whatever takes long to import is imported inside its commands."""

from __future__ import annotations

import gc

#: A command makes a million values that it keeps, and hardly a cycle among them.
_SELDOM = (50_000, 20, 100)


def main() -> None:
    """Run the command line and exit with its code."""
    gc.set_threshold(*_SELDOM)
    from tspsim.cli.app import app

    app(prog_name="tspsim")
