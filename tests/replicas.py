"""Small models, and strategies at their smallest, for what replicas do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tspsim.model import ModelShape, Workload

MODEL = ModelShape(hidden=32, layers=2, heads=8, kv_heads=4, ffn=24, vocab=24, head_dim=4)
BLOCKS = replace(MODEL, vocab=0)
#: LayerNorm, plain MLP, tied tables, biases: odd sizes for parts of three.
OTHER = replace(MODEL, norm="layernorm", mlp="plain", tied=True, qkv_bias=True)
WORKLOAD = Workload(sequence=16, micro_batches=2, dtype="fp64")

KINDS: dict[str, dict[str, Any]] = {
    "tsp": {"degree": 2},
    "tp": {"degree": 2, "sequence_parallel": True},
    "sp": {"degree": 2},
    "tp_sp": {"tp": 2, "sp": 2},
}
