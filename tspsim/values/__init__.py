"""The reading of a program by its values: proof that a schedule computes the right numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tspsim.program.collection import uncollected
from tspsim.values.check import Comparison, Proof, compare
from tspsim.values.inference import prove
from tspsim.values.small import small_model, small_series, small_strategy, small_workload

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
        Loss, output, input gradient and every weight gradient of every rank, compared with a dense
        model on one rank in float64; in a phase of inference outputs and logits, step by step.
    """
    replica = scenario.strategy.mesh().ranks // scenario.strategy.dp
    if scenario.workload.requests:
        return _check_inference(scenario, replica)
    least = scenario.strategy.least
    workload = small_workload(scenario.workload, replica, least.micro_batches)
    share = workload.sequence / scenario.workload.sequence
    model = small_model(scenario.model, replica, least.layers, share)
    strategy = small_strategy(scenario.strategy, scenario.model, model)
    programs = strategy.record(model, workload, scenario.optimizer)
    return compare(programs, strategy.mesh(), model, workload)


def _check_inference(scenario: Scenario, ranks: int) -> Proof:
    """Play prompts, in two pieces where they come in pieces, and a few tokens behind them."""
    least = scenario.strategy.least
    workload, series = small_series(scenario.workload, ranks)
    workload = replace(
        workload, micro_batches=min(scenario.workload.micro_batches, least.micro_batches)
    )
    assert scenario.workload.series is not None
    share = series.longest / scenario.workload.series.longest
    model = small_model(scenario.model, ranks, least.layers, share)
    strategy = small_strategy(scenario.strategy, scenario.model, model).model_copy(update={"dp": 1})
    return prove(strategy, model, [workload.of(step) for step in series.steps])
