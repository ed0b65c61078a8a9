"""Titles of plots."""

from __future__ import annotations

from tspsim.result import Result


def titled(result: Result, rest: str) -> str:
    """Return a title: the scenario; of inference what its step does, on the first of two lines.

    Parameters
    ----------
    result : Result
    rest : str
        What is drawn of it.
    """
    name, workload = result.scenario.name, result.scenario.workload
    requests, series = workload.requests, workload.series
    if requests is None or series is None:
        return f"{name}: {rest}"
    steps = series.prefills + series.decodes
    last = f", the last of {steps:,} steps" if steps > 1 else ""
    return f"{name}: {requests.text}{last}\n{rest}"
