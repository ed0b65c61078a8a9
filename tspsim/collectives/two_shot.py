"""Every member adds up its own part of the message, reading it from all, then reads the other sums.

What vLLM, SGLang and TensorRT-LLM do with an all-reduce that is too large for `one_shot`: the sends
of `direct`, in one kernel of theirs.
"""

from __future__ import annotations

from tspsim.collectives import direct
from tspsim.collectives.schedule import Schedule
from tspsim.collectives.serving import Serving
from tspsim.program.types import CollectiveKind


class TwoShot(Serving):
    """The algorithm."""

    name = "two_shot"


def sends(kind: CollectiveKind, n: int, root: int = 0) -> Schedule | None:
    """Return what the members of a communicator send."""
    return direct.sends(kind, n, root) if kind == "all_reduce" else None


plan = TwoShot(sends)
