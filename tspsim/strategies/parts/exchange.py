"""Chooses how queries meet the keys and values of other ranks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tspsim.files.errors import Problem
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.exchanges.base import Exchange
from tspsim.strategies.exchanges.ring import RingExchange
from tspsim.strategies.exchanges.ulysses import UlyssesExchange
from tspsim.strategies.parts.weights import Cut

KvExchange = Literal["all_gather", "ring", "ulysses"]


def make_exchange(kv: KvExchange, rank: Rank, tokens: Tokens, *, keep: bool) -> Exchange:
    """Return the exchange over the axis ``sp``."""
    match kv:
        case "all_gather":
            return AllGatherExchange(rank, tokens, "sp", keep=keep)
        case "ring":
            return RingExchange(rank, tokens, "sp")
        case "ulysses":
            return UlyssesExchange(rank, tokens, "sp")


def exchange_problems(kv: KvExchange, keep: bool, cut: Cut, degree: int) -> Iterator[Problem]:
    """Yield what an exchange over `degree` ranks cannot do with the heads of one rank."""
    if keep and kv != "all_gather":
        message = f"kv: {kv} never gathers K and V whole; use kv: all_gather or leave it out"
        yield Problem(("strategy", "keep_gathered_kv"), message)
    divides = cut.heads % degree == 0 and cut.kv_heads % degree == 0
    if kv == "ulysses" and not divides:
        message = (
            f"ulysses cuts a rank's {cut.heads} heads and {cut.kv_heads} kv_heads over {degree} "
            "ranks, which does not divide; use kv: ring or all_gather"
        )
        yield Problem(("strategy", "kv"), message)
