"""Routing deals all tokens, each to different experts, as near to their shares as can be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tspsim.experts import Experts
from tspsim.routing import Dealing, Routing, deal, dealt


@st.composite
def spreads(draw: st.DrawFn) -> Routing:
    """Draw a routing of eight experts, some of which may get nothing."""
    if draw(st.booleans()):
        exponent, seed = draw(st.floats(0, 20)), draw(st.integers(0, 5))
        return Routing("power_law", exponent, seed)
    row = draw(st.lists(st.integers(0, 10**6), min_size=8, max_size=8))
    return Routing("table", table=((0, tuple(row)),))


capacities = st.none() | st.floats(0.1, 8)
tokens, active = st.integers(1, 5000), st.integers(1, 8)


@settings(max_examples=200, deadline=None)
@given(spreads(), tokens, active)
def test_all_choices_are_dealt_and_none_twice(routing: Routing, tokens: int, active: int) -> None:
    """Counts add up to tokens times active, and no expert has more than there are tokens."""
    counts = deal(tokens, active, routing.shares(0, 8))
    assert sum(counts) == tokens * active
    assert min(counts) >= 0
    assert max(counts) <= tokens


@settings(max_examples=200, deadline=None)
@given(spreads(), tokens, active)
def test_counts_are_near_their_shares(routing: Routing, tokens: int, active: int) -> None:
    """Within one choice, where no share is more than an expert can take; else those are full."""
    shares = np.asarray(routing.shares(0, 8))
    assert shares.sum() == pytest.approx(1)
    counts, wanted = np.asarray(deal(tokens, active, tuple(shares))), shares * tokens * active
    full = wanted > tokens
    np.testing.assert_array_equal(counts[full], tokens)
    assert (counts >= np.minimum(wanted, tokens) - 1 - 1e-6).all()
    if not full.any():
        assert (counts <= wanted + 1 + 1e-6).all()


@settings(max_examples=100, deadline=None)
@given(spreads(), tokens, active, capacities)
def test_a_tokens_experts_are_different(
    routing: Routing, tokens: int, active: int, capacity: float | None
) -> None:
    """Every token has `active` of them; each expert is chosen, and takes, as often as counted."""
    dealing = replace(routing, capacity=capacity).dealing(0, Experts(8, active, 4), tokens)
    found = dealt(dealing)
    assert found.experts.shape == (tokens, active)
    ordered = np.sort(found.experts, axis=1)
    assert (np.diff(ordered, axis=1) > 0).all()
    chosen = np.bincount(found.experts.reshape(-1), minlength=8)
    np.testing.assert_array_equal(chosen, dealing.dealt)
    np.testing.assert_array_equal(np.bincount(found.expert, minlength=8), dealing.kept)
    assert found.kept.sum() == dealing.rows == len(found.rows)
    at = found.rows % tokens, found.rows // tokens
    np.testing.assert_array_equal(found.experts[at], found.expert)
    assert found.kept[at].all()


@given(st.integers(1, 64), st.integers(1, 8))
def test_balanced_routing_is_even(each: int, active: int) -> None:
    """Where experts can have the same number of tokens, they do."""
    assume(8 * each % active == 0)
    assert deal(8 * each // active, active, (1 / 8,) * 8) == (each,) * 8


def test_remainders_are_spread_over_all_experts() -> None:
    """What does not divide is not given to the first experts: no rank of them has more by it."""
    counts = deal(4, 1, (1 / 8,) * 8)
    assert sum(counts[:4]) == sum(counts[4:]) == 2


def test_a_power_law_has_other_experts_first_in_every_layer() -> None:
    """The shares are those of the law, drawn anew by layer, the same for the same seed."""
    law = Routing("power_law", 1.5, 3)
    wanted = np.arange(1, 9) ** -1.5
    for layer in range(3):
        shares = law.shares(layer, 8)
        np.testing.assert_allclose(sorted(shares, reverse=True), wanted / wanted.sum())
        assert shares == law.shares(layer, 8)
    assert law.shares(0, 8) != law.shares(1, 8)
    assert replace(law, seed=4).shares(0, 8) != law.shares(0, 8)


def test_a_capacity_drops_what_is_above_it() -> None:
    """An expert takes at most so many times the mean, rounded up; the shares are of all choices."""
    table = Routing("table", table=((0, (9, 0, 0, 7)),), capacity=1.2)
    dealing = table.dealing(0, Experts(4, 1, 8), 16)
    assert dealing == Dealing(16, 1, (9, 0, 0, 7), (5, 0, 0, 5))
    assert dealing.shares == (9 / 16, 0, 0, 7 / 16)
    assert dealing.rows == 10
