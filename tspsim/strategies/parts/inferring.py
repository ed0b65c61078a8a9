"""What a strategy cannot do in a step of inference, and which options have no meaning there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tspsim.files.errors import Problem
from tspsim.model import Workload

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


def inference_problems(strategy: StrategyOptions, workload: Workload) -> Iterator[Problem]:
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
    if getattr(strategy, "kv", "ring") in ("ulysses", "usp"):
        message = f"found '{strategy.kv}'; in phase {workload.phase} all_gather or ring"  # type: ignore[attr-defined]
        yield Problem(("strategy", "kv"), message)
