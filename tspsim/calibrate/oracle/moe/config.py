"""What is asked of torch: the layer of a published model, its tokens, and the ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Config:
    """One layer of a model with experts on a number of ranks.

    Parameters
    ----------
    name : str
        How its records are called.
    family : {"mixtral", "qwen2_moe", "olmoe"}
        ``model_type`` of its config.json.
    hidden, heads, kv_heads, experts, active, width : int
    shared : int
        Width of the shared expert, which has a gate; 0: none.
    sequence : int
        Tokens of one rank.
    ranks : int
    table : tuple of int
        How many tokens of every rank go to each expert; as many to all when empty.
    """

    name: str
    family: Literal["mixtral", "qwen2_moe", "olmoe"]
    hidden: int
    heads: int
    kv_heads: int
    experts: int
    active: int
    width: int
    shared: int = 0
    sequence: int = 8192
    ranks: int = 8
    table: tuple[int, ...] = ()

    @property
    def counts(self) -> tuple[int, ...]:
        """Rows of every expert, of one rank."""
        return self.table or (self.sequence * self.active // self.experts,) * self.experts

    @property
    def normalise(self) -> bool:
        """Whether a token's weights are divided by their sum (``norm_topk_prob``)."""
        return self.family == "mixtral"


_MIXTRAL = (4096, 32, 8, 8, 2, 14336)

#: The configs of record. Sizes are those of the models' config.json.
SUITE = (
    Config("mixtral-8x7b", "mixtral", *_MIXTRAL),
    Config(
        "mixtral-8x7b skewed", "mixtral", *_MIXTRAL, ranks=4,
        table=(8192, 0, 4096, 1024, 1, 2047, 0, 1024),
    ),
    Config(
        "qwen1.5-moe-a2.7b", "qwen2_moe", 2048, 16, 16, 60, 4, 1408, 5632, sequence=7680, ranks=4
    ),
    Config("olmoe-1b-7b", "olmoe", 2048, 16, 16, 64, 8, 1024),
)  # fmt: skip
