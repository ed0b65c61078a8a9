"""From a block's input to queries, keys and values: by projections, or from latents."""

from __future__ import annotations

from typing import Any, Protocol

from tspsim.program.axis import Axis
from tspsim.program.cached import Rows
from tspsim.program.packed import Packed
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange
from tspsim.strategies.caches.latents import AbsorbedLatents, ExpandedLatents, LatentsGathered
from tspsim.strategies.exchanges.base import CoreTape, Exchange
from tspsim.strategies.parts.head_norms import NormWeights
from tspsim.strategies.parts.latent_heads import LatentGather, LatentProjections
from tspsim.strategies.parts.projections import Bucket, Gradients, Projections


class Projecting(Protocol):
    """What stands in front of the attention core, for one bucket of heads at a time.

    The input, and its gradient, are an operand or latents.
    """

    def spread(self, x: Any) -> Any:
        """Return the input with what of it is gathered before keys and values are made."""

    def collect(self, dx: Any) -> Any:
        """Return the gradient of the rank's own tokens."""

    def queries(self, x: Any, to: Bucket) -> Operand:
        """Return the queries."""

    def keys_values(self, x: Any, to: Bucket) -> tuple[Operand, Operand]:
        """Return keys and values."""

    def output(self, o: Operand, to: Bucket) -> Operand:
        """Return the heads' outputs as the way back reads them."""

    def saves(self, x: Any, to: Bucket) -> None:
        """Record what backward reads beside keys and values, where gathered ones were kept."""

    def before_positions(
        self, gradients: Gradients, tape: CoreTape, norms: NormWeights
    ) -> Gradients:
        """Return the gradients of matrix products from those of q, k and v."""

    def weighed(self, x: Any) -> Any:
        """Return what weight gradients read of the input."""

    def input_gradient(
        self, gradients: Gradients, w: Packed, bucket: int, add_to: Any = None
    ) -> Any:
        """Return the gradient of the input."""

    def weight_gradients(
        self, x: Any, gradients: Gradients, into: Packed, bucket: int, *, add: bool = True
    ) -> None:
        """Add (or write) the gradients of the weights."""


def projections_of(
    rank: Rank,
    tokens: Tokens | Rows,
    axis: Axis | None = None,
    gather: LatentGather | None = None,
    exchange: Exchange | None = None,
) -> Projecting:
    """Return what a rank's model has in front of the core.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
    axis : Axis, optional
        Cuts the heads.
    gather : LatentGather, optional
        Brings the latents of all tokens, where these travel and not keys and values.
    exchange : Exchange, optional
        Of a step of inference.
    """
    if isinstance(exchange, LatentsGathered):
        return ExpandedLatents(rank, exchange.rows, exchange)
    if rank.model.latent and isinstance(exchange, CachedExchange):
        return AbsorbedLatents(rank, tokens)
    if rank.model.latent:
        return LatentProjections(rank, tokens, gather)
    return Projections(rank, tokens, axis)
