"""The block with experts of three families, its experts dealt over the ranks of a group.

As in the families' public code: scores in single precision, the largest ones of a token chosen,
divided by their sum under Mixtral alone; an expert is ``down(silu(gate(x)) * up(x))``; Qwen2-MoE
adds a shared expert times the sigmoid of a gate. Only what travels is added: rows sorted by expert
go to its rank by an all-to-all, and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from tspsim.calibrate.oracle.moe.config import Config


class Exchange(torch.autograd.Function):
    """An all-to-all of rows; its backward sends them the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, give: list[int], take: list[int]) -> Tensor:
        """Send so many rows to every rank; return what they send."""
        ctx.way = take, give
        return _exchanged(x, give, take)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        """Send gradients back."""
        return _exchanged(dy, *ctx.way), None, None


def _exchanged(x: Tensor, give: list[int], take: list[int]) -> Tensor:
    out = x.new_empty(sum(take), x.shape[1])
    dist.all_to_all_single(out, x.contiguous(), take, give)
    return out


class Expert(nn.Module):
    """A gated MLP."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return its output."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """Router, this rank's experts, and a shared one.

    Parameters
    ----------
    config : Config
    rank : int
    """

    def __init__(self, config: Config, rank: int = 0) -> None:
        super().__init__()
        self.config, self.rank, h = config, rank, config.hidden
        self.gate = nn.Linear(h, config.experts, bias=False)
        here = range(config.experts // config.ranks)
        self.experts = nn.ModuleList(Expert(h, config.width) for _ in here)
        if config.shared:
            self.shared_expert = Expert(h, config.shared)
            self.shared_expert_gate = nn.Linear(h, 1, bias=False)

    def forward(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """Return the block's output for x, [tokens, hidden].

        Parameters
        ----------
        x : Tensor
        counts : sequence of int
            How many tokens of every rank go to each expert: what the router's choice comes to.
        """
        scores = self.gate(x).softmax(-1, torch.float)
        weights, chosen = scores.topk(self.config.active, -1)
        if self.config.normalise:
            weights = weights / weights.sum(-1, keepdim=True)
        choice = chosen.flatten().argsort(stable=True)
        token = choice // self.config.active
        made = self._made(x[token], counts)
        weighted = made * weights.to(x.dtype).flatten()[choice, None]
        out = torch.zeros_like(x).index_add(0, token, weighted)
        if not self.config.shared:
            return out
        return out + torch.sigmoid(self.shared_expert_gate(x)) * self.shared_expert(x)

    def _made(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Return what the experts of all ranks make of rows in their order."""
        each, ranks = len(self.experts), self.config.ranks
        give = [sum(counts[i : i + each]) for i in range(0, len(counts), each)]
        mine = list(counts[self.rank * each :][:each])
        take = [sum(mine)] * ranks
        pieces = Exchange.apply(rows, give, take).split(mine * ranks)
        made = [
            expert(torch.cat(pieces[i::each])).split(mine[i]) if mine[i] else pieces[i::each]
            for i, expert in enumerate(self.experts)
        ]
        by_sender = [made[i][sender] for sender in range(ranks) for i in range(each)]
        return Exchange.apply(torch.cat(by_sender), take, give)
