"""The ``tspsim`` command. Whatever takes long to import is imported inside its commands."""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit with its code."""
    from tspsim.cli.app import app

    app(prog_name="tspsim")
