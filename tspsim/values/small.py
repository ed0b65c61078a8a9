"""A small member of a model's shape family: same structure and head counts, little width."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tspsim.experts import Experts
from tspsim.latent import Latent
from tspsim.model import ModelShape, Workload
from tspsim.requests import Series
from tspsim.strategies.base import StrategyOptions

#: Even (rotary positions pair the elements of a head), and no more than a test needs.
HEAD_DIM = 4
BATCH = 2
REPLICAS = 2
#: Pieces of the loss: enough that one is neither the first nor the last.
LOSS_CHUNKS = 3
#: Tokens behind a prompt: enough that one comes to a rank that has had one.
TOKENS = 3
#: Experts that a token goes to: enough that several are on one rank, and on different ones.
ACTIVE = 4


def small_strategy(
    strategy: StrategyOptions, model: ModelShape, small: ModelShape
) -> StrategyOptions:
    """Return the strategy with few replicas, and buckets that a layer fills as often as before."""
    scale = small.layer_parameters_of(0) / model.layer_parameters_of(0)
    few: dict[str, Any] = {"dp": min(strategy.dp, REPLICAS)}
    if strategy.zero < 3:
        few["bucket"] = strategy.bucket * scale
    few |= _neighbours(strategy)
    if strategy.pp:
        few["pp"] = strategy.pp.thin()
    return strategy.model_copy(update=few)


def _neighbours(strategy: StrategyOptions) -> dict[str, Any]:
    """Return twice as many replicas where neighbours of them share something: two blocks of two."""
    spread = strategy.experts if 1 < strategy.expert_block < strategy.dp else None
    if strategy.dp == 1 or not (strategy.shard or type(strategy.reshard) is int or spread):
        return {}
    few: dict[str, Any] = {"dp": REPLICAS * REPLICAS}
    if spread and spread.degree:
        degree = spread.degree // strategy.expert_block * REPLICAS
        few["experts"] = spread.model_copy(update={"degree": degree})
    if strategy.shard:
        few["shard"] = strategy.shard.model_copy(update={"degree": REPLICAS})
    if type(strategy.reshard) is int:
        few["reshard"] = REPLICAS
    return few


def small_model(model: ModelShape, ranks: int, layers: int, share: float = 1.0) -> ModelShape:
    """Return a shape with the same heads, norms, MLP kind and ties, that `ranks` still divides.

    Of the `layers` that a strategy wants to be proven with it has as many as the model has, and of
    their kinds one after another; a window is that `share` of the model's, as the sequence is, and
    two keys at least: of a single one its score says nothing.
    """
    seen = dict.fromkeys(kind.window for kind in model.kinds)
    windows = tuple(window and max(2, int(window * share)) for window in seen)
    latent = model.latent and small_latent(model.latent)
    return replace(
        model,
        hidden=model.heads * HEAD_DIM,
        head_dim=latent.head if latent else HEAD_DIM,
        latent=latent,
        layers=min(model.layers, max(layers, 2 if _mixed(model) else 1)),
        ffn=2 * ranks,
        experts=model.experts and _few(model.experts, ranks),
        vocab=4 * ranks if model.vocab else 0,
        window=windows if len(windows) > 1 else windows[0],
        rotary=model.rotary and HEAD_DIM // 2,
        unturned=model.unturned and 2,
    )


def small_latent(latent: Latent) -> Latent:
    """Return widths that are all different, so that none can stand for another."""
    return Latent(kv_rank=10, nope=4, rope=2, value=3, q_rank=latent.q_rank and 12)


def small_workload(workload: Workload, ranks: int, micro_batches: int) -> Workload:
    """Return a training step with few tokens per rank and the same options.

    A training step whatever the phase: its forward is the one that a forward pass runs.
    """
    loss_chunks = min(workload.loss_chunks, LOSS_CHUNKS)
    return replace(
        workload,
        phase="train",
        sequence=4 * ranks * loss_chunks,
        logits_chunks=loss_chunks,
        batch=min(workload.batch, BATCH),
        micro_batches=min(workload.micro_batches, micro_batches),
        dtype="fp64",
    )


def small_series(workload: Workload, ranks: int) -> tuple[Workload, Series]:
    """Return prompts of different lengths, few tokens behind them, and the same options.

    Prompts come in two pieces where they come in pieces, or are cached in part; tokens come singly
    in all phases, so that a prefill is shown to leave a cache that decode can go on with.
    """
    asked = workload.series
    assert asked is not None
    prompts = tuple(2 * ranks + extra for extra in (3, 0, 5)[: max(2, len(asked.prompts))])
    pieces = asked.chunk is not None or (asked.prefills and any(asked.cached))
    chunk = ranks + 1 if pieces else None
    series = Series(prompts, (0,) * len(prompts), TOKENS + 1, chunk, replace(asked.cache, block=2))
    return replace(workload.within(series), dtype="fp64"), series


def _mixed(model: ModelShape) -> bool:
    """Whether some layers have experts, or positions, and others do not."""
    return len({kind[1:] for kind in model.kinds}) > 1


def _few(experts: Experts, ranks: int) -> Experts:
    """Return fewer and smaller experts, that as many ranks can share; their layers come early."""
    active = min(experts.active, ACTIVE)
    count = -(-2 * active // ranks) * ranks
    return replace(
        experts,
        count=min(experts.count, count),
        active=active,
        width=2 * ranks,
        shared=2 * ranks if experts.shared else 0,
        first_dense=min(experts.first_dense, 1),
        every=min(experts.every, 2),
        router=replace(experts.router, groups=1, top_groups=1),
    )
