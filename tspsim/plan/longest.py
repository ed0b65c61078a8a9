"""The longest sequence that fits, per strategy: by bisection on memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tspsim.plan.placements import Placements
from tspsim.plan.question import Candidate, Question
from tspsim.plan.space import enumerate_space
from tspsim.plan.work import Worker, simulated, smallest
from tspsim.strategies.base import StrategyOptions

#: Sequences are tried in multiples of this, and of what the largest zigzag divides into.
STEP = 1024
#: The longest sequence that is looked at.
MOST = 2**27
#: Runs per strategy at most: the first one tells what timing adds to the bound.
_RUNS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Longest:
    """The longest sequence that a strategy can run.

    Parameters
    ----------
    family : str
    sequence : int
        It was simulated and fits; 0: nothing was found that does.
    at_most : int
        No longer one fits, by the bound on memory.
    candidate : Candidate or None
        How `sequence` runs.
    peak : float
        Bytes of its peak, what the runtime reserves included.
    """

    family: str
    sequence: int
    at_most: int
    candidate: Candidate | None = None
    peak: float = 0.0


class _OwnOrder(Placements):
    """Nothing but every strategy's own placement: memory does not depend on it."""

    def orders(self, strategy: StrategyOptions) -> list[tuple[str, ...] | None]:
        return [strategy.placement]


def step_of(question: Question) -> int:
    """Return the distance between the sequence lengths that are tried."""
    return math.lcm(STEP, 2 * question.devices)


def families(question: Question) -> list[str]:
    """Return the strategies of which some mesh divides."""
    return list(dict.fromkeys(candidate.family for candidate in _ways(question)))


def longest(question: Question, family: str) -> Longest:
    """Return the longest sequence that fits for a strategy.

    The bound on memory gives what cannot be exceeded; what is answered was simulated.

    Parameters
    ----------
    question : Question
    family : str
    """
    search = _Search(question, [c for c in _ways(question) if c.family == family])
    step, at_most = step_of(question), search.longest(question.free)
    best: _Run | None = None
    over: _Run | None = None
    length = at_most
    for _ in range(_RUNS):
        if length <= (best.sequence if best else 0):
            break
        run = _run(question, search, length)
        best, over = (run, over) if run.spare >= 0 else (best, run)
        if over is None:
            break
        # What is prefetched comes on top of the bound: by how much, the runs so far tell.
        more = search.longest(question.free + over.spare) if best is None else _between(best, over)
        length = min(int(more // step) * step, over.sequence - step)
    if best is None:
        return Longest(family, 0, at_most)
    return Longest(family, best.sequence, at_most, best.candidate, best.peak)


def longest_of(worker: Worker, family: str) -> Longest:
    """Return the longest sequence of a worker's question."""
    return longest(worker.question, family)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A sequence length that was simulated, and the bytes that it left (negative: lacked)."""

    sequence: int
    candidate: Candidate
    peak: float
    spare: float


def _run(question: Question, search: _Search, sequence: int) -> _Run:
    candidate = search.nearest(sequence)
    trial = simulated(question.at(sequence), candidate)
    if trial.figures is None:
        return _Run(sequence, candidate, math.inf, -math.inf)
    memory = trial.figures["memory"]
    spare = memory["capacity"] - memory["peak"]
    return _Run(sequence, candidate, memory["peak"], spare if memory["fits"] else min(spare, -1.0))


def _between(best: _Run, over: _Run) -> float:
    """Return the length that would just fit if memory grew evenly between two runs."""
    share = best.spare / (best.spare - over.spare)
    return best.sequence + share * (over.sequence - best.sequence)


def _ways(question: Question) -> list[Candidate]:
    """Return the candidates that could take least memory: the smallest micro-batches, ZeRO."""
    space = enumerate_space(question.at(step_of(question)), _OwnOrder(question.base.topology))
    smallest_batch: dict[tuple[StrategyOptions, str], Candidate] = {}
    for candidate in space.candidates:
        key = candidate.strategy, candidate.recompute
        known = smallest_batch.get(key)
        if known is None or candidate.batch < known.batch:
            smallest_batch[key] = candidate
    free = "zero" not in question.fixed
    return [
        candidate
        for candidate in smallest_batch.values()
        if candidate.strategy.zero or candidate.strategy.dp == 1 or not free
    ]


class _Search:
    """Looks for the longest sequence of some candidates, by their bound on memory.

    Parameters
    ----------
    question : Question
    candidates : sequence of Candidate
    """

    def __init__(self, question: Question, candidates: Sequence[Candidate]) -> None:
        self._question, self._step = question, step_of(question)
        self._candidates = list(candidates)

    def longest(self, room: float) -> int:
        """Return the longest sequence at which some candidate's bound is no more than `room`."""

        def fits(count: int) -> bool:
            return self._fits(count * self._step, room)

        if not fits(1):
            return 0
        low, high = 1, 2
        while high * self._step <= MOST and fits(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low * self._step

    def nearest(self, sequence: int) -> Candidate:
        """Return the candidate with the smallest bound at a sequence length."""
        asked = self._question.at(sequence)
        found = [smallest(asked, candidate) for candidate in self._candidates]
        return self._candidates[found.index(min(found))]

    def _fits(self, sequence: int, room: float) -> bool:
        asked = self._question.at(sequence)
        for place, candidate in enumerate(self._candidates):
            if smallest(asked, candidate) <= room:
                # It is likely to be the one at the next length too: it comes first there.
                self._candidates.insert(0, self._candidates.pop(place))
                return True
        return False
