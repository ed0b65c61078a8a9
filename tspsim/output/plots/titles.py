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
    name, requests = result.scenario.name, result.scenario.workload.requests
    return f"{name}: {rest}" if requests is None else f"{name}: {requests.text}\n{rest}"
