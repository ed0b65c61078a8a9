"""From words to the question of a plan of inference: its limits, and every way of serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.bounds import read_positive
from tspsim.files.errors import UserError
from tspsim.kernels import INFERENCE
from tspsim.plan.inference import Asked, Limits, check, strategies
from tspsim.scenario.loader import Opened, from_document
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.load import parse

#: What the limits are called, in the order in which they are given.
LIMITS = ("--per-token", "--first-token")

#: Times with their units: per token, and to the first token.
Stated = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, eq=False)
class InferenceQuestion:
    """What is asked of a plan of inference.

    Parameters
    ----------
    asked : Asked
    ways : list of StrategyOptions
    hourly : float or None
        Dollars of all devices an hour; None where one states no price.
    """

    asked: Asked
    ways: list[StrategyOptions]
    hourly: float | None


def is_asked(data: Mapping[str, Any]) -> bool:
    """Whether a scenario's keys are of a phase of inference."""
    workload = data.get("workload")
    return isinstance(workload, dict) and workload.get("phase") in INFERENCE


def refuse_limits(limits: Stated) -> None:
    """Raise where a limit is stated for a phase that has none.

    Raises
    ------
    UserError
        With its name.
    """
    for name, limit in zip(LIMITS, limits, strict=True):
        if limit is not None:
            raise UserError(f"{name}: a limit of the phases prefill, decode and generate")


def ask(
    opened: Opened,
    overrides: Sequence[str],
    fixed: Mapping[str, Any],
    limits: Stated,
    *,
    longest: bool,
) -> InferenceQuestion:
    """Return what is asked.

    Parameters
    ----------
    opened : Opened
    overrides : sequence of str
        Beside those of the strategy.
    fixed : Mapping
        What is stated of the strategy.
    limits : (str or None, str or None)
    longest : bool
        Look for the longest context, too.

    Raises
    ------
    UserError
        With everything that is wrong.
    """
    data = opened.data(overrides)
    check(data)
    devices = parse(data["topology"]).count()
    base = from_document({**data, "strategy": {"kind": "tp", "degree": 1, "dp": devices}})
    prices = [device.price for device in base.topology.devices]
    hourly = None if None in prices else sum(price for price in prices if price is not None)
    asked = Asked(data, _limits(limits), longest=longest)
    return InferenceQuestion(asked, strategies(data, devices, fixed), hourly)


def _limits(stated: Stated) -> Limits:
    named = zip(LIMITS, stated, strict=True)
    return Limits(
        *(None if text is None else read_positive(name, text, "s") for name, text in named)
    )
