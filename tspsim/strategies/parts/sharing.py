"""The options of replicas that share what goes with their weights: which of them contradict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from tspsim.files.errors import Problem
from tspsim.program.replicas import BUCKET

if TYPE_CHECKING:
    from tspsim.strategies.base import StrategyOptions


class Blocks(BaseModel):
    """Blocks of neighbouring replicas.

    Parameters
    ----------
    degree : int
        Replicas of a block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    degree: int = Field(ge=1, le=16384, description="replicas of a block")


#: By option: the least `zero` with which it says something, and what less than that does instead.
_NEEDS = {
    "overlap_weights": (1, "gathers no weights"),
    "shard": (1, "shares nothing"),
    "reduce": (2, "sums the resident gradients themselves"),
    "sync": (2, "sums gradients once per step"),
    "reshard": (3, "keeps all weights"),
}


def sharing_problems(options: StrategyOptions) -> Iterator[Problem]:
    """Yield what is wrong with what replicas share; paths are from the root of the scenario."""
    fields = type(options).model_fields
    for name, (least, why) in _NEEDS.items():
        if getattr(options, name) != fields[name].default and options.zero < least:
            message = f"zero: {options.zero} {why}; set zero: {least} or leave it out"
            yield Problem(("strategy", name), message)
    yield from _order_problems(options)
    yield from _block_problems(options)
    yield from _neighbour_problems(options)


def _order_problems(options: StrategyOptions) -> Iterator[Problem]:
    """Yield options that ask for another order than the one there is."""
    zero = options.zero
    if zero >= 2 and options.overlap_gradients is False:
        message = f"zero: {zero} reduces a layer's gradients behind its backward"
        yield Problem(("strategy", "overlap_gradients"), f"{message}; leave it out, or set zero: 1")
    if zero == 3 and options.overlap_weights:
        message = "zero: 3 gathers a layer's weights whenever they are needed"
        yield Problem(("strategy", "overlap_weights"), f"{message}; leave it out, or set zero: 2")
    if zero == 3 and options.bucket != BUCKET:
        message = "with zero: 3 the weights of a layer are a message"
        yield Problem(("strategy", "bucket"), f"{message}; leave it out, or set zero: 2")
    if options.pp and options.sync == "every":
        message = "found 'every': a pipeline's stages reduce gradients once per step"
        yield Problem(("strategy", "sync"), f"{message}; allowed: last")


def _block_problems(options: StrategyOptions) -> Iterator[Problem]:
    """Yield blocks that do not fill the replicas."""
    dp, block = options.dp, options.shard
    if block and dp % block.degree:
        message = f"blocks of {block.degree} do not fill {dp} replicas (dp)"
        yield Problem(("strategy", "shard", "degree"), f"{message}; allowed: {_divisors(dp)}")


def _neighbour_problems(options: StrategyOptions) -> Iterator[Problem]:
    """Yield a number of neighbours that does not divide those who share the weights."""
    if type(options.reshard) is not int or (options.shard and options.dp % options.shard.degree):
        return
    members = options.sharers
    if options.reshard < 2 or members % options.reshard:
        message = f"found {options.reshard}; {members} ranks share the weights"
        allowed = _divisors(members).partition(", ")[2]
        yield Problem(("strategy", "reshard"), f"{message}; allowed: true, false, {allowed}")


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, number + 1) if number % n == 0)
