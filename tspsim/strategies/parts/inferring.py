"""What a strategy cannot do in a step of inference, and which options have no meaning there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload

if TYPE_CHECKING:
    from tspsim.strategies.base import StrategyOptions

#: Options that have a meaning in training alone, with what they are without it.
_TRAINING = {
    "zero": 0,
    "shard": None,
    "reshard": None,
    "reduce": None,
    "sync": None,
    "offload": None,
    "overlap_weights": False,
    "keep_gathered_kv": False,
}
#: Options of training and forward passes that a step of inference does not have, and why.
_ABSENT = {
    "sequence_parallel": (False, "tokens between blocks are whole on every rank"),
    "head_buckets": (1, "a shard's heads are attended to at once"),
    "gather_latent": (False, "what is cached decides what travels: see strategy.passes"),
}


def inference_problems(
    strategy: StrategyOptions, model: ModelShape, workload: Workload
) -> Iterator[Problem]:
    """Yield what makes a step of inference impossible."""
    if not strategy.infers():
        message = f"found '{strategy.kind}'; phase {workload.phase} is there for strategies that "
        message += "hold a cache: tp, sp, tp_sp and tsp"
        yield Problem(("strategy", "kind"), message)
        return
    for key, without in _TRAINING.items():
        found = getattr(strategy, key, without)
        if found != without:
            message = f"found {found}; an option of training: leave it out in phase "
            yield Problem(("strategy", key), f"{message}{workload.phase}")
    for key, (without, why) in _ABSENT.items():
        found = getattr(strategy, key, without)
        if found != without:
            message = f"found {found}; in phase {workload.phase} {why}: leave it out"
            yield Problem(("strategy", key), message)
    yield from _exchange_problems(strategy, model, workload)
    yield from _kernel_problems(workload)


def _exchange_problems(
    strategy: StrategyOptions, model: ModelShape, workload: Workload
) -> Iterator[Problem]:
    """Yield ways for keys and values to travel that are not there."""
    way, path = getattr(strategy, "kv", None), ("strategy", "kv")
    if way in ("ulysses", "usp"):
        yield Problem(path, f"found '{way}'; in phase {workload.phase} all_gather or ring")
    stated, series = getattr(strategy, "passes", None), workload.series
    keys = stated == "kv" or (stated is None and bool(series and series.prefills))
    if way == "ring" and model.latent and keys:
        message = "found 'ring'; latents travel at once, and are expanded: all_gather, or "
        yield Problem(path, f"{message}strategy.passes=queries, which go round a ring")


def _kernel_problems(workload: Workload) -> Iterator[Problem]:
    """Yield kernels that no step of inference has."""
    kernels = workload.kernels
    if kernels.attention == "unfused":
        message = "found 'unfused'; attention to a cache is one kernel: flash-2, flash-3 or cudnn"
        yield Problem(("kernels", "attention"), f"{message}, or kernels=serving")
    if kernels.dropout:
        yield Problem(("kernels", "dropout"), "found true; there is none in inference: false")
