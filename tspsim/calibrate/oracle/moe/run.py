"""Runs a config's layer under a fake process group; says what torch counts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tspsim.calibrate.oracle.dtensor import Attention, HalfSquares
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.moe.block import Block
from tspsim.calibrate.oracle.moe.config import Config
from tspsim.calibrate.oracle.moe.record import Call, Record
from tspsim.calibrate.oracle.observe import FLOPS
from tspsim.calibrate.oracle.world import fake_world


class Layer(nn.Module):
    """A pre-norm layer of one sequence, [tokens, 1, hidden]."""

    def __init__(self, config: Config, rank: int) -> None:
        super().__init__()
        h = config.hidden
        self.counts = config.counts
        self.norm1, self.norm2 = nn.RMSNorm(h), nn.RMSNorm(h)
        sizes: Any = {"hidden": h, "heads": config.heads, "kv_heads": config.kv_heads}
        self.attention = Attention(Job("dtensor", "tp", (("degree", 1),), **sizes))
        self.experts = Block(config, rank)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, the shape of x."""
        x = x + self.attention(self.norm1(x))
        return x + self.experts(self.norm2(x)[:, 0], self.counts)[:, None]


class Calls(TorchDispatchMode):
    """Writes down what every all-to-all sends and receives."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op; note its bytes if it is one."""
        if func.overloadpacket.__name__ == "alltoall_base_":
            received, sent = args[:2]
            self.found.append(Call(sent.nbytes, received.nbytes))
        return func(*args, **(kwargs or {}))


def record(config: Config, rank: int) -> Record:
    """Return what torch counts of one training step of a rank's layer, in bf16."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with fake_world(config.ranks, rank) as fake, fake:
            layer = Layer(config, rank)
            x = torch.randn(config.sequence, 1, config.hidden, requires_grad=True)
            counter, calls = FlopCounterMode(display=False, custom_mapping=FLOPS), Calls()
            with counter, calls:
                HalfSquares.apply(layer(x)).backward()
    finally:
        torch.set_default_dtype(usual)
    return Record(counter.get_total_flops(), tuple(calls.found))
