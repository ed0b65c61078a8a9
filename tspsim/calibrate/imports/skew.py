"""How uneven experts are in the package's skewed rows: it draws their tokens from a power law."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

#: Draws that a measured time is the mean of, and the seed of ours: those of a row are not stated.
_DRAWS, _SEED = 5, 0

#: Between which an expert's share is drawn, in tokens and as a part of all tokens.
_LEAST, _MOST = 1.0, 0.8


@lru_cache(maxsize=4096)
def fullest(tokens: int, experts: int, topk: int, ranks: int, exponent: float) -> float:
    """Return the rows of the busiest of the ranks that experts are dealt to: the one measured.

    Shares are drawn from the density ``x ** -exponent``, as ``power_law_logits_v3`` of
    ai-dynamo/aiconfigurator (Apache-2.0) does; an expert has every token once at most, and what it
    would have beyond goes to the others.
    """
    power = 1 - exponent
    low, high = _LEAST**power, (_MOST * tokens) ** power
    uniform = np.random.default_rng(_SEED).random((_DRAWS, experts))
    drawn = (low + uniform * (high - low)) ** (1 / power)
    counts = drawn / drawn.sum(axis=1, keepdims=True) * tokens * topk
    while (over := np.maximum(counts - tokens, 0).sum(axis=1, keepdims=True)).max() > 1.0:
        free = counts < tokens
        counts = np.minimum(counts, tokens) + free * over / free.sum(axis=1, keepdims=True)
    return float(counts.reshape(_DRAWS, ranks, -1).sum(axis=2).max(axis=1).mean())
