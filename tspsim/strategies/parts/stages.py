"""``strategy.pp``: stages of a pipeline, under any strategy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tspsim.files.errors import Problem, did_you_mean
from tspsim.files.faults import found
from tspsim.files.faults import problems as faults
from tspsim.files.source import AtKey
from tspsim.model import ModelShape, Workload
from tspsim.program.stages import Stages, Streams
from tspsim.registry import SCHEDULES
from tspsim.schedules.orders.actions import Pair
from tspsim.schedules.orders.ahead import Step, ahead
from tspsim.schedules.orders.check import OrderError
from tspsim.schedules.orders.order import Order, order_of
from tspsim.schedules.orders.reading import named, order_of_rows
from tspsim.schedules.orders.transfers import with_transfers
from tspsim.schedules.parts.base import CHUNKS, Schedule, Size

_PATH = ("strategy", "pp")
#: A schedule that a user wrote: its rows, as text.
GIVEN = "rows"
#: A forward in such a row: its micro-batch.
_FORWARD = re.compile("F([0-9]+)")
#: Micro-batches of a step.
MOST = 16384


class Least(NamedTuple):
    """Layers and micro-batches that a proof by values has at least, if the scenario has them."""

    layers: int = 2
    micro_batches: int = 2


class Pipeline(BaseModel):
    """Options of a pipeline.

    Parameters
    ----------
    stages : int
        Ranks of the pipeline: degree of the axis ``pp``.
    schedule : str or Mapping
        Name of a schedule; or ``{kind: name, ...}`` with its options, or ``{rows: [...]}``: a line
        of actions per rank, as a ``file:`` holds them.
    chunks : int, optional
        Stages on each rank; the fewest that the schedule can have, or as many as rows name, when
        not given.
    layers : "auto" or tuple of int
        Layers of every stage. ``auto``: as many in each; where that does not divide, embedding and
        head count as a layer each (Megatron-Core's ``account_for_embedding_in_pipeline_split`` and
        ``account_for_loss_in_pipeline_split``).
    streams : {"rank", "pair", "direction"}
        Sends and receives of a rank follow each other in one stream, as of one communicator
        (``torch.distributed.pipelining``, whose sends and receives are batched); in one per
        neighbour (NCCL's unbatched ones); or in one per direction and kind, receives issued before
        the action that precedes their reader (Megatron-Core's ``overlap_p2p_comm``).
    overlap : bool
        Compute goes on while activations and gradients travel; else what is computed next waits
        until every send before it has been received (Megatron-Core's 1F1B).
    interleave : bool
        Where a schedule has a forward and a backward run as one (DualPipe), their ops are issued in
        turn: what one of them says travels while the other computes. Else one after the other, as
        the runtime of ``torch.distributed.pipelining`` (2.13) does if it is told nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stages: int = Field(ge=1, le=16384, description="ranks of the pipeline")
    schedule: str | dict[str, Any] = Field("1f1b", description="a name, or {kind: name, options}")
    chunks: int | None = Field(None, ge=1, le=16384, description="stages on each rank")
    layers: Literal["auto"] | Annotated[tuple[int, ...], Field(strict=False)] = Field(
        "auto", description="layers of every stage"
    )
    streams: Streams = Field("pair", description="which sends and receives follow each other")
    overlap: bool = Field(True, description="compute goes on while activations travel")
    interleave: bool = Field(
        True, description="a schedule's pairs of forward and backward are issued in turn"
    )

    def __hash__(self) -> int:
        """Return a hash: the options of a schedule may stand in a mapping."""
        return hash(self.model_dump_json())

    # ---- the schedule ------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        """The schedule's name."""
        if isinstance(self.schedule, str):
            return self.schedule
        return "given" if GIVEN in self.schedule else str(self.schedule.get("kind"))

    def _options(self) -> dict[str, Any]:
        stated = {} if isinstance(self.schedule, str) else dict(self.schedule)
        stated.pop("kind", None)
        return stated

    def read_schedule(self) -> Schedule:
        """Return the schedule with its options; see `problems` for what can be wrong."""
        form: type[Schedule] = SCHEDULES.get(self.kind)
        return form.model_validate(self._options())

    @property
    def chunk_count(self) -> int:
        """Stages on each rank."""
        if self.chunks is not None:
            return self.chunks
        if self.kind == "given":
            stages, _ = named(self._options()[GIVEN])
            return max(1, math.ceil(stages / self.stages))
        return self.read_schedule().chunks[0]

    def order(self, micro_batches: int, *, trains: bool = True) -> Order:
        """Return what every rank runs.

        Raises
        ------
        UserError
            When the schedule is not made for this size, or cannot run.
        """
        if self.kind == "given":
            rows = self._options()[GIVEN]
            made = order_of_rows(rows, self.stages, micro_batches, self.chunk_count)
        else:
            size = Size(self.stages, micro_batches, self.chunk_count)
            made = _ordered(self.read_schedule(), size)
        return made if trains else _forward_only(made)

    # ---- the layers --------------------------------------------------------------------------

    def split(self, model: ModelShape, depth: int) -> tuple[range, ...] | None:
        """Return the layers of every part of a model; None where ``auto`` finds no equal ones."""
        counts = _even(model, depth) if self.layers == "auto" else self.layers
        if counts is None:
            return None
        return tuple(range(a, b) for a, b in pairwise((0, *accumulate(counts))))

    def roles(self, model: ModelShape, workload: Workload) -> tuple[Stages, ...]:
        """Return what every rank of the pipeline does."""
        order = self.order(workload.micro_batches, trains=workload.phase == "train")
        layers = self.split(model, order.depth)
        assert layers is not None, "see problems"
        return tuple(
            Stages(order, place, layers, steps, self.streams, self.overlap, self.interleave)
            for place, steps in enumerate(_placed(order, ahead_of=self.streams == "direction"))
        )

    @property
    def least(self) -> Least:
        """A layer in every stage that has any; micro-batches for a warm-up and a steady state."""
        thin = self.thin().layers
        pipelines = 1 if self.kind == "given" else SCHEDULES.get(self.kind).pipelines
        depth = self.stages * self.chunk_count // pipelines
        return Least(depth if thin == "auto" else sum(thin), self._fewest())

    def _fewest(self) -> int:
        """Return how many micro-batches it takes, two per rank or more; all that rows name."""
        if self.kind == "given":
            return self._written() or 2 * self.stages
        schedule, chunks = self.read_schedule(), self.chunk_count
        sizes = (Size(self.stages, many, chunks) for many in range(2 * self.stages, MOST))
        return next((s.microbatches for s in sizes if not any(schedule.problems(s))), MOST)

    def _written(self) -> int:
        """Return how many micro-batches a user's rows name: all of them are played, and no more."""
        rows = self._options().get(GIVEN)
        words = " ".join(map(str, rows)) if isinstance(rows, list) else ""
        return len(set(_FORWARD.findall(words)))

    def thin(self) -> Pipeline:
        """Return the pipeline with no more than a layer in every stage."""
        if self.layers == "auto":
            return self
        return self.model_copy(update={"layers": tuple(min(1, count) for count in self.layers)})

    # ---- what is wrong -----------------------------------------------------------------------

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what makes these options impossible; paths are from the root of the scenario."""
        if self.streams == "direction" and not self.overlap:
            message = "streams: direction issues receives ahead, so they overlap; use pair or rank"
            yield Problem((*_PATH, "overlap"), message)
        wrong = list(self._schedule_problems(workload))
        yield from wrong or self._layer_problems(model, workload)

    def _schedule_problems(self, workload: Workload) -> Iterator[Problem]:
        path, known = (*_PATH, "schedule"), SCHEDULES.names()
        if self.kind == "given":
            yield from self._given_problems(workload)
            return
        if self.kind not in known:
            stated = self.schedule if isinstance(self.schedule, str) else self.schedule.get("kind")
            near = did_you_mean(self.kind, known)
            yield Problem(path, f"{found(stated)}; known: {', '.join(known)}{near}")
            return
        try:
            schedule = self.read_schedule()
        except ValidationError as error:
            form = SCHEDULES.get(self.kind)
            yield from faults(error, form, self._options(), path)
            return
        size = Size(self.stages, workload.micro_batches, self.chunk_count)
        for wrong in schedule.problems(size):
            others = _with_chunks(size.chunks) if wrong.path == CHUNKS else ""
            yield Problem(wrong.path, wrong.message + others)

    def _given_problems(self, workload: Workload) -> Iterator[Problem]:
        path, rows = (*_PATH, "schedule", GIVEN), self._options()[GIVEN]
        for key in self._options().keys() - {GIVEN}:
            yield AtKey((*path[:-1], key), f"unknown key; rows stand alone, known: {GIVEN}")
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            yield Problem(path, "a list of texts is expected: the actions of every rank, '0F0 0B0'")
            return
        try:
            self.order(workload.micro_batches)
        except OrderError as error:
            for message, *place in error.faults:
                yield Problem((*path, *(p for p in place if p is not None)), message)

    def _layer_problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        path = (*_PATH, "layers")
        depth = self.order(workload.micro_batches).depth
        if self.layers == "auto":
            if self.split(model, depth) is None:
                yield Problem(path, _indivisible(model, depth))
            return
        if len(self.layers) != depth:
            yield Problem(path, f"{len(self.layers)} numbers; there are {depth} stages")
        elif sum(self.layers) != model.layers or min(self.layers) < 0:
            message = f"they make {sum(self.layers)}; the model has {model.layers} layers"
            yield Problem(path, f"{message}, and no stage has fewer than 0")


def _even(model: ModelShape, depth: int) -> tuple[int, ...] | None:
    """Return equal numbers of layers; or equal ones when both ends count as a layer each."""
    if model.layers % depth == 0:
        return (model.layers // depth,) * depth
    share, left = divmod(model.layers + 2, depth)
    if not model.vocab or left or share < 2 or depth < 2:
        return None
    return (share - 1, *(share,) * (depth - 2), share - 1)


def _indivisible(model: ModelShape, depth: int) -> str:
    """Return why layers cannot be dealt out evenly, and what can be done."""
    empty = ", 0 for a stage without" if depth > model.layers else ""
    wrong = f"{depth} stages do not divide the model's {model.layers} layers"
    example = f"{depth} numbers that make {model.layers}{empty}"
    return f"{wrong}; take another number of stages, or a list of each one's layers: {example}"


def _with_chunks(chunks: int) -> str:
    """Return which schedules can have so many stages on a rank."""
    forms = {name: SCHEDULES.get(name).chunks for name in SCHEDULES.names()}
    able = [name for name, (a, b) in forms.items() if a <= chunks <= (b or chunks)]
    return f"; those with {chunks}: {', '.join(able)}" if able else ""


@lru_cache(maxsize=64)  # a plan asks for the same ones under many strategies
def _ordered(schedule: Schedule, size: Size) -> Order:
    return schedule.order(*size)


def _forward_only(order: Order) -> Order:
    rows = [[action for action in row if action.kind == "F"] for row in order.rows]
    return order_of(rows, order.placement, order.microbatches, order.pipelines)


@lru_cache(maxsize=4)  # asked for once per role
def _placed(order: Order, *, ahead_of: bool) -> tuple[tuple[Step, ...], ...]:
    rows = tuple(
        tuple(single for step in row for single in (step if isinstance(step, Pair) else (step,)))
        for row in with_transfers(order)
    )
    return ahead(order, rows) if ahead_of else rows
