"""What-if: step time and peak memory when one constant of the hardware changes, by re-simulation.

Derivatives of a schedule are not to be had from formulas: an op that was hidden may come to the
fore, and a faster link may even make a step slower (Graham's anomalies). So every change is
played.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tspsim.explain.constants import Constant
from tspsim.explain.replay import Replay, Replayed
from tspsim.topology.graph import Topology

#: A constant becomes so many times what it is.
FACTORS = (0.9, 1.1, 2.0)

Progress = Callable[[], None]


class Sensitivity(NamedTuple):
    """What changing one constant does.

    Attributes
    ----------
    constant : Constant
    replays : tuple of (float, Replayed)
        By factor, in the order of `FACTORS`.
    elasticity : float
        Relative change of the step time per relative change of the constant, between the first
        two factors: -1 where the whole step scales with it, 0 where nothing does.
    """

    constant: Constant
    replays: tuple[tuple[float, Replayed], ...]
    elasticity: float

    def at(self, factor: float) -> Replayed:
        """Return what the step takes at a factor."""
        return dict(self.replays)[factor]

    def swing(self, base: Replayed) -> float:
        """Return the largest relative change of the step time that any factor makes."""
        return max(abs(found.step_time / base.step_time - 1) for _, found in self.replays)


def sensitivities(
    replay: Replay,
    topology: Topology,
    constants: Sequence[Constant],
    progress: Progress = lambda: None,
) -> list[Sensitivity]:
    """Return what changing each constant does, the largest swing of the step time first.

    Parameters
    ----------
    replay : Replay
    topology : Topology
        As it is.
    constants : sequence of Constant
    progress : callable
        Called after every simulation.
    """
    made, base = [], replay.as_played(topology)
    for constant in constants:
        replays = []
        for factor in FACTORS:
            replays.append((factor, _changed(replay, topology, constant, factor)))
            progress()
        low, high = replays[0][1].step_time, replays[1][1].step_time
        step = FACTORS[1] - FACTORS[0]
        elasticity = (high - low) / (step * base.step_time) if base.step_time else 0.0
        made.append(Sensitivity(constant, tuple(replays), elasticity))
    return sorted(made, key=lambda found: -found.swing(base) if base.step_time else 0.0)


def _changed(replay: Replay, topology: Topology, constant: Constant, factor: float) -> Replayed:
    changed = constant.scaled(topology, factor)
    if constant.key == "memory":  # the engine does not know it: all times stay as they are
        return replay.as_played(changed)
    return replay.replayed(changed)
