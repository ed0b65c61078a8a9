"""What the reference computes: sizes of the model, and how one step of it is spread over ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from tspsim.files.errors import UserError

Strategy = Literal["dense", "tsp", "tp", "sp", "tp_sp"]

#: The experts of every token, [batch][sequence][active].
Routes: TypeAlias = tuple[tuple[tuple[int, ...], ...], ...]

#: Half-open ranges of positions, in the order in which a rank stores them.
Ranges: TypeAlias = tuple[tuple[int, int], ...]

#: Shapes by name.
Matrices: TypeAlias = dict[str, tuple[int, ...]]

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
    experts, active : int
        Every layer has so many experts, each as wide as `ffn`, in place of the MLP, and a token
        goes to some of them: weighted by a softmax over all, divided by the sum of its own.
        0: none.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int = 0
    head_dim: int = 0
    experts: int = 0
    active: int = 0

    @property
    def d(self) -> int:
        """Width of one head."""
        return self.head_dim or self.hidden // self.heads

    def layer(self, degree: int = 1) -> dict[str, Matrices]:
        """Return the matrices of one layer, cut `degree` ways, by the pack they travel in."""
        h, f = self.hidden, self.ffn // degree
        q, kv = self.heads * self.d // degree, self.kv_heads * self.d // degree
        attention: Matrices = {"wq": (h, q), "wk": (h, kv), "wv": (h, kv), "wo": (q, h)}
        if not self.experts:
            return {"attention": attention, "mlp": {"gate": (h, f), "up": (h, f), "down": (f, h)}}
        n, f = self.experts // degree, self.ffn
        experts: Matrices = {f"expert_{name}": (n, h, f) for name in ("gate", "up")}
        experts["expert_down"] = (n, f, h)
        return {"router": {"router": (h, self.experts)}, "attention": attention, "experts": experts}


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
    routes : tuple
        The experts that every token goes to, different ones, in every layer.
    travels : {"tokens", "weights"}
        TSP: rows of tokens go to the ranks of their experts and back, or experts' weights go round
        the ring.
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
    routes: Routes = ()
    travels: Literal["tokens", "weights"] = "tokens"

    def __post_init__(self) -> None:
        """Refuse what does not divide, or what a strategy does not take.

        Raises
        ------
        UserError
        """
        shape, chunks = self.shape, self.spread * (2 if self.causal == "zigzag" else 1)
        width = ("experts", shape.experts) if shape.experts else ("ffn", shape.ffn)
        for what, value in (
            ("heads", shape.heads),
            ("kv_heads", shape.kv_heads),
            width,
            ("vocab", shape.vocab),
        ):
            if value % self.cut:
                raise UserError(f"{what}: {self.cut} ranks do not divide {value}")
        if self.spread > 1 and self.sequence % chunks:
            raise UserError(f"sequence: {chunks} chunks do not divide {self.sequence} tokens")
        if shape.d % 2:
            raise UserError(f"head_dim: rotary positions need an even one, not {shape.d}")
        if shape.experts:
            self._refuse_routes()

    def _refuse_routes(self) -> None:
        """Refuse what is no table of every token's experts.

        Raises
        ------
        UserError
        """
        if self.strategy not in ("dense", "tsp"):
            raise UserError(f"experts: under dense and tsp, not under {self.strategy}")
        tokens = [token for sequence in self.routes for token in sequence]
        sizes = len(self.routes), {len(sequence) for sequence in self.routes}
        if sizes != (self.batch, {self.sequence}):
            raise UserError(f"routes: {self.batch} times {self.sequence} tokens have experts")
        known = range(self.shape.experts)
        for token in tokens:
            if len(set(token)) != self.shape.active or not set(token) <= set(known):
                told = f"{self.shape.active} different ones of {self.shape.experts}"
                raise UserError(f"routes: a token goes to {told}, not to {token}")

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
