"""Every member reads the whole message of every other and adds up for itself, in one step.

What vLLM, SGLang and TensorRT-LLM do with the smallest messages of an all-reduce: a port carries
the message ``n - 1`` times, but nobody waits twice.
"""

from __future__ import annotations

from itertools import permutations

from tspsim.collectives.schedule import Schedule, Send
from tspsim.collectives.serving import Serving
from tspsim.program.types import CollectiveKind


class OneShot(Serving):
    """The algorithm."""

    name = "one_shot"


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:  # noqa: ARG001
    """Return what the members of a communicator send."""
    if kind != "all_reduce":
        return None
    step = tuple(Send(i, j, range(1), reduce=True) for i, j in permutations(range(n), 2))
    return Schedule((step,), pieces=1)


plan = OneShot(sends)
