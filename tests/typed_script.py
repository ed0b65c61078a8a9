"""A script as a user writes it: ``mypy --strict`` reads it with the package, a test runs it."""

from __future__ import annotations

from typing import assert_type

import tspsim


def made() -> tspsim.Scenario:
    """Return a scenario that no file states, small enough to run in milliseconds."""
    return tspsim.Scenario(
        name="typed",
        model=tspsim.Model(hidden=64, layers=4, heads=8, kv_heads=4, ffn=128, vocab=0),
        workload=tspsim.Workload(sequence=64, recompute="full"),
        topology=tspsim.Topology(
            "h100-node", ranks=4, link=tspsim.Link(bandwidth="x0.5", latency="2 us")
        ),
        strategy=tspsim.TSP(degree=2, pp=tspsim.Pipeline(stages=2)),
        kernels="ideal",
        timing=tspsim.Timing(profile="datasheet"),
    )


def ask() -> list[float]:
    """Return the step times of several strategies, asked in several ways."""
    scenario = made()
    result = tspsim.run(scenario, "workload.batch=2")
    assert_type(result, tspsim.Run)
    other = scenario.replace("name=other", strategy=tspsim.TP(degree=4, sequence_parallel=True))
    compared = tspsim.compare(scenario, other)
    assert_type(compared, tspsim.Comparison)
    swept = tspsim.sweep(scenario, "workload.sequence=32,64")
    times = [float(row.figures["step_time"]) for row in swept.rows]
    times += [each.done.summary.step_time for each in compared.candidates]
    found = tspsim.plan(other, "strategy.kind=tsp,tp", top=1)
    if isinstance(found, tspsim.Plan):
        times.append(tspsim.run(found.scenario()).summary.step_time)
    times.append(tspsim.explain(result, what_if=False).path.total)
    return times


def mistakes() -> None:
    """State what no key may be; the comments are checked: each line is an error."""
    tspsim.Workload(sequence="64", batch=1)  # type: ignore[arg-type]
    tspsim.Workload(sequnce=64)  # type: ignore[call-arg]
    tspsim.Workload(phase="serving")  # type: ignore[arg-type]
    tspsim.TSP()  # type: ignore[call-arg]
    tspsim.Link(bandwidth=900e9)  # type: ignore[arg-type]
