"""Times of thousands of steps from about a hundred: against asking for every one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tspsim.engine.serving.process import serve
from tspsim.engine.serving.types import Cache, Limits, Rows, StepTime
from tspsim.serving.arrivals import poisson
from tspsim.serving.lengths import parse_lengths
from tspsim.serving.lines import Bent, Line, Sheet, grid
from tspsim.serving.step_times import CHECKED, StepTimes, decode_rows, short_prompts

LIMITS, CACHE = Limits(2048, 128), Cache(20_000)

#: A 70B model on eight devices: layers, width, flop/s, bytes/s, bytes of weights and of one token.
LAYERS, WIDTH, RATE, BANDWIDTH, WEIGHTS, TOKEN = 80, 8192, 4.8e15, 2e13, 1.4e11, 327_680


def pairs(new: int, cached: int) -> float:
    """Return how many pairs of tokens a chunk's attention has."""
    return new * (cached + new / 2)


def roofline(rows: Rows) -> float:
    """Return a step's time with a kink in tokens, in every attention, and in messages."""
    tokens = sum(new for new, _ in rows)
    seconds = max(tokens * WEIGHTS / RATE, WEIGHTS / BANDWIDTH)
    decode = sum(cached for new, cached in rows if new == 1) * TOKEN / BANDWIDTH
    seconds += max(decode, LAYERS * 5e-6) if decode else 0.0
    for new, cached in rows:
        if new > 1:
            work = 4 * WIDTH * LAYERS * pairs(new, cached) / RATE
            seconds += max(work, (new + cached) * TOKEN / BANDWIDTH)
    return seconds + 2 * LAYERS * max(12e-6, tokens * WIDTH * 4 / 3e11)


def smooth(rows: Rows) -> float:
    """Return a step's time without a kink."""
    seen = math.fsum(pairs(new, cached) for new, cached in rows)
    return 0.01 + 1e-5 * sum(new for new, _ in rows) + 1e-9 * seen


def one_kernel(rows: Rows) -> float:
    """Return a step's time where a chunk makes all attention that of a slower kernel."""
    decode = sum(cached for new, cached in rows if new == 1) * TOKEN / BANDWIDTH
    return roofline(rows) + (decode if max(rows)[0] > 1 else 0.0)


def hidden(rows: Rows) -> float:
    """Return a step's time that is no sum: whole messages hide behind whole computation."""
    tokens = sum(new for new, _ in rows)
    return 1e-3 + max(2e-8 * sum(pairs(*row) for row in rows), 2e-5 * tokens)


def asked(step_time: StepTime) -> tuple[StepTimes, list[tuple[float, float]], list[Rows]]:
    """Serve 300 requests; return what was asked for, and every time beside the exact one."""
    times, found, played = None, [], []

    def play(rows: Rows) -> float:
        played.append(rows)
        return step_time(rows)

    def compared(rows: Rows) -> float:
        found.append((times(rows), step_time(rows)))
        return found[-1][0]

    times = StepTimes(play, LIMITS, CACHE)
    lengths = (parse_lengths(text, "") for text in ("lognormal:900:0.9", "lognormal:80:0.7"))
    serve(poisson(8.0, 300, *lengths, 3).requests, compared, LIMITS, CACHE)
    return times, found, played


def errors(found: list[tuple[float, float]]) -> list[float]:
    """Return by which part times are off."""
    return [abs(time / exact - 1) for time, exact in found]


@pytest.mark.parametrize("step_time", [roofline, one_kernel])
def test_interpolated_steps_are_close_to_those_that_are_played_one_by_one(
    step_time: StepTime,
) -> None:
    """A roofline with kinks: each of thousands of steps within 3 %, their sum within 0.5 %."""
    times, found, played = asked(step_time)
    assert len(found) > 2000
    assert len(played) == times.played <= 110
    assert max(errors(found)) < 0.03
    total, exact = (math.fsum(column) for column in zip(*found, strict=True))
    assert total == pytest.approx(exact, rel=0.005)


