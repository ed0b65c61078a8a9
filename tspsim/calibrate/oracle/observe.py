"""Watches one torch step: flops, messages, and bytes alive after every op.

Flops are counted by torch's FlopCounterMode, memory by its MemTracker; only the messages are
written down here, because torch's own counter of them knows neither bytes nor sends. Both look at
what torch dispatches, whoever wrote the code above.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from tspsim.calibrate.oracle.numbers import Call, Moment, Numbers
from tspsim.files.errors import TspsimError

aten = torch.ops.aten


def _addmm(_: Any, a: Any, b: Any, *__: Any, **___: Any) -> int:
    return 2 * math.prod(a) * b[-1]


#: FlopCounterMode does not know the attention op of CPUs, nor products that accumulate in place.
FLOPS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
    ),
    aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda do, q, k, v, *_, **__: sdpa_backward_flop_count(do, q, k, v)
    ),
    aten.addmm_: _addmm,
}

#: What torch calls a collective, and which of its arguments is the message of the simulator's
#: convention; several tensors in one coalesced call are one message.
_CALLS: dict[str, tuple[str, int]] = {
    "allreduce_": ("all_reduce", 0), "all_reduce": ("all_reduce", 0),
    "all_reduce_": ("all_reduce", 0),
    "broadcast_": ("broadcast", 0), "reduce_": ("reduce", 0),
    "alltoall_base_": ("all_to_all", 1),
    "send": ("send", 0), "recv_": ("recv", 0),
    "_allgather_base_": ("all_gather", 0), "allgather_into_tensor_coalesced_": ("all_gather", 0),
    "_reduce_scatter_base_": ("reduce_scatter", 1),
    "reduce_scatter_tensor_coalesced_": ("reduce_scatter", 1),
    "reduce_scatter_tensor": ("reduce_scatter", 0),
}  # fmt: skip
#: The functional form is not told where to gather into: the message is what it returns.
_RETURNED = {"all_gather_into_tensor": "all_gather"}
_SILENT = {"wait_tensor", "_wrap_tensor_autograd"}


class Watch(MemTracker):
    """A MemTracker that also keeps the bytes alive after every op, and every message.

    Parameters
    ----------
    counter : FlopCounterMode
        Entered before this one, so that its count includes the op that has just run.
    collect : bool
        Collect garbage after every op.
    """

    def __init__(self, counter: FlopCounterMode, *, collect: bool) -> None:
        super().__init__()
        self._counter, self._collect = counter, collect
        self.calls: list[Call] = []
        self.timeline: list[Moment] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op and write down what it sent and what is alive after it."""
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if out is not NotImplemented:
            self._write_down(func, args, out)
        return out

    def _write_down(self, func: Any, args: Any, out: Any) -> None:
        if func.namespace in ("c10d", "_c10d_functional"):
            self.calls.extend(calls_of(func, args, out))
        if self._collect:
            gc.collect()
        alive = sum(device["Total"] for device in self._curr_mem_snap.values())
        self.timeline.append(Moment(self._counter.get_total_flops(), alive))


def calls_of(func: Any, args: Any, out: Any) -> list[Call]:
    """Return what an op of torch.distributed sends, or nothing where it only waits."""
    name = func.overloadpacket.__name__
    if name in _SILENT:
        return []
    if name in _CALLS:
        kind, at = _CALLS[name]
        return [Call(kind, _bytes(args[at]))]
    if name in _RETURNED:
        return [Call(_RETURNED[name], _bytes(out))]
    raise TspsimError(f"the oracle does not know what '{func}' sends")


def _bytes(tensors: Any) -> int:
    return sum(x.nbytes for x in tree_flatten(tensors)[0] if isinstance(x, Tensor))


def _paired(calls: list[Call]) -> tuple[Call, ...]:
    """Return the calls with a send and a receive of the same bytes joined to one shift."""
    sent = [call.bytes for call in calls if call.kind == "send"]
    received = [call.bytes for call in calls if call.kind == "recv"]
    if sorted(sent) != sorted(received):
        raise TspsimError(f"a rank sends {sent} but receives {received}: no ring shift")
    kinds = {"send": "shift"}
    return tuple(Call(kinds.get(c.kind, c.kind), c.bytes) for c in calls if c.kind != "recv")


def observe(
    step: Callable[[], None], *held: nn.Module | torch.optim.Optimizer | Tensor, collect: bool
) -> Numbers:
    """Run one step and return what torch says about it.

    Parameters
    ----------
    step : callable
        Under the fake mode and process group of the caller.
    *held
        Modules, optimizers and tensors that exist before the step.
    collect : bool
        Do not count what only reference cycles keep alive: torch's own checkpoint leaves some, and
        Python frees them at a moment of its own.
    """
    counter = FlopCounterMode(display=False, custom_mapping=FLOPS)
    watch = Watch(counter, collect=collect)
    watch.track_external(*held)
    gc.collect()
    gc.freeze()  # what is there already is no garbage, and need not be looked through again
    try:
        with counter, watch:
            step()
    finally:
        gc.unfreeze()
    peak = watch.get_tracker_snapshot("peak")[torch.device("cpu")]
    at_peak = {str(getattr(kind, "value", kind)): size for kind, size in peak.items() if size}
    del at_peak["Total"]
    return Numbers(counter.get_total_flops(), _paired(watch.calls), at_peak, tuple(watch.timeline))
