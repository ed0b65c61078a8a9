"""A replica that serves requests: against closed forms of queues, and against its own rules."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tspsim.engine.serving.process import serve
from tspsim.engine.serving.scheduler import Scheduler, Step
from tspsim.engine.serving.served import Level, Served
from tspsim.engine.serving.types import Cache, Limits, Request, Rows, StepTime
from tspsim.serving.arrivals import poisson
from tspsim.serving.figures import MOMENTS, latency, load, over_time
from tspsim.serving.lengths import Lengths

ONE_AT_A_TIME = Limits(tokens=1000, sequences=1)
LARGE = Cache(blocks=100_000)


def constant(seconds: float) -> StepTime:
    """Return the time of steps that all take the same."""
    return lambda _: seconds


def by_size(rows: Rows) -> float:
    """Return a time that no two different steps share by chance."""
    return 1.0 + math.fsum(0.01 * new + 0.0001 * new * cached for new, cached in rows)


def noted(steps: list[Rows]) -> StepTime:
    """Return a constant time of steps, which are put into a list."""

    def seconds(rows: Rows) -> float:
        steps.append(rows)
        return 1.0

    return seconds


def waits(served: Served) -> Any:
    """Return how long every request waited before it first ran."""
    return served.started - served.arrivals


# Closed forms


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=40),
    seconds=st.floats(0.1, 3),
)
def test_one_at_a_time_waits_as_lindley_says(gaps: list[float], seconds: float) -> None:
    """W(n+1) = max(0, W(n) + S - time between the two arrivals), for any arrivals."""
    requests = [Request(float(at), 10, 1) for at in np.cumsum(gaps)]
    served = serve(requests, constant(seconds), ONE_AT_A_TIME, LARGE)
    expected = [0.0]
    for before, after in pairwise(requests):
        expected.append(max(0.0, expected[-1] + seconds - (after.arrival - before.arrival)))
    assert waits(served) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("load", [0.4, 0.8])
def test_the_mean_wait_is_that_of_an_m_d_1_queue(load: float) -> None:
    """Pollaczek and Khinchine: rho S / 2 (1 - rho) for equal service; within four errors."""
    means = []
    for seed in range(8):
        traffic = poisson(load, 2000, Lengths("fixed", 10), Lengths("fixed", 1), seed)
        served = serve(traffic.requests, constant(1.0), ONE_AT_A_TIME, LARGE)
        means.append(float(waits(served)[300:].mean()))  # the queue begins empty
    exact = load / (2 * (1 - load))
    error = float(np.std(means, ddof=1)) / math.sqrt(len(means))
    assert abs(np.mean(means) - exact) < 4 * error
    assert error < 0.1 * exact


def test_requests_that_come_together_are_a_static_batch() -> None:
    """All prompts in one step, then as many steps of decode as tokens are left, one by one."""
    batch, prompt, new = 7, 30, 12
    served = serve([Request(2.0, prompt, new)] * batch, by_size, Limits(1000, 100), LARGE)
    prefill = by_size(((prompt, 0),) * batch)
    decode = [by_size(((1, prompt + i),) * batch) for i in range(new - 1)]
    assert served.first == pytest.approx([2.0 + prefill] * batch)
    assert served.ended == pytest.approx([2.0 + prefill + math.fsum(decode)] * batch)
    assert sorted(set(np.round(served.gaps, 9))) == pytest.approx(decode)
    assert served.steps == new


def test_more_requests_than_are_served_wait_in_a_queue_that_grows_in_a_line() -> None:
    """Two come a second, one is served: the n-th waits n/2 s, the queue has t requests at t."""
    requests = [Request(n / 2, 10, 1) for n in range(400)]
    served = serve(requests, constant(1.0), ONE_AT_A_TIME, LARGE)
    assert waits(served) == pytest.approx(np.arange(400) / 2)
    moments = np.arange(10.0, 199.0)
    # 2 t + 1 have come by then, and t + 1 have begun
    assert served.waiting.at(moments + 0.25).tolist() == moments.tolist()
    assert served.waiting.maximum == 200


def test_a_replica_sleeps_until_the_next_request() -> None:
    """Nothing is computed in between, and the next one begins when it comes."""
    served = serve([Request(1.0, 5, 2), Request(50.0, 5, 2)], constant(1.0), Limits(), LARGE)
    assert served.started.tolist() == [1.0, 50.0]
    assert served.ended.tolist() == [3.0, 52.0]
    assert (served.steps, served.busy) == (4, 4.0)
    assert served.running.mean(*served.span) == 4 / 51


def test_who_comes_during_a_step_waits_for_the_next() -> None:
    """Also behind one that began at the same moment; order of arrival, whatever the file's."""
    requests = [Request(0.5, 5, 3), Request(0.0, 5, 3), Request(1.0, 5, 1)]
    served = serve(requests, constant(1.0), Limits(), LARGE)
    assert served.arrivals.tolist() == [0.0, 0.5, 1.0]
    assert served.started.tolist() == [0.0, 1.0, 1.0]
    assert served.first.tolist() == [1.0, 2.0, 2.0]


