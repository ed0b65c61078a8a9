"""The axes that ranks communicate along: asynchronous collectives on lanes of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tspsim.calibrate.reference.config import Job
from tspsim.files.errors import UserError

#: Every lane is a communicator (on CUDA a stream) of its own, or a prefetched broadcast would
#: hold up the gather of K and V that is needed before it.
LANES = ("weights", "ring", "kv", "gradients", "activations")


@dataclass(slots=True)
class Pending:
    """A collective on its way: `wait` for its result; what it sends is kept until then."""

    result: Tensor
    works: Sequence[Any] = ()
    sent: Tensor | None = None

    def wait(self) -> Tensor:
        """Return the result once it is there (on CUDA: once the current stream waits for it)."""
        for work in self.works:
            work.wait()
        self.works, self.sent = (), None
        return self.result


@dataclass(slots=True)
class Axis:
    """The ranks that this rank communicates with along one axis of the mesh.

    Parameters
    ----------
    ranks : list of int
        Global ranks, in the order of their coordinates.
    coordinate : int
        This rank's place among them.
    groups : dict
        One process group per lane; none when the axis has degree 1.
    """

    ranks: list[int] = field(default_factory=lambda: [0])
    coordinate: int = 0
    groups: dict[str, Any] = field(default_factory=dict)

    @property
    def degree(self) -> int:
        """Number of ranks."""
        return len(self.ranks)

    def _start(
        self, call: Callable[..., Any], lane: str, *args: Any, **kwargs: Any
    ) -> tuple[Any, ...]:
        return (call(*args, **kwargs, group=self.groups[lane], async_op=True),)

    def all_reduce(self, x: Tensor, lane: str) -> Pending:
        """Sum x over the axis, in place."""
        if self.degree == 1:
            return Pending(x)
        return Pending(x, self._start(dist.all_reduce, lane, x))

    def all_gather(self, x: Tensor, lane: str) -> Pending:
        """Return every rank's x, stacked: [degree, ...]."""
        if self.degree == 1:
            return Pending(x.unsqueeze(0))
        out = x.new_empty(self.degree, *x.shape)
        return Pending(out, self._start(_ALL_GATHER, lane, out.flatten(), x.flatten()), x)

    def reduce_scatter(self, x: Tensor, lane: str) -> Pending:
        """Return the sum of this rank's part of every x, [degree, ...]."""
        if self.degree == 1:
            return Pending(x[0])
        out = x.new_empty(x.shape[1:])
        return Pending(out, self._start(_REDUCE_SCATTER, lane, out.flatten(), x.flatten()), x)

    def all_to_all(self, x: Tensor, give: list[int], take: list[int], lane: str) -> Pending:
        """Send so many rows of x to every rank; return those that they send, rank by rank."""
        if self.degree == 1:
            return Pending(x)
        out = x.new_empty(sum(take), *x.shape[1:])
        return Pending(out, self._start(dist.all_to_all_single, lane, out, x, take, give), x)

    def broadcast(self, x: Tensor, owner: int, lane: str) -> Pending:
        """Return the owner's x; the owner itself goes on using its own."""
        if self.degree == 1:
            return Pending(x)
        out = x if owner == self.coordinate else torch.empty_like(x)
        return Pending(out, self._start(dist.broadcast, lane, out, src=self.ranks[owner]))

    def reduce(self, x: Tensor, owner: int, lane: str) -> Pending:
        """Sum x over the axis into the owner's x; the others' is of no use afterwards."""
        return Pending(x, self._start(dist.reduce, lane, x, dst=self.ranks[owner]))

    def shift(self, x: Tensor, lane: str) -> Pending:
        """Send x to the next rank of the ring; return what the one before sends."""
        if self.degree == 1:
            return Pending(x)
        group, out = self.groups[lane], torch.empty_like(x)
        right = self.ranks[(self.coordinate + 1) % self.degree]
        left = self.ranks[(self.coordinate - 1) % self.degree]
        calls = [dist.P2POp(dist.isend, x, right, group), dist.P2POp(dist.irecv, out, left, group)]
        return Pending(out, dist.batch_isend_irecv(calls), x)

    def send(self, x: Tensor, to: int, lane: str) -> Pending:
        """Send x to a coordinate of the axis."""
        return Pending(x, (dist.isend(x, self.ranks[to], self.groups[lane]),), x)

    def receive(self, out: Tensor, source: int, lane: str) -> Pending:
        """Return, in `out`, what a coordinate of the axis sends."""
        return Pending(out, (dist.irecv(out, self.ranks[source], self.groups[lane]),))


# Newer names of the same functions; the older ones warn.
_ALL_GATHER = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_REDUCE_SCATTER = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@dataclass(frozen=True, slots=True)
class Mesh:
    """The axes of a job.

    Parameters
    ----------
    cut : Axis
        The one that weights are cut over: `tsp` or `tp`.
    spread : Axis
        The one that the sequence is cut over: `sp`; under TSP the same one as `cut`.
    outer : Axis
        The one around both: stages of a pipeline, or replicas.
    """

    cut: Axis = field(default_factory=Axis)
    spread: Axis = field(default_factory=Axis)
    outer: Axis = field(default_factory=Axis)


def connect(job: Job, outer: int = 1) -> Mesh:
    """Make the process groups of a job's axes; every rank of the default group has to call it.

    Parameters
    ----------
    job : Job
    outer : int
        How many times the job's ranks are there: stages of a pipeline, or replicas. Ranks of one
        stage are neighbours.

    Raises
    ------
    UserError
        When there are more or fewer ranks than the job is for.
    """
    world = outer * job.world
    if world > 1 and dist.get_world_size() != world:
        ranks = dist.get_world_size()
        raise UserError(f"the job is for {world} ranks, but {ranks} are running")
    blocks = [range(first, first + job.world) for first in range(0, world, job.world)]
    around = _axis([list(column) for column in zip(*blocks, strict=True)])
    if job.strategy == "tsp":
        axis = _axis([list(block) for block in blocks])
        return Mesh(axis, axis, around)
    rows = [list(block[i : i + job.cut]) for block in blocks for i in range(0, job.world, job.cut)]
    columns = [list(block[t :: job.cut]) for block in blocks for t in range(job.cut)]
    return Mesh(_axis(rows), _axis(columns), around)


def _axis(sets: list[list[int]]) -> Axis:
    """Return the axis through this rank; all ranks make the groups of all sets, in one order."""
    if len(sets[0]) == 1:
        return Axis()
    me = dist.get_rank()
    made = [{lane: dist.new_group(ranks) for lane in LANES} for ranks in sets]
    (mine,) = (i for i, ranks in enumerate(sets) if me in ranks)
    return Axis(sets[mine], sets[mine].index(me), made[mine])
