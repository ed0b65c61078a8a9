"""Steps of the reference to be timed, and one step watched op by op on every rank."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from tspsim.calibrate import reference

#: ``[lane, name, start, end]`` in seconds.
Seen = list[list[Any]]

_MARK = "tspsim.step"
_SCHEMES = ("tp", "sp", "degree", "kv")


def job(case: dict[str, Any]) -> reference.Job:
    """Return the reference's job of a block's case."""
    options = case["strategy"]
    chosen = {key: options[key] for key in _SCHEMES if key in options}
    shape = reference.Shape(**case["model"])
    return reference.Job(
        shape, case["sequence"], strategy=options["kind"], dtype="fp32", causal="zigzag", **chosen
    )


def step(case: dict[str, Any], rank: int, device: torch.device) -> Callable[[], Any]:
    """Return a training step: forward, backward, and a plain descent along the gradient.

    Parameters
    ----------
    case : dict
        As `tspsim.calibrate.measure.grid.block` writes it.
    rank : int
    device : torch.device
    """
    what = job(case)
    mesh = reference.connect(what)
    model = reference.build(what, mesh, str(device))
    model.load(reference.initial(what.shape, what.torch_dtype))
    torch.manual_seed(rank)
    width = what.shape.hidden
    whole = torch.randn(what.batch, what.sequence, width, device=device)
    parameters = list(model.flat_parameters().values())

    def run() -> None:
        model.zero_gradients()
        model.step(model.local(whole).requires_grad_())
        with torch.no_grad():
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.add_(parameter.grad, alpha=-1e-6)

    return run


def watched(run: Callable[[], Any], barrier: Callable[[], Any]) -> dict[str, Any]:
    """Run a step and return when each of its ops started and ended, by the machine's clock."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        barrier()  # profilers take their time to begin, and not the same on all ranks
        origin = time.perf_counter()
        with record_function(_MARK):
            run()
    events = list(seen.events() or ())
    mark = next(event for event in events if event.name == _MARK)
    shift = origin - mark.time_range.start * 1e-6
    spans: Seen = []
    for event in events:
        lane = _lane(event)
        if lane and event.time_range.start >= mark.time_range.start:
            a, b = (shift + t * 1e-6 for t in (event.time_range.start, event.time_range.end))
            spans.append([lane, event.name.removeprefix("aten::").removeprefix("gloo:"), a, b])
    spans.sort(key=lambda span: span[2])
    return {"origin": origin, "spans": spans}


def _lane(event: Any) -> str | None:
    """Return the lane of an event that counts: a collective, or an op called by no other op."""
    if event.name.startswith(("gloo:", "nccl:")):
        return "communication"
    if not event.name.startswith("aten::"):
        return None
    parent = event.cpu_parent
    while parent is not None:
        if parent.name.startswith("aten::"):
            return None
        parent = parent.cpu_parent
    return "compute"


def aligned(ranks: list[dict[str, Any]], shortest: float = 20e-6) -> list[Seen]:
    """Return the spans of all ranks from the last rank's start on; tiny ones are left out."""
    zero = max(seen["origin"] for seen in ranks)
    return [
        [
            [lane, name, round(a - zero, 6), round(b - zero, 6)]
            for lane, name, a, b in seen["spans"]
            if b - a >= shortest
        ]
        for seen in ranks
    ]