# The scheduler, by hand


def test_decode_comes_first_and_prompts_share_what_is_left() -> None:
    """Ten tokens a step: a prompt of 4 gives tokens while one of 25 is read in chunks."""
    steps: list[Rows] = []
    requests = [Request(0.0, 4, 3), Request(0.0, 25, 2), Request(0.0, 3, 1)]
    served = serve(requests, noted(steps), Limits(10, 10), LARGE)
    assert steps == [
        ((4, 0), (6, 0)),
        ((1, 4), (9, 6)),
        ((1, 5), (9, 15)),
        ((1, 24), (3, 0)),  # the last token of a prompt is a row like those of decode
        ((1, 25),),
    ]
    assert served.first.tolist() == [1.0, 4.0, 4.0]
    assert served.ended.tolist() == [3.0, 5.0, 4.0]


def test_no_more_sequences_run_than_are_allowed() -> None:
    """The third of two waits for the end of the first, though its tokens would fit."""
    served = serve([Request(0.0, 2, new) for new in (2, 4, 1)], constant(1.0), Limits(9, 2), LARGE)
    assert served.started.tolist() == [0.0, 0.0, 2.0]
    assert served.running.maximum == 2
    assert served.waiting.maximum == 1


def test_a_prompt_waits_until_the_cache_has_room_for_all_of_it() -> None:
    """Four blocks of 4: 9 tokens take three, 5 need two; who stands behind does not overtake."""
    requests = [Request(0.0, 9, 2), Request(0.0, 5, 1), Request(0.0, 1, 1)]
    served = serve(requests, constant(1.0), Limits(100, 10), Cache(4, 4))
    assert served.started.tolist() == [0.0, 2.0, 2.0]
    assert served.blocks.at(np.array([0.5, 1.5, 2.5, 3.5])).tolist() == [3, 3, 3, 0]
    assert served.preemptions.tolist() == [0, 0, 0]
    # also where a step would have room for its first chunk alone
    served = serve(requests, constant(1.0), Limits(5, 5), Cache(4, 4))
    assert served.started.tolist() == [0.0, 3.0, 4.0]


def test_the_last_that_came_makes_room_and_computes_again() -> None:
    """Two blocks of 4 for two prompts of 4: the first takes both, the second begins anew later."""
    steps: list[Rows] = []
    requests = [Request(0.0, 4, 3), Request(0.0, 4, 3)]
    served = serve(requests, noted(steps), Limits(100, 10), Cache(2, 4))
    assert steps == [
        ((4, 0), (4, 0)),
        ((1, 4),),  # needs the block that the second had
        ((1, 5),),
        ((5, 0),),  # its prompt, and the token that it has given
        ((1, 5),),
    ]
    assert served.preemptions.tolist() == [0, 1]
    assert served.recomputed == 4
    assert served.ended.tolist() == [3.0, 5.0]
    assert sorted(served.gaps.tolist()) == [1.0, 1.0, 1.0, 3.0]
    assert served.waiting.at(np.array([0.5, 1.5, 2.5, 3.5])).tolist() == [0, 1, 1, 0]


def test_who_is_preempted_comes_before_those_who_wait() -> None:
    """The queue stays one in the order of arrival."""
    scheduler = Scheduler(Limits(100, 3), Cache(3, 4))
    for number, prompt in enumerate((4, 4, 4, 1)):
        scheduler.add(number, Request(0.0, prompt, 8))
    scheduler.done(scheduler.step())
    step = scheduler.step()
    assert [each.number for each in step.preempted] == [2, 1]
    assert [each.number for each in scheduler.waiting] == [1, 2, 3]
    assert step.rows == ((1, 4),)
    assert step.started == []


# Rules that hold of any run

REQUESTS = st.lists(
    st.builds(Request, st.floats(0, 30), st.integers(1, 30), st.integers(1, 12)),
    min_size=1,
    max_size=25,
)
LIMITS = st.builds(
    lambda sequences, more: Limits(sequences + more, sequences),
    st.integers(1, 8),
    st.integers(0, 40),
)
#: Room for the largest request alone, 41 tokens, and not for many.
CACHES = st.one_of(
    st.builds(Cache, st.integers(41, 90), st.just(1)),
    st.builds(Cache, st.integers(6, 20), st.just(8)),
)


