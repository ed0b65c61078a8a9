"""The contract suite that `tspsim.testing` offers: strategies pass it, and it can fail."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from tests.test_mutations import UNREAD
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.strategies.parts.groups import Group
from tspsim.strategies.parts.replicas import update
from tspsim.strategies.tp import TensorParallel
from tspsim.testing import Check, contract

OUTSIDE = Path(__file__).parent / "outside"
STACK = ModelShape(hidden=16, layers=1, heads=4, kv_heads=4, ffn=8)
WORKLOAD = Workload(sequence=8, dtype="fp64", causal="contiguous")


def two_stages() -> list[Check]:
    """Return the checks of the pipeline that lies outside of the package."""
    sys.path.append(str(OUTSIDE))
    try:
        strategy = importlib.import_module("two_stages").STRATEGY
    finally:
        sys.path.remove(str(OUTSIDE))
    return contract(strategy, {"degree": 2}, STACK, WORKLOAD)


@pytest.mark.parametrize("check", two_stages(), ids=str)
def test_a_strategy_of_somebody_else_passes(check: Check) -> None:
    """A pipeline of two uneven stages, with tensor parallelism inside and replicas outside."""
    check()


@pytest.mark.parametrize("check", contract("tsp", {"degree": 4}, unread=UNREAD), ids=str)
def test_tsp_passes(check: Check) -> None:
    """The suite holds for a strategy of tspsim's own."""
    check()


class Wrong(TensorParallel):
    """Tensor parallelism that somebody got wrong."""

    kind: Literal["wrong"] = "wrong"  # type: ignore[assignment]
    fault: str = Field("")

    def step(self, rank: Rank) -> None:
        """Record the step with a fault in it."""
        if self.fault == "nothing is bound":
            w = rank.resident("w", (4, 4), 2, "weight")
            rank.matmul(w, w, "y")
            update(rank)
            return
        axis = rank.axis("tp")
        if self.fault == "unread":
            extra = rank.resident("extra", (4,), 2, "activation")
            axis.all_reduce(extra, lane="extra", label="extra")
        if self.fault == "deadlock":
            y = rank.buffer("y", (4,), 2)
            axis.receive(y, lane="extra", label="in", offset=1)
            axis.send(y, lane="extra", label="out", offset=1)
        super().step(rank)


class Unsummed(TensorParallel):
    """Tensor parallelism whose layers' weights are none of the group that shares them."""

    kind: Literal["unsummed"] = "unsummed"  # type: ignore[assignment]

    def step(self, rank: Rank) -> None:
        """Record the step without what replicas say of layers' gradients."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Group, "reduce", lambda _: None)
            super().step(rank)


def test_gradients_that_are_cut_and_not_reduced_are_told() -> None:
    """Whole gradients are summed at the end of the step; cut ones, layer by layer, nowhere."""
    found = {str(c): c for c in contract(Unsummed, {"degree": 2}, STACK, WORKLOAD)}
    for zero in (0, 1):
        found[f"values-replicas-zero-{zero}"]()
    for zero in (2, 3):
        with pytest.raises(AssertionError, match=r"L0\.wq gradient"):
            found[f"values-replicas-zero-{zero}"]()


def checks(**options: Any) -> dict[str, Check]:
    """Return the checks of a faulty strategy by name."""
    return {str(c): c for c in contract(Wrong, {"degree": 2, **options}, STACK, WORKLOAD)}


def test_a_call_that_nobody_needs_is_told() -> None:
    """What can be left out unnoticed is named with its phase, label and kind."""
    with pytest.raises(AssertionError, match=r"left out unnoticed: forward extra \(all_reduce\)"):
        checks(fault="unread")["nothing-can-be-forgotten"]()


def test_a_deadlock_is_told() -> None:
    """The circle is in the message."""
    with pytest.raises(AssertionError, match="deadlock: 2 ops wait for each other"):
        checks(fault="deadlock")["calls-meet"]()


def test_a_strategy_that_compares_nothing_does_not_pass() -> None:
    """A proof of nothing is no proof: every gradient of the dense model has to be there."""
    with pytest.raises(AssertionError, match="wq gradient"):
        checks(fault="nothing is bound")["values-recompute-none"]()


def test_a_case_that_does_not_divide_says_so() -> None:
    """Heads that the ranks do not divide are the author's mistake in the case, not a failure."""
    with pytest.raises(AssertionError, match=r"the case is none: strategy.degree: .*heads"):
        {str(c): c for c in contract("tp", {"degree": 3}, STACK, WORKLOAD)}["calls-meet"]()
