"""What is asked of torch: the layers of a model, a strategy, and what one step computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tspsim.model import ModelShape
from tspsim.requests import Request


@dataclass(frozen=True, slots=True)
class Config:
    """One step of inference.

    Parameters
    ----------
    name : str
        How its records are called.
    model : ModelShape
    strategy : {"tp", "sp", "tp_sp", "tsp"}
    options : tuple of (str, value)
        Of the strategy, as in a scenario.
    requests : tuple of Request
        The sequences as the step finds them.
    causal : {"zigzag", "contiguous"}
    """

    name: str
    model: ModelShape
    strategy: Literal["tp", "sp", "tp_sp", "tsp"]
    options: tuple[tuple[str, Any], ...]
    requests: tuple[Request, ...]
    causal: Literal["zigzag", "contiguous"] = "zigzag"

    def option(self, name: str, otherwise: Any = None) -> Any:
        """Return one of the strategy's options."""
        return dict(self.options).get(name, otherwise)

    @property
    def cut(self) -> int:
        """Ranks that weights are cut over."""
        return int(self.option("degree" if self.strategy in ("tp", "tsp") else "tp", 1))

    @property
    def spread(self) -> int:
        """Ranks that cached tokens are cut over."""
        return int(self.option("degree" if self.strategy in ("sp", "tsp") else "sp", 1))

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.cut if self.strategy == "tsp" else self.cut * self.spread

    @property
    def looked_at(self) -> tuple[int, int]:
        """The ranks whose records are kept: the first, and the last, which may hold less."""
        return 0, self.ranks - 1

    @property
    def copies(self) -> int:
        """Neighbours so many at a time hold the same key/value head."""
        return max(1, self.cut // self.model.kv_heads)

    @property
    def decodes(self) -> bool:
        """Whether tokens come singly."""
        return self.requests[0].decodes


#: One layer of Llama 3 70B (arXiv 2407.21783, table 3), with embedding and head.
LLAMA = ModelShape(8192, 1, 64, 8, 28672, vocab=128256, head_dim=128)

_DECODE = (Request(1, (8192,), 0, True),) * 64
_UNEVEN = tuple(Request(1, (1000 * n,), n, True) for n in range(1, 17))
_PROMPT = (Request(131072),)
#: 5 % of a prompt are new: near where passing queries begins to send less (arXiv 2411.01783).
_RESUMED = (Request(6554, (124518,)),)

_TP, _SP, _TSP = ((("degree", 8),),) * 3
_BOTH = (("tp", 4), ("sp", 2))
_WIDE = (("degree", 16), ("replicate_kv_heads", True))

#: The configs of record.
SUITE = (
    Config("decode tp", LLAMA, "tp", _TP, _DECODE),
    Config("decode sp", LLAMA, "sp", _SP, _DECODE),
    Config("decode sp, k/v travel", LLAMA, "sp", (*_SP, ("passes", "kv")), _DECODE),
    Config("decode tp_sp", LLAMA, "tp_sp", _BOTH, _DECODE),
    Config("decode tsp", LLAMA, "tsp", _TSP, _DECODE),
    Config("decode tp, heads twice", LLAMA, "tp", _WIDE, _DECODE),
    Config("decode tsp, heads twice", LLAMA, "tsp", _WIDE, _DECODE),
    Config("decode tsp, uneven", LLAMA, "tsp", _TSP, _UNEVEN),
    Config("prefill tp", LLAMA, "tp", _TP, _PROMPT),
    Config("prefill sp", LLAMA, "sp", _SP, _PROMPT),
    Config("prefill sp, queries travel", LLAMA, "sp", (*_SP, ("passes", "queries")), _PROMPT),
    Config("prefill tp_sp", LLAMA, "tp_sp", _BOTH, _PROMPT),
    Config("prefill tsp", LLAMA, "tsp", _TSP, _PROMPT),
    Config("resumed sp", LLAMA, "sp", _SP, _RESUMED),
    Config("resumed sp, queries travel", LLAMA, "sp", (*_SP, ("passes", "queries")), _RESUMED),
    Config("resumed tsp", LLAMA, "tsp", _TSP, _RESUMED, "contiguous"),
)
