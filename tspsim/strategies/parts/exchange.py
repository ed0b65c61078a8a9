"""Chooses how queries meet the keys and values of other ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from tspsim.files.errors import Problem
from tspsim.kernels import Kernels
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.exchanges.base import Exchange
from tspsim.strategies.exchanges.ring import RingExchange
from tspsim.strategies.exchanges.ulysses import UlyssesExchange
from tspsim.strategies.parts.weights import Cut

KvExchange = Literal["all_gather", "ring", "ulysses", "usp"]
#: Those that need no degree of their own.
_PLAIN: tuple[KvExchange, ...] = ("all_gather", "ring", "ulysses")
#: The fewest ranks on which a search mixes two exchanges.
MIXED = 8


def searched(cut: Cut, degree: int) -> dict[str, tuple[Any, ...]]:
    """Return the exchanges over `degree` ranks that a search tries, by option.

    Of usp the widest blocks that heads allow, short of the whole axis: what is left to the ring
    is least then. On fewer than `MIXED` ranks one of the others does.
    """
    blocks = (n for n in range(degree // 2, 1, -1) if degree % n == 0)
    widest = next((n for n in blocks if not any(_head_problems("", cut, n, ""))), None)
    if widest is None or degree < MIXED:
        return {"kv": _PLAIN, "ulysses_degree": (None,)}
    return {"kv": (*_PLAIN, "usp"), "ulysses_degree": (None, widest)}


def make_exchange(
    kv: KvExchange, rank: Rank, tokens: Tokens, *, keep: bool, neighbours: int | None
) -> Exchange:
    """Return the exchange over the axis ``sp``."""
    match kv:
        case "all_gather":
            return AllGatherExchange(rank, tokens, "sp", keep=keep)
        case "ring":
            return RingExchange(rank, tokens, "sp")
        case "ulysses":
            return UlyssesExchange(rank, tokens, "sp", rank.axis("sp").degree)
        case "usp":
            assert neighbours is not None, "see exchange_problems"
            return UlyssesExchange(rank, tokens, "sp", neighbours)


def exchange_problems(
    kv: KvExchange, keep: bool, cut: Cut, degree: int, neighbours: int | None
) -> Iterator[Problem]:
    """Yield what an exchange over `degree` ranks cannot do with the heads of one rank."""
    if keep and kv != "all_gather":
        message = f"kv: {kv} never gathers K and V whole; use kv: all_gather or leave it out"
        yield Problem(("strategy", "keep_gathered_kv"), message)
    if kv == "ulysses":
        yield from _head_problems("kv", cut, degree, "ring or all_gather")
    path = ("strategy", "ulysses_degree")
    if kv != "usp" and neighbours is not None:
        yield Problem(path, f"kv: {kv} has no ulysses_degree; use kv: usp or leave it out")
    elif kv == "usp" and neighbours is None:
        message = "missing; kv: usp needs it: how many neighbours exchange heads, a divisor of "
        yield Problem(path, f"{message}{degree}")
    elif neighbours is not None and degree % neighbours:
        yield Problem(path, f"{neighbours} does not divide the {degree} ranks of the axis")
    elif neighbours is not None:
        yield from _head_problems("ulysses_degree", cut, neighbours, "ring, or a smaller degree")


def merge_problems(
    kernels: Kernels, kv: KvExchange, degree: int, neighbours: int | None
) -> Iterator[Problem]:
    """Yield when partial outputs would have to be merged without the log-sum-exp of a kernel."""
    blocks = degree // (neighbours or 1) if kv == "usp" else degree if kv == "ring" else 1
    if kernels.attention == "unfused" and blocks > 1:
        message = (
            f"unfused attention keeps nothing to merge the ring's partial outputs by (kv: {kv})"
        )
        yield Problem(("kernels", "attention"), f"{message}; use flash-2 or kv: all_gather")


def _head_problems(key: str, cut: Cut, ranks: int, instead: str) -> Iterator[Problem]:
    """Yield when heads cannot be dealt to so many ranks; few key/value heads are repeated."""
    repeats = ranks % cut.kv_heads == 0
    if cut.heads % ranks or not (cut.kv_heads % ranks == 0 or repeats):
        message = (
            f"ulysses cuts a rank's {cut.heads} heads and {cut.kv_heads} kv_heads over {ranks} "
            f"ranks, which does not divide; use kv: {instead}"
        )
        yield Problem(("strategy", key), message)
