"""Lengths of prompts and of what is answered: one for all, or drawn from a distribution."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tspsim.files.errors import UserError, did_you_mean

#: Tokens of the longest prompt, or answer.
LONGEST = 10_000_000
#: A wider lognormal has most of its tokens in a few requests.
WIDEST = 4.0

FORMS = "512, 128..1024 (any between, equally often) or lognormal:512:0.8 (mean, sigma)"

_WHOLE = re.compile(r"[1-9]\d*")


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of whole numbers of tokens.

    Parameters
    ----------
    kind : {"fixed", "uniform", "lognormal"}
    first : float
        The length; the shortest one; or the mean.
    second : float
        The longest one; or the standard deviation of the logarithm.
    """

    kind: Literal["fixed", "uniform", "lognormal"]
    first: float
    second: float = 0.0

    @property
    def text(self) -> str:
        """As it is written."""
        first = f"{self.first:g}" if self.kind == "lognormal" else f"{self.first:.0f}"
        if self.kind == "lognormal":
            return f"lognormal:{first}:{self.second:g}"
        return first if self.kind == "fixed" else f"{first}..{self.second:.0f}"

    def draw(self, drawn: np.random.Generator, count: int) -> NDArray[np.int64]:
        """Return so many lengths, each of at least one token."""
        if self.kind == "uniform":
            return drawn.integers(int(self.first), int(self.second) + 1, count)
        if self.kind == "lognormal":
            # the mean of a lognormal is exp(mu + sigma^2 / 2)
            middle = math.log(self.first) - self.second**2 / 2
            lengths = np.rint(drawn.lognormal(middle, self.second, count))
            return np.clip(lengths, 1, LONGEST).astype(np.int64)
        return np.full(count, int(self.first), dtype=np.int64)


def parse_lengths(text: str, option: str) -> Lengths:
    """Return the lengths that an option states.

    Parameters
    ----------
    text : str
        ``"512"``, ``"128..1024"`` or ``"lognormal:512:0.8"``.
    option : str
        For messages: ``"--prompt"``.

    Raises
    ------
    UserError
        When it is none of these, or out of range.
    """
    kind, *figures = text.split(":")
    if figures:
        return _lognormal(kind, figures, f"{option}: '{text}'")
    ends = text.split("..")
    whole = [int(end) for end in ends if _WHOLE.fullmatch(end)]
    if len(whole) != len(ends) or len(ends) > 2:
        raise UserError(f"{option}: '{text}' is no number of tokens; write {FORMS}")
    if max(whole) > LONGEST:
        raise UserError(f"{option}: '{text}': at most {LONGEST:,} tokens")
    if whole[0] > whole[-1]:
        raise UserError(f"{option}: '{text}' ends before it begins; write the shorter length first")
    return Lengths("fixed", whole[0]) if len(whole) == 1 else Lengths("uniform", *whole)


def _lognormal(kind: str, figures: list[str], place: str) -> Lengths:
    if kind != "lognormal":
        near = did_you_mean(kind, ["lognormal"])
        raise UserError(f"{place}: no distribution '{kind}'{near}; write {FORMS}")
    try:
        mean, sigma = map(float, figures)
    except ValueError:
        raise UserError(f"{place}: must be lognormal:MEAN:SIGMA; write {FORMS}") from None
    if not (1 <= mean <= LONGEST and 0 < sigma <= WIDEST):
        allowed = f"a mean from 1 to {LONGEST:,} and a sigma above 0, at most {WIDEST:g}"
        raise UserError(f"{place}: must have {allowed}")
    return Lengths("lognormal", mean, sigma)
