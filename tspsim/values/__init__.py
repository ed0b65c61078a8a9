"""The reading of a program by its values: proof that a schedule computes the right numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tspsim.program.collection import uncollected
from tspsim.values.check import Comparison, Proof, compare
from tspsim.values.small import small_model, small_strategy, small_workload

if TYPE_CHECKING:
    from tspsim.scenario import Scenario

__all__ = ["Comparison", "Proof", "check", "compare"]


@uncollected()
def check(scenario: Scenario) -> Proof:
    """Play a scenario's schedule with NumPy values at a small size of the same shape family.

    Parameters
    ----------
    scenario : Scenario
        Its strategy, with all options and degrees as they are; widths, tokens, layers,
        micro-batches and replicas are made few, and buckets smaller in proportion.

    Returns
    -------
    Proof
        Loss, output, input gradient and every weight gradient of every rank, compared with a
        dense model on one rank in float64.
    """
    replica = scenario.strategy.mesh().ranks // scenario.strategy.dp
    least = scenario.strategy.least
    workload = small_workload(scenario.workload, replica, least.micro_batches)
    share = workload.sequence / scenario.workload.sequence
    model = small_model(scenario.model, replica, least.layers, share)
    strategy = small_strategy(scenario.strategy, scenario.model, model)
    programs = strategy.record(model, workload, scenario.optimizer)
    return compare(programs, strategy.mesh(), model, workload)
