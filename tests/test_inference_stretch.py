"""Steps of which few are played, and the last number that fits: functions of numbers alone."""

from __future__ import annotations

from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tspsim.analysis.inference import STRAIGHT, last_that_fits, most_that_fit, stretch


@st.composite
def curves(draw: st.DrawFn) -> list[float]:
    """Return times of steps that rise by ever more, or by ever less: bends, kinks and lines."""
    count = draw(st.integers(1, 400))
    bends = draw(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 2)), max_size=5))
    slope = draw(st.floats(0, 1))
    rises = [slope + sum(more for place, more in bends if place <= n) for n in range(count)]
    if draw(st.booleans()):
        rises.reverse()
    return list(accumulate(rises, initial=draw(st.floats(1, 1000))))[:count]


@settings(max_examples=300, deadline=None)
@given(curves())
def test_the_error_of_all_steps_is_within_what_is_said(times: list[float]) -> None:
    """Whatever bends, the sum is off by less than the worst step that was looked at."""
    found = stretch(times.__getitem__, len(times))
    assert abs(found.total - sum(times)) <= (found.within + 1e-9) * sum(times)
    assert found.within <= STRAIGHT
    assert (found.first, found.last) == (times[0], times[-1])


def test_a_line_needs_three_steps_and_a_kink_some_more() -> None:
    """Halves are looked at where the middle lies off the line."""
    assert stretch(lambda n: 5.0 + n, 1000).played == 3
    kinked = stretch(lambda n: 5.0 + max(0, n - 700), 1000)
    assert 3 < kinked.played < 40
    exact = sum(5.0 + max(0, n - 700) for n in range(1000))
    assert kinked.total == pytest.approx(exact, rel=STRAIGHT)


def test_few_steps_are_all_played() -> None:
    """One and two have nothing between them."""
    assert [stretch(float, n).played for n in (1, 2, 3)] == [1, 2, 3]
    assert stretch(lambda n: 1.0 + n, 2).total == 3.0


@given(st.integers(1, 3000), st.integers(0, 3000), st.floats(1, 3))
def test_the_last_number_that_fits_is_found(count: int, fits: int, power: float) -> None:
    """However memory grows with sequences; few are tried."""
    limit = min(fits, count - 1)
    tried: list[int] = []

    def left_of(number: int) -> float:
        tried.append(number)
        return limit + 0.5 - number if number <= limit else -((number - limit) ** power)

    assert most_that_fit(left_of, count) == limit
    assert len(tried) == len(set(tried)) <= 20


def test_memory_that_grows_evenly_is_found_at_once() -> None:
    """The line from one sequence to all of them leads to the answer, and one more is looked at."""
    tried: list[int] = []

    def left_of(number: int) -> float:
        tried.append(number)
        return 100.0 - 0.7 * number

    assert most_that_fit(left_of, 1000) == 142
    assert len(tried) <= 4


def test_close_to_the_last_is_enough_where_that_is_asked() -> None:
    """Within a share of the number itself."""
    known = {1: 1.0, 1 << 20: -1.0}
    found = last_that_fits(lambda n: 1.0 if n <= 70_000 else -1.0, (1, 1 << 20), known, 1 / 64)
    assert 70_000 * (1 - 1 / 32) < found <= 70_000
