"""Where experts lie, and what travels between them and the tokens: the option ``experts:``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

from tspsim.experts import Experts
from tspsim.files.errors import Problem
from tspsim.mesh import DP, SHARD
from tspsim.model import ModelShape, Workload
from tspsim.program.activations import ActivationShard
from tspsim.program.rank import Rank
from tspsim.program.stages import AtOnce
from tspsim.strategies.experts.base import ExpertLayer
from tspsim.strategies.experts.ring import ExpertsTravel
from tspsim.strategies.experts.tensor import ExpertsCut
from tspsim.strategies.experts.tokens import TokensTravel
from tspsim.strategies.experts.tokens_cut import TokensTravelCut
from tspsim.strategies.experts.tokens_once import TokensTravelOnce
from tspsim.strategies.experts.two_level import TwoLevel
from tspsim.strategies.parts.placement import Axes

if TYPE_CHECKING:
    from tspsim.strategies.base import StrategyOptions


#: What travels.
Layout: TypeAlias = Literal["tokens", "ring", "tensor"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


class Spread(BaseModel):
    """How the experts of a layer are spread over ranks.

    Parameters
    ----------
    layout : {"tokens", "ring", "tensor"}
        ``tokens``: ranks hold some experts, and tokens travel to them. ``ring``: weights of experts
        go round, tokens stay. ``tensor``: every rank has a part of each expert and sees all tokens.
    over : tuple of str, optional
        The axes, innermost first; the strategy's own when not given. With ``dp`` among them,
        experts lie on ranks of several replicas.
    degree : int, optional
        Ranks that hold all experts together: with ``dp`` in `over`, so many neighbours; all when
        not given.
    cut : tuple of str, optional
        With ``tokens``: axes over which a rank's experts are cut, besides (Megatron-LM's ETP).
        Ranks along them hold different tokens, and gather the rows that have come.
    once : {"rank", "node"}, optional
        With ``tokens``: a token that has several experts on a rank is sent there once; or once to
        every node, which the last axis of `over` but one lies across, and on inside it.
    pieces : int
        With ``tokens``: so many parts of every rank's experts, one after another: rows of one
        travel while those of another are multiplied.
    shards : {"experts", "columns"}
        With ``ring``: what goes round, whole experts or some columns of all.
    slots : int
        With ``ring``: places for travelling weights.
    overlap : {"two_batches", "forward_backward"}, optional
        Passes of two micro-batches are issued in turn, so that what one of them says travels while
        the other computes. ``two_batches``: two forwards, then their two backwards (two-batch
        overlap, as of DeepSeek-V3's prefill and SGLang). ``forward_backward``: the forward of a
        micro-batch, and the backward of the one before (Megatron-Core's
        ``overlap_moe_expert_parallel_comm``). In a pipeline the schedule says what is paired.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    layout: Layout = Field(
        "tokens", description="what travels: tokens, or experts' weights; tensor: experts are cut"
    )
    over: Annotated[tuple[str, ...], Field(strict=False)] | None = Field(
        None, description="axes that experts are spread over, innermost first"
    )
    degree: int | None = Field(None, ge=1, description="ranks that hold all experts together")
    cut: Annotated[tuple[str, ...], Field(strict=False)] = Field(
        (), description="layout: tokens: axes that every expert is cut over, besides"
    )
    shards: Literal["experts", "columns"] = Field(
        "experts", description="layout: ring: whole experts travel, or columns of all"
    )
    once: Literal["rank", "node"] | None = Field(
        None, description="layout: tokens: a token goes once to a rank, or to a node and on in it"
    )
    pieces: int = Field(
        1, ge=1, description="layout: tokens: rows of some experts travel while others' multiply"
    )
    slots: int = Field(2, ge=2, le=16384, description="layout: ring: places for travelling weights")
    overlap: AtOnce | None = Field(
        None, description="passes of two micro-batches are issued in turn: what one says is hidden"
    )

    def text(self) -> str:
        """Return it in a few words, such as ``"ring over tsp, dp"``."""
        words = [self.layout, *([f"over {', '.join(self.over)}"] if self.over else [])]
        words += [f"of {self.degree}"] if self.degree else []
        words += [f"overlap {self.overlap}"] if self.overlap else []
        return " ".join(words)

    def block(self, own: int, dp: int) -> int:
        """Return the neighbouring replicas that hold all experts together; 1 where it cannot be.

        Parameters
        ----------
        own : int
            Ranks along the strategy's own axes that are in `over`.
        dp : int
        """
        if DP not in (self.over or ()):
            return 1
        block = dp if self.degree is None else max(1, self.degree // own)
        return 1 if dp % block else block


def axes_of(options: StrategyOptions) -> tuple[str, ...]:
    """Return the axes of a strategy's mesh that experts are spread over, outermost first."""
    spread, own = options.spread, tuple(name for name, _ in options.axes())
    if spread.over is None:
        return own
    named = tuple(reversed(spread.over))
    if DP not in named:
        return named
    whole = options.expert_block == options.dp and options.shard is None
    replicas = DP if whole else SHARD
    return tuple(replicas if name == DP else name for name in named)


def apart(options: StrategyOptions) -> tuple[str, ...]:
    """Return the axes along which ranks hold different parts of the experts."""
    return (*axes_of(options), *options.spread.cut)


def make_experts(options: StrategyOptions, rank: Rank, place: ActivationShard) -> ExpertLayer:
    """Return the layout of a rank's experts.

    Parameters
    ----------
    options : StrategyOptions
    rank : Rank
    place : ActivationShard
        Which tokens it holds between blocks.
    """
    spread, over = options.spread, axes_of(options)
    cut = (DP, SHARD, *options.cuts_tokens(rank.workload))
    here, travel = ([n for n in over if (n in cut) == there] for there in (False, True))
    if spread.layout == "ring":
        return ExpertsTravel(rank, place, over, shards=spread.shards, slots=spread.slots)
    if spread.layout == "tensor":
        return ExpertsCut(rank, place, tuple(here), tuple(travel))
    if spread.cut:
        return TokensTravelCut(rank, place, tuple(here), tuple(travel), spread.cut, spread.pieces)
    if spread.once is None:
        return TokensTravel(rank, place, tuple(here), tuple(travel), spread.pieces)
    once = TokensTravelOnce if spread.once == "rank" else TwoLevel
    return once(rank, place, tuple(here), tuple(travel))


def searched(axes: Axes, dp: int, experts: Experts) -> Iterator[Spread | None]:
    """Yield the spreads that a search tries: every layout, over own axes and over replicas too.

    Over as many replicas as divide experts, or the columns of one that is cut. None: tokens travel
    over own axes; where there are none, every rank has all experts.
    """
    own = tuple(name for name, degree in reversed(axes) if degree > 1)
    ranks = math.prod(degree for _, degree in axes)
    for layout in LAYOUTS:
        if layout == "tokens":
            yield None
        elif own:
            yield Spread(layout=layout)
        whole = experts.width if layout == "tensor" else experts.count
        fit = (n for n in range(dp, 1, -1) if dp % n == 0 and whole % (n * ranks) == 0)
        for replicas in islice(fit, 1):
            degree = None if replicas == dp else replicas * ranks
            yield Spread(layout=layout, over=(*own, DP), degree=degree)


def spread_problems(
    options: StrategyOptions, model: ModelShape, workload: Workload
) -> Iterator[Problem]:
    """Yield what is wrong with where experts lie."""
    if model.experts is None:
        if options.experts is not None:
            message = "the model has none; give it model.experts, or leave this out"
            yield Problem(("strategy", "experts"), message)
        return
    problems = [*_axis_problems(options, workload), *_cut_problems(options, workload)]
    problems += [*_degree_problems(options), *_overlap_problems(options, workload)]
    yield from problems
    if not problems:
        yield from _dividing_problems(options, model)


def _axis_problems(options: StrategyOptions, workload: Workload) -> Iterator[Problem]:
    known = (*(name for name, _ in reversed(options.axes())), DP)
    path = ("strategy", "experts", "over")
    for position, name in enumerate(options.spread.over or ()):
        if name not in known:
            message = f"found '{name}'; this strategy's axes are {', '.join(known)}"
            yield Problem((*path, position), message)
        elif name in (options.spread.over or ())[:position]:
            yield Problem((*path, position), f"'{name}' stands there twice; name every axis once")
    cut = (DP, SHARD, *options.cuts_tokens(workload))
    same = [n for n in axes_of(options) if n not in cut]
    if options.spread.layout == "ring" and same:
        message = f"found 'ring', and ranks along {', '.join(same)} hold the same tokens"
        yield Problem((*path[:-1], "layout"), f"{message}; allowed: tokens, tensor")
    yield from _level_problems(options, (*path[:-1], "once"), same)
    if options.spread.over == ():
        yield Problem(path, f"found none; allowed: some of {', '.join(known)}")


def _cut_problems(options: StrategyOptions, workload: Workload) -> Iterator[Problem]:
    """Yield why experts that tokens travel to cannot be cut as well."""
    spread, path = options.spread, ("strategy", "experts", "cut")
    if spread.cut and (spread.layout != "tokens" or spread.once):
        what = f"once: {spread.once}" if spread.once else f"layout: {spread.layout}"
        yield Problem(path, f"found {', '.join(spread.cut)}; {what} has no such cut: leave it out")
        return
    cuts = reversed(options.cuts_tokens(workload))
    free = [n for n in cuts if n not in (spread.over or ())]
    for position, name in enumerate(spread.cut):
        if spread.over is None or name not in free or name in spread.cut[:position]:
            allowed = f"allowed: {', '.join(free)}" if free and spread.over else "none is allowed"
            message = f"found '{name}'; {allowed}: axes along which tokens are cut, each once"
            yield Problem((*path, position), f"{message}, and none of over, which is to be stated")


def _level_problems(
    options: StrategyOptions, path: tuple[str, ...], same: list[str]
) -> Iterator[Problem]:
    """Yield why tokens cannot go to nodes first."""
    spread, mesh = options.spread, options.mesh()
    if spread.once is None:
        return
    if spread.layout != "tokens":
        yield Problem(path, f"layout: {spread.layout} sends no tokens to experts; leave it out")
    elif spread.once == "node":
        degrees = [mesh.degree(name) for name in axes_of(options)]
        if same or len(degrees) < 2:
            message = (
                "found 'node'; experts must lie over an axis inside of nodes and others across"
            )
            yield Problem(path, f"{message}, all with tokens of their own, such as over: [tsp, dp]")


def _degree_problems(options: StrategyOptions) -> Iterator[Problem]:
    spread, path = options.spread, ("strategy", "experts", "degree")
    if spread.degree is None:
        return
    degrees = dict(options.axes())
    own = 1
    for name in spread.over or degrees:
        own *= degrees.get(name, 1)
    if DP not in (spread.over or ()):
        if spread.degree != own:
            axes = ", ".join(spread.over or degrees)
            message = f"found {spread.degree}; over {axes} there are {own} ranks, without dp"
            yield Problem(path, f"{message}: leave it out, or set over: [{axes}, dp]")
    elif spread.degree % own or options.dp % (spread.degree // own):
        fit = [own * n for n in range(1, options.dp + 1) if options.dp % n == 0]
        yield Problem(path, f"found {spread.degree}; allowed: {', '.join(map(str, fit))}")
    elif options.shard and options.shard.degree != spread.degree // own:
        blocks, states = spread.degree // own, options.shard.degree
        message = f"found {spread.degree}: {blocks} replicas hold all experts, and {states} share "
        yield Problem(path, f"{message}states (strategy.shard); allowed: {own * states}")


def _overlap_problems(options: StrategyOptions, workload: Workload) -> Iterator[Problem]:
    """Yield why passes of two micro-batches cannot be issued in turn."""
    overlap, path = options.spread.overlap, ("strategy", "experts", "overlap")
    if overlap is None:
        return
    many, found = workload.micro_batches, f"found '{overlap}'"
    if options.pp:
        message = f"{found}; in a pipeline the schedule pairs passes: leave it out, and take"
        yield Problem(path, f"{message} strategy.pp.schedule: dualpipe_v or dualpipe")
    elif options.mesh().degree(apart(options)) == 1:
        yield Problem(path, f"{found}; every rank has all experts, nothing travels: leave it out")
    elif overlap == "forward_backward" and workload.phase != "train":
        message = f"{found}; phase: {workload.phase} has no backward"
        yield Problem(path, f"{message}; allowed: two_batches")
    elif overlap == "two_batches" and many % 2:
        message = f"found {many}; experts.overlap: two_batches takes an even number"
        yield Problem(("workload", "micro_batches"), f"{message}: {many + 1}")
    elif many < 2:
        message = f"found {many}; experts.overlap: {overlap} takes two or more"
        yield Problem(("workload", "micro_batches"), message)


def _dividing_problems(options: StrategyOptions, model: ModelShape) -> Iterator[Problem]:
    spread, experts = options.spread, model.experts
    assert experts is not None
    degree, path = options.mesh().degree(axes_of(options)), ("strategy", "experts")
    columns = spread.layout == "tensor" or (spread.layout == "ring" and spread.shards == "columns")
    size, what = (experts.width, "columns of an expert") if columns else (experts.count, "experts")
    if spread.pieces > 1 and (spread.layout != "tokens" or spread.once):
        what = f"once: {spread.once}" if spread.once else f"layout: {spread.layout}"
        yield Problem((*path, "pieces"), f"found {spread.pieces}; {what} sends all at once")
    elif experts.count // degree % spread.pieces:
        message = f"found {spread.pieces}; does not divide a rank's {experts.count // degree} "
        yield Problem((*path, "pieces"), f"{message}experts")
    ways = options.mesh().degree(spread.cut)
    among = degree if columns else ways
    if experts.biases and model.hidden % among:
        message = f"{among} ranks do not divide the model's hidden {model.hidden}: experts that are"
        yield Problem(path, f"{message} cut by columns have the bias of their outputs cut so")
    if experts.width % ways:
        message = f"{ways} ranks along {', '.join(spread.cut)} do not divide the model's"
        yield Problem((*path, "cut"), f"{message} {experts.width} columns of an expert")
    if size % degree:
        fit = ", ".join(str(n) for n in range(1, degree + 1) if size % n == 0)
        yield Problem(path, f"{degree} ranks do not divide the model's {size} {what}; {fit} do")
