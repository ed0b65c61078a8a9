"""Small models with experts, and the ways to lay these out, that tests share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tspsim.experts import Experts, Router
from tspsim.model import ModelShape, Workload
from tspsim.routing import Routing
from tspsim.testing import Case, case

#: A softmax router with losses of its own, shared experts, a dense layer in front.
SOFTMAX = ModelShape(
    hidden=32, layers=3, heads=8, kv_heads=4, ffn=24, vocab=24, head_dim=4,
    experts=Experts(8, 2, 16, shared=8, first_dense=1, router=Router(balance_loss=0.1, z_loss=0.1)),
)  # fmt: skip
#: A sigmoid router, a gate of the shared experts, plain MLPs, dense layers between.
SIGMOID = replace(
    SOFTMAX, vocab=0, mlp="plain",
    experts=Experts(8, 3, 16, shared=8, shared_gate=True, every=2,
                    router=Router("sigmoid", scale=2.5, balance_loss=0.3)),
)  # fmt: skip
#: Weights of experts that are not divided by their sum, no shared experts, experts everywhere.
BARE = replace(SOFTMAX, layers=2, experts=Experts(8, 2, 16, router=Router(normalise=False)))
#: As gpt-oss: sinks, a window in every other layer, biases everywhere.
GPT_OSS = ModelShape(
    hidden=16, layers=2, heads=16, kv_heads=8, ffn=24, vocab=24, head_dim=2, attention_bias=True,
    sinks=True, window=(5, None), experts=Experts(8, 2, 8, biases=True),
)  # fmt: skip

SKEWED = Workload(
    sequence=16, batch=2, micro_batches=2, dtype="fp64", routing=Routing("power_law", 1.5, 3)
)
#: Half of the experts get nothing, and the busiest drop what is above one and a half the mean.
EMPTY = replace(
    SKEWED, recompute="full",
    routing=Routing("table", table=((0, (9, 0, 0, 5, 0, 0, 0, 4)),), capacity=1.5),
)  # fmt: skip
BALANCED = replace(SKEWED, recompute="selective", routing=Routing())

#: Each is a model, and what is asked of it.
SETTINGS = {
    "skewed": (SOFTMAX, SKEWED),
    "empty": (SIGMOID, EMPTY),
    "balanced": (BARE, BALANCED),
}

#: Strategies on four ranks.
STRATEGIES: dict[str, tuple[str, dict[str, Any]]] = {
    "tsp": ("tsp", {"degree": 4}),
    "tsp-twice": ("tsp", {"degree": 2, "dp": 2}),
    "tp": ("tp", {"degree": 4}),
    "tp-sequence": ("tp", {"degree": 4, "sequence_parallel": True}),
    "sp": ("sp", {"degree": 4}),
    "tp_sp": ("tp_sp", {"tp": 2, "sp": 2}),
    "tp_sp-sequence": ("tp_sp", {"tp": 2, "sp": 2, "sequence_parallel": True}),
    "fsdp": ("fsdp", {"dp": 4, "zero": 0, "experts": {"over": ["dp"]}}),
}
LAYOUTS: dict[str, dict[str, Any]] = {
    "tokens": {"layout": "tokens"},
    "tensor": {"layout": "tensor"},
    "ring": {"layout": "ring"},
    "columns": {"layout": "ring", "shards": "columns"},
}
#: All pairs, but for rings of ranks that hold the same tokens: refused.
PAIRS = [
    (strategy, layout)
    for strategy in STRATEGIES
    for layout in LAYOUTS
    if strategy not in ("tp", "tp_sp") or layout in ("tokens", "tensor")
]


def mixture(
    strategy: str,
    layout: str,
    model: ModelShape = SOFTMAX,
    workload: Workload = SKEWED,
    spread: dict[str, Any] | None = None,
    **options: Any,
) -> Case:
    """Return a strategy whose experts are laid out in a way.

    Parameters
    ----------
    strategy : str
        Of `STRATEGIES`, or a kind's name.
    layout : str
        Of `LAYOUTS`.
    model : ModelShape
    workload : Workload
    spread, **options
        More keys of ``experts:``, and of the strategy.
    """
    kind, values = STRATEGIES.get(strategy, (strategy, {}))
    chosen = {**values, **options}
    chosen["experts"] = {**chosen.get("experts", {}), **LAYOUTS[layout], **(spread or {})}
    return case(kind, chosen, model, workload)
