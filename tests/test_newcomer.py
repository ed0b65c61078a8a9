"""What somebody meets in the first five minutes: help, versions, names, and what is not there."""

from __future__ import annotations

import doctest

from typer.testing import CliRunner

import tspsim
from tspsim.cli.app import app


def test_the_example_in_the_help_of_the_package_runs() -> None:
    """``help(tspsim)`` begins with lines that can be typed as they stand, in any folder."""
    tried = doctest.testmod(tspsim)
    assert tried.attempted >= 3
    assert tried.failed == 0


def test_a_printed_result_is_the_table_of_the_command() -> None:
    """``print(result)`` says what ``tspsim run`` says; ``repr`` stays short."""
    result = tspsim.run("tsp-layer")
    shown = CliRunner().invoke(app, ["run", "tsp-layer"], env={"COLUMNS": "80"}).stdout
    assert f"{result}\n" == shown
    assert len(repr(result).splitlines()) < len(shown.splitlines()) / 2


def test_the_version_is_an_option_too() -> None:
    """``--version`` works as everywhere, and the package has no other version than that."""
    asked = [CliRunner().invoke(app, words) for words in (["--version"], ["version"])]
    assert [(each.exit_code, each.stdout) for each in asked] == [(0, f"{tspsim.__version__}\n")] * 2
