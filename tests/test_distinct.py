"""How many tokens go to each rank of experts is counted by kinds of token, not one by one."""

from __future__ import annotations

import pytest

from tspsim.experts import Experts, Router
from tspsim.program.rows import _distinct, distinct
from tspsim.routing import Routing

SKEWED = Routing("power_law", exponent=0.7)
EXPERTS = Experts(16, 3, 8)
GROUPED = Experts(16, 3, 8, router=Router(groups=4, top_groups=2))


@pytest.mark.parametrize("tokens", [48, 50, 1000])
@pytest.mark.parametrize("degree", [1, 4, 16])
@pytest.mark.parametrize("experts", [EXPERTS, GROUPED], ids=["plain", "grouped"])
@pytest.mark.parametrize(
    "routing",
    [
        Routing(),
        Routing(capacity=0.5),
        SKEWED,
        Routing("power_law", exponent=3.0),
        Routing("power_law", exponent=0.7, capacity=0.8),
        Routing("table", table=((0, (0, 5, 0, 9, *(1,) * 11, 0)),)),
    ],
    ids=["balanced", "balanced, dropping", "skewed", "steep", "skewed, dropping", "empty experts"],
)
def test_counts_by_kinds_are_those_of_all_tokens(
    tokens: int, degree: int, experts: Experts, routing: Routing
) -> None:
    """Dropped choices and empty experts included."""
    dealing = routing.dealing(0, experts, tokens)
    one_by_one = tuple(len(found) for found, _ in _distinct(dealing, degree))
    assert distinct(dealing, degree) == one_by_one
