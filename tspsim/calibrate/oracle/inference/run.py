"""Runs a config's step with the reference; says what torch counts of it."""

from __future__ import annotations

from collections.abc import Sequence as Many
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from tspsim.calibrate import reference
from tspsim.calibrate.oracle.inference.config import Config
from tspsim.calibrate.oracle.inference.record import Call, Record
from tspsim.calibrate.oracle.observe import FLOPS, aten, calls_of
from tspsim.calibrate.oracle.world import fake_world
from tspsim.calibrate.reference.places import Sequence


def _attention(q: Any, k: Any, v: Any, _: float = 0.0, causal: bool = False, **__: Any) -> int:
    """Return the flops of a call of the CPU's kernel: of a causal square half, as simulated."""
    return int(sdpa_flop_count(q, k, v)) // (2 if causal else 1)


_FLOPS = FLOPS | {aten._scaled_dot_product_flash_attention_for_cpu: _attention}


class Calls(TorchDispatchMode):
    """Writes down the messages of a rank, with the names of their communicators.

    Parameters
    ----------
    mesh : Mesh
    """

    def __init__(self, mesh: reference.Mesh) -> None:
        super().__init__()
        folded = mesh.cut is mesh.spread
        axes = {"tsp": mesh.cut} if folded else {"tp": mesh.cut, "sp": mesh.spread}
        groups = [(f"{name}/{lane}", group) for name, axis in axes.items()
                  for lane, group in axis.groups.items()]  # fmt: skip
        self._names = {group.group_name: name for name, group in groups}
        self.found: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op; note it if it is a message. A receive belongs to its send."""
        out = func(*args, **(kwargs or {}))
        if func.namespace == "c10d":
            group = next(
                a for a in args if "ProcessGroup" in str(getattr(a, "_type", lambda: "")())
            )
            name = self._names[dist.ProcessGroup.unbox(group).group_name]
            for kind, size in calls_of(func, args, out):
                if kind != "recv":
                    self.found.append(Call(name, "shift" if kind == "send" else kind, size))
        return out


def decoder(config: Config, mesh: reference.Mesh) -> reference.Inference:
    """Return a rank's part of a config's model, in bf16."""
    return reference.Inference(job(config), mesh, config.option("passes"), config.copies)


def job(config: Config) -> reference.Job:
    """Return the reference's job: neighbours with the same heads count as having their own."""
    m, degrees = config.model, {"degree", "tp", "sp"}
    kv_heads = m.kv_heads * config.copies
    shape = reference.Shape(m.hidden, m.layers, m.heads, kv_heads, m.ffn, m.vocab, m.head_dim)
    how: Any = {name: value for name, value in config.options if name in degrees}
    how |= {"strategy": config.strategy, "causal": config.causal, "scratch": 2**40}
    return reference.Job(shape, 2 * config.ranks, **how)


def counted(
    model: reference.Inference, mesh: reference.Mesh, ids: Many[Tensor], *, decodes: bool
) -> Record:
    """Run a step; return what torch counts of it."""
    counter, calls = FlopCounterMode(display=False, custom_mapping=_FLOPS), Calls(mesh)
    with counter, calls:
        model.step(ids, decodes=decodes)
    return Record(counter.get_total_flops(), model.cache_bytes, tuple(calls.found))


def record(config: Config, rank: int) -> Record:
    """Return what torch counts of one step of a rank of a world that is not there."""
    with fake_world(config.ranks, rank) as fake:
        mesh = reference.connect(job(config))
        with fake:
            model = decoder(config, mesh)
            model.resume(tuple(Sequence(r.parts, r.decoded) for r in config.requests))
            ids = [torch.zeros(r.new, dtype=torch.int64) for r in config.requests]
            return counted(model, mesh, ids, decodes=config.decodes)
