"""Requests that come at random, at a rate; or as a trace says."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from tspsim.engine.jitter import ARRIVALS, LENGTHS, generator
from tspsim.engine.serving.types import Cache, Request
from tspsim.files.errors import UserError
from tspsim.files.numbers import plain
from tspsim.serving.lengths import Lengths

_RATE = re.compile(r"\s*(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d{1,2}))?\s*/\s*(s|min|h)\s*")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}
#: Requests per second, least and most.
_SLOWEST, _FASTEST = 1e-9, 1e9


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests, and where they come from.

    Parameters
    ----------
    requests : tuple of Request
        In the order of arrival.
    about : str
        For people: ``"Poisson, 8 /s, seed 0"``.
    rate : float or None
        Requests per second that were asked for; None: a trace.
    seed : int or None
    lines : tuple of int
        Of a trace, the line of every request.
    """

    requests: tuple[Request, ...]
    about: str
    rate: float | None = None
    seed: int | None = None
    lines: tuple[int, ...] = ()

    def first(self, count: int | None) -> Traffic:
        """Return the first so many requests; None: all."""
        return replace(self, requests=self.requests[:count], lines=self.lines[:count])

    def place(self, number: int) -> str:
        """Return what to call a request in a message."""
        if self.lines:
            return f"{self.about}:{self.lines[number]}"
        return f"request {number + 1} of those drawn"

    def check(self, cache: Cache) -> None:
        """Refuse requests that no cache of this size can serve, though they were alone.

        Raises
        ------
        UserError
            It names the first of them, and how many there are.
        """
        large = [n for n, r in enumerate(self.requests) if cache.of(r.most_cached) > cache.blocks]
        if not large:
            return
        first = self.requests[large[0]]
        others = f"; {len(large) - 1} more like it" if len(large) > 1 else ""
        raise UserError(
            f"{self.place(large[0])}: a prompt of {first.prompt:,} and {first.new_tokens:,} new "
            f"tokens need {first.most_cached:,} tokens of cache; it holds {cache.tokens:,}{others}"
        )


def poisson(rate: float, count: int, prompt: Lengths, new_tokens: Lengths, seed: int) -> Traffic:
    """Return requests with exponential times between them: a Poisson process.

    Parameters
    ----------
    rate : float
        Requests per second.
    count : int
    prompt, new_tokens : Lengths
    seed : int
        The n-th request has the same lengths at any rate, and comes at the same part of the mean
        time between requests: rates can be compared under the same luck.
    """
    times = np.cumsum(generator(ARRIVALS, seed).standard_exponential(count)) / rate
    prompts = prompt.draw(generator(LENGTHS, seed, 0), count)
    answers = new_tokens.draw(generator(LENGTHS, seed, 1), count)
    columns = zip(times.tolist(), prompts.tolist(), answers.tolist(), strict=True)
    about = f"Poisson, {plain(rate)} /s, seed {seed}"
    return Traffic(tuple(Request(*row) for row in columns), about, rate, seed)


def parse_rate(text: str) -> float | None:
    """Return the requests per second of ``"8/s"``, ``"90/min"`` or ``"1e4/h"``; None: no rate.

    Raises
    ------
    UserError
        When it is a rate, but none that a replica could have.
    """
    match = _RATE.fullmatch(text)
    if not match:
        return None
    number, exponent, unit = match.groups()
    rate = float(f"{number}e{exponent or 0}") / _SECONDS[unit]
    if not _SLOWEST <= rate <= _FASTEST:
        raise UserError(f"--arrivals: '{text}': from {_SLOWEST:g}/s to {_FASTEST:g}/s")
    return rate
