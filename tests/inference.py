"""What the tests of inference share: strategies, small models, and steps one after another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tspsim.experts import Experts
from tspsim.latent import Latent
from tspsim.model import ModelShape, Workload
from tspsim.registry import STRATEGIES
from tspsim.requests import CacheForm, Series
from tspsim.strategies.base import StrategyOptions

#: Fewer key/value heads than query heads, and both ends of the model.
MODEL = ModelShape(hidden=32, layers=1, heads=8, kv_heads=4, ffn=24, vocab=24, head_dim=4)
MODELS = {
    "gqa": MODEL,
    "mha": replace(MODEL, kv_heads=8),
    "windows": replace(MODEL, layers=2, window=(5, None)),
    "biased": replace(MODEL, norm="layernorm", mlp="plain", qkv_bias=True, tied=True),
    "capped": replace(MODEL, score_cap=2.0, logit_cap=3.0, qk_norm="head", norm_at="both"),
    "latent": replace(
        MODEL, kv_heads=8, latent=Latent(kv_rank=10, nope=4, rope=2, value=3, q_rank=12), head_dim=6
    ),
    "experts": replace(MODEL, experts=Experts(count=8, active=2, width=8)),
    "sinks": replace(MODEL, sinks=True, window=(3, None), layers=2, attention_bias=True),
    "whole-norms": replace(MODEL, qk_norm="whole", norm_at="behind"),
    "headless": replace(MODEL, vocab=0),
}
#: By name: a strategy's kind and options.
STRATEGIES_OF: dict[str, tuple[str, dict[str, Any]]] = {
    "one": ("tp", {"degree": 1}),
    "tp": ("tp", {"degree": 4}),
    "tp-repeated-heads": ("tp", {"degree": 8, "replicate_kv_heads": True}),
    "sp": ("sp", {"degree": 4}),
    "sp-keys": ("sp", {"degree": 4, "passes": "kv"}),
    "sp-queries": ("sp", {"degree": 4, "passes": "queries"}),
    "sp-ring-keys": ("sp", {"degree": 4, "kv": "ring", "passes": "kv"}),
    "sp-ring-queries": ("sp", {"degree": 4, "kv": "ring", "passes": "queries"}),
    "tp_sp": ("tp_sp", {"tp": 2, "sp": 2}),
    "tp_sp-ring": ("tp_sp", {"tp": 2, "sp": 2, "kv": "ring"}),
    "tsp": ("tsp", {"degree": 4}),
    "tsp-stay": ("tsp", {"degree": 4, "weights": "stay"}),
    "tsp-travel": ("tsp", {"degree": 4, "weights": "travel"}),
    "tsp-travel-queries": ("tsp", {"degree": 4, "weights": "travel", "passes": "queries"}),
    "tsp-repeated-heads": ("tsp", {"degree": 8, "replicate_kv_heads": True}),
    "tsp-stages": ("tsp", {"degree": 2, "pp": {"stages": 2}}),
}


def strategy(name: str) -> StrategyOptions:
    """Return one of the strategies."""
    kind, options = STRATEGIES_OF[name]
    form: type[StrategyOptions] = STRATEGIES.get(kind)
    return form.model_validate({"kind": kind, **options})


def steps(
    prompts: tuple[int, ...] = (5, 11, 3),
    new_tokens: int = 4,
    chunk: int | None = None,
    block: int = 2,
    **workload: Any,
) -> list[Workload]:
    """Return prompts, piece by piece, and tokens behind them, as one step after another."""
    series = Series(prompts, (0,) * len(prompts), new_tokens, chunk, CacheForm(block=block))
    base = Workload(1, phase="generate", dtype="fp64", series=series, **workload)
    return [base.of(requests) for requests in series.steps]
