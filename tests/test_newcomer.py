"""What somebody meets in the first five minutes: help, versions, names, and what is not there."""

from __future__ import annotations

import doctest

import tspsim


def test_the_example_in_the_help_of_the_package_runs() -> None:
    """``help(tspsim)`` begins with lines that can be typed as they stand, in any folder."""
    tried = doctest.testmod(tspsim)
    assert tried.attempted >= 3
    assert tried.failed == 0
