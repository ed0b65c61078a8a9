"""What the reference computes: sizes of the model, and how one step of it is spread over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from tspsim.files.errors import UserError

Strategy = Literal["dense", "tsp", "tp", "sp", "tp_sp"]

#: Half-open ranges of positions, in the order in which a rank stores them.
Ranges: TypeAlias = tuple[tuple[int, int], ...]

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a pre-norm decoder: RMSNorm, rotary positions, grouped queries, SwiGLU.

    Parameters
    ----------
    hidden, layers, heads, kv_heads, ffn : int
        Widths and counts.
    vocab : int
        0 leaves out embedding, head and cross-entropy: the objective is ``sum(y ** 2) / 2``.
    head_dim : int
        Width of one head; ``hidden / heads`` when 0.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int = 0
    head_dim: int = 0

    @property
    def d(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden // self.heads

    def layer(self, degree: int = 1) -> dict[str, dict[str, tuple[int, int]]]:
        """Return the matrices of one layer, cut `degree` ways, by the pack they travel in."""
        h, f = self.hidden, self.ffn // degree
        q, kv = self.heads * self.d // degree, self.kv_heads * self.d // degree
        return {
            "attention": {"wq": (h, q), "wk": (h, kv), "wv": (h, kv), "wo": (q, h)},
            "mlp": {"gate": (h, f), "up": (h, f), "down": (f, h)},
        }


@dataclass(frozen=True, slots=True)
class Job:
    """One step of a model on a number of ranks.

    Parameters
    ----------
    shape : Shape
    sequence, batch : int
        Tokens of a sequence, and sequences.
    strategy : {"dense", "tsp", "tp", "sp", "tp_sp"}
        ``dense``: one rank, nothing is sent.
    degree : int
        Ranks of `tsp`, `tp` or `sp`.
    tp, sp : int
        Degrees of the two axes of `tp_sp`; tp varies fastest over ranks.
    kv : {"all_gather", "ring"}
        How queries of `sp` and `tp_sp` meet the keys and values of other ranks.
    causal : {"zigzag", "contiguous", "off"}
        Causal mask and how the sequence lies on the ranks; ``off`` has no mask.
    recompute : {"none", "full"}
    dtype : {"bf16", "fp32", "fp64"}
    lookahead : {0, 1}
        TSP: turns of the attention loop that K and V are gathered ahead.
    scratch : int
        Elements that norm, rotary and loss may hold at a time in single precision.
    tile : int
        Most queries and keys of one attention call whose gradients are added to others.
    """

    shape: Shape
    sequence: int
    batch: int = 1
    strategy: Strategy = "dense"
    degree: int = 1
    tp: int = 1
    sp: int = 1
    kv: Literal["all_gather", "ring"] = "all_gather"
    causal: Literal["zigzag", "contiguous", "off"] = "zigzag"
    recompute: Literal["none", "full"] = "none"
    dtype: Literal["bf16", "fp32", "fp64"] = "bf16"
    lookahead: Literal[0, 1] = 1
    scratch: int = 2**20
    tile: int = 2048

    def __post_init__(self) -> None:
        """Refuse what does not divide, or what a strategy does not take.

        Raises
        ------
        UserError
        """
        shape, chunks = self.shape, self.spread * (2 if self.causal == "zigzag" else 1)
        for what, value in (
            ("heads", shape.heads),
            ("kv_heads", shape.kv_heads),
            ("ffn", shape.ffn),
            ("vocab", shape.vocab),
        ):
            if value % self.cut:
                raise UserError(f"{what}: {self.cut} ranks do not divide {value}")
        if self.spread > 1 and self.sequence % chunks:
            raise UserError(f"sequence: {chunks} chunks do not divide {self.sequence} tokens")
        if shape.d % 2:
            raise UserError(f"head_dim: rotary positions need an even one, not {shape.d}")

    @property
    def cut(self) -> int:
        """Number of ranks that weights are cut over."""
        return {"tsp": self.degree, "tp": self.degree, "tp_sp": self.tp}.get(self.strategy, 1)

    @property
    def spread(self) -> int:
        """Number of ranks that the sequence is cut over."""
        return {"tsp": self.degree, "sp": self.degree, "tp_sp": self.sp}.get(self.strategy, 1)

    @property
    def world(self) -> int:
        """Number of ranks."""
        return self.cut if self.strategy == "tsp" else self.cut * self.spread

    @property
    def tokens(self) -> int:
        """Tokens of one sequence on one rank."""
        return self.sequence // self.spread

    @property
    def torch_dtype(self) -> torch.dtype:
        """Type of weights, activations and messages."""
        return DTYPES[self.dtype]

    @property
    def statistics(self) -> torch.dtype:
        """Type of norms' scales, log-sum-exp and loss: single precision at least."""
        return torch.promote_types(self.torch_dtype, torch.float32)

    @property
    def ids(self) -> torch.dtype:
        """Type of token ids; as wide as activations where those are wider than four bytes."""
        return torch.int64 if self.dtype == "fp64" else torch.int32

    def ranges(self, coordinate: int) -> Ranges:
        """Return the positions that a coordinate of the sequence's axis holds.

        Zigzag cuts the sequence into 2D chunks and gives rank p chunks p and 2D - 1 - p, so that
        causal work is equal on all ranks.
        """
        if self.causal == "zigzag" and self.spread > 1:
            half, mirror = self.tokens // 2, 2 * self.spread - 1 - coordinate
            chunks = (coordinate, mirror)
            return tuple((chunk * half, (chunk + 1) * half) for chunk in chunks)
        return ((coordinate * self.tokens, (coordinate + 1) * self.tokens),)

    def positions(self, coordinate: int) -> torch.Tensor:
        """Return the positions of `ranges`, shape (tokens,)."""
        return torch.cat([torch.arange(a, b) for a, b in self.ranges(coordinate)])

    def local(self, x: torch.Tensor, coordinate: int) -> torch.Tensor:
        """Return a coordinate's tokens of a whole [batch, sequence, ...] tensor."""
        return torch.cat([x[:, a:b] for a, b in self.ranges(coordinate)], dim=1)
