"""What whole steps say of the profiles: what their devices sustain, and how far off they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from tspsim.calibrate.published import judge, sustained
from tspsim.calibrate.published.judge import Judged, Residual
from tspsim.calibrate.published.steps import Step
from tspsim.topology.whole_steps import StepEvidence


@dataclass(frozen=True, slots=True)
class Whole:
    """What whole steps say of one profile.

    Parameters
    ----------
    sustained : float
        Of the profile.
    evidence : tuple of StepEvidence
        Of all devices together: one has too few rows for a spread of its own.
    error : float or None
        Mean absolute relative error on steps of its device; None: none was measured.
    rows : int
        That the error is of.
    sources : tuple of str
    """

    sustained: float = 1.0
    evidence: tuple[StepEvidence, ...] = ()
    error: float | None = None
    rows: int = 0
    sources: tuple[str, ...] = ()


def long_runs(steps: Sequence[Step], source: str, profile: Mapping[str, Any]) -> float:
    """Return what a device sustains by the steps of a source; 1 where no source is named."""
    some = [step for step in steps if step.source == source]
    return sustained.sustained(some, profile) if some else 1.0


def of_device(judged: Sequence[Judged], device: str, found: float, mixtures: Residual) -> Whole:
    """Return what judged steps say of the profile of a device that sustains so much."""
    whole = [e for e in judged if e.step.use == "check" and e.step.framework != "none"]
    own = [each for each in whole if each.step.device == device]
    sources = tuple(dict.fromkeys(each.step.source for each in own))
    error = mean(abs(each.error) for each in own)
    known = (*judge.evidence(judged), *judge.evidence_of_mixtures(mixtures, judged))
    return Whole(found, known, error, len(own), sources)
