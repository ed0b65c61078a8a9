"""What a replica is asked and what it may use: frozen values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

#: What a step computes: of every sequence in it, its new tokens and those that are cached. A row
#: of decode is ``(1, cached)``, a chunk of a prompt ``(n, cached)``.
Rows: TypeAlias = tuple[tuple[int, int], ...]
#: Seconds of a step.
StepTime: TypeAlias = Callable[[Rows], float]


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, and how many tokens are wanted.

    Parameters
    ----------
    arrival : float
        Seconds.
    prompt, new_tokens : int
        One or more of each. The prompt's last chunk gives the first new token.
    """

    arrival: float
    prompt: int
    new_tokens: int

    @property
    def most_cached(self) -> int:
        """Tokens that it has in the cache in its last step: nothing is computed of the last one."""
        return self.prompt + self.new_tokens - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step may hold.

    Parameters
    ----------
    tokens : int
        New tokens of a step: rows of decode, and then chunks of prompts. At least `sequences`.
    sequences : int
        Sequences that run at a time.
    """

    tokens: int = 8192
    sequences: int = 256


@dataclass(frozen=True, slots=True)
class Cache:
    """The cache of keys and values of one replica, in blocks (pages).

    Parameters
    ----------
    blocks : int
    block : int
        Tokens of one block; a block holds tokens of one sequence.
    bytes_per_token : float
        Of all ranks together.
    """

    blocks: int
    block: int = 16
    bytes_per_token: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of one sequence that fit where it is alone."""
        return self.blocks * self.block

    def of(self, tokens: int) -> int:
        """Return the blocks that hold so many tokens of one sequence."""
        return -(-tokens // self.block)
