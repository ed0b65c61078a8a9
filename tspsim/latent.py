"""Multi-head latent attention: keys and values of all heads come from one short vector a token.

DeepSeek-V2 (arXiv 2405.04434, section 2.1). A token is projected down to a latent and to one key
that all heads share and that alone has positions; the latent, behind a norm, is projected up to
keys and values of every head. Queries may take such a way down and up too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latent:
    """Widths of latent attention.

    Parameters
    ----------
    kv_rank : int
        Of the latent of keys and values.
    nope, rope : int
        Of a query's or key's part without, and with, rotary positions; the latter is one for all
        heads of a key.
    value : int
        Of one head's values.
    q_rank : int, optional
        Of the queries' latent; None: queries are projected from the stream (DeepSeek-V2-Lite).
    """

    kv_rank: int
    nope: int
    rope: int
    value: int
    q_rank: int | None = None

    @property
    def head(self) -> int:
        """Width of one head's queries and keys."""
        return self.nope + self.rope

    @property
    def up(self) -> int:
        """Columns that one head has of the way up to keys and values: both, without positions."""
        return self.nope + self.value

    @property
    def norms(self) -> dict[str, int]:
        """Widths of the norms of latents, by tensor."""
        queries = {"q_norm": self.q_rank} if self.q_rank else {}
        return {**queries, "kv_norm": self.kv_rank}

    def down(self, hidden: int) -> dict[str, tuple[int, int]]:
        """Return the shapes of the ways down, which all heads share."""
        queries = {"wq_a": (hidden, self.q_rank)} if self.q_rank else {}
        return {**queries, "wkv_a": (hidden, self.kv_rank + self.rope)}

    def matrices(self, hidden: int, heads: int) -> dict[str, tuple[int, int]]:
        """Return the shapes of all matrices, as the dense model has them."""
        query = ("wq_b", self.q_rank) if self.q_rank else ("wq", hidden)
        return {
            **self.down(hidden),
            query[0]: (query[1], heads * self.head),
            "wkv_b": (self.kv_rank, heads * self.up),
            "wo": (heads * self.value, hidden),
        }

    def moved(self, hidden: int) -> Iterator[int]:
        """Yield the widths of what the ways up read of a token: latents, or the stream itself."""
        yield self.q_rank or hidden
        yield self.kv_rank
        yield self.rope
