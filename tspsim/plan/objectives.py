"""What counts as good: each objective as a key of which the smallest is best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tspsim.files.errors import UnknownNameError, UserError
from tspsim.plan.question import Question

#: Of candidates alike, the one that was enumerated first.
Key = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Objective:
    """A reading of a candidate's figures, and of bounds on them.

    Parameters
    ----------
    name : str
    key : callable
        ``key(step time in seconds, peak in bytes)``: grows with both, so that bounds of the two
        give a bound of the key.
    accumulate : bool
        Whether a step may be cut into several micro-batches.
    """

    name: str
    key: Callable[[float, float], Key]
    accumulate: bool = True


#: Every candidate runs the same tokens on the same devices: the shortest step has the highest
#: throughput and the lowest cost.
OBJECTIVES = {
    "throughput": Objective("throughput", lambda step, peak: (step, peak)),
    "memory": Objective("memory", lambda step, peak: (peak, step)),
    "latency": Objective("latency", lambda step, peak: (step, peak), accumulate=False),
    "cost": Objective("cost", lambda step, peak: (step, peak)),
}


def objective(name: str) -> Objective:
    """Return an objective by its name.

    Raises
    ------
    UnknownNameError
        When there is none of that name.
    """
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES)
    return OBJECTIVES[name]


def dollars_per_hour(question: Question) -> float | None:
    """Return what all devices cost per hour; None where one of them states no price."""
    prices = [device.price for device in question.base.topology.devices]
    return None if None in prices else sum(price for price in prices if price is not None)


def check_price(question: Question) -> None:
    """Refuse to count the cost of devices without a price.

    Raises
    ------
    UserError
        It names the device.
    """
    missing = next((d for d in question.base.topology.devices if d.price is None), None)
    if missing is not None:
        raise UserError(
            f"--objective cost: device '{missing.name}' states no price; "
            "say what it costs per hour, such as 'device.price=2.5 $/hour'"
        )


def cost(dollars: float, step: float, tokens: int) -> float:
    """Return dollars per million tokens.

    Parameters
    ----------
    dollars : float
        Per hour, of all devices.
    step : float
        Seconds.
    tokens : int
        Of a step.
    """
    return dollars / 3600 * step / tokens * 1e6
