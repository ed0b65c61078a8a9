"""How often to write checkpoints, and what is left of the time: closed forms.

All in seconds, for a system (all devices together) whose failures come at exponential distances
with the mean `mtbf`: Young, *A first order approximation to the optimum checkpoint interval*
(1974, doi:10.1145/361147.361115), and Daly, *A higher order estimate of the optimum checkpoint
interval for restart dumps* (2006, doi:10.1016/j.future.2004.11.016).
"""

from __future__ import annotations

import math


def young(checkpoint: float, mtbf: float) -> float:
    """Return the work between checkpoints that wastes least, to first order: sqrt(2 C M)."""
    return math.sqrt(2 * checkpoint * mtbf)


def daly(checkpoint: float, mtbf: float) -> float:
    """Return the work between checkpoints that wastes least, to higher order (Daly).

    ``sqrt(2 C M) (1 + sqrt(C / 2M) / 3 + C / 18 M) - C`` for C < 2 M, and M otherwise.
    """
    if checkpoint >= 2 * mtbf:
        return mtbf
    part = math.sqrt(checkpoint / (2 * mtbf))
    return young(checkpoint, mtbf) * (1 + part / 3 + part**2 / 9) - checkpoint


def efficiency(interval: float, checkpoint: float, restart: float, mtbf: float) -> float:
    """Return the useful fraction of a long job's time (Daly's complete model).

    A round of work and checkpoint, repeated until no failure hits it, takes
    ``M exp(R / M) (exp((tau + C) / M) - 1)`` on average; failures may hit restarts too. That is
    exact for exponential failures.
    """
    rounds = (interval + checkpoint) / mtbf
    if rounds > 700:  # exp() overflows: no round ever ends
        return 0.0
    return interval / (mtbf * math.exp(restart / mtbf) * math.expm1(rounds))


def first_order(interval: float, checkpoint: float, restart: float, mtbf: float) -> float:
    """Return the useful fraction to first order: one checkpoint per interval, half of it lost.

    ``1 - C / tau - (tau / 2 + R) / M`` (Young).
    """
    return 1 - checkpoint / interval - (interval / 2 + restart) / mtbf