@pytest.mark.parametrize("step_time", [roofline, smooth, hidden])
def test_the_error_that_is_told_is_that_of_steps_of_the_run(step_time: StepTime) -> None:
    """Never more than the largest there is; where messages hide it is not small, and is told."""
    times, found, _ = asked(step_time)
    told = times.error()
    assert len(times.sample) == 2 * CHECKED
    assert {any(new > 1 for new, _ in rows) for rows in times.sample} == {False, True}
    assert 0 < told <= max(errors(found))
    assert {roofline: told < 0.03, smooth: told < 1e-4, hidden: told > 0.03}[step_time]


@pytest.mark.parametrize(
    ("limits", "cache"),
    [(LIMITS, CACHE), (Limits(16, 16), Cache(3, 7)), (Limits(9, 1), Cache(5, 1))],
)
def test_no_step_is_played_that_could_not_be(limits: Limits, cache: Cache) -> None:
    """Whatever is asked for, points of the grids keep to the limits and the cache."""

    def play(rows: Rows) -> float:
        assert sum(new for new, _ in rows) <= limits.tokens
        assert len(rows) <= limits.sequences
        assert sum(new + cached for new, cached in rows) <= cache.tokens
        return roofline(rows)

    times = StepTimes(play, limits, cache)
    most = min(limits.tokens, cache.tokens)
    for rows in (
        ((1, cache.tokens - 1),),
        ((most, 0),),
        ((most // 2, cache.tokens - most),),
        decode_rows(limits.sequences, cache.tokens - limits.sequences),
    ):
        assert times(rows) > 0


STEPS = st.lists(st.tuples(st.integers(1, 200), st.integers(0, 3000)), min_size=1, max_size=10).map(
    tuple
)


@settings(max_examples=20, deadline=None)
@given(data=st.data(), steps=st.lists(STEPS, min_size=2, max_size=8))
def test_a_time_does_not_depend_on_what_was_asked_before(
    data: st.DataObject, steps: list[Rows]
) -> None:
    """The same steps in another order have the same times, to the bit."""
    shuffled = data.draw(st.permutations(steps))
    first, second = (StepTimes(roofline, LIMITS, CACHE) for _ in range(2))
    found = {rows: first(rows) for rows in steps}
    assert {rows: second(rows) for rows in shuffled} == found


@settings(deadline=None)
@given(tokens=st.integers(1, 5000), most=st.integers(1, 200), cached=st.integers(0, 10_000))
def test_steps_that_are_played_have_what_they_stand_for(
    tokens: int, most: int, cached: int
) -> None:
    """As many tokens, rows and cached tokens as the point of the grid."""
    prompts = short_prompts(tokens, most)
    assert sum(new for new, _ in prompts) == tokens
    assert len(prompts) <= most
    rows = decode_rows(most, cached)
    assert len(rows) == most
    assert sum(before for _, before in rows) == cached
    assert max(before for _, before in rows) - min(before for _, before in rows) <= 1


def test_lines_go_through_their_points_and_on_beyond_them() -> None:
    """Straight in between, asked once a point, and only where needed."""
    asked_for: list[int] = []
    line = Line((0, 10, 100), lambda x: asked_for.append(x) or float(x * x))
    assert (line(10), asked_for) == (100.0, [10])
    assert (line(5), line(0), line(-1)) == (50.0, 0.0, -10.0)
    assert asked_for == [10, 0]
    assert line(200) == 100**2 + 110 * 100
    assert Line((7,), float)(3) == 7.0
    sheet = Sheet((1, 3), lambda x: Line((0, 10), lambda y: float(x * y)))
    assert (sheet(2, 5), sheet(3, 10), sheet(4, 5)) == (10.0, 30.0, 20.0)
    assert grid(1, 4, 64) == (1, 4, 16, 64)
    assert grid(1, 4, 65) == (1, 4, 16, 64, 65)
    assert grid(1024, 4, 100) == (100,)


@pytest.mark.parametrize("kink", [130, 200, 300, 470])
def test_a_kink_is_found(kink: int) -> None:
    """Within 3 % anywhere between two points of a grid; a straight cell takes one look."""
    asked_for: list[int] = []

    def play(x: int) -> float:
        asked_for.append(x)
        return max(float(kink), float(x))

    line = Bent((128, 512, 2048), play)
    assert max(abs(line(x) / max(kink, x) - 1) for x in range(128, 513)) < 0.03
    assert len(asked_for) <= 2 + 1 + 2 * 5
    before = len(asked_for)
    assert line(1999) == 1999.0
    assert len(asked_for) == before + 2  # its middle and its end
