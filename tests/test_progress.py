"""The progress bar: for people who wait, and for nobody else."""

from __future__ import annotations

import io
import sys

import pytest

from tspsim.cli.progress import progress


class Terminal(io.StringIO):
    """A stderr that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, patience: float) -> str:
    """Return what a run that reports its progress leaves on stderr."""
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setenv("TERM", "xterm")
    with progress("simulating", patience) as advance:
        for part in range(5):
            advance(part / 5)
    return stderr.getvalue()


def test_a_long_run_in_a_terminal_shows_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar names what is being done."""
    assert "simulating" in shown(monkeypatch, Terminal(), patience=0.0)


def test_a_short_run_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that appears and vanishes at once only flickers."""
    assert shown(monkeypatch, Terminal(), patience=60.0) == ""


def test_a_pipe_gets_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs and other programs read stderr too."""
    assert shown(monkeypatch, io.StringIO(), patience=0.0) == ""
