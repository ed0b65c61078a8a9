"""A world of ranks that is not there: fake tensors, and a process group that moves nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore


@contextmanager
def fake_world(ranks: int, rank: int = 0) -> Iterator[FakeTensorMode]:
    """Be one rank of a world; yield the mode in which tensors have shapes but no values.

    Meshes are made before that mode is entered: they compute with real numbers. The process group
    is global to the process: one world at a time.
    """
    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=ranks)
    try:
        yield FakeTensorMode()
    finally:
        dist.destroy_process_group()
        gc.collect()
