"""The figures of inference: time to the first token, time per token, and what the cache takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import fsum

import numpy as np

from tspsim.mesh import Mesh
from tspsim.model import Workload
from tspsim.program.types import Programs
from tspsim.program.varying import of_rank
from tspsim.requests import Series, Step

#: Steps between two that were played are taken from the straight line between these where the one
#: in their middle lies no further from it.
STRAIGHT = 0.005
#: What fits is guessed from lines so often; then what lies between is halved.
GUESSES = 6


@dataclass(frozen=True, slots=True)
class Stretch:
    """Steps that differ in nothing but what is cached: all of the prompts, or behind them.

    Parameters
    ----------
    steps : int
    played : int
        Of these; the times of the others are interpolated.
    first, last, mean, total : float
        Seconds of a step, and of all.
    within : float
        How far, of its own time, any step that was played to see it lies from the line between its
        neighbours.
    """

    steps: int
    played: int
    first: float
    last: float
    mean: float
    total: float
    within: float


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """Keys and values of the rank that holds most of them, behind the last step.

    Parameters
    ----------
    bytes : float
        Whole pages.
    tokens : int
        Of all sequences of a replica.
    bytes_per_token : float
        Of one more token of a replica, on average over its ranks' pages.
    spare : float
        Share of the bytes that no token has: padding, and what is left of pages.
    """

    bytes: float
    tokens: int
    bytes_per_token: float
    spare: float


@dataclass(frozen=True, slots=True)
class InferenceFigures:
    """What a user of the model sees; seconds.

    Parameters
    ----------
    phase : str
    sequences : int
        Of a replica, those of all its micro-batches.
    time_to_first_token : float or None
        All steps that compute prompts; None in decode.
    time_per_token : float or None
        Mean of the steps that compute one token of each sequence; None in prefill.
    latency : float
        All steps.
    output_tokens_per_second : float or None
        New tokens of all replicas over the latency; None in prefill.
    prompt_tokens_per_second : float or None
        Tokens of prompts that are computed, of all replicas, over the time to the first token; None
        in decode.
    overhead : float
        Seconds of a step beside what is simulated, as stated: it is in all of these times.
    prefill, decode : Stretch or None
    cache : CacheFigures
    fullest : Step
        The one that needs most memory.
    fitting : int or None
        How many of the sequences would fit, the first of a micro-batch where lengths differ; None
        where all do, or nobody has looked.
    """

    phase: str
    sequences: int
    time_to_first_token: float | None
    time_per_token: float | None
    latency: float
    output_tokens_per_second: float | None
    prompt_tokens_per_second: float | None
    overhead: float
    prefill: Stretch | None
    decode: Stretch | None
    cache: CacheFigures
    fullest: Step
    fitting: int | None = None


def stretch(time_of: Callable[[int], float], steps: int) -> Stretch:
    """Return the time of many steps of which few are played.

    Halves are looked at until the step in the middle of each lies on the line between its ends, to
    `STRAIGHT` of its time.

    Parameters
    ----------
    time_of : callable
        Plays a step by its number and returns its seconds.
    steps : int
    """
    known = {number: time_of(number) for number in sorted({0, steps - 1})}
    spans, within = [(0, steps - 1)], 0.0
    while spans:
        first, last = spans.pop()
        middle = (first + last) // 2
        if middle == first:
            continue
        share = (middle - first) / (last - first)
        line = known[first] + share * (known[last] - known[first])
        known[middle] = time_of(middle)
        off = abs(line - known[middle]) / known[middle] if known[middle] else 0.0
        if off > STRAIGHT:
            spans += [(first, middle), (middle, last)]
        else:
            within = max(within, off)
    total = _total(known)
    return Stretch(steps, len(known), known[0], known[steps - 1], total / steps, total, within)


def _total(known: dict[int, float]) -> float:
    """Return the sum over all numbers from the first to the last, straight between known ones."""
    points = sorted(known)
    inner = (
        np.interp(np.arange(a, b), (a, b), (known[a], known[b])).sum()
        for a, b in itertools.pairwise(points)
    )
    return fsum((*map(float, inner), known[points[-1]]))


def most_that_fit(left_of: Callable[[int], float], count: int) -> int:
    """Return how many of some sequences fit, where all do not; one more than these does not.

    Parameters
    ----------
    left_of : callable
        Plays a number of the sequences, and returns what is left: negative where they do not fit.
    count : int
        Of all.
    """
    left = {number: left_of(number) for number in sorted({1, count})}
    return 0 if left[1] < 0 else last_that_fits(left_of, (1, count), left)


def last_that_fits(
    left_of: Callable[[int], float],
    between: tuple[int, int],
    left: Mapping[int, float],
    close: float = 0.0,
) -> int:
    """Return the last number that fits between one that does and one that does not.

    What is left shrinks about evenly, so the first guesses lie on a line.

    Parameters
    ----------
    left_of : callable
    between : (int, int)
    left : Mapping
        What is known already, of these two at least.
    close : float
        A number that is so close to the last one, as a share of itself, will do.
    """
    known, (fits, over), guesses = dict(left), between, 0
    while over - fits > max(1, close * fits):
        share = known[fits] / (known[fits] - known[over]) if guesses < GUESSES else 0.5
        number = min(max(fits + int(share * (over - fits)), fits + 1), over - 1)
        known[number], guesses = left_of(number), guesses + 1
        fits, over = (number, over) if known[number] >= 0 else (fits, number)
    return fits


def cache_of(programs: Programs, mesh: Mesh, workload: Workload) -> CacheFigures:
    """Return what the cache takes behind the last step, of which the programs are."""
    held = []
    for rank in range(mesh.ranks):
        buffers = (b for b in programs.of(rank).buffers if b.kind == "kv_cache")
        held.append(sum(of_rank(b.bytes, mesh, rank) for b in buffers))
    assert workload.requests is not None
    tokens = workload.micro_batches * sum(r.length for r in workload.requests.each)
    whole, used = _slots(programs, mesh)
    spare = 1 - used / whole if whole else 0.0
    return CacheFigures(max(held), tokens, max(held) * (1 - spare) / tokens, spare)


def _slots(programs: Programs, mesh: Mesh) -> tuple[int, int]:
    """Return the places for tokens in one layer's cache on all ranks, and those taken."""
    whole, used = 0, 0
    for rank in range(mesh.ranks):
        program = programs.of(rank)
        place = next((b.place for b in program.bindings if b.role == "cache"), None)
        if place is not None:
            coordinate = mesh.coordinate(rank, place.axis) if place.axis else 0
            whole += place.local
            used += place.taken(coordinate)
    return whole, used


def figures_of(
    phase: str,
    series: Series,
    copies: tuple[int, int],
    times: tuple[Stretch | None, Stretch | None],
    cache: CacheFigures,
    fullest: Step,
) -> InferenceFigures:
    """Return the figures of steps whose times are known: of the prompts, and behind them.

    `copies` are replicas, and micro-batches of each.
    """
    prefill, decode = times
    replicas, micro_batches = copies
    sequences = len(series.prompts) * micro_batches
    latency = fsum(part.total for part in times if part)
    computed = (sum(series.prompts) - sum(series.cached)) * micro_batches * replicas
    new = sequences * (int(prefill is not None) + (decode.steps if decode else 0)) * replicas
    return InferenceFigures(
        phase=phase,
        sequences=sequences,
        time_to_first_token=prefill.total if prefill else None,
        time_per_token=decode.mean if decode else None,
        latency=latency,
        output_tokens_per_second=new / latency if latency and decode else None,
        prompt_tokens_per_second=computed / prefill.total if prefill and prefill.total else None,
        overhead=series.overhead,
        prefill=prefill,
        decode=decode,
        cache=cache,
        fullest=fullest,
    )
