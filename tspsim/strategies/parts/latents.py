"""What latent attention reads of a token: the short vectors that its heads are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tspsim.program.types import Operand


@dataclass(frozen=True, slots=True)
class Latents:
    """What the ways up read of some tokens; or the gradients of that.

    Parameters
    ----------
    queries : Operand
        The latent of queries; the stream, where queries have none.
    kv : Operand
        That of keys and values.
    shared : Operand or None
        The part of a key that all heads share, turned by positions; None: it is not read.
    """

    queries: Operand
    kv: Operand
    shared: Operand | None

    @property
    def operands(self) -> tuple[Operand, ...]:
        """All that are there."""
        return tuple(x for x in (self.queries, self.kv, self.shared) if x)


def through(x: Operand | Latents, call: Callable[..., tuple[Operand, ...]]) -> Operand | Latents:
    """Return what a collective makes of an operand, or of latents in one message."""
    if not isinstance(x, Latents):
        return call(x)[0]
    queries, kv, *shared = call(*x.operands)
    return Latents(queries, kv, *shared or (None,))
