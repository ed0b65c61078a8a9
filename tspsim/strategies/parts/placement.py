"""Which devices an axis of the mesh lies on: the order of the axes, innermost first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tspsim.files.errors import Problem, did_you_mean
from tspsim.mesh import DP, PP, SHARD, Mesh

#: Names and degrees of axes, outermost first, as a `Mesh` has them.
Axes = tuple[tuple[str, int], ...]


def arrange(
    axes: Axes, dp: int, placement: Sequence[str] | None, pp: int = 1, block: int = 1
) -> Mesh:
    """Return the mesh of a strategy's own axes, of its replicas and of its stages.

    Parameters
    ----------
    axes : tuple of (str, int)
        The strategy's own, outermost first.
    dp : int
        Number of replicas; of one there is no axis.
    placement : sequence of str, optional
        All axes, innermost first: neighbouring devices differ in the first one. When not given,
        the strategy's own order, replicas outside of it and stages outermost.
    pp : int
        Number of stages; of one there is no axis.
    block : int
        Replicas of a block of neighbours, which is an axis of its own inside of that of replicas.
    """
    all_outer = ((PP, pp), (DP, dp // block), (SHARD, block))
    outer = tuple((name, degree) for name, degree in all_outer if degree > 1)
    there = (*outer, *axes)
    if placement is None:
        return Mesh(there)
    degrees = dict(there)
    names = (n for name in reversed(placement) for n in ((DP, SHARD) if name == DP else (name,)))
    return Mesh(tuple((name, degrees[name]) for name in names if name in degrees))


def placement_problems(
    axes: Axes, dp: int, placement: Sequence[str] | None, pp: int = 1
) -> Iterator[Problem]:
    """Yield what is wrong with a placement: an axis that is unknown, named twice or missing.

    ``dp`` and ``pp`` may be named where there is one of them, so that one placement serves any
    number.
    """
    if placement is None:
        return
    own = tuple(name for name, _ in reversed(axes))
    known = (*own, DP, PP)
    path = ("strategy", "placement")
    for position, name in enumerate(placement):
        if name not in known:
            near = did_you_mean(name, known)
            message = f"found '{name}'; this strategy's axes are {', '.join(known)}{near}"
            yield Problem((*path, position), message)
        elif name in placement[:position]:
            yield Problem((*path, position), f"'{name}' stands there twice; name every axis once")
    required = (*own, *[DP] * (dp > 1), *[PP] * (pp > 1))
    missing = [name for name in required if name not in placement]
    if missing and set(placement) <= set(known):  # else the unknown one was meant
        message = f"{', '.join(missing)} is missing; name all axes, innermost first: "
        yield Problem(path, f"{message}[{', '.join(required)}]")
