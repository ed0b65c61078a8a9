"""Watches FSDP2 from outside: what it dispatches, and the names of the sections that it is in.

FSDP2 marks its work for torch's profiler, with the group's name: ``FSDP::all_gather (layers.3)``.
The marks are dispatched as ops are, and so seen in their order. Bytes are FSDPMemTracker's.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import ScriptObject, Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker, _FSDPRefType
from torch.utils._pytree import tree_flatten

from tspsim.calibrate.oracle.fsdp.record import ROOT, Event

_MARK = re.compile(r"FSDP::(\w+)(?: \((.*?)\))?$")
#: A collective, and which of its arguments is the whole message.
_CALLS = {
    "_allgather_base_": ("all_gather", 0),
    "_reduce_scatter_base_": ("reduce_scatter", 1),
    "allreduce_": ("all_reduce", 0),
}
#: Sections in which a group's weights may be let go.
_RESHARDS = {"post_forward", "post_backward_reshard"}
#: Sections after which a group computes.
_BEGINS = {"pre_forward": "forward", "pre_backward": "backward"}


class Watch(FSDPMemTracker):
    """An FSDPMemTracker that writes down what FSDP2 does.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(model, optimizer)
        self.events: list[Event] = []
        self.during = ""
        self._sections: list[tuple[str, str]] = []
        self._gathered: dict[str, int] = {}
        self._freed = self._highest = 0

    @property
    def alive(self) -> int:
        """Bytes alive now."""
        return sum(device["Total"] for device in self._curr_mem_snap.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op; write down what it is to FSDP2, and what is alive after it."""
        if func.namespace == "profiler":
            self._section(func.overloadpacket.__name__, args)
            return func(*args, **kwargs or {})
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if out is not NotImplemented:
            if func.namespace == "c10d":
                self._call(func.overloadpacket.__name__, args)
            self._measure()
        return out

    def _measure(self) -> None:
        if not self.events:
            return
        alive, last = self.alive, self.events[-1]
        self.events[-1] = last._replace(alive=max(alive, last.alive))
        if alive > self._highest:
            self._highest, self.during = alive, f"{last.op} {last.layer}"

    def _update_snap(self, u_type: Any, winfo: Any, *args: Any, **kwargs: Any) -> None:
        """Add up the whole weights that are let go."""
        super()._update_snap(u_type, winfo, *args, **kwargs)
        if winfo.reftype is _FSDPRefType.UNSHARDED_PARAM and not winfo.mem_consumed:
            self._freed += kwargs.get("old_mem_consumed") or 0

    def _section(self, name: str, args: Any) -> None:
        """Enter or leave one of the sections that FSDP2 marks."""
        if "enter" in name:
            found = _MARK.match(args[0])
            self._sections.append((found[1], _layer(found[2])) if found else (args[0], ROOT))
            self._freed = 0
            if args[0].startswith("Optimizer.step"):
                self._write("optimizer", 0, 0, ROOT)
            return
        section, layer = self._sections.pop()
        if section == "all_gather_copy_out":
            self._write("unshard", 0, self._gathered[layer], layer)
        elif section in _RESHARDS and self._freed:
            self._write("reshard", 0, self._freed, layer)
        elif section in _BEGINS:
            self._write(_BEGINS[section], 0, 0, layer)

    def _call(self, name: str, args: Any) -> None:
        """Write down a collective, if it is FSDP2's own, with the group of its section."""
        section, layer = self._sections[-1] if self._sections else ("", ROOT)
        if section not in {"all_gather", "post_backward_reduce"} or name not in _CALLS:
            return
        op, at = _CALLS[name]
        size = sum(x.nbytes for x in tree_flatten(args[at])[0] if isinstance(x, Tensor))
        ranks = next(ProcessGroup.unbox(x).size() for x in args if isinstance(x, ScriptObject))
        if op == "all_gather":
            self._gathered[layer] = size
        self._write(op, ranks, size, layer)

    def _write(self, op: str, ranks: int, size: int, layer: str) -> None:
        self.events.append(Event(op, ranks, size, layer, self.alive))


def by_kind(watch: FSDPMemTracker, when: str = "current") -> dict[str, int]:
    """Return the bytes alive by kind, now or at the peak."""
    snapshot = watch.get_tracker_snapshot(when)[torch.device("cpu")]
    return {str(getattr(kind, "value", kind)): size for kind, size in snapshot.items() if size}


def _layer(name: str | None) -> str:
    """Return the number of a layer from its module's name; the root has none."""
    return name.rpartition(".")[2] if name else ROOT
