"""The published volumes of the four schemes, to hold a recorded program against.

They are a check, never the source of a simulated number: that is what the program sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tspsim.model import ModelShape, Workload
from tspsim.scenario.types import Scenario


def forward_volume(scenario: Scenario) -> float | None:
    """Return the bytes that a rank receives in one layer's forward pass of one micro-batch.

    For degrees T (tp), C (sp) and D (tsp), per rank and layer, in elements::

        tp     4 (T-1)/T B S h
        sp     2 (C-1)/C B S h_kv
        tp_sp  4 (T-1)/T B S h / C + 2 (C-1)/C B S h_kv / T
        tsp    (D-1)/D [W + 2 B S h_kv]

    with h_kv = kv_heads * head_dim and W the matrices of one layer (TSP: arXiv 2604.26294; TP:
    arXiv 1909.08053, with ``sequence_parallel`` arXiv 2205.05198).

    Parameters
    ----------
    scenario : Scenario

    Returns
    -------
    float or None
        None where no closed form is written down: other strategies, ``kv: ulysses`` and ``usp``,
        replicated key/value heads, biases or sinks that travel with the weights, latents that are
        gathered in place of the stream or of keys and values; steps of inference that meet a cache,
        or pass queries, or leave weights where they are.
    """
    model, work = scenario.model, scenario.workload
    options = scenario.strategy.model_dump()
    degrees = dict(scenario.strategy.mesh().axes)
    heads_cut = degrees.get("tp", 1) * degrees.get("tsp", 1)
    others = options.get("kv") in ("ulysses", "usp") or options.get("gather_latent")
    if others or model.kv_heads % heads_cut or _otherwise(work, options):
        return None
    if options["kind"] == "tsp":
        elements = None if model.biases or model.sinks else _tsp(model, work, degrees["tsp"])
    elif model.latent and options.get("sequence_parallel"):
        elements = None
    elif options["kind"] in ("tp", "sp", "tp_sp"):
        elements = _tp_sp(model, work, degrees.get("tp", 1), degrees.get("sp", 1))
    else:
        elements = None
    return None if elements is None else elements * work.itemsize


def _otherwise(work: Workload, options: Mapping[str, Any]) -> bool:
    """Whether a step of inference says something else than a forward pass of training."""
    if work.requests is None:
        return False
    elsewhere = options.get("passes") == "queries" or options.get("weights") == "stay"
    return work.requests.resumes or elsewhere


def _tsp(model: ModelShape, work: Workload, degree: int) -> float:
    weights = model.attention_weights + model.mlp_weights
    gathered = work.batch * work.sequence * model.attended
    return (degree - 1) / degree * (weights + gathered)


def _tp_sp(model: ModelShape, work: Workload, tp: int, sp: int) -> float:
    tokens = work.batch * work.sequence
    activations = 4 * (tp - 1) / tp * tokens * model.hidden / sp
    return activations + (sp - 1) / sp * tokens * model.attended / tp