def judge(scheduler: Scheduler, step: Step, limits: Limits, cache: Cache) -> None:
    """See that a step is one that may be."""
    parts = step.parts
    assert parts
    assert not (step.preempted and step.started)
    assert sum(new for _, new in parts) <= limits.tokens
    assert len(parts) <= len(scheduler.running) <= limits.sequences
    assert len({each.number for each, _ in parts}) == len(parts)
    held = [each.blocks for each in scheduler.running]
    assert sum(held) == scheduler.held <= cache.blocks
    assert all(not each.blocks and not each.cached for each in scheduler.waiting)
    for each, new in parts:
        assert 1 <= new <= each.missing
        assert cache.of(each.cached + new) <= each.blocks
    decoding = [each.missing == 1 and each not in step.started for each, _ in parts]
    assert decoding == sorted(decoding, reverse=True)
    assert sum(decoding) == sum(
        each.missing == 1 for each in scheduler.running if each not in step.started
    )


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, limits=LIMITS, cache=CACHES)
def test_no_request_is_lost_and_every_token_comes_once(
    requests: list[Request], limits: Limits, cache: Cache
) -> None:
    """Whatever is preempted: each gets its tokens, computed of all that stands before them."""
    scheduler = Scheduler(limits, cache)
    for number, request in enumerate(requests):
        scheduler.add(number, request)
    given_tokens, computed = [0] * len(requests), 0
    while scheduler.busy:
        step = scheduler.step()
        judge(scheduler, step, limits, cache)
        computed += sum(new for _, new in step.parts)
        for each in scheduler.done(step):
            assert each.cached == requests[each.number].prompt + given_tokens[each.number]
            given_tokens[each.number] += 1
    assert given_tokens == [request.new_tokens for request in requests]
    assert scheduler.held == 0
    assert computed == sum(request.most_cached for request in requests) + scheduler.recomputed


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, limits=LIMITS, cache=CACHES)
def test_little_s_law_holds_of_any_run(
    requests: list[Request], limits: Limits, cache: Cache
) -> None:
    """Requests in the system on average = rate x mean time in it; what is held goes back to 0."""
    served = serve(requests, by_size, limits, cache)
    span = served.span[1] - served.span[0]
    inside = served.waiting.mean(*served.span) + served.running.mean(*served.span)
    latencies = served.ended - served.arrivals
    assert inside == pytest.approx(len(requests) / span * latencies.mean(), rel=1e-9)
    assert len(served.gaps) == sum(request.new_tokens - 1 for request in requests)
    in_order = (served.arrivals <= served.started) & (served.started < served.first)
    assert np.all(in_order & (served.first <= served.ended))
    assert served.gaps.sum() == pytest.approx((served.ended - served.first).sum())
    for level, most in (
        (served.waiting, len(requests)),
        (served.running, limits.sequences),
        (served.blocks, cache.blocks),
    ):
        assert level.values.min() >= 0
        assert level.maximum <= most
        assert level.values[-1] == 0


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, limits=LIMITS)
def test_with_room_for_all_nothing_is_computed_twice(
    requests: list[Request], limits: Limits
) -> None:
    """And of two requests the one that came first begins first."""
    served = serve(requests, by_size, limits, LARGE)
    assert served.recomputed == served.preemptions.sum() == 0
    assert np.all(np.diff(served.started) >= 0)


def test_the_figures_of_two_requests_by_hand() -> None:
    """Steps of 1 s; the second request comes in the middle of the first one, and has one token."""
    served = serve([Request(0.0, 5, 3), Request(0.5, 5, 1)], constant(1.0), Limits(), LARGE)
    found = latency(served)
    assert (found.time_to_first_token.p50, found.time_to_first_token.maximum) == (1.25, 1.5)
    assert (found.end_to_end.mean, found.end_to_end.maximum) == (2.25, 3.0)
    assert (found.waiting.mean, found.waiting.maximum) == (0.25, 0.5)
    assert found.waiting.p90 == pytest.approx(0.45)
    assert found.time_per_output_token is not None
    assert found.time_per_output_token.mean == 1.0
    held = load(served)
    assert (held.waiting.mean, held.waiting.maximum) == (0.5 / 3, 1)
    assert (held.running.mean, held.running.maximum) == (4 / 3, 2)
    assert (held.blocks.maximum, held.waiting_at_last_arrival) == (2, 1)
    over = over_time(served, blocks=4)
    assert (len(over.times), over.times[0], over.times[-1]) == (MOMENTS, 0.0, 3.0)
    assert (max(over.cache), over.cache[-1], over.running[-1]) == (0.5, 0.0, 0)


def test_a_level_adds_what_changes_at_one_moment() -> None:
    """Who comes and begins at one moment never waited."""
    level = Level.of([(3.0, -2), (1.0, 1), (1.0, 1), (2.0, 1), (2.0, -1)])
    assert level.values.tolist() == [2, 2, 0]
    assert level.maximum == 2
    assert level.mean(1.0, 5.0) == 1.0
    assert level.at(np.array([0.5, 1.0, 2.9, 3.0])).tolist() == [0, 2, 2, 0]


def test_progress_is_told_up_to_the_end() -> None:
    """Fractions grow, and the last one is 1."""
    told: list[float] = []
    requests = [Request(n / 10, 5, 2) for n in range(1000)]
    serve(requests, constant(0.1), Limits(), LARGE, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(told) <= 200
