"""What is said where inference casts weights to fp8 in every step."""

from __future__ import annotations

from tspsim.model import Workload
from tspsim.requests import AS_IT_IS

#: Weights that stay in fp8 are read at half the bytes, and need no cast.
_TOLD = (
    "workload.linears=fp8 reads and casts all weights in every step; kept in fp8 they are "
    "half the bytes: workload.weights={attention: fp8, mlp: fp8}"
)


def casts(workload: Workload) -> list[str]:
    """Return what to write in place of products that are narrower than the weights, if they are."""
    return [_TOLD] if workload.linears and workload.series and workload.weights == AS_IT_IS else []
