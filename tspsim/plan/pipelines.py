"""Which pipelines a plan tries: none, unless the scenario has one or options of one are stated.

Then degrees that divide, the schedules that are published, and what is stated. A pipeline is played
with a program for every stage: where many come near the best, they take most of a plan's time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tspsim.files.errors import UserError, did_you_mean
from tspsim.registry import SCHEDULES
from tspsim.strategies.parts.stages import Pipeline

if TYPE_CHECKING:
    from tspsim.plan.question import Question

#: Tried where none is stated: those that are published, from the simplest to the least wait.
SCHEDULED = (
    "gpipe", "1f1b", "interleaved", "looped_bfs", "zb_h1", "zb_h2", "zb_v", "dualpipe_v", "dualpipe"
)  # fmt: skip
#: Of a pipeline, what a plan varies: everything else is kept from the scenario's own.
_VARIED = frozenset({"stages", "schedule", "chunks", "layers"})


def degrees(question: Question) -> list[int]:
    """Return how many stages are tried: 1 is no pipeline."""
    own = question.options.get("pp")
    stated = question.fixed.get("pp", {} if own else None)
    if stated is None:
        return [1]
    if "stages" in stated:
        return [n for n in (stated["stages"],) if question.devices % n == 0]
    most = min(question.devices, question.base.model.layers)
    found = [n for n in range(2, most + 1) if question.devices % n == 0]
    return found if stated else [1, *found]


def pipelines(question: Question, stages: int) -> Iterator[Pipeline | None]:
    """Yield the pipelines of so many stages whose layers can be dealt out; None is none."""
    if stages == 1 and not question.fixed.get("pp"):
        yield None
        return
    own = question.options.get("pp")
    kept = {k: v for k, v in own.items() if k not in _VARIED} if isinstance(own, Mapping) else {}
    for options in _scheduled(dict(question.fixed.get("pp") or {})):
        made = Pipeline.model_validate({**kept, **options, "stages": stages})
        depth = stages * made.chunk_count
        if made.layers != "auto" or made.split(question.base.model, depth) is not None:
            yield made


def _scheduled(stated: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what is stated with every schedule that it names, or that is tried."""
    schedule = stated.get("schedule")
    if isinstance(schedule, Mapping):
        yield stated
        return
    names = [name.strip() for name in schedule.split(",")] if schedule else SCHEDULED
    for name in names:
        yield {**stated, "schedule": name}


def check(stated: Any) -> None:
    """Refuse what cannot be said of a pipeline.

    Parameters
    ----------
    stated : Mapping or None
        Options of ``strategy.pp`` that are not varied; ``schedule`` may name several, with commas.

    Raises
    ------
    UserError
        It says what is allowed.
    """
    if stated is None:
        return
    if not isinstance(stated, Mapping):
        raise UserError("strategy.pp: must be null, or options: {stages: 4, schedule: 1f1b}")
    known = SCHEDULES.names()
    for options in _scheduled(dict(stated)):
        try:
            kind = Pipeline.model_validate({"stages": 1, **options}).kind
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, ("strategy", "pp", *first["loc"])))
            raise UserError(f"{place}: {first['msg']}") from None
        if kind != "given" and kind not in known:
            near = did_you_mean(kind, known)
            told = f"found '{kind}'; known: {', '.join(known)}{near}"
            raise UserError(f"strategy.pp.schedule: {told}")
