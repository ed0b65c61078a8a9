"""Collective calls of torch.distributed to be timed, by the simulator's names for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist

Call = Callable[[], Any]


def call(kind: str, size: int, root: int, device: torch.device) -> Call:
    """Return a collective over all ranks as a function to be called again and again.

    Parameters
    ----------
    kind : str
        A name of `tspsim.program.types.COLLECTIVE_KINDS`.
    size : int
        Bytes of the message, as the simulator counts them: the gathered size of an all_gather or
        reduce_scatter, what one rank sends in a shift.
    root : int
        Of a broadcast or reduce.
    device : torch.device
    """
    world, elements = dist.get_world_size(), size // 4
    whole = torch.ones(elements, device=device)
    part = torch.ones(elements // world, device=device)
    return {
        "broadcast": lambda: dist.broadcast(whole, root),
        "reduce": lambda: dist.reduce(whole, root),
        "all_reduce": lambda: dist.all_reduce(whole),
        "all_gather": lambda: _named("all_gather_single", "all_gather_into_tensor")(whole, part),
        "reduce_scatter": lambda: _named("reduce_scatter_single", "reduce_scatter_tensor")(
            part, whole
        ),
        "all_to_all": _exchange(whole),
        "shift": _hop(whole),
    }[kind]


def _named(new: str, old: str) -> Callable[..., Any]:
    """Return a function by its newer name, where torch has it."""
    found: Callable[..., Any] = getattr(dist, new, None) or getattr(dist, old)
    return found


def _exchange(whole: torch.Tensor) -> Call:
    other = torch.empty_like(whole)
    return lambda: dist.all_to_all_single(other, whole)


def _hop(whole: torch.Tensor) -> Call:
    """Send to the next rank and receive from the one before, both at once."""
    arriving = torch.empty_like(whole)
    rank, world = dist.get_rank(), dist.get_world_size()

    def run() -> None:
        there = dist.P2POp(dist.isend, whole, (rank + 1) % world)
        back = dist.P2POp(dist.irecv, arriving, (rank - 1) % world)
        for work in dist.batch_isend_irecv([there, back]):
            work.wait()

    return run
