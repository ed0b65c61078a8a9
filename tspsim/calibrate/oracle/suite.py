"""The jobs of record: at full size, h = 4096, 131,072 tokens, 8 ranks, two layers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

from tspsim.calibrate.oracle.jobs import Job, MlpKind, Recompute, Strategy

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

#: The reference's strategies with their options.
STRATEGIES: tuple[tuple[Strategy, dict[str, Any]], ...] = (
    ("tsp", {"degree": 8}),
    ("tsp", {"degree": 8, "lookahead": 0}),
    ("tp", {"degree": 8}),
    ("sp", {"degree": 8}),
    ("sp", {"degree": 8, "kv": "ring"}),
    ("tp_sp", {"tp": 4, "sp": 2}),
    ("tp_sp", {"tp": 2, "sp": 4, "kv": "ring"}),
)
REFERENCE = tuple(
    Job("reference", strategy, tuple(options.items()), recompute=recompute)
    for (strategy, options), recompute in product(STRATEGIES, RECOMPUTES)
)


def _named(source: str, strategy: str, recompute: str, **options: Any) -> Job:
    (job,) = (
        job
        for job in REFERENCE + DTENSOR
        if (job.source, job.strategy, job.recompute) == (source, strategy, recompute)
        and (job.source, job.mlp) != ("dtensor", "plain")
        and dict(job.options) == options
    )
    return job


def small(job: Job) -> Job:
    """Return a small job of the same kind: grouped queries, two layers, single precision."""
    degrees = {"degree": 4, "tp": 2, "sp": 2}
    return replace(
        job,
        options=tuple((name, degrees.get(name, value)) for name, value in job.options),
        hidden=512,
        heads=16,
        kv_heads=8,
        ffn=1024,
        sequence=4096,
        dtype="fp32",
    )


#: Jobs whose memory timelines are drawn, with the name of the picture.
PICTURES = {
    _named("reference", "tsp", "none", degree=8): "tsp",
    _named("reference", "tsp", "full", degree=8): "tsp-recompute",
    _named("reference", "tp", "none", degree=8): "tp",
    _named("reference", "sp", "none", degree=8, kv="ring"): "sp-ring",
    _named("dtensor", "tp", "none", degree=8, sequence_parallel=False): "dtensor-tp",
}
