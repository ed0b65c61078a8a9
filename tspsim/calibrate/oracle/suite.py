"""The jobs of record: at full size, h = 4096, 131,072 tokens, 8 ranks, two layers."""

from __future__ import annotations

from itertools import product

from tspsim.calibrate.oracle.jobs import Job, MlpKind, Recompute

MLPS: tuple[MlpKind, ...] = ("plain", "gated")
RECOMPUTES: tuple[Recompute, ...] = ("none", "full")

DTENSOR = tuple(
    Job(
        "dtensor",
        "tp",
        (("degree", 8), ("sequence_parallel", scattered)),
        mlp=mlp,
        norm="layernorm",
        recompute=recompute,
    )
    for scattered, mlp, recompute in product((False, True), MLPS, RECOMPUTES)
)
